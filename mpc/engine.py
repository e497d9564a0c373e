"""One party's part of a lowered program, as a generator: it asks for exchanges and corrections and does nothing else.

No sockets, no clock, no threads: `memory` and the ZeroMQ actors drive this same generator. What a party computes by
itself is in `mpc.alone`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from mpc.alone import SMALL, Act, Alone
from mpc.errors import InputError, PeerError
from mpc.exchange import CHECKPOINT, Array, Draw, Exchange, Frame, Save, type_words
from mpc.fixed import decode, scalar
from mpc.ir import SAVED, Block, Equation, Kind, Type, Var, spoken
from mpc.lanes import Part, Sweep
from mpc.lowering import Lowered
from mpc.openings import frame_of, packing, recipients, unpacking
from mpc.prg import PartyEntropy, Position
from mpc.programs import RANGES_HOLD
from mpc.schedule import Slot

__all__ = ["run_party"]

Request = Exchange | Draw | Save
Answer = Any
Run = Generator[Request, Answer, None]
Then = Callable[[int], Run]


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
    party = _Party(lowered, me, dict(inputs), entropy, kept)
    party.prepare(lowered.block)
    return _run(party)


def _run(party: _Party) -> Generator[Request, Answer, dict[str, Any]]:
    try:
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
class Swap:
    """A round, as far as the program fixes it: what it is in words, what goes to whom, what each peer owes.

    parts: for each opening how this party's words are made, how they are packed, and to whom they go. joins: where each
    goes, and how it is made of this party's words and the answer.
    """

    words: str
    where: str
    parts: tuple[tuple[Callable[[int], Any], Callable[[Any], Array], list[int]], ...]
    joins: tuple[tuple[int, Callable[[Any, Answer], Any]], ...]
    expect: dict[int, tuple[Frame, ...]]
    reveals: tuple[str, ...]
    sharing: bool
    gates: bool


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
    exchange: list[Equation]
    loops: list[Equation]
    dead: tuple[int, ...]


class _Party(Alone):
    """One party's walk through a lowered program."""

    def __init__(
        self, lowered: Lowered, me: int, inputs: dict[str, Any], entropy: PartyEntropy, kept: Mapping[str, Any]
    ) -> None:
        super().__init__(lowered, me, inputs, entropy, kept)
        self.exchanges = self.draws = 0
        self.results_of = set(lowered.outputs_by_name.values())
        self.saved: set[int] = set()  # the sites at which all that is needed is safe
        self.gate = lowered.outputs_by_name.get(RANGES_HOLD)
        self.steps: dict[int, list[Steps]] = {}
        self.swaps: dict[Equation, Swap] = {}
        self.rest = [i for i in range(self.n) if i != me]

    # walking -----------------------------------------------------------------------------------------------------

    def prepare(self, b: Block) -> None:
        """Bind every slot of a block and of the loops in it, and do what needs neither data nor anybody else.

        Of the program's first slot, that is: long masks stand in a later one if all of them together took much memory.
        """
        looped = b is not self.lowered.block
        planned = self.steps[id(b)] = []
        for slot in self.lowered.slots(b):
            self.early = not planned and not looped
            planned.append(self.planned(slot, looped))
            for e in slot.loops:
                assert e.body is not None
                self.prepare(e.body)

    def block(self, b: Block, step: int) -> Run:
        """Every slot of a block, at a flat iteration index."""
        values = self.values
        for slot in self.steps[id(b)]:
            for acts, then in slot.local:
                for act in acts:
                    act(step)
                if then is not None:
                    yield from then(step)
            if slot.exchange:
                yield from self.exchange(slot.exchange, step)
            for e in slot.loops:
                yield from self.repeat(e, step)
            for number in slot.dead:
                values.pop(number, None)

    def planned(self, slot: Slot, looped: bool) -> Steps:
        """All that is the same at every step, looked up once."""
        local: list[tuple[tuple[Act, ...], Then | None]] = []
        for part in slot.parts:
            if part.swept:
                local.append(((), partial(self.sweep, self.swept(slot, part))))
            else:
                local += self.plain(slot, part, looped)
        return Steps(tuple(local), slot.exchange, slot.loops, self.forgotten(slot.party.dead))

    def plain(self, slot: Slot, part: Part, looped: bool) -> Iterator[tuple[tuple[Act, ...], Then | None]]:
        """Equations one after another, on whole values; what the dealer corrects of them comes first."""
        draw = self.corrected(part.deals)
        if draw is not None:
            yield (), partial(self.draw, draw)
        acts, rest = self.drawn(part.equations, looped)
        for act, equations in self.bindings(rest, slot.party.within(part)):
            if equations[-1].op in SAVED:
                yield tuple(acts), partial(self.save, equations[-1])
                acts = []
            acts += [] if act is None else [act]
            spent = self.forgotten([v for e in equations for v in slot.party.after.get(e, ())])
            acts += [self.forget(spent)] if spent else []
        yield tuple(acts), None

    def swept(self, slot: Slot, part: Part) -> Swept:
        """Equations on a few lanes at a time."""
        mine = [e for e in part.equations if e.outputs[0].type.kind is not Kind.DEALER]
        made, inside = {v for e in mine for v in e.outputs}, slot.party.within(part)
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

    def forgotten(self, values: Sequence[Var]) -> tuple[int, ...]:
        """Which of these to forget when nobody reads them any more: what takes memory and is no result."""
        return tuple(v.number for v in values if v.type.size > SMALL and v not in self.results_of)

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
        for i in range(times):
            values[step.number] = np.asarray(start + i, dtype=np.uint64)
            values.update(zip(into, state, strict=True))
            yield from self.block(e.body, iteration * times + i)
            state = [values[number] for number in out]
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

    def draw(self, d: Drawn, _step: int) -> Run:
        self.draws += 1
        arrays = yield Draw(self.draws, d.where, d.expect)
        _fits(arrays, d.expect, "the dealer", d.where)
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

    # exchanges -------------------------------------------------------------------------------------------------------

    def exchange(self, equations: list[Equation], step: int) -> Run:
        """One round: every opening, sending and reveal of a slot together."""
        swap = self.swaps.get(equations[0])
        if swap is None:
            swap = self.swaps[equations[0]] = self.swap(equations)
        send: dict[int, list[Array]] = {}
        mine: list[Any] = []
        for made, packed, to in swap.parts:
            words = made(step)
            mine.append(words)
            if to:
                array = packed(words)
                for peer in to:
                    send.setdefault(peer, []).append(array)
        self.exchanges += 1
        answer: Answer = {}
        if send or swap.expect:
            answer = yield Exchange(self.exchanges, swap.words, send, swap.expect, swap.reveals, swap.sharing)
            for peer, frames in swap.expect.items():
                _fits(answer.get(peer, []), frames, f"party {self.names[peer]}", swap.where)
        for (out, joined), words in zip(swap.joins, mine, strict=True):
            self.values[out] = joined(words, answer)
        if swap.gates and self.gate is not None:
            self.lowered.program.require({RANGES_HOLD: int(self.values[self.gate.number])})

    def swap(self, equations: list[Equation]) -> Swap:
        """What of a round is the same at every step of a loop."""
        expect: dict[int, list[Frame]] = {}
        parts, joins = [], []
        for e in equations:
            width = e.params.get("width", self.of(e.output.type).bits)
            sources = self.sources(e)
            places = [(peer, len(expect.get(peer, ()))) for peer in sources]
            for peer in sources:
                expect.setdefault(peer, []).append(frame_of(e.output.type.shape, width))
            made, to = self.part(e)
            parts.append((made, packing(width), to))
            joins.append((e.output.number, self.joined(e, places)))
        owed = {peer: tuple(frames) for peer, frames in expect.items()}
        reveals = tuple(e.params["name"] for e in equations if e.op == "reveal")
        sharing = all(e.op == "send" for e in equations)
        gates = any(e.op == "reveal" and e.output is self.gate for e in equations)
        first = equations[0]
        return Swap(spoken(first), first.where, tuple(parts), tuple(joins), owed, reveals, sharing, gates)

    def sources(self, e: Equation) -> list[int]:
        """From whom others' parts of one opening come."""
        if e.op == "send":
            owner = self.names.index(e.params["owner"])
            return [] if owner == self.me else [owner]
        return self.others() if e.op == "open" or self.me in recipients(e, self.names) else []

    def others(self) -> list[int]:
        return self.rest

    def part(self, e: Equation) -> tuple[Callable[[int], Any], list[int]]:
        """How this party's contribution to one opening is made at a step, and whom it goes to."""
        values, domain, t = self.values, self.of(e.output.type), e.output.type
        if e.op == "open":
            number, width = e.inputs[0].number, e.params["width"]
            if width >= domain.bits:
                return lambda _: values[number], self.others()
            return lambda _: domain.low(values[number], width), self.others()
        if e.op == "reveal":
            number, name = e.inputs[0].number, e.params["id"]
            to = [p for p in recipients(e, self.names) if p != self.me]
            return lambda step: domain.add(
                np.asarray(values[number]), self.zero_share(Position(name, step), t)
            ), to  # fmt: skip
        if self.names.index(e.params["owner"]) != self.me:
            return lambda _: None, []

        def masked(step: int) -> Any:
            at = Position(e.params["mask"], step)
            words = self.integers(e)
            for seed in self.entropy.own:
                block = self.blocks(seed, at, t)
                words = np.add(words, block, out=block if block.flags.writeable else None)  # nobody else has it
            return self.ring.reduce(words)

        return masked, self.others()

    def joined(self, e: Equation, places: list[tuple[int, int]]) -> Callable[[Any, Answer], Any]:
        """How the value of an opening is made of this party's words and the others', which stand in these places."""
        domain = self.of(e.output.type)
        width = e.params.get("width", domain.bits)
        unpacked = unpacking(width, e.where)
        if e.op == "send" and not places:
            return lambda mine, _: mine
        if e.op == "send":
            ((owner, at),) = places
            return lambda _, answer: unpacked(answer[owner][at])
        if e.op == "reveal" and self.me not in recipients(e, self.names):
            return lambda _mine, _answer: None

        def opened(mine: Any, answer: Answer) -> Any:
            words = mine
            for peer, at in places:
                words = domain.add(words, unpacked(answer[peer][at]))
            return domain.low(words, width)

        return opened

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


def _fits(arrays: list[Array], expect: tuple[Frame, ...], who: str, where: str) -> None:
    right = len(arrays) == len(expect)
    for a, f in zip(arrays, expect, strict=False):
        right = right and a.shape == f.shape and a.dtype.str == f.dtype
    if not right:
        raise PeerError(f"{who} sent arrays of the wrong number, type or shape ({where})")
