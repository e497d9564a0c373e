"""This tree beside an older commit: both run the same workloads in turn, so that a busy machine slows both alike.

The commit is checked out into a temporary folder. Each side is a process with sessions of its own (see `side`), whose
parties and dealer are started from the side's tree; a witness in every one of them notes which code it took, and a side
that took another tree's is an error. Sessions are renewed after a few pairs, because where the system happens to place
the processes of one session slows or speeds all runs in it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from mpc.errors import MpcError, UsageError

__all__ = ["PAIRS", "Commit", "Side", "SideFailed", "commit_of", "compared_pairs", "paired", "sides", "summary"]

PAIRS = 15
ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
WORKLOADS = "scripts/workloads.py"
TIMES = ("total_seconds", "online_seconds")
_SESSION_PAIRS = 5
_TRIES = 3
_ANSWER_SECONDS = 600.0
_END_SECONDS = 10.0
_INSTALL_SECONDS = 1800.0
Line = dict[str, Any]
Pair = tuple[Mapping[str, float], Mapping[str, float]]  # of the old tree, of this one


class SideFailed(MpcError):
    """A side could not run a workload; which, and why."""


@dataclass(frozen=True)
class Commit:
    """What this tree is compared with."""

    name: str
    digest: str
    subject: str


# ------------------------------------------------------------------------------------------------------ the trees


def commit_of(name: str, root: Path = ROOT) -> Commit:
    """The commit of that name; a UsageError if there is none."""
    try:
        digest = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}").strip()
        return Commit(name, digest, _git(root, "log", "-1", "--format=%s", digest).strip())
    except FileNotFoundError:
        raise UsageError("--against needs git, and there is none on the PATH") from None
    except subprocess.CalledProcessError as error:
        why = error.stderr.strip().removeprefix("fatal: ").splitlines()
        raise UsageError(
            f"--against {name}: no commit of this repository{f' ({why[0]})' if why else ''}; `git log` lists them"
        ) from None


def changed(root: Path = ROOT) -> str:
    """What this side is: its last commit, and whether files differ from it."""
    files = len(_git(root, "status", "--porcelain").splitlines())
    return _git(root, "log", "-1", "--format=%h %s").strip() + (f", and {files} changed files" if files else "")


def _git(root: Path, *words: str, **more: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | more
    command = ["git", "-C", str(root), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout


def check_out(commit: Commit, target: Path, root: Path = ROOT) -> None:
    """The commit's files in a folder. Through an index of its own: the repository keeps no trace of it."""
    index = {"GIT_INDEX_FILE": str(target.with_name("index"))}
    _git(root, "read-tree", commit.digest, **index)
    _git(root, "checkout-index", "--all", f"--prefix={target}/", **index)
    if not (target / WORKLOADS).exists():
        raise MpcError(f"{commit.name} has no {WORKLOADS}, so that nothing can be compared; take a later commit")


def interpreter(tree: Path, folder: Path, root: Path = ROOT) -> Path:
    """A Python with what the tree's workloads need: this one, or a new environment of the same if the pins differ."""
    wanted, ours = tree / "requirements" / "demo.txt", root / "requirements" / "demo.txt"
    if not wanted.exists() or wanted.read_bytes() == ours.read_bytes():
        return Path(sys.executable)
    print(
        "its dependencies differ: installing them into an environment of its own; this takes a minute", file=sys.stderr
    )
    python = folder / "venv" / "bin" / "python"
    base = getattr(sys, "_base_executable", sys.executable)
    pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input", "install"]
    try:
        for command in (
            [base, "-m", "venv", str(folder / "venv")],
            [*pip, "--require-hashes", "-r", str(wanted)],
            [*pip, "--no-deps", "--no-build-isolation", "--editable", str(tree)],
        ):
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=_INSTALL_SECONDS)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        last = (str(error.stderr or "").strip().splitlines() or [str(error)])[-1]
        raise MpcError(f"the dependencies of the older commit cannot be installed: {last}") from None
    return python


# ------------------------------------------------------------------------------------------------------ the sides


class Side:
    """A process that runs the workloads of one tree. No Ctrl-C reaches it; it ends with this process."""

    def __init__(self, name: str, tree: Path, python: Path, folder: Path) -> None:
        self.name = name
        self.tree = tree
        self.python = python
        self.notes = folder / f"{name}-witness"
        self.log = folder / f"{name}.log"
        self.temporary = folder / f"{name}-tmp"
        self.workloads: dict[str, int] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._pending = 0

    def __enter__(self) -> Self:
        self.notes.mkdir()
        self.temporary.mkdir()
        try:
            self._start()
        except BaseException:
            self._stop(at_once=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop(at_once=kind is not None)

    def _start(self) -> None:
        path = os.pathsep.join(map(str, (self.tree, self.tree / "scripts", HERE / "witness")))
        environment = os.environ | {
            "PYTHONPATH": path,
            "PRIVITY_BENCH_WITNESS": str(self.notes),
            "TMPDIR": str(self.temporary),
        }
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(self.python), "-P", str(HERE / "side.py")],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0,
                cwd=self.tree, env=environment, start_new_session=True,
            )  # fmt: skip
        self._pending = 1
        self.workloads = self.answer()["workloads"]

    def order(self, **words: Any) -> None:
        """Tell it what to do; `answer` waits until it has done that."""
        try:
            self._pipe("stdin").write(json.dumps(words).encode() + b"\n")
        except OSError:
            raise SideFailed(self._last_words()) from None
        self._pending += 1

    def answer(self) -> Line:
        """What came of the first order that has no answer yet."""
        found = self._read()
        if "failed" in found:
            raise SideFailed(f"{self.name}: {found['failed']}")
        return found

    def _read(self) -> Line:
        out = self._pipe("stdout")
        if not select.select([out], [], [], _ANSWER_SECONDS)[0]:
            raise SideFailed(f"{self.name}: no answer within {_ANSWER_SECONDS:.0f} s")
        line = out.readline()
        if not line:
            raise SideFailed(self._last_words())
        self._pending -= 1
        found: Line = json.loads(line)
        return found

    def _pipe(self, name: str) -> IO[bytes]:
        assert self._process is not None
        pipe: IO[bytes] = getattr(self._process, name)
        return pipe

    def reset(self) -> None:
        """After a failure: no session, whatever was ordered; a new process if this one does not answer."""
        try:
            while self._pending:
                self._read()
            self.order(close=True)
            self.answer()
        except SideFailed:
            self._stop(at_once=True)
            self._start()

    def check_code(self, least: int) -> None:
        """Raise MpcError unless at least so many processes ran, all with the code of this side's tree."""
        found = [(note.name, note.read_text(encoding="utf-8").split("\n")[:-1]) for note in self.notes.iterdir()]
        for pid, origins in found:
            for origin in origins:
                if not Path(origin).resolve().is_relative_to(self.tree.resolve()):
                    raise MpcError(
                        f"process {pid} of the {self.name} side took its code from {origin}, not {self.tree}"
                    )
        if len(found) < least:
            raise MpcError(f"of the {self.name} side {len(found)} processes were witnessed, not {least}")

    def _last_words(self) -> str:
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5.0)
        said = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"{self.name}: its process ended{f': {said[-1]}' if said else ''}"

    def _stop(self, *, at_once: bool) -> None:
        """Its own end, in which it stops its parties; then the system's, of whatever is left of its session."""
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        if at_once:
            process.send_signal(signal.SIGINT)
        until = time.monotonic() + _END_SECONDS
        while not _ended(process) and time.monotonic() < until:
            time.sleep(0.01)
        for pid in _of_session(process.pid):  # before it is waited for: until then its number is nobody else's
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def _ended(process: subprocess.Popen[bytes]) -> bool:
    if process.returncode is not None:
        return True
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def _of_session(leader: int) -> list[int]:
    """The processes of a session, where the system lists them; elsewhere the leader."""
    found = [int(entry.name) for entry in Path("/proc").glob("[0-9]*")] or [leader]
    members = []
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(pid) == leader:
                members.append(pid)
    return members


@contextmanager
def sides(commit: Commit, root: Path = ROOT) -> Iterator[tuple[Side, Side]]:
    """The older tree and this one, ready for orders; nothing is left of them afterwards."""
    with tempfile.TemporaryDirectory(prefix="privity-bench-") as name:
        folder = Path(name)
        check_out(commit, folder / "tree", root)
        python = interpreter(folder / "tree", folder, root)
        with (
            Side("old", folder / "tree", python, folder) as old,
            Side("new", root, Path(sys.executable), folder) as new,
        ):
            yield old, new


# ------------------------------------------------------------------------------------------------------ the pairs


def compared_pairs(
    commit: Commit, names: Sequence[str], pairs: int, parties: int | None, root: Path = ROOT
) -> Iterator[Line]:
    """A line for each workload."""
    print(f"old: {commit.digest[:10]} {commit.subject}\nnew: {changed(root)}", file=sys.stderr)
    with sides(commit, root) as (old, new):
        if (old.tree / WORKLOADS).read_bytes() != (new.tree / WORKLOADS).read_bytes():
            print(f"{WORKLOADS} differs: each side runs its own, which may be other work", file=sys.stderr)
        for name in names:
            n = parties or new.workloads[name]
            line = {"workload": name, "parties": n, "against": commit.digest}
            if name in old.workloads:
                yield line | paired(old, new, name, n, pairs)
            else:
                yield line | {"skipped": f"there is no workload {name} at {commit.name}"}


def paired(old: Side, new: Side, name: str, n: int, pairs: int) -> Line:
    """Runs of one workload in turn, until there are enough. What fails is tried again, in new sessions, twice."""
    load = round(os.getloadavg()[0], 2)
    found: list[Pair] = []
    checked: list[Line] = []
    failed = 0
    while len(found) < pairs:
        try:
            checked.append(_session(old, new, name, n, found, min(pairs, len(found) + _SESSION_PAIRS)))
        except SideFailed as failure:
            for side in (old, new):
                side.reset()
            failed += 1
            if failed == _TRIES:
                return {"failed": str(failure), "load": load}
    for side in (old, new):
        side.check_code(n + 2)
    errors = {key: max(line[key] for line in checked) for key in ("error", "allowed")}
    return summary(found) | errors | {"load": load}


def _session(old: Side, new: Side, name: str, n: int, found: list[Pair], enough: int) -> Line:
    """Pairs in one session of each side, each side first in turn; the largest error of this tree's runs."""
    _both(old, new, open=name, parties=n)
    while len(found) < enough:
        took = {}
        for side in (old, new) if len(found) % 2 else (new, old):
            side.order(run=True)
            took[side.name] = side.answer()
        found.append((took[old.name], took[new.name]))
    return _both(old, new, close=True)


def _both(old: Side, new: Side, **order: Any) -> Line:
    """Both at once; the answer of this tree."""
    for side in (old, new):
        side.order(**order)
    old.answer()
    return new.answer()


def summary(pairs: Sequence[Pair]) -> Line:
    """Medians of both, the median of the ratios new to old of the pairs, and their quartiles."""
    line: Line = {"pairs": len(pairs)}
    before: Line = {}
    ratios, quartiles = {}, {}
    for what in TIMES:
        before[what], line[what] = (statistics.median(pair[side][what] for pair in pairs) for side in (0, 1))
        each = [new[what] / old[what] for old, new in pairs]
        ratios[what] = statistics.median(each)
        cuts = statistics.quantiles(each, n=4, method="inclusive") if len(each) > 1 else each * 3
        quartiles[what] = [cuts[0], cuts[2]]
    for told in (line, before, ratios):
        told["seconds"] = told["online_seconds"]
    return line | {"old": before, "ratios": ratios, "quartiles": quartiles}
