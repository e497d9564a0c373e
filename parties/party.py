"""The brain of a computing party: what happens goes in, what to do comes out. No sockets, no files, no own clock.

    idle --PREPARE--> ready --START--> stocking --GO--> running --engine's end--> done --BYE--> idle
                                           any of them --trouble--> stopped --ABORT from the coordinator--> idle

A party shares nothing before everybody, itself included, has lowered the same text to the same digest. It tells the
coordinator what went wrong and waits for the verdict, so that every party prints the same sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from mpc.errors import InputError, MpcError, PeerError
from mpc.exchange import Array, Draw, Exchange
from parties.agree import Terms
from parties.attempt import Attempt, Stage
from parties.cluster import COORDINATOR, DEALER, Cluster
from parties.events import Arrived, Down, Event, Instruction, Keep, Say, Send, Tell, Tick
from parties.limits import Limits
from parties.machinery import Machinery
from parties.prepare import Refused, read_terms
from parties.store import Store
from parties.values import pack_values
from parties.version import VERSION
from parties.wire import BadMessage, Message, Type, pack, pack_arrays

__all__ = ["PartyBrain"]

Steps = Iterator[Instruction]


class PartyBrain:
    """One party. `clock` and `trouble` (why an actor is not connected) come from the body."""

    def __init__(
        self,
        me: int,
        cluster: Cluster,
        store: Store,
        machinery: Machinery,
        clock: Callable[[], float],
        *,
        insecure: str = "",
        limits: Limits | None = None,
        trouble: Callable[[int], str] = lambda _: "",
        memory: Callable[[], int] = lambda: 0,
        version: str = VERSION,
    ) -> None:
        self.me = me
        self.name = cluster.name(me)
        self.pumping = False
        self.attempt: Attempt | None = None
        self._cluster = cluster
        self._store = store
        self._machinery = machinery
        self._clock = clock
        self._insecure = insecure
        self._limits = limits or Limits()
        self._trouble = trouble
        self._memory = memory
        self._version = version

    @property
    def busy(self) -> bool:
        """Whether a run is on."""
        return self.attempt is not None

    @property
    def deadline(self) -> float | None:
        """When this brain wants a Tick, if at all."""
        a = self.attempt
        return a.deadline if a is not None else None

    def handle(self, event: Event) -> Steps:
        """The only way in. Perform each instruction before asking for the next one."""
        match event:
            case Arrived(message):
                yield from self._arrived(message)
            case Down(peer, reason):
                yield from self._down(peer, reason)
            case Tick():
                yield from self._tick()
            case _:
                return

    def stop(self, reason: str) -> Steps:
        """This party's operator ends its part."""
        if self.attempt is not None:
            yield from self._fail("stopped", f"{self.name}: {reason}", self.me)

    # ------------------------------------------------------------------------------------------------ messages

    def _arrived(self, m: Message) -> Steps:
        if m.src == COORDINATOR and m.type in _QUESTIONS:
            yield from _QUESTIONS[m.type](self, m)
            return
        a = self.attempt
        if a is None or m.session != a.session:
            return  # the last words of a session that is over
        stages, handler = _CONVERSATION.get((_role(m.src), m.type), ((), None))
        if handler is None or a.stage not in stages:
            if a.stage is not Stage.STOPPED:
                yield from self._broken(m.src, f"sent {m.type.name} where it does not belong")
            return
        try:
            yield from handler(self, a, m)
        except BadMessage as error:
            yield from self._broken(m.src if error.peer is None else error.peer, f"sent a bad message ({error})")

    def _describe(self, m: Message) -> Steps:
        name = m.meta["name"]
        offered = name in self._store
        meta: dict[str, Any] = {"ask": m.meta["ask"], "offered": offered, "table": False, "shape": []}
        frames: tuple[bytes, ...] = ()
        if offered:
            schema = self._store.schema(name)
            meta |= {"table": schema.columns is not None, "shape": list(schema.shape)}
            frames = (pack(list(schema.columns or ())),)
        yield Send(COORDINATOR, Type.SCHEMA, meta=meta, frames=frames)

    def _classes(self, m: Message) -> Steps:
        ask, name = m.meta["ask"], m.meta["name"]
        try:
            if name not in self._store:
                raise InputError(f"{name!r} is not offered", self.name)  # noqa: TRY301
            labels = self._store.classes(name, m.meta["column"])
        except InputError as refusal:
            yield Tell(str(refusal))
            yield Send(COORDINATOR, Type.REFUSED, meta={"ask": ask, "kind": "input", "reason": "input refused"})
            return
        yield Send(COORDINATOR, Type.LABELS, meta={"ask": ask}, frames=(pack(labels),))

    def _prepare(self, m: Message) -> Steps:
        try:
            if self.attempt is not None:
                raise Refused("peer", "busy with another run")  # noqa: TRY301
            terms, program, lowered, bound = read_terms(
                m, self._cluster, self._machinery, self._insecure, self._version
            )
            inputs = self._inputs(program, bound)
        except Refused as refusal:
            if refusal.owner_text:
                yield Tell(refusal.owner_text)
            meta = {"ask": -1, "kind": refusal.kind, "reason": refusal.reason}
            yield Send(COORDINATOR, Type.REFUSED, m.session, meta=meta)
            return
        self.attempt = Attempt(m.session, self.me, terms, program, lowered, inputs, self._cluster.names)
        yield Send(COORDINATOR, Type.READY, m.session, meta=_ready(terms))

    def _inputs(self, program: Any, bound: dict[str, str]) -> dict[str, Any]:
        """This party's own data, held against what the program says of it."""
        inputs: dict[str, Any] = {}
        for spec in program.inputs:
            if spec.owner != self.name:
                continue
            offered = bound.get(spec.name, spec.name)
            if offered not in self._store:
                raise Refused("policy", f"offers no data named {offered!r}")
            schema = self._store.schema(offered)
            columns = tuple(schema.columns) if schema.columns is not None else None
            wanted = tuple(spec.columns) if spec.columns is not None else columns
            if tuple(schema.shape) != tuple(spec.shape) or columns != wanted:
                raise Refused("input", f"the program was made for other shapes or columns of {offered!r}")
            inputs[spec.name] = self._store.get(offered)
        return inputs

    # ----------------------------------------------------------------------------------------------- a session

    def _start(self, a: Attempt, m: Message) -> Steps:
        if m.meta["agreed"] != a.agreed:
            raise BadMessage("another agreement")
        a.stage = Stage.STOCKING
        self._breathe(a, self._limits.startup)
        for peer in a.peers:
            yield Send(peer, Type.PAIR, a.session, frames=(a.public,))
        yield from self._stock(a)

    def _pair(self, a: Attempt, m: Message) -> Steps:
        a.add_pair(m.src, m.frames)
        yield from self._stock(a)

    def _seeds(self, a: Attempt, m: Message) -> Steps:
        a.add_seeds(m.frames)
        yield from self._stock(a)

    def _correction(self, a: Attempt, m: Message) -> Steps:
        a.add_correction(m)
        if a.keyed:
            self._breathe(a, self._limits.stall)
        yield from self._stock(a)
        if isinstance(a.request, Draw):
            yield from self._go_on(a)

    def _dealt(self, a: Attempt, m: Message) -> Steps:
        if m.meta["count"] != a.corrections:
            raise BadMessage("a wrong count of corrections")
        a.dealt = True
        yield from self._stock(a)

    def _stock(self, a: Attempt) -> Steps:
        """Tell the coordinator when this party has all keys and material."""
        if a.stage is not Stage.STOCKING or not a.keyed:
            return
        self._breathe(a, self._limits.stall)
        if not a.stocked and a.dealt:
            a.stocked = True
            yield Send(COORDINATOR, Type.STOCKED, a.session, meta={"complete": True})
        if a.go:
            yield from self._run(a)

    def _go(self, a: Attempt, _m: Message) -> Steps:
        a.go = True
        yield from self._stock(a)

    def _run(self, a: Attempt) -> Steps:
        a.stage = Stage.RUNNING
        a.engine = self._machinery.run_party(a.lowered, self.me, a.inputs, a.entropy(self._insecure))
        yield from self._advance(a, None)

    def _data(self, a: Attempt, m: Message) -> Steps:
        a.park(m)
        if isinstance(a.request, Exchange):
            yield from self._go_on(a)

    def _go_on(self, a: Attempt) -> Steps:
        answer = a.answer()
        if answer is not None:
            yield from self._credit(a)
            yield from self._advance(a, answer)

    def _credit(self, a: Attempt) -> Steps:
        """Let the dealer go further ahead, at points that the program fixes (page 7, rule 5)."""
        if a.credit(self._limits.window_messages // 3, self._limits.window // 4):
            yield Send(DEALER, Type.ACK, a.session, a.drawn & 0xFFFFFFFF)

    def _advance(self, a: Attempt, answer: dict[int, list[Array]] | list[Array] | None) -> Steps:
        """Drive the engine until it has to wait."""
        assert a.engine is not None
        while True:
            try:
                request = a.engine.send(answer)
            except StopIteration as end:
                yield from self._finish(a, end.value)
                return
            except Exception as error:  # noqa: BLE001 - the one place where an engine's failure becomes a report
                yield from self._engine_failed(error)
                return
            a.request = request
            self._breathe(a, self._limits.stall)
            if isinstance(request, Exchange):
                yield from self._share(a, request)
            answer = a.answer()
            if answer is None:
                return
            yield from self._credit(a)

    def _share(self, a: Attempt, request: Exchange) -> Steps:
        now = self._clock()
        if a.began is None:
            a.began = now
        a.rounds, a.where = request.number, request.where
        for peer, arrays in sorted(request.send.items()):
            frames = pack_arrays(arrays)
            a.count(frames)
            yield Send(peer, Type.DATA, a.session, request.number, frames=frames)
        if now - a.told >= self._limits.progress:
            a.told = now
            yield Send(COORDINATOR, Type.PROGRESS, a.session, request.number)

    def _finish(self, a: Attempt, results: dict[str, Any]) -> Steps:
        now = self._clock()
        a.stage, a.request, a.deadline = Stage.DONE, None, None
        shown = a.for_coordinator(results, self._cluster.receives)
        yield Send(
            COORDINATOR,
            Type.DONE,
            a.session,
            a.rounds,
            frames=pack_values({"results": shown, "measures": a.measures(now, self._memory())}),
        )
        for name, value in results.items():
            if name not in shown:
                yield Keep(name, value)

    def _bye(self, a: Attempt, _m: Message) -> Steps:
        if a.stage is Stage.DONE:
            yield Say(f"run {a.terms.source[:12]} done: {a.rounds} rounds")
        self._reset()

    def _reset(self) -> None:
        if self.attempt is not None:
            self.attempt.forget()
        self.attempt = None

    # ------------------------------------------------------------------------------------------------- trouble

    def _engine_failed(self, error: Exception) -> Steps:
        if isinstance(error, InputError):
            yield Tell(str(error))
            yield from self._fail("input", f"{self.name}: input refused", self.me)
        elif isinstance(error, PeerError):
            yield from self._fail("peer", f"{self.name}: {error}", self.me)
        elif isinstance(error, MpcError):
            yield from self._fail("program", f"{self.name}: {error}", self.me)
        else:
            # The text of a foreign exception may hold a value; its type and place cannot.
            yield from self._fail("internal", f"{self.name}: {type(error).__name__} at {_place(error)}", self.me)

    def _broken(self, peer: int, what: str) -> Steps:
        if self.attempt is not None and self.attempt.stage is not Stage.STOPPED:
            yield from self._fail("peer", f"{self._cluster.call(peer)} {what}", peer)

    def _fail(self, kind: str, reason: str, origin: int) -> Steps:
        a = self.attempt
        assert a is not None
        a.stage, a.engine, a.request = Stage.STOPPED, None, None
        a.sentence = f"run stopped: {reason}"
        a.deadline = self._clock() + self._limits.verdict
        meta = {"origin": origin, "kind": kind, "reason": reason[:1000], "round": a.rounds, "where": a.where[:200]}
        yield Send(COORDINATOR, Type.ABORT, a.session, meta={**meta, "final": False})

    def _verdict(self, _a: Attempt, m: Message) -> Steps:
        yield Say(m.meta["reason"])
        self._reset()

    def _down(self, peer: int, reason: str) -> Steps:
        a = self.attempt
        if a is None:
            return
        if peer == COORDINATOR:
            yield Say(a.sentence or f"run stopped: the coordinator {reason}{_at(a)}")
            self._reset()
        elif a.stage in {*_KEYING, Stage.RUNNING} and not (peer == DEALER and a.dealt):
            yield from self._fail("dead", f"{self._cluster.call(peer)} {reason}{_at(a)}", peer)

    def _tick(self) -> Steps:
        a = self.attempt
        if a is None or a.deadline is None or self._clock() < a.deadline:
            return
        a.deadline = None
        if a.stage is Stage.STOPPED:
            yield Say(a.sentence)
            self._reset()
        elif a.stage is Stage.STOCKING:
            peer = a.missing_key()
            trouble = self._trouble(peer)
            why = f" ({trouble})" if trouble else ""
            reason = f"{self.name} has heard nothing from {self._cluster.call(peer)} since the start{why}"
            yield from self._fail("stall", reason, peer)
        elif a.stage is Stage.RUNNING:
            peer = a.waits_for()
            text = f"{self._cluster.call(peer)} sent nothing for {self._limits.stall:g} s"
            yield from self._fail("stall", f"{text}{_at(a)}", peer)

    def _breathe(self, a: Attempt, seconds: float) -> None:
        a.deadline = self._clock() + seconds


def _ready(terms: Terms) -> dict[str, Any]:
    return {
        "version": terms.version,
        "source": terms.source,
        "lowered": terms.lowered,
        "agreed": terms.digest(),
    }


def _at(a: Attempt) -> str:
    if not a.rounds:
        return ""
    return f" in round {a.rounds} ({a.where})" if a.where else f" in round {a.rounds}"


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "an unknown place"
    return f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"


def _role(actor: int) -> str:
    return {COORDINATOR: "coordinator", DEALER: "dealer"}.get(actor, "party")


_QUESTIONS: dict[Type, Callable[[PartyBrain, Message], Steps]] = {
    Type.DESCRIBE: PartyBrain._describe,
    Type.CLASSES: PartyBrain._classes,
    Type.PREPARE: PartyBrain._prepare,
}

_KEYING = (Stage.READY, Stage.STOCKING)
_LIVE = (Stage.STOCKING, Stage.RUNNING)
_ANY = tuple(Stage)

_CONVERSATION: dict[tuple[str, Type], tuple[tuple[Stage, ...], Callable[[PartyBrain, Attempt, Message], Steps]]] = {
    ("coordinator", Type.START): ((Stage.READY,), PartyBrain._start),
    ("coordinator", Type.GO): ((Stage.STOCKING,), PartyBrain._go),
    ("coordinator", Type.BYE): (_ANY, PartyBrain._bye),
    ("coordinator", Type.ABORT): (_ANY, PartyBrain._verdict),
    ("party", Type.PAIR): (_KEYING, PartyBrain._pair),
    ("party", Type.DATA): (_LIVE, PartyBrain._data),
    ("dealer", Type.SEEDS): (_KEYING, PartyBrain._seeds),
    ("dealer", Type.CORRECTION): ((*_KEYING, Stage.RUNNING, Stage.DONE), PartyBrain._correction),
    ("dealer", Type.DEALT): ((*_KEYING, Stage.RUNNING, Stage.DONE), PartyBrain._dealt),
}
