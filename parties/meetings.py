"""How two actors come to have a direct connection, and who has one now.

Whoever calls over ZeroMQ calls here too, and both say what is needed inside CURVE, which has proved who they are:

    caller → listener     CALL number, secret          once the ZeroMQ connection stands, or some time after a failure
    listener → caller     HERE number, port, secret    a port for this one connection, open for three seconds; or 0
    caller → listener     to that port: an empty sealed message; whoever can seal it is the caller
    listener → caller     over it: an empty sealed message; from now on the caller uses it, and greets over it
    caller → listener     LEFT, over ZeroMQ            the direct connection is no more

On one host that is no port but a Unix socket, by a name that both make of the secrets and of the address that is
called: the caller looks for it first, and where there is none the listener is elsewhere, or a proxy in between.

For the channel above, a direct connection is a new connection like any other: it greets, and what was not acknowledged
is sent again over it. Where a firewall or a proxy is between the two, none comes about and ZeroMQ carries everything;
it is asked for again at growing intervals. It never outlives the ZeroMQ connection, whose heartbeats watch the way.
"""

from __future__ import annotations

import contextlib
import errno
import secrets
import selectors
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from parties.direct import Direct, Ended, at_home, beside, call, call_at_home
from parties.happenings import Reached
from parties.sealing import SECRET_BYTES, Opener, Sealer, keys_of
from parties.standing import Standing

__all__ = ["MARK", "Meetings"]

MARK = b"PRVM"
_WORD = struct.Struct(f"<4scIH{SECRET_BYTES}s")
_CALL, _HERE, _LEFT = b"C", b"H", b"L"
_NOTHING = bytes(SECRET_BYTES)
_PATIENCE = 3.0
_FIRST_AGAIN, _LAST_AGAIN = 1.0, 60.0
_COMERS = 8

Post = Callable[[int, bytes], bool]


@dataclass(slots=True)
class _Wish:
    """A caller's: the peer's key, when to call next, and how long to wait after that."""

    public: str
    at: float
    pause: float


@dataclass(slots=True)
class _Calling:
    """A call that has no connection yet."""

    number: int
    secret: bytes = field(repr=False)
    until: float
    direct: Direct | None = None


@dataclass(slots=True)
class _Invited:
    """What is open for one caller. keys: what this end seals and opens with."""

    listeners: list[socket.socket]
    keys: tuple[bytes, bytes] = field(repr=False)
    until: float
    comers: list[Direct] = field(default_factory=list)


class Meetings(Standing):
    """The direct connections of one mesh: none before `open`. me: its public key. post: sends a word over ZeroMQ."""

    def __init__(self, me: str, post: Post) -> None:
        super().__init__()
        self._me, self._post = me, post
        self._host = self._cluster = ""
        self._peers: frozenset[int] = frozenset()
        self._wishes: dict[int, _Wish] = {}
        self._calls: dict[int, _Calling] = {}
        self._invited: dict[int, _Invited] = {}
        self._number = 0

    def open(self, host: str, cluster: str, peers: frozenset[int], *, finishing: bool = True) -> bool:
        """Call these and be called by them from now on; False where the system does not have what it takes.

        host: the interface of the listener, or "*". cluster: the digest of the cluster file. finishing: see `Standing`.
        """
        if not hasattr(self._selector, "fileno"):
            return False
        self._host, self._cluster, self._peers, self.finishing = host, cluster, peers, finishing
        return True

    # ------------------------------------------------------------------------------------- the ZeroMQ connection

    def reached(self, peer: int, public: str) -> None:
        """The ZeroMQ connection to an actor that this one calls stands: call it directly too, after the greeting."""
        if peer in self._peers:
            self._wishes[peer] = _Wish(public, 0.0, _FIRST_AGAIN)

    def drop(self, peer: int) -> None:
        """The ZeroMQ connection is no more, or is used again: nothing of the direct one is left."""
        self._wishes.pop(peer, None)
        self._uncall(peer)
        self._uninvite(peer)
        for direct in (self.standing.pop(peer, None), self._met.pop(peer, None)):
            if direct is not None:
                self._close(direct)

    def heard(self, peer: int, public: str, word: bytes, address: str) -> bool:
        """A word about meeting, from this actor, who has this key and address; whether it is back on ZeroMQ."""
        if len(word) != _WORD.size:
            return False
        _, kind, number, port, secret = _WORD.unpack(word)
        if kind == _CALL and peer in self._peers:
            self._invite(peer, public, number, secret)
        elif kind == _HERE:
            self._go(peer, number, port, secret, address)
        elif kind == _LEFT:
            self.drop(peer)
        return bool(kind == _LEFT)

    # -------------------------------------------------------------------------------------------------- the caller

    def turn(self, now: float) -> None:
        """Call who is due, and give up what takes too long."""
        for peer, wish in self._wishes.items():
            if now >= wish.at and peer not in self._calls and peer not in self.standing:
                self._number = (self._number + 1) % (1 << 32)
                self._calls[peer] = _Calling(self._number, secrets.token_bytes(SECRET_BYTES), now + _PATIENCE)
                self._post(peer, _WORD.pack(MARK, _CALL, self._number, 0, self._calls[peer].secret))
        for peer in [peer for peer, c in self._calls.items() if now >= c.until]:
            self._failed(peer)
        for peer in [peer for peer, i in self._invited.items() if now >= i.until]:
            self._uninvite(peer)

    def _go(self, peer: int, number: int, port: int, secret: bytes, address: str) -> None:
        calling, wish = self._calls.get(peer), self._wishes.get(peer)
        if calling is None or wish is None or calling.number != number or calling.direct is not None:
            return
        mine, theirs, name = keys_of(self._me, wish.public, self._cluster, calling.secret + secret)
        try:
            direct = Direct(peer, _connecting(name, address, port), Sealer(mine), Opener(theirs))
        except OSError:
            self._failed(peer)
            return
        calling.direct = direct
        self._selector.register(direct.socket, selectors.EVENT_WRITE, lambda _: self._connected(direct))

    def _connected(self, direct: Direct) -> None:
        """The connection stands, or does not: show who this is."""
        self._selector.modify(direct.socket, selectors.EVENT_READ, lambda _: self._answered(direct))
        try:
            direct.send([])  # fails if nobody listens there
        except Ended:
            self._failed(direct.peer)

    def _answered(self, direct: Direct) -> None:
        peer = direct.peer
        try:
            answer = direct.receive()
        except Ended:
            self._failed(peer)
            return
        if answer == []:
            del self._calls[peer]
            self._stand(direct)
            self._found.append(Reached(peer))
        elif answer is not None:
            self._failed(peer)

    def _failed(self, peer: int) -> None:
        """Try again some time."""
        self._uncall(peer)
        if (wish := self._wishes.get(peer)) is not None:
            wish.at = time.monotonic() + wish.pause
            wish.pause = min(2 * wish.pause, _LAST_AGAIN)

    def _uncall(self, peer: int) -> None:
        calling = self._calls.pop(peer, None)
        if calling is not None and calling.direct is not None:
            self._close(calling.direct)

    # ------------------------------------------------------------------------------------------------ the listener

    def _invite(self, peer: int, public: str, number: int, secret: bytes) -> None:
        self._uninvite(peer)
        own = secrets.token_bytes(SECRET_BYTES)
        theirs, mine, name = keys_of(public, self._me, self._cluster, secret + own)
        invited = _Invited([], (mine, theirs), time.monotonic() + _PATIENCE)
        self._invited[peer] = invited
        port = 0
        with contextlib.suppress(OSError, ValueError):
            port = self._listen(peer, invited, beside(self._host)).getsockname()[1]
        with contextlib.suppress(OSError):
            self._listen(peer, invited, at_home(name, self._host))
        if not invited.listeners:
            del self._invited[peer]
            own = _NOTHING
        self._post(peer, _WORD.pack(MARK, _HERE, number, port, own))

    def _listen(self, peer: int, invited: _Invited, listener: socket.socket) -> socket.socket:
        try:
            self._selector.register(listener, selectors.EVENT_READ, lambda _: self._comes(peer, invited, listener))
        except OSError:
            listener.close()
            raise
        invited.listeners.append(listener)
        return listener

    def _comes(self, peer: int, invited: _Invited, listener: socket.socket) -> None:
        """Somebody connects; strangers too, of whom the longest silent make room."""
        try:
            connection, _ = listener.accept()
        except OSError as error:
            if error.errno in {errno.EMFILE, errno.ENFILE}:
                self._uninvite(peer)
            return
        connection.setblocking(False)
        mine, theirs = invited.keys
        try:
            comer = Direct(peer, connection, Sealer(mine), Opener(theirs))
        except OSError:
            return  # gone already
        if len(invited.comers) == _COMERS:
            self._close(invited.comers.pop(0))
        invited.comers.append(comer)
        self._selector.register(connection, selectors.EVENT_READ, lambda _: self._shown(invited, comer))

    def _shown(self, invited: _Invited, comer: Direct) -> None:
        """What somebody sends who has connected: the caller can seal, and nobody else."""
        try:
            word = comer.receive()
            if word == []:
                comer.send([])
        except Ended:
            word = [b""]
        if word is None:
            return
        invited.comers.remove(comer)
        if word:
            self._close(comer)
            return
        self._uninvite(comer.peer)
        earlier = self._met.get(comer.peer)
        if earlier is not None:
            self._close(earlier)
        self._met[comer.peer] = comer
        self._watch(comer)

    def _uninvite(self, peer: int) -> None:
        invited = self._invited.pop(peer, None)
        if invited is not None:
            for listener in invited.listeners:
                self._selector.unregister(listener)
                listener.close()
            for comer in invited.comers:
                self._close(comer)

    def _lost(self, peer: int) -> None:
        """ZeroMQ goes on at once; the greeting over it says where."""
        if peer in self._wishes:
            self._post(peer, _WORD.pack(MARK, _LEFT, 0, 0, _NOTHING))
            self._failed(peer)
            self._found.append(Reached(peer))

    def close(self, linger: float) -> None:
        """Close everything; what waits to be written gets at most so many seconds, and nobody is called any more."""
        self._wishes.clear()
        self._go_on_writing(linger)
        for peer in {*self._calls, *self._invited, *self._met, *self.standing}:
            self.drop(peer)
        self._selector.close()


def _connecting(name: str, address: str, port: int) -> socket.socket:
    """On its way to a listener on this host, or else to its port. Raises OSError."""
    try:
        return call_at_home(name, address)
    except OSError:
        if not port:
            raise
        return call(address, port)
