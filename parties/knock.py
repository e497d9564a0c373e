"""Whether anybody still listens where an actor listened: one TCP connection, closed at once, tried on a thread.

A process that has ended leaves a host which refuses; a stopped or busy one still has its connections accepted by its
kernel, and a network that is cut says nothing. Names are resolved anew, which may take its time: hence the thread.
"""

from __future__ import annotations

import socket
import threading
from queue import Empty, SimpleQueue

__all__ = ["Knocks", "refuses"]

_SECONDS = 1.0


class Knocks:
    """The knocks of one actor."""

    def __init__(self) -> None:
        self._answers: SimpleQueue[tuple[int, bool]] = SimpleQueue()

    def at(self, peer: int, address: str) -> None:
        """Knock at `host:port`."""
        threading.Thread(target=self._try, args=(peer, address), name="knock", daemon=True).start()

    def _try(self, peer: int, address: str) -> None:
        self._answers.put((peer, refuses(address)))

    def answers(self) -> list[tuple[int, bool]]:
        """For each knock that is over: at whom it was, and whether it was refused."""
        found = []
        try:
            while True:
                found.append(self._answers.get_nowait())
        except Empty:
            return found


def refuses(address: str) -> bool:
    """Whether every address of this `host:port` actively refuses a connection; silence is no refusal."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS, all_errors=True).close()
    except ExceptionGroup as failed:
        return all(isinstance(error, ConnectionRefusedError) for error in failed.exceptions)
    except (OSError, ValueError):
        return False
    return False
