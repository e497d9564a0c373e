"""Which processes have a home open, told by locks that the kernel takes away from the dead.

Several processes of one user share a home (two local runs share `alice`), so whoever opens it may clear away only what
a *dead* process left half-done. Each opener holds a lock on a file of its own, `open/<token>`; the names of its
temporary files and its unfinished rows carry the token. Process ids would not do: they are used again, and differ
between containers.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from parties.home import disk

__all__ = ["Presence", "in_use"]


def in_use(directory: Path) -> bool:
    """Whether a living process has the home in this directory open."""
    return any(_locked(path) for path in (directory / "open").glob("*"))


def _locked(path: Path) -> bool:
    """Whether a process that lives holds this file."""
    try:
        handle = disk.open_read(path)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


class Presence:
    """One opener's lock, held until `close` or death."""

    def __init__(self, directory: Path, entropy: Callable[[int], bytes]) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, exist_ok=True)
        self.token, self._handle = self._enter(entropy)

    def __repr__(self) -> str:
        return f"Presence({self.token})"

    def _enter(self, entropy: Callable[[int], bytes]) -> tuple[str, int]:
        while True:
            token = entropy(8).hex()
            try:
                handle = disk.create(self._directory / token)
            except FileExistsError:
                continue
            fcntl.flock(handle, fcntl.LOCK_EX)
            if os.fstat(handle).st_nlink:  # else somebody took it for a dead one's, before it was locked
                return token, handle
            os.close(handle)

    def alive(self, token: str) -> bool:
        """Whether a process with this token has the home open. Look for its leavings first and ask this afterwards."""
        return token == self.token or _locked(self._directory / token)

    def forget_dead(self) -> None:
        """Remove the files of the dead, once nothing of theirs is left."""
        for path in self._directory.iterdir():
            try:
                handle = disk.open_read(path)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                disk.unlink(path)  # under the lock, so that a newcomer sees it
            except BlockingIOError:
                pass
            finally:
                os.close(handle)

    def close(self) -> None:
        """Leave."""
        if self._handle >= 0:
            handle, self._handle = self._handle, -1
            try:
                disk.unlink(self._directory / self.token)
            finally:
                os.close(handle)
