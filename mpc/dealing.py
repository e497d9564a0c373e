"""The dealing program: the backward slice of a lowered program from its deals, run on masks in the clear.

The dealer derives every mask from its seeds and sends, for each dealt value, one correction to one party. It never sees
an opening, and what it sends depends on nothing but the program and its seeds, so it can run as far ahead as it likes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Any

import numpy as np

from mpc.batch import MASKS, Batch, Steps, batch_of
from mpc.exchange import Array, Frame
from mpc.ir import Block, Equation, Var, walk
from mpc.kernels import KERNELS
from mpc.lanes import Part, Sweep, piece_of
from mpc.lowering import Lowered
from mpc.prg import DealerEntropy, Position, steps_of
from mpc.ring import Domains, total
from mpc.schedule import DEALT, Spent, receiver

__all__ = ["Correction", "Dealt", "needed_for_dealing", "run_dealer"]


@dataclass(frozen=True)
class Correction:
    """What one party is dealt at one point of the program; `number` counts these from 1."""

    party: int
    number: int
    arrays: list[Array] = field(repr=False)


class Dealt:
    """All that one party was dealt, as one stream of words: where draws end is the engine's affair."""

    def __init__(self) -> None:
        self._words: deque[Array] = deque()
        self._here = 0

    def __repr__(self) -> str:
        return f"<Dealt: {self._here} words>"

    def put(self, correction: Correction) -> None:
        """The next correction."""
        self._words.extend(a.ravel() for a in correction.arrays)
        self._here += sum(a.size for a in correction.arrays)

    def cut(self, expect: Sequence[Frame]) -> list[Array] | None:
        """The next arrays of these shapes; None if they are not all here."""
        if self._here < sum(prod(frame.shape) for frame in expect):
            return None
        return [self._next(prod(frame.shape)).reshape(frame.shape) for frame in expect]

    def _next(self, size: int) -> Array:
        self._here -= size
        pieces = [np.empty(0, "<u8")]
        while size:
            words = self._words.popleft()
            pieces.append(words[:size])
            if len(words) > size:
                self._words.appendleft(words[size:])
            size -= len(pieces[-1])
        return pieces[1] if len(pieces) == 2 else np.concatenate(pieces)


def needed_for_dealing(top: Block) -> set[Var]:
    """The values that deals depend on, through loops."""
    needed: set[Var] = set()
    size: int | None = None
    while size != len(needed):
        size = len(needed)
        for e in reversed(list(walk(top))):
            if e.op == "repeat":
                _through_loop(e, needed)
            elif e.op == "deal" or any(v in needed for v in e.outputs):
                needed.update(v for v in e.inputs if v.type.kind in DEALT)
    return needed


def _through_loop(e: Equation, needed: set[Var]) -> None:
    assert e.body is not None
    for i, p in enumerate(e.body.params[1:]):
        state = i < e.params["carry"]
        if p in needed or (state and e.outputs[i] in needed):
            needed.add(e.inputs[i])
            if state:
                needed |= {p, e.body.results[i]}


def run_dealer(lowered: Lowered, entropy: DealerEntropy) -> Iterator[Correction]:
    """Every correction of a run, in program order."""
    dealer = _Dealer(lowered, entropy)
    yield from dealer.block(lowered.block, 0)


class _Dealer:
    def __init__(self, lowered: Lowered, entropy: DealerEntropy) -> None:
        self.lowered, self.domains = lowered, Domains(lowered.bits)
        self.entropy, self.names = entropy, lowered.parties
        self.needed = {v.number for v in needed_for_dealing(lowered.block)}
        self.values: dict[int, Any] = {}
        self.draws = [0] * len(self.names)
        self.pieces: dict[tuple[int, int], list[Equation]] = {}
        self.batches: dict[Block, Batch | None] = {}
        self.sweeping: Part | None = None
        self.start = 0  # of the lanes that are being done

    def block(self, b: Block, iteration: int) -> Iterator[Correction]:
        for slot in self.lowered.slots(b):
            for part in slot.parts:
                if part.swept:
                    yield from self.sweep(part, slot.dealer, iteration)
                else:
                    yield from self.part(part.equations, iteration, slot.dealer)
            for e in slot.loops:
                yield from self.repeat(e, iteration)
            for v in slot.dealer.dead:
                self.values.pop(v.number, None)

    def part(self, equations: Sequence[Equation], iteration: int, spent: Spent) -> Iterator[Correction]:
        """Equations one after another, then what they deal."""
        corrections: dict[int, list[Array]] = {}
        for e in equations:
            self.equation(e, iteration, corrections)
            for v in spent.after.get(e, ()):
                self.values.pop(v.number, None)
        for party, arrays in sorted(corrections.items()):
            self.draws[party] += 1
            yield Correction(party, self.draws[party], arrays)

    def sweep(self, part: Part, spent: Spent, iteration: int) -> Iterator[Correction]:
        """The same over a few lanes at a time, as the parties do it."""
        mine = [e for e in part.equations if e.op == "deal" or any(v.number in self.needed for v in e.outputs)]
        made = {v for e in mine for v in e.outputs if v.number in self.needed}
        read = {v for e in mine for v in e.inputs if v in part.layouts} - part.made
        lanes = Sweep(part, self.values, made - spent.within(part), read)
        self.sweeping = part
        for self.start, count in lanes.pieces():
            if (id(part), count) not in self.pieces:
                self.pieces[id(part), count] = part.narrowed(count)
            yield from self.part(self.pieces[id(part), count], iteration, Spent())
        self.sweeping = None
        for v in (v for e in mine for v in spent.after.get(e, ())):
            self.values.pop(v.number, None)

    def repeat(self, e: Equation, iteration: int) -> Iterator[Correction]:
        assert e.body is not None
        body = e.body
        if not any(v.number in self.needed for v in e.outputs) and not any(inner.op == "deal" for inner in walk(body)):
            return
        carry, (step, *params) = e.params["carry"], body.params
        pairs = list(zip(params, e.inputs, strict=True))
        for p, v in pairs:
            if p.number in self.needed:
                self.values[p.number] = self.values[v.number]
        times, start = e.params["times"], e.params.get("start", 0)
        batch = self.batch(body, carry)
        if batch is None:
            yield from self.one_by_one(body, iteration * times, times, start)
        else:
            yield from self.many(batch, iteration * times, times, step, start)
        for out, p in zip(e.outputs, params[:carry], strict=True):
            if p.number in self.needed:
                self.values[out.number] = self.values[p.number]

    def one_by_one(self, body: Block, first: int, times: int, start: int) -> Iterator[Correction]:
        """The steps of a loop, from the flat index `first` on."""
        step, *params = body.params
        for i in range(times):
            self.values[step.number] = np.asarray(start + i, dtype=np.uint64)
            yield from self.block(body, first + i)
            state = [self.values.get(v.number) for v in body.results]
            for p, value in zip(params, state, strict=False):  # what stays the same comes after the state
                if p.number in self.needed:
                    self.values[p.number] = value

    def batch(self, body: Block, carry: int) -> Batch | None:
        if body not in self.batches:
            slots = self.lowered.slots(body)
            self.batches[body] = batch_of(body, slots, carry, self.needed, len(self.names))
        return self.batches[body]

    def many(self, batch: Batch, first: int, times: int, step: Var, start: int) -> Iterator[Correction]:
        """The same, many at once; their corrections in the order of the program."""
        for done in range(0, times, batch.steps):
            count, at = min(batch.steps, times - done), first + done
            steps = Steps(self, batch, at, count, step, start + done)
            steps.run()
            all_blocks = partial(self.of_steps, first=at, count=count)
            words = {e: self.correction(e, steps.value(e.inputs[0]), all_blocks) for e in batch.together}
            for i in range(count):
                steps.late(i)
                blocks = partial(self.blocks, iteration=at + i)
                for party, deals in batch.deals:
                    arrays = [
                        words[e][i, ...] if e in words else self.correction(e, steps.at(e.inputs[0], i), blocks)
                        for e in deals
                    ]
                    self.draws[party] += 1
                    yield Correction(party, self.draws[party], arrays)
            steps.leave()
        for v in batch.made:
            self.values.pop(v.number, None)

    def equation(self, e: Equation, iteration: int, corrections: dict[int, list[Array]]) -> None:
        if e.op == "deal":
            self.deal(e, iteration, corrections)
        elif any(v.number in self.needed for v in e.outputs):
            results = self.evaluate(e, iteration)
            for v, value in zip(e.outputs, results, strict=True):
                self.values[v.number] = value

    def evaluate(self, e: Equation, iteration: int) -> tuple[Any, ...]:
        if e.op in MASKS:
            return (self.mask(e, partial(self.blocks, iteration=iteration)),)
        inputs = [self.values[v.number] for v in e.inputs]
        if e.op == "cast":
            return (inputs[0],)
        result = KERNELS[e.op](self.domains[e.outputs[0].type.bits], e.params, *inputs)
        return result if len(e.outputs) > 1 else (np.asarray(result),)

    def mask(self, e: Equation, blocks: Callable[[bytes, Equation], Any]) -> Any:
        """The sum of the parties' shares of it."""
        owner = e.output.type.owner
        seeds = self.entropy.owners[self.names.index(owner)] if owner else self.entropy.parties
        return total(self.domains[e.output.type.bits], [blocks(s, e) for s in seeds])

    def masks(self, e: Equation, first: int, count: int) -> Any:
        """The same in so many steps."""
        return self.mask(e, partial(self.of_steps, first=first, count=count))

    def blocks(self, seed: bytes, e: Equation, iteration: int) -> Any:
        """One share that comes from a stream."""
        stream, at, v = self.entropy.stream, Position(e.params["id"], iteration), e.output
        if self.sweeping is None:
            words = stream(seed, at, v.type.shape)
        else:
            words = piece_of(stream, seed, at, v.type, self.sweeping, v.number, self.start)
        return self.domains[v.type.bits].reduce(words)

    def of_steps(self, seed: bytes, e: Equation, first: int, count: int) -> Any:
        """The same in so many steps."""
        at, t = Position(e.params["id"], first), e.output.type
        return self.domains[t.bits].reduce(steps_of(self.entropy.stream, seed, at, count, t.shape))

    def deal(self, e: Equation, iteration: int, corrections: dict[int, list[Array]]) -> None:
        value = self.values[e.inputs[0].number]
        words = self.correction(e, value, partial(self.blocks, iteration=iteration))
        corrections.setdefault(receiver(e, len(self.names)), []).append(words)
        if e.output.number in self.needed:
            self.values[e.output.number] = value

    def correction(self, e: Equation, value: Any, blocks: Callable[[bytes, Equation], Any]) -> Array:
        """All shares but one come from streams; the one party `id mod n` is sent what is missing (rule 3)."""
        party = receiver(e, len(self.names))
        domain = self.domains[e.output.type.bits]
        rest = total(domain, [blocks(s, e) for i, s in enumerate(self.entropy.parties) if i != party])
        return np.asarray(domain.sub(value, rest), dtype="<u8", order="C")
