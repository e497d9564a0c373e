"""What a mesh says has happened, whatever kind of connection it came over."""

from __future__ import annotations

from dataclasses import dataclass, field

from parties.wire import Buffer

__all__ = ["Gone", "Happening", "Packet", "Reached"]


@dataclass(frozen=True, slots=True)
class Reached:
    """There is a new connection to an actor that this one calls: greet it."""

    peer: int


@dataclass(frozen=True, slots=True)
class Gone:
    """The connection to an actor broke; libzmq makes a new one by itself."""

    peer: int


@dataclass(slots=True)  # not frozen: one is made for each message, and that takes much longer
class Packet:
    """What an authenticated actor sent; `fresh` if it came over a new connection, made by that actor."""

    peer: int
    parts: list[Buffer] = field(repr=False)
    fresh: bool = False


Happening = Reached | Gone | Packet
