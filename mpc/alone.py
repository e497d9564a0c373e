"""What a party computes without the others: every equation of a lowered program that is no exchange and no loop.

An equation is bound once, with all that is the same at every step of a loop, and is then a function of the step alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mpc.crossing import Crossing
from mpc.fusing import SineSum, sine_sums
from mpc.ir import SAVED, Equation, Kind, Type, Var, walk
from mpc.kernels import KERNELS, bind, direct
from mpc.lanes import BLOCKS, Part, piece_of
from mpc.lowering import Lowered
from mpc.openings import recipients
from mpc.owner import FLOAT_KINDS, Locator, Where, held, own, shared_integers
from mpc.prg import Ahead, PartyEntropy, Position, Streams
from mpc.ring import Domains, Shared, total
from mpc.schedule import receiver
from mpc.words import OPS, fused

__all__ = ["SMALL", "SOURCES", "Act", "Alone"]

Act = Callable[[int], None]
SMALL = 32  # words: to forget a value of so few is only in the way of speed
_AHEAD = 1 << 10  # words of a block that is made for many steps at once
_BETWEEN = 1 << 23  # words of streams between parties that may be drawn before the run
_KNOWN = frozenset({Kind.PUBLIC, Kind.CONST})
_WORDS = _KNOWN | {Kind.SHARE, Kind.MASK}
_ADDED = frozenset({"add", "sub", "concatenate"})


class Alone:
    """One party's values, by the number of their variable, and how each is made."""

    def __init__(
        self, lowered: Lowered, me: int, inputs: dict[str, Any], entropy: PartyEntropy, kept: Mapping[str, Any]
    ) -> None:
        self.lowered, self.me, self.inputs, self.entropy, self.kept = lowered, me, inputs, entropy, kept
        self.domains = Domains(lowered.bits)
        self.ring = self.domains.ring
        self.names = lowered.parties
        self.n = len(self.names)
        self.values: dict[int, Any] = {}
        self.locator = Locator(lowered.block)
        self.fixed: set[Var] = set()  # the same at every step, and there already
        self.early = False  # what is being bound runs once and first, so that what follows from streams is made now
        self.before: dict[Equation, Any] = {}  # what is known for an equation before its operands are
        self.room = _BETWEEN  # what is left of that
        self.start = 0  # of the lanes that are being done
        self.all_known = not any(self.hidden(e) for e in walk(lowered.block))

    def release(self) -> None:
        """Let go of all values and keys now: what is bound refers to this object, which the collector finds late."""
        self.values.clear()
        self.entropy = PartyEntropy(b"", (), (), {}, {})
        self.inputs.clear()
        self.before.clear()

    def hidden(self, e: Equation) -> bool:
        """Whether some party is not shown this public number."""
        return e.op in ("reveal", "shown") and len(recipients(e, self.names)) < self.n

    def mine(self, e: Equation) -> bool:
        """Whether the dealer corrects this party's share of a dealt value; the others' come from streams (rule 3)."""
        return receiver(e, self.n) == self.me

    def streamed(
        self, equations: Sequence[Equation], looped: bool
    ) -> tuple[list[tuple[Ahead, list[int]]], list[Equation]]:
        """The shorter blocks of masks and dealt values among these, made many steps at a time; and what is left.

        The blocks of each stream together, with the numbers of the values that they are.
        """
        few = _AHEAD if looped else SMALL  # what is drawn once is drawn before the data, by itself
        seeds = {e: seed for e in equations if (seed := self._seed(e)) and 0 < e.output.type.size <= few}
        if not isinstance(self.entropy.stream, Streams):  # a test's, which is asked for each block by itself
            return [], list(equations)
        together = [[e for e, s in seeds.items() if s == seed] for seed in dict.fromkeys(seeds.values())]
        masks = [(self._ahead(group, looped), [e.output.number for e in group]) for group in together]
        return masks, [e for e in equations if e not in seeds]

    def _seed(self, e: Equation) -> bytes:
        """Of which stream an equation is a block, if it is one alone."""
        if e.op in ("mask", "owner_mask"):
            owner = e.output.type.owner
            return self.entropy.owners[self.names.index(owner)] if owner else self.entropy.dealer
        return self.entropy.dealer if e.op == "deal" and not self.mine(e) else b""

    def _ahead(self, equations: list[Equation], looped: bool) -> Ahead:
        places = [(e.params["id"], e.output.type.shape) for e in equations]
        masks = [self.of(e.output.type).reduce for e in equations]
        return Ahead(self._seed(equations[0]), places, masks, looped)

    def drawn(self, ahead: Ahead, outs: list[int]) -> Act:
        """Take the words of the step that is under way."""
        values = self.values

        def act(step: int) -> None:
            at = ahead.at(step)
            for out, words in zip(outs, ahead.words, strict=True):
                values[out] = words[at, ...]

        return act

    def piece(self, e: Equation, part: Part) -> Act:
        """The words of some lanes of a mask or a dealt value of this part; e is narrowed to them."""
        values, out, number, t = self.values, e.output.number, e.params["id"], e.output.type
        stream, seed, reduce = self.entropy.stream, self._seed(e), self.of(t).reduce

        def act(step: int) -> None:
            values[out] = reduce(piece_of(stream, seed, Position(number, step), t, part, out, self.start))

        return act

    def bindings(
        self, equations: Sequence[Equation], inside: set[Var], part: Part | None = None, *, looped: bool = False
    ) -> Iterator[tuple[Act | None, list[Equation]]]:
        """What to do for these, in order, each with the equations that it is for.

        Several for a sum in one kernel, and for single words in a loop. inside: what nobody else reads. part: of which
        these do some lanes.
        """
        found = sine_sums(equations, {v.number for v in inside}) if self.ring.bits == 64 and self.all_known else {}
        sums = {e: one for e, one in found.items() if one.takes}
        steps = {step for one in sums.values() for step in one.steps}
        words: list[Equation] = []  # that become one function
        act: Act | None
        for e in equations:
            if e in steps:
                continue
            if e in sums:
                act, done = self.summed(sums[e], e), [*sums[e].steps, e]
            elif part is not None and e.op in BLOCKS and not (e.op == "deal" and self.mine(e)):
                act, done = self.piece(e, part), [e]
            elif looped and self.is_word(e):
                words.append(e)
                continue
            else:
                act, done = self.bound(e, again=part is not None), [e]
            if words and (act is not None or e.op in SAVED):
                yield self.worded(words, equations, inside), words
                words = []
            yield act, done
        if words:
            yield self.worded(words, equations, inside), words

    def is_single(self, v: Var) -> bool:
        """Whether a value is one word of 64 bits that every party knows, or has a share of."""
        t = v.type
        return self.ring.bits == 64 and self.all_known and t.shape == () and t.bits == 0 and t.kind in _WORDS

    def is_word(self, e: Equation) -> bool:
        """Whether an equation is on single words of the ring, which this party has, and not the same at every step."""
        if e.op not in OPS or self.fixed.issuperset(e.inputs):
            return False
        types = [v.type for v in (*e.inputs, e.output)]
        single = all(t.shape == () and t.bits == 0 and t.kind in _WORDS for t in types)
        return single and (self.all_known or all(t.kind not in _KNOWN for t in types))

    def worded(self, words: Sequence[Equation], equations: Sequence[Equation], inside: set[Var]) -> Act:
        """These as one function; what is read by others of the equations, or outside, is kept."""
        together = set(words)
        read = {v for e in equations if e not in together for v in e.inputs}
        kept = [e.output.number for e in words if e.output not in inside or e.output in read]
        return fused(words, self.not_mine, kept, self.values, self.ring.bits)

    def not_mine(self, e: Equation) -> list[int]:
        """Which operands of a sum of shares the first party alone adds, if this is another: what all know."""
        if not self.me or e.op not in _ADDED or e.output.type.kind not in (Kind.SHARE, Kind.MASK):
            return []
        return [at for at, v in enumerate(e.inputs) if v.type.kind in _KNOWN]

    def summed(self, one: SineSum, e: Equation) -> Act:
        """A sine sum, as the value that this equation gives."""
        values, out, x = self.values, e.output.number, one.series.inputs[0].number
        kernel = one.bound(self.ring)

        def act(_: int) -> None:
            values[out] = kernel(values[x], values[one.cosines], values[one.sines])

        return act

    def bound(self, e: Equation, *, again: bool = False) -> Act | None:
        """What to do alone for an equation at each step; None if that is nothing, as for the dealer's own.

        again: its value is gone after each piece, so that one which is the same at every step is made anew too.
        """
        if e.op in SAVED or (e.op == "deal" and self.mine(e)):
            return None
        kind, out, values = e.outputs[0].type.kind, e.outputs[0].number, self.values
        if kind is Kind.DEALER:
            return None
        if kind in FLOAT_KINDS:
            return lambda _: self.float(e)
        if e.op in SOURCES:
            return self.sourced(e)
        if e.op in {"shown", "kept"}:
            return lambda _: values.__setitem__(out, self.taken(e))
        if len(e.outputs) > 1 or (e.op != "cast" and kind in _KNOWN and not self.all_known):
            return lambda _: self.public(e)
        act = _LOCAL.get(e.op, Alone.arithmetic)(self, e)
        if again or not self.fixed.issuperset(e.inputs) or (e.output.type.size > SMALL and not self.early):
            return act
        act(0)  # what is made of constants alone is one, and so is what masks say that are drawn once
        self.fixed.add(e.output)
        return None

    def sourced(self, e: Equation) -> Act | None:
        """Words of streams: at once, if this is early. Of its own input an owner adds what is left, when it has it."""
        source, number, values, out = SOURCES[e.op], e.params["id"], self.values, e.output.number
        between = e.op == "share"

        def act(step: int) -> None:
            values[out] = source(self, e, Position(number, step))

        if not self.early or (between and not self.room_for(e)):
            return act
        if between and self.names.index(e.params["owner"]) == self.me:
            self.before[e] = self.others_shares(e, Position(number, 0))
            return act
        act(0)
        self.fixed.add(e.output)
        return None

    def room_for(self, e: Equation) -> bool:
        """Whether as many words as its result has may be made early; they are counted."""
        size = e.output.type.size
        if size > self.room:
            return False
        self.room -= size
        return True

    def known(self, e: Equation, make: Callable[[], Any]) -> Any:
        """What was made for an equation before, once; else made now."""
        found = self.before.pop(e, None)
        return make() if found is None else found

    def arithmetic(self, e: Equation) -> Act:
        """An op on what is there; of shares, what is public or const is added by the first party alone."""
        others = self.not_mine(e)
        if not others and (act := self.directly(e)) is not None:
            return act
        values, out, numbers = self.values, e.output.number, [v.number for v in e.inputs]
        kernel = self.without(e, others) if others else bind(e.op, self.of(e.output.type), e.params)
        if not numbers:
            value = kernel()
            return lambda _: values.__setitem__(out, value)
        if len(numbers) > 2:
            return lambda _: values.__setitem__(out, kernel(*[values[n] for n in numbers]))
        first, second = numbers[0], numbers[-1]

        def one(_: int) -> None:
            values[out] = kernel(values[first])

        def two(_: int) -> None:
            values[out] = kernel(values[first], values[second])

        return one if len(numbers) == 1 else two

    def directly(self, e: Equation) -> Act | None:
        """As `arithmetic`, of an op that is a single numpy function; single words stay arrays, not numpy's scalars."""
        v = e.output
        ufunc, constant = direct(e.op, self.of(v.type), e.params)
        if ufunc is None:
            return None
        values, out, first, second = self.values, v.number, e.inputs[0].number, e.inputs[-1].number
        if constant:
            (by,) = constant

            def shift(_: int) -> None:
                values[out] = ufunc(values[first], by, out=...)

            return shift
        if len(e.inputs) == 1:

            def one(_: int) -> None:
                values[out] = ufunc(values[first], out=...)

            return one

        def two(_: int) -> None:
            values[out] = ufunc(values[first], values[second], out=...)

        return two

    def crossed(self, e: Equation) -> Act:
        """The product of two wires; what their masks alone say of it is computed now, if they are there already."""
        values, out, masks = self.values, e.output.number, e.inputs[1::2]
        crossing = Crossing(self.ring, self.me, self.n, e.output.type.shape, e.params["divided"])
        dx, lx, dy, ly = (v.number for v in e.inputs)
        if self.fixed.issuperset(masks):
            self.before[e] = crossing.before(values[lx], values[ly])

        def act(_: int) -> None:
            values[out] = crossing.share(values[dx], values[lx], values[dy], values[ly], self.before.pop(e, None))

        return act

    def without(self, e: Equation, others: list[int]) -> Callable[..., Any]:
        """What is public or const is added to a share by the first party alone: for the others it is zero."""
        domain = self.of(e.output.type)
        if e.op == "concatenate":
            kernel = bind(e.op, domain, e.params)
            zeros = {at: np.broadcast_to(np.uint64(0), e.inputs[at].type.shape) for at in others}
            return lambda *xs: kernel(*[zeros.get(at, x) for at, x in enumerate(xs)])
        (at,), shape = {0, 1}.difference(others), e.output.type.shape
        negated = e.op == "sub" and at == 1

        def alone(*both: Any) -> Any:
            x = domain.neg(both[at]) if negated else both[at]
            return x if np.shape(x) == shape else np.broadcast_to(x, shape)

        return alone

    def cast(self, e: Equation) -> Act:
        """The same value as of another kind; what all know is the first party's share, and zero is the others'."""
        values, out, number = self.values, e.output.number, e.inputs[0].number
        spread = e.output.type.kind in (Kind.SHARE, Kind.MASK) and e.inputs[0].type.kind in _KNOWN
        if spread and self.me:
            return lambda _: values.__setitem__(out, np.zeros_like(values[number]))
        return lambda _: values.__setitem__(out, values[number])

    def public(self, e: Equation) -> None:
        """An op on public numbers that this party may not have been shown."""
        values = [self.values[v.number] for v in e.inputs]
        missing = any(v is None for v in values)
        result = None if missing else KERNELS[e.op](self.of(e.outputs[0].type), e.params, *values)
        if len(e.outputs) == 1:
            self.values[e.output.number] = result
        else:
            for v, part in zip(e.outputs, result or (None,) * len(e.outputs), strict=True):
                self.values[v.number] = part

    def float(self, e: Equation) -> None:
        """An op on an owner's own numbers, or on revealed ones."""
        t = e.output.type
        mine = t.kind is Kind.CLEAR or t.owner == self.names[self.me]
        values = [self.values[v.number] for v in e.inputs] if mine else []
        known = mine and not any(v is None for v in values)
        self.values[e.output.number] = own(e, values, self.inputs, self.ring, self.where) if known else None

    def where(self, var: Var) -> Where:
        """Where the elements of a private value stand in its owner's file."""
        return self.locator.at(var, self.values)

    def taken(self, e: Equation) -> Any:
        """What an earlier run has put away; of a number that others were shown, nothing."""
        if e.op == "shown" and self.me not in recipients(e, self.names):
            return None
        return self.ring.reduce(held(self.kept, e.params["name"], e.output.type.shape))

    def of(self, t: Type) -> Shared:
        """The domain in which a value is shared."""
        return self.domains[t.bits]

    # blocks of streams -------------------------------------------------------------------------------------------

    def blocks(self, seed: bytes, at: Position, t: Type) -> Any:
        """This party's pseudorandom words for one sharing."""
        return self.of(t).reduce(self.entropy.stream(seed, at, t.shape))

    def from_stream(self, e: Equation, at: Position) -> Any:
        """This party's part of a mask, or of a dealt value that the dealer corrects at another party."""
        return self.blocks(self._seed(e), at, e.output.type)

    def share(self, e: Equation, at: Position) -> Any:
        """An owner's value, additively: the others' shares are the streams that it has with each of them."""
        owner, t = self.names.index(e.params["owner"]), e.output.type
        if owner != self.me:
            return self.blocks(self.entropy.pairs[owner], at, t)
        return self.ring.sub(self.integers(e), self.known(e, lambda: self.others_shares(e, at)))

    def others_shares(self, e: Equation, at: Position) -> Any:
        """Of an input of this party's, what all others have together."""
        return total(self.ring, [self.blocks(seed, at, e.output.type) for seed in self.entropy.pairs.values()])

    def integers(self, e: Equation) -> Any:
        """An owner's numbers as ring integers."""
        x = e.inputs[0]
        return shared_integers(e, self.values[x.number], self.ring, self.where(x))

    def zero_share(self, at: Position, t: Type) -> Any:
        """A sharing of zero from pairwise streams that the dealer never has: fresh at every reveal (rule 6)."""
        z, domain = np.zeros(t.shape, dtype=np.uint64), self.of(t)
        for peer, seed in self.entropy.zeros.items():
            words = self.blocks(seed, at, t)
            z = domain.add(z, words) if peer > self.me else domain.sub(z, words)
        return z


_LOCAL = {"cast": Alone.cast, "cross": Alone.crossed}
SOURCES = {"mask": Alone.from_stream, "owner_mask": Alone.from_stream, "deal": Alone.from_stream, "share": Alone.share}
