"""Messages that are longer than one piece: cut on one side, put together on the other, within what they may be.

What a program moves is known exactly before it runs, and whoever drives it knows how much of that is still to come: the
`room` of a message. Nobody else's word about a length is taken, and what belongs to no run any more is not even kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from parties.wire import CHUNK, FRAMES_LIMIT, MORE, BadMessage, Buffer, Message, Type

__all__ = ["JOIN_LIMIT", "SHORT_LIMIT", "Joiner", "Room", "split"]

JOIN_LIMIT = 16 << 30
SHORT_LIMIT = 64 << 20  # of what is no array that a program asks for
FRAME_COST = 64  # what a frame counts beside its bytes: empty ones take memory too
_LONG = frozenset({Type.DATA, Type.CORRECTION, Type.DONE})
_BYTES = frozenset({Type.DATA, Type.CORRECTION})  # whose frames are cut by what the program expects, wherever they end

Room = Callable[[Message], int | None]


def split(message: Message, limit: int = CHUNK) -> Iterable[Message]:
    """The same message in pieces of at most `limit` payload bytes; all but the last carry the flag MORE."""
    short = message.payload <= limit and len(message.frames) <= FRAMES_LIMIT
    return (message,) if short else _cut(message, limit)


def _cut(message: Message, limit: int) -> Iterator[Message]:
    batch: list[Buffer] = []
    room = limit
    for piece in _pieces(message.frames, limit):
        if len(piece) > room or len(batch) == FRAMES_LIMIT:
            yield replace(message, frames=tuple(batch), flags=message.flags | MORE)
            batch, room = [], limit
        batch.append(piece)
        room -= len(piece)
    yield replace(message, frames=tuple(batch))


def _pieces(frames: Iterable[Buffer], limit: int) -> Iterator[memoryview]:
    for frame in frames:
        view = memoryview(frame)
        for start in range(0, max(len(view), 1), limit):
            yield view[start : start + limit]


def unbounded(_message: Message) -> int | None:
    """The room of whoever knows no better."""
    return JOIN_LIMIT


class Joiner:
    """Puts the pieces of one direction together again; a piece of another message in between is refused.

    room: how many bytes a message may have, by its first piece; None if nobody wants it any more: it is dropped.
    """

    def __init__(self, limit: int = JOIN_LIMIT, room: Room = unbounded) -> None:
        self._limit = limit
        self._room = room
        self._head: Message | None = None
        self._most: int | None = None
        self._frames: list[Buffer] = []
        self._joined = bytearray()
        self._size = self._count = 0

    def add(self, message: Message) -> Message | None:
        """The whole message when its last piece has come, else None."""
        head = self._head
        if head is None and not message.flags & MORE:
            return message
        if head is None:
            self._head, self._most = message, self._room(message)
        elif (head.type, head.session, head.step) != (message.type, message.session, message.step):
            raise BadMessage("a message inside another one")
        self._size += message.payload
        self._count += len(message.frames)
        if self._size + FRAME_COST * self._count > self._allowed(message.type) or self._size > self._wanted:
            raise BadMessage("message too long")
        if self._most is not None and message.type in _BYTES:
            for frame in message.frames:  # at once: the pieces and the whole would take twice the memory
                self._joined += frame
        elif self._most is not None:
            self._frames += message.frames
        return None if message.flags & MORE else self._whole(message)

    @property
    def _wanted(self) -> int:
        return self._limit if self._most is None else self._most

    def _allowed(self, kind: Type) -> int:
        return self._limit if kind in _LONG else min(self._limit, SHORT_LIMIT)

    def _whole(self, last: Message) -> Message | None:
        frames = (memoryview(self._joined).toreadonly(),) if last.type in _BYTES else tuple(self._frames)
        whole = None if self._most is None else replace(last, frames=frames)
        self._head, self._most, self._frames, self._size, self._count = None, None, [], 0, 0
        self._joined = bytearray()
        return whole
