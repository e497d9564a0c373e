"""Attempts and what they have reserved: written down before first use, so that no mask ever serves twice.

Key ids are not keys: `key_id` is a hash that tells equal keys apart from others and nothing more.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mpc.errors import UsageError
from parties.home.database import Database
from parties.home.errors import AlreadyUsed, HomeError
from parties.home.journal import LONGEST, Journal, Row
from parties.home.programs import Programs

__all__ = ["ALL", "Attempt", "Ledger", "Stream", "checked_id", "key_id"]

ALL = (1 << 128) - 1
_ID = re.compile(r"[0-9a-f]{32}")
_COLUMNS = "run, attempt, session, program, digest, role, begun, ended, how, sentence"


@dataclass(frozen=True)
class Attempt:
    """One try at a run. how: '' while it lasts, then `done`, `stopped`, `refused` or `crashed`."""

    run: str
    attempt: int
    session: str
    program: str
    digest: str
    role: str
    begun: str = ""
    ended: str = ""
    how: str = ""
    sentence: str = ""


@dataclass(frozen=True)
class Stream:
    """The positions from `first` to `last`, both included, of the stream of one key; the whole stream if left out."""

    key: str
    first: int = 0
    last: int = ALL

    def __post_init__(self) -> None:
        if not 0 <= self.first <= self.last <= ALL:
            raise ValueError("a stream has the positions 0 to 2^128 − 1")


def key_id(key: bytes) -> str:
    """A name for a key that may be written down: it does not lead back to the key."""
    return hashlib.sha256(b"privity key id\0" + key).hexdigest()[:32]


def checked_id(text: str, what: str) -> str:
    """The id of a run, session or material, or HomeError."""
    if not _ID.fullmatch(text):
        raise HomeError(f"{text!r} is no id of a {what}: 32 digits 0-9a-f")
    return text


class Ledger:
    """The attempts of one actor. token: marks this process's attempts."""

    def __init__(self, database: Database, journal: Journal, programs: Programs, token: str) -> None:
        self._database = database
        self._journal = journal
        self._programs = programs
        self._token = token

    def next_attempt(self, run: str) -> int:
        """The number for the next attempt at this run; 1 for the first."""
        return int(
            self._database.rows("SELECT coalesce(max(attempt), 0) + 1 FROM attempts WHERE run = ?", (run,))[0][0]
        )

    def begin(
        self,
        run: str,
        attempt: int,
        session: str,
        *,
        program: str,
        digest: str,
        role: str,
        coordinator: str = "",
        key: str = "",
        text: str = "",
        data: Iterable[Mapping[str, Any]] = (),
    ) -> Attempt:
        """Write an attempt down. AlreadyUsed if its number is not above all earlier ones, or its session was there.

        coordinator, key: who asks for it, and the fingerprint of its key. text: of the program. data: what of this
        actor's data goes in, each `input, data, columns`.
        """
        checked_id(run, "run")
        checked_id(session, "session")
        with self._database.change() as connection:
            latest = connection.execute(
                "SELECT coalesce(max(attempt), 0) FROM attempts WHERE run = ?", (run,)
            ).fetchone()
            if attempt <= latest[0]:
                raise AlreadyUsed(
                    f"run {run[:8]}: attempt {attempt} was begun before (latest: {latest[0]}); start a new attempt"
                )
            if connection.execute("SELECT 1 FROM attempts WHERE session = ?", (session,)).fetchone():
                raise AlreadyUsed(f"run {run[:8]}: session {session[:8]} was used before; start a new attempt")
            begun = self._database.time()
            connection.execute(
                "INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?, '', '', '')",
                (run, attempt, session, program, digest, role, self._token, begun),
            )
            if text:
                self._programs.add(connection, digest, text)
            who = {"coordinator": coordinator, "key": key}
            about = {"program": program[:LONGEST], "digest": digest, "role": role, **who}
            self._journal.add(connection, what="run begun", run=run, attempt=attempt, **about)
            for used in data:
                self._journal.add(connection, what="data used", run=run, attempt=attempt, **used)
        return Attempt(run, attempt, session, program, digest, role, begun)

    def end(self, session: str, how: str, sentence: str = "", reveals: Iterable[Row] = ()) -> None:
        """How it ended: `done`, `stopped` or `refused`, and why, in a sentence. Saying it again changes nothing.

        reveals: what has come of the reveals that were intended, as `Journal.reveals` takes it.
        """
        with self._database.change() as connection:
            found = connection.execute("SELECT ended FROM attempts WHERE session = ?", (session,)).fetchone()
            if found is None:
                raise HomeError(f"session {session[:8]} was never begun here")
            if not found[0]:
                self._end(connection, session, how, sentence, reveals)

    def reserve(self, session: str, streams: Iterable[Stream]) -> None:
        """Reserve key ids and their ranges for an attempt under way. All are on the disk when it returns, or none.

        AlreadyUsed if another attempt ever reserved one of the keys, or this one an overlapping range.
        """
        with self._database.change() as connection:
            found = connection.execute("SELECT ended FROM attempts WHERE session = ?", (session,)).fetchone()
            if found is None or found[0]:
                raise HomeError(f"session {session[:8]} is {'over' if found else 'not begun'}; nothing can be reserved")
            for stream in streams:
                self._reserve(connection, session, stream)

    def _reserve(self, connection: sqlite3.Connection, session: str, stream: Stream) -> None:
        first, last = f"{stream.first:032x}", f"{stream.last:032x}"
        taken = connection.execute(
            "SELECT session FROM streams WHERE key = ? AND (session <> ? OR (first <= ? AND ? <= last)) LIMIT 1",
            (stream.key, session, last, first),
        ).fetchone()
        if taken:
            what = "an overlapping range" if taken[0] == session else f"session {taken[0][:8]}"
            raise AlreadyUsed(
                f"key {stream.key[:8]}: reserved before, by {what}; masks are never used twice: start a new attempt"
            )
        connection.execute("INSERT INTO streams VALUES (?, ?, ?, ?)", (stream.key, first, last, session))

    def reserved(self, session: str | None = None) -> list[tuple[str, Stream]]:
        """What was reserved, each with its session; in the order of keys and positions."""
        rows = self._database.rows(
            "SELECT session, key, first, last FROM streams WHERE ? IS NULL OR session = ? ORDER BY key, first",
            (session, session),
        )
        return [(row[0], Stream(row[1], int(row[2], 16), int(row[3], 16))) for row in rows]

    def attempts(self, run: str | None = None) -> list[Attempt]:
        """Every attempt, or those of one run, in the order in which they began."""
        query = f"SELECT {_COLUMNS} FROM attempts WHERE ? IS NULL OR run = ? ORDER BY rowid"  # noqa: S608 - a constant
        return [Attempt(*row) for row in self._database.rows(query, (run, run))]

    def attempt(self, session: str) -> Attempt:
        """The attempt of a session."""
        query = f"SELECT {_COLUMNS} FROM attempts WHERE session = ?"  # noqa: S608 - a constant
        rows = self._database.rows(query, (session,))
        if not rows:
            raise UsageError(f"session {session[:8]} was never begun here")
        return Attempt(*rows[0])

    def _end(
        self, connection: sqlite3.Connection, session: str, how: str, sentence: str, reveals: Iterable[Row] = ()
    ) -> None:
        sentence = sentence[:LONGEST]
        query = "SELECT run, attempt, program, digest FROM attempts WHERE session = ?"
        run, attempt, program, digest = connection.execute(query, (session,)).fetchone()
        self._journal.add_reveals(connection, run, attempt, program, digest, reveals)
        connection.execute(
            "UPDATE attempts SET ended = ?, how = ?, sentence = ? WHERE session = ?",
            (self._database.time(), how, sentence, session),
        )
        self._journal.add(connection, what="run ended", run=run, attempt=attempt, how=how, sentence=sentence)

    def end_crashed(self, connection: sqlite3.Connection, alive: Callable[[str], bool]) -> list[tuple[str, str]]:
        """End the attempts whose process is dead, as `crashed`; their sessions and runs."""
        rows = connection.execute("SELECT session, run, token FROM attempts WHERE ended = ''").fetchall()
        crashed = [(session, run) for session, run, token in rows if not alive(token)]
        for session, _ in crashed:
            self._end(connection, session, "crashed", "its process died")
        return crashed
