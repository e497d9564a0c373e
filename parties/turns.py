"""What several threads of one process share and only one may use at a time: the sockets of a session."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType

__all__ = ["Turns"]

_LOOK_SECONDS = 0.1  # between two looks of a thread that waits for what another one drives: for progress and Ctrl-C


class Turns:
    """Use as a context manager: the thread inside is the only one, and the others follow in the order of their coming.

    A thread may enter again while it is inside. hurry: ends the waiting of whoever is inside, as far as it waits for
    the network; called from any thread.
    """

    def __init__(self, hurry: Callable[[], None]) -> None:
        self._hurry = hurry
        self._lock = threading.Lock()
        self._inside: int | None = None
        self._depth = 0
        self._queue: deque[tuple[int, threading.Event]] = deque()
        self._driven = False
        self._watching: list[tuple[Callable[[], bool], threading.Event]] = []

    def __enter__(self) -> None:
        me = threading.get_ident()
        with self._lock:
            if self._inside == me or (self._inside is None and not self._queue):
                self._inside, self._depth = me, self._depth + 1
                return
            turn = threading.Event()
            self._queue.append((me, turn))
        self._hurry()
        try:
            turn.wait()
        except BaseException:  # Ctrl-C
            self._give_up(me, turn)
            raise

    def _give_up(self, me: int, turn: threading.Event) -> None:
        with self._lock:
            if turn.is_set():
                self._next()
            else:
                self._queue.remove((me, turn))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._depth -= 1
            if not self._depth:
                self._next()

    def _next(self) -> None:
        self._inside, self._depth = None, 0
        if self._queue:
            self._inside, turn = self._queue.popleft()
            self._depth = 1
            turn.set()
        for over, event in self._watching:
            if over():
                event.set()

    def until(self, over: Callable[[], bool], step: Callable[[], None], look: Callable[[], None]) -> None:
        """Take step after step, a turn for each, until it is over; where another thread does so, wait for that instead.

        Not from inside a turn. over: cheap, and true for ever once it is. look: what this thread itself does now and
        then; it may raise.
        """
        mine = (over, threading.Event())
        with self._lock:
            self._watching.append(mine)
        drives = False
        try:
            while not over():
                drives = drives or self._takes_over()
                if drives:
                    with self:
                        if not over():  # what was done while this thread waited for its turn
                            step()
                else:
                    mine[1].wait(_LOOK_SECONDS)
                    mine[1].clear()
                look()
        finally:
            with self._lock:
                self._watching.remove(mine)
                if drives:
                    self._driven = False
                    for _, event in self._watching[:1]:
                        event.set()  # it drives now

    def _takes_over(self) -> bool:
        with self._lock:
            first, self._driven = not self._driven, True
            return first
