"""One end of a direct connection: a socket that the computing thread drives itself, and sealed records on it.

A message that goes over ZeroMQ is handed to a thread of libzmq's at one end and by another at the other end, and with
two processes on two cores those four threads wait for each other. Here sending is one system call, and so is receiving.
What breaks is said, and nothing is sent again: the channel above does that, over whatever connection there is then.

The socket is TCP's, or a Unix one between two processes of one host: the kernel then hands bytes over without packets.
"""

from __future__ import annotations

import contextlib
import ipaddress
import select
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from parties.sealing import Opener, Sealer, Unsealed
from parties.wire import Buffer

__all__ = ["Direct", "Ended", "at_home", "beside", "call", "call_at_home"]

# Of TCP: a middlebox may drop a connection without a word. It ends as well if a party computes so long without reading
# what it is sent: then that comes again over ZeroMQ.
_UNHEARD_MS = 20_000
_PROBE_SECONDS = 5
_ROOM = 4 << 20  # bytes that the kernel holds for whoever computes, as Linux does for TCP
_MOST_WAITING = 64  # messages, as many as a ZeroMQ socket keeps: whoever reads nothing lets no heap of them grow


class Ended(Exception):
    """The connection is no more; the text says why."""


class Direct:
    """An established connection. peer: the actor at the other end. socket: not blocking.

    Raises OSError if the socket takes no options, and has closed it then.
    """

    def __init__(self, peer: int, connection: socket.socket, sealer: Sealer, opener: Opener) -> None:
        self.peer = peer
        self.socket = connection
        self._sealer = sealer
        self._opener = opener
        self._out: deque[Sequence[Buffer]] = deque()  # messages whose turn has not come
        self._records: Iterator[Buffer] | None = None  # of the one whose turn it is
        self.pending: Buffer = b""  # of its record that is on its way: it waits until the socket takes more
        self.unread = False  # whether the next message may be here: then the socket does not say that it can be read
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)
        try:
            _settle(connection)
        except OSError:
            connection.close()
            raise

    def __repr__(self) -> str:
        return f"<Direct to {self.peer}>"

    @property
    def full(self) -> bool:
        """Whether so much waits that no more is taken."""
        return len(self._out) >= _MOST_WAITING

    def send(self, parts: Sequence[Buffer]) -> None:
        """Send a message, or what the socket takes of it; `push` goes on. Frames are kept by reference until then.

        Raises Ended.
        """
        if self.pending:
            self._out.append(parts)
        else:
            self.push(parts)

    def push(self, parts: Sequence[Buffer] | None = None) -> None:
        """Go on with what waits, or begin with these parts, if that is nothing. Raises Ended."""
        try:
            if parts is not None:
                self._begin(parts)
            while self.pending or ((self._records is not None or self._out) and self._next()):
                count = self.socket.send(self.pending)
                self.pending = self.pending[count:] if count < len(self.pending) else b""
        except BlockingIOError:
            return
        except (OSError, Unsealed) as error:
            raise Ended(str(error)) from None

    def _begin(self, parts: Sequence[Buffer]) -> None:
        self.pending = self._sealer.short(parts)
        self._records = None if self.pending else self._sealer.records(parts)

    def _next(self) -> bool:
        """On to the next record, if the last one has gone; whether there is one."""
        while not self.pending:
            if self._records is not None:
                self.pending = next(self._records, b"")
                self._records = self._records if self.pending else None
            elif self._out:
                self._begin(self._out.popleft())
            else:
                return False
        return True

    def receive(self) -> list[Buffer] | None:
        """The next message, or None if it is not all there yet. Raises Ended."""
        opener = self._opener
        try:
            message = opener.message() if self.unread else None
            while message is None:
                count = self.socket.recv_into(opener.space())
                if not count:
                    raise Ended("the other end has closed it")
                message = opener.message(count)
        except BlockingIOError:
            message = None
        except (OSError, Unsealed) as error:
            raise Ended(str(error)) from None
        self.unread = opener.unread
        return message

    def wait(self, seconds: float) -> None:
        """Sleep until something comes, at most so long."""
        self._poll.poll(seconds * 1000)

    def close(self) -> None:
        """Close it; what the socket has taken still arrives."""
        self.socket.close()


def _settle(connection: socket.socket) -> None:
    if connection.family not in {socket.AF_INET, socket.AF_INET6}:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ROOM)
        if connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < 2 * _ROOM:  # Linux says twice what it was told
            raise OSError(f"net.core.wmem_max is below {_ROOM}")
        return
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _PROBE_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNHEARD_MS)


def beside(host: str) -> socket.socket:
    """A listening socket at a free port of the interface of `host`: an address, or "*" for all. Raises OSError.

    "::" is all of them too, as it is for ZeroMQ.
    """
    if host not in {"*", "::"}:
        family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
        listener = socket.create_server((host, 0), family=family, backlog=16)
    elif socket.has_dualstack_ipv6():
        listener = socket.create_server(("", 0), family=socket.AF_INET6, backlog=16, dualstack_ipv6=True)
    else:
        listener = socket.create_server(("", 0), backlog=16)
    listener.setblocking(False)
    return listener


def at_home(name: str, host: str) -> socket.socket:
    """A listening Unix socket that this host's network namespace knows by a name, without a file.

    host: the interface that is listened at, or "*": whoever calls another one, as where a proxy is in between, is to
    find nobody. Raises OSError, also where the system would hold much less for whoever computes than it does for TCP.
    """

    def begin(fresh: socket.socket) -> None:
        _settle(fresh)
        fresh.bind(_known_as(name, _plainly(host)))
        fresh.listen(16)

    return _unix(begin)


def call_at_home(name: str, address: str) -> socket.socket:
    """A socket connected to who listens by this name, and at this address, in the same network namespace.

    Raises OSError if nobody does.
    """
    try:
        return _unix(lambda fresh: fresh.connect(_known_as(name, _plainly(address))))
    except OSError:
        return _unix(lambda fresh: fresh.connect(_known_as(name, "*")))


def _unix(begin: Callable[[socket.socket], None]) -> socket.socket:
    if sys.platform != "linux":
        raise OSError("this system knows Unix sockets by files alone")
    fresh = socket.socket(socket.AF_UNIX)
    fresh.setblocking(False)
    try:
        begin(fresh)
    except OSError:
        fresh.close()
        raise
    return fresh


def _known_as(name: str, host: str) -> str:
    return f"\0privity {name} {host}"


def _plainly(host: str) -> str:
    """A host's interface as both ends write it; what is no address stays as it is."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    plain = getattr(address, "ipv4_mapped", None) or address
    return "*" if plain.is_unspecified else str(plain)


def call(host: str, port: int) -> socket.socket:
    """A socket that is being connected to a port of an address, given as a number. Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    )[0]
    connection = socket.socket(family, kind, protocol)
    connection.setblocking(False)
    try:
        with contextlib.suppress(BlockingIOError):
            connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection
