"""The terms of a run: everything that shapes what is dealt and computed, which every actor works out for itself.

What a coordinator tells must be one and the same for all, and nobody takes its word for that: the dealer shows every
party a card of its terms with the seeds, each party shows it every other with its key, and a party goes on only if all
cards are its own. A card is the digest, and a short hash of each part, so that a difference has a name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from parties.cluster import Cluster
from parties.version import FORMAT, VERSION
from parties.wire import BadMessage, Buffer

__all__ = ["Binding", "Bound", "Taken", "Task", "Terms", "card", "difference", "in_words", "task_digest", "unlike"]

_DIGEST = 32  # bytes of a card
_PART = 6  # bytes of each part on it
_LONGEST = 4096  # characters of settings that are kept as they are
_SEEN = 60  # characters of a part that a sentence quotes
_HEX = re.compile(r"[0-9a-f]{64}")


class Bound(NamedTuple):
    """Which data an input is: a party's, under a name, of so many rows; never a hash of what is in it."""

    input: str
    party: str
    data: str
    rows: int
    columns: tuple[str, ...] | None


class Taken(NamedTuple):
    """Which kept secret a parameter is: its name, and the id of the run that made it."""

    parameter: str
    name: str
    run: str


@dataclass(frozen=True)
class Binding:
    """What a coordinator has chosen beside the program, told to every actor alike.

    inputs: for each input and party the name of its data, the input's own where nothing is said. handles: for each
    parameter that takes a kept secret its name, and the run that made it. settings: of the program, as JSON.
    """

    inputs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    handles: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    settings: str = "{}"

    def document(self) -> dict[str, Any]:
        """For a message."""
        return {
            "inputs": {name: dict(by_party) for name, by_party in self.inputs.items()},
            "handles": {parameter: list(taken) for parameter, taken in self.handles.items()},
            "settings": self.settings,
        }

    @classmethod
    def parse(cls, document: Any) -> Binding:
        """The inverse. Raises BadMessage for anything else."""
        match document:
            case {"inputs": dict(inputs), "handles": dict(handles), "settings": str(settings), **rest} if not rest:
                if all(map(_names, inputs.values())) and all(map(_taken, handles.values())):
                    return cls(inputs, {parameter: tuple(taken) for parameter, taken in handles.items()}, settings)
        raise BadMessage("a binding of another form")

    def fits(self, program: Any) -> bool:
        """Whether it binds nothing that the program does not take."""
        wanted = {(spec.name, spec.owner) for spec in program.inputs}
        bound = {(name, party) for name, by_party in self.inputs.items() for party in by_party}
        return bound <= wanted and self.handles.keys() <= {spec.name for spec in program.handles}

    def data(self, program: Any) -> tuple[Bound, ...]:
        """Which data each input of a program is."""
        return tuple(
            Bound(
                spec.name,
                spec.owner,
                self.inputs.get(spec.name, {}).get(spec.owner, spec.name),
                spec.shape[0] if spec.shape else 1,
                tuple(spec.columns) if spec.columns is not None else None,
            )
            for spec in program.inputs
        )

    def taken(self, program: Any) -> tuple[Taken, ...]:
        """Which kept secret each parameter of a program is."""
        return tuple(Taken(spec.name, *self.handles.get(spec.name, (spec.name, ""))) for spec in program.handles)


def _names(by_party: Any) -> bool:
    return isinstance(by_party, dict) and all(isinstance(name, str) for name in by_party.values())


def _taken(taken: Any) -> bool:
    return isinstance(taken, list) and len(taken) == 2 and all(isinstance(text, str) for text in taken)


def in_words(settings: Mapping[str, Any]) -> str:
    """Settings as they are told and compared: JSON, or its hash if that is long."""
    text = _json(settings)
    return text if len(text) <= _LONGEST else _hash(text)


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    """Settings from a script may be arrays; of anything else only the kind can be said."""
    return value.tolist() if hasattr(value, "tolist") else type(value).__name__


@dataclass(frozen=True)
class Task:
    """What is computed, by whom and on which shapes: all that material for later is dealt for, whatever run uses it.

    keys: of the parties in their order, and of the dealer; none in local runs, which make them anew. shapes: name and
    owner of each input, and its shape; kept secrets have no owner. source, lowered: digests of the program's texts.
    """

    version: str
    format: int
    suite: str
    insecure: str
    parties: tuple[str, ...]
    keys: tuple[str, ...]
    settings: str
    shapes: tuple[tuple[str, str, tuple[int, ...]], ...]
    source: str
    lowered: str

    @classmethod
    def of(
        cls, cluster: Cluster, program: Any, lowered: Any, suite: str, *, settings: str, insecure: str, version: str
    ) -> Task:
        """The task of a program that is lowered here, for the parties of this cluster."""
        members = [] if cluster.ephemeral else [*cluster.parties, cluster.dealer]
        shapes = [(spec.name, spec.owner, tuple(spec.shape)) for spec in program.inputs]
        shapes += [(spec.name, "", tuple(spec.shape)) for spec in program.handles]
        parties, keys = tuple(cluster.names), tuple(member.public for member in members)
        return cls(
            version, FORMAT, suite, insecure, parties, keys, settings, tuple(shapes), program.digest, lowered.digest
        )

    def digest(self) -> str:
        """SHA-256 of the canonical text."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        return task_digest(self.fields())

    def fields(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        return dict(json.loads(_json(asdict(self))))


@dataclass(frozen=True)
class Terms:
    """Everything that must be the same at every actor of a session: the task, and this attempt at it.

    mode: `run`, or `deal` (material for later). run, attempt: the same run may be attempted again, each attempt in a
    session of its own. epoch: the checkpoint that it goes on from, 0 for the beginning. material: the id of what was
    dealt beforehand, empty if the dealer takes part. data, handles: none while material is made.
    """

    task: Task
    cluster: str
    session: str
    mode: str = "run"
    run: str = ""
    attempt: int = 1
    epoch: int = 0
    material: str = ""
    data: tuple[Bound, ...] = ()
    handles: tuple[Taken, ...] = ()

    @classmethod
    def of(
        cls,
        cluster: Cluster,
        program: Any,
        lowered: Any,
        suite: str,
        session: bytes,
        binding: Binding,
        *,
        insecure: str = "",
        version: str = VERSION,
        mode: str = "run",
        **which: Any,
    ) -> Terms:
        """The terms of an attempt; which: the other fields."""
        settings = binding.settings
        task = Task.of(cluster, program, lowered, suite, settings=settings, insecure=insecure, version=version)
        if mode == "run":
            which |= {"data": binding.data(program), "handles": binding.taken(program)}
        return cls(task, cluster.digest(), session.hex(), mode, **which)

    def digest(self) -> str:
        """SHA-256 of the canonical text."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        return _hash(_json(asdict(self)))


def task_digest(fields: Mapping[str, Any]) -> str:
    """That of the task with these fields."""
    return _hash(_json(fields))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# ------------------------------------------------------------------------------------------------------------- cards

_TASK: dict[str, Callable[[Task], Any]] = {  # of two parts that differ the first has the other as its consequence
    "another version of privity": lambda t: [t.version, t.format],
    "other parties": lambda t: [t.parties, t.keys],
    "another suite": lambda t: t.suite,
    "another mark of insecure entropy": lambda t: t.insecure,
    "other settings": lambda t: t.settings,
    "other shapes": lambda t: t.shapes,
    "another program": lambda t: t.source,
    "another lowered program": lambda t: t.lowered,
}
_RUN: dict[str, Callable[[Terms], Any]] = {
    "another cluster file": lambda t: t.cluster,
    "another session": lambda t: t.session,
    "another mode": lambda t: t.mode,
    "another run": lambda t: t.run,
    "another attempt": lambda t: t.attempt,
    "another checkpoint": lambda t: t.epoch,
    "other material": lambda t: t.material,
    "other kept secrets": lambda t: t.handles,
    "other data": lambda t: t.data,
}
_PARTS = (*_TASK, *_RUN)


def card(terms: Terms) -> bytes:
    """What an actor shows of its terms: the digest, and the beginning of a hash of each part."""
    parts = [part(terms.task) for part in _TASK.values()] + [part(terms) for part in _RUN.values()]
    return bytes.fromhex(terms.digest()) + b"".join(bytes.fromhex(_short(part)) for part in parts)


def _short(part: Any) -> str:
    """Of a digest its own beginning, which people have seen elsewhere."""
    digest = part if isinstance(part, str) and _HEX.fullmatch(part) else _hash(_json(part))
    return digest[: 2 * _PART]


def difference(mine: bytes, theirs: Buffer) -> tuple[str, str, str] | None:
    """In what two cards differ, and the short hash of it on mine and on theirs; None if they do not.

    Raises BadMessage for what is no card.
    """
    if len(theirs) != len(mine):
        raise BadMessage("terms of another form")
    if mine == theirs:
        return None
    for number, what in enumerate(_PARTS):
        part = slice(_DIGEST + _PART * number, _DIGEST + _PART * (number + 1))
        if mine[part] != theirs[part]:
            return what, mine[part].hex(), bytes(theirs[part]).hex()
    return "other terms", mine[:_PART].hex(), bytes(theirs[:_PART]).hex()


def unlike(task: Task, stored: Mapping[str, Any]) -> str:
    """In what the task differs from the one that stored material was dealt for, in words; empty if it does not.

    stored: its fields.
    """
    fields = task.fields()
    if stored == fields:
        return ""
    if stored.keys() != fields.keys():
        return "another version of privity"
    there = Task(**stored)
    for what, part in _TASK.items():
        one, other = (json.loads(_json(part(t))) for t in (there, task))
        if what == "other shapes":
            one, other = ([s for s in shapes if s not in others] for shapes, others in ((one, other), (other, one)))
        if one != other:
            return f"{what} ({_seen(one)}, not {_seen(other)})"
    return "other terms"


def _seen(part: Any) -> str:
    """What is short as it is, else a hash."""
    match part:
        case [[str(), str(), list()], *_]:
            text = ", ".join(f"{name} of {owner or 'all'}: {'×'.join(map(str, shape))}" for name, owner, shape in part)
        case str() if not _HEX.fullmatch(part):
            text = part
        case _:
            text = _json(part)
    return text if len(text) <= _SEEN else _short(part)
