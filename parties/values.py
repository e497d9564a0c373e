"""Results on the wire: numbers, text, lists, dicts and arrays, as a document and raw frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import accumulate, pairwise
from math import prod
from typing import Any

import numpy as np

from parties.wire import BadMessage, Buffer, pack, unpack

__all__ = ["pack_values", "unpack_values"]

_ARRAY = "array "
_DTYPES = ("<f8", "<i8", "<u8", "|u1", "|b1")
_DEPTH = 32  # lists and dictionaries inside one another, in what a peer sends


def pack_values(values: dict[str, Any]) -> tuple[Buffer, ...]:
    """A document frame, then one frame an array."""
    frames: list[Buffer] = []
    document = _flat(values, frames)
    return (pack(document), *frames)


def _flat(value: Any, frames: list[Buffer]) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        if value.dtype.str not in _DTYPES:
            return _flat(value.tolist(), frames)
        frames.append(np.ascontiguousarray(value).tobytes())
        return {_ARRAY: [len(frames), value.dtype.str, list(value.shape)]}
    if isinstance(value, dict):
        return {str(key): _flat(item, frames) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_flat(item, frames) for item in value]
    return value


def unpack_values(frames: Sequence[Buffer]) -> dict[str, Any]:
    """The inverse; BadMessage for anything else."""
    document = unpack(frames)
    if not isinstance(document, dict):
        raise BadMessage("results that are no dictionary")
    sizes = dict(_sizes(document, _DEPTH + 1))
    if len(frames) != 1 + len(sizes):  # long arrays have come in pieces
        frames = _rejoined(frames, [sizes[index] for index in sorted(sizes)])
    return {key: _full(value, frames, _DEPTH) for key, value in document.items()}


def _sizes(value: Any, depth: int) -> Iterator[tuple[int, int]]:
    """The number and the bytes of every array that a document speaks of."""
    if depth and isinstance(value, dict | list):
        match value.get(_ARRAY) if isinstance(value, dict) and value.keys() == {_ARRAY} else None:
            case [int(index), str(dtype), list(shape)] if dtype in _DTYPES and all(type(n) is int for n in shape):
                yield index, np.dtype(dtype).itemsize * prod(shape)
            case _:
                for item in value.values() if isinstance(value, dict) else value:
                    yield from _sizes(item, depth - 1)


def _rejoined(frames: Sequence[Buffer], sizes: Sequence[int]) -> list[Buffer]:
    """The document's frame, and one frame an array."""
    joined = memoryview(b"".join(frames[1:]))
    if sum(sizes) != len(joined) or any(size < 0 for size in sizes):
        raise BadMessage("a result array of the wrong kind or size")
    ends = list(accumulate(sizes, initial=0))
    return [frames[0], *(joined[a:b] for a, b in pairwise(ends))]


def _full(value: Any, frames: Sequence[Buffer], depth: int) -> Any:
    if not depth:
        raise BadMessage("results nested too deep")
    if isinstance(value, dict):
        if value.keys() == {_ARRAY}:
            return _array(value[_ARRAY], frames)
        return {key: _full(item, frames, depth - 1) for key, item in value.items()}
    return [_full(item, frames, depth - 1) for item in value] if isinstance(value, list) else value


def _array(spec: Any, frames: Sequence[Buffer]) -> Any:
    match spec:
        case [int(index), str(dtype), list(shape)] if dtype in _DTYPES and 0 < index < len(frames):
            if all(type(n) is int and n >= 0 for n in shape):
                with suppress(ValueError):  # of another size, or shapes no array has: [2^62, 0], a hundred dimensions
                    return np.frombuffer(frames[index], dtype=dtype).reshape(shape).copy()
    raise BadMessage("a result array of the wrong kind or size")
