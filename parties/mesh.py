"""The only place that speaks ZeroMQ: one listener, one dialled socket per actor that this one calls, CURVE always.

A party and the dealer listen with a ROUTER; the higher index dials the lower with a DEALER, parties dial the dealer,
the coordinator dials everybody. Who a message comes from is the CURVE key that ZAP vouched for, never a routing id or a
field of the message. What is under way when a connection breaks is lost here; `parties.channel` sends it again. Traps
of libzmq that this file exists to avoid: CURVE without ZAP, or ZAP without an enforced domain, accepts any key; a
forgotten CURVE_SERVER makes the mechanism NULL and everybody "anonymous"; a monitor closed without `disable_monitor()`,
or one that nobody reads until its queue is full, freezes the whole context; LINGER 0 loses the last words and the
default one hangs at exit; a peer refused once never dials again by itself; a call into a cut link that has no time-out
is repeated at intervals that double, so that nothing is heard long after the link is back; what an old connection left
in the queue may be read after the first message of the new one; a connection whose queues stay full longer than
HEARTBEAT_TIMEOUT is cut, because a full socket does not read heartbeats either, so what is above keeps its windows
below the high-water marks.
"""

from __future__ import annotations

import errno
import os
import selectors
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import zmq

from mpc.errors import PeerError, UsageError
from parties.cluster import is_coordinator
from parties.direct import Direct
from parties.envelope import enveloped, unfolded
from parties.gatekeeper import DOMAIN, Gatekeeper
from parties.happenings import Gone, Happening, Packet, Reached
from parties.keys import KeyPair
from parties.meetings import MARK, Meetings
from parties.wire import CHUNK, FRAMES_LIMIT, Buffer, source

__all__ = ["Gone", "Happening", "Mesh", "Packet", "Reached"]

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
_BATCH = 64
_REDIAL_SECONDS = 2.0
_UNANSWERED = "no answer yet"
_AROUND_SECONDS = 0.02
_SPIN_SECONDS = 0.0005  # asking again before sleeping: a sleeping core wakes up later than a message takes
_MOST_PARTS = FRAMES_LIMIT + 4  # a route, a header, a meta, and one frame too many
_MORE = zmq.NOBLOCK | zmq.SNDMORE
_LONGEST_WORD = 64  # longer than any
_RETIRED = 16  # routes of broken connections that are remembered

Tap = Callable[[int, Sequence[Buffer]], None]


class _Dialled:
    """A socket that this actor called, and what is known of its connection."""

    def __init__(
        self, socket: zmq.Socket[bytes], monitor: zmq.Socket[bytes], endpoint: str, public: str, direct: bool
    ) -> None:
        self.socket = socket
        self.monitor = monitor
        self.endpoint = endpoint
        self.public = public
        self.direct = direct
        self.trouble = _UNANSWERED
        self.redial_at: float | None = None


class Mesh:
    """All sockets of one actor, used by one thread. `on_send` sees every plaintext message that is handed over."""

    def __init__(self, keys: KeyPair, on_send: Tap | None = None) -> None:
        self._keys = keys
        self._tap = on_send
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._poller = zmq.Poller()
        self._listener: zmq.Socket[bytes] | None = None
        self._zap: Gatekeeper | None = None
        self._dialled: dict[int, _Dialled] = {}
        self._monitors: dict[zmq.Socket[bytes], int] = {}
        self._sockets: dict[zmq.Socket[bytes], int] = {}
        self._routes: dict[int, bytes] = {}
        self._retired: dict[int, deque[bytes]] = {}
        self._callers: dict[str, int] = {}
        self._calls = 0
        self._vanished: dict[int, bytes] = {}  # callers whose route broke, until what they left is read
        self._around = 0.0  # when all sockets are to be looked at again
        self._meetings: Meetings | None = None
        self._anew: set[int] = set()  # callers whose next message comes over a new connection
        self._wake_in, self._wake_out = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poller.register(self._wake_in, zmq.POLLIN)

    # ------------------------------------------------------------------------------------------------ opening

    def listen(self, endpoint: str, allowed: dict[str, int]) -> int:
        """Bind `tcp://...` for these keys (public key -> actor) and nobody else; returns the port."""
        self._callers = allowed
        self._zap = Gatekeeper(self._context, allowed)
        socket = self._context.socket(zmq.ROUTER)
        self._listener = socket
        _set(socket, _COMMON | _LISTENER)
        socket.curve_secretkey = self._keys.secret.encode()
        socket.setsockopt(zmq.ZAP_DOMAIN, DOMAIN)
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        if socket.getsockopt(zmq.MECHANISM) != zmq.CURVE or socket.getsockopt(zmq.CURVE_SERVER) != 1:
            raise PeerError("the listener is not protected by CURVE")
        try:
            socket.bind(endpoint)
        except zmq.ZMQError as error:
            raise _not_bound(endpoint, error) from None
        self._poller.register(socket, zmq.POLLIN)
        return int(bytes(socket.getsockopt(zmq.LAST_ENDPOINT)).decode().rstrip("\0").rpartition(":")[2])

    def allow(self, allowed: dict[str, int]) -> None:
        """Replace the allow-list."""
        self._callers = allowed
        if self._zap is not None:
            self._zap.allowed = frozenset(allowed)

    def meet(self, host: str, cluster: str) -> None:
        """Have a direct connection with whoever `dial` asks for one, and with callers who ask.

        host: the interface that this mesh listens on, or "*". cluster: the digest of the cluster file.
        """
        if hasattr(selectors.DefaultSelector, "fileno"):
            self._meetings = Meetings(self._keys.public, host, cluster, self._word)
            self._poller.register(self._meetings.fileno(), zmq.POLLIN)

    def dial(self, peer: int, address: str, public: str, *, direct: bool = False) -> None:
        """Call an actor at `host:port`, which must own this public key, in the background; an earlier call ends.

        direct: a connection of their own as well, if `meet` was asked for and the network lets it come about.
        """
        self._hang_up(peer)
        socket = self._context.socket(zmq.DEALER)
        _set(socket, _COMMON | _DIALLER)
        socket.curve_publickey = self._keys.public.encode()
        socket.curve_secretkey = self._keys.secret.encode()
        socket.curve_serverkey = public.encode()
        if socket.getsockopt(zmq.MECHANISM) != zmq.CURVE:
            raise PeerError("the connection is not protected by CURVE")
        self._calls += 1
        monitor = self._monitor(socket, f"inproc://monitor-{self._calls}")
        self._dialled[peer] = _Dialled(socket, monitor, f"tcp://{address}", public, direct)
        self._sockets[socket] = peer
        self._monitors[monitor] = peer
        self._poller.register(socket, zmq.POLLIN)
        socket.connect(f"tcp://{address}")

    def _hang_up(self, peer: int) -> None:
        dialled = self._dialled.pop(peer, None)
        if dialled is None:
            return
        if self._meetings is not None:
            self._meetings.drop(peer)
        for socket, known in ((dialled.socket, self._sockets), (dialled.monitor, self._monitors)):
            self._poller.unregister(socket)
            known.pop(socket)
        dialled.socket.disable_monitor()
        dialled.monitor.close(0)
        dialled.socket.close(0)

    def _monitor(self, socket: zmq.Socket[bytes], endpoint: str) -> zmq.Socket[bytes]:
        """A socket's events; the queue has no limit, since a full one would freeze the context."""
        socket.monitor(endpoint, _EVENTS)
        monitor = self._context.socket(zmq.PAIR)
        monitor.setsockopt(zmq.RCVHWM, 0)
        monitor.setsockopt(zmq.LINGER, 0)
        monitor.connect(endpoint)
        self._poller.register(monitor, zmq.POLLIN)
        return monitor

    # ------------------------------------------------------------------------------------------------ sending

    def send(self, peer: int, parts: Sequence[Buffer]) -> bool:
        """Hand a message over; False means not yet: no connection, or its queue is full."""
        direct = self._direct(peer)
        if direct is not None and self._meetings is not None:
            sent = self._meetings.send(direct, parts)
        else:
            sent = self._over_zeromq(peer, enveloped(parts))
        if sent and self._tap is not None:
            self._tap(peer, parts)
        return sent

    def _direct(self, peer: int) -> Direct | None:
        return None if self._meetings is None else self._meetings.standing.get(peer)

    def _word(self, peer: int, word: bytes) -> bool:
        """Send a word about meeting."""
        return self._over_zeromq(peer, [word])

    def _over_zeromq(self, peer: int, parts: Sequence[Buffer]) -> bool:
        dialled = self._dialled.get(peer)
        if dialled is not None:
            return self._try(peer, dialled.socket, parts)
        if peer in self._routes and peer not in self._vanished and self._listener is not None:
            return self._try(peer, self._listener, [self._routes[peer], *parts])
        return False

    def _try(self, peer: int, socket: zmq.Socket[bytes], parts: Sequence[Buffer]) -> bool:
        try:
            *before, last = parts
            for part in before:
                socket.send(part, _MORE)
            socket.send(last, zmq.NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self._vanished[peer] = self._routes[peer]
            return False
        return True

    def _retire(self, peer: int, route: bytes) -> None:
        """A route that is not written to any more; what it still brings is read."""
        self._retired.setdefault(peer, deque(maxlen=_RETIRED)).append(route)

    def wake(self) -> None:
        """End a `poll` early. The only method that another thread may call."""
        try:
            os.write(self._wake_out, b"x")
        except BlockingIOError:
            return  # it is awake already

    # ---------------------------------------------------------------------------------------------- receiving

    def poll(self, seconds: float, awaited: int = -1) -> list[Happening]:
        """Wait for something to happen, at most `seconds`.

        awaited: the actor whose message the caller cannot do without. Its socket is then read at once, without asking
        all others first, which takes as long as the message itself; they are looked at every 20 ms all the same.
        """
        if awaited >= 0 and seconds and self._undisturbed and time.monotonic() < self._around:
            packet = self._next_of(awaited)
            if packet is not None:
                return [packet]
            seconds = 0.0
        now = time.monotonic()
        self._around = now + seconds + _AROUND_SECONDS
        self._redial()
        told = True
        if self._meetings is not None:
            self._meetings.turn(now)
            told = self._meetings.told
        ready = self._poller.poll(max(0, int(seconds * 1000)) if told and not self._vanished else 0)
        before: list[Happening] = []
        found: list[Happening] = []
        after: list[Happening] = []
        for socket, _ in ready:
            if socket in self._monitors:
                self._watch(self._monitors[socket], before, after)
            elif socket == self._wake_in:
                os.read(self._wake_in, 4096)
            elif socket in self._sockets:
                found += self._receive(self._sockets[socket], socket)
            elif socket is self._listener:
                found += self._receive_calls(socket)
        if self._meetings is not None:
            found += self._meetings.happened()
        self._say_gone(found)
        return before + found + after

    @property
    def _undisturbed(self) -> bool:
        """Whether there is nothing to tell, and nothing that waits to be written."""
        return not self._vanished and (self._meetings is None or (self._meetings.told and not self._meetings.pending))

    def _next_of(self, peer: int) -> Packet | None:
        """Wait for a message on the connection that an actor's messages come by; None after 20 ms.

        For as long as a round may take it is asked for again and again, and the core given to whoever else wants it.
        """
        direct, dialled = self._direct(peer), self._dialled.get(peer)
        end = time.monotonic() + _SPIN_SECONDS
        if direct is not None and self._meetings is not None:
            while (packet := self._meetings.read(direct)) is None and time.monotonic() < end:
                os.sched_yield()
            return packet or self._meetings.later(direct, _AROUND_SECONDS)
        while True:
            flags = zmq.NOBLOCK if time.monotonic() < end else 0
            if dialled is not None:
                packet = _unless_again(self._read, peer, dialled.socket, flags)
            elif self._listener is not None:
                packet = _unless_again(self._read_call, self._listener, flags)
            else:
                return None
            if packet is not None or not flags:
                return packet
            os.sched_yield()

    def _receive(self, peer: int, socket: zmq.Socket[bytes]) -> list[Happening]:
        out: list[Happening] = []
        for _ in range(_BATCH):
            packet = _unless_again(self._read, peer, socket, zmq.NOBLOCK)
            if packet is None:
                break
            out.append(packet)
            if not _more(socket):
                break
        return out

    def _read(self, peer: int, socket: zmq.Socket[bytes], flags: int) -> Packet | None:
        frames = _frames(socket, flags)
        parts = _parts(frames)
        if len(parts) == 1 and self._is_word(peer, self._dialled[peer].public, parts[0], frames[0]):
            return None
        return Packet(peer, parts)

    def _is_word(self, peer: int, public: str, part: Buffer, frame: zmq.Frame) -> bool:
        """Whether the only part of a message is a word about meeting; then it has been heard."""
        word = bytes(part[:_LONGEST_WORD])
        if not word.startswith(MARK):
            return False
        if self._meetings is not None and self._meetings.heard(peer, public, word, str(frame.get("Peer-Address"))):
            self._anew.add(peer)
        return True

    def _receive_calls(self, socket: zmq.Socket[bytes]) -> list[Happening]:
        out: list[Happening] = []
        for _ in range(_BATCH):
            try:
                packet = self._read_call(socket, zmq.NOBLOCK)
            except zmq.Again:
                break
            if packet is not None:
                out.append(packet)
            if not _more(socket):
                break
        return out

    def _read_call(self, socket: zmq.Socket[bytes], flags: int) -> Packet | None:
        """What came to the listener; None from whoever is not an actor of the cluster any more."""
        route, *rest = _frames(socket, flags)
        public = _user(route)
        peer = self._callers.get(public)
        if peer is None:
            return None
        parts = _parts(rest)
        if is_coordinator(peer) and is_coordinator(source(parts)):
            peer = source(parts)  # one key, several processes: each says which seat it has
        if self._route(peer, route.bytes):
            self._anew.add(peer)
            if self._meetings is not None:
                self._meetings.drop(peer)
        if len(parts) == 1 and self._is_word(peer, public, parts[0], rest[0]):
            return None
        fresh = peer in self._anew
        self._anew.discard(peer)
        return Packet(peer, parts, fresh)

    def _route(self, peer: int, route: bytes) -> bool:
        """Whether this is a new connection of a caller, the one to answer from now on."""
        current = self._routes.get(peer)
        if route == current or (current is not None and route in self._retired.get(peer, ())):
            return False  # a retired one comes back if its successor, which had been read too late, turned out dead
        if current is not None:
            self._retire(peer, current)
        self._routes[peer] = route
        return True

    def _say_gone(self, found: list[Happening]) -> None:
        """Say who is gone: after what the broken connection still brought, before the first word of a new one."""
        for peer, route in self._vanished.items():
            if self._routes.get(peer) == route:
                self._retire(peer, self._routes.pop(peer))
            new = (at for at, h in enumerate(found) if isinstance(h, Packet) and h.peer == peer and h.fresh)
            found.insert(next(new, len(found)), Gone(peer))
        self._vanished.clear()

    def _watch(self, peer: int, before: list[Happening], after: list[Happening]) -> None:
        """A dialled connection that stands is told before what it brought, one that broke afterwards."""
        dialled = self._dialled[peer]
        state: bool | None = None
        while dialled.monitor.poll(0):
            (event,) = _EVENT.unpack(dialled.monitor.recv_multipart()[0][: _EVENT.size])
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                dialled.trouble, state = "", True
            elif event == zmq.EVENT_DISCONNECTED:
                if not dialled.trouble:
                    dialled.trouble, state = "connection lost", False
            elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                dialled.trouble = "it does not know our key: its cluster file is another one"
                dialled.redial_at = time.monotonic() + _REDIAL_SECONDS
            elif event == zmq.EVENT_CONNECT_RETRIED:
                if dialled.trouble in {"", _UNANSWERED}:
                    dialled.trouble = "nothing answers at this address"
            else:
                dialled.trouble = "it has another key than the cluster file says, or is no privity process"
        if state is not None:
            (before if state else after).append(Reached(peer) if state else Gone(peer))
            if self._meetings is not None:
                self._meetings.drop(peer)
                if state and dialled.direct:
                    self._meetings.reached(peer, dialled.public)

    def _redial(self) -> None:
        for dialled in self._dialled.values():
            if dialled.redial_at is not None and time.monotonic() >= dialled.redial_at:
                dialled.redial_at = None
                dialled.socket.disconnect(dialled.endpoint)
                dialled.socket.connect(dialled.endpoint)

    def trouble(self, peer: int) -> str:
        """Why a dialled actor is not connected, in words; empty if it is."""
        dialled = self._dialled.get(peer)
        if dialled is None:
            return "" if peer in self._routes else "it has not called yet"
        return dialled.trouble

    def refused(self, peer: int) -> bool:
        """Whether there is a plain reason why a dialled actor is not connected."""
        return self.trouble(peer) not in {"", _UNANSWERED}

    # ------------------------------------------------------------------------------------------------ closing

    def close(self, linger: float = 1.0) -> None:
        """Close everything; undelivered last words get at most `linger` seconds."""
        if self._context.closed:
            return
        for dialled in self._dialled.values():
            dialled.socket.disable_monitor()
            dialled.monitor.close(0)
            dialled.socket.close(int(linger * 1000))
        if self._listener is not None:
            self._listener.close(int(linger * 1000))
        if self._zap is not None:
            self._zap.close()
        if self._meetings is not None:
            self._meetings.close()
        self._dialled.clear()
        self._listener = None
        self._context.term()
        os.close(self._wake_in)
        os.close(self._wake_out)


def _frames(socket: zmq.Socket[bytes], flags: int) -> list[zmq.Frame]:
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


def _more(socket: zmq.Socket[bytes]) -> bool:
    """Whether another message is there, without the cost of an exception that says no."""
    return bool(int(socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN)


def _unless_again(read: Callable[..., Packet | None], *arguments: Any) -> Packet | None:
    try:
        return read(*arguments)
    except zmq.Again:
        return None


def _parts(frames: Sequence[zmq.Frame]) -> list[Buffer]:
    """The parts of a message, out of their envelope if it came in one."""
    return unfolded(frames[0].bytes) if len(frames) == 1 else [frame.buffer for frame in frames]


def _user(route: zmq.Frame) -> str:
    try:
        return str(route.get("User-Id"))
    except zmq.ZMQError:
        return ""


def _set(socket: zmq.Socket[bytes], options: dict[zmq.SocketOption, int]) -> None:
    for option, value in options.items():
        socket.setsockopt(option, value)


def _not_bound(endpoint: str, error: zmq.ZMQError) -> UsageError | PeerError:
    where = endpoint.removeprefix("tcp://")
    if error.errno == zmq.EADDRINUSE:
        return PeerError(f"{where}: port in use by another process; stop it, or give another port in the cluster file")
    if error.errno in {zmq.EADDRNOTAVAIL, errno.ENODEV}:
        return UsageError(f"{where}: this host has no such address; set bind = '0.0.0.0:PORT' in the cluster file")
    return PeerError(f"{where}: cannot listen here ({error.strerror})")
