"""What a channel has to say about its peer, beside what it delivers."""

from __future__ import annotations

from dataclasses import dataclass, field

from parties.wire import Message

__all__ = ["Broken", "Delivered", "Differs", "Happening", "Joined", "Left", "Restarted"]


@dataclass(frozen=True, slots=True)
class Joined:
    """The first greeting of an incarnation of the peer; `control`: the port of its control plane, 0 if it has none."""

    control: int


@dataclass(frozen=True, slots=True)
class Restarted:
    """The peer is another process than before; what was under way in either direction is gone. Joined follows."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The peer sent what no peer may send; `reason` continues the sentence "party bob ..."."""

    reason: str


@dataclass(frozen=True, slots=True)
class Differs:
    """The peer has another cluster file; it may number actors otherwise, so it is not talked to. `outline`: of its."""

    outline: str


@dataclass(frozen=True, slots=True)
class Left:
    """The peer said goodbye and will send nothing more."""


@dataclass(slots=True)  # not frozen: one is made for each message, and that takes much longer
class Delivered:
    """The next whole message."""

    message: Message = field(repr=False)


Happening = Joined | Restarted | Broken | Differs | Left | Delivered
