"""Strangers at a port: connections that say nothing, noise, half a greeting, or a greeting and then noise."""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Self

__all__ = ["Garbage"]

_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01"
_NULL = _GREETING + b"NULL".ljust(20, b"\0") + bytes(32)
_CURVE = _GREETING + b"CURVE".ljust(20, b"\0") + bytes(32)
_HELLO = b"\x04\xc8\x05HELLO\x01\x00"  # a command frame of 200 bytes, as CurveZMQ's HELLO has
_HELD_SECONDS = 0.2  # how long a stranger keeps its connection


def _noise(number: int) -> bytes:
    kinds = (
        b"",
        secrets.token_bytes(64),
        secrets.token_bytes(2000),
        _CURVE[:20],
        _NULL + b"\x04\x19\x05READY" + secrets.token_bytes(17),
        _CURVE + secrets.token_bytes(300),
        _CURVE + _HELLO + secrets.token_bytes(192),
        _CURVE + b"\x06\xff\xff\xff\xff\xff\xff\xff\xff" + secrets.token_bytes(100),
        b"GET / HTTP/1.1\r\nHost: privity\r\n\r\n",
    )
    return kinds[number % len(kinds)]


class Garbage:
    """Use as a context manager: `rate` connections a second in all, round robin over the ports, until it ends."""

    def __init__(self, ports: list[int], rate: float = 1000.0) -> None:
        self._ports = ports
        self._rate = rate
        self.opened = 0
        self.failed = 0
        self.seconds = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._flood, name="garbage", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _flood(self) -> None:
        began = time.monotonic()
        held: deque[tuple[float, socket.socket]] = deque()
        while not self._stop.is_set():
            now = time.monotonic()
            while held and held[0][0] <= now:
                held.popleft()[1].close()
            due = int((now - began) * self._rate) - self.opened - self.failed
            for _ in range(min(due, 50)):
                self._visit(held, now)
            self._stop.wait(0.001)
        self.seconds = time.monotonic() - began
        for _, one in held:
            one.close()

    def _visit(self, held: deque[tuple[float, socket.socket]], now: float) -> None:
        number = self.opened + self.failed
        one = socket.socket()
        one.settimeout(0.5)
        try:
            one.connect(("127.0.0.1", self._ports[number % len(self._ports)]))
            self.opened += 1
        except OSError:
            self.failed += 1
            one.close()
            return
        with suppress(OSError):
            one.sendall(_noise(number))
        held.append((now + _HELD_SECONDS, one))
