"""Checkpoints: the shares of a loop's state at one iteration, under an epoch on which all parties agree.

Two phases. `prepare` makes this party's part durable; when all have said so, the coordinator lets all `commit`,
and only then an older one goes. So at any time there is an epoch that every party holds: a committed one anywhere is at
least prepared everywhere. The last one goes in two phases as well: when every party has written that the run is done.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mpc.exchange import Array
from parties.home.database import Database
from parties.home.errors import AlreadyUsed, HomeError
from parties.home.journal import Journal
from parties.home.ledger import checked_id
from parties.home.shelf import Shelf

__all__ = ["Checkpoint", "Checkpoints"]


@dataclass(frozen=True)
class Checkpoint:
    """One that is held. state: `prepared` or `committed`."""

    run: str
    epoch: int
    site: str | int
    iteration: int
    state: str
    blob: str


class Checkpoints:
    """The checkpoints of one actor."""

    def __init__(self, database: Database, journal: Journal, shelf: Shelf) -> None:
        self._database = database
        self._journal = journal
        self._shelf = shelf

    def prepare(
        self,
        run: str,
        epoch: int,
        site: str | int,
        iteration: int,
        arrays: Mapping[str, Array | None],
        header: Mapping[str, Any] | None = None,
    ) -> Checkpoint:
        """Make a checkpoint durable without giving up any other. AlreadyUsed if the run has this epoch or a later one.

        HomeError, a full disk for one, leaves those before it as they are.
        """
        checked_id(run, "run")
        about = {"run": run, "epoch": epoch, "site": site, "iteration": iteration}
        self._refuse_late(self._latest(run), run, epoch)  # before anything is written
        blob = self._shelf.place("checkpoint", {**about, "more": dict(header or {})}, arrays)
        try:
            with self._database.change() as connection:
                self._refuse_late(_latest(connection, run), run, epoch)
                connection.execute(
                    "INSERT INTO checkpoints VALUES (?, ?, ?, ?, 'prepared', ?)", (run, epoch, site, iteration, blob)
                )
                self._shelf.adopt(connection, blob)
        except BaseException:
            self._shelf.give_up(blob)
            raise
        return Checkpoint(run, epoch, site, iteration, "prepared", blob)

    def commit(self, run: str, epoch: int) -> None:
        """All parties hold this epoch: earlier ones go. Saying it again changes nothing."""
        with self._database.change() as connection:
            self._known(connection, run, epoch)
            connection.execute("UPDATE checkpoints SET state = 'committed' WHERE run = ? AND epoch = ?", (run, epoch))
            self._remove(connection, "run = ? AND epoch < ?", (run, epoch))
        self._shelf.sweep()

    def held(self, run: str) -> list[Checkpoint]:
        """Those of a run that can be restored, the earliest first."""
        rows = self._database.rows(
            "SELECT run, epoch, site, iteration, state, blob FROM checkpoints WHERE run = ? ORDER BY epoch", (run,)
        )
        return [Checkpoint(*row) for row in rows]

    def load(self, run: str, epoch: int) -> tuple[Checkpoint, dict[str, Any], dict[str, Array | None]]:
        """The checkpoint, the header it was given, and its arrays."""
        found = next((c for c in self.held(run) if c.epoch == epoch), None)
        if found is None:
            raise HomeError(f"run {run[:8]}: no checkpoint of epoch {epoch} is held here")
        header, arrays = self._shelf.fetch(found.blob)
        about = {"run": run, "epoch": epoch, "site": found.site, "iteration": found.iteration}
        if any(header.get(name) != value for name, value in about.items()):
            raise HomeError(
                f"{found.blob}: is not the checkpoint of epoch {epoch} of run {run[:8]} that the ledger names"
            )
        return found, header["more"], arrays

    def restored(self, run: str, epoch: int, attempt: int) -> None:
        """A new attempt goes on from this epoch, by agreement: it is committed, all others go, the journal says so."""
        with self._database.change() as connection:
            site, iteration = self._known(connection, run, epoch)
            connection.execute("UPDATE checkpoints SET state = 'committed' WHERE run = ? AND epoch = ?", (run, epoch))
            self._remove(connection, "run = ? AND epoch <> ?", (run, epoch))
            self._journal.add(
                connection, what="checkpoint restored", run=run, attempt=attempt, epoch=epoch, site=site,
                iteration=iteration,
            )  # fmt: skip
        self._shelf.sweep()

    def drop(self, run: str) -> None:
        """Remove all of a run's."""
        with self._database.change() as connection:
            self._remove(connection, "run = ?", (run,))
        self._shelf.sweep()

    def _remove(self, connection: sqlite3.Connection, condition: str, values: tuple[Any, ...]) -> None:
        query = f"SELECT blob FROM checkpoints WHERE {condition}"  # noqa: S608 - constants of this file
        self._shelf.condemn(connection, [row[0] for row in connection.execute(query, values).fetchall()])
        connection.execute(f"DELETE FROM checkpoints WHERE {condition}", values)  # noqa: S608 - as above

    def _known(self, connection: sqlite3.Connection, run: str, epoch: int) -> tuple[str | int, int]:
        found = connection.execute(
            "SELECT site, iteration FROM checkpoints WHERE run = ? AND epoch = ?", (run, epoch)
        ).fetchone()
        if found is None:
            raise HomeError(f"run {run[:8]}: no checkpoint of epoch {epoch} is held here")
        return found[0], found[1]

    def _latest(self, run: str) -> int | None:
        latest = self._database.rows("SELECT max(epoch) FROM checkpoints WHERE run = ?", (run,))[0][0]
        return None if latest is None else int(latest)

    @staticmethod
    def _refuse_late(latest: int | None, run: str, epoch: int) -> None:
        if latest is not None and epoch <= latest:
            raise AlreadyUsed(
                f"run {run[:8]}: checkpoint {epoch} comes after {latest}; each epoch is larger than the last"
            )


def _latest(connection: sqlite3.Connection, run: str) -> int | None:
    latest = connection.execute("SELECT max(epoch) FROM checkpoints WHERE run = ?", (run,)).fetchone()[0]
    return None if latest is None else int(latest)
