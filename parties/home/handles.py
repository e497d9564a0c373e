"""Handles: secret results that stay at the parties, as shares under a name, for a later program.

A handle is staged when its program computes it and kept when the run is done at all parties. Staged ones outlive a
crash, so that a party that missed the commit can be told again. The one of the same name that it replaces stays until
every party has said that it wrote the end: a run that took it and has to end again takes the same.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mpc.errors import UsageError
from mpc.exchange import Array
from parties.home.database import Database
from parties.home.errors import HomeError
from parties.home.journal import Journal
from parties.home.ledger import checked_id
from parties.home.shelf import Shelf

__all__ = ["Handle", "Handles"]

_COLUMNS = "name, run, shape, scale, unit, lo, hi, bits, parties, created, blob, noise"
_JSON = ("shape", "lo", "hi", "parties")


@dataclass(frozen=True)
class Handle:
    """What everybody may know of a kept secret. `run` is the one that made it: parties compare (name, run).

    shape, scale, unit, lo, hi, noise, bits: as in `mpc.handles.HandleSpec`.
    """

    name: str
    run: str
    shape: tuple[int, ...]
    scale: int
    unit: str | None
    lo: float | None
    hi: float | None
    bits: int | None
    parties: tuple[str, ...]
    created: str = ""
    blob: str = ""
    noise: float = 0.0


class Handles:
    """The handles of one actor."""

    def __init__(self, database: Database, journal: Journal, shelf: Shelf) -> None:
        self._database = database
        self._journal = journal
        self._shelf = shelf

    def stage(self, handle: Handle, arrays: Mapping[str, Array | None]) -> None:
        """Make this party's shares durable; nobody can use them before `commit`. One staged before gives way."""
        checked_id(handle.run, "run")
        if not handle.name or len(handle.name) > 200 or not handle.name.isprintable():
            raise UsageError(f"{handle.name[:40]!r} is no name for a kept secret: 1 to 200 printable characters")
        blob = self._shelf.place("handle", {"name": handle.name, "run": handle.run}, arrays)
        row = {**vars(handle), "created": self._database.time(), "blob": blob}
        row.update({name: json.dumps(row[name]) for name in _JSON})
        try:
            with self._database.change() as connection:
                self._remove(connection, "name = ? AND run = ? AND state = 'staged'", (handle.name, handle.run))
                connection.execute(
                    "INSERT INTO handles VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'staged')",
                    [row[column] for column in _COLUMNS.split(", ")],
                )
                self._shelf.adopt(connection, blob)
        except BaseException:
            self._shelf.give_up(blob)
            raise
        self._shelf.sweep()

    def commit(self, run: str) -> list[Handle]:
        """Keep what the run has staged; one of the same name is set aside. Saying it again changes nothing."""
        with self._database.change() as connection:
            staged = self._select(connection, "run = ? AND state = 'staged'", (run,))
            for handle in staged:
                again = self._remove(connection, "name = ? AND run = ? AND state = 'kept'", (handle.name, run))
                if not again:
                    self._let_go(connection, handle.name)
                    connection.execute(
                        "UPDATE handles SET state = 'replaced' WHERE name = ? AND state = 'kept'", (handle.name,)
                    )
                self._journal.add(
                    connection, what="handle kept", handle=handle.name, run=run, shape=handle.shape,
                    parties=handle.parties,
                )  # fmt: skip
            connection.execute("UPDATE handles SET state = 'kept' WHERE run = ? AND state = 'staged'", (run,))
        self._shelf.sweep()
        return staged

    def replace(self, run: str) -> None:
        """Every party has written that the run is done: what its handles have replaced goes."""
        with self._database.change() as connection:
            for handle in self._select(connection, "run = ? AND state = 'kept'", (run,)):
                self._let_go(connection, handle.name)
        self._shelf.sweep()

    def _let_go(self, connection: sqlite3.Connection, name: str) -> None:
        for old in self._remove(connection, "name = ? AND state = 'replaced'", (name,)):
            self._journal.add(connection, what="handle dropped", handle=old.name, run=old.run)

    def staged(self, run: str) -> list[Handle]:
        """What a run has staged and nobody has committed."""
        return self._select(None, "run = ? AND state = 'staged'", (run,))

    def all(self) -> list[Handle]:
        """Those that can be used, by name."""
        return self._select(None, "state = 'kept'", ())

    def get(self, name: str) -> Handle:
        """The handle, or a UsageError that says which there are."""
        found = self._select(None, "name = ? AND state = 'kept'", (name,))
        if found:
            return found[0]
        known = [handle.name for handle in self.all()]
        near = difflib.get_close_matches(name, known, 1)
        there = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(known[:8]) or 'none'}"
        raise UsageError(f"no secret is kept under the name {name!r}; {there}")

    def load(self, name: str, run: str = "") -> tuple[Handle, dict[str, Array | None]]:
        """The handle and this party's shares, for its engine only.

        run: who takes it; the one that this very run has replaced, if it has written its end here before.
        """
        handle = self.get(name)
        if handle.run == run:
            replaced = self._select(None, "name = ? AND state = 'replaced'", (name,))
            if not replaced:
                raise UsageError(f"what {name!r} was before this run replaced it is not there any more")
            handle = replaced[0]
        header, arrays = self._shelf.fetch(handle.blob)
        if (header.get("name"), header.get("run")) != (handle.name, handle.run):
            raise HomeError(f"{handle.blob}: is not the secret {name!r} that the ledger names")
        return handle, arrays

    def drop(self, name: str) -> None:
        """Give a kept secret up for good. UsageError if there is none."""
        self.get(name)
        with self._database.change() as connection:
            connection.execute("UPDATE handles SET state = 'replaced' WHERE name = ? AND state = 'kept'", (name,))
            self._let_go(connection, name)
        self._shelf.sweep()

    def _remove(self, connection: sqlite3.Connection, condition: str, values: tuple[Any, ...]) -> list[Handle]:
        gone = self._select(connection, condition, values)
        connection.execute(f"DELETE FROM handles WHERE {condition}", values)  # noqa: S608 - constants of this file
        self._shelf.condemn(connection, [handle.blob for handle in gone])
        return gone

    def _select(self, connection: sqlite3.Connection | None, condition: str, values: tuple[Any, ...]) -> list[Handle]:
        query = f"SELECT {_COLUMNS} FROM handles WHERE {condition} ORDER BY name, rowid"  # noqa: S608 - constants of this file
        rows = connection.execute(query, values).fetchall() if connection else self._database.rows(query, values)
        return [_handle(row) for row in rows]


def _handle(row: tuple[Any, ...]) -> Handle:
    fields = dict(zip(_COLUMNS.split(", "), row, strict=True))
    fields.update({name: json.loads(fields[name]) for name in _JSON})
    return dataclasses.replace(Handle(**fields), shape=tuple(fields["shape"]), parties=tuple(fields["parties"]))
