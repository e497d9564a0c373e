"""One attempt at one party, from READY to its end: the engine's requests, checkpoints, results.

    ready --START--> stocking --GO--> starting --reserved--> running --engine's end--> done --END--> over
                         any of them --trouble--> stopped --ABORT from the coordinator--> over

Of what is over after END, ENDED is said when that is written; FORGET then comes to the brain.

Nothing is drawn from a stream before the ledger says durably that this attempt uses it; then the engine does what needs
no data, mostly before the coordinator says GO. Nothing is revealed before the journal says so. Keys and material are
`parties.stocking`'s, trouble is `parties.ending`'s. The brain (`parties.party`) owns the table of participations and
routes messages to them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from typing import Any

from mpc.errors import InputError, MpcError, PeerError
from mpc.exchange import Array, Draw, Exchange, Owed, Save
from parties import records
from parties.agree import place
from parties.attempt import Attempt, Stage
from parties.cluster import DEALER
from parties.ending import KEYING, LIVE, Steps, Surroundings, nothing
from parties.events import Instruction, Keep, Parts, Say, Send, Swap, Tell, Written
from parties.stocking import Stocking
from parties.wire import BadMessage, Message, Type, line

__all__ = ["Participation"]

Asked = Exchange | Draw | Save | Steps
_AWAITED = (Exchange, Draw)


class Participation(Stocking):
    """This party's part of one attempt. brought: what it has from before."""

    def __init__(self, around: Surroundings, attempt: Attempt, brought: bytes) -> None:
        super().__init__(around, attempt, brought)
        self._roles = {**dict.fromkeys(attempt.peers, "party"), DEALER: "dealer", attempt.boss: "coordinator"}

    @property
    def waiting(self) -> bool:
        """Whether it is somebody else's turn."""
        return self.attempt.stage is not Stage.RUNNING or self.attempt.request is not None

    @property
    def awaited(self) -> int:
        """The actor whose message its engine cannot go on without; −1 if it does not wait for a message."""
        a = self.attempt
        return a.waits_for() if a.stage is Stage.RUNNING and isinstance(a.request, _AWAITED) else -1

    def arrived(self, m: Message) -> Steps:
        """A message of this session from a party, the dealer or the coordinator."""
        a = self.attempt
        stages, handler = _CONVERSATION.get((self._roles.get(m.src, "another coordinator"), m.type), ((), None))
        if handler is not None and a.stage in stages:
            return self._unless_bad(m.src, handler, self, m)
        if a.stage is Stage.STOPPED:
            return iter(())
        return self._broken(m.src, f"sent {m.type.name} where it does not belong")

    # ------------------------------------------------------------------------------------------------ the engine

    def _prepare(self) -> Steps:
        a, around = self.attempt, self.around
        try:
            a.engine = around.machinery.run_party(a.lowered, around.me, a.inputs, a.entropy(around.insecure), a.kept)
        except Exception as error:  # noqa: BLE001 - as where the engine runs
            yield from self._engine_failed(error)

    def _run(self) -> Steps:
        self.attempt.stage = Stage.RUNNING
        yield from self._advance(None)

    def _data(self, m: Message) -> Iterable[Instruction]:
        self.attempt.park(m.src, m.step, m.frames)
        return self._go_on(Exchange)

    def _drawn(self) -> Iterable[Instruction]:
        return self._go_on(Draw)

    def _go_on(self, kind: type[Exchange | Draw]) -> Iterable[Instruction]:
        """With what the engine waits for, if it is of this kind, and all of it is here."""
        a = self.attempt
        if not isinstance(a.request, kind):
            return ()
        answer = self._answer()
        if answer is not None:
            return self._advance(answer)
        return self._advance(None, a.request) if isinstance(a.request, Exchange) and self._swaps(a.request) else ()

    def _answer(self) -> Owed | list[Array] | None:
        """What the engine asked for, when all of it is here."""
        a, request = self.attempt, self.attempt.request
        answer = a.answer()
        if answer is not None and isinstance(request, Exchange):
            if request.sharing:
                a.shared = self.around.clock()
            if request.reveals:
                self.log.reveals.open()
        return answer

    def _credit(self) -> Sequence[Send]:
        """Let the dealer go further ahead, at points that the program fixes (docs/rules.md, 5)."""
        a, limits = self.attempt, self.around.limits
        if a.terms.material or not a.credit(limits.window_messages // 3, limits.window // 4):
            return ()
        return (Send(DEALER, Type.CREDIT, a.session, a.drawn & 0xFFFFFFFF),)

    def _advance(self, answer: Owed | list[Array] | None, asked: Asked | None = None) -> Steps:
        """Drive the engine until it has to wait. asked: what it waits for; the rest of that may come at once."""
        a, before = self.attempt, self.attempt.answered
        while a.engine is not None:
            if asked is None:
                if type(answer) is list:  # of a draw
                    yield from self._credit()
                asked = self._ask(answer)
                answer = None  # the engine lets go of it when it likes
            while isinstance(asked, Exchange) and not asked.reveals:
                asked = yield from self._share(asked)
            if asked is not None and not isinstance(asked, Draw):
                yield from self._pause(asked) if isinstance(asked, Exchange | Save) else asked
                return
            asked, answer = None, self._answer()
            if answer is None:
                if a.answered > before:
                    self._breathe(self.around.limits.stall)
                return

    def _ask(self, answer: Owed | list[Array] | None) -> Asked:
        """What the engine wants next, given an answer; what to do about its end, if it has come to that."""
        a = self.attempt
        assert a.engine is not None
        try:
            a.request = request = a.engine.send(answer)
        except StopIteration as end:
            return self._finish(end.value)
        except Exception as error:  # noqa: BLE001 - the one place where an engine's failure becomes a report
            return self._engine_failed(error)
        a.answered += 1
        return request

    def _pause(self, asked: Exchange | Save) -> Steps:
        """Something has to be on disk before the engine goes on."""
        a = self.attempt
        self._breathe(self.around.limits.stall)
        if isinstance(asked, Save):
            yield self._write(self._shares(asked), self._saved)
        else:
            rows = self.log.reveals.intend(asked.reveals)
            yield self._write(records.Disclose(a.terms, a.program.name, rows), self._disclosed)

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
        yield self._write(records.Commit(a.terms.run, m.meta["epoch"]), nothing)

    def _disclosed(self, w: Written) -> Steps:
        a = self.attempt
        request = a.request
        if a.stage is not Stage.RUNNING or not isinstance(request, Exchange):
            return
        if w.error:
            yield from self._fail("internal", f"{self.around.name} cannot write its journal ({w.error})")
            return
        yield from self._share(request)
        self.log.reveals.leave()
        yield from self._go_on(Exchange)

    def _share(self, request: Exchange) -> Generator[Instruction, None, Asked | None]:
        """Send what an exchange sends, unless that is sent, and of those that follow, while what is owed comes at once.

        Returns what the engine has asked for last, unless that is sent.
        """
        a = self.attempt
        sent = a.rounds == request.number
        if not sent:
            yield from self._progress(request)
        if not self._swaps(request):
            for peer, frames in ({} if sent else a.packed(request)).items():
                yield Send(peer, Type.DATA, a.session, request.number, frames=frames)
            return None
        further: Asked | None = None
        left: Parts = {}

        def answered(came: Parts) -> tuple[int, Parts, Collection[int]] | None:
            nonlocal request, further, left
            answer = a.owed(request, came)
            if answer is None:
                left = came
                return None
            if request.sharing:
                a.shared = self.around.clock()
            asked = self._ask(answer)
            if not isinstance(asked, Exchange) or asked.reveals:
                further = asked
                return None
            request = asked
            a.rounds, a.where = request.number, request.where
            return request.number, a.packed(request), request.expect

        owed = a.outstanding(request)
        yield Swap(Type.DATA, a.session, request.number, {} if sent else a.packed(request), owed, answered)
        for peer, frames in left.items():
            a.park(peer, request.number & 0xFFFFFFFF, tuple(frames))
        return further

    def _progress(self, request: Exchange) -> Iterator[Instruction]:
        """An exchange begins."""
        a, now = self.attempt, self.around.clock()
        if a.began is None:
            a.began = now
        a.rounds, a.where = request.number, request.where
        if now - a.told >= self.around.limits.progress:
            a.told = now
            yield Send(a.boss, Type.PROGRESS, a.session, request.number, meta={"where": line(a.where, 200)})

    def _swaps(self, request: Exchange) -> bool:
        """Whether this party can go on with nothing but what an exchange owes it: else it looks round first."""
        return len(self.around.sessions) == 1 and not request.reveals

    def _finish(self, results: dict[str, Any]) -> Steps:
        a = self.attempt
        a.stage, a.request, a.finished, a.seen = Stage.DONE, None, True, -1
        self._breathe(2 * (self.around.limits.startup + self.around.limits.stall))
        shown = a.for_coordinator(results, self.around.cluster.receives)
        yield Send(self.attempt.boss, Type.DONE, a.session, a.rounds, frames=self._report(shown))
        for name, value in results.items():
            if name not in shown:
                yield Keep(name, value, a.session)

    def _end(self, _m: Message) -> Steps:
        a = self.attempt
        if a.stage is Stage.DONE:
            what = "material is stored" if self.dealing else f"done: {a.rounds} rounds"
            yield Say(f"run {a.terms.task.source[:12]} {what}")
        if a.finished:
            yield from self._done()
        else:
            v = a.verdict
            yield from self._close(v.sentence if v is not None else "", v.kind if v is not None else "")

    def _engine_failed(self, error: Exception) -> Steps:
        name = self.around.name
        if isinstance(error, InputError):
            yield Tell(str(error), self.attempt.session)
            yield from self._fail("input", f"{name}: input refused")
        elif isinstance(error, PeerError):
            yield from self._fail("peer", f"{name}: {error}")
        elif isinstance(error, MpcError):
            yield from self._fail("program", f"{name}: {error}")
        else:
            # The text of a foreign exception may hold a value; its type and place cannot.
            yield from self._fail("internal", f"{name}: {type(error).__name__} at {place(error)}")


_Handler = Callable[[Participation, Message], Iterable[Instruction]]
_DEALT = (*LIVE, Stage.DONE)
_CONVERSATION: dict[tuple[str, Type], tuple[tuple[Stage, ...], _Handler]] = {
    ("coordinator", Type.START): ((Stage.READY,), Participation._start),
    ("coordinator", Type.GO): ((Stage.STOCKING,), Participation._go),
    ("coordinator", Type.COMMIT): ((*LIVE, Stage.DONE, Stage.STOPPED), Participation._commit),
    ("coordinator", Type.END): ((Stage.DONE, Stage.STOPPED), Participation._end),
    ("coordinator", Type.ABORT): (tuple(Stage), Participation._verdict),
    ("party", Type.PAIR): (KEYING, Participation._pair),
    ("party", Type.DATA): ((Stage.STOCKING, Stage.STARTING, Stage.RUNNING), Participation._data),
    ("dealer", Type.SEEDS): (KEYING, Participation._seeds),
    ("dealer", Type.CORRECTION): (_DEALT, Participation._correction),
    ("dealer", Type.DEALT): (_DEALT, Participation._dealt),
}
