"""The only place that speaks ZeroMQ: one listener, one dialled socket per actor that this one calls, CURVE always.

A party and the dealer listen with a ROUTER; the higher index dials the lower with a DEALER, parties dial the dealer,
the coordinator dials everybody. Who a message comes from is the CURVE key that ZAP vouched for, never a routing id or a
field of the message. Traps of libzmq that this file exists to avoid: CURVE without ZAP, or ZAP without an enforced
domain, accepts any key; a forgotten CURVE_SERVER makes the mechanism NULL and everybody "anonymous"; a monitor closed
without `disable_monitor()`, or one that nobody reads until its queue is full, freezes the whole context; LINGER 0 loses
the last words and the default one hangs at exit; a peer refused once never dials again by itself; a connection whose
queues stay full longer than HEARTBEAT_TIMEOUT is cut, because a full socket does not read heartbeats either, so what is
above keeps its windows below the high-water marks.
"""

from __future__ import annotations

import errno
import struct
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import zmq

from mpc.errors import PeerError, UsageError
from parties.keys import KeyPair, z85
from parties.wire import CHUNK, Buffer

__all__ = ["Gone", "Mesh", "Packet", "Reached"]

_COMMON = {
    zmq.LINGER: 1000,
    zmq.SNDHWM: 64,
    zmq.RCVHWM: 64,
    zmq.MAXMSGSIZE: CHUNK + (64 << 10),
    zmq.HANDSHAKE_IVL: 2000,
    zmq.HEARTBEAT_IVL: 1000,
    zmq.HEARTBEAT_TIMEOUT: 3000,
    zmq.HEARTBEAT_TTL: 4000,
    zmq.TCP_KEEPALIVE: 1,
    zmq.IPV6: 1,
}
_LISTENER = {zmq.ROUTER_MANDATORY: 1, zmq.ROUTER_HANDOVER: 0, zmq.BACKLOG: 128, zmq.CURVE_SERVER: 1}
_DIALLER = {zmq.IMMEDIATE: 1, zmq.RECONNECT_IVL: 100, zmq.RECONNECT_IVL_MAX: 2000}
_DOMAIN = b"privity"
_ZAP = "inproc://zeromq.zap.01"
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
_SUSPICION_SECONDS = 0.6

Tap = Callable[[int, Sequence[Buffer]], None]


@dataclass(frozen=True, slots=True)
class Reached:
    """A dialled actor's socket is connected: greet it."""

    peer: int


@dataclass(frozen=True, slots=True)
class Gone:
    """The connection to an actor broke."""

    peer: int


@dataclass(frozen=True, slots=True)
class Packet:
    """What an authenticated actor sent; `fresh` if it came over a new connection to the listener."""

    peer: int
    parts: list[Buffer] = field(repr=False)
    fresh: bool = False


Happening = Reached | Gone | Packet


class _Dialled:
    """A socket that this actor called, and what is known of its connection."""

    def __init__(self, socket: zmq.Socket[bytes], monitor: zmq.Socket[bytes], endpoint: str) -> None:
        self.socket = socket
        self.monitor = monitor
        self.endpoint = endpoint
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
        self._zap: _Gatekeeper | None = None
        self._dialled: dict[int, _Dialled] = {}
        self._monitors: dict[zmq.Socket[bytes], int] = {}
        self._sockets: dict[zmq.Socket[bytes], int] = {}
        self._routes: dict[int, bytes] = {}
        self._callers: dict[str, int] = {}
        self._leaving: dict[int, bytes] = {}
        self._departures: zmq.Socket[bytes] | None = None
        self._suspicious_until = 0.0

    # ------------------------------------------------------------------------------------------------ opening

    def listen(self, endpoint: str, allowed: dict[str, int]) -> int:
        """Bind `tcp://...` for these keys (public key -> actor) and nobody else; returns the port."""
        self._callers = allowed
        self._zap = _Gatekeeper(self._context, allowed)
        socket = self._context.socket(zmq.ROUTER)
        self._listener = socket
        _set(socket, _COMMON | _LISTENER)
        socket.curve_secretkey = self._keys.secret.encode()
        socket.setsockopt(zmq.ZAP_DOMAIN, _DOMAIN)
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        if socket.getsockopt(zmq.MECHANISM) != zmq.CURVE or socket.getsockopt(zmq.CURVE_SERVER) != 1:
            raise PeerError("the listener is not protected by CURVE")
        try:
            socket.bind(endpoint)
        except zmq.ZMQError as error:
            raise _not_bound(endpoint, error) from None
        self._poller.register(socket, zmq.POLLIN)
        self._departures = self._monitor(socket, "inproc://departures", zmq.EVENT_DISCONNECTED)
        return int(bytes(socket.getsockopt(zmq.LAST_ENDPOINT)).decode().rstrip("\0").rpartition(":")[2])

    def allow(self, allowed: dict[str, int]) -> None:
        """Replace the allow-list."""
        self._callers = allowed
        if self._zap is not None:
            self._zap.allowed = frozenset(allowed)

    def dial(self, peer: int, address: str, public: str) -> None:
        """Call an actor at `host:port`, which must own this public key. Connecting goes on in the background."""
        socket = self._context.socket(zmq.DEALER)
        _set(socket, _COMMON | _DIALLER)
        socket.curve_publickey = self._keys.public.encode()
        socket.curve_secretkey = self._keys.secret.encode()
        socket.curve_serverkey = public.encode()
        if socket.getsockopt(zmq.MECHANISM) != zmq.CURVE:
            raise PeerError("the connection is not protected by CURVE")
        monitor = self._monitor(socket, f"inproc://monitor-{peer}", _EVENTS)
        self._dialled[peer] = _Dialled(socket, monitor, f"tcp://{address}")
        self._sockets[socket] = peer
        self._monitors[monitor] = peer
        self._poller.register(socket, zmq.POLLIN)
        socket.connect(f"tcp://{address}")

    def _monitor(self, socket: zmq.Socket[bytes], endpoint: str, events: int) -> zmq.Socket[bytes]:
        """A socket's events; the queue has no limit, since a full one would freeze the context."""
        socket.monitor(endpoint, events)
        monitor = self._context.socket(zmq.PAIR)
        monitor.setsockopt(zmq.RCVHWM, 0)
        monitor.setsockopt(zmq.LINGER, 0)
        monitor.connect(endpoint)
        self._poller.register(monitor, zmq.POLLIN)
        return monitor

    # ------------------------------------------------------------------------------------------------ sending

    def send(self, peer: int, parts: Sequence[Buffer]) -> bool:
        """Hand a message to ZeroMQ; False means not yet: no connection, or its queue is full."""
        dialled = self._dialled.get(peer)
        if dialled is not None:
            sent = self._try(peer, dialled.socket, list(parts))
        elif peer in self._routes and peer not in self._leaving and self._listener is not None:
            sent = self._try(peer, self._listener, [self._routes[peer], *parts])
        else:
            return False
        if sent and self._tap is not None:
            self._tap(peer, parts)
        return sent

    def _try(self, peer: int, socket: zmq.Socket[bytes], parts: list[Buffer]) -> bool:
        try:
            socket.send_multipart(parts, zmq.NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self._leaving[peer] = self._routes[peer]
            return False
        return True

    def callers(self) -> Collection[int]:
        """The actors that are connected to the listener; sending to one that vanished is how its death is noticed."""
        return [peer for peer in self._routes if peer not in self._leaving]

    @property
    def suspicious(self) -> bool:
        """Whether a connection to the listener has just ended; libzmq does not say whose."""
        return time.monotonic() < self._suspicious_until

    # ---------------------------------------------------------------------------------------------- receiving

    def poll(self, seconds: float) -> list[Happening]:
        """Wait for something to happen, at most `seconds`."""
        self._redial()
        ready = self._poller.poll(0 if self._leaving else max(0, int(seconds * 1000)))
        found: list[Happening] = []
        broken: list[Happening] = []
        for socket, _ in ready:
            if socket in self._monitors:
                reached, gone = self._watch(self._monitors[socket])
                found[0:0] = reached
                broken += gone
            elif socket is self._departures:
                self._departed()
            elif socket in self._sockets:
                found += self._receive(self._sockets[socket], socket)
            else:
                found += self._receive_calls(socket)
        return found + broken + self._left(ready)

    def _left(self, ready: list[tuple[Any, int]]) -> list[Happening]:
        """Callers that are gone, once everything that they had sent before is read."""
        if not self._leaving or any(socket is self._listener for socket, _ in ready):
            return []
        gone: list[Happening] = []
        for peer, route in self._leaving.items():
            if self._routes.get(peer) == route:
                del self._routes[peer]
                gone.append(Gone(peer))
        self._leaving.clear()
        return gone

    def _receive(self, peer: int, socket: zmq.Socket[bytes]) -> list[Happening]:
        out: list[Happening] = []
        for _ in range(_BATCH):
            try:
                parts = socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            out.append(Packet(peer, [p.buffer for p in parts]))
        return out

    def _receive_calls(self, socket: zmq.Socket[bytes]) -> list[Happening]:
        out: list[Happening] = []
        for _ in range(_BATCH):
            try:
                route, *parts = socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            peer = self._callers.get(_user(route))
            if peer is None:
                continue
            fresh = self._routes.get(peer) != route.bytes
            if fresh:
                self._leaving.pop(peer, None)
            self._routes[peer] = route.bytes
            out.append(Packet(peer, [p.buffer for p in parts], fresh))
        return out

    def _watch(self, peer: int) -> tuple[list[Happening], list[Happening]]:
        dialled = self._dialled[peer]
        reached: list[Happening] = []
        gone: list[Happening] = []
        while dialled.monitor.poll(0):
            (event,) = _EVENT.unpack(dialled.monitor.recv_multipart()[0][: _EVENT.size])
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                dialled.trouble = ""
                reached.append(Reached(peer))
            elif event == zmq.EVENT_DISCONNECTED:
                if not dialled.trouble:
                    gone.append(Gone(peer))
                    dialled.trouble = "connection lost"
            elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                dialled.trouble = "it does not know our key: its cluster file is another one"
                dialled.redial_at = time.monotonic() + _REDIAL_SECONDS
            elif event == zmq.EVENT_CONNECT_RETRIED:
                if dialled.trouble in {"", _UNANSWERED}:
                    dialled.trouble = "nothing answers at this address"
            else:
                dialled.trouble = "it has another key than the cluster file says, or is no privity process"
        return reached, gone

    def _departed(self) -> None:
        while self._departures is not None and self._departures.poll(0):
            self._departures.recv_multipart()
        self._suspicious_until = time.monotonic() + _SUSPICION_SECONDS

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
        for dialled in self._dialled.values():
            dialled.socket.disable_monitor()
            dialled.monitor.close(0)
            dialled.socket.close(int(linger * 1000))
        if self._listener is not None:
            if self._departures is not None:
                self._listener.disable_monitor()
                self._departures.close(0)
            self._listener.close(int(linger * 1000))
        if self._zap is not None:
            self._zap.close()
        self._dialled.clear()
        self._listener = None
        self._context.term()


class _Gatekeeper:
    """ZAP (RFC 27) in a thread of its own, so that a busy actor still lets its peers in: known keys, nobody else."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], allowed: Collection[str]) -> None:
        self.allowed = frozenset(allowed)
        self._socket = context.socket(zmq.REP)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(_ZAP)
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
        if len(request) != 7 or request[0] != b"1.0" or request[2] != _DOMAIN or request[5] != b"CURVE":
            return refused
        public = z85(request[6]) if len(request[6]) == 32 else ""
        return [*head, b"200", b"", public.encode(), b""] if public in self.allowed else refused

    def close(self) -> None:
        """Stop answering."""
        self._stop.set()
        self._thread.join()


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
