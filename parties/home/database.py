"""The SQLite file under ledger and journal: one writer at a time, and a commit is on the disk when it returns.

Write-ahead logging with `synchronous=FULL`: a commit is one fsync of the log, where the rollback journal needs four or
five, and without the one of the directory (`EXTRA`) a power cut could undo a commit that was reported, and bring a used
mask back.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mpc.errors import UsageError
from parties.home import disk
from parties.home.errors import HomeError, database_error, disk_error

__all__ = ["SCHEMA", "SYNCHRONOUS", "Database"]

SCHEMA = 1
SYNCHRONOUS = "FULL"
_APPLICATION = 0x70726976  # "priv", so that another program's file is never taken for a ledger
_BUSY_SECONDS = 20.0

# Positions in a stream have 128 bits and are kept as 32 hexadecimal digits, which sort as the numbers do.
_TABLES = (
    "CREATE TABLE actor (name TEXT NOT NULL)",
    """CREATE TABLE attempts (run TEXT, attempt INTEGER, session TEXT UNIQUE, program TEXT, digest TEXT, role TEXT,
        token TEXT, begun TEXT, ended TEXT, how TEXT, sentence TEXT, PRIMARY KEY (run, attempt))""",
    "CREATE TABLE streams (key TEXT, first TEXT, last TEXT, session TEXT, PRIMARY KEY (key, first))",
    """CREATE TABLE runs (run TEXT PRIMARY KEY, program TEXT, text TEXT, digest TEXT, suite TEXT, inputs TEXT,
        settings TEXT, every INTEGER, more TEXT, status TEXT, sentence TEXT, begun TEXT)""",
    "CREATE TABLE blobs (name TEXT PRIMARY KEY, state TEXT, token TEXT)",
    """CREATE TABLE checkpoints (run TEXT, epoch INTEGER, site, iteration INTEGER, state TEXT, blob TEXT,
        PRIMARY KEY (run, epoch))""",
    """CREATE TABLE handles (name TEXT, run TEXT, shape TEXT, scale INTEGER, unit TEXT, lo TEXT, hi TEXT, bits INTEGER,
        parties TEXT, created TEXT, blob TEXT, noise REAL, state TEXT, PRIMARY KEY (name, state, run))""",
    """CREATE TABLE materials (id TEXT PRIMARY KEY, digest TEXT, content TEXT, parties TEXT, size INTEGER, stocked TEXT,
        blob TEXT, state TEXT, session TEXT)""",
    "CREATE TABLE journal (number INTEGER PRIMARY KEY, prev TEXT, entry TEXT, hash TEXT)",
)
_LATER = ("CREATE TABLE IF NOT EXISTS programs (digest TEXT PRIMARY KEY, text TEXT)",)  # older versions pass them over


class Database:
    """One connection. For one thread at a time; a thread that needs the ledger meanwhile opens its own `Home`.

    now: the time of entries, in seconds since 1970.
    """

    def __init__(self, path: Path, actor: str, now: Callable[[], float]) -> None:
        self.path = path
        self._now = now
        try:
            with contextlib.suppress(FileExistsError):
                os.close(disk.create(path))  # SQLite itself would make it readable by others
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        except OSError as error:
            raise disk_error(path, error) from None
        except sqlite3.Error as error:
            raise database_error(path, error) from None
        try:
            self._prepare(actor)
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<Database {self.path}>"

    def close(self) -> None:
        """An open transaction is undone."""
        self._connection.close()

    def time(self) -> str:
        """Now, in UTC to the second."""
        return datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="seconds")

    @contextlib.contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it is on the disk afterwards, or none. Raises HomeError."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield self._connection
            disk.commit(self._connection)
        except sqlite3.Error as error:
            self._undo()
            raise database_error(self.path, error) from None
        except BaseException:
            self._undo()
            raise

    def rows(self, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """What a query finds."""
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise database_error(self.path, error) from None

    def _undo(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _prepare(self, actor: str) -> None:
        self.rows(f"PRAGMA synchronous={SYNCHRONOUS if self._log_ahead() else 'EXTRA'}")
        with self.change() as connection:
            version = self._version(connection)
            if version > SCHEMA:
                raise HomeError(
                    f"{self.path}: written by a newer privity (schema {version}; this one knows {SCHEMA}); upgrade"
                )
            if version == 0:
                for table in _TABLES:
                    connection.execute(table)
                connection.execute("INSERT INTO actor VALUES (?)", (actor,))
                connection.execute(f"PRAGMA user_version={SCHEMA}")
                connection.execute(f"PRAGMA application_id={_APPLICATION}")
            for table in _LATER:
                connection.execute(table)
        owner = self.rows("SELECT name FROM actor")[0][0]
        if owner != actor:
            raise UsageError(f"{self.path}: the state of {owner}, not of {actor}; give each actor its own directory")

    def _log_ahead(self) -> bool:
        """Kept in the file; the first openers take turns, since SQLite does not wait for a lock here.

        False on a disk without shared memory: the rollback journal is used there, with every fsync it needs.
        """
        if self.rows("PRAGMA journal_mode") == [("wal",)]:
            return True
        handle = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            return self.rows("PRAGMA journal_mode=WAL") == [("wal",)]
        finally:
            os.close(handle)

    def _version(self, connection: sqlite3.Connection) -> int:
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        application = int(connection.execute("PRAGMA application_id").fetchone()[0])
        foreign = version or connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        if foreign and application != _APPLICATION:
            raise HomeError(f"{self.path}: not a ledger of privity; move it away")
        return version
