"""Compiled kernels are ready before a run begins, whoever finds first that this machine has none yet."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path
from typing import Any

from mpc import native
from parties.early import loading

__all__ = ["prepare"]

_MOST_SECONDS = 120.0


def prepare(lowered: Any) -> None:
    """Load the compiled kernels if this program is large enough; numpy's serve where that does not work.

    Compiling takes seconds, once on a machine. It is done by a process of its own, so that this one's signs of life go
    on meanwhile; actors on one machine wait for the first of them.
    """
    if native.worthwhile(lowered.block) and not native.loaded():
        with loading():
            place = native.cache()
            if place is not None and (native.compiled_already(place) or _compile(place)):
                native.load()


def _compile(place: Path) -> bool:
    try:
        place.mkdir(parents=True, exist_ok=True)
        with (place / "compiled.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not native.compiled_already(place):
                command = [sys.executable, "-c", "from mpc import native; native.load()"]
                subprocess.run(  # noqa: S603
                    command, check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=_MOST_SECONDS
                )
    except (OSError, subprocess.SubprocessError):
        return False
    return native.compiled_already(place)
