"""While the interpreter still loads what a process needs: Ctrl-C is one line, and nobody looks for garbage.

An exception in the middle of an import is reported by whatever was being imported, or lost in it. This file imports
little itself.
"""

import gc
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from parties.version import SCHEMA_VERSION

__all__ = ["loading", "quiet", "ready"]

_CODE = 130


def quiet() -> None:
    """From here on Ctrl-C ends this process at once, unless it is ignored, as in the background of a shell."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stopped)


def ready() -> None:
    """From here on Ctrl-C is an exception again, which somebody catches."""
    if signal.getsignal(signal.SIGINT) is _stopped:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def loading() -> Iterator[None]:
    """Load modules: nothing of them is garbage, now or later.

    Looking through them for it would make a start longer, and in the middle of a run stop all who take part.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _stopped(*_: object) -> NoReturn:
    os.write(2, b"privity: stopped\n")
    if "--json" in sys.argv:
        os.write(1, b'{"schema_version": %d, "error": "stopped", "exit_code": %d}\n' % (SCHEMA_VERSION, _CODE))
    os._exit(_CODE)
