"""How fast it is, how many bytes and how much memory it takes, beside peers on the same data.

    bench.py [WORKLOAD ...] [--parties N] [--repeat N] [--json]    # our own workloads; all of them unless named
    bench.py WORKLOAD ... --elements N                              # of another length
    bench.py --against COMMIT [--pairs N] [WORKLOAD ...]           # this tree and an older one in turn: new / old
    bench.py --growth | --startup                                  # against elements, parties, steps; until a result
    bench.py --explain [WORKLOAD] [--write]                        # where its time goes, against the physical limit
    bench.py [WORKLOAD ...] --peers [--peers-only] [--peers-cache FOLDER]
    bench.py --write [--peers]                                     # everything, into docs/performance.md
    bench.py --page                                                # that page anew from the figures that are kept

Medians of at least five runs after one that warms up: real processes over loopback, CURVE on, the dealer one of them.
`--peers` installs CrypTen, SPU and MPyC into environments of their own and runs them too; without it, comparisons are
with the figures kept in docs/evidence/peers.json. A wrong answer makes the run fail: exit 1.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from entry import entered
from measure import page
from measure.against import PAIRS, commit_of, compared_pairs
from measure.explain import explained, explained_grids
from measure.growth import OF_ELEMENTS, growth, sized
from measure.ours import measured, right
from measure.peers import CACHE, Peer, figures, known
from measure.pingpong import pingpong
from measure.startup import startup
from measure.tables import (
    against_grid,
    against_in_words,
    growth_grids,
    missing,
    peers_grid,
    seconds_in_words,
    startup_grid,
    workloads_grid,
)
from workloads import WORKLOADS, Workload

from mpc.errors import UsageError
from parties.report import Block, emit
from parties.report import Line as Sentence
from parties.target import nearest

LEAST = 5
CHAIN = "chain-1000"
EXPLAINED = "logreg-breast"
Line = dict[str, Any]


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=", ".join(WORKLOADS))
    parser.add_argument("--parties", type=int, metavar="N", help="instead of each workload's own number")
    parser.add_argument("--elements", type=int, metavar="N", help=f"so many in {', '.join(OF_ELEMENTS)}")
    parser.add_argument("--repeat", type=int, default=LEAST, metavar="N", help="runs after the first (default: 5)")
    parser.add_argument("--json", action="store_true", help="a JSON object a line, and nothing else")
    parser.add_argument("--against", metavar="COMMIT", help="ratios of this tree's seconds to those of an older one")
    parser.add_argument(
        "--pairs", type=int, metavar="N", help=f"with --against: so many runs of each (default: {PAIRS})"
    )
    parser.add_argument("--growth", action="store_true", help="time and bytes against elements, parties and steps")
    parser.add_argument("--startup", action="store_true", help="from a command to its result; the compiler")
    parser.add_argument("--explain", action="store_true", help=f"where the time of one goes (default: {EXPLAINED})")
    parser.add_argument("--peers", action="store_true", help="install and run the peers, and compare")
    parser.add_argument("--peer", action="append", metavar="NAME", help="with --peers: only this one, or these")
    parser.add_argument("--peers-only", action="store_true", help="with --peers: none of our own")
    parser.add_argument("--peers-cache", type=Path, default=CACHE, metavar="FOLDER", help=f"default: {CACHE}")
    parser.add_argument("--page", action="store_true", help="docs/performance.md anew from kept figures: runs nothing")
    parser.add_argument("--write", action="store_true", help="everything, into docs/performance.md and docs/evidence")
    given = parser.parse_args(words)
    for name in given.workloads:
        if name not in WORKLOADS:
            raise UsageError(
                f"there is no workload {name!r}{nearest(name, list(WORKLOADS))}; there: {', '.join(WORKLOADS)}"
            )
    peers = known()
    for name in given.peer or ():
        if name not in peers:
            raise UsageError(f"there is no peer {name!r}{nearest(name, peers)}; there: {', '.join(peers)}")
    if given.repeat < 1:
        raise UsageError(f"--repeat counts runs, from 1 on, not {given.repeat}")
    if given.explain:
        if len(given.workloads) > 1:
            raise UsageError(f"--explain takes one workload, not {len(given.workloads)}")
    elif given.write and not given.peers_only and (given.workloads or given.parties):
        raise UsageError("--write fills the page with all workloads as they are: name none, and no --parties")
    _one_length(given)
    _against(given)
    if given.parties is not None and given.parties < 2:
        raise UsageError(f"at least 2 parties are needed, not {given.parties}")
    return given


def _one_length(given: argparse.Namespace) -> None:
    """Refuse --elements where it means nothing."""
    if given.elements is None:
        return
    if given.elements < 1:
        raise UsageError(f"--elements counts elements, from 1 on, not {given.elements}")
    fixed = [name for name in given.workloads or WORKLOADS if name not in OF_ELEMENTS]
    if fixed:
        raise UsageError(f"--elements is for {', '.join(OF_ELEMENTS)}; {fixed[0]} has a length of its own")
    if given.peers or given.peers_only or given.growth or given.startup or given.explain:
        raise UsageError("--elements goes with workloads alone: no --peers, --growth, --startup or --explain")


def _against(given: argparse.Namespace) -> None:
    """Refuse what has no meaning with or without --against, and find the commit."""
    if given.against is None:
        if given.pairs is not None:
            raise UsageError("--pairs goes with --against COMMIT; without it, --repeat counts runs")
        return
    others = ("page", "elements", "growth", "startup", "explain", "peers", "peers_only", "write")
    found = [f"--{name.replace('_', '-')}" for name in others if getattr(given, name)]
    if given.repeat != LEAST:
        found.append("--repeat")
    if found:
        raise UsageError(f"--against goes with workloads, --parties, --pairs and --json, not with {found[0]}")
    if given.pairs is not None and given.pairs < 1:
        raise UsageError(f"--pairs counts pairs of runs, from 1 on, not {given.pairs}")
    given.commit = commit_of(given.against)


def own(chosen: Sequence[Workload], given: argparse.Namespace) -> Iterator[Line]:
    """Our own workloads, one line each."""
    for workload in (sized(w, given.elements) for w in chosen) if given.elements else chosen:
        line = measured(workload, given.parties or workload.parties, given.repeat)
        if workload.name == CHAIN and "failed" not in line:
            trip = pingpong()
            each = line["seconds"] / line["rounds"]
            line |= {"pingpong_seconds": trip, "round_seconds": each, "round_to_pingpong": each / trip}
        yield line | ({"elements": given.elements} if given.elements else {})


class Printer:
    """JSON lines as they come, or tables at the end and a sign of life until then."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def lines(self, lines: Iterator[Line], name: str) -> list[Line]:
        """All of them, each told when it is there."""
        kept = []
        for line in lines:
            kept.append(line)
            if self.as_json:
                print(json.dumps(line), flush=True)
            else:
                said = " ".join(str(line[key]) for key in ("peer", "growth", name) if key in line)
                print(f"  {said}: {_in_short(line)}", file=sys.stderr, flush=True)
        return kept

    def blocks(self, *blocks: Block) -> None:
        """For people only."""
        if not self.as_json:
            emit(blocks)


def _in_short(line: Line) -> str:
    if "seconds" not in line:
        return f"no figures: {line.get('failed') or line.get('unavailable') or line.get('skipped')}"
    return against_in_words(line) if "ratios" in line else seconds_in_words(line["seconds"])


def peers_run(peers: dict[str, Peer], chosen: Sequence[Workload], given: argparse.Namespace) -> Iterator[Line]:
    """Every peer afresh, the published figures among them; each line is kept as soon as it is there."""
    for peer in (peers[name] for name in given.peer or peers):
        for line in figures(peer, chosen, given.repeat, given.peers_cache):
            page.keep(given.peers_cache / "figures.json", peers=[line])
            if given.write:
                page.keep(page.PEERS, peers=[line])
            yield line


def with_peers(printer: Printer, chosen: Sequence[Workload], ours: Sequence[Line], given: argparse.Namespace) -> None:
    """Run them, and show their figures beside ours."""
    peers = known()
    theirs = printer.lines(peers_run(peers, chosen, given), "workload")
    asked = [peers[name] for name in given.peer or peers]
    phases = [Sentence(f"{peer.title}: {peer.setting}; seconds hold {peer.phases}", "quiet") for peer in asked]
    absent = missing(peers, theirs)
    printer.blocks(peers_grid(ours, peers, theirs), *([absent] if absent.rows else []), Sentence(""), *phases)


def run(given: argparse.Namespace) -> int:
    """What was asked for; 1 if an answer was wrong."""
    printer = Printer(given.json)
    if given.page:
        write_page()
        return 0
    if given.explain:
        return explain(printer, given)
    if given.against is not None:
        return against(printer, given)
    chosen = [WORKLOADS[name] for name in given.workloads or WORKLOADS]
    only = (given.growth or given.startup) and not (given.workloads or given.peers or given.write)
    ours = [] if only or given.peers_only else printer.lines(own(chosen, given), "workload")
    if ours:
        printer.blocks(workloads_grid(ours), *chain_sentence(ours))
    if given.peers or given.peers_only:
        with_peers(printer, chosen, ours, given)
    started, grown = [], []
    if given.startup or (given.write and ours):
        started = printer.lines(iter(startup(WORKLOADS["logreg-10000x100"], given.repeat)), "startup")
        printer.blocks(startup_grid(started))
    if given.growth or (given.write and ours):
        grown = printer.lines(growth(WORKLOADS, min(given.repeat, 3)), "workload")
        printer.blocks(*growth_grids(grown))
    if given.write and ours:
        page.keep(page.OURS, workloads=ours, startup=started, growth=grown)
        write_page()
    return complained((*ours, *grown))


def complained(lines: Sequence[Line]) -> int:
    """Say which are wrong; 1 if any is."""
    wrong = [line for line in lines if not right(line)]
    for line in wrong:
        print(f"bench: {line['workload']}, {line['parties']} parties: {story(line)}", file=sys.stderr)
    return int(bool(wrong))


def against(printer: Printer, given: argparse.Namespace) -> int:
    """This tree beside an older one."""
    names = given.workloads or list(WORKLOADS)
    lines = printer.lines(compared_pairs(given.commit, names, given.pairs or PAIRS, given.parties), "workload")
    compared = [line for line in lines if "skipped" not in line]
    printer.blocks(against_grid(compared, given.commit.name), *busy_sentence(compared))
    return complained(compared)


def busy_sentence(lines: Sequence[Line]) -> list[Block]:
    """What a busy machine does to ratios."""
    most, cores = max((line["load"] for line in lines), default=0.0), os.cpu_count() or 1
    if most <= cores:
        return []
    text = (
        f"the machine was busy (load {most:.1f} on {cores} cores): small differences need more --pairs or a quiet hour"
    )
    return [Sentence(text, "quiet")]


def write_page() -> None:
    """The page from what is kept. The figures of peers that are not run again stand in peers.toml."""
    peers = known()
    published = [peer for peer in peers.values() if peer.figures]
    page.write(peers, [line for peer in published for line in figures(peer, list(WORKLOADS.values()), 0, CACHE)])


def explain(printer: Printer, given: argparse.Namespace) -> int:
    """Where the time of one workload goes."""
    workload = WORKLOADS[(given.workloads or [EXPLAINED])[0]]
    line = explained(workload, given.parties or workload.parties, given.repeat)
    figures = {key: value for key, value in line.items() if key not in ("timeline", "stacks")}
    printer.lines(iter([figures]), "workload")
    printer.blocks(*explained_grids(figures))
    if given.write:
        page.keep(page.EXPLAINED, explained=[figures])
        page.write_explained(line)
    return 0


def story(line: Line) -> str:
    """What is wrong with a line."""
    if "failed" in line:
        return str(line["failed"])
    return f"wrong by {line['error']:.3g}, where {line['allowed']:.3g} is allowed"


def chain_sentence(ours: Sequence[Line]) -> list[Block]:
    """A round of the chain beside the bare ping-pong."""
    return [
        Sentence(
            f"a round of {line['workload']} takes {seconds_in_words(line['round_seconds'])}, "
            f"{line['round_to_pingpong']:.2f} of a bare CURVE ping-pong ({seconds_in_words(line['pingpong_seconds'])})"
        )
        for line in ours
        if "pingpong_seconds" in line
    ]


if __name__ == "__main__":
    sys.exit(entered("bench", lambda: run(arguments())))
