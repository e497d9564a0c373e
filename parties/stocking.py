"""The beginning of one attempt at one party: keys with its peers, material from the dealer or its store, the ledger."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

from parties import records
from parties.attempt import Attempt, Stage
from parties.cluster import DEALER
from parties.ending import Ending, Steps, Surroundings
from parties.events import RESTARTED, Instruction, Send, Written
from parties.values import pack_values
from parties.wire import BadMessage, Message, Type

__all__ = ["Stocking"]


class Stocking(Ending):
    """An attempt until its engine starts. brought: what this party has from before, and its peers must have too."""

    def __init__(self, around: Surroundings, attempt: Attempt, brought: bytes) -> None:
        super().__init__(around, attempt)
        self._dealt_record: records.Stock | None = None
        self._brought = brought

    @abstractmethod
    def _prepare(self) -> Steps:
        """Make the engine: what follows from streams alone is computed now."""

    @abstractmethod
    def _run(self) -> Steps:
        """Start the engine: all is here, and the coordinator says so."""

    @abstractmethod
    def _drawn(self) -> Iterable[Instruction]:
        """Material has come that the engine may be waiting for."""

    def down(self, peer: int, reason: str) -> Steps:
        """An actor is lost; or it was before this attempt, which is seen only now, and is back.

        Then nothing stops, but what it was sent went to the process before. Had it restarted in this attempt, the
        coordinator would see that too.
        """
        a = self.attempt
        if reason != RESTARTED or peer == a.boss or a.heard_from(peer):
            yield from super().down(peer, reason)
        elif a.stage is Stage.STOCKING and peer in a.peers and not self.dealing:
            yield self._offer(peer)

    def _offer(self, peer: int) -> Send:
        """This party's key for a peer, and what it brings from before."""
        return Send(peer, Type.PAIR, self.attempt.session, frames=(self.attempt.public, self._brought))

    def _start(self, m: Message) -> Steps:
        a = self.attempt
        if m.meta["agreed"] != a.agreed:
            raise BadMessage("another agreement")
        a.stage, a.waited = Stage.STOCKING, False
        limits = self.around.limits
        needed = a.peers if a.terms.material else [*a.peers, DEALER]
        # Whoever was lost may be back, as the coordinator sees already and this party will: it is not accused at once.
        self._breathe(limits.dead if any(peer in self.around.lost for peer in needed) else limits.startup)
        if self.dealing:  # no keys between parties are needed, and what the dealer sends may have been faster
            yield from self._lay_up()
            return
        for peer in a.peers:
            yield self._offer(peer)
        if a.terms.material:
            a.dealt = True
        yield from self._stock()

    def _begun(self, w: Written) -> Steps:
        if self.over or self.attempt.stage is not Stage.STOCKING:
            return
        if w.error:
            yield from self._fail("internal", f"{self.around.name} cannot write its ledger ({w.error})")
            return
        self.attempt.reserved = True
        if not self.attempt.terms.material:  # else its seeds are in the store, and taken from there when it begins
            yield from self._prepare()
        yield from self._stock()

    def _pair(self, m: Message) -> Steps:
        a = self.attempt
        if len(m.frames) != 2:
            raise BadMessage("not a key")
        a.add_pair(m.src, m.frames[:1])
        a.add_brought(m.src, m.frames[1])
        yield from self._stock()

    def _seeds(self, m: Message) -> Steps:
        self._deals()
        self.attempt.add_seeds(m.frames)
        yield from self._stock()

    def _deals(self) -> None:
        if self.attempt.terms.material or self.attempt.dealt:
            raise BadMessage("dealt where nothing is left to deal")

    def _correction(self, m: Message) -> Steps:
        a = self.attempt
        self._deals()
        a.add_correction(m)
        if a.keyed or self.dealing:
            self._breathe(self.around.limits.stall)
        yield from self._stock()
        yield from self._drawn()

    def _dealt(self, m: Message) -> Steps:
        a = self.attempt
        self._deals()
        if m.meta["count"] != a.corrections:
            raise BadMessage("a wrong count of corrections")
        a.dealt = True
        if self.dealing:
            self._dealt_record = records.Stock.of(a.terms, self.around.me, *a.material(), m.frames)
            yield from self._lay_up()
        yield from self._stock()

    def _lay_up(self) -> Steps:
        """Put away what was dealt for later, when all of it is here and everybody has agreed to it."""
        if self._dealt_record is not None and self.attempt.stage is Stage.STOCKING:
            yield self._write(self._dealt_record, self._laid_up)

    def _laid_up(self, w: Written) -> Steps:
        """Material for later is on disk."""
        if self.attempt.stage is Stage.STOPPED:
            return
        if w.error:
            yield from self._fail("internal", f"{self.around.name} cannot store material ({w.error})")
            return
        self.attempt.stage, self.attempt.finished, self.attempt.seen = Stage.DONE, True, -1
        self._breathe(2 * (self.around.limits.startup + self.around.limits.stall))
        yield Send(self.attempt.boss, Type.DONE, self.attempt.session, frames=self._report({}))

    def _stock(self) -> Steps:
        """Tell the coordinator when this party has all keys and material, and start when it says so."""
        a = self.attempt
        if a.stage in {Stage.STARTING, Stage.RUNNING}:
            yield from self._stocked()
        if a.stage is not Stage.STOCKING or not a.complete:
            return
        if disagreeing := a.disagreeing(self._brought):
            whom = self.around.cluster.call(disagreeing[0])
            text = f"{whom} holds other material or kept secrets than {self.around.name}"
            yield from self._fail("peer", text, disagreeing[0])
            return
        self._breathe(self.around.limits.stall)
        if not a.reserving and not self.dealing:
            a.reserving = True
            text = "" if a.terms.epoch else a.program.text  # the first attempt may have begun elsewhere only
            yield self._write(records.Begin(a.terms, a.program.name, text, a.fingerprints, a.seeds), self._begun)
        yield from self._stocked()
        if a.go and a.reserved:
            a.stage = Stage.STARTING
            if a.terms.material:
                yield self._write(records.Take(a.terms), self._taken)
            else:
                yield from self._run()

    def _stocked(self) -> Steps:
        a = self.attempt
        if not a.stocked and a.dealt and not self.dealing and (a.engine is not None or a.terms.material):
            a.stocked = True
            yield Send(a.boss, Type.STOCKED, a.session, meta={"complete": True})

    def _taken(self, w: Written) -> Steps:
        a = self.attempt
        if a.stage is not Stage.STARTING:
            return
        if w.error:
            yield from self._fail("peer", f"{self.around.name}: {w.error}")
            return
        seeds, corrections = w.result
        a.add_seeds([seeds])
        for frames in corrections:
            a.put_in_stock(frames)
        yield from self._prepare()
        if a.stage is Stage.STARTING:
            yield from self._run()

    def _go(self, _m: Message) -> Steps:
        self.attempt.go = True
        yield from self._stock()

    def _report(self, shown: dict[str, Any]) -> Any:
        measures = self.attempt.measures(self.around.clock(), self.around.memory())
        return pack_values({"results": shown, "measures": measures})
