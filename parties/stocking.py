"""The beginning of one attempt at one party: keys with its peers, material from the dealer or its store, the ledger.

Nothing leaves before the dealer and every peer have shown the same terms as this party's own. It finds that out by
itself: a coordinator that tells actors different things may be the one that decides what is said of it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

from parties import records
from parties.attempt import Attempt, Stage
from parties.cluster import DEALER
from parties.ending import KEYING, Ending, Steps, Surroundings
from parties.events import RESTARTED, Instruction, Say, Send, Written
from parties.terms import difference
from parties.values import pack_values
from parties.wire import BadMessage, Buffer, Message, Type, line

__all__ = ["Stocking"]


class Stocking(Ending):
    """An attempt until its engine starts. brought: the hash of stored material, which its peers must have too."""

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
        elif a.stage is Stage.STOCKING and peer in a.peers:
            yield self._offer(peer)

    def _offer(self, peer: int) -> Send:
        """This party's key for a peer, its terms, and the hash of its material."""
        a = self.attempt
        return Send(peer, Type.PAIR, a.session, frames=(a.public, a.card, self._brought))

    def _start(self, m: Message) -> Steps:
        a = self.attempt
        if m.meta["agreed"] != a.agreed:
            raise BadMessage("another agreement")
        a.stage, a.waited = Stage.STOCKING, False
        limits = self.around.limits
        needed = a.peers if a.terms.material else [*a.peers, DEALER]
        # Whoever was lost may be back, as the coordinator sees already and this party will: it is not accused at once.
        self._breathe(limits.dead if any(peer in self.around.lost for peer in needed) else limits.startup)
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
        if len(m.frames) != 3:
            raise BadMessage("not a key")
        key, terms, brought = m.frames
        a.add_pair(m.src, key)
        yield from self._agree(m.src, terms)
        if a.stage in KEYING and bytes(brought) != self._brought:
            text = f"{self.around.cluster.call(m.src)} holds other material than {self.around.name}"
            yield from self._fail("peer", text, m.src)
        yield from self._stock()

    def _seeds(self, m: Message) -> Steps:
        self._deals()
        if len(m.frames) < 2:
            raise BadMessage("seeds without terms")
        yield from self._agree(DEALER, m.frames[1])
        if self.attempt.stage in KEYING:
            self.attempt.add_seeds(m.frames)
        yield from self._stock()

    def _agree(self, actor: int, theirs: Buffer) -> Steps:
        """End this party's part if an actor has other terms, and say so at once: the coordinator may say otherwise."""
        found = difference(self.attempt.card, theirs)
        if found is None:
            return
        what, mine, other = found
        name = self.around.name
        for peer in self.attempt.peers if self.attempt.stage is Stage.READY else ():
            yield self._offer(peer)  # so that they find it too
        text = (
            f"{self.around.cluster.call(actor)} has {what} ({other}) than {name} ({mine}); no input has left. "
            "A coordinator that tells them different things does this: ask its operator before you run it again"
        )
        yield Say(line(f"run stopped: {text}"))
        yield from self._fail("terms", text, actor)

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
            self._dealt_record = records.Stock.of(a.terms.task, self.around.me, a.nonce, *a.material(), m.frames)
        yield from self._stock()

    def _lay_up(self) -> Steps:
        """Put away what was dealt for later, when all of it is here and everybody has agreed to it."""
        record, self._dealt_record = self._dealt_record, None
        if record is not None:
            yield self._write(record, self._laid_up)

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
        self._breathe(self.around.limits.stall)
        if self.dealing:
            yield from self._lay_up()
            return
        if not a.reserving:
            a.reserving = True
            text = "" if a.terms.epoch else a.program.text  # the first attempt may have begun elsewhere only
            about = (a.terms, a.program.name, text, a.fingerprints, a.seeds)
            yield self._write(records.Begin(*about, self.log.begun()), self._begun)
        yield from self._stocked()
        if a.go and a.reserved:
            a.stage = Stage.STARTING
            if a.terms.material:
                yield self._write(records.Take(a.terms), self._taken)
            else:
                yield from self._run()

    def _stocked(self) -> Steps:
        a = self.attempt
        if not a.stocked and a.dealt and (a.engine is not None or a.terms.material):
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
        a.take(seeds)
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
