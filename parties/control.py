"""The control plane of one actor without its thread and sockets: signs of life, verdicts ahead of the data. Sans-IO.

It says every half second that this actor lives and how far it has come, hears the same of the others, and tells what
must not wait behind data: who is silent, and verdicts. Nothing of a program or its data goes this way; to the dealer
not even the progress (docs/rules.md, 5). `parties.watch` runs it on a thread, the simulation on virtual time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from parties.cluster import DEALER, SEATS, is_coordinator
from parties.limits import Limits
from parties.liveness import Liveness, Sign, Silent
from parties.wire import BadMessage, Buffer, Message, Type, decode

__all__ = ["Alarm", "Alive", "Control", "Lost", "News"]

_SILENT = Sign()
_KNOWN = frozenset({Type.PING, Type.ABORT, Type.BYE})


@dataclass(frozen=True, slots=True)
class Alive:
    """The first sign of life of an actor, or of its new process."""

    peer: int


@dataclass(frozen=True, slots=True)
class Lost:
    """An actor counts as dead; `reason` continues the sentence "party bob ..."."""

    peer: int
    reason: str


@dataclass(frozen=True, slots=True)
class Alarm:
    """A verdict that came ahead of the data."""

    message: Message


News = Alive | Lost | Alarm


class Control:
    """One end of all control connections of an actor. `sign`: how far its computing thread has come."""

    def __init__(self, me: int, peers: Iterable[int], incarnation: int, limits: Limits) -> None:
        self.sign = _SILENT
        self._me = me
        self._peers = set(peers)
        self._incarnation = incarnation
        self._theirs: dict[int, int] = {}
        self._shut: dict[int, int] = {}  # by peer: the incarnation that is not listened to any more; 0: any
        self._liveness = Liveness(self._peers, limits.dead, limits.startup)

    def joined(self, peer: int, now: float) -> None:
        """An actor has greeted. A coordinator that dies before its first sign of life would be waited for for ever."""
        self._liveness.moved(peer)
        if is_coordinator(peer):
            self._liveness.expect(peer, now)

    def heard(self, peer: int) -> Sign:
        """The latest that a peer said of itself."""
        return self._liveness.sign(peer)

    # ------------------------------------------------------------------------------------------------- sending

    def turn(self, now: float) -> tuple[list[Message], list[News]]:
        """Time has passed: signs of life that are due, and who has been silent for too long."""
        signs = self._signs() if self._liveness.due(now) else []
        found = self._liveness.tick(now)
        for finding in found:
            if isinstance(finding, Silent):
                self._forget(finding.peer)
        lost = [Lost(f.peer, f"died (no sign of life for {f.seconds:g} s)") for f in found if isinstance(f, Silent)]
        return signs, [*lost]

    def doubtful(self, now: float) -> list[int]:
        """Whom to knock at, whoever can: `knocked` has to hear what came of it."""
        return self._liveness.doubtful(now)

    def knocked(self, peer: int, now: float, *, refused: bool) -> list[News]:
        """Whether a control port that was reached before refuses connections now."""
        if not self._liveness.knocked(peer, now, refused=refused):
            return []
        self._forget(peer)
        return [Lost(peer, "died (its port refuses connections)")]

    def _signs(self) -> list[Message]:
        return [self.sign_for(peer) for peer in sorted(self._peers)]

    def sign_for(self, peer: int) -> Message:
        """A sign of life: whoever has just been reached, or heard for the first time, need not wait for its turn."""
        shown = _SILENT if peer == DEALER else self.sign
        meta = {"progress": shown.progress, "waiting": shown.waiting}
        return Message(Type.PING, self._me, peer, meta=meta, incarnation=self._incarnation)

    def farewell(self) -> list[Message]:
        """The last words to everybody."""
        return [self.stamped(Message(Type.BYE, self._me, peer)) for peer in sorted(self._peers)]

    def stamped(self, m: Message) -> Message:
        """With the number of this process; nothing else is counted here."""
        return Message(m.type, m.src, m.dst, m.session, m.step, m.meta, m.frames, 0, self._incarnation)

    # ----------------------------------------------------------------------------------------------- receiving

    def receive(self, peer: int, parts: Sequence[Buffer], now: float) -> list[News]:
        """What an authenticated peer sent."""
        try:
            m = decode(parts)
            return [] if m.incarnation == self._shut.get(peer) else self.take(peer, m, now)
        except BadMessage as error:
            if peer in self._shut:  # it was said before: what follows says no more
                return []
            self._shut[peer] = self._theirs.get(peer, 0)
            return [Lost(peer, f"sent a malformed message ({error})")]

    def take(self, peer: int, m: Message, now: float) -> list[News]:
        """A decoded message. Raises BadMessage."""
        if m.src != peer or m.dst != self._me or m.type not in _KNOWN or m.frames:
            raise BadMessage("what does not belong on a control connection")
        if m.type is Type.ABORT:
            return [Alarm(m)] if is_coordinator(peer) else []
        if m.type is Type.PING:
            return self._sign_of(peer, m, now)
        if m.incarnation == self._theirs.get(peer):
            self._forget(peer)
        return []

    def _forget(self, peer: int) -> None:
        """It left or is dead; a coordinator's seat that is empty is given no more signs."""
        self._liveness.forget(peer)
        if peer in SEATS:
            self._peers.discard(peer)
            self._theirs.pop(peer, None)

    def _sign_of(self, peer: int, m: Message, now: float) -> list[News]:
        if self._theirs.get(peer) != m.incarnation:
            self._theirs[peer] = m.incarnation
            self._shut.pop(peer, None)
            self._liveness.forget(peer)
        self._peers.add(peer)
        new = not self._liveness.alive(peer)
        self._liveness.heard(peer, now, Sign(m.meta["progress"], m.meta["waiting"]))
        return [Alive(peer)] if new else []
