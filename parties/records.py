"""What a party writes down, and asks of what it has written: one class a transaction with its durable state.

Brains make them and bodies `apply` them, so that brains touch no file. Each returns when it is on the disk, or raises
MpcError in words that may be shown to the other parties: names and numbers, never a path's content or a value.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mpc.errors import UsageError
from mpc.exchange import Array, Save
from mpc.handles import HandleSpec
from mpc.prg import SEED_BYTES
from parties.agree import dealt_seed, stock_of
from parties.home import Handle, Home, Material, Row, StoredRun, Stream, key_id
from parties.terms import Taken, Task, Terms, task_digest, unlike
from parties.wire import BadMessage, Buffer

__all__ = [
    "Begin",
    "Checkpoint",
    "Commit",
    "Conclude",
    "Disclose",
    "Drop",
    "Forget",
    "Hold",
    "Holdings",
    "Recall",
    "Recalled",
    "Stock",
    "Take",
    "spec_of",
]

_ROLE = "party"


@dataclass(frozen=True)
class Recalled:
    """What a party has for an attempt.

    brought: the hash of stored material, to be compared with its peers'. prints: fingerprints of its data, and of which
    run each kept secret is. changed: what of these was another when the run began, in words. unlike: what else the
    stored material was dealt for.
    """

    kept: dict[str, Array | None] = field(default_factory=dict, repr=False)
    brought: bytes = b""
    text: str = field(default="", repr=False)
    site: int = -1
    iteration: int = 0
    prints: dict[str, str] = field(default_factory=dict, repr=False)
    changed: tuple[str, ...] = ()
    unlike: str = ""


@dataclass(frozen=True)
class Recall:
    """Before anything is agreed: the checkpoint to go on from, kept secrets, stored material. Nothing is used up.

    handles: which secret each parameter takes, and what the program was made for. inputs: fingerprints of this party's
    data.
    """

    terms: Terms
    handles: Sequence[tuple[Taken, HandleSpec]]
    inputs: dict[str, str] = field(repr=False)

    def apply(self, home: Home) -> Recalled:
        """Look it up. Raises HomeError or UsageError for what is not held."""
        t = self.terms
        if t.mode == "run" and t.attempt <= _attempts(home, t.run):
            raise UsageError(f"has begun attempt {t.attempt} of run {t.run[:10]} before")
        kept: dict[str, Array | None] = {}
        prints, words = dict(self.inputs), {name: f"input {name!r}" for name in self.inputs}
        brought, other = self._material(home)
        for taken, wanted in self.handles:
            handle, arrays = home.handles.load(taken.name, t.run)
            if handle.run != taken.run:
                of = taken.run[:10] or "none"
                raise UsageError(f"keeps {taken.name!r} of run {handle.run[:10]}, not that of run {of}")
            if not spec_of(handle).fits(wanted):
                raise UsageError(f"keeps {taken.name!r}, but not as the program was made for it")
            name = f"kept {taken.parameter}"
            kept[taken.parameter] = next(iter(arrays.values()))
            prints[name], words[name] = handle.run, f"the kept secret {taken.name!r}"
        stored = self._stored(home)
        text, before = (stored.text, stored.inputs) if stored is not None else ("", {})
        keyed = _keyed(home, t.run, prints)
        changed = tuple(words[name] for name in keyed if before.get(name, keyed[name]) != keyed[name])
        site, iteration = -1, 0
        if t.epoch:
            if stored is None:
                raise UsageError(f"knows nothing of run {t.run[:10]}")
            checkpoint, _, arrays = home.checkpoints.load(t.run, t.epoch)
            kept |= arrays
            site, iteration = int(checkpoint.site), checkpoint.iteration
        return Recalled(kept, brought, text, site, iteration, prints, changed, other)

    def _stored(self, home: Home) -> StoredRun | None:
        """What is known of the run, whose attempts all have one program and suite: checkpoints are that program's."""
        t = self.terms
        stored = home.runs.get(t.run)
        if stored is None:
            return None
        if stored.suite != t.task.suite or (not t.epoch and stored.digest != t.task.source):
            raise UsageError(f"was given another program or suite than run {t.run[:10]} began with")
        return stored

    def _material(self, home: Home) -> tuple[bytes, str]:
        """Its hash, and what else than this it was dealt for."""
        t = self.terms
        if not t.material:
            return b"", ""
        material = home.materials.get(t.material)
        if material.state != "stocked":
            raise UsageError(f"has material {t.material[:8]} as {material.state}; it is never used again")
        return bytes.fromhex(material.content), unlike(t.task, home.materials.about(t.material).get("task", {}))


def _keyed(home: Home, run: str, inputs: dict[str, str]) -> dict[str, str]:
    """Fingerprints as the ledger has them: who has the ledger alone cannot try out data, nor compare two runs'."""
    return {name: home.vault.keyed(f"{run} {name} {fingerprint}") for name, fingerprint in inputs.items()}


def _attempts(home: Home, run: str) -> int:
    return home.ledger.next_attempt(run) - 1


@dataclass(frozen=True)
class Begin:
    """Before the first draw from any stream: this attempt, and every key that it uses.

    text: of a new run. inputs: fingerprints of this party's data, so that a later attempt uses the same; they are
    written under a key. asked: what the journal says of it (`parties.runlog`).
    """

    terms: Terms
    program: str
    text: str = field(repr=False)
    inputs: dict[str, str] = field(repr=False)
    keys: Sequence[bytes] = field(repr=False)
    asked: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def apply(self, home: Home) -> None:
        """Reserve. Raises AlreadyUsed if the attempt, its session or one of its keys was there before."""
        t = self.terms
        if self.text and home.runs.get(t.run) is None:
            inputs = _keyed(home, t.run, self.inputs)
            home.runs.add(StoredRun(t.run, self.program, self.text, t.task.source, t.task.suite, inputs))
        about = {"program": self.program, "digest": t.task.source, "role": _ROLE, **self.asked}
        home.ledger.begin(t.run, t.attempt, t.session, **about)
        if not t.task.insecure:  # test entropy repeats itself, and says so in every digest
            home.ledger.reserve(t.session, _streams(self.keys))
        if home.runs.get(t.run) is not None:
            home.runs.set_status(t.run, "running")
        if t.epoch:
            home.checkpoints.restored(t.run, t.epoch, t.attempt)


@dataclass(frozen=True)
class Checkpoint:
    """This party's part of a checkpoint: first phase."""

    terms: Terms
    epoch: int
    site: int
    iteration: int
    arrays: dict[str, Array | None] = field(repr=False)

    def apply(self, home: Home) -> None:
        """Make it durable beside the older one. Raises HomeError (a full disk for one); the older one stays."""
        home.checkpoints.prepare(self.terms.run, self.epoch, self.site, self.iteration, self.arrays)


@dataclass(frozen=True)
class Commit:
    """Second phase: every party holds this epoch, older ones go."""

    run: str
    epoch: int

    def apply(self, home: Home) -> None:
        """Commit it."""
        home.checkpoints.commit(self.run, self.epoch)


@dataclass(frozen=True)
class Hold:
    """A secret result under a name, staged until the run is done everywhere."""

    terms: Terms
    program: Any
    request: Save

    def apply(self, home: Home) -> None:
        """Stage it."""
        s = next(s for s in self.program.keeps if s.name == self.request.name)
        about = (s.shape, s.scale, s.unit, s.lo, s.hi, s.bits, s.parties)
        home.handles.stage(Handle(s.name, self.terms.run, *about, noise=s.noise), self.request.arrays)


@dataclass(frozen=True)
class Disclose:
    """Before shares of results leave: what is to be revealed to whom, and what has been since the last time."""

    terms: Terms
    program: str
    rows: Sequence[Row]

    def apply(self, home: Home) -> None:
        """Append it to the journal."""
        t = self.terms
        home.journal.reveals(t.run, t.attempt, self.program, t.task.source, self.rows)


@dataclass(frozen=True)
class Conclude:
    """An attempt is over. how: `done`, `stopped` or `refused`. rows: what has come of reveals of the program."""

    terms: Terms
    how: str
    sentence: str
    reveals: Sequence[Row] = ()

    def apply(self, home: Home) -> None:
        """Write how it ended; what a run that is done keeps becomes usable. Its checkpoints stay until `Forget`."""
        t = self.terms
        home.ledger.end(t.session, self.how, self.sentence, self.reveals)
        if t.material and self.how == "done":
            home.materials.spent(t.session)
        elif t.material:
            home.materials.burn(t.material, "the attempt that took it stopped")
        if home.runs.get(t.run) is not None:
            home.runs.set_status(t.run, "done" if self.how == "done" else "stopped", self.sentence)
        if self.how == "done":
            home.handles.commit(t.run)


@dataclass(frozen=True)
class Forget:
    """Every party has written that the run is done: nobody will need its checkpoints or what it replaced any more."""

    terms: Terms

    def apply(self, home: Home) -> None:
        """Drop them, unless a later attempt has begun, whose they are now."""
        if _attempts(home, self.terms.run) == self.terms.attempt:
            home.checkpoints.drop(self.terms.run)
            home.handles.replace(self.terms.run)


@dataclass(frozen=True)
class Stock:
    """Material that the dealer gave for later."""

    material: Material
    task: Task
    arrays: dict[str, Array | None] = field(repr=False)

    @classmethod
    def of(
        cls,
        task: Task,
        me: int,
        nonce: bytes,
        seeds: bytes,
        corrections: list[tuple[Buffer, ...]],
        record: Sequence[Buffer],
    ) -> Stock:
        """Check this party's part against the hash that the dealer told everybody. Raises BadMessage if it differs."""
        hashes = bytes(record[0]) if len(record) == 1 else b""
        digest = hashlib.sha256(seeds)
        for frames in corrections:
            for frame in frames:
                digest.update(frame)
        if digest.digest() != hashes[32 * me : 32 * me + 32]:
            raise BadMessage("material that is not what it says")
        arrays: dict[str, Array | None] = {"seeds": np.frombuffer(seeds, dtype=np.uint8)}
        size = len(seeds)
        for number, frames in enumerate(corrections):
            for part, frame in enumerate(frames):
                arrays[f"{number}.{part}"] = np.frombuffer(frame, dtype=np.uint8)
                size += len(frame)
        content = hashlib.sha256(hashes).hexdigest()
        return cls(Material(nonce.hex(), task.lowered, content, task.parties, size), task, arrays)

    def apply(self, home: Home) -> None:
        """Put it into the store, with what it was dealt for. Raises AlreadyUsed for an id that was there before."""
        home.materials.stock(self.material, self.arrays, {"task": self.task.fields()})


@dataclass(frozen=True)
class Take:
    """Stored material becomes this attempt's, and nobody else's ever."""

    terms: Terms

    def apply(self, home: Home) -> tuple[list[bytes], list[tuple[Buffer, ...]]]:
        """Mark it as used, then read it: what is drawn from, and corrections in order. Raises AlreadyUsed."""
        t = self.terms
        home.materials.take(t.material, t.session)
        _, _, arrays = home.materials.load(t.material, t.session)
        stored, agreed = _bytes(arrays.pop("seeds")), stock_of(t.task, bytes.fromhex(t.material))
        seeds = [dealt_seed(stored[i : i + SEED_BYTES], agreed) for i in range(0, len(stored), SEED_BYTES)]
        home.ledger.reserve(t.session, _streams(seeds))
        corrections: dict[int, list[Buffer]] = {}
        for name, array in sorted(arrays.items(), key=lambda item: tuple(map(int, item[0].split(".")))):
            corrections.setdefault(int(name.partition(".")[0]), []).append(_bytes(array))
        return seeds, [tuple(frames) for _, frames in sorted(corrections.items())]


def _streams(keys: Iterable[bytes]) -> list[Stream]:
    """The whole streams of some keys; a party has its own masks' seed from two lists."""
    return [Stream(key) for key in dict.fromkeys(key_id(key) for key in keys)]


def _bytes(array: Array | None) -> bytes:
    return b"" if array is None else array.tobytes()


@dataclass(frozen=True)
class Holdings:
    """What is kept here of a run, for a lowered program or task if one is named, and under names: public facts only."""

    run: str = ""
    lowered: str = ""
    task: str = ""

    def apply(self, home: Home) -> dict[str, Any]:
        """Look."""
        checkpoints: list[list[int]] = []
        with contextlib.suppress(UsageError):
            if self.run:
                checkpoints = [[c.epoch, int(c.site), c.iteration] for c in home.checkpoints.held(self.run)]
        return {
            "attempts": _attempts(home, self.run) if self.run else 0,
            "checkpoints": checkpoints,
            "materials": self._materials(home),
            "handles": [[h.run, spec_of(h).fields()] for h in home.handles.all()],
        }

    def _materials(self, home: Home) -> list[str]:
        found = [m.id for m in home.materials.all(digest=self.lowered or None, state="stocked")]
        return [m for m in found if not self.task or task_digest(home.materials.about(m).get("task", {})) == self.task]


@dataclass(frozen=True)
class Drop:
    """Give up a kept secret."""

    name: str

    def apply(self, home: Home) -> dict[str, Any]:
        """Drop it, and say what is left. Raises UsageError if it is not there."""
        home.handles.drop(self.name)
        return Holdings().apply(home)


def spec_of(handle: Handle) -> HandleSpec:
    """What the language knows of a kept secret."""
    about = (handle.shape, handle.scale, handle.unit or "1", handle.lo, handle.hi, handle.noise, handle.bits or 64)
    return HandleSpec(handle.name, handle.parties, *about)
