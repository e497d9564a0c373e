"""A port at which packets are dropped without a word, as a firewall drops them: its queue of calls is full."""

from __future__ import annotations

import ctypes
import socket
from typing import Self

from parties.knock import Door, knock

__all__ = ["Dropping", "deafen"]

_FILTER = bytes([0x06, 0, 0, 0, 0, 0, 0, 0])  # a program for the kernel's packet filter: take nothing


class Dropping:
    """Use as a context manager. port: of 127.0.0.1, where nothing is answered; 0: any."""

    def __init__(self, port: int = 0) -> None:
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", port))
        self._listener.listen(0)
        self.port = int(self._listener.getsockname()[1])
        self.address = f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        while knock(self.address, 0.2).door is not Door.SILENT:
            continue  # it stays in the queue, though it is closed
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()


def deafen(end: socket.socket) -> None:
    """Have the kernel drop all that comes for this connection: it is not even acknowledged."""
    program = ctypes.create_string_buffer(_FILTER, len(_FILTER))

    class Program(ctypes.Structure):
        _fields_ = [("count", ctypes.c_ushort), ("at", ctypes.c_void_p)]

    end.setsockopt(socket.SOL_SOCKET, 26, bytes(Program(1, ctypes.addressof(program))))  # SO_ATTACH_FILTER
