"""What processes with secrets do first: no core dumps, no tracing by others, no values in tracebacks, memory kept."""

from __future__ import annotations

import ctypes
import resource
import signal
import sys
import threading
import traceback
from pathlib import Path
from types import TracebackType

__all__ = ["Rest", "die_with_parent", "give_back", "harden", "keep_memory", "no_dumps", "peak_rss"]

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_KEPT_BYTES = 1 << 30
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4


def harden() -> None:
    """Secrets never reach a core dump, another process of the same user, or a traceback's text."""
    no_dumps()
    sys.excepthook = _report
    threading.excepthook = lambda args: _report(args.exc_type, args.exc_value, args.exc_traceback)


def no_dumps() -> None:
    """No core dump of this process or of what it starts, and on Linux nobody but root reads its memory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_DUMPABLE, 0)


def keep_memory() -> None:
    """Arrays come from memory that was used before, and up to 1 GiB of it stays with this process.

    A page that the system gives anew costs more than using it, and an engine makes and drops arrays all the time; glibc
    asks the system for every one above 32 MiB unless it may not. Where the C library is not glibc, nothing happens.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_MMAP_MAX, 0)
            mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


class Rest:
    """Asked after every step whether a run is on: after one that took much memory, what is free goes to the system.

    What a few runs leave behind is in pieces between what is still used, and each would have the next one take new.
    """

    def __init__(self) -> None:
        self._busy = False

    def __call__(self, busy: bool) -> None:
        """Note it, and give memory back when the last run has ended."""
        if self._busy and not busy:
            give_back(resident())
        self._busy = busy


def give_back(taken: int) -> None:
    """What is free goes to the system, of a process that takes, or once took, so many bytes: more than 1 GiB.

    Where the C library is not glibc, nothing happens.
    """
    if sys.platform == "linux" and taken > _KEPT_BYTES:
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def resident() -> int:
    """The resident memory of this process, in bytes; 0 where the system does not say."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * resource.getpagesize()
    except OSError:
        return 0


def die_with_parent() -> None:
    """Linux: the kernel kills this process when the thread that started it ends."""
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _report(kind: type[BaseException], _error: BaseException | None, trace: TracebackType | None) -> None:
    """The type and place of a failure; its message may hold a value and is left out."""
    for frame in traceback.extract_tb(trace):
        sys.stderr.write(f"  {frame.filename}:{frame.lineno} in {frame.name}\n")
    sys.stderr.write(f"{kind.__name__} (message withheld: it could hold data)\n")
    sys.stderr.flush()


def peak_rss() -> int:
    """The largest resident memory of this process so far, in bytes.

    Linux: VmHWM. `getrusage` would also count the peak of the process that started this one, before exec.
    """
    try:
        with Path("/proc/self/status").open(encoding="ascii") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        return _rusage()
    return _rusage()


def _rusage() -> int:
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024
