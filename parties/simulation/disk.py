"""An actor's durable state in memory: what `parties.records` needs of a `Home`, whole transactions only.

It outlives the actor's process as a disk does. What it refuses is what `Home` refuses; tests hold the two against each
other. `full`: the next writes fail as on a full disk, and leave what was there as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from mpc.errors import UsageError
from mpc.exchange import Array
from parties.home import AlreadyUsed, Attempt, Checkpoint, Handle, HomeError, Material, StoredRun, Stream

__all__ = ["MemoryHome"]

Arrays = dict[str, "Array | None"]


class MemoryHome:
    """The state of one actor, with the rooms of a `Home`."""

    def __init__(self) -> None:
        self.full = False
        self.before: Callable[[], None] = lambda: None
        self.ledger = _Ledger(self)
        self.runs = _Runs(self)
        self.checkpoints = _Checkpoints(self)
        self.handles = _Handles(self)
        self.materials = _Materials(self)
        self.journal = _Journal(self)
        self.vault = _Vault()

    def write(self) -> None:
        """Called before every change. Raises HomeError on a full disk, and whatever `before` raises."""
        self.before()
        if self.full:
            raise HomeError("the disk is full")

    def restart(self) -> None:
        """What opening does after a crash: attempts that had not ended are ended, what they took is burnt."""
        for session, attempt in self.ledger.by_session.items():
            if not attempt.ended:
                self.ledger.by_session[session] = replace(attempt, ended="-", how="crashed")
                self.materials.burn_of(session)
                if attempt.run in self.runs.known:
                    self.runs.known[attempt.run] = replace(self.runs.known[attempt.run], status="stopped")


class _Vault:
    def keyed(self, text: str) -> str:
        return f"keyed {text}"


class _Room:
    def __init__(self, home: MemoryHome) -> None:
        self.home = home


class _Ledger(_Room):
    def __init__(self, home: MemoryHome) -> None:
        super().__init__(home)
        self.by_session: dict[str, Attempt] = {}
        self.streams: dict[str, str] = {}
        self.asked: dict[str, dict[str, Any]] = {}

    def next_attempt(self, run: str) -> int:
        return 1 + max((a.attempt for a in self.by_session.values() if a.run == run), default=0)

    def begin(
        self, run: str, attempt: int, session: str, *, program: str, digest: str, role: str, **asked: Any
    ) -> None:
        self.home.write()
        if attempt < self.next_attempt(run) or session in self.by_session:
            raise AlreadyUsed(f"run {run[:8]}: attempt {attempt} was begun before; start a new attempt")
        self.by_session[session] = Attempt(run, attempt, session, program, digest, role)
        self.asked[session] = asked

    def reserve(self, session: str, streams: Iterable[Stream]) -> None:
        self.home.write()
        wanted = [stream.key for stream in streams]
        if any(key in self.streams for key in wanted) or len(set(wanted)) != len(wanted):
            raise AlreadyUsed("a key was reserved before; masks are never used twice: start a new attempt")
        self.streams.update(dict.fromkeys(wanted, session))

    def end(
        self, session: str, how: str, sentence: str = "", reveals: Iterable[tuple[str, Mapping[str, Any]]] = ()
    ) -> None:
        self.home.write()
        if not self.by_session[session].ended:
            run = self.by_session[session]
            self.home.journal.entries += [(run.run, run.attempt, what, str(r["name"])) for what, r in reveals]
            self.by_session[session] = replace(self.by_session[session], ended="-", how=how, sentence=sentence)


class _Runs(_Room):
    def __init__(self, home: MemoryHome) -> None:
        super().__init__(home)
        self.known: dict[str, StoredRun] = {}

    def add(self, run: StoredRun) -> None:
        self.home.write()
        if run.run in self.known:
            raise AlreadyUsed(f"run {run.run[:8]} is known here already; a new run has a new id")
        self.known[run.run] = run

    def get(self, run: str) -> StoredRun | None:
        return self.known.get(run)

    def set_status(self, run: str, status: str, sentence: str = "") -> None:
        self.home.write()
        self.known[run] = replace(self.known[run], status=status, sentence=sentence)


class _Checkpoints(_Room):
    def __init__(self, home: MemoryHome) -> None:
        super().__init__(home)
        self.kept: dict[tuple[str, int], tuple[Checkpoint, Arrays]] = {}

    def prepare(self, run: str, epoch: int, site: int, iteration: int, arrays: Mapping[str, Array | None]) -> None:
        self.home.write()
        if any(r == run and epoch <= e for r, e in self.kept):
            raise AlreadyUsed(f"run {run[:8]}: each checkpoint's epoch is larger than the last")
        copies = {name: None if a is None else a.copy() for name, a in arrays.items()}
        self.kept[run, epoch] = (Checkpoint(run, epoch, site, iteration, "prepared", ""), copies)

    def commit(self, run: str, epoch: int) -> None:
        self.home.write()
        if (run, epoch) not in self.kept:
            raise HomeError(f"run {run[:8]}: no checkpoint of epoch {epoch} is held here")
        checkpoint, arrays = self.kept[run, epoch]
        self.kept[run, epoch] = (replace(checkpoint, state="committed"), arrays)
        self._keep(run, lambda e: e >= epoch)

    def restored(self, run: str, epoch: int, _attempt: int) -> None:
        self.commit(run, epoch)
        self._keep(run, lambda e: e == epoch)

    def drop(self, run: str) -> None:
        self.home.write()
        self._keep(run, lambda _: False)

    def _keep(self, run: str, which: Any) -> None:
        self.kept = {key: value for key, value in self.kept.items() if key[0] != run or which(key[1])}

    def held(self, run: str) -> list[Checkpoint]:
        return [self.kept[key][0] for key in sorted(self.kept) if key[0] == run]

    def load(self, run: str, epoch: int) -> tuple[Checkpoint, dict[str, Any], Arrays]:
        if (run, epoch) not in self.kept:
            raise HomeError(f"run {run[:8]}: no checkpoint of epoch {epoch} is held here")
        checkpoint, arrays = self.kept[run, epoch]
        return checkpoint, {}, dict(arrays)


class _Handles(_Room):
    def __init__(self, home: MemoryHome) -> None:
        super().__init__(home)
        self.staged: dict[tuple[str, str], tuple[Handle, Arrays]] = {}
        self.kept: dict[str, tuple[Handle, Arrays]] = {}
        self.replaced: dict[str, tuple[Handle, Arrays]] = {}

    def stage(self, handle: Handle, arrays: Mapping[str, Array | None]) -> None:
        self.home.write()
        self.staged[handle.run, handle.name] = (handle, dict(arrays))

    def commit(self, run: str) -> None:
        self.home.write()
        for key in [k for k in self.staged if k[0] == run]:
            if key[1] in self.kept and self.kept[key[1]][0].run != run:
                self.replaced[key[1]] = self.kept[key[1]]
            self.kept[key[1]] = self.staged.pop(key)

    def replace(self, run: str) -> None:
        self.home.write()
        self.replaced = {n: r for n, r in self.replaced.items() if self.kept[n][0].run != run}

    def all(self) -> list[Handle]:
        return [handle for handle, _ in self.kept.values()]

    def load(self, name: str, run: str = "") -> tuple[Handle, Arrays]:
        if name not in self.kept:
            raise UsageError(f"no secret is kept under the name {name!r}")
        if self.kept[name][0].run != run:
            return self.kept[name]
        if name not in self.replaced:
            raise UsageError(f"what {name!r} was before this run replaced it is not there any more")
        return self.replaced[name]

    def drop(self, name: str) -> None:
        self.load(name)
        self.home.write()
        del self.kept[name]
        self.replaced.pop(name, None)


class _Materials(_Room):
    def __init__(self, home: MemoryHome) -> None:
        super().__init__(home)
        self.known: dict[str, tuple[Material, Arrays]] = {}
        self.headers: dict[str, dict[str, Any]] = {}

    def stock(
        self, material: Material, arrays: Mapping[str, Array | None], header: Mapping[str, Any] | None = None
    ) -> None:
        self.home.write()
        if material.id in self.known:
            raise AlreadyUsed(f"material {material.id[:8]} is known here already")
        self.known[material.id] = (material, dict(arrays))
        self.headers[material.id] = dict(header or {})

    def about(self, material: str) -> dict[str, Any]:
        return self.headers[self.get(material).id]

    def get(self, material: str) -> Material:
        if material not in self.known:
            raise UsageError(f"material {material[:8]} is not in this store")
        return self.known[material][0]

    def take(self, material: str, session: str) -> None:
        self.home.write()
        found = self.get(material)
        if found.state != "stocked":
            raise AlreadyUsed(f"material {material[:8]} is {found.state}; it is never used again")
        self._set(material, state="used", session=session)

    def load(self, material: str, session: str) -> tuple[Material, dict[str, Any], Arrays]:
        found, arrays = self.known[material]
        if (found.state, found.session) != ("used", session):
            raise AlreadyUsed(f"material {material[:8]} was not taken by this session")
        return found, self.headers[material], dict(arrays)

    def spent(self, session: str) -> None:
        self.home.write()
        for material, (found, _) in list(self.known.items()):
            if found.session == session:
                self.known[material] = (found, {})

    def burn(self, material: str, _why: str) -> None:
        self.home.write()
        if material in self.known:
            self._set(material, state="burnt")

    def burn_of(self, session: str) -> None:
        for material, (found, _) in list(self.known.items()):
            if found.session == session and found.state == "used":
                self._set(material, state="burnt")

    def _set(self, material: str, **changes: Any) -> None:
        found, arrays = self.known[material]
        self.known[material] = (replace(found, **changes), arrays)

    def all(self, *, digest: str | None = None, state: str | None = None) -> list[Material]:
        found = [m for m, _ in self.known.values()]
        return [m for m in found if digest in (None, m.digest) and state in (None, m.state)]


class _Journal(_Room):
    def __init__(self, home: MemoryHome) -> None:
        super().__init__(home)
        self.entries: list[tuple[str, int, str, str]] = []
        self.facts: list[dict[str, Any]] = []

    def append(self, entry: Mapping[str, Any]) -> None:
        self.home.write()
        self.facts.append(dict(entry))

    def reveals(
        self, run: str, attempt: int, _program: str, _digest: str, rows: Iterable[tuple[str, Mapping[str, Any]]]
    ) -> None:
        self.home.write()
        self.entries += [(run, attempt, what, str(r["name"])) for what, r in rows]
