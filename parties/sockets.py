"""How ZeroMQ sockets are made and read: CURVE always, for keys that are known, and no trap of libzmq left open.

Traps that this file exists to avoid: CURVE without ZAP, or ZAP without an enforced domain, accepts any key; a forgotten
CURVE_SERVER makes the mechanism NULL and everybody "anonymous"; a monitor closed without `disable_monitor()`, or one
that nobody reads until its queue is full, freezes the whole context; LINGER 0 loses the last words and the default one
hangs at exit; a call into a cut link that has no time-out is repeated at intervals that double, so that nothing is
heard long after the link is back; a connection whose queues stay full longer than HEARTBEAT_TIMEOUT is cut, because a
full socket does not read heartbeats either, so what is above keeps its windows below the high-water marks.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence

import zmq

from mpc.errors import PeerError, UsageError
from parties.envelope import unfolded
from parties.gatekeeper import DOMAIN
from parties.keys import KeyPair
from parties.wire import CHUNK, FRAMES_LIMIT, Buffer

__all__ = [
    "Socket", "address_of", "bound", "close_monitored", "dialled", "event_of", "frames_of", "more", "parts_of",
    "user_of",
]  # fmt: skip

Socket = zmq.Socket[bytes]

_COMMON = {
    zmq.LINGER: 1000,
    zmq.SNDHWM: 64,
    zmq.RCVHWM: 64,
    zmq.RCVTIMEO: 20,
    zmq.MAXMSGSIZE: CHUNK + (64 << 10),
    zmq.HANDSHAKE_IVL: 2000,
    zmq.HEARTBEAT_IVL: 1000,
    zmq.HEARTBEAT_TIMEOUT: 3000,
    zmq.HEARTBEAT_TTL: 4000,
    zmq.TCP_KEEPALIVE: 1,
    zmq.IPV6: 1,
}
_LISTENER = {zmq.ROUTER_MANDATORY: 1, zmq.ROUTER_HANDOVER: 0, zmq.BACKLOG: 128, zmq.CURVE_SERVER: 1}
_DIALLER = {zmq.IMMEDIATE: 1, zmq.RECONNECT_IVL: 100, zmq.RECONNECT_IVL_MAX: 2000, zmq.CONNECT_TIMEOUT: 2000}
_EVENTS = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CONNECT_RETRIED
)
_EVENT = struct.Struct("=H")  # a monitor's message begins with the event; zmq.utils.monitor would load asyncio
_MOST_PARTS = FRAMES_LIMIT + 4  # a route, a header, a meta, and one frame too many


def bound(context: zmq.Context[Socket], keys: KeyPair, endpoint: str) -> tuple[Socket, int]:
    """A listener at `tcp://...`, and its port. Raises PeerError, UsageError."""
    socket = context.socket(zmq.ROUTER)
    _set(socket, _COMMON | _LISTENER)
    socket.curve_secretkey = keys.secret.encode()
    socket.setsockopt(zmq.ZAP_DOMAIN, DOMAIN)
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    if socket.getsockopt(zmq.MECHANISM) != zmq.CURVE or socket.getsockopt(zmq.CURVE_SERVER) != 1:
        socket.close(0)
        raise PeerError("the listener is not protected by CURVE")
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        socket.close(0)
        raise _not_bound(endpoint, error) from None
    return socket, int(bytes(socket.getsockopt(zmq.LAST_ENDPOINT)).decode().rstrip("\0").rpartition(":")[2])


def dialled(context: zmq.Context[Socket], keys: KeyPair, public: str, monitor: str) -> tuple[Socket, Socket]:
    """A socket that will call whoever owns this public key, and its monitor, which is to be read.

    The monitor's queue has no limit, since a full one would freeze the context.
    """
    socket = context.socket(zmq.DEALER)
    _set(socket, _COMMON | _DIALLER)
    socket.curve_publickey = keys.public.encode()
    socket.curve_secretkey = keys.secret.encode()
    socket.curve_serverkey = public.encode()
    if socket.getsockopt(zmq.MECHANISM) != zmq.CURVE:
        raise PeerError("the connection is not protected by CURVE")
    socket.monitor(f"inproc://{monitor}", _EVENTS)
    events = context.socket(zmq.PAIR)
    events.setsockopt(zmq.RCVHWM, 0)
    events.setsockopt(zmq.LINGER, 0)
    events.connect(f"inproc://{monitor}")
    return socket, events


def close_monitored(socket: Socket, events: Socket, linger: float) -> None:
    """Close a dialled socket; undelivered last words get at most so many seconds."""
    socket.disable_monitor()
    events.close(0)
    socket.close(int(linger * 1000))


def event_of(events: Socket) -> int:
    """The next event of a monitor that has one."""
    (event,) = _EVENT.unpack(events.recv_multipart()[0][: _EVENT.size])
    return int(event)


def _set(socket: Socket, options: dict[zmq.SocketOption, int]) -> None:
    for option, value in options.items():
        socket.setsockopt(option, value)


def frames_of(socket: Socket, flags: int) -> list[zmq.Frame]:
    """The parts of the next message; of one that has more than any message may have, the first ones: too many still.

    All of them were in libzmq's memory before, which gives a message when it is whole, and has no limit for their
    number. Raises zmq.Again if there is none in time.
    """
    frame = socket.recv(flags, copy=False)
    frames = [frame]
    while frame.more:
        frame = socket.recv(flags, copy=False)
        if len(frames) < _MOST_PARTS:
            frames.append(frame)
    return frames


def more(socket: Socket) -> bool:
    """Whether another message is there, without the cost of an exception that says no."""
    return bool(int(socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN)


def parts_of(frames: Sequence[zmq.Frame]) -> list[Buffer]:
    """The parts of a message, out of their envelope if it came in one."""
    return unfolded(frames[0].bytes) if len(frames) == 1 else [frame.buffer for frame in frames]


def user_of(route: zmq.Frame) -> str:
    """Whose key CURVE has proved for a message to a listener, by its first part; empty if nobody's."""
    return _property(route, "User-Id")


def address_of(frame: zmq.Frame) -> str:
    """The address, without a port, that a message came from; empty if libzmq does not say."""
    return _property(frame, "Peer-Address")


def _property(frame: zmq.Frame, name: str) -> str:
    try:
        return str(frame.get(name))
    except zmq.ZMQError:
        return ""


def _not_bound(endpoint: str, error: zmq.ZMQError) -> UsageError | PeerError:
    where = endpoint.removeprefix("tcp://")
    if error.errno == zmq.EADDRINUSE:
        return PeerError(f"{where}: port in use by another process; stop it, or give another port in the cluster file")
    if error.errno in {zmq.EADDRNOTAVAIL, errno.ENODEV}:
        return UsageError(f"{where}: this host has no such address; set bind = '0.0.0.0:PORT' in the cluster file")
    return PeerError(f"{where}: cannot listen here ({error.strerror})")
