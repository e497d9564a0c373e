"""A small message as one part: CURVE seals each part by itself, which takes as much time as the rest of it.

mark 4 · how many parts 4 · their lengths 4 each · the parts                     little-endian, pure functions
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from parties.wire import Buffer

__all__ = ["enveloped", "unfolded"]

_HEAD = struct.Struct("<4sI")
_MARK = b"PRVF"
_MOST_BYTES = 4096
_MOST_PARTS = 64
_HEADS = [struct.Struct(f"<4sI{count}I") for count in range(_MOST_PARTS + 1)]


def enveloped(parts: Sequence[Buffer]) -> Sequence[Buffer]:
    """The message as one part if it is small, else as it is."""
    lengths = [len(part) for part in parts]
    if sum(lengths) > _MOST_BYTES or not 1 < len(parts) <= _MOST_PARTS:
        return parts
    head = _HEADS[len(parts)].pack(_MARK, len(parts), *lengths)
    return [b"".join((head, *parts))]


def unfolded(whole: bytes) -> list[Buffer]:
    """The parts in a single one. What is no envelope, or a false one, stays as it is: the channel refuses it."""
    if not _HEAD.size <= len(whole) <= 2 * _MOST_BYTES:
        return [whole]
    mark, count = _HEAD.unpack_from(whole)
    at = _HEAD.size + 4 * count
    if mark != _MARK or not 1 < count <= _MOST_PARTS or at > len(whole):
        return [whole]
    parts: list[Buffer] = []
    for length in struct.unpack_from(f"<{count}I", whole, _HEAD.size):
        parts.append(whole[at : at + length])
        at += length
    return parts if at == len(whole) else [whole]
