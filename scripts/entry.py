"""How a script begins and ends: one line for a mistake, and whoever ends it ends what it started."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

from mpc.errors import MpcError

__all__ = ["entered"]


def entered(name: str, run: Callable[[], int]) -> int:
    """Run it; the exit code. A signal unwinds it, so that its processes and files go."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        return run()
    except MpcError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
