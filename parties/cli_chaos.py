"""The command `privity chaos`, for authors."""

from __future__ import annotations

import sys
from typing import Any

import click

from parties.shell import json_option, say

__all__ = ["chaos"]


@click.command()
@click.option("--seeds", type=int, default=1000, show_default=True, metavar="N", help="How many runs, one a seed.")
@click.option("--from", "first", type=int, default=0, show_default=True, metavar="S", help="The first seed.")
@click.option("--program", default="", metavar="NAME", help="One program only: sum, product, loop, loop2 or stocked.")
@click.option("--parties", "count", type=int, default=0, metavar="N", help="So many parties; 2 or 3 otherwise.")
@click.option("--only", multiple=True, metavar="NUMBER", help="Keep this fault of the seed, or none; repeat it.")
@click.option("--trace", is_flag=True, help="Print everything that happens.")
@click.option("--processes", type=click.IntRange(1, 2), default=2, show_default=True, help="How many processes.")
@json_option
def chaos(first: int, seeds: int, program: str, count: int, as_json: bool, **more: Any) -> int:
    """Simulate whole runs in which everything goes wrong.

    On virtual time: delays, broken connections, processes that stop or die, full disks. Each run has to give the right
    result or a verdict that names who was to blame. A seed repeats exactly.
    """
    from parties.progress import progress
    from parties.report import chaos_report
    from parties.simulation.chaos import chaos as simulate
    from protocols import suites

    with progress("chaos", sys.stderr) as on_progress:
        found = simulate(suites, first, seeds, program=program, parties=count, on_progress=on_progress, **more)
    answer = found.answer()
    say(as_json, answer, lambda: chaos_report(answer))
    return 1 if found.failures else 0
