"""The machine that something was measured on, in general terms."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import zmq

__all__ = ["machine"]


def machine() -> str:
    """Processor, cores, memory, versions, and how busy it is."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{_processor()}{cores} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}, Python "
        f"{platform.python_version()}, libzmq {zmq.zmq_version()}; load average at the start {os.getloadavg()[0]:.1f}"
    )


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return ""
    return f"{found[1].strip()}, " if found else ""
