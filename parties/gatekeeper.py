"""Who may connect to a listener: the key that CURVE has proved is known, or the connection is refused."""

from __future__ import annotations

import threading
from collections.abc import Collection

import zmq

from parties.keys import z85

__all__ = ["DOMAIN", "Gatekeeper"]

DOMAIN = b"privity"
_ADDRESS = "inproc://zeromq.zap.01"


class Gatekeeper:
    """ZAP (RFC 27) in a thread of its own, so that a busy actor still lets its peers in: known keys, nobody else."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], allowed: Collection[str]) -> None:
        self.allowed = frozenset(allowed)
        self._socket = context.socket(zmq.REP)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(_ADDRESS)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="zap", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._stop.is_set():
            if self._socket.poll(100):
                request = self._socket.recv_multipart()
                self._socket.send_multipart(self.answer(request))
        self._socket.close(0)

    def answer(self, request: list[bytes]) -> list[bytes]:
        """200 with the key as user id, or 400."""
        head = [b"1.0", request[1] if len(request) > 1 else b""]
        refused = [*head, b"400", b"unknown key", b"", b""]
        if len(request) != 7 or request[0] != b"1.0" or request[2] != DOMAIN or request[5] != b"CURVE":
            return refused
        public = z85(request[6]) if len(request[6]) == 32 else ""
        return [*head, b"200", b"", public.encode(), b""] if public in self.allowed else refused

    def close(self) -> None:
        """Stop answering."""
        self._stop.set()
        self._thread.join()
