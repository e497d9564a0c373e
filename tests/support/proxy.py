"""A TCP proxy that resets its connections: after so many bytes, as a bad network does, and not before they flow."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
from typing import Any, Self

__all__ = ["Proxy"]

_RESET = struct.pack("ii", 1, 0)
_PIECE = 1 << 16


class _Pair:
    """One connection through the proxy."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.near, self.far = near, far
        self.passed = 0


class Proxy:
    """Listens at a port for the same port of another address. `left` resets are done, each after some bytes.

    after: bytes, more than a handshake takes; the n-th connection gets the n-th of them, over and over.
    """

    def __init__(self, port: int, far: str, after: tuple[int, ...]) -> None:
        self._target = (far, port)
        self._after = after
        self.left = 0
        self.done = 0
        self.connections = 0
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._stop = threading.Event()
        self._pairs: set[_Pair] = set()
        self._thread = threading.Thread(target=self._serve, name="proxy", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for pair in list(self._pairs):
            self._reset(pair)
        self._listener.close()
        self._selector.close()

    def _serve(self) -> None:
        while not self._stop.is_set():
            for key, _ in self._selector.select(0.1):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.data in self._pairs:
                    self._pass(key.fileobj, key.data)

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        try:
            far = socket.create_connection(self._target, 1.0)
        except OSError:
            near.close()  # as nobody listens behind it
            return
        pair = _Pair(near, far)
        self._pairs.add(pair)
        self.connections += 1
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(end, selectors.EVENT_READ, pair)

    def _pass(self, end: Any, pair: _Pair) -> None:
        other = pair.far if end is pair.near else pair.near
        try:
            piece = end.recv(_PIECE)
            if piece:
                other.sendall(piece)
        except OSError:
            piece = b""
        if not piece:
            self._reset(pair)
            return
        pair.passed += len(piece)
        if self.left > 0 and pair.passed > self._after[self.done % len(self._after)]:
            self.left -= 1
            self.done += 1
            self._reset(pair)

    def _reset(self, pair: _Pair) -> None:
        self._pairs.discard(pair)
        for end in (pair.near, pair.far):
            self._selector.unregister(end)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            end.close()
