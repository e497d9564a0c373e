"""The texts of the programs that an actor took part in, by digest, so that its owner can read what was run."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable

from mpc.errors import UsageError
from parties.home.database import Database
from parties.home.errors import HomeError

__all__ = ["Programs", "one_of"]


class Programs:
    """The programs of one actor. They are added in the transaction that writes down that a run begins."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, connection: sqlite3.Connection, digest: str, text: str) -> None:
        """Keep a text; it may be there already."""
        connection.execute("INSERT OR IGNORE INTO programs VALUES (?, ?)", (digest, text))

    def digests(self) -> list[str]:
        """Of all that are kept."""
        return [row[0] for row in self._database.rows("SELECT digest FROM programs ORDER BY digest")]

    def text(self, digest: str) -> str:
        """The text of this digest. Raises HomeError if it is another one, which somebody has put into the file."""
        rows = self._database.rows("SELECT text FROM programs WHERE digest = ?", (digest,))
        text = str(rows[0][0]) if rows else ""
        if hashlib.sha256(text.encode()).hexdigest() != digest:
            raise HomeError(f"the text that is kept for program {digest[:12]} is another program's: it was edited")
        return text


def one_of(digests: Iterable[str], prefix: str) -> str:
    """The only digest that begins so. UsageError that lists the candidates if there are none or several."""
    known, wanted = sorted(set(digests)), prefix.strip().lower()
    found = [digest for digest in known if wanted and digest.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(digest[:12] for digest in (found or known)[:8]) or "none"
    if found:
        raise UsageError(f"{prefix!r} begins several programs: {listed}; give more digits")
    raise UsageError(f"no program's digest begins with {prefix!r}; the journal has {listed}")
