"""One party's part of a lowered program, as a generator: it asks for exchanges and corrections and does nothing else.

No sockets, no clock, no threads: `memory` and the ZeroMQ actors drive this same generator. What a party computes by
itself is in `mpc.alone`, its rounds are in `mpc.rounds`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from mpc.alone import SMALL, SOURCES, Act
from mpc.errors import InputError
from mpc.exchange import CHECKPOINT, Array, Draw, Frame, Save, type_words
from mpc.fixed import decode, scalar
from mpc.foreseen import MOST, ROOM, Foreseen, of_streams
from mpc.ir import SAVED, Block, Equation, Kind, Type, Var, walk
from mpc.lanes import Part, Sweep
from mpc.lowering import Lowered
from mpc.prg import PartyEntropy, Position, Streams
from mpc.rounds import Answer, Request, Round, Rounds, Run, fits
from mpc.schedule import Slot, receiver
from mpc.stepping import Stage, stepped
from mpc.supply import Supply, steps_at_once

__all__ = ["run_party"]

Then = Callable[[int], Run]
_LONG = 1 << 20  # words of a mask that may have waited because memory counts
_REPLACED, _TOGETHER = 1 << 12, 1 << 17  # words of a value in a loop that may stay until the next step, and of all


def run_party(
    lowered: Lowered,
    me: int,
    inputs: Mapping[str, Any],
    entropy: PartyEntropy,
    kept: Mapping[str, Array | None] = MappingProxyType({}),
) -> Generator[Request, Answer, dict[str, Any]]:
    """The run of party number `me`. Yields requests, is sent their answers, returns the results that it may know.

    What follows from streams alone is done by the call itself: no data is looked at before the first request is asked
    for.
    inputs: this party's own, by name (`Table` or array). entropy: its seeds. kept: what this party has put away in an
    earlier run and the program takes up: a checkpoint (`mpc.exchange.whole`), handles by the name of their parameter.
    Raises InputError (with its owner's name) when its own data is refused, PeerError when an answer has not the
    announced shape.
    """
    run = _run(_Party(lowered, me, dict(inputs), entropy, kept))
    next(run)
    return run


def _run(party: _Party) -> Generator[Any, Answer, dict[str, Any]]:
    """First, before anything is asked for, what needs no answer; whoever closes it lets go of what is there by then."""
    try:
        party.prepare(party.lowered.block)
        yield None
        yield from party.block(party.lowered.block, 0)
        return party.results()
    except InputError as error:
        raise error.of(party.names[party.me]) from None
    finally:
        party.release()


@dataclass(frozen=True, slots=True)
class Drawn:
    """What is needed of the dealer's corrections: where they go, how they are finished, what is expected."""

    outs: tuple[int, ...]
    finish: tuple[Callable[[Any], Any], ...]
    expect: tuple[Frame, ...]
    where: str


@dataclass(frozen=True, slots=True)
class Swept:
    """Local equations that run piece by piece. bound: for a number of lanes what is drawn, and what is done."""

    part: Part
    reads: tuple[Var, ...]
    results: tuple[Var, ...]
    inside: set[Var]
    dead: tuple[int, ...]
    bound: dict[int, tuple[Drawn | None, tuple[Act, ...]]]


@dataclass(frozen=True, slots=True)
class Steps:
    """A slot, bound for one party. local: what it does alone, and what it needs the world for after so much of that."""

    local: tuple[tuple[tuple[Act, ...], Then | None], ...]
    exchange: Round | None
    loops: list[Equation]
    dead: tuple[int, ...]


class _Party(Rounds):
    """One party's walk through a lowered program."""

    def __init__(
        self, lowered: Lowered, me: int, inputs: dict[str, Any], entropy: PartyEntropy, kept: Mapping[str, Any]
    ) -> None:
        super().__init__(lowered, me, inputs, entropy, kept)
        self.draws = 0
        self.results_of = set(lowered.outputs_by_name.values())
        self.saved: set[int] = set()  # the sites at which all that is needed is safe
        self.steps: dict[int, list[Steps]] = {}
        self.supplies: dict[int, Supply] = {}  # of loop bodies that draw for many steps at a time
        self.places: dict[int, tuple[Supply, int]] = {}  # where in them a dealt value stands
        self.straight: dict[int, Callable[[int, int, int], Run]] = {}  # loop bodies on single words
        self.foreseen: dict[int, Foreseen] = {}  # of loop bodies, what is made of their steps before the data
        self.made: set[Equation] = set()  # all that is made like that
        self.waiting = 0  # bytes of it
        self.replaced: dict[int, tuple[int, ...]] = {}  # what is left of the last step of a loop body

    def release(self) -> None:
        """Let go of all that is bound too: masks, ciphers and corrections are kept with it for many steps."""
        super().release()
        self.steps.clear()
        self.supplies.clear()
        self.places.clear()
        self.straight.clear()
        self.foreseen.clear()

    # walking -----------------------------------------------------------------------------------------------------

    def prepare(self, b: Block) -> None:
        """Bind every slot of a block and of the loops in it, and do what needs neither data nor anybody else.

        Of masks those of the program's first slot, that is: long ones stand in a later one if together they took much
        memory.
        """
        looped = b is not self.lowered.block
        small = self.replaceable(b) if looped else SMALL
        planned = self.steps[id(b)] = []
        for slot in self.lowered.slots(b):
            self.early = not planned and not looped
            planned.append(self.planned(slot, looped, small))
            for e in slot.exchange if not looped else ():
                self.ahead(e)
            self.early = False
            for e in slot.loops:
                assert e.body is not None
                self.supply(e.body)
                if not self.straightened(e):
                    if not looped:
                        self.foresee(e)
                    self.prepare(e.body)
                    made = [v for q in e.body.equations for v in q.outputs if v not in self.fixed]
                    self.replaced[id(e.body)] = self.forgotten(made)

    def block(self, b: Block, step: int) -> Run:
        """Every slot of a block, at a flat iteration index."""
        values = self.values
        for slot in self.steps[id(b)]:
            for acts, then in slot.local:
                for act in acts:
                    act(step)
                if then is not None:
                    yield from then(step)
            if slot.exchange is not None:
                yield from self.exchange(slot.exchange, step)
            for e in slot.loops:
                yield from self.repeat(e, step)
            for number in slot.dead:
                values.pop(number, None)

    def supply(self, b: Block) -> None:
        """Have the corrections of a loop body drawn for many steps at a time, where nobody is dealt much in one."""
        slots = self.lowered.slots(b)
        parts = [part for slot in slots for part in slot.parts]
        deals = [e for part in parts for e in part.deals]
        if any(slot.loops for slot in slots) or any(part.swept and part.deals for part in parts):
            return
        shapes = [[e.output.type.shape for e in deals if receiver(e, self.n) == p] for p in range(self.n)]
        mine, most = [e for e in deals if self.mine(e)], steps_at_once(shapes)
        if self.lowered.sweep and any(e.output.type.size for e in mine) and most > 1:
            finish = [self.of(e.output.type).reduce for e in mine]
            supply = self.supplies[id(b)] = Supply(shapes[self.me], finish, mine[0].where, most)
            self.places |= {e.output.number: (supply, place) for place, e in enumerate(mine)}

    def foresee(self, e: Equation) -> None:
        """Do now what the steps of a loop, which runs once, make of streams and public numbers alone.

        Not where masks that it reads are so long that they wait for the slot that reads them: memory counts more then.
        """
        assert e.body is not None
        body, slots = e.body, self.lowered.slots(e.body)
        if not isinstance(self.entropy.stream, Streams) or any(
            slot.loops or any(part.swept for part in slot.parts) for slot in slots
        ):
            return
        if any(v.type.kind is Kind.MASK and v.type.size > _LONG and v not in self.fixed for v in e.inputs):
            return
        counter, *params = body.params
        known = [(p, v) for p, v in zip(params, e.inputs, strict=True) if v in self.fixed]
        becomes = dict(zip(params, body.results, strict=False))  # of the state, which comes first
        local = [q for slot in slots for q in slot.local]
        there = [counter, *(p for p, _ in known if p not in becomes)]
        found, state = of_streams(local, there, [(p, becomes[p]) for p, _ in known if p in becomes], self.mine)
        if sum(v.type.size for q in found for v in q.outputs) > MOST:
            return
        self.made.update(found)
        masks, rest = self.streamed(found, looped=True)
        acts = [self.drawn(*those) for those in masks]
        acts += [act for act, _ in self.bindings(rest, set(), looped=True) if act is not None]
        foreseen = self.foreseen[id(body)] = Foreseen(body, found, acts, self.fixed, state)
        self.values.update({p.number: self.values[v.number] for p, v in known})  # as `repeat` will, before each step
        self.waiting += foreseen.prepare(self.values, e.params.get("start", 0), e.params["times"], ROOM - self.waiting)

    def straightened(self, e: Equation) -> bool:
        """Whether a loop is on single words alone, so that all its steps have become one function."""
        assert e.body is not None
        if not e.params["carry"] or not all(map(self.is_single, (*e.body.params, *e.body.results))):
            return False
        supply, stages = self.supplies.get(id(e.body)), [self.stage(slot) for slot in self.lowered.slots(e.body)]
        if None in stages:
            return False
        dealt = {n: place for n, (one, place) in self.places.items() if one is supply}
        those = [stage for stage in stages if stage is not None]
        self.straight[id(e.body)] = stepped(self, e.body, e.params["carry"], those, supply, dealt, counts=_counts(e))
        return True

    def stage(self, slot: Slot) -> Stage | None:
        """A slot of a loop's body, if all in it is on single words that this party has.

        What is the same at every step is bound on the way, as `planned` binds it.
        """
        made = [v for e in (*slot.local, *slot.exchange) for v in e.outputs if v.type.kind is not Kind.DEALER]
        opens = all(e.op == "open" and e.params["width"] == 64 for e in slot.exchange)
        if slot.loops or not opens or any(part.swept for part in slot.parts) or not all(map(self.is_single, made)):
            return None
        masks, rest = self.streamed(slot.local, looped=True)
        words = [e for e in rest if self.is_word(e)]
        for e in rest:
            if not e.outputs or (e.op in SOURCES and e.output.number not in self.places):
                return None
            if not self.is_word(e) and self.bound(e) is not None:  # else it is the same at every step, and there now
                return None
        return Stage(tuple(masks), tuple(words), self.round_of(slot.exchange) if slot.exchange else None)

    def planned(self, slot: Slot, looped: bool, small: int) -> Steps:
        """All that is the same at every step, looked up once."""
        local: list[tuple[tuple[Act, ...], Then | None]] = []
        for part in slot.parts:
            if part.swept:
                local.append(((), partial(self.sweep, self.swept(slot, part))))
            else:
                local += self.plain(slot, part, looped, small)
        exchange = self.round_of(slot.exchange) if slot.exchange else None
        return Steps(tuple(local), exchange, slot.loops, self.forgotten(slot.party.dead, small))

    def plain(self, slot: Slot, part: Part, looped: bool, small: int) -> Iterator[tuple[tuple[Act, ...], Then | None]]:
        """Equations one after another, on whole values; what the dealer corrects of them comes first."""
        masks, rest = self.streamed([e for e in part.equations if e not in self.made], looped)
        acts = [self.drawn(*those) for those in masks]
        after, draw = slot.party.after, self.corrected(part.deals)
        if draw is not None and draw.outs[0] in self.places:
            acts.append(self.supplied(draw))
        elif draw is not None:
            yield (), partial(self.draw, draw)
        for act, equations in self.bindings(rest, self.inside(slot, part), looped=looped):
            if equations[-1].op in SAVED:
                yield tuple(acts), partial(self.save, equations[-1])
                acts = []
            if act is not None:
                acts.append(act)
            last = [v for e in equations for v in after.get(e, ())]
            if last and (spent := self.forgotten(last, small)):
                acts.append(self.forget(spent))
        yield tuple(acts), None

    def inside(self, slot: Slot, part: Part) -> set[Var]:
        """What a part makes that nobody else reads."""
        return slot.party.within(part) - self.results_of

    def swept(self, slot: Slot, part: Part) -> Swept:
        """Equations on a few lanes at a time."""
        mine = [e for e in part.equations if e.outputs[0].type.kind is not Kind.DEALER]
        made, inside = {v for e in mine for v in e.outputs}, self.inside(slot, part)
        read = {v for e in mine if e.op != "deal" for v in e.inputs if v in part.layouts} - made
        spent = self.forgotten([v for e in mine for v in slot.party.after.get(e, ())])
        return Swept(part, tuple(read), tuple(made - inside), inside, spent, {})

    def sweep(self, s: Swept, step: int) -> Run:
        """One pass over all lanes."""
        lanes = Sweep(s.part, self.values, s.results, s.reads)
        for start, count in lanes.pieces():
            if count not in s.bound:
                s.bound[count] = self.narrowed(s.part, s.inside, count)
            draw, acts = s.bound[count]
            self.start = start  # in this very generator's turn: a party walks one part at a time
            if draw is not None:
                yield from self.draw(draw, step)
            for act in acts:
                act(step)
        for number in s.dead:
            self.values.pop(number, None)

    def narrowed(self, part: Part, inside: set[Var], count: int) -> tuple[Drawn | None, tuple[Act, ...]]:
        """The equations of a part, bound for so many lanes."""
        equations = part.narrowed(count)
        acts = [act for act, _ in self.bindings(equations, inside, part) if act is not None]
        return self.corrected([e for e in equations if e.op == "deal"]), tuple(acts)

    def replaceable(self, b: Block) -> int:
        """How many words a value of a loop's body may have to stay until the next step's takes its place.

        `repeat` forgets those of the last step.
        """
        sizes = [v.type.size for e in b.equations for v in e.outputs]
        together = sum(size for size in sizes if SMALL < size <= _REPLACED)
        return _REPLACED if together <= _TOGETHER else SMALL

    def forgotten(self, values: Sequence[Var], small: int = SMALL) -> tuple[int, ...]:
        """Which of these to forget when nobody reads them any more: what takes memory and is no result."""
        return tuple(v.number for v in values if v.type.size > small and v not in self.results_of)

    def forget(self, numbers: tuple[int, ...]) -> Act:
        def act(_: int) -> None:
            for number in numbers:
                self.values.pop(number, None)

        return act

    def repeat(self, e: Equation, iteration: int) -> Run:
        assert e.body is not None
        times, carry, start = e.params["times"], e.params["carry"], e.params.get("start", 0)
        step, *params = e.body.params
        values = self.values
        given = [values[v.number] for v in e.inputs]
        for p, value in zip(params[carry:], given[carry:], strict=True):
            values[p.number] = value
        state, into, out = given[:carry], [p.number for p in params[:carry]], [v.number for v in e.body.results]
        supply, straight = self.supplies.get(id(e.body)), self.straight.get(id(e.body))
        if straight is not None:
            values.update(zip(into, state, strict=True))
            yield from straight(iteration * times, start, times)
            values.update((v.number, values[n]) for v, n in zip(e.outputs, into, strict=True))
            return
        get, counts, foreseen = values.__getitem__, _counts(e), self.foreseen.get(id(e.body))
        for i in range(times):
            if supply is not None and (draw := supply.ask(self.draws + 1, times - i)) is not None:
                supply.fill(*(yield from self.answered(draw)))
            if counts:
                values[step.number] = np.asarray(start + i, dtype=np.uint64)
            values.update(zip(into, state, strict=True))
            if foreseen is not None:
                foreseen.step(values, i)
            yield from self.block(e.body, iteration * times + i)
            state = list(map(get, out))
        for number in self.replaced[id(e.body)]:
            values.pop(number, None)
        values.update(zip([v.number for v in e.outputs], state, strict=True))

    # the dealer ------------------------------------------------------------------------------------------------------

    def corrected(self, deals: Sequence[Equation]) -> Drawn | None:
        """What is needed of the dealer: this party's corrections."""
        mine = [e for e in deals if self.mine(e)]
        if not mine:
            return None
        outs = tuple(e.output.number for e in mine)
        finish = tuple(self.of(e.output.type).reduce for e in mine)
        return Drawn(outs, finish, tuple(Frame(type_words, e.output.type.shape) for e in mine), mine[0].where)

    def supplied(self, d: Drawn) -> Act:
        """Take corrections of the step that is under way."""
        values, places = self.values, [(out, *self.places[out]) for out in d.outs]

        def act(_: int) -> None:
            for out, supply, place in places:
                values[out] = supply.words[place][supply.at, ...]

        return act

    def answered(self, draw: Draw) -> Generator[Request, Answer, list[Array]]:
        """What the dealer has for a draw."""
        self.draws = draw.number
        arrays: list[Array] = yield draw
        fits(arrays, draw.expect, "the dealer", draw.where)
        return arrays

    def draw(self, d: Drawn, _step: int) -> Run:
        arrays = yield from self.answered(Draw(self.draws + 1, d.where, d.expect))
        for out, finish, array in zip(d.outs, d.finish, arrays, strict=True):
            self.values[out] = finish(array)

    def save(self, e: Equation, iteration: int) -> Generator[Request, Answer, None]:
        """Put shares away, re-randomised: they come from streams that others know a part of (rules 6 and 14)."""
        p = e.params
        values = [self.values[v.number] for v in e.inputs]
        if e.op == "keep":
            yield Save(p["names"][0], -1, 0, self.held(e, iteration, values, len(p["names"])), e.where)
            return
        step = int(values.pop(0))
        if step <= p["after"] or step % p["every"]:
            return
        entries = p["carry"] if p["site"] in self.saved else len(p["names"])
        self.saved.add(p["site"])
        yield Save(CHECKPOINT, p["site"], step, self.held(e, iteration, values, entries), e.where)

    def held(self, e: Equation, iteration: int, values: list[Any], entries: int) -> dict[str, Array | None]:
        """The first entries of what an equation puts away; of a masked wire Δ − λ, which is its share again."""
        rest, p = iter(values), e.params
        out: dict[str, Array | None] = {}
        for name, form, number in list(zip(p["names"], p["forms"], p["ids"], strict=True))[:entries]:
            x = next(rest)
            if form == "pair":
                delta, lam = x, next(rest)
                x = self.ring.sub(np.zeros_like(delta) if self.me else delta, lam)
            if form != "public":
                t = Type(Kind.SHARE, np.shape(x))
                x = self.ring.add(x, self.zero_share(Position(number, iteration), t))
            out[name] = None if x is None else np.array(x, dtype="<u8", order="C")
        return out

    # results ----------------------------------------------------------------------------------------------------

    def results(self) -> dict[str, Any]:
        """The program's facts and the outputs that this party knows, in the program's order."""
        program = self.lowered.program
        out: dict[str, Any] = {}
        for name in program.order:
            if name in program.facts:
                out[name] = program.facts[name]
                continue
            surface, var = program.outputs_by_name[name], self.lowered.outputs_by_name[name]
            value = self.values[var.number]
            if value is None:
                continue
            if surface.type.kind is Kind.PUBLIC:
                value = decode(self.ring, value, surface.type.scale, Fraction(surface.type.unit))
            out[name] = value if np.shape(value) else scalar(float(value), surface.type)
        return out


def _counts(e: Equation) -> bool:
    """Whether a step of a loop reads its number."""
    assert e.body is not None
    return any(e.body.params[0] in inner.inputs for inner in walk(e.body))
