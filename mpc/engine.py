"""One party's part of a lowered program, as a generator: it asks for exchanges and corrections and does nothing else.

No sockets, no clock, no threads: `memory` and the ZeroMQ actors drive this same generator.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np

from mpc.errors import InputError, PeerError
from mpc.exchange import CHECKPOINT, Array, Draw, Exchange, Frame, Save, type_bytes, type_words
from mpc.fixed import decode, scalar
from mpc.ir import SAVED, Block, Equation, Kind, Type, Var, spoken, walk
from mpc.kernels import KERNELS, bind
from mpc.lowering import Lowered
from mpc.owner import FLOAT_KINDS, Locator, Where, held, own, shared_integers
from mpc.prg import PartyEntropy, Position
from mpc.programs import RANGES_HOLD
from mpc.ring import Domains, Shared, total
from mpc.schedule import Slot

__all__ = ["run_party"]

Request = Exchange | Draw | Save
Answer = Any
Run = Generator[Request, Answer, None]
Act = Callable[[int, dict[int, Array]], None]
_SMALL = 32  # words
_ADDED = frozenset({"add", "sub", "concatenate"})


def run_party(
    lowered: Lowered,
    me: int,
    inputs: Mapping[str, Any],
    entropy: PartyEntropy,
    kept: Mapping[str, Array | None] = MappingProxyType({}),
) -> Generator[Request, Answer, dict[str, Any]]:
    """The run of party number `me`. Yields requests, is sent their answers, returns the results that it may know.

    inputs: this party's own, by name (`Table` or array). entropy: its seeds. kept: what this party has put away in an
    earlier run and the program takes up: a checkpoint (`mpc.exchange.whole`), handles by the name of their parameter.
    Raises InputError (with its owner's name) when its own data is refused, PeerError when an answer has not the
    announced shape.
    """
    party = _Party(lowered, me, dict(inputs), entropy, kept)
    try:
        yield from party.block(lowered.block, 0)
    except InputError as error:
        raise error.of(lowered.parties[me]) from None
    return party.results()


@dataclass(frozen=True, slots=True)
class Swap:
    """What of an exchange the program fixes: its place in words, what each peer owes, what becomes known."""

    words: str
    expect: dict[int, tuple[Frame, ...]]
    reveals: tuple[str, ...]
    sharing: bool


def _nothing(_iteration: int, _dealt: dict[int, Array]) -> None:
    """The dealer's own: a party does not have it."""


class _Party:
    def __init__(
        self, lowered: Lowered, me: int, inputs: dict[str, Any], entropy: PartyEntropy, kept: Mapping[str, Any]
    ) -> None:
        self.lowered, self.me, self.inputs, self.entropy, self.kept = lowered, me, inputs, entropy, kept
        self.domains = Domains(lowered.bits)
        self.ring = self.domains.ring
        self.names = lowered.parties
        self.n = len(self.names)
        self.values: dict[int, Any] = {}
        self.buried: dict[int, dict[Equation, list[Var]]] = {}
        self.locator = Locator(lowered.block)
        self.exchanges = self.draws = 0
        self.results_of = set(lowered.outputs_by_name.values())
        self.saved: set[int] = set()  # the sites at which all that is needed is safe
        self.gate = lowered.outputs_by_name.get(RANGES_HOLD)
        self.acts: dict[Equation, Act] = {}
        self.swaps: dict[Equation, Swap] = {}
        self.rest = [i for i in range(self.n) if i != me]
        self.all_known = not any(self.hidden(e) for e in walk(lowered.block))

    def hidden(self, e: Equation) -> bool:
        """Whether some party is not shown this public number."""
        return e.op in ("reveal", "shown") and len(recipients(e, self.names)) < self.n

    # walking -----------------------------------------------------------------------------------------------------

    def block(self, b: Block, iteration: int) -> Run:
        """Every slot of a block, at a flat iteration index."""
        for slot in self.lowered.slots(b):
            dealt = (yield from self.draw(slot)) if slot.deals else {}
            spent = self.spent(slot)
            for e in slot.local:
                if e.op in SAVED:
                    yield from self.save(e, iteration)
                else:
                    self.local(e, iteration, dealt)
                if e in spent:
                    self.forget(spent[e])
            if slot.exchange:
                yield from self.exchange(slot.exchange, iteration)
            for e in slot.loops:
                yield from self.repeat(e, iteration)
            self.forget(slot.dead)

    def spent(self, slot: Slot) -> dict[Equation, list[Var]]:
        """What to forget after which local equation: small values are only in the way of speed, not of memory."""
        if id(slot) not in self.buried:
            large = {e: [v for v in vs if v.type.size > _SMALL] for e, vs in slot.spent.items()}
            self.buried[id(slot)] = {e: vs for e, vs in large.items() if vs}
        return self.buried[id(slot)]

    def forget(self, values: Iterable[Var]) -> None:
        """What nobody reads any more, results excepted."""
        for v in values:
            if v not in self.results_of:
                self.values.pop(v.number, None)

    def repeat(self, e: Equation, iteration: int) -> Run:
        assert e.body is not None
        times, carry, start = e.params["times"], e.params["carry"], e.params.get("start", 0)
        step, *params = e.body.params
        given = [self.values[v.number] for v in e.inputs]
        for p, value in zip(params[carry:], given[carry:], strict=True):
            self.values[p.number] = value
        state = given[:carry]
        for i in range(times):
            self.values[step.number] = np.asarray(start + i, dtype=np.uint64)
            for p, value in zip(params, state, strict=False):
                self.values[p.number] = value
            yield from self.block(e.body, iteration * times + i)
            state = [self.values[v.number] for v in e.body.results]
        for out, value in zip(e.outputs, state, strict=True):
            self.values[out.number] = value

    def draw(self, slot: Slot) -> Generator[Request, Answer, dict[int, Array]]:
        mine = [e for e in slot.deals if e.params["id"] % self.n == self.me]
        if not mine:
            return {}
        self.draws += 1
        expect = tuple(Frame(type_words, e.output.type.shape) for e in mine)
        arrays = yield Draw(self.draws, mine[0].where, expect)
        self._fits(arrays, expect, "the dealer", mine[0].where)
        return {e.output.number: a for e, a in zip(mine, arrays, strict=True)}

    def _fits(self, arrays: list[Array], expect: tuple[Frame, ...], who: str, where: str) -> None:
        right = len(arrays) == len(expect) and all(
            a.shape == f.shape and a.dtype.str == f.dtype for a, f in zip(arrays, expect, strict=True)
        )
        if not right:
            raise PeerError(f"{who} sent arrays of the wrong number, type or shape ({where})")

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

    # local equations -----------------------------------------------------------------------------------------------

    def local(self, e: Equation, iteration: int, dealt: dict[int, Array]) -> None:
        """One equation that needs nobody else."""
        act = self.acts.get(e)
        if act is None:
            act = self.acts[e] = self.bound(e)
        act(iteration, dealt)

    def bound(self, e: Equation) -> Act:
        """What to do for an equation at each step; all that is the same at every step is done here."""
        kind, out, values = e.outputs[0].type.kind, e.outputs[0].number, self.values
        if kind is Kind.DEALER:
            return _nothing
        if kind in FLOAT_KINDS:
            return lambda _iteration, _dealt: self.float(e)
        if e.op in _SOURCES:
            source, number = _SOURCES[e.op], e.params["id"]
            return lambda i, dealt: values.__setitem__(out, source(self, e, Position(number, i), dealt))
        if e.op in ("cast", "kept", "shown"):
            other = self.cast if e.op == "cast" else self.taken
            return lambda _iteration, _dealt: values.__setitem__(out, other(e))
        if len(e.outputs) > 1 or (kind in (Kind.PUBLIC, Kind.CONST) and not self.all_known):
            return lambda _iteration, _dealt: self.public(e)
        return self.arithmetic(e)

    def arithmetic(self, e: Equation) -> Act:
        """An op on what is there; of shares, what is public or const is added by the first party alone."""
        values, out, numbers = self.values, e.output.number, [v.number for v in e.inputs]
        kernel = bind(e.op, self.of(e.output.type), e.params)
        if not numbers:
            value = kernel()
            return lambda _iteration, _dealt: values.__setitem__(out, value)
        if self.me and e.op in _ADDED and e.output.type.kind in (Kind.SHARE, Kind.MASK):
            known = [v.type.kind in (Kind.PUBLIC, Kind.CONST) for v in e.inputs]
            kernel = kernel if not any(known) else self.without(e, known)
        if len(numbers) == 2:
            first, second = numbers

            def two(_iteration: int, _dealt: dict[int, Array]) -> None:
                values[out] = kernel(values[first], values[second])

            return two
        return lambda _iteration, _dealt: values.__setitem__(out, kernel(*[values[n] for n in numbers]))

    def without(self, e: Equation, known: list[bool]) -> Callable[..., Any]:
        """What is public or const is added to a share by the first party alone: for the others it is zero."""
        domain = self.of(e.output.type)
        if e.op == "concatenate":
            kernel = bind(e.op, domain, e.params)
            zeros = [np.broadcast_to(np.uint64(0), v.type.shape) for v in e.inputs]
            return lambda *xs: kernel(*[z if k else x for z, k, x in zip(zeros, known, xs, strict=True)])
        at, shape = known.index(False), e.output.type.shape
        negated = e.op == "sub" and at == 1

        def alone(*both: Any) -> Any:
            x = domain.neg(both[at]) if negated else both[at]
            return x if np.shape(x) == shape else np.broadcast_to(x, shape)

        return alone

    def public(self, e: Equation) -> None:
        values = [self.values[v.number] for v in e.inputs]
        missing = any(v is None for v in values)
        result = None if missing else KERNELS[e.op](self.of(e.outputs[0].type), e.params, *values)
        if len(e.outputs) == 1:
            self.values[e.output.number] = result
        else:
            for v, part in zip(e.outputs, result or (None,) * len(e.outputs), strict=True):
                self.values[v.number] = part

    def float(self, e: Equation) -> None:
        t = e.output.type
        mine = t.kind is Kind.CLEAR or t.owner == self.names[self.me]
        values = [self.values[v.number] for v in e.inputs] if mine else []
        known = mine and not any(v is None for v in values)
        self.values[e.output.number] = own(e, values, self.inputs, self.ring, self.where) if known else None

    def where(self, var: Var) -> Where:
        """Where the elements of a private value stand in its owner's file."""
        return self.locator.at(var, self.values)

    def cast(self, e: Equation) -> Any:
        (x,) = (self.values[v.number] for v in e.inputs)
        spread = e.output.type.kind in (Kind.SHARE, Kind.MASK) and e.inputs[0].type.kind in (Kind.PUBLIC, Kind.CONST)
        return np.zeros_like(x) if spread and self.me else x

    def taken(self, e: Equation) -> Any:
        """What an earlier run has put away; of a number that others were shown, nothing."""
        if e.op == "shown" and self.me not in recipients(e, self.names):
            return None
        return self.ring.reduce(held(self.kept, e.params["name"], e.output.type.shape))

    def of(self, t: Type) -> Shared:
        """The domain in which a value is shared."""
        return self.domains[t.bits]

    def blocks(self, seed: bytes, at: Position, t: Type) -> Any:
        """This party's pseudorandom words for one sharing."""
        return self.of(t).reduce(self.entropy.stream(seed, at, t.shape))

    def mask(self, e: Equation, at: Position, _: dict[int, Array]) -> Any:
        owner = e.output.type.owner
        seed = self.entropy.owners[self.names.index(owner)] if owner else self.entropy.dealer
        return self.blocks(seed, at, e.output.type)

    def deal(self, e: Equation, at: Position, dealt: dict[int, Array]) -> Any:
        if e.output.number in dealt:
            return self.of(e.output.type).reduce(np.asarray(dealt[e.output.number]))
        return self.blocks(self.entropy.dealer, at, e.output.type)

    def share(self, e: Equation, at: Position, _: dict[int, Array]) -> Any:
        """An owner's value, additively: the others' shares are the streams that it has with each of them."""
        owner, t = self.names.index(e.params["owner"]), e.output.type
        if owner != self.me:
            return self.blocks(self.entropy.pairs[owner], at, t)
        rest = [self.blocks(seed, at, t) for seed in self.entropy.pairs.values()]
        return self.ring.sub(self.integers(e), total(self.ring, rest))

    def integers(self, e: Equation) -> Any:
        x = e.inputs[0]
        return shared_integers(e, self.values[x.number], self.ring, self.where(x))

    # exchanges -------------------------------------------------------------------------------------------------------

    def exchange(self, equations: list[Equation], iteration: int) -> Run:
        """One round: every opening, sending and reveal of a slot together."""
        swap = self.swaps.get(equations[0])
        if swap is None:
            swap = self.swaps[equations[0]] = self.swap(equations)
        send: dict[int, list[Array]] = {}
        mine: list[Any] = []
        for e in equations:
            words, to = self.part(e, iteration)
            mine.append(words)
            if to:
                packed = self.packed(words, e)
                for peer in to:
                    send.setdefault(peer, []).append(packed)
        self.exchanges += 1
        answer: Answer = {}
        if send or swap.expect:
            answer = yield Exchange(self.exchanges, swap.words, send, swap.expect, swap.reveals, swap.sharing)
            for peer, frames in swap.expect.items():
                self._fits(answer.get(peer, []), frames, f"party {self.names[peer]}", equations[0].where)
        queues = {peer: iter(answer[peer]) for peer in swap.expect}
        for e, words in zip(equations, mine, strict=True):
            self.values[e.output.number] = self.joined(e, words, queues)
            if e.op == "reveal" and e.output is self.gate:
                self.lowered.program.require({RANGES_HOLD: int(self.values[e.output.number])})

    def swap(self, equations: list[Equation]) -> Swap:
        """What of a round is the same in every step of a loop."""
        expect: dict[int, list[Frame]] = {}
        for e in equations:
            for peer in self.sources(e):
                expect.setdefault(peer, []).append(self.frame_of(e))
        reveals = tuple(e.params["name"] for e in equations if e.op == "reveal")
        sharing = all(e.op == "send" for e in equations)
        return Swap(spoken(equations[0]), {p: tuple(f) for p, f in expect.items()}, reveals, sharing)

    def sources(self, e: Equation) -> list[int]:
        """From whom others' parts of one opening come."""
        if e.op == "send":
            owner = self.names.index(e.params["owner"])
            return [] if owner == self.me else [owner]
        return self.others() if e.op == "open" or self.me in recipients(e, self.names) else []

    def others(self) -> list[int]:
        return self.rest

    def part(self, e: Equation, iteration: int) -> tuple[Any, list[int]]:
        """This party's contribution to one opening, and whom it goes to."""
        x: Any = self.values[e.inputs[0].number] if e.op != "send" else None
        if e.op == "open":
            return self.of(e.output.type).low(x, e.params["width"]), self.others()
        if e.op == "reveal":
            at = Position(e.params["id"], iteration)
            to = recipients(e, self.names)
            words = self.of(e.output.type).add(np.asarray(x), self.zero_share(at, e.output.type))
            return words, [p for p in to if p != self.me]
        owner = self.names.index(e.params["owner"])
        if owner != self.me:
            return None, []
        at = Position(e.params["mask"], iteration)
        lam = total(self.ring, [self.blocks(seed, at, e.output.type) for seed in self.entropy.own])
        return self.ring.add(self.integers(e), lam), self.others()

    def zero_share(self, at: Position, t: Type) -> Any:
        """A sharing of zero from pairwise streams that the dealer never has: fresh at every reveal (rule 6)."""
        z, domain = np.zeros(t.shape, dtype=np.uint64), self.of(t)
        for peer, seed in self.entropy.zeros.items():
            words = self.blocks(seed, at, t)
            z = domain.add(z, words) if peer > self.me else domain.sub(z, words)
        return z

    def frame_of(self, e: Equation) -> Frame:
        width = e.params.get("width", self.of(e.output.type).bits)
        return frame_of(e.output.type.shape, width)

    def packed(self, values: Any, e: Equation) -> Array:
        """Words for the wire; a narrow opening as its low bytes only (rule 9)."""
        width = e.params.get("width", self.of(e.output.type).bits)
        words: Array = np.asarray(values, dtype="<u8", order="C")
        if width > 56:
            return words
        octets = words.reshape(-1, 1).view(np.uint8)[:, : (width + 7) // 8]
        return np.ascontiguousarray(octets).reshape(*words.shape, octets.shape[1])

    def unpacked(self, a: Array, e: Equation) -> Any:
        """The inverse of `packed`; a peer's word wider than the opening is refused."""
        width = e.params.get("width", self.of(e.output.type).bits)
        if width <= 56:
            words = np.zeros((*a.shape[:-1], 8), dtype=np.uint8)
            words[..., : a.shape[-1]] = a
            a = words.view("<u8")[..., 0]
        if width < 64 and a.size and int(a.max()) >> width:
            raise PeerError(f"a peer sent more than {width} bits for an opening of {width} ({e.where})")
        return a

    def joined(self, e: Equation, mine: Any, queues: dict[int, Any]) -> Any:
        if e.op == "send":
            owner = self.names.index(e.params["owner"])
            return mine if owner == self.me else self.unpacked(next(queues[owner]), e)
        if e.op == "reveal" and self.me not in recipients(e, self.names):
            return None
        parts = [self.unpacked(next(queues[p]), e) for p in self.others()]
        domain = self.of(e.output.type)
        return domain.low(total(domain, [mine, *parts]), e.params.get("width", domain.bits))

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


_SOURCES = {"mask": _Party.mask, "owner_mask": _Party.mask, "deal": _Party.deal, "share": _Party.share}


def recipients(e: Equation, names: list[str]) -> list[int]:
    """The computing parties that a reveal goes to."""
    to = e.params["to"]
    return list(range(len(names))) if to == "everyone" else [i for i, name in enumerate(names) if name in to]


def frame_of(shape: tuple[int, ...], width: int) -> Frame:
    """How an opening of `width` bits travels: whole words above 56 bits, else ⌈width/8⌉ bytes an element."""
    return Frame(type_words, shape) if width > 56 else Frame(type_bytes, (*shape, (width + 7) // 8))
