"""Who is alive, told from their signs of life. Sans-IO: the control plane (`parties.watch`) brings signs and time.

A connection that breaks is no death, and one that stands is no life: a process that hangs keeps its sockets. So every
actor says every half second, from a thread of its own, that it lives, and how far its computing thread has come. Silent
for two seconds: suspect; for five: dead. Only a peer that has been heard once, or is expected, can die; before the
first sign the limit for starting applies, which is longer.

Silence is ambiguous, a refusal is not: whoever has missed a sign is knocked at, and if its port refuses connections for
a second, with no sign and no accepted knock in between, its process has ended. A process that is stopped or a network
that is cut does not refuse.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf

__all__ = ["Liveness", "Sign", "Silent", "Suspect", "Well"]

PING_SECONDS = 0.5
SUSPECT_SECONDS = 2.0
DEAD_SECONDS = 5.0
STARTUP_SECONDS = 20.0
DOUBT_SECONDS = 0.8  # a sign is missing: knock
REFUSED_SECONDS = 1.0
_KNOCK_SECONDS = 0.25  # between two knocks that are refused
_TAKEN_SECONDS = 1.0  # between two knocks that are not: a stopped process finds them all when it wakes


@dataclass(frozen=True, slots=True)
class Sign:
    """What a sign of life says: a count of what the computing thread has done, and whether it waits for others."""

    progress: int = 0
    waiting: bool = False


@dataclass(frozen=True, slots=True)
class Suspect:
    """Nothing heard for two seconds."""

    peer: int


@dataclass(frozen=True, slots=True)
class Well:
    """A suspect that was heard again."""

    peer: int


@dataclass(frozen=True, slots=True)
class Silent:
    """Nothing heard for so long that the peer counts as dead."""

    peer: int
    seconds: float


@dataclass(slots=True)
class _Peer:
    heard: float | None = None
    expected: float | None = None
    sign: Sign = field(default_factory=Sign)
    suspect: bool = False
    refuses: float | None = None  # since when
    knock_at: float = 0.0


class Liveness:
    """The signs of life of some peers. dead: seconds of silence that count as death; startup: before the first sign."""

    def __init__(self, peers: Iterable[int], dead: float = DEAD_SECONDS, startup: float = STARTUP_SECONDS) -> None:
        self._peers: defaultdict[int, _Peer] = defaultdict(_Peer, {peer: _Peer() for peer in peers})
        self._dead = dead
        self._startup = startup
        self._suspect = min(SUSPECT_SECONDS, dead)
        self._pinged: float | None = None
        self._looked: float | None = None

    def heard(self, peer: int, now: float, sign: Sign) -> list[Well]:
        """A sign of life."""
        p = self._peers[peer]
        was, p.heard, p.sign, p.suspect = p.suspect, now, sign, False
        p.refuses, p.knock_at = None, now + DOUBT_SECONDS
        return [Well(peer)] if was else []

    def expect(self, peer: int, now: float) -> None:
        """It is there, so a first sign has to come: one that dies before it is missed too."""
        if self._peers[peer].expected is None:
            self._peers[peer].expected = now

    def doubtful(self, now: float) -> list[int]:
        """Whom to knock at now: a sign of theirs is missing. Each is named again after `knocked` only."""
        found = [peer for peer, p in self._peers.items() if p.heard is not None and now >= p.knock_at]
        for peer in found:
            self._peers[peer].knock_at = inf
        return found

    def knocked(self, peer: int, now: float, *, refused: bool) -> bool:
        """What came of a knock; whether the peer counts as dead now."""
        p = self._peers.get(peer)
        if p is None or p.heard is None or now - p.heard < DOUBT_SECONDS:
            return False  # it has been heard meanwhile
        if not refused:
            p.refuses, p.knock_at = None, now + _TAKEN_SECONDS
            return False
        p.refuses, p.knock_at = now if p.refuses is None else p.refuses, now + _KNOCK_SECONDS
        if now - p.refuses < REFUSED_SECONDS:
            return False
        self.forget(peer)
        return True

    def moved(self, peer: int) -> None:
        """It has greeted, perhaps from another port: refusals of the last one say nothing of it."""
        if peer in self._peers:
            self._peers[peer].refuses, self._peers[peer].knock_at = None, 0.0

    def forget(self, peer: int) -> None:
        """It left, or is another process now: it has to be heard anew."""
        self._peers.pop(peer, None)

    def alive(self, peer: int) -> bool:
        """Whether it has been heard and is not silent."""
        return peer in self._peers and self._peers[peer].heard is not None

    def sign(self, peer: int) -> Sign:
        """The latest that it said."""
        known = self._peers.get(peer)
        return known.sign if known is not None else Sign()

    def due(self, now: float) -> bool:
        """Whether it is time to give a sign of life; asking makes the next one due half a second later."""
        if self._pinged is not None and now - self._pinged < PING_SECONDS:
            return False
        self._pinged = now
        return True

    def tick(self, now: float) -> list[Suspect | Silent]:
        """Who has been silent for too long.

        If nobody looked for seconds, this very process was stopped: the silence is its own, and everybody gets the time
        again.
        """
        slept = self._looked is not None and now - self._looked >= SUSPECT_SECONDS
        self._looked = now
        found: list[Suspect | Silent] = []
        for peer, p in list(self._peers.items()):
            if slept:
                p.heard, p.expected = (None if t is None else now for t in (p.heard, p.expected))
                p.refuses, p.knock_at = None, now + DOUBT_SECONDS
            since, limit = (p.expected, self._startup) if p.heard is None else (p.heard, self._dead)
            if since is None:
                continue
            if now - since >= limit:
                self.forget(peer)
                found.append(Silent(peer, limit))
            elif p.heard is not None and now - since >= self._suspect and not p.suspect:
                p.suspect = True
                found.append(Suspect(peer))
        return found
