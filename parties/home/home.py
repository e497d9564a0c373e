"""The durable state of one actor: a directory that its user alone may enter.

    vault.key       32 random bytes, 0600
    ledger.sqlite   what happened: attempts, reservations, runs, journal, and what each sealed file is;
                    ledger.sqlite-wal belongs to it
    vault/          sealed files: shares that outlive their process
    open/           a locked file for each process that has it open

Several processes of one user may have it open; nobody waits for another longer than a transaction takes.
"""

from __future__ import annotations

import os
import secrets
import stat
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from mpc.errors import UsageError
from parties.home import disk
from parties.home.checkpoints import Checkpoints
from parties.home.database import Database
from parties.home.errors import HomeError, disk_error
from parties.home.handles import Handles
from parties.home.journal import Journal
from parties.home.ledger import Attempt, Ledger
from parties.home.materials import Materials
from parties.home.places import private_directory
from parties.home.presence import Presence
from parties.home.programs import Programs
from parties.home.runs import Runs
from parties.home.shelf import Shelf
from parties.home.vault import Vault

__all__ = ["Home"]

_KEY_BYTES = 32


class Home:
    """Use `Home.open`, and `close` it or use it as a context manager. For one thread at a time.

    crashed: the attempts that were found unended though their process is dead; they are ended, their materials burnt.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        key: bytes,
        presence: Presence,
        database: Database,
        entropy: Callable[[int], bytes],
    ) -> None:
        self.directory = directory
        self.name = name
        self.crashed: list[Attempt] = []
        self._presence = presence
        self._database = database
        self.vault = Vault(directory / "vault", key, presence.token, entropy)
        self.journal = Journal(database)
        self.programs = Programs(database)
        self.ledger = Ledger(database, self.journal, self.programs, presence.token)
        self.runs = Runs(database)
        self._shelf = Shelf(database, self.vault, presence.token)
        self.checkpoints = Checkpoints(database, self.journal, self._shelf)
        self.handles = Handles(database, self.journal, self._shelf)
        self.materials = Materials(database, self.journal, self._shelf)

    @classmethod
    def open(
        cls,
        directory: Path,
        name: str,
        *,
        create: bool = True,
        now: Callable[[], float] = time.time,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
    ) -> Home:
        """Open an actor's state, made if there is none (`create`), and clear away what dead processes left half-done.

        Raises UsageError (not there, not this user's alone, another actor's) or HomeError (damaged, full, newer).
        """
        private_directory(directory, create=create)
        if not create and not (directory / "ledger.sqlite").exists():
            raise UsageError(f"{directory}: nothing is kept here; was it another --party, --cluster or --state?")
        if not (directory / "ledger.sqlite").exists() and any((directory / "vault").glob("*.sealed")):
            raise HomeError(
                f"{directory}/ledger.sqlite: missing though sealed files are there; restore the whole directory from "
                f"one backup, or move it away and begin anew"
            )
        presence: Presence | None = None
        database: Database | None = None
        try:
            presence = Presence(directory / "open", entropy)
            key = _vault_key(directory, presence, entropy)
            database = Database(directory / "ledger.sqlite", name, now)
            home = cls(directory, name, key, presence, database, entropy)
            home._recover()
        except BaseException as error:
            if database is not None:
                database.close()
            if presence is not None:
                presence.close()
            if isinstance(error, OSError):
                raise disk_error(directory, error) from None
            raise
        return home

    def __repr__(self) -> str:
        return f"<Home of {self.name} in {self.directory}>"

    def __reduce__(self) -> str:
        raise TypeError("key material is never serialised")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def rename(self, name: str) -> None:
        """Its actor is called so from now on; the directory is to be renamed too."""
        with self._database.change() as connection:
            connection.execute("UPDATE actor SET name = ?", (name,))
        self.name = name

    def close(self) -> None:
        """Let go of it. Attempts that have not ended are left to the next opener, as after a crash."""
        self._database.close()
        self._presence.close()

    def _recover(self) -> None:
        alive = self._presence.alive
        self.vault.clear(alive)
        for part in self.directory.glob("*.part"):
            if not alive(part.name.split(".")[0]):
                disk.unlink(part)
        if self._database.rows("SELECT 1 FROM attempts WHERE ended = '' LIMIT 1"):
            with self._database.change() as connection:
                crashed = self.ledger.end_crashed(connection, alive)
                self.materials.burn_crashed(connection, [session for session, _ in crashed])
                self.runs.stop_crashed(connection, [run for _, run in crashed])
            self.crashed = [self.ledger.attempt(session) for session, _ in crashed]
        self._shelf.clear(alive)
        self._presence.forget_dead()


def _vault_key(directory: Path, presence: Presence, entropy: Callable[[int], bytes]) -> bytes:
    """The key of the vault, made at the first opening: written aside, fsynced, and linked into place by one process."""
    path = directory / "vault.key"
    if not path.exists():
        if (directory / "ledger.sqlite").exists() and not path.exists():
            raise HomeError(
                f"{path}: missing, and without it what {directory} keeps cannot be read; restore the whole directory "
                f"from one backup, or move it away and begin anew"
            )
        _make_key(path, directory / f"{presence.token}.part", entropy)
    handle = disk.open_read(path)
    try:
        status = os.fstat(handle)
        key = os.read(handle, _KEY_BYTES + 1)
    finally:
        os.close(handle)
    if stat.S_IMODE(status.st_mode) & 0o077 or status.st_uid != os.geteuid():
        raise UsageError(f"{path}: other users may read this key; run: chmod 600 {path}")
    if len(key) != _KEY_BYTES:
        raise HomeError(f"{path}: damaged; restore the whole directory from one backup, or move it away and begin anew")
    return key


def _make_key(path: Path, part: Path, entropy: Callable[[int], bytes]) -> None:
    handle = disk.create(part)
    try:
        disk.write(handle, entropy(_KEY_BYTES))
        disk.fsync(handle)
        disk.link(part, path)
    except FileExistsError:
        pass  # another process was faster, and its key counts
    finally:
        os.close(handle)
        disk.unlink(part)
    disk.fsync_directory(path.parent)
