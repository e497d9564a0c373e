"""Stated ranges, checked while the program runs: a pass over a traced program.

Every `assume` gets two comparisons an element; what is outside is counted, over all elements, steps and statements.
[count = 0] is the one bit that is revealed, to everyone, and whatever does not lead to that bit waits for it: its
reveals are multiplied by the bit, so that only zeros could come out where a statement was false. Every party refuses to
go on as well. Why a comparison is right wherever in the ring a value lies, and what no check can see:
docs/decisions/verified-ranges.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from mpc.checkpoints import interval, with_checkpoints, without_checkpoints
from mpc.errors import OverflowRefusal
from mpc.ir import Block, Equation, Kind, Type, Var, walk
from mpc.programs import RANGES_HOLD, Program, renumber
from mpc.types import HEADROOM, surface_type

__all__ = ["verified"]


def verified(program: Program) -> Program:
    """The program with all its stated ranges checked, and one more result, `ranges hold`, which is 1 or the run fails.

    A program that states none comes back as it is, as does one that is checked already. Rounds: up to 2
    for the comparisons, in a loop 2 a step, 2 for the count and 1 for the bit, fewer where they fit between others; an
    element sends what two comparisons do. `plan` has both exactly. A reveal on which a
    checked value depends, or one inside a loop, cannot wait for the bit: `notes` lists it.
    Raises OverflowRefusal, with the source line, for a statement that is wider than the ring.
    """
    if RANGES_HOLD in program.outputs_by_name or not any(e.op == "assume" for e in walk(program.block)):
        return program
    every = interval(program)
    if every:  # what is counted is part of a loop's state
        return with_checkpoints(verified(without_checkpoints(program)), every)
    return _gated(Program.parse(program.text))  # a copy: blocks are changed in place


@dataclass
class _Count:
    """What is outside, so far: a secret count of a block, and the most that it can be."""

    var: Var
    most: int


@dataclass
class _Writer:
    """Equations under construction, typed as those of a traced program are."""

    equations: list[Equation] = field(default_factory=list)

    def emit(self, op: str, inputs: list[Var], params: dict[str, Any], where: str) -> Var:
        """Append one equation; its only result."""
        out = Var(-1, surface_type(op, params, [v.type for v in inputs], where))
        self.equations.append(Equation(op, tuple(inputs), (out,), params, where))
        return out

    def const(self, value: Any, shape: list[int], where: str) -> Var:
        """Public whole numbers."""
        return self.emit("const", [], {"value": value, "shape": shape, "scale": 0}, where)

    def bounded(self, x: Var, most: int, where: str) -> Var:
        """A count, which is known to lie in 0..most."""
        return self.emit("implied", [x], {"lo": 0.0, "hi": float(most)}, where)

    def plus(self, x: _Count | None, y: _Count, where: str) -> _Count:
        """The sum of two counts."""
        if x is None:
            return y
        return _Count(self.emit("add", [x.var, y.var], {}, where), x.most + y.most)

    def outside(self, e: Equation) -> _Count:
        """How many elements of a stated value lie outside: [x < lo] + [x > hi], summed."""
        (x,), where = e.inputs, e.where
        x, (low, high) = self._plain(x, where), _integers(e)
        points = [low, high + 1]
        width = _width(x.type, points)
        if width > 64:  # any word may be there: see the decision. Typing asks for the points to fit, and they do
            x, width = self.emit("implied", [x], {"lo": 0.0, "hi": 0.0}, where), 64
            if high - low >= 1 << HEADROOM:
                points.append(0)
        below = self.emit("below", [x], {"width": width, "points": points}, where)
        bits = [self._last(below, i, where) for i in range(len(points))]
        over = self.emit("sub", [self.const(1, [], where), bits[1]], {}, where)
        if len(bits) == 3:  # a difference may wrap: of negative numbers only the first counts, of others the second
            wrong = self.emit("choose", [bits[2], over, bits[0]], {}, where)
        else:
            wrong = self.emit("add", [bits[0], over], {}, where)
        axes = list(range(len(wrong.type.shape)))
        count = self.emit("sum", [wrong], {"axes": axes, "keepdims": False}, where)
        return _Count(count, 2 * x.type.size)

    def _last(self, x: Var, at: int, where: str) -> Var:
        """One place of the last axis, which stays, of length 1."""
        parts = [[0, n, 1] for n in x.type.shape[:-1]] + [[at, at + 1, 1]]
        return self.emit("slice", [x], {"parts": parts}, where)

    def _plain(self, x: Var, where: str) -> Var:
        """The same integers in the unit 1."""
        return x if x.type.unit == 1 else self.emit("unit", [x], {"by": str(1 / x.type.unit)}, where)


def _integers(e: Equation) -> tuple[int, int]:
    """The least and largest ring integer inside a stated range."""
    t = e.inputs[0].type
    ends = [Fraction(e.params[end]) * Fraction(2) ** t.scale / t.unit for end in ("lo", "hi")]
    low, high = math.ceil(min(ends)), math.floor(max(ends))
    if max(abs(low), abs(high)) >= (1 << 63) - (1 << 10):  # less what a float rounds away
        raise OverflowRefusal(
            f"the range {e.params['lo']:.6g} to {e.params['hi']:.6g} is stated of a value with {t.scale} fraction bits "
            "and cannot be verified: it needs 2^63 or more, all of the ring; state a smaller range, or "
            "rescale the value first",
            e.where,
        )
    return low, high


def _width(t: Type, points: list[int]) -> int:
    """Bits, with the sign, of the differences between a value and the points; 65 where its range leaves the ring."""
    bound = math.ldexp(t.bound, t.scale) + max(abs(p) for p in points) if math.isfinite(t.bound) else math.inf
    # one bit more than a power of two needs: sums of floats round
    return 2 + math.frexp(bound)[1] if bound < 2.0**HEADROOM else 65


def _counted(block: Block) -> _Count | None:
    """Add the checks to a block, and to the loops in it."""
    writer, count = _Writer(), None
    for e in block.equations:
        more = _looped(e, writer) if e.op == "repeat" else None
        writer.equations.append(e)
        if more is not None:
            more = _Count(e.outputs[-1], more.most)
        elif e.op == "assume":
            more = writer.outside(e)
        if more is not None:
            count = writer.plus(count, more, e.where)
    block.equations = writer.equations
    return count


def _looped(e: Equation, writer: _Writer) -> _Count | None:
    """A loop that carries its own count as one more state."""
    assert e.body is not None
    inner = _counted(e.body)
    if inner is None:
        return None
    times, carry = e.params["times"], e.params["carry"]
    most = inner.most * times
    t = Type(Kind.SECRET, lo=0.0, hi=float(most))
    before, after = Var(-1, t), Var(-1, t)
    body = _Writer(e.body.equations)
    total = body.emit("add", [before, inner.var], {}, e.where)
    e.body.results = (*e.body.results, body.bounded(total, most, e.where))
    e.body.params = (*e.body.params[: 1 + carry], before, *e.body.params[1 + carry :])
    start = writer.emit("secret", [writer.const(0, [], e.where)], {}, e.where)
    e.inputs = (*e.inputs[:carry], start, *e.inputs[carry:])
    e.outputs = (*e.outputs, after)
    e.params = {**e.params, "carry": carry + 1}
    return _Count(after, most)


def _gated(program: Program) -> Program:
    count = _counted(program.block)
    assert count is not None
    block = program.block
    first, later = _split(block, count.var)
    where = next(e.where for e in walk(block) if e.op == "assume")
    writer = _Writer(first)
    width = max(2, 2 + count.most.bit_length())
    none = writer.emit("zero", [count.var], {"width": width}, where)
    gate = writer.emit("reveal", [none], {"to": "everyone", "name": RANGES_HOLD}, where)
    early = [str(e.params["name"]) for e in walk(Block(equations=first)) if e.op == "reveal"][:-1]
    for e in later:
        if e.op in ("reveal", "keep"):
            x = e.inputs[0]  # 0 may lie outside its range, and then nobody is given it
            product = writer.emit("mul", [x, gate], {}, e.where)
            e.inputs = (writer.emit("implied", [product], {"lo": x.type.lo, "hi": x.type.hi}, e.where),)
        elif e.body is not None and e.op == "repeat":
            early += [str(inner.params["name"]) for inner in walk(e.body) if inner.op == "reveal"]
        writer.equations.append(e)
    block.equations = writer.equations
    notes = list(program.notes)
    if early:
        notes.append(f"revealed before it is known whether the stated ranges hold: {', '.join(early)}")
    renamed = renumber(block)
    outputs = {**{name: renamed[v] for name, v in program.outputs_by_name.items()}, RANGES_HOLD: renamed[gate]}
    order = [*program.order, RANGES_HOLD]
    made = Program(program.name, program.parties, block, order, outputs, program.facts, notes, program.continues)
    made.check()
    return made


def _split(block: Block, count: Var) -> tuple[list[Equation], list[Equation]]:
    """What runs before the bit is known, and after: reveals that do not lead to the count, and what rests on them."""
    needed = {count}
    for e in reversed(block.equations):
        if any(v in needed for v in e.outputs):
            needed.update(e.inputs)
    first: list[Equation] = []
    later: list[Equation] = []
    waiting: set[Var] = set()
    for e in block.equations:
        leads = any(v in needed for v in e.outputs)
        if not leads and (e.op in ("reveal", "keep") or any(v in waiting for v in e.inputs)):
            later.append(e)
            waiting.update(e.outputs)
        else:
            first.append(e)
    return first, later
