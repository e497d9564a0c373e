"""Records on a pipe between a launcher and its child: a JSON head and raw blobs, each with its length before it.

Both ends are this program on one machine, and the pipe is inherited: nobody else can write to it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mpc.errors import UsageError
from mpc.table import Table, numbers_of, owned

__all__ = ["Buffer", "pack_value", "read_record", "unpack_value", "whole_record", "write_record"]

Buffer = bytes | memoryview
_LENGTH = struct.Struct("<Q")
_KINDS = {"b": np.uint8, "u": np.uint64, "i": np.int64, "f": np.float64}


def write_record(pipe: BinaryIO, head: dict[str, Any], blobs: Sequence[Buffer] = ()) -> None:
    """One record."""
    raw = json.dumps({**head, "blobs": len(blobs)}).encode()
    pipe.write(_LENGTH.pack(len(raw)) + raw)
    for blob in blobs:
        pipe.write(_LENGTH.pack(len(blob)))
        pipe.write(blob)
    pipe.flush()


def read_record(pipe: BinaryIO) -> tuple[dict[str, Any], list[bytes]] | None:
    """The next record; None at the end of the pipe."""
    head = _read(pipe)
    if head is None:
        return None
    fields: dict[str, Any] = json.loads(head)
    blobs = [_read(pipe) for _ in range(fields.pop("blobs"))]
    if any(blob is None for blob in blobs):
        return None
    return fields, [blob for blob in blobs if blob is not None]


def whole_record(buffer: bytearray) -> int:
    """How long the first record in this buffer is, if it is all there; else 0."""
    end, left = 0, 1  # the head, which says how many blobs follow
    while left:
        if len(buffer) < end + _LENGTH.size:
            return 0
        (length,) = _LENGTH.unpack_from(buffer, end)
        start, end = end + _LENGTH.size, end + _LENGTH.size + length
        if len(buffer) < end:
            return 0
        left = left - 1 if start > _LENGTH.size else int(json.loads(buffer[start:end])["blobs"])
    return end


def _read(pipe: BinaryIO) -> bytes | None:
    size = pipe.read(_LENGTH.size)
    if len(size) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(size)
    blob = pipe.read(length)
    return blob if len(blob) == length else None


def pack_value(value: Any, label: str) -> tuple[dict[str, Any], list[bytes | memoryview]]:
    """A table, a mapping of columns, a data frame (`.columns`, `.to_numpy()`) or an array, for the pipe.

    label: names it in refusals.
    """
    if isinstance(value, Mapping):
        value = owned(value)
    if isinstance(value, Table):
        return _pack_columns({name: value.column(name) for name in value.columns}, value.source)
    if hasattr(value, "columns") and hasattr(value, "to_numpy"):
        names = [str(name) for name in value.columns]
        if len(set(names)) != len(names):
            raise UsageError(f"{label}: two columns of the data frame have the same name")
        return _pack_columns(
            {name: value[column].to_numpy() for name, column in zip(names, value.columns, strict=True)}, "data frame"
        )
    array = np.asarray(value)
    if array.dtype.kind not in _KINDS:
        raise UsageError(f"{label}: an array of numbers is needed, or a CSV file, a table of columns or a data frame")
    array = np.ascontiguousarray(array, dtype=_KINDS[array.dtype.kind])
    return {"kind": "array", "dtype": array.dtype.str, "shape": list(np.shape(value))}, [array.tobytes()]


def _pack_columns(columns: dict[str, Any], source: str) -> tuple[dict[str, Any], list[bytes | memoryview]]:
    kinds, blobs = [], []
    for cells in columns.values():
        numbers = numbers_of(cells)
        kinds.append("t" if numbers is None else "f")
        text = json.dumps([_text(cell) for cell in cells]).encode() if numbers is None else b""
        blobs.append(text if numbers is None else numbers.tobytes())
    return {"kind": "table", "columns": list(columns), "kinds": "".join(kinds), "source": source}, list(blobs)


def _text(cell: Any) -> str:
    return "" if cell is None or cell != cell else str(cell)  # noqa: PLR0124 - NaN marks a missing cell


def unpack_value(head: dict[str, Any], blobs: list[bytes]) -> Table | NDArray[np.generic]:
    """The inverse of `pack_value`."""
    if head["kind"] == "array":
        array: NDArray[np.generic] = np.frombuffer(blobs[0], dtype=np.dtype(head["dtype"])).reshape(head["shape"])
        return array
    columns: dict[str, Any] = {}
    for name, kind, blob in zip(head["columns"], head["kinds"], blobs, strict=True):
        columns[name] = np.frombuffer(blob, dtype=np.float64) if kind == "f" else json.loads(blob)
    return Table(columns, head["source"])
