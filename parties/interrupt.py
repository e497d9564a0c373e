"""Ctrl-C and SIGTERM while a run is on: remembered and dealt with between two steps, so that everybody hears of it.

An exception out of a signal handler can surface inside a call into libzmq and be lost there. A second signal does not
wait for the loop.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["Interrupt"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Use as a context manager; outside the main thread it does nothing. caught: the signal that came, or 0."""

    def __init__(self) -> None:
        self.caught = 0
        self._frame: FrameType | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.caught:
            self._act(number, frame)
        self.caught, self._frame = number, frame

    def go_on(self) -> None:
        """Do what the signal would have done without this."""
        self._act(self.caught, self._frame)

    def _act(self, number: int, frame: FrameType | None) -> None:
        handler: Callable[[int, FrameType | None], Any] | int | None = self._before.get(number)
        if callable(handler):
            handler(number, frame)
        elif handler != signal.SIG_IGN:
            raise KeyboardInterrupt
