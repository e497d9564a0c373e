"""The preprocessing store: correlated randomness dealt ahead of time, each used by one attempt or by none.

An id is the dealer's fresh 128-bit nonce. `take` is on the disk before it returns, so whatever happens afterwards the
material counts as used. That does not help against a directory restored from a backup; against that, all parties
exchange what they are about to use, and each refuses what *any* of them has used.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mpc.exchange import Array
from parties.home.database import Database
from parties.home.errors import AlreadyUsed, HomeError
from parties.home.journal import Journal
from parties.home.ledger import checked_id
from parties.home.shelf import Shelf

__all__ = ["Material", "Materials"]

_COLUMNS = "id, digest, content, parties, size, stocked, blob, state, session"


@dataclass(frozen=True)
class Material:
    """One stock of material. state: `stocked`, `used` or `burnt`.

    digest: of the lowered program it is for. content: hash of the material itself. size: bytes. session: the attempt
    that took it. blob: '' once the material itself is gone.
    """

    id: str
    digest: str
    content: str
    parties: tuple[str, ...]
    size: int
    stocked: str = ""
    blob: str = ""
    state: str = "stocked"
    session: str = ""


class Materials:
    """The store of one actor."""

    def __init__(self, database: Database, journal: Journal, shelf: Shelf) -> None:
        self._database = database
        self._journal = journal
        self._shelf = shelf

    def stock(
        self, material: Material, arrays: Mapping[str, Array | None], header: Mapping[str, Any] | None = None
    ) -> None:
        """Put material into the store, durably. AlreadyUsed if its id is known, be it stocked, used or burnt."""
        checked_id(material.id, "material")
        self._refuse_known(self.state(material.id), material.id)
        blob = self._shelf.place("material", {"id": material.id, "more": dict(header or {})}, arrays)
        try:
            with self._database.change() as connection:
                self._refuse_known(_state(connection, material.id), material.id)
                connection.execute(
                    "INSERT INTO materials VALUES (?, ?, ?, ?, ?, ?, ?, 'stocked', '')",
                    (material.id, material.digest, material.content, json.dumps(material.parties), material.size,
                     self._database.time(), blob),
                )  # fmt: skip
                self._shelf.adopt(connection, blob)
        except BaseException:
            self._shelf.give_up(blob)
            raise

    def take(self, material: str, session: str) -> Material:
        """Mark as used by this attempt, durably, before anything of it is read. AlreadyUsed if it was used or burnt.

        HomeError if it is unknown. Read it with `load`.
        """
        with self._database.change() as connection:
            state = _state(connection, material)
            if state is None:
                raise HomeError(f"material {material[:8]} is not in this store; make some with: privity deal")
            if state != "stocked":
                raise AlreadyUsed(
                    f"material {material[:8]} is {state}; it is never used again: privity deal makes more"
                )
            found = connection.execute(
                "SELECT run, attempt FROM attempts WHERE session = ? AND ended = ''", (session,)
            ).fetchone()
            if found is None:
                raise HomeError(f"session {session[:8]} is not under way; it takes no material")
            connection.execute("UPDATE materials SET state = 'used', session = ? WHERE id = ?", (session, material))
            run, attempt = found
            self._journal.add(connection, what="material taken", material=material, run=run, attempt=attempt)
        return self.get(material)

    def load(self, material: str, session: str) -> tuple[Material, dict[str, Any], dict[str, Array | None]]:
        """The material that this attempt has taken: its row, the header it was given, its arrays."""
        found = self.get(material)
        if (found.state, found.session) != ("used", session) or not found.blob:
            raise AlreadyUsed(f"material {material[:8]} was not taken by session {session[:8]}, or it is spent")
        header, arrays = self._shelf.fetch(found.blob)
        return found, self._more(found, header), arrays

    def about(self, material: str) -> dict[str, Any]:
        """The header that stored material was given; empty if the material itself is gone. HomeError if unknown."""
        found = self.get(material)
        return self._more(found, self._shelf.header(found.blob)) if found.blob else {}

    @staticmethod
    def _more(found: Material, header: dict[str, Any]) -> dict[str, Any]:
        if header.get("id") != found.id:
            raise HomeError(f"{found.blob}: is not the material {found.id[:8]} that the ledger names")
        return dict(header["more"])

    def spent(self, session: str) -> None:
        """The attempt has ended well: what it took stays used, and its files go."""
        with self._database.change() as connection:
            self._empty(connection, "session = ? AND state = 'used'", (session,))
        self._shelf.sweep()

    def burn(self, material: str, why: str) -> None:
        """Never to be used from now on, also if this store does not have it. Saying it again changes nothing."""
        checked_id(material, "material")
        with self._database.change() as connection:
            self._burn(connection, material, why)
        self._shelf.sweep()

    def get(self, material: str) -> Material:
        """One material, HomeError if it is unknown."""
        found = self._select("id = ?", (material,))
        if not found:
            raise HomeError(f"material {material[:8]} is not in this store; make some with: privity deal")
        return found[0]

    def state(self, material: str) -> str | None:
        """`stocked`, `used`, `burnt`, or None: never heard of."""
        rows = self._database.rows("SELECT state FROM materials WHERE id = ?", (material,))
        return str(rows[0][0]) if rows else None

    def all(self, *, digest: str | None = None, state: str | None = None) -> list[Material]:
        """All, or those for one lowered program or in one state; the one stocked first comes first."""
        return self._select("(? IS NULL OR digest = ?) AND (? IS NULL OR state = ?)", (digest, digest, state, state))

    def burn_crashed(self, connection: sqlite3.Connection, sessions: Iterable[str]) -> None:
        """What these attempts had taken when their process died, whole."""
        for session in sessions:
            rows = connection.execute("SELECT id FROM materials WHERE session = ? AND state = 'used'", (session,))
            for (material,) in rows.fetchall():
                self._burn(connection, material, "its process died")

    def _burn(self, connection: sqlite3.Connection, material: str, why: str) -> None:
        state = _state(connection, material)
        if state == "burnt":
            return
        if state is None:
            connection.execute(
                "INSERT INTO materials VALUES (?, '', '', '[]', 0, ?, '', 'burnt', '')",
                (material, self._database.time()),
            )
        self._empty(connection, "id = ?", (material,))
        connection.execute("UPDATE materials SET state = 'burnt' WHERE id = ?", (material,))
        self._journal.add(connection, what="material burnt", material=material, why=why)

    def _empty(self, connection: sqlite3.Connection, condition: str, values: tuple[Any, ...]) -> None:
        query = f"SELECT blob FROM materials WHERE {condition} AND blob <> ''"  # noqa: S608 - constants of this file
        blobs = [row[0] for row in connection.execute(query, values).fetchall()]
        connection.execute(f"UPDATE materials SET blob = '' WHERE {condition}", values)  # noqa: S608 - as above
        self._shelf.condemn(connection, blobs)

    def _select(self, condition: str, values: tuple[Any, ...]) -> list[Material]:
        query = f"SELECT {_COLUMNS} FROM materials WHERE {condition} ORDER BY rowid"  # noqa: S608 - constants of this file
        return [
            Material(row[0], row[1], row[2], tuple(json.loads(row[3])), *row[4:])
            for row in self._database.rows(query, values)
        ]

    @staticmethod
    def _refuse_known(state: str | None, material: str) -> None:
        if state is not None:
            raise AlreadyUsed(f"material {material[:8]} is {state} here already; an id is never used for two materials")


def _state(connection: sqlite3.Connection, material: str) -> str | None:
    found = connection.execute("SELECT state FROM materials WHERE id = ?", (material,)).fetchone()
    return str(found[0]) if found else None
