"""How many connections a listener has: strangers make room for one another, and so do the connections of one key.

A handshake may take seconds where the way is long, so whoever connects and says nothing has that long. Hence their
number is bounded here, and not their time alone: a flood of silent connections would take all descriptors of the
process, and one key's holder could do so with connections that are in order. libzmq has no limit of its own. Who was
heard longest ago is cut; one that was at work calls again, and loses nothing.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from contextlib import suppress
from typing import Any

import zmq

__all__ = ["Doorkeeper"]

NAMELESS = 256
EACH = 128  # of one key: as many as it has seats (`parties.seats`)
EVENTS = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED
_EVENT = struct.Struct("=Hi")


class Doorkeeper:
    """Reads a listener's monitor in a thread of its own. events: that monitor, of `EVENTS`."""

    def __init__(self, events: zmq.Socket[bytes]) -> None:
        self._events = events
        self._lock = threading.Lock()
        self._nameless: dict[int, Any] = {}  # who is at the other end, by descriptor; whoever came first is first
        self._named: dict[str, dict[int, Any]] = {}  # the same by key; whoever was heard last is last
        self._keys: dict[int, str] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="door", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._stop.is_set():
            if self._events.poll(100):
                event, descriptor = _EVENT.unpack(self._events.recv_multipart()[0][: _EVENT.size])
                self._gone(descriptor)
                if event == zmq.EVENT_ACCEPTED:
                    self._came(descriptor)
        self._events.close(0)

    def _came(self, descriptor: int) -> None:
        with self._lock:
            self._nameless[descriptor] = _other_end(descriptor)
            if len(self._nameless) > NAMELESS:
                _cut(*self._first(self._nameless))

    def _gone(self, descriptor: int) -> None:
        with self._lock:
            self._nameless.pop(descriptor, None)
            key = self._keys.pop(descriptor, None)
            if key is not None:
                self._named[key].pop(descriptor, None)

    @staticmethod
    def _first(those: dict[int, Any]) -> tuple[int, Any]:
        descriptor = next(iter(those))
        return descriptor, those.pop(descriptor)

    def heard(self, descriptor: int, key: str) -> None:
        """A message of this key has come over a connection."""
        with self._lock:
            mine = self._named.setdefault(key, {})
            end = self._nameless.pop(descriptor, None) or mine.pop(descriptor, None)
            if end is None:
                return  # it is no more
            mine[descriptor] = end
            self._keys[descriptor] = key
            if len(mine) > EACH:
                gone, other = self._first(mine)
                self._keys.pop(gone, None)
                _cut(gone, other)

    def close(self) -> None:
        """Stop counting."""
        self._stop.set()
        self._thread.join()


def _other_end(descriptor: int) -> Any:
    """Who is at the other end of a connection of libzmq's; None if it is no more."""
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as twin:
        return twin.getpeername()
    return None


def _cut(descriptor: int, end: Any) -> None:
    """End a connection, if it is still the one that it was."""
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as twin:
        if end is not None and twin.getpeername() == end:
            twin.shutdown(socket.SHUT_RDWR)
