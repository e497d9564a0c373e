"""Blobs with a row in the ledger: neither is ever there without the other for longer than a crash.

A blob's name is fresh and is written down, as `writing`, before its file is made. The transaction that needs the blob
makes it `kept`; one that needs it no longer makes it `condemned`, and only after its commit the file goes. Whatever
interrupts this, the next opener finds the name: what is condemned, or was being written by a process that is dead,
is cleared away then.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mpc.exchange import Array
from parties.home.database import Database
from parties.home.errors import HomeError
from parties.home.vault import Vault

__all__ = ["Shelf"]


class Shelf:
    """Vault and ledger together. token: marks what this process is writing."""

    def __init__(self, database: Database, vault: Vault, token: str) -> None:
        self._database = database
        self._vault = vault
        self._token = token

    def place(self, kind: str, header: Mapping[str, Any], arrays: Mapping[str, Array | None]) -> str:
        """Seal a new blob, durably; its name. Nothing is left of it if that fails (HomeError)."""
        name = self._vault.fresh_name(kind)
        with self._database.change() as connection:
            connection.execute("INSERT INTO blobs VALUES (?, 'writing', ?)", (name, self._token))
        try:
            self._vault.put(name, {"kind": kind, **header}, arrays)
        except BaseException:
            self.give_up(name)
            raise
        return name

    def give_up(self, name: str) -> None:
        """Let go of a blob that was placed and is not to be kept after all."""
        with contextlib.suppress(HomeError):  # a full disk takes no row either; the next opener sees to it
            with self._database.change() as connection:
                self.condemn(connection, [name])
            self.sweep()

    def fetch(self, name: str) -> tuple[dict[str, Any], dict[str, Array | None]]:
        """What was placed."""
        return self._vault.get(name)

    def header(self, name: str) -> dict[str, Any]:
        """The header of what was placed."""
        return self._vault.header(name)

    def adopt(self, connection: sqlite3.Connection, name: str) -> None:
        """A row of this transaction refers to the blob from now on."""
        changed = connection.execute("UPDATE blobs SET state = 'kept', token = '' WHERE name = ?", (name,)).rowcount
        if changed != 1:
            raise HomeError(f"{name}: no such sealed file was written")

    def condemn(self, connection: sqlite3.Connection, names: Iterable[str]) -> None:
        """No row refers to these any longer; call `sweep` after the commit."""
        connection.executemany("UPDATE blobs SET state = 'condemned', token = '' WHERE name = ?", [(n,) for n in names])

    def sweep(self) -> None:
        """Remove the files of what is condemned. What cannot be removed now is tried again by the next opener."""
        with contextlib.suppress(HomeError):
            names = [row[0] for row in self._database.rows("SELECT name FROM blobs WHERE state = 'condemned'")]
            for name in names:
                self._vault.drop(name)
            if names:
                with self._database.change() as connection:
                    connection.executemany("DELETE FROM blobs WHERE name = ?", [(n,) for n in names])

    def clear(self, alive: Callable[[str], bool]) -> None:
        """Remove what a dead process was writing, and everything condemned."""
        writing = self._database.rows("SELECT name, token FROM blobs WHERE state = 'writing'")
        dead = [name for name, token in writing if not alive(token)]
        if dead:
            with self._database.change() as connection:
                self.condemn(connection, dead)
        self.sweep()
