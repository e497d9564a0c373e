"""A TCP proxy with a long way behind it: whatever goes through arrives later, in both directions, in order."""

from __future__ import annotations

import heapq
import itertools
import selectors
import socket
import threading
import time
from contextlib import suppress
from typing import Any, Self

__all__ = ["Slow"]

_PIECE = 1 << 16


class Slow:
    """Listens at a port for the same port of another address. seconds: from one end to the other."""

    def __init__(self, port: int, far: str, seconds: float, near: str = "127.0.0.1") -> None:
        self._target = (far, port)
        self._seconds = seconds
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server((near, port), backlog=128)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._due: list[tuple[float, int, Any]] = []
        self._count = itertools.count()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="slow", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def _later(self, what: Any) -> None:
        heapq.heappush(self._due, (time.monotonic() + self._seconds, next(self._count), what))

    def _serve(self) -> None:
        while not self._stop.is_set():
            wait = max(0.0, self._due[0][0] - time.monotonic()) if self._due else 0.05
            for key, _ in self._selector.select(min(wait, 0.05)):
                if key.fileobj is self._listener:
                    near, _ = self._listener.accept()
                    self._later(lambda near=near: self._join(near))
                else:
                    self._read(key.fileobj, key.data)
            while self._due and self._due[0][0] <= time.monotonic():
                heapq.heappop(self._due)[2]()

    def _join(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection(self._target, 1.0)
        except OSError:
            near.close()
            return
        for end, other in ((near, far), (far, near)):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(end, selectors.EVENT_READ, other)

    def _read(self, end: Any, other: socket.socket) -> None:
        try:
            piece = end.recv(_PIECE)
        except OSError:
            piece = b""
        if not piece:
            self._selector.unregister(end)
        self._later(lambda: self._write(other, piece))

    def _write(self, other: socket.socket, piece: bytes) -> None:
        with suppress(OSError, ValueError, KeyError):
            if piece:
                other.sendall(piece)
            else:
                other.shutdown(socket.SHUT_WR)
