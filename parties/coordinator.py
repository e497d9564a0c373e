"""The brain of the coordinator: asks for schemas, has a program prepared, starts it, collects results, gives verdicts.

It ships program text, never code, and sees public schemas, digests, round numbers, and the results revealed to it.
Several runs may be on at once. Evidence is ranked: what an actor says of itself, what the coordinator saw itself,
hearsay; the verdict goes to all, in one sentence.

    preparing --all READY: START--> stocking --GO--> running --all DONE: END--> ending --all ENDED: FORGET--> outcome
                  any of the first three --trouble: ABORT--> verdict

While a run is ending nothing is judged any more: whoever is lost before it has written the end is waited for no longer,
and then nobody is told to forget the checkpoints, from which the run could be ended everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from parties.agree import Verdict, sentence, short, short_run
from parties.asked import ANSWERS
from parties.cluster import COORDINATOR, DEALER, Cluster, is_coordinator
from parties.events import Arrived, Down, Event, Instruction, Send, Tick, Up
from parties.following import (
    ENDING,
    LATER,
    PREPARING,
    RUNNING,
    STOCKING,
    Answer,
    Following,
    Outcome,
    known,
    measured,
    once,
    possible,
)
from parties.limits import Limits
from parties.liveness import Sign
from parties.pieces import JOIN_LIMIT, SHORT_LIMIT
from parties.terms import Binding, Terms
from parties.values import pack_values, unpack_values
from parties.version import FORMAT
from parties.wire import BadMessage, Message, Type, line, pack, printable

__all__ = ["Answer", "CoordinatorBrain", "Following", "Outcome"]

Steps = Iterator[Instruction]
_MOST_SAVED = 4096  # checkpoints that some parties have written and others not
_MOST_TROUBLES = 100
_MOST_EVIDENCE = 1000
_SELF, _SEEN, _HEARSAY, _STALL = range(4)  # how far evidence is believed: the lowest rank wins


class CoordinatorBrain:
    """A coordinator of one cluster. heard: an actor's last sign of life. me: its seat."""

    def __init__(
        self,
        cluster: Cluster,
        clock: Callable[[], float],
        limits: Limits | None = None,
        heard: Callable[[int], Sign] = lambda _: Sign(),
        me: int = COORDINATOR,
    ) -> None:
        self.me = me
        self.pumping = False
        self.awaited = -1
        self.sign = Sign()
        self.connected: set[int] = set()
        self.answers: dict[int, Answer] = {}
        self._gone: dict[int, str] = {}  # who is not there, and the first that was heard of it
        self.sessions: dict[bytes, Following] = {}
        self._asked = 0
        self._open: dict[int, tuple[int, Type]] = {}
        self._cluster = cluster
        self._clock = clock
        self._limits = limits or Limits()
        self._heard = heard

    @property
    def deadline(self) -> float | None:
        """When evidence has to become a verdict, or somebody has kept all others waiting for too long."""
        return min((t for s in self.sessions.values() for t in (s.deadline, s.patience) if t is not None), default=None)

    # --------------------------------------------------------------------------------------------- what is asked

    def ask(self, peer: int, kind: Type, **meta: Any) -> tuple[int, Send]:
        """A question to a party; its number in `answers`."""
        self._asked += 1
        self._open[self._asked] = (peer, ANSWERS[kind])
        return self._asked, Send(peer, kind, meta={"ask": self._asked, **meta})

    def room(self, m: Message) -> int | None:
        """What the results of a program may be, from a party."""
        if m.type is not Type.DONE:
            return SHORT_LIMIT
        return self.sessions[m.session].room if m.session in self.sessions else None

    def follow(self, session: bytes, terms: Terms, rounds: int = 0xFFFFFFFF, room: int = JOIN_LIMIT) -> Following:
        """A new attempt, of so many rounds and bytes of results at most. Without a dealer if its material was dealt."""
        parties = range(len(self._cluster.parties))
        actors = [*parties] if terms.material else [*parties, DEALER]
        self.sessions[session] = Following(session, terms, actors, rounds, room)
        return self.sessions[session]

    def begin(self, s: Following, text: str, binding: Binding) -> Steps:
        """Have every actor prepare a program: all are told the same."""
        t = s.terms
        meta = {
            "version": t.task.version, "format": FORMAT, "suite": t.task.suite, "cluster": t.cluster,
            "insecure": t.task.insecure, "mode": t.mode, "run": t.run, "attempt": t.attempt, "epoch": t.epoch,
            "material": t.material,
        }  # fmt: skip
        self._wait(s)
        for peer in s.actors:
            frames = (pack(binding.document()), text.encode())
            yield Send(peer, Type.PREPARE, s.id, meta=meta, frames=frames)
        for peer in s.actors:
            if peer not in self.connected:
                self._accuse(s, peer, "is not connected")

    def stop(self, reason: str) -> Steps:
        """The person at the coordinator ends every run; one that is done only need not be written any more."""
        for s in list(self.sessions.values()):
            if s.phase != ENDING:
                yield from self._judge(s, Verdict(self.me, "stopped", reason, *s.furthest))
                continue
            for peer in s.parties:
                yield from self._lost(s, peer, self._cluster.call(peer))

    # --------------------------------------------------------------------------------------------- what happens

    def handle(self, event: Event) -> Steps:
        """The only way in. Perform each instruction before asking for the next one."""
        match event:
            case Up(peer):
                self.connected.add(peer)
                self._gone.pop(peer, None)
            case Down(peer, reason):
                self.connected.discard(peer)
                self._gone.setdefault(peer, reason)
                self._unanswered(peer, reason)
                for s in list(self.sessions.values()):
                    if s.phase == ENDING:
                        yield from self._lost(s, peer, f"{self._cluster.call(peer)} {reason} and")
                    elif peer in s.actors and not (peer == DEALER and s.dealing is not None):
                        self._accuse(s, peer, reason)
            case Arrived(message):
                yield from self._arrived(message)
            case Tick():
                for s in list(self.sessions.values()):
                    yield from self._tick(s)
            case _:
                return

    def _unanswered(self, peer: int, reason: str) -> None:
        """A new process of an actor knows nothing of what the last one was asked."""
        for number in [number for number, (asked, _) in self._open.items() if asked == peer]:
            del self._open[number]
            self.answers[number] = Answer(peer, Message(Type.REFUSED, peer, self.me), reason, "lost")

    def _answered(self, m: Message) -> None:
        """An answer to an open question of this very actor; others are not even kept."""
        number = m.meta["ask"]
        asked, wanted = self._open.get(number, (None, None))
        if asked != m.src:
            return
        del self._open[number]
        refused, kind = (m.meta["reason"], m.meta["kind"]) if m.type is Type.REFUSED else ("", "")
        if m.type not in {wanted, Type.REFUSED}:
            refused, kind = f"sent a bad message ({m.type.name} is no answer to what it was asked)", "peer"
        self.answers[number] = Answer(m.src, m, refused, kind)

    def _arrived(self, m: Message) -> Steps:
        if m.type in {Type.SCHEMA, Type.LABELS, Type.HOLDS} or (m.type is Type.REFUSED and m.meta["ask"] >= 0):
            self._answered(m)
            return
        s = self.sessions.get(m.session)
        if s is None or m.src not in s.actors:
            return
        if s.phase == ENDING:
            yield from self._last_words(s, m)
            return
        phases, handler = _CONVERSATION.get(("dealer" if m.src == DEALER else "party", m.type), ((), None))
        self._wait(s)
        try:
            if handler is None or s.phase not in phases:
                raise BadMessage(f"{m.type.name} where it does not belong")  # noqa: TRY301
            yield from handler(self, s, m)
        except BadMessage as error:
            reason = f"{self._cluster.call(m.src)} sent a bad message ({error})"
            yield from self._judge(s, Verdict(m.src, "peer", reason))

    def _ready(self, s: Following, m: Message) -> Steps:
        mine = s.terms
        once(m.src not in s.ready)
        for what, theirs, ours in (
            ("version", m.meta["version"], mine.task.version),
            ("program digest", short(m.meta["source"]), short(mine.task.source)),
            ("lowered digest", short(m.meta["lowered"]), short(mine.task.lowered)),
            ("agreement", short(m.meta["agreed"]), short(mine.digest())),
        ):
            if theirs != ours:
                who = self._cluster.name(m.src)
                text = f"{who} has {what} {theirs}, the coordinator {ours}; nothing was shared"
                yield from self._refuse(s, Verdict(m.src, "peer", text))
                return
        s.ready.add(m.src)
        if len(s.ready) == len(s.actors):
            s.started = self._clock()
            for peer in s.actors:
                yield Send(peer, Type.START, s.id, meta={"agreed": mine.digest()})

    def _refused(self, s: Following, m: Message) -> Steps:
        text = f"{self._cluster.name(m.src)}: {m.meta['reason']}"
        yield from self._refuse(s, Verdict(m.src, known(m.meta["kind"]), text))

    def _dealt(self, s: Following, m: Message) -> Steps:
        once(s.dealing is None)
        if [len(f) for f in m.frames] != ([16] if s.terms.mode == "deal" else []) or not m.meta["seconds"] >= 0:
            raise BadMessage("dealt in another form")
        s.dealing = m.meta["seconds"]
        s.material = bytes(m.frames[0]).hex() if m.frames else ""
        yield from self._go(s)
        yield from self._done_by_all(s)

    def _stocked(self, s: Following, m: Message) -> Steps:
        once(m.src not in s.stocked)
        s.stocked[m.src] = m.meta["complete"]
        yield from self._go(s)

    def _go(self, s: Following) -> Steps:
        everything = all(p in s.stocked for p in s.parties) and (s.dealing is not None or DEALER not in s.actors)
        if s.went is None and s.terms.mode == "run" and (everything or DEALER in s.stocked):
            s.went = self._clock()
            for peer in s.parties:
                yield Send(peer, Type.GO, s.id)

    def _progress(self, s: Following, m: Message) -> Steps:
        possible(s, m.step)
        s.rounds[m.src] = max((m.step, m.meta["where"]), s.rounds.get(m.src, (0, "")))
        return iter(())

    def _dealing(self, s: Following, m: Message) -> Steps:
        """For whom the dealer waits; for nobody any more, if that is empty."""
        name = m.meta["where"]
        if name and name not in s.terms.task.parties:
            raise BadMessage("a wait for nobody")
        s.dealer_waits = s.terms.task.parties.index(name) if name else None
        return iter(())

    def _saved(self, s: Following, m: Message) -> Steps:
        """A checkpoint counts when every party has written it; only then may older ones go."""
        epoch, step = m.meta["epoch"], m.meta["iteration"]
        last = s.epochs.get(m.src, s.terms.attempt << 32)
        if epoch != last + 1 or step < 0:
            raise BadMessage("a checkpoint out of order")
        s.epochs[m.src] = epoch
        if m.meta["reason"] and len(s.troubles) >= _MOST_TROUBLES:
            return
        if m.meta["reason"]:
            name = self._cluster.name(m.src)
            s.troubles.append(f"the checkpoint before step {step} could not be written at {name}: {m.meta['reason']}")
            return
        if epoch not in s.saved and len(s.saved) >= _MOST_SAVED:
            return  # so far ahead of the others that it will not be common
        there = s.saved.setdefault(epoch, set())
        there.add(m.src)
        if there == set(s.parties):
            s.committed = (epoch, step)
            s.saved = {e: who for e, who in s.saved.items() if e > epoch}
            for peer in s.parties:
                yield Send(peer, Type.COMMIT, s.id, meta={"epoch": epoch})

    def _done(self, s: Following, m: Message) -> Steps:
        once(m.src not in s.done)
        if s.phase != (STOCKING if s.terms.mode == "deal" else RUNNING):
            raise BadMessage("done before it began")
        possible(s, m.step)
        content = unpack_values(m.frames)
        results, measures = content.get("results"), content.get("measures")
        if not isinstance(results, dict) or not isinstance(measures, dict) or content.keys() != {"results", "measures"}:
            raise BadMessage("results of another form")
        if not measured(measures) or any(name != printable(name) for name in results):
            raise BadMessage("results of another form")
        s.rounds[m.src] = (m.step, "")
        s.done[m.src] = {"results": results, "measures": measures}
        yield from self._done_by_all(s)

    def _done_by_all(self, s: Following) -> Steps:
        """Material for later has its name from the dealer, whose word may come after those of the parties."""
        if len(s.done) == len(s.parties) and (s.material or s.terms.mode != "deal"):
            yield from self._conclude(s)

    def _conclude(self, s: Following) -> Steps:
        results: dict[str, Any] = {}
        seen: dict[str, tuple[int, bytes]] = {}
        for peer in sorted(s.done):
            for name, value in s.done[peer]["results"].items():
                raw = b"".join(pack_values({name: value}))
                first, expected = seen.setdefault(name, (peer, raw))
                if raw != expected:
                    names = f"{self._cluster.name(first)} and {self._cluster.name(peer)}"
                    text = f"{names} report different values of {name!r}"
                    yield from self._judge(s, Verdict(peer, "peer", text))
                    return
                results[name] = value
        measures = {self._cluster.name(p): s.done[p]["measures"] for p in sorted(s.done)}
        waited = (s.went or s.started) - s.started
        s.ending = Outcome(results, measures, max(waited, s.dealing or 0.0), s.material)
        s.deadline, s.patience = None, self._clock() + self._limits.startup + self._limits.stall
        for peer in s.actors:
            yield Send(peer, Type.END, s.id)
        for rank, v in s.evidence:
            if rank == _SEEN:
                yield from self._lost(s, v.origin, f"{v.sentence} and")

    # ----------------------------------------------------------------------------------------------- a done run's end

    def _last_words(self, s: Following, m: Message) -> Steps:
        """From the parties only ENDED is left to say, or what they thought while they waited for END."""
        who = self._cluster.call(m.src)
        if m.src == DEALER or m.type is Type.ABORT or m.src in s.ended:
            return
        if m.type is not Type.ENDED:
            yield from self._lost(s, m.src, f"{who} sent {m.type.name} where it does not belong and")
        elif m.meta["reason"]:
            yield from self._ends(s, m.src, f"{who} could not write the end of the run ({line(m.meta['reason'], 200)})")
        else:
            yield from self._ends(s, m.src)

    def _lost(self, s: Following, peer: int, who: str) -> Steps:
        """Nothing more is expected of a party. who: it, and what it did instead."""
        if peer in s.parties and peer not in s.ended:
            yield from self._ends(s, peer, f"{who} has not said that it wrote the end of the run")

    def _ends(self, s: Following, peer: int, trouble: str = "") -> Steps:
        """With the last party the run is over. Its checkpoints go only if no party may still need them."""
        if trouble and s.terms.mode == "run":
            trouble += f"; what it keeps of the run may be missing until: privity resume {short_run(s.terms.run)}"
        s.ended[peer] = trouble
        if trouble:
            s.troubles.append(trouble)
        if len(s.ended) < len(s.parties):
            return
        del self.sessions[s.id]
        s.outcome = s.ending
        for party in s.parties if not s.unwritten else []:
            yield Send(party, Type.FORGET, s.id)

    # ------------------------------------------------------------------------------------------------ verdicts

    def _abort(self, s: Following, m: Message) -> Steps:
        meta = m.meta
        if meta["origin"] not in self._cluster.actors() and not is_coordinator(meta["origin"]):
            raise BadMessage("an accusation of nobody")
        possible(s, meta["round"])
        name, reason = self._cluster.name(meta["origin"]), meta["reason"]
        reason = reason if name in reason else f"{name}: {reason}"
        verdict = Verdict(meta["origin"], known(meta["kind"]), reason, meta["round"], meta["where"], m.src)
        if meta["origin"] == m.src:
            yield from self._judge(s, verdict)
        else:
            if meta["kind"] == "dead" and meta["origin"] in self._gone:  # a dealer that is missed after all
                self._accuse(s, meta["origin"], self._gone[meta["origin"]])
            self._consider(s, _STALL if meta["kind"] == "stall" else _HEARSAY, verdict)

    def _accuse(self, s: Following, origin: int, reason: str) -> None:
        self._consider(s, _SEEN, Verdict(origin, "dead", f"{self._cluster.call(origin)} {reason}", reporter=self.me))

    def _consider(self, s: Following, rank: int, verdict: Verdict) -> None:
        """Keep evidence for a moment: the first word about a death is not always the whole one."""
        if len(s.evidence) < _MOST_EVIDENCE:
            s.evidence.append((rank, verdict))
        if s.deadline is None:
            s.deadline = self._clock() + self._limits.grace

    def _wait(self, s: Following) -> None:
        """Something has come: whoever is still missing has so long again. Longer than any party waits for another."""
        s.patience = self._clock() + self._limits.startup + self._limits.stall
        s.seen = self._progress_of(s)

    def _progress_of(self, s: Following) -> dict[int, int]:
        return {peer: self._heard(peer).progress for peer in s.missing()}

    def _missing(self, s: Following) -> None:
        """Who keeps everybody waiting, if nothing comes any more and nobody goes on."""
        if s.patience is None or self._clock() < s.patience:
            return
        seen = s.seen
        self._wait(s)
        missing = s.missing()
        if missing and all(seen.get(peer) == progress for peer, progress in s.seen.items()):
            text = f"{self._cluster.call(missing[0])} has not said that it is {s.wanted}"
            self._consider(s, _STALL, Verdict(missing[0], "stall", text, reporter=self.me))

    def _tick(self, s: Following) -> Steps:
        if s.phase == ENDING:
            for peer in s.parties if s.patience is not None and self._clock() >= s.patience else []:
                yield from self._lost(s, peer, self._cluster.call(peer))
            return
        self._missing(s)
        if s.deadline is None or self._clock() < s.deadline:
            return
        rank, chosen = min(s.evidence, key=lambda e: e[0])
        if rank == _STALL:
            chosen = self._culprit(s, [v for _, v in s.evidence], chosen)
        told = [v for _, v in s.evidence if v.origin == chosen.origin and v.round]
        if told and not chosen.round:
            first = min(told, key=lambda v: v.round)
            chosen = Verdict(chosen.origin, chosen.kind, chosen.sentence, first.round, first.where, first.reporter)
        elif chosen.kind == "dead" and not chosen.round:
            chosen = Verdict(chosen.origin, "dead", chosen.sentence, *s.furthest, chosen.reporter)
        yield from self._judge(s, chosen)

    def _culprit(self, s: Following, told: Sequence[Verdict], otherwise: Verdict) -> Verdict:
        """In a row of parties that wait for one another, the one that is not waiting, or waited for the longest."""
        waiting = {peer for peer in s.parties if self._heard(peer).waiting}
        first = min(told, key=lambda v: v.round, default=otherwise)
        chosen = next((v for v in told if v.origin not in waiting), first)
        return s.behind(told, chosen) if chosen.origin == DEALER else chosen

    def _refuse(self, s: Following, verdict: Verdict) -> Steps:
        """Nothing has moved yet."""
        s.verdict = Verdict(verdict.origin, verdict.kind, f"run refused: {verdict.sentence}")
        yield from self._over(s, s.verdict)

    def _judge(self, s: Following, verdict: Verdict) -> Steps:
        reporter = "" if verdict.reporter in {-1, verdict.origin} else self._cluster.name(verdict.reporter)
        line = sentence(verdict, reporter, s.terms.run if s.terms.mode == "run" else "")
        s.verdict = Verdict(verdict.origin, verdict.kind, line, verdict.round, verdict.where, verdict.reporter)
        yield from self._over(s, s.verdict)

    def _over(self, s: Following, v: Verdict) -> Steps:
        """The verdict to every party. The dealer hears that it is over."""
        del self.sessions[s.id]
        meta = {
            "origin": v.origin, "kind": v.kind, "reason": line(v.sentence, 2000), "round": v.round,
            "where": line(v.where, 200), "final": True,
        }  # fmt: skip
        for peer in s.parties:
            yield Send(peer, Type.ABORT, s.id, meta=meta)
        if DEALER in s.actors:  # what went wrong may depend on data: it hears what it would hear of a run that is done
            yield Send(DEALER, Type.END, s.id)


_CONVERSATION: dict[tuple[str, Type], tuple[tuple[str, ...], Callable[[CoordinatorBrain, Following, Message], Steps]]]
_CONVERSATION = {
    ("party", Type.READY): ((PREPARING,), CoordinatorBrain._ready),
    ("dealer", Type.READY): ((PREPARING,), CoordinatorBrain._ready),
    ("party", Type.REFUSED): ((PREPARING,), CoordinatorBrain._refused),
    ("dealer", Type.REFUSED): ((PREPARING,), CoordinatorBrain._refused),
    ("party", Type.STOCKED): (LATER, CoordinatorBrain._stocked),
    ("dealer", Type.STOCKED): (LATER, CoordinatorBrain._stocked),
    ("dealer", Type.DEALT): (LATER, CoordinatorBrain._dealt),
    ("party", Type.PROGRESS): ((RUNNING,), CoordinatorBrain._progress),
    ("dealer", Type.PROGRESS): (LATER, CoordinatorBrain._dealing),
    ("party", Type.SAVED): ((RUNNING,), CoordinatorBrain._saved),
    ("party", Type.DONE): (LATER, CoordinatorBrain._done),
    ("party", Type.ABORT): ((PREPARING, *LATER), CoordinatorBrain._abort),
    ("dealer", Type.ABORT): ((PREPARING, *LATER), CoordinatorBrain._abort),
}
