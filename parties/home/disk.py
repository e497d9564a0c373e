"""The few steps by which state reaches the disk. Every one that can be the last before a crash is a function here.

Order is everything: write to a temporary file in the same directory, fsync it, rename it over the old one, fsync the
directory. Tests replace these functions to crash, or to fail, at each of them.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

__all__ = ["commit", "create", "fsync", "fsync_directory", "link", "open_read", "rename", "unlink", "write"]

_FLAGS = os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)


def create(path: Path) -> int:
    """A new file that only its owner reads; FileExistsError if there is one."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)


def open_read(path: Path) -> int:
    """An existing file, never through a symbolic link."""
    return os.open(path, os.O_RDONLY | _FLAGS)


def write(handle: int, data: bytes | memoryview) -> None:
    """All of it."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


def fsync(handle: int) -> None:
    """What was written survives a power cut from here on."""
    os.fsync(handle)


def fsync_directory(path: Path) -> None:
    """So do the names in the directory."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_DIRECTORY", 0))
    try:
        fsync(handle)
    finally:
        os.close(handle)


def rename(old: Path, new: Path) -> None:
    """Atomically in the place of whatever was there."""
    old.replace(new)


def link(old: Path, new: Path) -> None:
    """A second name; FileExistsError if it is taken."""
    new.hardlink_to(old)


def unlink(path: Path) -> bool:
    """Remove a name; whether it was there."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def commit(connection: sqlite3.Connection) -> None:
    """End a transaction durably: SQLite has fsynced when this returns."""
    connection.execute("COMMIT")
