"""What happens to an actor's brain, and what it asks of its body. Plain data, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from parties.wire import NO_SESSION, Buffer, Message, Type

__all__ = [
    "RESTARTED",
    "Arrived",
    "Down",
    "Event",
    "Instruction",
    "Keep",
    "Note",
    "Parts",
    "Pump",
    "Say",
    "Send",
    "Swap",
    "Tell",
    "Tick",
    "Up",
    "Write",
    "Written",
    "question",
]


@dataclass(frozen=True, slots=True)
class Up:
    """An actor is there: it has greeted, and it gives signs of life."""

    peer: int


RESTARTED = "restarted"  # why an actor is lost whose place another process has taken


@dataclass(frozen=True, slots=True)
class Down:
    """An actor is lost, not merely its connection: `reason` continues the sentence "party bob ..."."""

    peer: int
    reason: str


@dataclass(slots=True)  # not frozen: one is made for each message, and that takes much longer
class Arrived:
    """A whole message, its sender authenticated by key."""

    message: Message


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Pump:
    """The body has room to send more."""


@dataclass(frozen=True, slots=True)
class Written:
    """A Write is done and durable, or refused: `error` says why, in words that are public."""

    token: int
    result: Any = field(repr=False)
    error: str = ""


Event = Up | Down | Arrived | Tick | Pump | Written


@dataclass(slots=True)  # not frozen: one is made for each message, and that takes much longer
class Send:
    """Send a message to an actor."""

    to: int
    type: Type
    session: bytes = NO_SESSION
    step: int = 0
    meta: dict[str, Any] = field(default_factory=dict)
    frames: Sequence[Buffer] = field(default=(), repr=False)


Parts = dict[int, Sequence[Buffer]]  # frames of one message for each actor, or of each


@dataclass(slots=True)
class Swap:
    """Send messages of one kind, session and step, and go on while what is owed in return comes at once.

    parts: what goes to whom. owed: who owes a message of the same kind, session and step. answered: is given what came
    at once, up to the first of them that did not, and says the next step, with what goes to whom and who owes what;
    None if there is none. It knows nothing of the Swap: what both hold is let go of with them.
    """

    type: Type
    session: bytes
    step: int
    parts: Parts = field(repr=False)
    owed: Collection[int]
    answered: Callable[[Parts], tuple[int, Parts, Collection[int]] | None] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Say:
    """A public line for whoever watches this actor."""

    text: str


@dataclass(frozen=True, slots=True)
class Note:
    """A line of this actor's log: who asked for what, and what was learnt. The body adds the time."""

    text: str


@dataclass(frozen=True, slots=True)
class Tell:
    """A line for the owner of this actor's data only (row and column of a refusal).

    about: the session that was refused, or the question (`question`).
    """

    text: str
    about: bytes = NO_SESSION


def question(number: int) -> bytes:
    """What a `Tell` is about, for a question of this number."""
    return (number & 0xFFFFFFFFFFFFFFFF).to_bytes(len(NO_SESSION), "little")


@dataclass(frozen=True, slots=True)
class Keep:
    """A result that this party may know and the coordinator may not. session: whose result it is."""

    name: str
    value: Any = field(repr=False)
    session: bytes = NO_SESSION


@dataclass(frozen=True, slots=True)
class Write:
    """Do something with this actor's durable state (`parties.records`); the answer is a Written with the token."""

    token: int
    record: Any = field(repr=False)


Instruction = Send | Swap | Say | Note | Tell | Keep | Write
