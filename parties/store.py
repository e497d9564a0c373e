"""The data that a party offers, by name. Nothing of it is ever printed, but how many rows and columns it has.

A file is read when it is offered, and again when somebody asks for it after it has changed: the next run computes on
what is in the file then, and a run that has begun on what it began with. One that cannot be read any more is served no
more, until it can.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mpc.errors import InputError
from mpc.table import Schema, Table, schema_of

__all__ = ["Store", "Value", "stamp_of"]

Value = Table | NDArray[np.generic]
Stamp = tuple[int, ...]

_TRIES = 3
_TICK = 2_000_000_000  # nanoseconds: file systems tell times in steps, the coarsest ones in steps of two seconds


@dataclass(frozen=True, eq=False)
class _Offer:
    """What is offered under a name: a value, or why there is none now; and the file that it was read from.

    settled: the file was at rest when it was read, so that any later change shows in its stamp.
    """

    value: Value | None
    path: Path | None = None
    stamp: Stamp = ()
    settled: bool = True
    refusal: str = ""

    @cached_property
    def fingerprint(self) -> str:
        return "" if self.value is None else fingerprint(self.value)

    def size(self) -> str:
        shape = [] if self.value is None else schema_of(self.value).shape
        return f"{shape[0]} rows × {shape[1]} columns" if len(shape) == 2 else "nothing"


class Store:
    """Named tables and arrays of one party.

    read: turns a path into a table. tell: a line for the owner. now: nanoseconds since 1970.
    """

    def __init__(
        self,
        owner: str,
        read: Callable[[Path], Table],
        tell: Callable[[str], None] = lambda _: None,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        self._owner = owner
        self._read = read
        self._tell = tell
        self._now = now
        self._offers: dict[str, _Offer] = {}

    def __repr__(self) -> str:
        return f"Store({self._owner!r}, offers={sorted(self._offers)})"

    def offer_file(self, name: str, path: Path) -> None:
        """Offer a CSV file. Raises InputError for the owner."""
        try:
            self._offers[name] = self._whole(path)
        except InputError as refusal:
            raise refusal.of(self._owner) from None

    def offer(self, name: str, value: Value) -> None:
        """Offer a table or an array."""
        self._offers[name] = _Offer(value)

    def withdraw(self, name: str) -> None:
        """Offer it no longer."""
        self._offers.pop(name, None)

    def __contains__(self, name: object) -> bool:
        return name in self._offers

    # ------------------------------------------------------------------------------------------- files that change

    def refresh(self, name: str) -> None:
        """Read its file again if that has changed, and tell the owner. Raises InputError if it cannot be served.

        Whoever answers a question asks for this once, so that all of the answer is of one moment.
        """
        known = self._offers[name]
        if known.path is not None and not (known.settled and stamp_of(known.path) == known.stamp):
            self._offers[name] = known = self._again(name, known, known.path)
        if known.refusal:
            raise InputError(f"{name!r} is not served until its file is right again: {known.refusal}", self._owner)

    def _again(self, name: str, known: _Offer, path: Path) -> _Offer:
        try:
            found = self._whole(path)
        except InputError as refusal:
            found = _Offer(None, path, stamp_of(path), settled=False, refusal=str(refusal))
            if found.refusal != known.refusal:
                self._tell(f"the file of {name!r} has changed ({known.size()} before), and is not served: {refusal}")
            return found
        if known.value is None or found.fingerprint != known.fingerprint:
            self._tell(
                f"the file of {name!r} has changed: {path} had {known.size()}, and has {found.size()} now, which the "
                "runs from here on compute on"
            )
        return found

    def _whole(self, path: Path) -> _Offer:
        """A file as it is at one moment. Raises InputError, also if it is written to all the time."""
        for _ in range(_TRIES):
            began, stamp = self._now(), stamp_of(path)
            try:
                value = self._read(path)
            except InputError:
                if stamp_of(path) == stamp:
                    raise
                continue
            if stamp_of(path) == stamp:
                return _Offer(value, path, stamp, settled=began - max(stamp[-1:], default=began) > _TICK)
        raise InputError(
            f"{path}: is written to while it is read: write it elsewhere and move it here when it is whole"
        )

    # ---------------------------------------------------------------------------------------------- what is asked

    def get(self, name: str) -> Value:
        """The data itself, for this party's engine only."""
        value = self._offers[name].value
        assert value is not None, "whoever asks has refreshed it"
        return value

    def values(self) -> dict[str, Value]:
        """All that is served now, by name, for its owner."""
        return {name: offer.value for name, offer in self._offers.items() if offer.value is not None}

    def fingerprint(self, name: str) -> str:
        """SHA-256 of the data, to tell whether it is still the same. It is written nowhere but under a key."""
        return self._offers[name].fingerprint

    def schema(self, name: str) -> Schema:
        """The public face of it."""
        return schema_of(self.get(name))


def fingerprint(value: Value) -> str:
    """SHA-256 of a table or an array: of text cell by cell, so that it takes no memory."""
    digest = hashlib.sha256()
    columns = [value.column(c) for c in value.columns] if isinstance(value, Table) else [value]
    for column in columns:
        if isinstance(column, np.ndarray):
            array = np.ascontiguousarray(column)
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(array.reshape(-1).view(np.uint8).data)
            continue
        digest.update(f"text({len(column)},)".encode())
        for cell in column:
            raw = cell.encode("utf-8", "surrogatepass")
            digest.update(len(raw).to_bytes(8, "little"))
            digest.update(raw)
    return digest.hexdigest()


def stamp_of(path: Path) -> Stamp:
    """What tells that a file is another one, or was written to; empty if there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - the path is as it was given
    except OSError:
        return ()
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
