"""Runs, as a coordinator or a party must know them to go on with one after a crash."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mpc.errors import UsageError
from parties.home.database import Database
from parties.home.errors import AlreadyUsed
from parties.home.ledger import checked_id

__all__ = ["Runs", "StoredRun"]

_COLUMNS = "run, program, text, digest, suite, inputs, settings, every, more, status, sentence, begun"
_JSON = ("inputs", "settings", "more")


@dataclass(frozen=True)
class StoredRun:
    """One run. status: `running`, `stopped` (it can be resumed) or `done`.

    text, digest: the surface program and its digest. inputs: to which offers or paths the inputs are bound. every:
    iterations between checkpoints, 0 for none. more: whatever else the actor must remember, as JSON. sentence: why it
    stopped.
    """

    run: str
    program: str
    text: str = field(repr=False)
    digest: str
    suite: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    every: int = 0
    more: Mapping[str, Any] = field(default_factory=dict)
    status: str = "running"
    sentence: str = ""
    begun: str = ""


class Runs:
    """The runs of one actor."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, run: StoredRun) -> None:
        """Remember a new run. AlreadyUsed if its id is known."""
        checked_id(run.run, "run")
        row = {**vars(run), "begun": run.begun or self._database.time()}
        row.update({name: json.dumps(row[name], sort_keys=True) for name in _JSON})
        with self._database.change() as connection:
            if connection.execute("SELECT 1 FROM runs WHERE run = ?", (run.run,)).fetchone():
                raise AlreadyUsed(f"run {run.run[:8]} is known here already; a new run has a new id")
            columns = _COLUMNS.split(", ")
            marks = ", ".join("?" * len(columns))
            connection.execute(f"INSERT INTO runs VALUES ({marks})", [row[c] for c in columns])  # noqa: S608 - marks only

    def set_status(self, run: str, status: str, sentence: str = "") -> None:
        """It is `running` again, `stopped` for this reason, or `done`."""
        if status not in {"running", "stopped", "done"}:
            raise ValueError(f"no status of a run: {status}")
        with self._database.change() as connection:
            found = connection.execute(
                "UPDATE runs SET status = ?, sentence = ? WHERE run = ?", (status, sentence, run)
            )
            if not found.rowcount:
                raise UsageError(f"run {run[:8]} is not known here")

    def get(self, run: str) -> StoredRun | None:
        """The run with this id, if it is known."""
        found = self._select("run = ?", (run,))
        return found[0] if found else None

    def find(self, prefix: str) -> StoredRun:
        """The one run whose id begins so. UsageError that lists the candidates if there are none or several."""
        wanted = prefix.strip().lower()
        found = (
            self._select("substr(run, 1, ?) = ?", (len(wanted), wanted)) if re.fullmatch(r"[0-9a-f]+", wanted) else []
        )
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(f"{prefix!r} begins several runs: {_listed(found)}; give more digits")
        known = self._select("1", ())
        raise UsageError(
            f"no run begins with {prefix!r}; " + (f"known: {_listed(known)}" if known else "none is known here")
        )

    def all(self, status: str | None = None) -> list[StoredRun]:
        """All of them, or those of one status, the latest first."""
        return self._select("? IS NULL OR status = ?", (status, status))

    def stop_crashed(self, connection: sqlite3.Connection, runs: Iterable[str]) -> None:
        """These were running in a process that is dead."""
        connection.executemany(
            "UPDATE runs SET status = 'stopped', sentence = 'its process died' WHERE run = ? AND status = 'running'",
            [(run,) for run in runs],
        )

    def _select(self, condition: str, values: tuple[Any, ...]) -> list[StoredRun]:
        query = f"SELECT {_COLUMNS} FROM runs WHERE {condition} ORDER BY rowid DESC"  # noqa: S608 - constants of this file
        found = []
        for row in self._database.rows(query, values):
            fields = dict(zip(_COLUMNS.split(", "), row, strict=True))
            fields.update({name: json.loads(fields[name]) for name in _JSON})
            found.append(StoredRun(**fields))
        return found


def _listed(runs: list[StoredRun]) -> str:
    shown = ", ".join(f"{r.run[:8]} ({r.program}, {r.status}, {r.begun[:16]})" for r in runs[:8])
    return f"{shown} and {len(runs) - 8} more" if len(runs) > 8 else shown
