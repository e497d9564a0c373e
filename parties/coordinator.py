"""The brain of the coordinator: asks for schemas, has a program prepared, starts it, collects results, gives verdicts.

It ships program text, never code, and sees public schemas, digests, round numbers, and the results revealed to it.
Evidence is ranked: what an actor says of itself, what the coordinator saw itself, hearsay; the verdict goes to all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from parties.agree import Terms, Verdict, short
from parties.cluster import COORDINATOR, DEALER, Cluster
from parties.events import Arrived, Down, Event, Instruction, Send, Tick, Up
from parties.limits import Limits
from parties.values import pack_values, unpack_values
from parties.version import FORMAT
from parties.wire import BadMessage, Message, Type, pack, unpack

__all__ = ["Answer", "CoordinatorBrain", "Outcome", "columns_of"]

Steps = Iterator[Instruction]


@dataclass(frozen=True)
class Answer:
    """What an actor answered to a question: `refused` holds its public reason, or the question's answer."""

    peer: int
    message: Message
    refused: str = ""
    kind: str = ""


@dataclass
class Outcome:
    """What a finished run left at the coordinator."""

    results: dict[str, Any] = field(default_factory=dict)
    measures: dict[str, dict[str, Any]] = field(default_factory=dict)
    preprocessing_seconds: float = 0.0


@dataclass
class _Session:
    id: bytes
    terms: Terms
    ready: set[int] = field(default_factory=set)
    stocked: dict[int, bool] = field(default_factory=dict)
    done: dict[int, dict[str, Any]] = field(default_factory=dict)
    rounds: dict[int, int] = field(default_factory=dict)
    started: float = 0.0
    went: float | None = None
    dealing: float | None = None
    evidence: list[tuple[int, Verdict]] = field(default_factory=list)


class CoordinatorBrain:
    """The coordinator of one cluster; one run at a time."""

    def __init__(self, cluster: Cluster, clock: Callable[[], float], limits: Limits | None = None) -> None:
        self.me = COORDINATOR
        self.pumping = False
        self.deadline: float | None = None
        self.connected: set[int] = set()
        self.answers: dict[int, Answer] = {}
        self.outcome: Outcome | None = None
        self.verdict: Verdict | None = None
        self._asked = 0
        self._cluster = cluster
        self._clock = clock
        self._limits = limits or Limits()
        self._session: _Session | None = None

    @property
    def actors(self) -> list[int]:
        """Everybody but the coordinator."""
        return [*range(len(self._cluster.parties)), DEALER]

    @property
    def round(self) -> int:
        """The latest round that a party has told of."""
        return max(self._session.rounds.values(), default=0) if self._session else 0

    # --------------------------------------------------------------------------------------------- what is asked

    def ask(self, peer: int, kind: Type, **meta: Any) -> tuple[int, Send]:
        """A question to a party; its number in `answers`."""
        self._asked += 1
        return self._asked, Send(peer, kind, meta={"ask": self._asked, **meta})

    def begin(self, session: bytes, terms: Terms, text: str, bound: dict[int, dict[str, str]]) -> Steps:
        """Have every actor prepare a program. `bound`: for each party, which of its data is which input."""
        self.outcome = self.verdict = None
        self._session = _Session(session, terms)
        meta = {
            "version": terms.version,
            "format": FORMAT,
            "suite": terms.suite,
            "cluster": terms.cluster,
            "insecure": terms.insecure,
        }
        for peer in self.actors:
            frames = (pack(bound.get(peer, {})), text.encode())
            yield Send(peer, Type.PREPARE, session, meta=meta, frames=frames)
        for peer in self.actors:
            if peer not in self.connected:
                self._accuse(peer, f"{self._cluster.call(peer)} is not connected")

    def stop(self, reason: str) -> Steps:
        """The person at the coordinator ends the run."""
        if self._session is not None:
            yield from self._judge(Verdict(COORDINATOR, "stopped", f"run stopped: {reason}"))

    # --------------------------------------------------------------------------------------------- what happens

    def handle(self, event: Event) -> Steps:
        """The only way in. Perform each instruction before asking for the next one."""
        match event:
            case Up(peer):
                self.connected.add(peer)
            case Down(peer, reason):
                self.connected.discard(peer)
                if self._session is not None and not (peer == DEALER and self._session.dealing is not None):
                    self._accuse(peer, f"{self._cluster.call(peer)} {reason}")
            case Arrived(message):
                yield from self._arrived(message)
            case Tick():
                yield from self._tick()
            case _:
                return

    def _arrived(self, m: Message) -> Steps:
        if m.type in {Type.SCHEMA, Type.LABELS} or (m.type is Type.REFUSED and m.meta["ask"] >= 0):
            refused, kind = (m.meta["reason"], m.meta["kind"]) if m.type is Type.REFUSED else ("", "")
            self.answers[m.meta["ask"]] = Answer(m.src, m, refused, kind)
            return
        s = self._session
        if s is None or m.session != s.id:
            return
        handler = _CONVERSATION.get(m.type)
        try:
            if handler is None:
                raise BadMessage(f"{m.type.name} where it does not belong")  # noqa: TRY301
            yield from handler(self, s, m)
        except BadMessage as error:
            reason = f"{self._cluster.call(m.src)} sent a bad message ({error})"
            yield from self._judge(Verdict(m.src, "peer", f"run stopped: {reason}"))

    def _ready(self, s: _Session, m: Message) -> Steps:
        mine = s.terms
        for what, theirs, ours in (
            ("version", m.meta["version"], mine.version),
            ("program digest", short(m.meta["source"]), short(mine.source)),
            ("lowered digest", short(m.meta["lowered"]), short(mine.lowered)),
            ("agreement", short(m.meta["agreed"]), short(mine.digest())),
        ):
            if theirs != ours:
                who = self._cluster.name(m.src)
                text = f"run refused: {who} has {what} {theirs}, the coordinator {ours}; nothing was shared"
                yield from self._judge(Verdict(m.src, "peer", text))
                return
        s.ready.add(m.src)
        if len(s.ready) == len(self.actors):
            s.started = self._clock()
            for peer in self.actors:
                yield Send(peer, Type.START, s.id, meta={"agreed": mine.digest()})

    def _refused(self, _s: _Session, m: Message) -> Steps:
        text = f"run refused: {self._cluster.name(m.src)}: {m.meta['reason']}"
        yield from self._judge(Verdict(m.src, m.meta["kind"], text))

    def _dealt(self, s: _Session, m: Message) -> Steps:
        s.dealing = m.meta["seconds"]
        yield from self._go(s)

    def _stocked(self, s: _Session, m: Message) -> Steps:
        s.stocked[m.src] = m.meta["complete"]
        yield from self._go(s)

    def _go(self, s: _Session) -> Steps:
        parties = sum(peer != DEALER for peer in s.stocked)
        everything = parties == len(self._cluster.parties) and s.dealing is not None
        if s.went is None and (everything or DEALER in s.stocked):
            s.went = self._clock()
            for peer in range(len(self._cluster.parties)):
                yield Send(peer, Type.GO, s.id)

    def _progress(self, s: _Session, m: Message) -> Steps:
        s.rounds[m.src] = max(m.step, s.rounds.get(m.src, 0))
        return iter(())

    def _done(self, s: _Session, m: Message) -> Steps:
        content = unpack_values(m.frames)
        results, measures = content.get("results"), content.get("measures")
        if not isinstance(results, dict) or not isinstance(measures, dict) or content.keys() != {"results", "measures"}:
            raise BadMessage("results of another form")
        s.rounds[m.src] = m.step
        s.done[m.src] = {"results": results, "measures": measures}
        if len(s.done) == len(self._cluster.parties):
            yield from self._conclude(s)

    def _conclude(self, s: _Session) -> Steps:
        results: dict[str, Any] = {}
        seen: dict[str, tuple[int, bytes]] = {}
        for peer in sorted(s.done):
            for name, value in s.done[peer]["results"].items():
                raw = b"".join(pack_values({name: value}))
                first, expected = seen.setdefault(name, (peer, raw))
                if raw != expected:
                    names = f"{self._cluster.name(first)} and {self._cluster.name(peer)}"
                    text = f"run stopped: {names} report different values of {name!r}"
                    yield from self._judge(Verdict(peer, "peer", text))
                    return
                results[name] = value
        measures = {self._cluster.name(p): s.done[p]["measures"] for p in sorted(s.done)}
        waited = (s.went or s.started) - s.started
        self.outcome = Outcome(results, measures, max(waited, s.dealing or 0.0))
        for peer in self.actors:
            yield Send(peer, Type.BYE, s.id)
        self._session, self.deadline = None, None

    # ------------------------------------------------------------------------------------------------ verdicts

    def _abort(self, s: _Session, m: Message) -> Steps:
        meta = m.meta
        if meta["origin"] not in (*self.actors, COORDINATOR):
            raise BadMessage("an accusation of nobody")
        verdict = Verdict(meta["origin"], meta["kind"], f"run stopped: {meta['reason']}", meta["round"], meta["where"])
        if meta["origin"] == m.src:
            yield from self._judge(verdict)
        else:
            self._consider(s, 1, verdict)

    def _accuse(self, origin: int, reason: str) -> None:
        if self._session is not None:
            self._consider(self._session, 0, Verdict(origin, "dead", f"run stopped: {reason}"))

    def _consider(self, s: _Session, rank: int, verdict: Verdict) -> None:
        """Keep evidence for a moment: the first word about a death is not always the whole one."""
        s.evidence.append((rank, verdict))
        if self.deadline is None:
            self.deadline = self._clock() + self._limits.grace

    def _tick(self) -> Steps:
        s = self._session
        if s is None or self.deadline is None or self._clock() < self.deadline:
            return
        _, chosen = min(s.evidence, key=lambda e: e[0])
        told = [v for _, v in s.evidence if v.origin == chosen.origin and (v.round or v.where)]
        if told and not (chosen.round or chosen.where):
            chosen = min(told, key=lambda v: v.round)
        elif chosen.kind == "dead" and not chosen.round and self.round:
            chosen = Verdict(chosen.origin, "dead", f"{chosen.sentence} in round {self.round}", self.round)
        yield from self._judge(chosen)

    def _judge(self, verdict: Verdict) -> Steps:
        s = self._session
        if s is None:
            return
        self._session, self.deadline, self.verdict = None, None, verdict
        meta = {
            "origin": verdict.origin,
            "kind": verdict.kind,
            "reason": verdict.sentence,
            "round": verdict.round,
            "where": verdict.where,
            "final": True,
        }
        for peer in self.actors:
            yield Send(peer, Type.ABORT, s.id, meta=meta)


def columns_of(message: Message) -> tuple[str, ...] | None:
    """The column names in a SCHEMA message; None for an array."""
    if not message.meta["table"]:
        return None
    columns = unpack(message.frames)
    if not isinstance(columns, list) or not all(isinstance(c, str) for c in columns):
        raise BadMessage("columns that are no names")
    return tuple(columns)


_CONVERSATION: dict[Type, Callable[[CoordinatorBrain, _Session, Message], Steps]] = {
    Type.READY: CoordinatorBrain._ready,
    Type.REFUSED: CoordinatorBrain._refused,
    Type.DEALT: CoordinatorBrain._dealt,
    Type.STOCKED: CoordinatorBrain._stocked,
    Type.PROGRESS: CoordinatorBrain._progress,
    Type.DONE: CoordinatorBrain._done,
    Type.ABORT: CoordinatorBrain._abort,
}
