"""The data that a party offers, by name. Files are read when they are offered, and nothing of them is ever printed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mpc.errors import InputError
from mpc.table import Schema, Table

__all__ = ["Store", "Value"]

Value = Table | NDArray[np.generic]


class Store:
    """Named tables and arrays of one party. `read` turns a path into a table."""

    def __init__(self, owner: str, read: Callable[[Path], Table]) -> None:
        self._owner = owner
        self._read = read
        self._values: dict[str, Value] = {}

    def __repr__(self) -> str:
        return f"Store({self._owner!r}, offers={sorted(self._values)})"

    def offer_file(self, name: str, path: Path) -> None:
        """Offer a CSV file. Raises InputError for the owner."""
        try:
            self._values[name] = self._read(path)
        except InputError as refusal:
            raise refusal.of(self._owner) from None

    def offer(self, name: str, value: Value) -> None:
        """Offer a table or an array."""
        self._values[name] = value

    def withdraw(self, name: str) -> None:
        """Offer it no longer."""
        self._values.pop(name, None)

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def get(self, name: str) -> Value:
        """The data itself, for this party's engine only."""
        return self._values[name]

    def fingerprint(self, name: str) -> str:
        """SHA-256 of the data, to tell whether it is still the same. It is written nowhere but under a key."""
        value = self._values[name]
        digest = hashlib.sha256()
        columns = [value.column(c) for c in value.columns] if isinstance(value, Table) else [value]
        for column in columns:
            array = np.ascontiguousarray(column)
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(repr(array.tolist()).encode() if array.dtype.hasobject else array.tobytes())
        return digest.hexdigest()

    def schema(self, name: str) -> Schema:
        """The public face of it."""
        value = self._values[name]
        return value.schema() if isinstance(value, Table) else Schema(value.shape)

    def classes(self, name: str, column: str) -> list[str]:
        """The distinct labels of a column, which are public. Raises InputError."""
        value = self._values[name]
        if not isinstance(value, Table):
            raise InputError(f"{name!r} is an array and has no column {column!r}", self._owner)
        try:
            return value.classes(column)
        except InputError as refusal:
            raise refusal.of(self._owner) from None
