"""The brain of a computing party: what happens goes in, what to do comes out. No sockets, no files, no own clock.

It answers questions about its data, refuses or joins what a coordinator prepares, and routes every message to the
participation whose session it names; several may be live at once. A party shares nothing before everybody, itself
included, has lowered the same text to the same digest. It tells the coordinator what went wrong and waits for the
verdict, so that every party prints the same sentence.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Any

from mpc.disclosures import taken
from mpc.errors import InputError, MpcError, PolicyError
from mpc.prg import Entropy
from mpc.table import Table
from parties import records
from parties.asked import ASKED
from parties.attempt import Attempt
from parties.cluster import Cluster, is_coordinator
from parties.declared import Declared
from parties.ending import Surroundings, Then, nothing, write_end
from parties.escaping import quoted
from parties.events import Arrived, Down, Event, Instruction, Note, Send, Tell, Tick, Up, Write, Written, question
from parties.limits import Limits
from parties.liveness import Sign
from parties.machinery import Machinery
from parties.participation import Participation
from parties.pieces import SHORT_LIMIT
from parties.prepare import Refused, read_terms, ready
from parties.store import Store
from parties.terms import Terms
from parties.told import Coordinator, RunRefused, ValuesRefused, ValuesTold
from parties.version import VERSION
from parties.wire import Message, Type, line, pack

__all__ = ["PartyBrain"]

Steps = Iterator[Instruction]
_MOST_AT_ONCE = 64


class PartyBrain:
    """One party. `clock`, `trouble` (why an actor is not there) and `heard` (its last sign) come from the body.

    declared: which columns are labels and keys, whose values may be told; none unless it says so.
    """

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
        heard: Callable[[int], Sign] = lambda _: Sign(),
        memory: Callable[[], int] = lambda: 0,
        version: str = VERSION,
        entropy: Entropy = secrets.token_bytes,
        declared: Declared | None = None,
    ) -> None:
        self.me = me
        self.name = cluster.name(me)
        self.pumping = False
        self.sessions: dict[bytes, Participation] = {}
        self._store = store
        self._declared = declared or Declared()
        self._version = version
        self._tokens = 0
        self._waiting: dict[int, Then] = {}
        self._answered = 0
        self._finished: dict[bytes, tuple[int, Terms]] = {}  # by session: until FORGET comes; the oldest go
        self.around = Surroundings(
            me,
            self.name,
            cluster,
            machinery,
            clock,
            insecure,
            limits or Limits(),
            trouble,
            heard,
            memory,
            self._token,
            entropy,
            self.sessions,
        )

    def declare(self, declared: Declared) -> None:
        """Which columns are labels and keys from here on; a run that has begun goes on as it was agreed."""
        self._declared = declared

    @property
    def busy(self) -> bool:
        """Whether a run is on."""
        return bool(self.sessions)

    @property
    def deadline(self) -> float | None:
        """When this brain wants a Tick, if at all."""
        if not self.sessions:
            return None
        times = (p.attempt.deadline for p in self.sessions.values())
        return min((t for t in times if t is not None), default=None)

    @property
    def awaited(self) -> int:
        """The actor whose message the only run that is on waits for."""
        if len(self.sessions) != 1:
            return -1
        (p,) = self.sessions.values()
        return p.awaited

    @property
    def sign(self) -> Sign:
        """How much its engines have asked for so far, and whether all of them wait."""
        live = self.sessions.values()
        if not live:
            return Sign(self._answered, waiting=True)
        return Sign(self._answered + sum(p.attempt.answered for p in live), all(p.waiting for p in live))

    def room(self, m: Message) -> int | None:
        """What the program still lets an actor send."""
        if m.type not in {Type.DATA, Type.CORRECTION}:
            return SHORT_LIMIT
        return self.sessions[m.session].attempt.room(m) if m.session in self.sessions else None

    def _token(self, then: Then) -> int:
        self._tokens += 1
        self._waiting[self._tokens] = then
        return self._tokens

    # ------------------------------------------------------------------------------------------- what happens

    def handle(self, event: Event) -> Steps:
        """The only way in, but for the answer of a `Swap`. Perform each instruction before asking for the next one."""
        if type(event) is Arrived and event.message.type is Type.DATA:  # most are, and none of them ends a run
            return self._arrived(event.message)
        return self._handled(event)

    def _handled(self, event: Event) -> Steps:
        match event:
            case Arrived(message):
                yield from self._arrived(message)
            case Written(token):
                yield from self._waiting.pop(token)(event)
            case Up(peer):
                self.around.lost.pop(peer, None)
            case Down(peer, reason):
                self.around.lost[peer] = reason
                for p in self._each():
                    yield from p.down(peer, reason)
            case Tick():
                for p in self._each():
                    yield from p.tick()
            case _:
                return
        self._sweep()

    def stop(self, reason: str) -> Steps:
        """This party's operator ends its part."""
        for p in self._each():
            yield from p.stop(reason)

    def _each(self) -> list[Participation]:
        return list(self.sessions.values())

    def _sweep(self) -> None:
        for session, p in list(self.sessions.items()):
            if p.over:
                self._answered += p.attempt.answered
                del self.sessions[session]
                if p.lingers:
                    self._finished[session] = (p.attempt.boss, p.attempt.terms)
                    for oldest in list(self._finished)[:-_MOST_AT_ONCE]:
                        del self._finished[oldest]

    def _arrived(self, m: Message) -> Steps:
        running = self.sessions.get(m.session)
        if m.type in _QUESTIONS and is_coordinator(m.src) and not (m.type is Type.PREPARE and running):
            return _QUESTIONS[m.type](self, m)
        if running is not None:
            return running.arrived(m)
        if m.session in self._finished:
            return self._afterwards(m, *self._finished[m.session])
        return iter(())  # the last words of a session that is over

    def _afterwards(self, m: Message, boss: int, terms: Terms) -> Steps:
        """Of a finished attempt: its end, if this party had given up a coordinator that was only stopped; or FORGET."""
        if m.src == boss and m.type is Type.END:
            yield from write_end(self.around, m.session, boss, terms)
        elif m.src == boss and m.type is Type.FORGET:
            del self._finished[m.session]
            yield Write(self._token(nothing), records.Forget(terms))

    # ---------------------------------------------------------------------------------------------- questions

    def _describe(self, m: Message) -> Steps:
        name = m.meta["name"]
        offered = name in self._store
        meta: dict[str, Any] = {"ask": m.meta["ask"], "offered": offered, "table": False, "shape": []}
        frames: tuple[bytes, ...] = ()
        if offered:
            try:
                self._store.refresh(name)
            except InputError as refusal:
                yield from self._not_served(m, refusal)
                return
            schema = self._store.schema(name)
            meta |= {"table": schema.columns is not None, "shape": list(schema.shape)}
            frames = (pack(list(schema.columns or ())),)
        yield Send(m.src, Type.SCHEMA, meta=meta, frames=frames)

    def _classes(self, m: Message) -> Steps:
        ask, name = m.meta["ask"], m.meta["name"]
        column, whom = m.meta["column"], Coordinator.of(self.around.cluster, m.src)
        try:
            if name not in self._store:
                raise PolicyError(f"offers no data named {name!r}")  # noqa: TRY301
            self._store.refresh(name)
            labels = self._declared.values(name, self._store.get(name), column)
            told = (pack(labels),)
        except (PolicyError, InputError) as refusal:
            yield from self._keep_back(m, refusal)
            return

        def answer(w: Written) -> Steps:
            if w.error:
                yield Send(m.src, Type.REFUSED, meta={"ask": ask, "kind": "internal", "reason": line(w.error)})
                return
            yield Note(f"told {whom} the distinct values of column {column!r} of {name!r}: {len(labels)}")
            yield Send(m.src, Type.LABELS, meta={"ask": ask}, frames=told)

        yield Write(self._token(answer), ValuesTold(name, column, len(labels), whom))

    def _keep_back(self, m: Message, refusal: PolicyError | InputError) -> Steps:
        """No values: neither they nor how many there are. In which row a wrong one stands, its owner alone hears."""
        column, name, whom = m.meta["column"], m.meta["name"], Coordinator.of(self.around.cluster, m.src)
        kind, why = "policy", str(refusal)
        if isinstance(refusal, InputError):
            yield Tell(str(refusal.of(self.name)), question(m.meta["ask"]))
            kind, why = "input", f"input refused ({line(name, 200)!r})"

        def answer(_w: Written) -> Steps:
            yield Note(f"told {whom} no values of column {column!r} of {name!r}: {why}")
            yield Send(m.src, Type.REFUSED, meta={"ask": m.meta["ask"], "kind": kind, "reason": line(why)})

        yield Write(self._token(answer), ValuesRefused(name, column, why, whom))

    def _not_served(self, m: Message, refusal: InputError) -> Steps:
        yield Tell(str(refusal), question(m.meta["ask"]))
        meta = {"ask": m.meta["ask"], "kind": "input", "reason": f"input refused ({line(m.meta['name'], 200)!r})"}
        yield Send(m.src, Type.REFUSED, meta=meta)

    def _held(self, m: Message) -> Steps:
        """What is kept here: checkpoints of a run, material for a program, kept secrets; DROP: without that one."""

        def answer(w: Written) -> Steps:
            if w.error:
                meta = {"ask": m.meta["ask"], "kind": "internal", "reason": line(w.error)}
                yield Send(m.src, Type.REFUSED, meta=meta)
            else:
                if drop:
                    whom = Coordinator.of(self.around.cluster, m.src)
                    yield Note(f"{whom} has given up the kept secret {m.meta['name']!r}")
                yield Send(m.src, Type.HOLDS, meta={"ask": m.meta["ask"]}, frames=(pack(w.result),))

        drop = m.type is Type.DROP
        record = (
            records.Drop(m.meta["name"])
            if drop
            else records.Holdings(*(m.meta[what] for what in ("run", "lowered", "task")))
        )
        yield Write(self._token(answer), record)

    # ----------------------------------------------------------------------------------------- joining a session

    def _prepare(self, m: Message) -> Steps:
        around, program = self.around, None
        try:
            if len(self.sessions) >= _MOST_AT_ONCE:
                raise Refused("peer", f"takes part in {len(self.sessions)} runs already")  # noqa: TRY301
            terms, program, lowered = read_terms(m, around.cluster, around.machinery, around.insecure, self._version)
            self._allow_cells(program)
            inputs, fingerprints = self._inputs(program, terms)
            self._keeps_alone(terms, program)
        except Refused as refusal:
            yield from self._refuse(m, refusal, program)
            return

        def recalled(w: Written) -> Steps:
            try:
                found = self._recalled(w, terms, program)
            except Refused as refusal:
                yield from self._refuse(m, refusal, program)
                return
            names = around.cluster.names
            data = (inputs, found.prints, found.kept)
            attempt = Attempt(m.session, m.src, self.me, terms, program, lowered, *data, names, around.entropy)
            taking_part = self.sessions[m.session] = Participation(around, attempt, found.brought)
            yield Note(taking_part.log.before())
            yield Send(m.src, Type.READY, m.session, meta=ready(terms))

        handles = list(zip(terms.handles, program.handles, strict=False))  # none while material is made
        yield Write(self._token(recalled), records.Recall(terms, handles, fingerprints))

    def _keeps_alone(self, terms: Terms, program: Any) -> None:
        """Refuse to keep what another run is about to keep: its end might come first here and second elsewhere."""
        attempts = [p.attempt for p in self.sessions.values() if p.attempt.terms.run != terms.run]
        others = {s.name for a in attempts if a.terms.mode == "run" for s in a.program.keeps}
        both = others & {s.name for s in program.keeps} if terms.mode == "run" else set()
        if both:
            raise Refused("peer", f"takes part in another run that keeps {min(both)!r}; begin when that has ended")

    def _recalled(self, w: Written, terms: Terms, program: Any) -> records.Recalled:
        """What this party has for this attempt, if it is what the program may have."""
        if w.error:
            raise Refused("peer", w.error)
        found: records.Recalled = w.result
        if found.unlike:
            has = f"has material {terms.material[:8]}, dealt for {found.unlike}"
            raise Refused("program", f"{has}; privity deal makes some for this run's arguments")
        for what in found.changed:
            raise Refused("input", f"{what} has changed since the run began; resume needs the same data")
        if terms.epoch:
            try:
                original = self.around.machinery.parse(found.text)
                same = original.continued(found.site, found.iteration).digest == program.digest
            except MpcError as error:
                raise Refused("program", f"cannot go on from its checkpoint ({error})") from None
            if not same:
                raise Refused("program", "was given another program than the one that its checkpoint belongs to")
        return found

    def _refuse(self, m: Message, refusal: Refused, program: Any) -> Steps:
        """program: if it could be read."""
        if refusal.owner_text:
            yield Tell(refusal.owner_text, m.session)
        name, digest = (program.name, program.digest) if program is not None else ("", "")
        whom, run = Coordinator.of(self.around.cluster, m.src), line(m.meta["run"], 32)

        def answer(_w: Written) -> Steps:
            about = f"program {quoted(name)} (digest {digest[:12]})" if program is not None else "a program"
            yield Note(f"run {run[:10]} asked for by {whom} was refused here: {about}: {refusal.reason}")
            meta = {"ask": -1, "kind": refusal.kind, "reason": refusal.reason}
            yield Send(m.src, Type.REFUSED, m.session, meta=meta)

        record = RunRefused(run, m.meta["attempt"], name, digest, refusal.reason, whom)
        yield Write(self._token(answer), record)

    def _inputs(self, program: Any, terms: Terms) -> tuple[dict[str, Any], dict[str, str]]:
        """This party's own data, held against what the terms say of it, and fingerprints of it."""
        inputs: dict[str, Any] = {}
        fingerprints: dict[str, str] = {}
        for spec, bound in zip(program.inputs, terms.data, strict=False):  # none while material is made
            if bound.party != self.name:
                continue
            if bound.data not in self._store:
                raise Refused("policy", f"offers no data named {bound.data!r}")
            try:
                self._store.refresh(bound.data)
            except InputError as refusal:
                raise Refused("input", f"input refused ({bound.data!r})", str(refusal)) from None
            schema = self._store.schema(bound.data)
            columns = tuple(schema.columns) if schema.columns is not None else None
            wanted = bound.columns if bound.columns is not None else columns
            if tuple(schema.shape) != tuple(spec.shape) or columns != wanted:
                raise Refused("input", f"the program was made for other shapes or columns of {bound.data!r}")
            self._allow(program, spec, bound.data)
            inputs[spec.name] = self._store.get(bound.data)
            fingerprints[spec.name] = self._store.fingerprint(bound.data)
        return inputs, fingerprints

    def _allow_cells(self, program: Any) -> None:
        """Refuse a program of the catalogue that shows cells of fewer rows of this owner than its floor."""
        mine = any(spec.owner == self.name for spec in program.inputs)
        if not mine or program.name not in self.around.machinery.withholding:
            return
        try:
            self._declared.allow(program.name, program.facts.get("minimum"))
        except PolicyError as refusal:
            raise Refused("policy", str(refusal)) from None

    def _allow(self, program: Any, spec: Any, offered: str) -> None:
        """Refuse a program that takes columns for what they are not declared to be."""
        value = self._store.get(offered)
        if not isinstance(value, Table):
            return
        try:
            for column, label in taken(program, spec):
                self._declared.check(offered, value, column, label=label)
        except PolicyError as refusal:
            raise Refused("policy", str(refusal)) from None
        except InputError as refusal:
            raise Refused("input", "input refused", str(refusal.of(self.name))) from None


_HANDLERS: dict[Type, Callable[[PartyBrain, Message], Steps]] = {
    Type.DESCRIBE: PartyBrain._describe,
    Type.CLASSES: PartyBrain._classes,
    Type.HELD: PartyBrain._held,
    Type.DROP: PartyBrain._held,
    Type.PREPARE: PartyBrain._prepare,
}
_QUESTIONS = {q.asks: _HANDLERS[q.asks] for q in ASKED if q.asks in _HANDLERS}  # nothing else is answered
