"""Many simulated runs, one a seed: how they ended, and for every broken rule the command that replays the run."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from mpc.errors import UsageError
from parties.simulation.faults import Plan, make_plan
from parties.simulation.programs import PROGRAMS, Library
from parties.simulation.rules import Violation
from parties.simulation.world import Kit, World

__all__ = ["Chaos", "Finding", "chaos", "examine", "shrink"]

MIX = [*["sum"] * 6, *["product"] * 3, "stocked", "loop", "loop2"]  # the short ones are many times faster
_COMPARED = 8  # every eighth run is made again with other inputs: the dealer must not notice


@dataclass(frozen=True)
class Finding:
    """How one run ended. broken: the rule that did not hold, empty if all did."""

    plan: Plan
    outcome: str
    broken: str = ""
    log: Sequence[str] = field(default=(), repr=False)

    @property
    def replay(self) -> str:
        """The command that makes exactly this run again."""
        p = self.plan
        only = "".join(f" --only {n}" for n in p.numbers) or " --only none"
        whole = make_plan(p.seed, [p.program], p.parties).numbers == p.numbers
        return (
            f"privity chaos --from {p.seed} --seeds 1 --program {p.program} --parties {p.parties}"
            f"{'' if whole else only} --trace"
        )


def plan_of(seed: int, program: str = "", parties: int = 0) -> Plan:
    """The plan of a seed; of one program and so many parties if given, the same as it would have chosen itself."""
    return make_plan(seed, [program] if program else MIX, parties or None)


def examine(
    plan: Plan, library: Library, kit: Kit | None = None, *, trace: bool = False, compare: bool = False
) -> Finding:
    """Make one run and see whether every rule holds. compare: make it again with other inputs (docs/rules.md, 5)."""
    world = World(plan, library, kit, trace=trace)
    world.rules.listening = compare
    broken = _run(world)
    if compare and not broken:
        other = World(plan, library, kit, variant=1)
        other.rules.listening = True
        broken = _run(other)
        if not broken and other.rules.dealer_view != world.rules.dealer_view:
            broken = "what reaches the dealer depends on the data"
    return Finding(plan, _outcome(world), broken, world.log or ())


def _run(world: World) -> str:
    try:
        world.run()
    except Violation as violation:
        return str(violation)
    except Exception as error:  # noqa: BLE001 - whatever a brain or a channel raises is a finding too
        return f"{type(error).__name__}: {error}"
    return ""


def _outcome(world: World) -> str:
    person = world.person
    if person.final == "right":
        return "right" if person.attempts == 1 else "right after resume"
    return f"stopped: {person.final}"


def shrink(finding: Finding, library: Library, kit: Kit | None = None, *, compare: bool = False) -> Finding:
    """The same with as few of its faults as still break a rule."""
    best = finding
    for number in finding.plan.numbers:
        rest = [n for n in best.plan.numbers if n != number]
        smaller = examine(best.plan.only(rest), library, kit, compare=compare)
        if smaller.broken:
            best = smaller
    return best


@dataclass
class Chaos:
    """What many runs gave."""

    first: int
    seeds: int
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[dict[str, Any]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def add(self, finding: Finding) -> None:
        """One more."""
        self.outcomes["broken" if finding.broken else finding.outcome] += 1
        if finding.broken:
            self.failures.append({
                "seed": finding.plan.seed, "why": finding.broken, "faults": [str(f) for f in finding.plan.faults],
                "replay": finding.replay,
            })  # fmt: skip

    def answer(self) -> dict[str, Any]:
        """For --json."""
        return {
            "command": "chaos",
            "from": self.first,
            "seeds": self.seeds,
            "seconds": round(self.seconds, 2),
            "runs_per_second": round(self.seeds / self.seconds, 1) if self.seconds else 0.0,
            "outcomes": dict(sorted(self.outcomes.items())),
            "failures": self.failures,
            **({"log": self.log} if self.log else {}),
        }

    def merge(self, answer: dict[str, Any]) -> None:
        """What another process found."""
        self.outcomes.update(answer["outcomes"])
        self.failures += answer["failures"]


def chaos(
    suites: Any,
    first: int,
    seeds: int,
    *,
    program: str = "",
    parties: int = 0,
    only: Collection[str] = (),
    trace: bool = False,
    processes: int = 1,
    on_progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Chaos:
    """Make the runs of so many seeds. only: numbers of the faults to keep, or `none`."""
    _check(program, parties, only, seeds)
    began = time.monotonic()
    mine = seeds if processes == 1 or seeds < 100 else seeds - seeds // 2
    rest = _start(first + mine, seeds - mine, program, parties) if mine < seeds else None
    found = Chaos(first, seeds)
    library = Library(suites)
    for number, seed in enumerate(range(first, first + mine), 1):
        plan = plan_of(seed, program, parties)
        if only:
            plan = plan.only({int(n) for n in only if n != "none"})
        compare = seed % _COMPARED == 0
        finding = examine(plan, library, trace=trace, compare=compare)
        found.log += finding.log
        found.add(finding if trace or not finding.broken else shrink(finding, library, compare=compare))
        on_progress("run", number * seeds // mine, seeds)
    if rest is not None:
        found.merge(_finish(rest))
    found.seconds = time.monotonic() - began
    return found


def _check(program: str, parties: int, only: Collection[str], seeds: int) -> None:
    if program and program not in PROGRAMS:
        raise UsageError(f"there is no program {program!r} to simulate (there: {', '.join(PROGRAMS)})")
    if parties and not 2 <= parties <= 5:
        raise UsageError("a simulation has 2 to 5 parties")
    if seeds < 1:
        raise UsageError("--seeds must be at least 1")
    if not all(n == "none" or n.isdigit() for n in only):
        raise UsageError("--only takes the number of a fault, or none")


def _start(first: int, seeds: int, program: str, parties: int) -> subprocess.Popen[bytes]:
    more = [*(["--program", program] if program else []), *(["--parties", str(parties)] if parties else [])]
    command = [sys.executable, "-m", "parties", "chaos", "--json", "--processes", "1"]
    return subprocess.Popen(  # noqa: S603 - this very command
        [*command, "--from", str(first), "--seeds", str(seeds), *more], stdout=subprocess.PIPE
    )


def _finish(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    out, _ = process.communicate()
    answer = json.loads(out) if out.strip() else {}
    if "outcomes" not in answer:
        raise UsageError("the second process of the simulation did not finish")
    return dict(answer)
