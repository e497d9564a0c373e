"""What the commands have in common: options, answers, and how they are printed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from parties.escaping import printable, safe_json
from parties.version import SCHEMA_VERSION

if TYPE_CHECKING:
    from parties.run import Run

__all__ = ["SCHEMA_VERSION", "cluster_option", "json_option", "run_answer", "say", "state_option", "warn"]

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
state_option = click.option(
    "--state", type=click.Path(path_type=Path), metavar="DIR", help="Where actors keep their state; $PRIVITY_STATE."
)
cluster_option = click.option(
    "--cluster", type=click.Path(path_type=Path), metavar="FILE", help="Of this cluster; else of local runs."
)


def say(as_json: bool, answer: dict[str, Any], report: Callable[[], list[Any]]) -> None:
    """One object on standard output, or a report."""
    from parties.report import emit

    if as_json:
        click.echo(safe_json({"schema_version": SCHEMA_VERSION, **answer}))
    else:
        emit(report())


def warn(exposed: Sequence[Mapping[str, str]]) -> None:
    """What `mpc.exposure` found, a line each on standard error."""
    from parties.report import in_words

    for warning in exposed:
        click.echo(f"privity: {printable(in_words(warning))}", err=True)


def run_answer(command: str, program: str, suite: str, run: Run) -> dict[str, Any]:
    """The JSON of a finished run."""
    from parties.report import plain_value

    names = (
        "digest", "parties", "results", "rounds", "online_seconds", "input_seconds", "preprocessing_seconds",
        "total_seconds", "bytes_sent", "input_bytes", "dealt_bytes", "peak_rss_bytes", "reveals", "checkpoint",
        "warnings", "results_of",
    )  # fmt: skip
    shown = {name: plain_value(getattr(run, name)) for name in names}
    return {"command": command, "program": program, "suite": suite, "run": run.id, **shown}
