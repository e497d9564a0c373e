"""Break real processes, again and again, and write down what follows.

    soak.py [CASE ...] [--points N] [--seconds S] [--resets N] [--jobs J] [--write]

CASE: kill, stop, resets, links, disk, garbage, many, interrupt, several; all of them unless named. Prints a section of
figures a case; --write puts each in its place in docs/evidence/soak.md. Exit 1 if anything was not as it must be. The
faults themselves, and what is checked after each, are in tests/support/faults.py and killing.py.
"""

from __future__ import annotations

import argparse
import datetime as dt
import re
import secrets
import shlex
import signal
import statistics
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "support")]

import faults  # noqa: E402
from killing import NAMED_SECONDS, Kill, LocalWorld, ServedWorld, World, settled  # noqa: E402
from links import Links, possible  # noqa: E402
from machine import machine  # noqa: E402
from served import Command, Served, wait_until  # noqa: E402
from workloads import NAMES, REGRESSION, SUM, Workload, attempts, moment, offers, regression  # noqa: E402

TARGET = ROOT / "docs" / "evidence" / "soak.md"
VICTIMS = (*NAMES, "dealer", "coordinator")
HEAD = """# Real faults on real processes

`scripts/soak --write` wrote this, case by case; each section has its date, its machine and the command that repeats it.
Without arguments every victim is killed 20 times in each program, 1,000 connections are reset, and garbage and runs
back to back last ten minutes each; a command with other numbers did that much and no more. A load average above the
number of cores means that other programs had their share of the machine.
"""
Rows = list[tuple[object, ...]]


@dataclass(frozen=True)
class Settings:
    """How much of each case."""

    points: int
    seconds: float
    resets: int
    jobs: int


@dataclass(frozen=True)
class Section:
    """What a case has shown."""

    text: str
    header: Sequence[str]
    rows: Rows
    failures: Sequence[str] = ()

    def lines(self) -> list[str]:
        """As Markdown."""
        table = ["| " + " | ".join(self.header) + " |", "|" + "---|" * len(self.header)]
        table += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in self.rows]
        failed = [f"\nNot as it must be: {line}" for line in self.failures]
        return [self.text, "", *(table if self.rows else []), *failed]


def _cell(value: object) -> str:
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|")


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder for one world."""
    return tempfile.TemporaryDirectory(prefix="privity-soak-", ignore_cleanup_errors=True)


# ------------------------------------------------------------------------------------------------------------- kill


def uniform(most: float) -> float:
    """Anywhere from 0 to `most`."""
    return most * secrets.randbelow(1 << 30) / (1 << 30)


def at_random(number: int, duration: float) -> Callable[[World, Command], Any]:
    """At a random moment of a run that takes so long; every other one while its shares move, which may be soon over."""

    def anywhere(_world: World, command: Command) -> None:
        point = moment(uniform(duration))
        wait_until(lambda: point() or command.process.poll() is not None)

    def online(world: World, command: Command) -> None:
        assert isinstance(world, ServedWorld | LocalWorld)
        faults.begun(world, "alice", attempts)(command)
        anywhere_of = moment(uniform(world.online))
        wait_until(lambda: anywhere_of() or command.process.poll() is not None)

    return online if number % 2 else anywhere


def kills(kind: str, workload: Workload, victim: str, points: int) -> tuple[list[Kill], dict[str, int], list[str]]:
    """One world, one victim, `points` kills; stops at the first that is not as it must be."""
    if victim == "dealer" and workload.every:
        workload = regression(steps=200, every=20)  # more than it may deal ahead
    done: list[Kill] = []
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="privity-soak-", ignore_cleanup_errors=True))
        )
        try:
            world: World
            if kind == "hosts":
                world = ServedWorld(stack.enter_context(Served(folder, offers())))
            else:
                world = LocalWorld(folder, offers())
            expected, duration = world.expected(workload)
            for number in range(points):
                done.append(world.kill(workload, victim, at_random(number, duration), expected))
                print(f"  {kind} {workload.program} {done[-1]}", file=sys.stderr, flush=True)
            world.close()
            return done, settled(world), []
        except Exception as error:  # noqa: BLE001 - the other victims go on
            traceback.print_exc()
            return done, {}, [f"{kind}, {workload.program}, {victim}: {type(error).__name__}: {error}"]


def kill_rows(how: Settings) -> Section:
    """Every victim of every workload under both launchers."""
    wanted = [(k, w, v) for k in ("hosts", "local") for w in (SUM, REGRESSION) for v in VICTIMS]
    with ThreadPoolExecutor(how.jobs) as pool:
        found = list(pool.map(lambda one: kills(*one, how.points), wanted))
    rows: Rows = []
    failures: list[str] = []
    keys = 0
    for (kind, workload, victim), (done, figures, failed) in zip(wanted, found, strict=True):
        stages = Counter(k.stage for k in done)
        times = [k.seconds for k in done if k.seconds is not None]
        rows.append((
            kind, workload.program, victim, len(done), stages["running"], stages["not begun"], stages["ended well"],
            statistics.median(times) if times else "none", max(times, default="none"),  # type: ignore[type-var]
            figures.get("checkpoints_restored", "none"), max((k.off for k in done), default=0.0),
        ))  # fmt: skip
        failures += failed
        failures += [f"named after {t:.2f} s: {kind}, {workload.program}, {victim}" for t in times if t > NAMED_SECONDS]
        keys += figures.get("keys", 0)
    text = (
        "kill -9 at random moments: half of them anywhere between the start of the command and the time that an "
        f"uninterrupted run takes, half of them between the entry of the attempt in a ledger and the last round. Then "
        f"the victim is started again and the run resumed with `privity resume`. *named*: seconds from the signal to "
        f"the last survivor's sentence, the same at every one (local: until the command has ended, and with it all "
        f"processes). *not begun*: somebody could not be reached yet, and only the coordinator had to say so. *ended "
        f"well*: it was over, or the dealer had dealt everything. *off*: the largest difference of a result from the "
        f"uninterrupted run's. Afterwards all journals "
        f"verify, none of {keys:,} key ids in the ledgers belongs to two sessions, and no process, socket, temporary "
        f"or unfinished file is left. {how.jobs} worlds at a time share the machine."
    )
    header = (
        "processes", "program", "victim", "kills", "running", "not begun", "ended well", "named, median",
        "named, longest", "resumed at a checkpoint", "off",
    )  # fmt: skip
    return Section(text, header, rows, failures)


# ----------------------------------------------------------------------------------------------------------- the others


def tried(label: str, fault: Callable[[], dict[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """Figures, or what was not as it must be."""
    began = time.monotonic()
    try:
        figures = fault()
    except Exception as error:  # noqa: BLE001 - the other cases go on
        traceback.print_exc()
        return {}, [f"{label}: {type(error).__name__}: {error}"]
    print(f"  {label}: {figures} ({time.monotonic() - began:.0f} s)", file=sys.stderr, flush=True)
    return figures, []


def listed(text: str, named: dict[str, Callable[[], dict[str, Any]]]) -> Section:
    """A section with a row for each figure."""
    rows: Rows = []
    failures: list[str] = []
    for label, fault in named.items():
        figures, failed = tried(label, fault)
        rows += [(label if i == 0 else "", name, value) for i, (name, value) in enumerate(figures.items())]
        failures += failed
    return Section(text, ("case", "figure", "value"), rows, failures)


def in_folder(fault: Callable[..., dict[str, Any]], *more: Any) -> Callable[[], dict[str, Any]]:
    """A fault in a fresh folder."""

    def run() -> dict[str, Any]:
        with scratch() as folder:
            return fault(Path(folder) / "world", *more)

    return run


def in_world(local: bool, fault: Callable[..., dict[str, Any]], *more: Any) -> Callable[[], dict[str, Any]]:
    """A fault among parties of a cluster file, or under the local launcher."""

    def run(folder: Path) -> dict[str, Any]:
        if local:
            world: LocalWorld | ServedWorld = LocalWorld(folder, offers())
            figures = fault(world, *more)
            world.close()
            return figures | settled(world)
        with Served(folder, offers()) as served:
            world = ServedWorld(served)
            figures = fault(world, *more)
            world.close()
            return figures | settled(world)

    return in_folder(run)


def cut(folder: Path, seconds: float) -> dict[str, Any]:
    """bob's host without a network for so long."""
    with Links([*NAMES, "dealer", "coordinator"]) as links:
        return faults.partitioned(folder, links, seconds)


def stop_rows(how: Settings) -> Section:
    """SIGSTOP."""
    named = {
        f"{victim}, {seconds:g} s": in_world(False, faults.stopped, victim, seconds)
        for victim in ("bob", "dealer")
        for seconds in (2.0, 20.0)
    }
    return listed("SIGSTOP in the middle of a regression, SIGCONT so much later; parties of a cluster file.", named)


def reset_rows(how: Settings) -> Section:
    """TCP resets."""
    text = (
        "Every data and control port is behind a proxy that resets a connection after some thousand bytes, while a "
        "regression of many rounds runs; then the proxies let everything pass."
    )
    return listed(text, {"resets": in_folder(faults.resets, how.resets, 3000)})


def link_rows(how: Settings) -> Section:
    """Network namespaces."""
    if not possible():
        return Section("", (), [], ["network namespaces need root and iproute2"])
    text = (
        "Each actor in a network namespace; bob's is taken off the bridge in the middle of a regression, and put back."
    )
    return listed(text, {f"{s:g} s": in_folder(cut, s) for s in (1.5, 3.0, 30.0)})


def disk_rows(how: Settings) -> Section:
    """A full disk."""
    text = "bob's state is on a file system of 6 MiB that is filled up after his first checkpoint, to the last byte."
    return listed(text, {"disk full": in_folder(faults.disk_full)})


def garbage_rows(how: Settings) -> Section:
    """Strangers."""
    text = (
        "Connections at bob's data and control port that say nothing, noise, half a greeting, a greeting of another "
        "mechanism, or a greeting, a HELLO and noise, each held for 0.2 s, while newcomers are let in and honest runs "
        "come and go. Growth of bob's memory from after the first 1,000 of them."
    )
    return listed(text, {f"{how.seconds:g} s": in_folder(faults.flooded, how.seconds)})


def many_rows(how: Settings) -> Section:
    """Many parties, and many runs."""
    named = {"sixteen parties": faults.sixteen, "back to back": in_folder(faults.endless, how.seconds, 200)}
    return listed("secure-sum of sixteen parties on one machine; and of three, back to back in one session.", named)


def interrupt_rows(how: Settings) -> Section:
    """Ctrl-C and SIGTERM."""
    cases = [
        (local, signum, phase)
        for local in (True, False)
        for signum in (signal.SIGINT, signal.SIGTERM)
        for phase in ("start", "run", "resume")
    ]
    rows: Rows = []
    failures: list[str] = []
    for local, signum, phase in cases:
        kind = "local" if local else "hosts"
        figures, failed = tried(f"{kind}, {signum.name}, {phase}", in_world(local, faults.interrupted, signum, phase))
        rows.append((kind, signum.name, phase, figures.get("code", "none"), figures.get("seconds", "none")))
        failures += failed
    text = (
        "The coordinator's command is interrupted while its processes start, in the middle of a regression, and of a "
        "resumed one. Seconds until it has ended, with a local run all its processes."
    )
    return Section(text, ("processes", "signal", "during", "exit code", "seconds"), rows, failures)


def several_rows(how: Settings) -> Section:
    """Runs side by side."""
    return listed("Runs at once from one session, one with an input that is no number.", {"several": faults.several})


CASES: dict[str, tuple[str, Callable[[Settings], Section]]] = {
    "kill": ("kill -9", kill_rows),
    "stop": ("SIGSTOP", stop_rows),
    "resets": ("TCP resets", reset_rows),
    "links": ("A link that is cut", link_rows),
    "disk": ("A full disk", disk_rows),
    "garbage": ("Garbage on the ports", garbage_rows),
    "many": ("Many parties, many runs", many_rows),
    "interrupt": ("Ctrl-C and SIGTERM", interrupt_rows),
    "several": ("Several runs at once", several_rows),
}


def put(title: str, lines: list[str]) -> None:
    """Replace a section of the evidence, or add it."""
    text = TARGET.read_text(encoding="utf-8") if TARGET.exists() else HEAD
    head, *parts = re.split(r"^## ", text, flags=re.MULTILINE)
    sections = {part.partition("\n")[0]: part for part in parts}
    sections[title] = "\n".join([title, "", *lines]).rstrip() + "\n\n"
    order = [name for name, _ in CASES.values()]
    kept = sorted(sections.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order))
    TARGET.write_text(
        (head.rstrip() + "\n\n" + "".join(f"## {part.rstrip()}\n\n" for _, part in kept)).rstrip() + "\n", "utf-8"
    )


def main() -> int:
    """Run the cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", choices=[*CASES, []], help=", ".join(CASES))
    parser.add_argument("--points", type=int, default=20, help="kills of each victim in each program (20)")
    parser.add_argument("--seconds", type=float, default=600.0, help="of garbage, and of runs back to back (600)")
    parser.add_argument("--resets", type=int, default=1000, help="TCP resets (1000)")
    parser.add_argument("--jobs", type=int, default=2, help="worlds side by side in which is killed (2)")
    parser.add_argument("--write", action="store_true", help="put it into docs/evidence/soak.md")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that every world is closed
    how = Settings(given.points, given.seconds, given.resets, given.jobs)
    command = shlex.join(["scripts/soak", *sys.argv[1:]])
    failed = False
    for name in given.cases or CASES:
        title, case = CASES[name]
        began, where = time.monotonic(), machine()
        section = case(how)
        minutes = (time.monotonic() - began) / 60
        today = dt.datetime.now(tz=dt.UTC).date().isoformat()
        lines = [*section.lines(), "", f"{today}, {minutes:.0f} minutes; {where}. `{command}`"]
        print(f"## {title}", "", *lines, "", sep="\n", flush=True)
        if given.write:
            put(title, lines)
        failed = failed or bool(section.failures)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
