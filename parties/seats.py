"""Which of a coordinator's processes a message is from: each has a seat, a number of its own, at every actor it calls.

Whoever has the coordinator's key may start several commands side by side. A process is its key, which CURVE has proved,
and its incarnation, a number of 63 bits that it has drawn; on the wire all of them are `COORDINATOR`. The listener puts
the seat into what comes and takes it out of what goes, so that above it there are as many coordinators as processes.

Seats are bounded for each key, and nobody keeps one by being silent: whoever has been silent for the longest makes
room, unless a run of its is on; there are fewer runs than seats. Both planes of an actor share this, on two threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

from parties.cluster import SEATS

__all__ = ["Seats"]

_EACH = 128  # processes of one key that are remembered; an actor takes part in half as many runs

Process = tuple[str, int]


class Seats:
    """The seats at one actor. engaged: those whose runs are on, asked by the thread of the data plane."""

    def __init__(self, engaged: Callable[[], Collection[int]] = frozenset) -> None:
        self.engaged = engaged
        self._lock = threading.Lock()
        self._seats: dict[Process, int] = {}  # whoever was heard last comes last
        self._vacated: list[int] = []
        self._last = -1

    def of(self, public: str, incarnation: int) -> int | None:
        """The seat of a process that is known, which is heard now."""
        process = public, incarnation
        with self._lock:
            seat = self._seats.pop(process, None)
            if seat is not None:
                self._seats[process] = seat
            return seat

    def take(self, public: str, incarnation: int) -> int:
        """The seat of a process that greets."""
        seat = self.of(public, incarnation)
        if seat is not None:
            return seat
        with self._lock:
            held = [process for process in self._seats if process[0] == public]
            if len(held) >= _EACH:
                self._make_room(held)
            taken = {*self._seats.values()}
            while True:  # in turn, so that a number that was somebody else's comes back late
                self._last = (self._last + 1) % len(SEATS)
                if SEATS[self._last] not in taken:
                    break
            self._seats[public, incarnation] = SEATS[self._last]
            return SEATS[self._last]

    def _make_room(self, held: list[Process]) -> None:
        engaged = {*self.engaged()}
        gone = next((process for process in held if self._seats[process] not in engaged), held[0])
        self._vacated.append(self._seats.pop(gone))

    def vacated(self) -> list[int]:
        """The seats that had to be given up since the last call."""
        if not self._vacated:
            return []
        with self._lock:
            found, self._vacated = self._vacated, []
            return found

    def taken(self, seat: int) -> bool:
        """Whether a process has this seat."""
        with self._lock:
            return seat in self._seats.values()
