"""Disks that fail: the process dies, the power goes, or the space runs out, at a chosen one of the steps of `disk`.

    with FailingDisk(5, "before"):      # Crash before step 5, and from there on nothing reaches the disk
        ...

Steps are the functions through which `parties.home` changes anything: create, write, fsync, rename, link, unlink,
commit.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import Any, Self

from parties.home import disk

STEPS = ("create", "write", "fsync", "rename", "link", "unlink", "commit")
MODES = ("before", "after", "torn", "power")


class Crash(BaseException):
    """The process is dead from here on: nothing that handles errors may handle this."""


class FailingDisk:
    """Fails at step `at`, counted from 0; never if `at` is None. `steps` are the names of those taken.

    mode: before or after the step; `torn`: half of what is written; `power`: before it, and whatever was not fsynced is
    empty afterwards; `full`: this step and all later ones that need space raise ENOSPC, and the process lives.
    """

    def __init__(self, at: int | None = None, mode: str = "before") -> None:
        self.at = at
        self.mode = mode
        self.steps: list[str] = []
        self.dead = False
        self._real = {name: getattr(disk, name) for name in STEPS}
        self._unsynced: dict[tuple[int, int], int] = {}

    def __enter__(self) -> Self:
        for name in STEPS:
            setattr(disk, name, self._step(name))
        return self

    def __exit__(self, *_: object) -> None:
        for name, real in self._real.items():
            setattr(disk, name, real)
        for handle in self._unsynced.values():
            os.close(handle)

    def _step(self, name: str) -> Any:
        def step(*arguments: Any) -> Any:
            if self.dead:
                raise Crash
            number = len(self.steps)
            self.steps.append(name)
            failing = self.at is not None and number >= self.at
            if failing and self.mode == "full":
                return self._without_space(name, arguments)
            if failing and self.mode != "after":
                self._die(name, arguments)
            done = self._real[name](*arguments)
            self._watch(name, arguments)
            if failing:
                self._die(name, ())
            return done

        return step

    def _without_space(self, name: str, arguments: tuple[Any, ...]) -> Any:
        if name in {"write", "create"}:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._real[name](*arguments)

    def _die(self, name: str, arguments: tuple[Any, ...]) -> None:
        self.dead = True
        if self.mode == "torn" and name == "write":
            handle, data = arguments
            self._real["write"](handle, memoryview(data)[: len(data) // 2])
        if self.mode == "power":
            for handle in self._unsynced.values():
                os.ftruncate(handle, 0)
        raise Crash

    def _watch(self, name: str, arguments: tuple[Any, ...]) -> None:
        if name not in {"write", "fsync"}:
            return
        status = os.fstat(arguments[0])
        key = (status.st_dev, status.st_ino)
        if name == "write" and key not in self._unsynced:
            self._unsynced[key] = os.dup(arguments[0])
        elif name == "fsync" and key in self._unsynced:
            os.close(self._unsynced.pop(key))


def bury(home: Any) -> None:
    """What the kernel does for a process that has died: its locks and connections are gone, its files stay."""
    home._database.close()
    with contextlib.suppress(OSError):
        os.close(home._presence._handle)
    home._presence._handle = -1
