"""How one attempt at one party ends: what it waits for and for how long, what it tells of whom, and the verdict.

Below what an attempt does before (`parties.stocking`) and while it runs (`parties.participation`). Whatever goes wrong,
the party stops its part, tells the coordinator what it knows, and waits for the verdict, so that everybody says the
same; if none comes, it says what it knows.

A run that is done ends in two phases: on END each party writes that it is done and says ENDED; FORGET, once all have,
lets the checkpoints go. So whoever is lost in between, all can go on from the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mpc.prg import Entropy
from parties import records
from parties.agree import Verdict, sentence
from parties.attempt import Attempt, Stage
from parties.cluster import DEALER, Cluster
from parties.events import Instruction, Note, Say, Send, Write, Written
from parties.home import Row
from parties.limits import Limits
from parties.liveness import Sign
from parties.machinery import Machinery
from parties.runlog import RunLog
from parties.terms import Terms
from parties.wire import BadMessage, Message, Type, line

__all__ = ["KEYING", "LIVE", "Ending", "Steps", "Surroundings", "Then", "nothing", "write_end"]

Steps = Iterator[Instruction]
Then = Callable[[Written], Steps]
KEYING = (Stage.READY, Stage.STOCKING)
LIVE = (*KEYING, Stage.STARTING, Stage.RUNNING)
_REFUSALS = frozenset({"input", "policy", "program", "terms"})


@dataclass(frozen=True)
class Surroundings:
    """What every participation of a party has in common.

    token: remembers who waits for a Written. entropy: where its keys come from. sessions: what is on. lost: who is not
    there, and why.
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
    sessions: Mapping[bytes, Any]
    lost: dict[int, str] = field(default_factory=dict)


class Ending:
    """What every stage of an attempt can do.

    over: the brain may drop it. lingers: it was finished, and END or FORGET may still come.
    """

    def __init__(self, around: Surroundings, attempt: Attempt) -> None:
        self.around = around
        self.attempt = attempt
        self.over = self.lingers = False
        self.log = RunLog(around.cluster, attempt.boss, around.name, attempt.program, attempt.lowered, attempt.terms)
        attempt.waited = True
        self._breathe(2 * around.limits.startup + around.limits.stall)

    def _write(self, record: Any, then: Then) -> Write:
        return Write(self.around.token(lambda w: self._unless_bad(self.around.me, then, w)), record)

    def _unless_bad(self, whose: int, do: Callable[..., Iterable[Instruction]], *what: Any) -> Steps:
        """Steps that may come upon a bad message, which may have been waiting for a while."""
        try:
            yield from do(*what)
        except BadMessage as error:
            yield from self._broken(whose if error.peer is None else error.peer, f"sent a bad message ({error})")

    @property
    def dealing(self) -> bool:
        """Whether this attempt makes material for later and runs nothing."""
        return self.attempt.terms.mode == "deal"

    def _broken(self, peer: int, what: str) -> Steps:
        if self.attempt.stage is not Stage.STOPPED:
            yield from self._fail("peer", f"{self.around.cluster.call(peer)} {what}", peer)

    def _fail(self, kind: str, reason: str, origin: int | None = None) -> Steps:
        """End this party's part and tell the coordinator, whose verdict will come."""
        a = self.attempt
        origin = self.around.me if origin is None else origin
        a.stage, a.request = Stage.STOPPED, None
        a.drop_engine()
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
        """Of another form it is no verdict, and must not look like this party's own words."""
        text = m.meta["reason"]
        yield from self._close(text, m.meta["kind"])
        yield Say(text if text.startswith(("run stopped: ", "run refused: ")) else f"the coordinator says: {text}")

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
        elif a.stage in LIVE and not (peer == DEALER and a.dealt) and (peer == DEALER or peer in a.peers):
            yield from self._fail("dead", what, peer)

    def _alone(self, verdict: Verdict) -> Steps:
        """No verdict will come: say what this party knows. A coordinator that was only stopped hears of it later."""
        self.lingers = self.attempt.finished
        run = "" if self.dealing else self.attempt.terms.run
        text = sentence(verdict, "", run)
        yield self._report_of(verdict)
        yield from self._close(text, verdict.kind)
        if verdict.kind != "terms":  # which was said at once
            yield Say(text)

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
            peer = a.missing_key()
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

    def _close(self, text: str, kind: str) -> Steps:
        a, log = self.attempt, self.log
        self.over = True
        how = "refused" if kind in _REFUSALS else "stopped"
        rows = log.reveals.settle(done=False, reported=a.finished)
        if a.reserved:
            yield self._write(records.Conclude(a.terms, how, text, rows), nothing)
        elif not self.dealing:
            yield self._write(log.refused(text), nothing)
        yield Note(log.after(f"was {how}"))
        a.forget()

    def _done(self) -> Steps:
        """It is done everywhere: write that down, and say so."""
        a, log = self.attempt, self.log
        self.over = self.lingers = True
        rows = log.reveals.settle(done=True, reported=True)
        yield from write_end(self.around, a.session, a.boss, a.terms, rows)
        yield Note(log.after("is done"))
        a.forget()


def write_end(around: Surroundings, session: bytes, boss: int, terms: Terms, reveals: Sequence[Row] = ()) -> Steps:
    """Write that an attempt is done, and tell the coordinator, or why it cannot be written.

    Material for later was written before this party said that it was done.
    """

    def ended(w: Written) -> Steps:
        if w.error:
            yield Say(line(f"the end of the run could not be written: {w.error}"))
        yield Send(boss, Type.ENDED, session, meta={"reason": line(w.error, 200)})

    if terms.mode == "deal":
        yield Send(boss, Type.ENDED, session, meta={"reason": ""})
    else:
        yield Write(around.token(ended), records.Conclude(terms, "done", "", reveals))


def nothing(_w: Written) -> Steps:
    """For what needs no answer once it is written."""
    return iter(())
