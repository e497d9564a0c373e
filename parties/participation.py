"""One attempt at one party, from READY to its end: keys, material, the engine's requests, checkpoints, trouble.

    ready --START--> stocking --GO--> starting --reserved--> running --engine's end--> done --END--> over
                         any of them --trouble--> stopped --ABORT from the coordinator--> over

Nothing is drawn from a stream before the ledger says durably that this attempt uses it, and nothing is revealed before
the journal says so. The brain (`parties.party`) owns the table of participations and routes messages to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from mpc.errors import InputError, MpcError, PeerError
from mpc.exchange import Array, Draw, Exchange, Save
from mpc.prg import Entropy
from parties import records
from parties.agree import Verdict, place, sentence
from parties.attempt import Attempt, Stage
from parties.cluster import DEALER, Cluster, is_coordinator
from parties.events import Instruction, Keep, Say, Send, Tell, Write, Written
from parties.limits import Limits
from parties.liveness import Sign
from parties.machinery import Machinery
from parties.values import pack_values
from parties.wire import BadMessage, Message, Type, line, pack_arrays

__all__ = ["Participation", "Surroundings"]

Steps = Iterator[Instruction]
Then = Callable[[Written], Steps]
_KEYING = (Stage.READY, Stage.STOCKING)
_LIVE = (*_KEYING, Stage.STARTING, Stage.RUNNING)


@dataclass(frozen=True)
class Surroundings:
    """What every participation of a party has in common.

    token: remembers who waits for a Written. entropy: where its keys come from. lost: who is not there, and why.
    """

    me: int
    name: str
    cluster: Cluster
    machinery: Machinery
    clock: Callable[[], float]
    insecure: str
    limits: Limits
    trouble: Callable[[int], str]
    heard: Callable[[int], Sign]
    memory: Callable[[], int]
    token: Callable[[Then], int]
    entropy: Entropy
    lost: dict[int, str] = field(default_factory=dict)


class Participation:
    """This party's part of one attempt. `over`: the brain may drop it. `alone`: it ended without a verdict."""

    def __init__(self, around: Surroundings, attempt: Attempt, brought: bytes) -> None:
        self.around = around
        self.attempt = attempt
        self.over = self.alone = False
        self._dealt_record: records.Stock | None = None
        self._brought = brought
        attempt.waited = True
        self._breathe(2 * around.limits.startup + around.limits.stall)

    def _write(self, record: Any, then: Then) -> Write:
        return Write(self.around.token(lambda w: self._unless_bad(then(w), self.around.me)), record)

    def _unless_bad(self, steps: Steps, whose: int) -> Steps:
        """Steps that may come upon a bad message, which may have been waiting for a while."""
        try:
            yield from steps
        except BadMessage as error:
            yield from self._broken(whose if error.peer is None else error.peer, f"sent a bad message ({error})")

    @property
    def dealing(self) -> bool:
        """Whether this attempt makes material for later and runs nothing."""
        return self.attempt.terms.mode == "deal"

    @property
    def waiting(self) -> bool:
        """Whether it is somebody else's turn."""
        return self.attempt.stage is not Stage.RUNNING or self.attempt.request is not None

    @property
    def awaited(self) -> int:
        """The actor whose message its engine cannot go on without; −1 if it does not wait for a message."""
        a = self.attempt
        return a.waits_for() if a.stage is Stage.RUNNING and isinstance(a.request, Exchange | Draw) else -1

    def arrived(self, m: Message) -> Steps:
        """A message of this session from a party, the dealer or the coordinator."""
        a = self.attempt
        stages, handler = _CONVERSATION.get((self._role(m.src), m.type), ((), None))
        if handler is None or a.stage not in stages:
            if a.stage is not Stage.STOPPED:
                yield from self._broken(m.src, f"sent {m.type.name} where it does not belong")
            return
        yield from self._unless_bad(handler(self, m), m.src)

    def _role(self, actor: int) -> str:
        if is_coordinator(actor):
            return "coordinator" if actor == self.attempt.boss else "another coordinator"
        return "dealer" if actor == DEALER else "party"

    # ------------------------------------------------------------------------------------------ keys and material

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
            yield Send(peer, Type.PAIR, a.session, frames=(a.public, self._brought))
        if a.terms.material:
            a.dealt = True
        yield from self._stock()

    def _begun(self, w: Written) -> Steps:
        if self.attempt.stage is Stage.STOPPED:
            return
        if w.error:
            yield from self._fail("internal", f"{self.around.name} cannot write its ledger ({w.error})")
            return
        self.attempt.reserved = True
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
        if isinstance(a.request, Draw):
            yield from self._go_on()

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
        if not a.stocked and a.dealt and not self.dealing:
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
        yield from self._run()

    def _go(self, _m: Message) -> Steps:
        self.attempt.go = True
        yield from self._stock()

    # ------------------------------------------------------------------------------------------------ the engine

    def _run(self) -> Steps:
        a, around = self.attempt, self.around
        a.stage = Stage.RUNNING
        a.engine = around.machinery.run_party(a.lowered, around.me, a.inputs, a.entropy(around.insecure), a.kept)
        yield from self._advance(None)

    def _data(self, m: Message) -> Steps:
        self.attempt.park(m)
        if isinstance(self.attempt.request, Exchange):
            yield from self._go_on()

    def _go_on(self) -> Steps:
        request = self.attempt.request
        answer = self.attempt.answer()
        if answer is not None:
            if isinstance(request, Exchange) and request.sharing:
                self.attempt.shared = self.around.clock()
            yield from self._credit()
            yield from self._advance(answer)

    def _credit(self) -> Steps:
        """Let the dealer go further ahead, at points that the program fixes (page 7, rule 5)."""
        a, limits = self.attempt, self.around.limits
        if not a.terms.material and a.credit(limits.window_messages // 3, limits.window // 4):
            yield Send(DEALER, Type.CREDIT, a.session, a.drawn & 0xFFFFFFFF)

    def _advance(self, answer: dict[int, list[Array]] | list[Array] | None) -> Steps:
        """Drive the engine until it has to wait."""
        a = self.attempt
        while a.engine is not None:
            try:
                request = a.engine.send(answer)
            except StopIteration as end:
                yield from self._finish(end.value)
                return
            except Exception as error:  # noqa: BLE001 - the one place where an engine's failure becomes a report
                yield from self._engine_failed(error)
                return
            a.request = request
            a.answered += 1
            self._breathe(self.around.limits.stall)
            if isinstance(request, Save):
                yield self._write(self._shares(request), self._saved)
                return
            if isinstance(request, Exchange) and request.reveals:
                yield self._write(records.Disclose(a.terms, a.lowered, request.reveals), self._disclosed)
                return
            if isinstance(request, Exchange):
                yield from self._share(request)
            answer = a.answer()
            if answer is None:
                return
            yield from self._credit()

    def _shares(self, request: Save) -> Any:
        """A checkpoint, under the next epoch, with what the first one of its loop held and no later one changes."""
        a = self.attempt
        if request.site < 0:
            return records.Hold(a.terms, a.program, request)
        a.epoch += 1
        a.held = (a.held if a.held_site == request.site else {}) | request.arrays
        a.held_site = request.site
        return records.Checkpoint(a.terms, a.epoch, request.site, request.iteration, a.held)

    def _saved(self, w: Written) -> Steps:
        """Shares are on disk, or not: then the older checkpoint stays, and the run goes on."""
        a = self.attempt
        request = a.request
        if a.stage is not Stage.RUNNING or not isinstance(request, Save):
            return
        if request.site >= 0:
            meta = {"epoch": a.epoch, "iteration": request.iteration, "reason": line(w.error, 200)}
            yield Send(self.attempt.boss, Type.SAVED, a.session, meta=meta)
        elif w.error:
            yield from self._fail("internal", f"{self.around.name} cannot keep {request.name!r} ({w.error})")
            return
        a.request = None
        yield from self._advance(None)

    def _commit(self, m: Message) -> Steps:
        a = self.attempt
        if not a.terms.attempt << 32 < m.meta["epoch"] <= a.epoch:
            raise BadMessage("a checkpoint that was not made")
        yield self._write(records.Commit(a.terms.run, m.meta["epoch"]), _nothing)

    def _disclosed(self, w: Written) -> Steps:
        a = self.attempt
        request = a.request
        if a.stage is not Stage.RUNNING or not isinstance(request, Exchange):
            return
        if w.error:
            yield from self._fail("internal", f"{self.around.name} cannot write its journal ({w.error})")
            return
        yield from self._share(request)
        yield from self._go_on()

    def _share(self, request: Exchange) -> Steps:
        a, now = self.attempt, self.around.clock()
        if a.began is None:
            a.began = now
        a.rounds, a.where = request.number, request.where
        for peer, arrays in sorted(request.send.items()):
            frames = pack_arrays(arrays)
            a.count(frames)
            yield Send(peer, Type.DATA, a.session, request.number, frames=frames)
        if now - a.told >= self.around.limits.progress:
            a.told = now
            yield Send(self.attempt.boss, Type.PROGRESS, a.session, request.number, meta={"where": line(a.where, 200)})

    def _finish(self, results: dict[str, Any]) -> Steps:
        a = self.attempt
        a.stage, a.request, a.finished, a.seen = Stage.DONE, None, True, -1
        self._breathe(2 * (self.around.limits.startup + self.around.limits.stall))
        shown = a.for_coordinator(results, self.around.cluster.receives)
        yield Send(self.attempt.boss, Type.DONE, a.session, a.rounds, frames=self._report(shown))
        for name, value in results.items():
            if name not in shown:
                yield Keep(name, value)

    def _report(self, shown: dict[str, Any]) -> Any:
        measures = self.attempt.measures(self.around.clock(), self.around.memory())
        return pack_values({"results": shown, "measures": measures})

    def _end(self, _m: Message) -> Steps:
        a = self.attempt
        if a.stage is Stage.DONE:
            what = "material is stored" if self.dealing else f"done: {a.rounds} rounds"
            yield Say(f"run {a.terms.source[:12]} {what}")
        if a.finished:
            yield from self._close("done", "")
        else:
            yield from self._close("stopped", a.verdict.sentence if a.verdict is not None else "")

    def _close(self, how: str, text: str) -> Steps:
        a = self.attempt
        self.over = True
        if a.reserved:
            yield self._write(records.Conclude(a.terms, how, text), _nothing)
        a.forget()

    # --------------------------------------------------------------------------------------------------- trouble

    def _engine_failed(self, error: Exception) -> Steps:
        name = self.around.name
        if isinstance(error, InputError):
            yield Tell(str(error))
            yield from self._fail("input", f"{name}: input refused")
        elif isinstance(error, PeerError):
            yield from self._fail("peer", f"{name}: {error}")
        elif isinstance(error, MpcError):
            yield from self._fail("program", f"{name}: {error}")
        else:
            # The text of a foreign exception may hold a value; its type and place cannot.
            yield from self._fail("internal", f"{name}: {type(error).__name__} at {place(error)}")

    def _broken(self, peer: int, what: str) -> Steps:
        if self.attempt.stage is not Stage.STOPPED:
            yield from self._fail("peer", f"{self.around.cluster.call(peer)} {what}", peer)

    def _fail(self, kind: str, reason: str, origin: int | None = None) -> Steps:
        """End this party's part and tell the coordinator, whose verdict will come."""
        a = self.attempt
        origin = self.around.me if origin is None else origin
        a.stage, a.engine, a.request = Stage.STOPPED, None, None
        a.verdict = Verdict(origin, kind, line(reason), a.rounds, line(a.where, 200))
        a.deadline = self.around.clock() + self.around.limits.verdict
        yield self._report_of(a.verdict)

    def _report_of(self, v: Verdict) -> Send:
        """To the coordinator: what this party knows."""
        meta = {
            "origin": v.origin,
            "kind": v.kind,
            "reason": line(v.sentence),
            "round": v.round,
            "where": line(v.where, 200),
        }
        return Send(self.attempt.boss, Type.ABORT, self.attempt.session, meta={**meta, "final": False})

    def _verdict(self, m: Message) -> Steps:
        yield Say(m.meta["reason"])
        yield from self._close("stopped", m.meta["reason"])

    def stop(self, reason: str) -> Steps:
        """This party's operator ends its part."""
        if self.attempt.stage is not Stage.STOPPED:
            yield from self._fail("stopped", f"{self.around.name}: {reason}")

    def down(self, peer: int, reason: str) -> Steps:
        """An actor is lost."""
        a = self.attempt
        what = f"{self.around.cluster.call(peer)} {reason}"
        if peer == a.boss:
            verdict = a.verdict or Verdict(peer, "dead", what)
            yield from self._alone(verdict)
        elif a.stage in _LIVE and not (peer == DEALER and a.dealt) and (peer == DEALER or peer in a.peers):
            yield from self._fail("dead", what, peer)

    def _alone(self, verdict: Verdict) -> Steps:
        """No verdict will come: say what this party knows. A coordinator that was only stopped hears of it later."""
        self.alone = True
        run = "" if self.dealing else self.attempt.terms.run
        text = sentence(verdict, "", run)
        yield Say(text)
        yield self._report_of(verdict)
        yield from self._close("stopped", text)

    def tick(self) -> Steps:
        """A deadline has passed."""
        a, around = self.attempt, self.around
        if a.deadline is None or around.clock() < a.deadline:
            return
        a.deadline = None
        if a.stage is Stage.STOPPED:
            assert a.verdict is not None
            yield from self._alone(a.verdict)
        elif a.stage is Stage.READY:
            yield from self._unbidden()
        elif a.stage is Stage.DONE:
            yield from self._unended()
        elif a.stage is Stage.STOCKING:
            if a.stocked or (a.terms.material and a.paired):
                yield from self._unbidden()
                return
            peer = DEALER if self.dealing else a.missing_key()
            trouble = around.trouble(peer)
            why = f" ({trouble})" if trouble else ""
            text = f"{around.name} has heard nothing from {around.cluster.call(peer)} since the start{why}"
            yield from self._fail("stall", text, peer)
        elif a.stage is Stage.RUNNING:
            peer = a.waits_for()
            sign = around.heard(peer)
            if sign.progress != a.seen and not sign.waiting:
                a.seen = sign.progress  # it computes on: another run, or a long way to where this party waits for it
                self._breathe(around.limits.stall)
                return
            yield from self._fail(
                "stall", f"{around.cluster.call(peer)} sent nothing for {around.limits.stall:g} s", peer
            )

    def _unbidden(self) -> Steps:
        """All is here but the coordinator's word. Whoever keeps that waiting, it has to say so some time."""
        a, limits = self.attempt, self.around.limits
        if not a.waited:
            a.waited = True
            self._breathe(2 * limits.startup + limits.stall)
            return
        yield from self._fail("stall", "the coordinator has neither begun nor ended what it prepared", a.boss)

    def _unended(self) -> Steps:
        """This party is done. As long as others go on, there is no reason for the coordinator to say so."""
        progress = sum(self.around.heard(peer).progress for peer in self.attempt.peers)
        if progress == self.attempt.seen:
            yield from self._alone(Verdict(self.attempt.boss, "stall", "the coordinator does not end what is done"))
            return
        self.attempt.seen = progress
        self._breathe(2 * (self.around.limits.startup + self.around.limits.stall))

    def _breathe(self, seconds: float) -> None:
        self.attempt.deadline = self.around.clock() + seconds


def _nothing(_w: Written) -> Steps:
    return iter(())


_DEALT = (*_LIVE, Stage.DONE)
_CONVERSATION: dict[tuple[str, Type], tuple[tuple[Stage, ...], Callable[[Participation, Message], Steps]]] = {
    ("coordinator", Type.START): ((Stage.READY,), Participation._start),
    ("coordinator", Type.GO): ((Stage.STOCKING,), Participation._go),
    ("coordinator", Type.COMMIT): ((*_LIVE, Stage.DONE, Stage.STOPPED), Participation._commit),
    ("coordinator", Type.END): ((Stage.DONE, Stage.STOPPED), Participation._end),
    ("coordinator", Type.ABORT): (tuple(Stage), Participation._verdict),
    ("party", Type.PAIR): (_KEYING, Participation._pair),
    ("party", Type.DATA): ((Stage.STOCKING, Stage.STARTING, Stage.RUNNING), Participation._data),
    ("dealer", Type.SEEDS): (_KEYING, Participation._seeds),
    ("dealer", Type.CORRECTION): (_DEALT, Participation._correction),
    ("dealer", Type.DEALT): (_DEALT, Participation._dealt),
}
