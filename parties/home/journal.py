"""What this actor has let out, and to whom: a list that is only added to, each entry bound to all before it.

    hash of entry n = SHA-256(hash of entry n−1, as 64 hexadecimal digits, followed by the entry's canonical JSON)

So an entry cannot be edited, removed or moved without the chain showing where. Cutting off the tail, or writing the
whole list anew, shows against a head (number and hash) that somebody keeps elsewhere. An entry has names, shapes and
digests, never a value: its fields are fixed by its kind, and none of them can hold a fraction or an array.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mpc.errors import UsageError
from parties.home.database import Database
from parties.home.errors import HomeError

__all__ = ["KINDS", "LONGEST", "Journal", "Row", "Verdict"]

KINDS: dict[str, tuple[str, ...]] = {
    "run begun": ("run", "attempt", "program", "digest", "role", "coordinator", "key"),
    "run refused": ("run", "attempt", "program", "digest", "coordinator", "key", "why"),
    "data used": ("run", "attempt", "input", "data", "columns"),
    "run ended": ("run", "attempt", "how", "sentence"),
    "intended": ("run", "attempt", "program", "digest", "name", "to", "shape", "bits", "where"),
    "revealed": ("run", "attempt", "program", "digest", "name", "to", "shape", "bits", "where"),
    "not opened": ("run", "attempt", "program", "digest", "name", "to", "shape", "bits", "where", "left"),
    "values told": ("data", "column", "count", "coordinator", "key"),
    "values refused": ("data", "column", "why", "coordinator", "key"),
    "handle kept": ("handle", "run", "shape", "parties"),
    "handle dropped": ("handle", "run"),
    "material taken": ("material", "run", "attempt"),
    "material burnt": ("material", "why"),
    "checkpoint restored": ("run", "attempt", "epoch", "site", "iteration"),
}
Row = tuple[str, Mapping[str, Any]]  # a kind of entry about a reveal, and the reveal as its program lists it
_GENESIS = "0" * 64
LONGEST = 2000
_MOST_NAMES, _MOST_NUMBERS = 2000, 256  # of one list
_HEAD = re.compile(r"(\d{1,18}):([0-9a-f]{16,64})")


@dataclass(frozen=True)
class Verdict:
    """Whether the chain holds. If not: the number of the first entry that does not fit, and why."""

    holds: bool
    count: int
    head: str
    place: int = 0
    reason: str = ""


class Journal:
    """The journal of one actor."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, entry: Mapping[str, Any]) -> int:
        """Add `{"what": kind, ...}` with exactly the fields of its kind, durably; its number."""
        with self._database.change() as connection:
            return self.add(connection, **entry)

    def reveals(self, run: str, attempt: int, program: str, digest: str, rows: Iterable[Row]) -> None:
        """Write down what comes of reveals, in one transaction: a kind, and `name, to, shape, bits, where` of each.

        `intended` before this party's shares leave; then `revealed`, or `not opened`, with whom they had `left` to.
        """
        with self._database.change() as connection:
            self.add_reveals(connection, run, attempt, program, digest, rows)

    def add_reveals(
        self, connection: sqlite3.Connection, run: str, attempt: int, program: str, digest: str, rows: Iterable[Row]
    ) -> None:
        """As `reveals`, inside a transaction of the ledger."""
        for what, r in rows:
            to, bits = r["to"], r.get("bits")
            self.add(
                connection,
                what=what,
                run=run,
                attempt=attempt,
                program=program,
                digest=digest,
                name=str(r["name"])[:LONGEST],
                to=[to] if isinstance(to, str) else list(to),
                shape=list(r["shape"]),
                bits=None if bits is None else int(bits),
                where=str(r.get("where", ""))[:LONGEST],
                **({"left": list(r["left"])} if what == "not opened" else {}),
            )

    def add(self, connection: sqlite3.Connection, *, what: str, **fields: Any) -> int:
        """Add an entry inside a transaction of the ledger, so that the two never disagree."""
        if what not in KINDS or set(fields) != set(KINDS[what]):
            raise HomeError(f"a journal entry {what!r} with fields {', '.join(fields)}; it takes {KINDS.get(what)}")
        for name, value in fields.items():
            if not _plain(value):
                raise HomeError(
                    f"journal: {name} of {what!r} is a {type(value).__name__}; entries hold names and shapes"
                )
        last = connection.execute("SELECT number, hash FROM journal ORDER BY number DESC LIMIT 1").fetchone()
        number, prev = (last[0] + 1, last[1]) if last else (1, _GENESIS)
        text = _canonical({"number": number, "at": self._database.time(), "what": what, **fields})
        connection.execute("INSERT INTO journal VALUES (?, ?, ?, ?)", (number, prev, text, _hash(prev, text)))
        return number

    def entries(self, run: str | None = None) -> list[dict[str, Any]]:
        """Every entry in order, with its `hash`; of one run only if asked. Not verified."""
        found = []
        for text, digest in self._database.rows("SELECT entry, hash FROM journal ORDER BY number"):
            try:
                entry = json.loads(text)
            except (TypeError, ValueError):
                continue  # `verify` names it
            if isinstance(entry, dict) and (run is None or entry.get("run") == run):
                found.append({**entry, "hash": digest})
        return found

    def head(self) -> str:
        """`number:hash` of the last entry, to be kept elsewhere; `0:000…` before the first."""
        last = self._database.rows("SELECT number, hash FROM journal ORDER BY number DESC LIMIT 1")
        return f"{last[0][0]}:{last[0][1]}" if last else f"0:{_GENESIS}"

    def verify(self, head: str | None = None) -> Verdict:
        """Whether every entry fits those before it, and whether `head`, kept from earlier, is still among them."""
        kept = _parse(head) if head else None
        count, prev = 0, _GENESIS
        for row in self._database.rows("SELECT number, prev, entry, hash FROM journal ORDER BY number"):
            reason = _misfit(count + 1, prev, row)
            if reason:
                return Verdict(False, count, f"{count}:{prev}", count + 1, reason)
            count, prev = row[0], row[3]
            if kept and kept[0] == count and not prev.startswith(kept[1]):
                return Verdict(False, count, f"{count}:{prev}", count, "not the entry that the kept head names")
        if kept and kept[0] > count:
            return Verdict(False, count, f"{count}:{prev}", count + 1, "missing: the kept head is a later entry")
        return Verdict(True, count, f"{count}:{prev}")


def _misfit(number: int, prev: str, row: tuple[Any, ...]) -> str:
    """Why a row is not entry `number` after `prev`; '' if it is."""
    if row[0] != number:
        return f"missing; the next one there is {row[0]}"
    if not isinstance(row[2], str) or row[3] != _hash(prev, row[2]):
        return (
            "edited, or moved here from another place" if row[1] == prev else "not the successor of the one before it"
        )
    if row[1] != prev:
        return "not the successor of the one before it"
    try:
        fits = json.loads(row[2])["number"] == number
    except (ValueError, KeyError, TypeError):
        fits = False
    return "" if fits else "not an entry of this place"


def _hash(prev: str, text: str) -> str:
    return hashlib.sha256(prev.encode() + text.encode()).hexdigest()


def _canonical(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        most = _MOST_NAMES if all(isinstance(v, str) for v in value) else _MOST_NUMBERS
        return len(value) <= most and all(isinstance(v, str | int) and _plain(v) for v in value)
    if isinstance(value, str):
        return len(value) <= LONGEST
    return value is None or (isinstance(value, int) and not isinstance(value, bool))


def _parse(head: str) -> tuple[int, str]:
    found = _HEAD.fullmatch(head)
    if not found:
        raise UsageError(f"{head!r} is not a head of a journal: NUMBER:HASH, at least 16 digits of the hash")
    return int(found[1]), found[2]
