"""What a `host:port` answers: one TCP connection, closed at once, tried on a thread.

A process that has ended leaves a host which refuses; a stopped or busy one still has its connections accepted by its
kernel, and a network that is cut, or a firewall that drops packets, says nothing. Names are resolved anew, which may
take its time: hence the thread.
"""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from queue import Empty, SimpleQueue

__all__ = ["Door", "Finding", "Knocks", "knock", "look_up"]

_SECONDS = 1.0
_NO_WAY = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN}
_FORBIDDEN = {errno.EACCES, errno.EPERM}


class Door(Enum):
    """What a port did."""

    TAKEN = "takes connections"
    REFUSED = "refuses connections"
    SILENT = "says nothing"
    NO_WAY = "there is no way to its host"
    FORBIDDEN = "this host lets no connection out to it"
    NO_NAME = "its name is not known"


@dataclass(frozen=True)
class Finding:
    """What came of a knock; detail: what the system says of it."""

    door: Door
    detail: str = ""


class Knocks:
    """The knocks of one actor. wake: called, on a thread, when the answer of one is there."""

    def __init__(self, wake: Callable[[], None] = lambda: None, seconds: float = _SECONDS) -> None:
        self._answers: SimpleQueue[tuple[int, Finding]] = SimpleQueue()
        self._wake = wake
        self._seconds = seconds

    def at(self, peer: int, address: str) -> None:
        """Knock at `host:port`."""
        threading.Thread(target=self._try, args=(peer, address), name="knock", daemon=True).start()

    def _try(self, peer: int, address: str) -> None:
        self._answers.put((peer, knock(address, self._seconds)))
        self._wake()

    def answers(self) -> list[tuple[int, Finding]]:
        """For each knock that is over: at whom it was, and what came of it."""
        found = []
        try:
            while True:
                found.append(self._answers.get_nowait())
        except Empty:
            return found


def knock(address: str, seconds: float = _SECONDS) -> Finding:
    """What this `host:port` does; of a name with several addresses, the best that any of them does."""
    host, _, port = address.rpartition(":")
    try:
        numbers = look_up(host.strip("[]"))
        if not numbers:
            return Finding(Door.NO_NAME)
        found = [_knock_at(number, int(port), seconds) for number in numbers]
    except (OSError, ValueError) as error:
        return Finding(Door.NO_NAME, getattr(error, "strerror", None) or "")
    return min(found, key=lambda finding: _RANK[finding.door])


_RANK = {Door.TAKEN: 0, Door.SILENT: 1, Door.FORBIDDEN: 2, Door.NO_WAY: 3, Door.REFUSED: 4}


def look_up(host: str) -> list[str]:
    """The addresses of a host, as numbers. Raises OSError."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _knock_at(number: str, port: int, seconds: float) -> Finding:
    try:
        socket.create_connection((number, port), seconds).close()
    except ConnectionRefusedError:
        return Finding(Door.REFUSED)
    except TimeoutError:
        return Finding(Door.SILENT)
    except OSError as error:
        for door, numbers in ((Door.NO_WAY, _NO_WAY), (Door.FORBIDDEN, _FORBIDDEN)):
            if error.errno in numbers:
                return Finding(door, error.strerror or "")
        return Finding(Door.SILENT, error.strerror or "")
    return Finding(Door.TAKEN)
