"""All connections of one actor: one listener, one dialled socket per actor that this one calls, and direct ones.

A party and the dealer listen with a ROUTER; the higher index dials the lower with a DEALER, parties dial the dealer,
the coordinator dials everybody. Who a message comes from is the CURVE key that ZAP vouched for, never a routing id or a
field of the message. What is under way when a connection breaks is lost here; `parties.channel` sends it again. A peer
refused once never dials again by itself, and what an old connection left in the queue may be read after the first
message of the new one. Parties and the dealer have direct connections besides, where the network lets them
(`parties.meetings`).
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import zmq

from parties.cluster import is_coordinator
from parties.envelope import enveloped
from parties.gatekeeper import Gatekeeper
from parties.happenings import Gone, Happening, Packet, Reached
from parties.keys import KeyPair
from parties.meetings import MARK, Meetings
from parties.sockets import (
    Socket,
    address_of,
    bound,
    close_monitored,
    dialled,
    event_of,
    frames_of,
    more,
    parts_of,
    user_of,
)
from parties.wire import Buffer, source

__all__ = ["Gone", "Happening", "Mesh", "Packet", "Reached"]

_BATCH = 64
_REDIAL_SECONDS = 2.0
_UNANSWERED = "no answer yet"
_AROUND_SECONDS = 0.02
_SPIN_SECONDS = 0.0005  # asking again before sleeping: a sleeping core wakes up later than a message takes
_MORE = zmq.NOBLOCK | zmq.SNDMORE
_LONGEST_WORD = 64  # longer than any
_RETIRED = 16  # routes of broken connections that are remembered

Tap = Callable[[int, Sequence[Buffer]], None]


class _Dialled:
    """A socket that this actor called, and what is known of its connection."""

    def __init__(self, socket: Socket, monitor: Socket, endpoint: str, public: str) -> None:
        self.socket = socket
        self.monitor = monitor
        self.endpoint = endpoint
        self.public = public
        self.trouble = _UNANSWERED
        self.redial_at: float | None = None


class Mesh:
    """All sockets of one actor, used by one thread. `on_send` sees every plaintext message that is handed over."""

    def __init__(self, keys: KeyPair, on_send: Tap | None = None) -> None:
        self._keys = keys
        self._tap = on_send
        self._context: zmq.Context[Socket] = zmq.Context()
        self._poller = zmq.Poller()
        self._listener: Socket | None = None
        self._zap: Gatekeeper | None = None
        self._dialled: dict[int, _Dialled] = {}
        self._monitors: dict[Socket, int] = {}
        self._sockets: dict[Socket, int] = {}
        self._routes: dict[int, bytes] = {}
        self._retired: dict[int, deque[bytes]] = {}
        self._callers: dict[str, int] = {}
        self._calls = 0
        self._vanished: dict[int, bytes] = {}  # callers whose route broke, until what they left is read
        self._around = 0.0  # when all sockets are to be looked at again
        self._meetings = Meetings(keys.public, self._word)
        self._anew: set[int] = set()  # callers whose next message comes over a new connection
        self._wake_in, self._wake_out = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._waking = threading.Lock()
        self._poller.register(self._wake_in, zmq.POLLIN)

    # ------------------------------------------------------------------------------------------------ opening

    def listen(self, endpoint: str, allowed: dict[str, int]) -> int:
        """Bind `tcp://...` for these keys (public key -> actor) and nobody else; returns the port."""
        self._callers = allowed
        self._zap = Gatekeeper(self._context, allowed)
        self._listener, port = bound(self._context, self._keys, endpoint)
        self._poller.register(self._listener, zmq.POLLIN)
        return port

    def allow(self, allowed: dict[str, int]) -> None:
        """Replace the allow-list."""
        self._callers = allowed
        if self._zap is not None:
            self._zap.allowed = frozenset(allowed)

    def meet(self, host: str, cluster: str, peers: frozenset[int], *, finishing: bool = True) -> None:
        """Have a direct connection with these too, where the network lets it come about. Before they are dialled.

        host: the interface that this mesh listens on, or "*". cluster: the digest of the cluster file. finishing:
        whether what a socket does not take at once is written before `send` returns, for as long as bytes move.
        """
        if self._meetings.open(host, cluster, peers, finishing=finishing):
            self._poller.register(self._meetings.fileno(), zmq.POLLIN)

    def dial(self, peer: int, address: str, public: str) -> None:
        """Call an actor at `host:port`, which must own this public key, in the background; an earlier call ends."""
        self._hang_up(peer)
        self._calls += 1
        socket, monitor = dialled(self._context, self._keys, public, f"monitor-{self._calls}")
        self._dialled[peer] = _Dialled(socket, monitor, f"tcp://{address}", public)
        self._sockets[socket] = peer
        self._monitors[monitor] = peer
        self._poller.register(socket, zmq.POLLIN)
        self._poller.register(monitor, zmq.POLLIN)
        socket.connect(f"tcp://{address}")

    def _hang_up(self, peer: int) -> None:
        call = self._dialled.pop(peer, None)
        if call is None:
            return
        self._meetings.drop(peer)
        for socket, known in ((call.socket, self._sockets), (call.monitor, self._monitors)):
            self._poller.unregister(socket)
            known.pop(socket)
        close_monitored(call.socket, call.monitor, 0.0)

    # ------------------------------------------------------------------------------------------------ sending

    def send(self, peer: int, parts: Sequence[Buffer]) -> bool:
        """Hand a message over; False means not yet: no connection, or its queue is full."""
        direct = self._meetings.standing.get(peer)
        sent = self._over_zeromq(peer, enveloped(parts)) if direct is None else self._meetings.send(direct, parts)
        if sent and self._tap is not None:
            self._tap(peer, parts)
        return sent

    def _word(self, peer: int, word: bytes) -> bool:
        """Send a word about meeting."""
        return self._over_zeromq(peer, [word])

    def _over_zeromq(self, peer: int, parts: Sequence[Buffer]) -> bool:
        call = self._dialled.get(peer)
        if call is not None:
            return self._try(peer, call.socket, parts)
        if peer in self._routes and peer not in self._vanished and self._listener is not None:
            return self._try(peer, self._listener, [self._routes[peer], *parts])
        return False

    def _try(self, peer: int, socket: Socket, parts: Sequence[Buffer]) -> bool:
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
        """End a `poll` early; nothing once it is closed. The only method that another thread may call."""
        with self._waking:
            if not self._context.closed:
                with contextlib.suppress(BlockingIOError):  # it is awake already
                    os.write(self._wake_out, b"x")

    # ---------------------------------------------------------------------------------------------- receiving

    def poll(self, seconds: float, awaited: int = -1) -> list[Happening]:
        """Wait for something to happen, at most `seconds`.

        awaited: the actor whose message the caller cannot do without. Its socket is then read at once, without asking
        all others first, which takes as long as the message itself; they are looked at every 20 ms all the same.
        """
        if awaited >= 0 and seconds and self._meetings.quiet and not self._vanished and time.monotonic() < self._around:
            packet = self._next_of(awaited)
            if packet is not None:
                return [packet]
            seconds = 0.0
        now = time.monotonic()
        self._redial()
        self._meetings.turn(now)
        idle = self._meetings.idle and not self._vanished
        ready = self._poller.poll(max(0, int(seconds * 1000)) if idle else 0)
        self._around = time.monotonic() + _AROUND_SECONDS
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
            elif isinstance(socket, zmq.Socket):  # else: the meetings, which are asked below
                found += self._receive_calls(socket)
        found += self._meetings.happened()
        self._say_gone(found)
        return before + found + after

    def at_once(self, peer: int) -> Packet | None:
        """The next message of an actor over a direct connection, if it comes before a core would rather sleep."""
        direct = self._meetings.standing.get(peer)
        return None if direct is None else self._meetings.soon(direct, _SPIN_SECONDS)

    def _next_of(self, peer: int) -> Packet | None:
        """Wait for a message on the connection that an actor's messages come by; None after 20 ms.

        For as long as a round may take it is asked for again and again, and the core given to whoever else wants it.
        """
        direct, call = self._meetings.standing.get(peer), self._dialled.get(peer)
        if direct is not None:
            return self._meetings.awaited(direct, _SPIN_SECONDS, _AROUND_SECONDS)
        end = time.monotonic() + _SPIN_SECONDS
        while True:
            flags = zmq.NOBLOCK if time.monotonic() < end else 0
            if call is not None:
                packet = _unless_again(self._read, peer, call.socket, flags)
            elif self._listener is not None:
                packet = _unless_again(self._read_call, self._listener, flags)
            else:
                return None
            if packet is not None or not flags:
                return packet
            os.sched_yield()

    def _receive(self, peer: int, socket: Socket) -> list[Happening]:
        out: list[Happening] = []
        for _ in range(_BATCH):
            packet = _unless_again(self._read, peer, socket, zmq.NOBLOCK)
            if packet is None:
                break
            out.append(packet)
            if not more(socket):
                break
        return out

    def _read(self, peer: int, socket: Socket, flags: int) -> Packet | None:
        frames = frames_of(socket, flags)
        parts = parts_of(frames)
        if len(parts) == 1 and self._is_word(peer, self._dialled[peer].public, parts[0], frames[0]):
            return None
        return Packet(peer, parts)

    def _is_word(self, peer: int, public: str, part: Buffer, frame: zmq.Frame) -> bool:
        """Whether the only part of a message is a word about meeting; then it has been heard."""
        word = bytes(part[:_LONGEST_WORD])
        if not word.startswith(MARK):
            return False
        if self._meetings.heard(peer, public, word, address_of(frame)):
            self._anew.add(peer)
        return True

    def _receive_calls(self, socket: Socket) -> list[Happening]:
        out: list[Happening] = []
        for _ in range(_BATCH):
            try:
                packet = self._read_call(socket, zmq.NOBLOCK)
            except zmq.Again:
                break
            if packet is not None:
                out.append(packet)
            if not more(socket):
                break
        return out

    def _read_call(self, socket: Socket, flags: int) -> Packet | None:
        """What came to the listener; None from whoever is not an actor of the cluster any more."""
        route, *rest = frames_of(socket, flags)
        public = user_of(route)
        peer = self._callers.get(public)
        if peer is None:
            return None
        parts = parts_of(rest)
        if is_coordinator(peer) and is_coordinator(source(parts)):
            peer = source(parts)  # one key, several processes: each says which seat it has
        if self._route(peer, route.bytes):
            self._anew.add(peer)
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
        call = self._dialled[peer]
        state: bool | None = None
        while call.monitor.poll(0):
            event = event_of(call.monitor)
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                call.trouble, state = "", True
            elif event == zmq.EVENT_DISCONNECTED:
                if not call.trouble:
                    call.trouble, state = "connection lost", False
            elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                call.trouble = "it does not know our key: its cluster file is another one"
                call.redial_at = time.monotonic() + _REDIAL_SECONDS
            elif event == zmq.EVENT_CONNECT_RETRIED:
                if call.trouble in {"", _UNANSWERED}:
                    call.trouble = "nothing answers at this address"
            else:
                call.trouble = "it has another key than the cluster file says, or is no privity process"
        if state is not None:
            (before if state else after).append(Reached(peer) if state else Gone(peer))
            self._meetings.drop(peer)
            if state:
                self._meetings.reached(peer, call.public)

    def _redial(self) -> None:
        for call in self._dialled.values():
            if call.redial_at is not None and time.monotonic() >= call.redial_at:
                call.redial_at = None
                call.socket.disconnect(call.endpoint)
                call.socket.connect(call.endpoint)

    def trouble(self, peer: int) -> str:
        """Why a dialled actor is not connected, in words; empty if it is."""
        call = self._dialled.get(peer)
        if call is None:
            return "" if peer in self._routes else "it has not called yet"
        return call.trouble

    def refused(self, peer: int) -> bool:
        """Whether there is a plain reason why a dialled actor is not connected."""
        return self.trouble(peer) not in {"", _UNANSWERED}

    # ------------------------------------------------------------------------------------------------ closing

    def close(self, linger: float = 1.0) -> None:
        """Close everything; undelivered last words get at most `linger` seconds."""
        if self._context.closed:
            return
        for call in self._dialled.values():
            close_monitored(call.socket, call.monitor, linger)
        if self._listener is not None:
            self._listener.close(int(linger * 1000))
        if self._zap is not None:
            self._zap.close()
        self._meetings.close(linger)
        self._dialled.clear()
        self._listener = None
        with self._waking:
            self._context.term()
            os.close(self._wake_in)
            os.close(self._wake_out)


def _unless_again(read: Callable[..., Packet | None], *arguments: Any) -> Packet | None:
    try:
        return read(*arguments)
    except zmq.Again:
        return None
