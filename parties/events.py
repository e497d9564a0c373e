"""What happens to an actor's brain, and what it asks of its body. Plain data, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    "Pump",
    "Say",
    "Send",
    "Swap",
    "Tell",
    "Tick",
    "Up",
    "Write",
    "Written",
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


@dataclass(slots=True)
class Swap(Send):
    """Send a message to an actor that owes one of the same kind, session and step, and go on while that comes at once.

    answered: is given the frames of what came, and says the step and the frames of the next to be sent, for which the
    same holds; None if there is none. It knows nothing of the Swap: what both hold is let go of with them.
    """

    answered: Callable[[Sequence[Buffer]], tuple[int, Sequence[Buffer]] | None] = field(kw_only=True, repr=False)


@dataclass(frozen=True, slots=True)
class Say:
    """A public line for whoever watches this actor."""

    text: str


@dataclass(frozen=True, slots=True)
class Tell:
    """A line for the owner of this actor's data only (row and column of a refusal)."""

    text: str


@dataclass(frozen=True, slots=True)
class Keep:
    """A result that this party may know and the coordinator may not."""

    name: str
    value: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class Write:
    """Do something with this actor's durable state (`parties.records`); the answer is a Written with the token."""

    token: int
    record: Any = field(repr=False)


Instruction = Send | Say | Tell | Keep | Write
