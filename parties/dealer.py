"""The brain of the dealer: lowers the same text, deals, and learns nothing of the run.

It sends each party its seeds once and then corrections, in program order, a bounded window ahead of that party's draws.
Nothing that depends on data reaches it (docs/rules.md, 5): a party acknowledges at draws that the program fixes, and
all that can be read from it is the pace. It never sees an opening. Material for later is the same stream, which a party
puts into its store instead of drawing from it; its id, a fresh nonce, comes with the seeds, and at its end a hash for
each party.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from mpc.exchange import Array
from mpc.prg import DealerEntropy, Entropy
from parties.agree import Verdict, dealt_seed, place, sentence, stock_of
from parties.cluster import DEALER, Cluster, is_coordinator
from parties.events import Arrived, Down, Event, Instruction, Note, Pump, Say, Send, Tick, Up
from parties.limits import Limits
from parties.liveness import Sign
from parties.machinery import Machinery, randomness
from parties.pieces import SHORT_LIMIT
from parties.prepare import Refused, read_terms, ready
from parties.terms import Terms, card
from parties.version import VERSION
from parties.wire import Buffer, Message, Type, line, pack_arrays

__all__ = ["DealerBrain"]

Steps = Iterator[Instruction]
_AT_ONCE = 1 << 20  # bytes dealt before the body may look at its sockets again
_TOGETHER = 1024  # corrections that travel together at most; where a message ends, the program alone decides
_COPIED = 1 << 19  # bytes of corrections up to which a message is one frame
_NONCE_BYTES = 16
_MOST_AT_ONCE = 64
_MOST_KNOWN = 1 << 16  # sessions of the past


class _Deal:
    """One session at the dealer. boss: the coordinator that began it. nonce: the id of material for later.

    batches[p]: corrections for p that wait for more to go with them, so many bytes of them in batched[p]. due: messages
    that are made. unacknowledged[p]: what was sent to p beyond its last credit, by message. blocked: since when a party
    that takes nothing keeps it from dealing. told: whether the coordinator knows whom it waits for. begins_by: until
    when it waits for a party that was lost and may be back. patience: until when it waits for the coordinator to say
    that it begins, or how it ended.
    """

    def __init__(self, session: bytes, boss: int, terms: Terms, lowered: Any, nonce: bytes) -> None:
        n = len(terms.task.parties)
        self.session = session
        self.boss = boss
        self.terms = terms
        self.lowered = lowered
        self.nonce = nonce
        self.corrections: Iterator[Any] | None = None
        self.waiting: tuple[int, tuple[Buffer, ...]] | None = None
        self.batches: list[list[Array]] = [[] for _ in range(n)]
        self.batched = [0] * n
        self.due: deque[tuple[int, tuple[Buffer, ...]]] = deque()
        self.counts = [0] * n
        self.payload = [0] * n
        self.unacknowledged: list[deque[int]] = [deque() for _ in range(n)]
        self.outstanding = [0] * n
        self.hashes = [hashlib.sha256() for _ in range(n)]
        self.seconds = 0.0
        self.finished = False
        self.failed = False
        self.ahead = False
        self.blocked: float | None = None
        self.told = False
        self.begins_by: float | None = None
        self.patience: float | None = None

    @property
    def storing(self) -> bool:
        """Whether this is material for later, which nobody draws now and for which there is no window."""
        return self.terms.mode == "deal"

    def has_room(self, party: int, limits: Limits) -> bool:
        """Whether one more message, however large, may go to a party."""
        few = len(self.unacknowledged[party]) < limits.window_messages
        return self.storing or (few and self.outstanding[party] < limits.window)

    def sent(self, party: int, frames: tuple[Buffer, ...]) -> int:
        """Count a message of corrections; its size."""
        size = sum(len(f) for f in frames)
        self.counts[party] += 1
        self.payload[party] += size
        if self.storing:
            for frame in frames:
                self.hashes[party].update(frame)
        else:
            self.outstanding[party] += size
            self.unacknowledged[party].append(size)
        return size

    def batch(self, party: int) -> tuple[int, tuple[Buffer, ...]]:
        """What waits for a party, as the bytes that it will cut as its draws expect them."""
        arrays, self.batches[party] = self.batches[party], []
        size, self.batched[party] = self.batched[party], 0
        if size > _COPIED:
            return party, tuple(f for f in pack_arrays(arrays) if len(f))
        return party, (b"".join(pack_arrays(arrays)),)

    def credit(self, party: int, drawn: int) -> None:
        """A party has used up so many messages; anything else than progress is ignored."""
        left = (self.counts[party] - drawn) & 0xFFFFFFFF
        while len(self.unacknowledged[party]) > left:
            self.outstanding[party] -= self.unacknowledged[party].popleft()


class DealerBrain:
    """The dealer; `clock` comes from the body."""

    def __init__(
        self,
        cluster: Cluster,
        machinery: Machinery,
        clock: Callable[[], float],
        *,
        insecure: str = "",
        limits: Limits | None = None,
        version: str = VERSION,
        entropy: Entropy = secrets.token_bytes,
    ) -> None:
        self.me = DEALER
        self.sessions: dict[bytes, _Deal] = {}
        self._cluster = cluster
        self._machinery = machinery
        self._clock = clock
        self._insecure = insecure
        self._entropy = entropy
        self._version = version
        self._limits = limits or Limits()
        self._lost: dict[int, str] = {}
        self._begun: dict[bytes, None] = {}  # sessions that were dealt for; the oldest go

    @property
    def busy(self) -> bool:
        """Whether a run is on."""
        return bool(self.sessions)

    @property
    def awaited(self) -> int:
        """The dealer waits for nobody in particular."""
        return -1

    @property
    def deadline(self) -> float | None:
        """When the coordinator has to hear whom the dealer waits for, or the dealer waits no longer."""
        deals = self.sessions.values()
        times = [d.blocked + self._limits.verdict for d in deals if d.blocked is not None and not d.told]
        ends = [end for d in deals for end in (d.begins_by, d.patience) if end is not None]
        return min(times + ends, default=None)

    @property
    def sign(self) -> Sign:
        """The dealer only says that it lives."""
        return Sign()

    @property
    def pumping(self) -> bool:
        """Whether there is more to deal."""
        return any(self._can_go_on(deal) for deal in self.sessions.values())

    def room(self, _m: Message) -> int | None:
        """Nobody sends it arrays."""
        return SHORT_LIMIT

    def _can_go_on(self, deal: _Deal) -> bool:
        if deal.corrections is None or deal.finished:
            return False
        return deal.waiting is None or deal.has_room(deal.waiting[0], self._limits)

    def handle(self, event: Event) -> Steps:
        """The only way in. Perform each instruction before asking for the next one."""
        match event:
            case Arrived(message):
                yield from self._arrived(message)
            case Pump():
                for deal in list(self.sessions.values()):
                    if self._can_go_on(deal):
                        yield from self._pump(deal)
            case Tick():
                for deal in list(self.sessions.values()):
                    yield from self._tick(deal)
            case Up(peer):
                self._lost.pop(peer, None)
                yield from self._back()
            case Down(peer, reason):
                self._lost[peer] = reason
                for deal in list(self.sessions.values()):
                    yield from self._down(deal, peer, reason)
            case _:
                return

    def _arrived(self, m: Message) -> Steps:
        if is_coordinator(m.src):
            yield from self._asked(m)
        elif m.session not in self.sessions:
            return
        elif m.type is Type.CREDIT:
            self.sessions[m.session].credit(m.src, m.step)
        else:
            what = f"{self._cluster.call(m.src)} sent {m.type.name} where it does not belong"
            yield from self._fail(self.sessions[m.session], "peer", what, m.src)

    def stop(self, reason: str) -> Steps:
        """The dealer's operator ends its part."""
        for deal in list(self.sessions.values()):
            yield from self._fail(deal, "stopped", f"dealer: {reason}", DEALER)

    def _asked(self, m: Message) -> Steps:
        deal = self.sessions.get(m.session)
        if deal is None:
            if m.type is Type.PREPARE:
                yield from self._prepare(m)
        elif m.src != deal.boss:
            return
        elif m.type is Type.START:
            if m.meta["agreed"] == deal.terms.digest() and deal.corrections is None and deal.begins_by is None:
                yield from self._start(deal)
            else:
                yield from self._misled(deal, "sent START where it does not belong")
        elif m.type is Type.END:  # done, refused or stopped: the dealer is not told which
            yield Note(f"run {deal.terms.run[:10]} ended: {sum(deal.payload)} bytes dealt")
            del self.sessions[m.session]
        else:
            yield from self._misled(deal, f"sent {m.type.name} where it does not belong")

    def _prepare(self, m: Message) -> Steps:
        try:
            if len(self.sessions) >= _MOST_AT_ONCE:
                raise Refused("peer", f"deals for {len(self.sessions)} runs already")  # noqa: TRY301
            if m.session in self._begun:  # parties could have seeds of the first time beside seeds of the second
                raise Refused("peer", "has dealt for this session before")  # noqa: TRY301
            terms, _, lowered = read_terms(m, self._cluster, self._machinery, self._insecure, self._version)
        except Refused as refusal:
            meta = {"ask": -1, "kind": refusal.kind, "reason": refusal.reason}
            yield Send(m.src, Type.REFUSED, m.session, meta=meta)
            return
        deal = self.sessions[m.session] = _Deal(m.session, m.src, terms, lowered, self._entropy(_NONCE_BYTES))
        self._wait(deal)
        yield Send(m.src, Type.READY, m.session, meta=ready(terms))

    def _start(self, deal: _Deal) -> Steps:
        """Whoever was lost may be back, as the coordinator sees already: it is not accused at once."""
        if self._missing(deal):
            deal.begins_by = self._clock() + self._limits.dead
        else:
            yield from self._begin(deal)

    def _missing(self, deal: _Deal) -> list[int]:
        return sorted(party for party in self._lost if party < len(deal.terms.task.parties))

    def _tick(self, deal: _Deal) -> Steps:
        yield from self._waits(deal)
        if deal.begins_by is not None and self._clock() >= deal.begins_by:
            yield from self._never_back(deal)
        if deal.patience is not None and self._clock() >= deal.patience:
            yield from self._unbidden(deal)

    def _wait(self, deal: _Deal) -> None:
        """As long as parties do."""
        deal.patience = self._clock() + 2 * self._limits.startup + self._limits.stall

    def _unbidden(self, deal: _Deal) -> Steps:
        """The coordinator lives, and its word has not come."""
        if deal.failed:
            del self.sessions[deal.session]
        else:
            yield from self._misled(deal, "has neither begun nor ended what it prepared")

    def _back(self) -> Steps:
        """Somebody is there again: what waited for that begins."""
        for deal in list(self.sessions.values()):
            if deal.begins_by is not None and not self._missing(deal):
                yield from self._begin(deal)

    def _never_back(self, deal: _Deal) -> Steps:
        party = self._missing(deal)[0]
        deal.begins_by = None
        yield from self._fail(deal, "dead", f"{self._cluster.call(party)} {self._lost[party]}", party)

    def _begin(self, deal: _Deal) -> Steps:
        """Nothing is drawn from the seeds that are sent, but from what they and this dealer's own terms give."""
        deal.begins_by = deal.patience = None
        terms, n = deal.terms, len(deal.terms.task.parties)
        self._begun[deal.session] = None
        if len(self._begun) > _MOST_KNOWN:
            del self._begun[next(iter(self._begun))]
        entropy = DealerEntropy.fresh(n, randomness(self._insecure) if self._insecure else self._entropy)
        shown = (card(terms), deal.nonce) if deal.storing else (card(terms),)
        for party in range(n):
            seeds = b"".join(entropy.seeds_for(party))
            deal.hashes[party].update(seeds)
            yield Send(party, Type.SEEDS, deal.session, frames=(seeds, *shown))
        if not self._insecure:  # what parties draw from is then no seed of the dealer's either
            agreed = stock_of(terms.task, deal.nonce) if deal.storing else terms.digest()
            entropy = entropy.derived(partial(dealt_seed, agreed=agreed))
        deal.corrections = self._machinery.run_dealer(deal.lowered, entropy)

    def _pump(self, deal: _Deal) -> Steps:
        assert deal.corrections is not None
        began, room, deal.blocked = self._clock(), _AT_ONCE, None
        if deal.told:
            deal.told = False
            yield self._progress(deal, "")
        while room > 0 and not deal.finished:
            try:
                item = deal.waiting or self._next(deal)
            except Exception as error:  # noqa: BLE001 - a failure of the dealing program becomes a report
                yield from self._fail(deal, "internal", f"dealer: {type(error).__name__} at {place(error)}", DEALER)
                return
            if item is None:
                yield from self._finish(deal, began)
                return
            party, frames = deal.waiting = item
            if not deal.has_room(party, self._limits):
                yield from self._pause(deal)
                break
            deal.waiting = None
            room -= deal.sent(party, frames) + 256
            yield Send(party, Type.CORRECTION, deal.session, deal.counts[party] & 0xFFFFFFFF, frames=frames)
        deal.seconds += self._clock() - began

    def _next(self, deal: _Deal) -> tuple[int, tuple[Buffer, ...]] | None:
        """The next message: what has gathered for one party, once there is enough for any of them, or no more at all.

        Then all get what they have: who has little to come needs it as soon as who has much, or both would wait.
        """
        assert deal.corrections is not None
        if not deal.due:
            # So much that the bytes of the window are full before the number of its messages is.
            enough = self._limits.window // max(4, self._limits.window_messages)
            for correction in deal.corrections:
                party = correction.party
                deal.batches[party] += correction.arrays
                deal.batched[party] += sum(a.nbytes for a in correction.arrays)
                if deal.batched[party] >= enough or len(deal.batches[party]) >= _TOGETHER:
                    break
            deal.due.extend(deal.batch(party) for party, batch in enumerate(deal.batches) if batch)
        return deal.due.popleft() if deal.due else None

    def _pause(self, deal: _Deal) -> Steps:
        """As far ahead as it may be: the parties can begin."""
        deal.blocked = self._clock()
        if not deal.ahead:
            deal.ahead = True
            yield Send(deal.boss, Type.STOCKED, deal.session, meta={"complete": False})

    def _waits(self, deal: _Deal) -> Steps:
        """All will soon wait for the dealer, which waits for one of them: the coordinator should know for whom."""
        if deal.waiting is None or deal.blocked is None or deal.told:
            return
        if self._clock() >= deal.blocked + self._limits.verdict:
            deal.told = True
            yield self._progress(deal, deal.terms.task.parties[deal.waiting[0]])

    def _progress(self, deal: _Deal, waits_for: str) -> Send:
        return Send(deal.boss, Type.PROGRESS, deal.session, meta={"where": waits_for})

    def _finish(self, deal: _Deal, began: float) -> Steps:
        deal.finished = True
        deal.seconds += self._clock() - began
        hashes = (b"".join(h.digest() for h in deal.hashes),) if deal.storing else ()
        for party, (count, payload) in enumerate(zip(deal.counts, deal.payload, strict=True)):
            meta = {"count": count, "payload": payload, "seconds": deal.seconds}
            yield Send(party, Type.DEALT, deal.session, meta=meta, frames=hashes)
        meta = {"count": sum(deal.counts), "payload": sum(deal.payload), "seconds": deal.seconds}
        yield Send(deal.boss, Type.DEALT, deal.session, meta=meta, frames=(deal.nonce,) if deal.storing else ())

    def _down(self, deal: _Deal, peer: int, reason: str) -> Steps:
        what = f"{self._cluster.call(peer)} {reason}"
        if peer == deal.boss:
            run = "" if deal.storing else deal.terms.run
            yield Say(sentence(Verdict(peer, "dead", what), "", run))
            yield from self._fail(deal, "dead", what, peer)  # it may have been stopped only
            del self.sessions[deal.session]
        elif peer < len(deal.terms.task.parties) and deal.corrections is not None and not deal.failed:
            # Of another coordinator nothing is needed here. Of a party, even when all is dealt: what was sent to a
            # process that is no more never reached the one that took its place, which may be the one that takes part.
            yield from self._fail(deal, "dead", what, peer)

    def _misled(self, deal: _Deal, what: str) -> Steps:
        """The coordinator is at fault: no verdict will come that says so."""
        yield from self._down(deal, deal.boss, what)

    def _fail(self, deal: _Deal, kind: str, reason: str, origin: int) -> Steps:
        if deal.failed:
            return
        deal.finished = deal.failed = True
        deal.blocked = deal.begins_by = None
        self._wait(deal)
        meta = {"origin": origin, "kind": kind, "reason": line(reason), "round": 0, "where": "", "final": False}
        if origin != deal.boss:
            yield Note(f"run {deal.terms.run[:10]} cannot be dealt for: {reason}")
        yield Send(deal.boss, Type.ABORT, deal.session, meta=meta)
