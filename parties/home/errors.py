"""What goes wrong with an actor's own disk, each as one line: which file, the usual cause, the cure."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

from mpc.errors import MpcError

__all__ = ["AlreadyUsed", "HomeError", "database_error", "disk_error"]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


class HomeError(MpcError):
    """Durable state that cannot be read or written, or does not belong here."""


class AlreadyUsed(HomeError):
    """A key, a stream range, a material or an attempt that was used before; using it again would uncover a secret."""


def disk_error(path: Path, error: OSError) -> HomeError:
    """A failed system call as a sentence; the caller has seen to it that the earlier state is intact."""
    what = error.strerror or "cannot be used"
    if error.errno in _FULL:
        return HomeError(f"{path}: {what}; what was there before is intact; free some space and try again")
    if error.errno in _FORBIDDEN:
        return HomeError(
            f"{path}: {what}; is it another user's, or mounted read-only? PRIVITY_STATE names another place"
        )
    return HomeError(f"{path}: {what}; is the disk in order? PRIVITY_STATE names another place")


def database_error(path: Path, error: sqlite3.Error) -> HomeError:
    """A failure of SQLite as a sentence, by its kind; its own text is left out where it could hold a value."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if isinstance(code, int) else None
    if primary == sqlite3.SQLITE_FULL:
        return HomeError(f"{path}: the disk is full; nothing was changed; free some space and try again")
    if primary in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return HomeError(f"{path}: another process keeps it locked; stop whatever hangs (privity status) and try again")
    if primary in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
        return HomeError(f"{path}: cannot be written; is it another user's, or mounted read-only?")
    if primary in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return HomeError(f"{path}: damaged; restore its whole directory from one backup, or move the directory away")
    if primary == sqlite3.SQLITE_IOERR:
        return HomeError(f"{path}: {error.sqlite_errorname}: the disk is full or faulty; free some space and try again")
    return HomeError(f"{path}: cannot be used ({getattr(error, 'sqlite_errorname', type(error).__name__)})")
