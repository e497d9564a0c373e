"""All parties and the dealer on this machine, each a process of its own, with keys that live as long as they do.

Spawned, never forked: `python -m parties --child party alice`. A child binds a port of its own choice and reports it,
so that no port is taken twice; it ends when its standard input does, so that none survives this process.
"""

from __future__ import annotations

import contextlib
import io
import os
import queue
import selectors
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, cast

from mpc.errors import InputError, PeerError
from parties.cluster import DEALER, Cluster, Member, write
from parties.declared import Declared
from parties.launch.pipe import pack_value, read_record, whole_record, write_record
from parties.limits import Limits
from parties.values import unpack_values

__all__ = ["LocalLauncher"]

_START_SECONDS = 30.0
_STDERR_KEPT = 32 << 10
_TEXTS_KEPT = 64


class _Child:
    """One process and what came from it."""

    def __init__(self, actor: int, name: str, process: subprocess.Popen[bytes]) -> None:
        self.actor = actor
        self.name = name
        self.process = process
        self.stdin = cast("IO[bytes]", process.stdin)
        self.events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._for_owner: dict[str, dict[str, Any]] = {}  # by what it is about: the last text, and its own results
        self._came = threading.Condition()
        self.stderr = bytearray()
        self._partial = bytearray()

    def feed(self, raw: bytes) -> None:
        """Bytes from its standard output."""
        self._partial += raw
        while size := whole_record(self._partial):
            record = read_record(io.BytesIO(self._partial[:size]))
            assert record is not None
            del self._partial[:size]
            head, blobs = record
            if head["event"] == "owner":
                self._tell(head["about"], {"": head["text"]})
            elif head["event"] == "kept":
                self._tell(head["about"], unpack_values(blobs))
            elif head["event"] != "say":
                self.events.put(head)

    def _tell(self, about: str, what: dict[str, Any]) -> None:
        with self._came:
            self._for_owner.setdefault(about, {}).update(what)
            for oldest in list(self._for_owner)[:-_TEXTS_KEPT]:
                del self._for_owner[oldest]
            self._came.notify_all()

    def for_owner(self, about: str, names: Collection[str], seconds: float) -> dict[str, Any]:
        """What it has for its owner of a session or a question, by name ("" for a text); waits so long for that."""
        with self._came:
            self._came.wait_for(lambda: set(names) <= self._for_owner.get(about, {}).keys(), seconds)
            return self._for_owner.pop(about, {})

    def complain(self, raw: bytes) -> None:
        """Bytes from its standard error; the last ones are kept."""
        self.stderr += raw
        del self.stderr[:-_STDERR_KEPT]


class LocalLauncher:
    """Starts, feeds and stops the children. `insecure`: the label of test entropy, part of the agreed digest.

    state: where they keep what outlives them; without one in a temporary directory, which goes with this launcher.
    declared: what is declared of columns, whoever owns them.
    """

    def __init__(
        self,
        names: Sequence[str],
        insecure: str = "",
        limits: Limits | None = None,
        state: Path | None = None,
        declared: Declared | None = None,
    ) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="privity-") if state is None else None
        self.state = Path(self._temporary.name) if self._temporary is not None else cast("Path", state)
        self._names = list(names)
        self._insecure = insecure
        self._declared = declared or Declared()
        self._limits = limits or Limits()
        self._children: list[_Child] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        # The interpreter's last act, should nobody close this: children must not outlive it by a second.
        self._finalizer = weakref.finalize(self, _stop, self._processes, 0.0)
        self._selector = selectors.DefaultSelector()
        self._reader: threading.Thread | None = None
        self._closed = False

    def start(self, coordinator_public: str) -> Cluster:
        """Start everybody; returns the cluster when all listen and know each other."""
        for actor, name in [*enumerate(self._names), (DEALER, "dealer")]:
            self._children.append(self._spawn(actor, name))
        self._reader = threading.Thread(
            target=_read_all, args=(self._selector, len(self._children) * 2), name="children", daemon=True
        )
        self._reader.start()
        config = {
            "insecure": self._insecure,
            "die_with_parent": threading.current_thread() is threading.main_thread(),
            "limits": asdict(self._limits),
            "state": str(self.state),
            "columns": self._declared.fields(),
            "minimum": self._declared.minimum,
        }
        for child in self._children:
            self._write(child, config)
        members = [self._listening(child) for child in self._children]
        cluster = Cluster(
            tuple(members[:-1]), members[-1], Member("coordinator", "", coordinator_public), ephemeral=True
        )
        for child in self._children:
            self._write(child, {"cluster": write(cluster)})
        for child in self._children:
            self._await(child, "ready")
        for child in self._children:
            self._write(child, {"go": True})
        return cluster

    def _spawn(self, actor: int, name: str) -> _Child:
        role = ["dealer"] if actor == DEALER else ["party", name]
        process = subprocess.Popen(  # noqa: S603 - see `command`
            command(role),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(len(self._names)),
            process_group=0,  # a terminal's Ctrl-C reaches this process only, which then stops the children
        )
        self._processes.append(process)
        child = _Child(actor, name, process)
        for pipe, take in ((process.stdout, child.feed), (process.stderr, child.complain)):
            self._selector.register(cast("IO[bytes]", pipe), selectors.EVENT_READ, take)
        return child

    def _write(self, child: _Child, head: dict[str, Any], blobs: Sequence[bytes | memoryview] = ()) -> None:
        try:
            write_record(cast("io.BufferedWriter", child.stdin), head, blobs)
        except OSError:
            raise self._died(child) from None

    def _await(self, child: _Child, event: str) -> dict[str, Any]:
        end = time.monotonic() + _START_SECONDS
        while True:
            try:
                head = child.events.get(timeout=0.05)
            except queue.Empty:
                if child.process.poll() is not None and child.events.empty():
                    raise self._died(child) from None
                if time.monotonic() > end:
                    raise PeerError(f"{_call(child)} did not start within {_START_SECONDS:g} s") from None
                continue
            if head["event"] == event:
                return head

    def _listening(self, child: _Child) -> Member:
        head = self._await(child, "listening")
        return Member(child.name, f"127.0.0.1:{head['port']}", head["public"])

    def _died(self, child: _Child) -> PeerError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.process.wait(1.0)
        error = PeerError(f"{_call(child)} {_ending(child.process)}")
        for note in self.notes(child.actor):
            error.add_note(note)
        return error

    # ---------------------------------------------------------------------------------------------------- use

    def offer(self, party: int, name: str, value: Any) -> None:
        """Give a party its own data: a path is read there, anything else goes through its pipe and nowhere else."""
        child = self._children[party]
        if isinstance(value, str | Path):
            self._write(child, {"name": name, "path": str(value)})
        else:
            head, blobs = pack_value(value, f"input {name!r} of {child.name}")
            self._write(child, {"name": name, **head}, blobs)
        refused = self._await(child, "offered")["refused"]
        if refused:
            raise InputError(refused.removeprefix(f"{child.name}: "), child.name)

    def owner_text(self, party: int, about: bytes, seconds: float = 0.5) -> str:
        """What a party has to say to the owner of its data, who sits at this terminal; empty if nothing."""
        return str(self._children[party].for_owner(about.hex(), ("",), seconds).get("", ""))

    def results_of(self, party: int, session: bytes, names: Collection[str], seconds: float = 5.0) -> dict[str, Any]:
        """Those results of a session that are a party's alone, whose owner sits at this terminal; waits so long."""
        found = self._children[party].for_owner(session.hex(), names, seconds)
        return {name: found[name] for name in names if name in found}

    def dead(self) -> list[tuple[int, str]]:
        """The children that have ended, and how."""
        return [(c.actor, _ending(c.process)) for c in self._children if c.process.poll() is not None]

    def pids(self) -> dict[str, int]:
        """Process ids by name."""
        return {c.name: c.process.pid for c in self._children}

    def notes(self, actor: int | None = None) -> list[str]:
        """What children wrote to standard error."""
        out = []
        for child in self._children:
            text = bytes(child.stderr).decode("utf-8", "replace").strip()
            if text and actor in (None, child.actor):
                out.append(f"{child.name} wrote:\n{text}")
        return out

    def close(self) -> None:
        """Stop every child and wait for it."""
        if self._closed:
            return
        self._closed = True
        self._finalizer.detach()
        for child in self._children:
            with contextlib.suppress(OSError):
                child.stdin.close()
        _stop(self._processes, 0.5)
        if self._reader is not None:
            self._reader.join(1.0)
        for child in self._children:
            for pipe in (child.process.stdout, child.process.stderr):
                cast("IO[bytes]", pipe).close()
        self._selector.close()
        if self._temporary is not None:
            self._temporary.cleanup()


def _stop(processes: list[subprocess.Popen[bytes]], patience: float) -> None:
    end = time.monotonic() + patience
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, end - time.monotonic()))
        if process.poll() is None:
            process.kill()
    for process in processes:
        process.wait()


def _read_all(selector: selectors.BaseSelector, pipes: int) -> None:
    while pipes:
        for key, _ in selector.select():
            raw = os.read(key.fd, 1 << 16)
            if raw:
                key.data(raw)
            else:
                selector.unregister(key.fileobj)
                pipes -= 1


def command(role: Sequence[str]) -> list[str]:
    """What is run to be a child: our own interpreter and module."""
    return [sys.executable, "-P", "-m", "parties", "--child", *role]


def _environment(parties: int) -> dict[str, str]:
    """This environment, with this package found first, and the machine's cores shared out among the parties."""
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    threads = str(max(1, (os.cpu_count() or 1) // parties))
    defaults = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads)
    return {**defaults, **os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _call(child: _Child) -> str:
    return "the dealer" if child.actor == DEALER else f"party {child.name}"


def _ending(process: subprocess.Popen[bytes]) -> str:
    code = process.poll()
    if code is None:
        return "lost its connection"
    return f"died (killed by signal {-code})" if code < 0 else f"died (exit code {code})"
