"""Break the sources on purpose, one place at a time, and see whether the tests notice.

    mutants.py GROUP [--sample N] [--seed S] [--file PATH] [--jobs 2] [--list] [--write]

The groups, their files, which tests each file answers to, the classical mistakes to add to the mechanical mutants
(`scripts/mutations.py` says which those are), and the accepted survivors with a reason each: `tests/mutants.toml`.
Every mutant is run in a copy of the tree, in a process of its own, limited in processor time by what the unbroken
sources need. Exit 1 if a survivor is not listed, if fewer than 95 % of those that change behaviour are caught, or if an
entry of the list fits no mutant any more. `--write` puts the report into docs/evidence/mutants-GROUP.md.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from mutations import Mutant, mutants, replaced

NEEDED = 95  # per cent caught, of those that change behaviour
COPIED = ("mpc", "parties", "protocols", "tests", "scripts", "docs", "requirements", "pyproject.toml", "README.md")


@dataclass(frozen=True)
class Accepted:
    """A survivor that is known: why, and whether its behaviour is the original's."""

    key: tuple[str, str, str, str]
    reason: str
    equivalent: bool


@dataclass(frozen=True)
class Group:
    """What is broken, in order, the tests of each file, and the survivors that are accepted."""

    name: str
    mutants: list[Mutant]
    tests: dict[str, list[str]]
    accepted: dict[tuple[str, str, str, str], Accepted]

    @classmethod
    def load(cls, root: Path, name: str) -> Group:
        """From tests/mutants.toml and the sources."""
        table: dict[str, Any] = tomllib.loads((root / "tests" / "mutants.toml").read_text())
        if name not in table["group"]:
            raise SystemExit(f"no group {name}: tests/mutants.toml has {', '.join(table['group'])}")
        files = table["group"][name]["files"]
        made: list[Mutant] = []
        for entry in files:
            source = (root / entry["path"]).read_text()
            made += _named(entry["path"], source, table["mistake"])
            found = mutants(entry["path"], source)
            made += [m for m in found if not entry.get("only") or any(m.function.startswith(o) for o in entry["only"])]
        known = [a for a in table.get("accepted", []) if a["file"] in {e["path"] for e in files}]
        accepted = [
            Accepted((a["file"], a["in"], a["line"], a["becomes"]), a["reason"], a.get("equivalent", False))
            for a in known
        ]
        return cls(name, made, {e["path"]: e["tests"] for e in files}, {a.key: a for a in accepted})


def _named(file: str, source: str, mistakes: list[dict[str, str]]) -> Iterator[Mutant]:
    for entry in mistakes:
        if entry["file"] != file:
            continue
        if source.count(entry["old"]) != 1:
            raise SystemExit(f"tests/mutants.toml: the mistake '{entry['name']}' fits no single place of {file}")
        mutant = replaced(file, entry["name"], "mistake", source, source.replace(entry["old"], entry["new"]))
        if mutant is None:
            raise SystemExit(f"tests/mutants.toml: the mistake '{entry['name']}' changes nothing")
        yield mutant


def sampled(made: list[Mutant], count: int, seed: int) -> list[Mutant]:
    """`count` of them in their order, the classical mistakes first; a seed's choice is the same in any list."""
    ranked = sorted(made, key=lambda m: (m.kind != "mistake", hashlib.sha256(f"{seed}|{m.key}".encode()).digest()))
    chosen = {id(m) for m in ranked[:count]}
    return [m for m in made if id(m) in chosen]


# ------------------------------------------------------------------------------------------------------------ running


@dataclass(frozen=True)
class Outcome:
    """How the tests met one mutant: caught, survived or timeout; by: the test that failed."""

    mutant: Mutant
    status: str
    by: str


class Tree:
    """A copy of the tree in which one file at a time is broken."""

    def __init__(self, root: Path, copy: Path) -> None:
        self.copy = copy
        self.clock = int(time.time())
        for name in COPIED:
            source = root / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.exists():
                shutil.copy(source, copy)

    @contextmanager
    def broken(self, mutant: Mutant) -> Iterator[None]:
        """The copy with the mutant in it."""
        path = self.copy / mutant.file
        whole = path.read_text()
        try:
            self.put(path, mutant.text)
            yield
        finally:
            self.put(path, whole)
            shutil.rmtree(self.copy / ".hypothesis", ignore_errors=True)

    def put(self, path: Path, text: str) -> None:
        """The text, with a time of its own: compiled files are told apart by whole seconds."""
        self.clock += 2
        path.write_text(text)
        os.utime(path, (self.clock, self.clock))

    def run(self, tests: list[str], seconds: float) -> tuple[int | None, float, str]:
        """Exit code (None: out of time), processor seconds, and the tests' words."""
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "-rfE", "-p", "no:cacheprovider"]
        environment = {**os.environ, "PYTHONPATH": str(self.copy), "PYTHONHASHSEED": "0"}
        with tempfile.TemporaryFile("w+") as words:
            process = subprocess.Popen(
                [*command, "--hypothesis-seed=0", *tests],
                cwd=self.copy,
                env=environment,
                stdout=words,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
            limit = int(seconds) + 1
            resource.prlimit(process.pid, resource.RLIMIT_CPU, (limit, limit))
            _, status, used = _waited(process, time.monotonic() + 10 * seconds)
            words.seek(0)
            return status, used, words.read()


def _waited(process: subprocess.Popen[str], deadline: float) -> tuple[int, int | None, float]:
    """Wait until the end or the deadline: pid, exit code (None: killed for its time), processor seconds."""
    while True:
        pid, raw, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        if time.monotonic() > deadline:
            os.killpg(process.pid, 9)
            pid, raw, usage = os.wait4(process.pid, 0)
            break
        time.sleep(0.05)
    process.returncode = code = os.waitstatus_to_exitcode(raw)
    return pid, code if code >= 0 else None, usage.ru_utime + usage.ru_stime


def _failed(words: str) -> str:
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", words, re.MULTILINE)
    return found.group(1) if found else "before the first test"


class Bench:
    """Copies of the tree, and how long the unbroken sources take with each list of tests."""

    def __init__(self, root: Path, jobs: int, stack: ExitStack) -> None:
        self.jobs = jobs
        self.trees: SimpleQueue[Tree] = SimpleQueue()
        for _ in range(jobs):
            self.trees.put(Tree(root, Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mutants-")))))
        self.baseline: dict[str, float] = {}

    @contextmanager
    def tree(self) -> Iterator[Tree]:
        """One that nobody else uses."""
        tree = self.trees.get()
        try:
            yield tree
        finally:
            self.trees.put(tree)

    def measure(self, file: str, tests: list[str]) -> None:
        """The unbroken sources must pass, or nothing that follows means anything."""
        with self.tree() as tree:
            status, used, words = tree.run(tests, 1000)
        if status != 0:
            raise SystemExit(f"the unbroken sources fail the tests of {file}:\n{words}")
        self.baseline[file] = used

    def try_out(self, mutant: Mutant, tests: list[str]) -> Outcome:
        """One mutant against its tests."""
        with self.tree() as tree, tree.broken(mutant):
            status, _, words = tree.run(tests, 5 + 3 * self.baseline[mutant.file])
        if status is None:
            return Outcome(mutant, "timeout", "")
        return Outcome(mutant, "caught", _failed(words)) if status else Outcome(mutant, "survived", "")


def run(root: Path, group: Group, chosen: list[Mutant], jobs: int, say: Callable[[str], None]) -> list[Outcome]:
    """Every chosen mutant, in order."""
    outcomes = []
    with ExitStack() as stack:
        bench = Bench(root, jobs, stack)
        for file in dict.fromkeys(m.file for m in chosen):
            bench.measure(file, group.tests[file])
            say(f"{file}: its tests take {bench.baseline[file]:.0f} s of processor time")
        pool = stack.enter_context(ThreadPoolExecutor(jobs))
        for i, outcome in enumerate(pool.map(lambda m: bench.try_out(m, group.tests[m.file]), chosen), 1):
            outcomes.append(outcome)
            known = " (accepted)" if outcome.mutant.key in group.accepted else ""
            say(f"[{i}/{len(chosen)}] {outcome.status}{known}: {outcome.mutant}")
            if outcome.status == "survived" and not known:
                say(outcome.mutant.diff)
    return outcomes


# ------------------------------------------------------------------------------------------------------------- report


@dataclass(frozen=True)
class Verdict:
    """What came out, and what is wrong with it."""

    group: Group
    outcomes: list[Outcome]
    whole: bool

    @property
    def survivors(self) -> list[Outcome]:
        """Those the tests did not notice."""
        return [o for o in self.outcomes if o.status == "survived"]

    @property
    def unlisted(self) -> list[Outcome]:
        """Survivors that nobody accepted."""
        return [o for o in self.survivors if o.mutant.key not in self.group.accepted]

    @property
    def equivalent(self) -> list[Outcome]:
        """Survivors that behave as the original."""
        listed = [(o, self.group.accepted.get(o.mutant.key)) for o in self.survivors]
        return [o for o, a in listed if a and a.equivalent]

    @property
    def share(self) -> float:
        """Per cent caught of those that change behaviour."""
        changing = len(self.outcomes) - len(self.equivalent)
        return 100 * (len(self.outcomes) - len(self.survivors)) / changing if changing else 100.0

    @property
    def stale(self) -> list[Accepted]:
        """Accepted survivors that fit no mutant of today's sources."""
        made = {m.key for m in self.group.mutants}
        return [a for key, a in self.group.accepted.items() if key not in made]

    def tidy(self) -> bool:
        """Whether the list of accepted survivors fits; says where it does not."""
        for a in self.stale:
            print(f"tests/mutants.toml: fits no mutant any more: {' | '.join(a.key)}")
        return not self.stale

    def sound(self) -> bool:
        """Whether there is nothing to do; says what there is."""
        for o in self.unlisted:
            print(f"survived and not listed: {o.mutant}")
        print(self.summary())
        return self.tidy() and not self.unlisted and self.share >= NEEDED

    def summary(self) -> str:
        """One paragraph."""
        count = Counter(o.status for o in self.outcomes)
        return (
            f"{len(self.outcomes)} mutants{'' if self.whole else f' (a sample of {len(self.group.mutants)})'}: "
            f"{count['caught']} caught, {count['timeout']} ran out of time (caught as well), {count['survived']} "
            f"survived, of which {len(self.equivalent)} are equivalent and "
            f"{len(self.survivors) - len(self.equivalent) - len(self.unlisted)} accepted for another reason. "
            f"Caught of those that change behaviour: {self.share:.1f} %."
        )


def report(verdict: Verdict, command: str) -> str:
    """The page for docs/evidence."""
    lines = [f"# Mutants: {verdict.group.name}", "", f"Made by `{command}`.", "", verdict.summary(), ""]
    lines += ["| file | mutants | caught | out of time | survived |", "|---|---|---|---|---|"]
    for file in verdict.group.tests:
        count = Counter(o.status for o in verdict.outcomes if o.mutant.file == file)
        lines.append(f"| {file} | {count.total()} | {count['caught']} | {count['timeout']} | {count['survived']} |")
    lines += ["", "| kind | mutants | survived |", "|---|---|---|"]
    for kind in sorted({o.mutant.kind for o in verdict.outcomes}):
        count = Counter(o.status for o in verdict.outcomes if o.mutant.kind == kind)
        lines.append(f"| {kind} | {count.total()} | {count['survived']} |")
    lines += ["", "## Classical mistakes", "", "| mistake | file | noticed by |", "|---|---|---|"]
    for o in verdict.outcomes:
        if o.mutant.kind == "mistake":
            lines.append(f"| {o.mutant.function} | {o.mutant.file} | {o.by or o.status} |")
    lines += ["", "## Survivors", ""]
    for o in verdict.survivors:
        known = verdict.group.accepted.get(o.mutant.key)
        kind = "not listed" if known is None else f"{'equivalent' if known.equivalent else 'accepted'}: {known.reason}"
        lines += [f"* `{o.mutant.file}:{o.mutant.line}` {o.mutant.function}, {o.mutant.kind}: {kind}", ""]
        lines += ["  ```diff", *(f"  {d}" for d in o.mutant.diff.splitlines()[3:]), "  ```"]
    return "\n".join(lines).rstrip() + "\n"


def main() -> int:
    """Run, report, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("group")
    parser.add_argument("--sample", type=int, help="so many of them instead of all")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--file", action="append", help="these files of the group only")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--list", action="store_true", help="print the mutants and run nothing")
    parser.add_argument("--write", action="store_true", help="the report into docs/evidence/mutants-GROUP.md")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1], help="another tree")
    given = parser.parse_args()
    group = Group.load(given.root, given.group)
    chosen = [m for m in group.mutants if not given.file or m.file in given.file]
    chosen = sampled(chosen, len(chosen) if given.sample is None else given.sample, given.seed)
    if given.list:
        print("\n".join(map(str, chosen)))
        return 0 if Verdict(group, [], whole=True).tidy() else 1
    outcomes = run(given.root, group, chosen, given.jobs, lambda words: print(words, file=sys.stderr, flush=True))
    verdict = Verdict(group, outcomes, whole=len(chosen) == len(group.mutants))
    if given.write:
        sample = "" if given.sample is None else f" --sample {given.sample} --seed {given.seed}"
        page = report(verdict, f"scripts/mutants {given.group}{sample} --write")
        (given.root / "docs" / "evidence" / f"mutants-{given.group}.md").write_text(page)
    return 0 if verdict.sound() else 1


if __name__ == "__main__":
    sys.exit(main())
