"""Many runs of one program at once: every shared value gets a first axis, along which all random choices are new.

A run of the kit spends its time on equations, not on elements, so that 128 draws side by side cost little more than
one. Parties, dealer, streams and messages are those of a single run; only shapes differ. What an owner computes before
it shares, and what is computed of revealed numbers (taken from the first draw), is the same in all draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpc.errors import ProgramError
from mpc.exchange import Array
from mpc.ir import SAVED, Block, Equation, Kind, Type, Var, walk
from mpc.lowering import Lowered
from mpc.memory import Emulation
from mpc.openings import recipients
from mpc.ring import Domains, total

__all__ = ["Seen", "exchanges", "look", "side_by_side"]

_HIDDEN = frozenset({Kind.PUBLIC, Kind.MASK, Kind.DEALER, Kind.SHARE})
Build = Callable[..., Var]


def side_by_side(lowered: Lowered, draws: int) -> Lowered:
    """The program with a first axis of `draws` on all that is shared, dealt or opened; results are the first draw's.

    Checkpoints and what is kept are left out. ProgramError for a program that goes on from an earlier one.
    """
    lift = _Lift(draws, 1 + max((v.number for e in walk(lowered.block) for v in e.outputs), default=0))
    block = lift.block(lowered.block)
    with_outputs = {name: lift.first(v, block.equations) for name, v in lowered.outputs_by_name.items()}
    wide = replace(lowered, block=block, outputs_by_name=with_outputs)
    wide.sweep = False  # what is received is looked at whole
    return wide


class _Lift:
    def __init__(self, draws: int, first: int) -> None:
        self.draws, self.numbers = draws, count(first)
        self.of: dict[Var, Var] = {}
        self.firsts: dict[Var, Var] = {}
        self.made: list[Equation] = []

    def block(self, b: Block) -> Block:
        outer, self.made = self.made, []
        params = tuple(self.named(v) for v in b.params)
        for e in b.equations:
            if e.op not in SAVED:
                self.equation(e)
        made, self.made = self.made, outer
        return Block(params, made, tuple(self.of[v] for v in b.results))

    def named(self, v: Var) -> Var:
        shape = (self.draws, *v.type.shape) if v.type.kind in _HIDDEN else v.type.shape
        self.of[v] = Var(v.number, v.type.but(shape=shape))
        return self.of[v]

    def fresh(self, op: str, x: Var, to: tuple[int, ...], /, **params: Any) -> Var:
        out = Var(next(self.numbers), x.type.but(shape=to))
        self.made.append(Equation(op, (x,), (out,), params))
        return out

    def first(self, v: Var, made: list[Equation] | None = None) -> Var:
        """The first draw of a value, in its own shape."""
        x = self.of[v]
        if v.type.kind not in _HIDDEN:
            return x
        if made is not None:
            self.made = made
        whole = [[None, None, None]] * len(v.type.shape)
        part = self.fresh("slice", x, (1, *v.type.shape), parts=[[0, 1, None], *whole])
        return self.fresh("reshape", part, v.type.shape, shape=list(v.type.shape))

    def equation(self, e: Equation) -> None:
        if e.op in ("kept", "handle", "shown"):
            raise ProgramError("a program that takes up an earlier one is not run side by side", e.where)
        if e.op == "repeat":
            assert e.body is not None
            body = self.block(e.body)
            self.emit(e, tuple(self.of[v] for v in e.inputs), e.params, body)
        elif e.outputs[0].type.kind not in _HIDDEN:
            self.emit(e, tuple(self.first(v) for v in e.inputs), e.params)
        else:
            _RULES.get(e.op, _Lift.plain)(self, e)

    def emit(self, e: Equation, inputs: tuple[Var, ...], params: dict[str, Any], body: Block | None = None) -> None:
        outs = tuple(self.named(v) for v in e.outputs)
        self.made.append(Equation(e.op, inputs, outs, params, e.where, body))

    def full(self, v: Var) -> Var:
        """A const, once for every draw."""
        if v.type.kind is not Kind.CONST:
            return self.of[v]
        shape = (self.draws, *v.type.shape)
        return self.fresh("broadcast", self.of[v], shape, shape=list(shape))

    def padded(self, v: Var, rank: int) -> Var:
        """A value whose own axes are the last of `rank`, after the draws."""
        x, missing = self.of[v], rank - len(v.type.shape)
        if v.type.kind not in _HIDDEN or not missing:
            return x
        shape = (self.draws, *(1,) * missing, *v.type.shape)
        return self.fresh("reshape", x, shape, shape=list(shape))

    # ops -------------------------------------------------------------------------------------------------------------

    def plain(self, e: Equation) -> None:
        self.emit(e, tuple(self.of[v] for v in e.inputs), e.params)

    def source(self, e: Equation) -> None:
        self.emit(e, (), {**e.params, "shape": [self.draws, *e.params["shape"]]})

    def spread(self, e: Equation) -> None:
        self.emit(e, tuple(self.full(v) for v in e.inputs), e.params)

    def elementwise(self, e: Equation) -> None:
        rank = len(e.output.type.shape)
        self.emit(e, tuple(self.padded(v, rank) for v in e.inputs), e.params)

    def matmul(self, e: Equation) -> None:
        """Of two factors, or of two wires: the first half of the operands stands on the left."""
        half = len(e.inputs) // 2
        left, right = e.inputs[0].type.shape, e.inputs[half].type.shape
        batch = max(len(left) - 2, len(right) - 2, 0)
        rows, columns = (1, *left) if len(left) == 1 else left, (*right, 1) if len(right) == 1 else right
        factors = [self.matrix(v, rows if at < half else columns, batch) for at, v in enumerate(e.inputs)]
        a, b = factors[0].type.shape, factors[half].type.shape
        shape = (*np.broadcast_shapes(a[:-2], b[:-2]), a[-2], b[-1])
        out = Var(next(self.numbers), e.output.type.but(shape=shape))
        params = {**e.params, "divided": False} if e.op == "cross" else e.params
        self.made.append(Equation(e.op, tuple(factors), (out,), params, e.where))
        self.shaped(e, out)

    def matrix(self, v: Var, shape: tuple[int, ...], batch: int) -> Var:
        x = self.of[v]
        if v.type.kind in _HIDDEN:
            shape = (self.draws, *(1,) * (batch + 2 - len(shape)), *shape)
        return self.fresh("reshape", x, shape, shape=list(shape)) if shape != x.type.shape else x

    def shaped(self, e: Equation, x: Var) -> None:
        out = self.named(e.output)
        self.made.append(Equation("reshape", (x,), (out,), {"shape": list(out.type.shape)}, e.where))

    def summed(self, e: Equation) -> None:
        self.emit(e, (self.of[e.inputs[0]],), {**e.params, "axes": [a + 1 for a in e.params["axes"]]})

    def stacked(self, e: Equation) -> None:
        """series and waves make a new first axis: it changes places with the draws."""
        inner = [Var(next(self.numbers), v.type.but(shape=self.swapped(v))) for v in e.outputs]
        self.made.append(Equation(e.op, (self.of[e.inputs[0]],), tuple(inner), e.params, e.where))
        for x, v in zip(inner, e.outputs, strict=True):
            axes = [1, 0, *range(2, len(x.type.shape))]
            self.made.append(Equation("transpose", (x,), (self.named(v),), {"axes": axes}, e.where))

    def swapped(self, v: Var) -> tuple[int, ...]:
        return (v.type.shape[0], self.draws, *v.type.shape[1:])

    def transpose(self, e: Equation) -> None:
        self.emit(e, (self.of[e.inputs[0]],), {**e.params, "axes": [0, *(a + 1 for a in e.params["axes"])]})

    def reshape(self, e: Equation) -> None:
        self.emit(e, (self.full(e.inputs[0]),), {**e.params, "shape": [self.draws, *e.params["shape"]]})

    def broadcast(self, e: Equation) -> None:
        x = self.padded(e.inputs[0], len(e.output.type.shape))
        self.emit(e, (x,), {**e.params, "shape": [self.draws, *e.params["shape"]]})

    def slice(self, e: Equation) -> None:
        self.emit(e, (self.of[e.inputs[0]],), {**e.params, "parts": [[None, None, None], *e.params["parts"]]})

    def along(self, e: Equation) -> None:
        """Ops along one axis of their first operand."""
        if any(v.type.kind in _HIDDEN for v in e.inputs[1:]) and e.op != "concatenate":
            raise ProgramError(f"{e.op} by what is opened is not run side by side", e.where)
        inputs = [self.full(v) for v in (e.inputs if e.op == "concatenate" else e.inputs[:1])]
        rest = [self.of[v] for v in e.inputs[len(inputs) :]]
        self.emit(e, (*inputs, *rest), {**e.params, "axis": e.params["axis"] + 1})


_RULES: dict[str, Callable[[_Lift, Equation], None]] = {
    "mask": _Lift.source, "owner_mask": _Lift.source, "cast": _Lift.spread, "deal": _Lift.spread,
    "add": _Lift.elementwise, "sub": _Lift.elementwise, "mul": _Lift.elementwise,
    "matmul": _Lift.matmul, "cross": _Lift.matmul,
    "sum": _Lift.summed, "series": _Lift.stacked, "waves": _Lift.stacked, "transpose": _Lift.transpose,
    "reshape": _Lift.reshape, "broadcast": _Lift.broadcast, "slice": _Lift.slice, "dynamic_slice": _Lift.along,
    "take": _Lift.along, "concatenate": _Lift.along,
}  # fmt: skip


# --- what is seen ---------------------------------------------------------------------------------------------------


@dataclass
class Seen:
    """What the parties of a run received, what all of them opened, and what was revealed; a row of each is one draw."""

    received: list[Array] = field(default_factory=list)
    opened: list[Array] = field(default_factory=list)
    revealed: dict[str, Array] = field(default_factory=dict)
    words: list[Array] = field(default_factory=list)  # of reveals, as they travel

    def columns(self) -> NDArray[np.uint8]:
        """Every byte of what was received and opened, a row for each draw."""
        arrays = [np.ascontiguousarray(a) for a in self.received + self.opened if a.size]
        parts = [a.reshape(len(a), -1).view(np.uint8) for a in arrays]
        return np.concatenate(parts, axis=1) if parts else np.zeros((1, 1), dtype=np.uint8)


def exchanges(lowered: Lowered, block: Block) -> Iterator[list[Equation]]:
    """The openings, sendings and reveals of every exchange of a run, in order."""
    for slot in lowered.slots(block):
        if slot.exchange:
            yield slot.exchange
        for e in slot.loops:
            assert e.body is not None
            for _ in range(e.params["times"]):
                yield from exchanges(lowered, e.body)


def look(lowered: Lowered, run: Callable[..., Emulation]) -> tuple[Emulation, Seen]:
    """Run a program (run(lowered, change=…)) and put together what its parties see."""
    sent: dict[tuple[int, int, int], list[Array]] = {}

    def listen(source: int, to: int, number: int, arrays: list[Array]) -> list[Array]:
        sent[source, to, number] = arrays
        return arrays

    found = run(lowered, change=listen)
    seen = Seen([a for view in found.views.values() for a in view])
    parties = range(len(lowered.parties))
    for number, equations in enumerate(exchanges(lowered, lowered.block), 1):
        parts = {p: {to: sent[p, to, number] for to in parties if (p, to, number) in sent} for p in parties}
        _joined(lowered, equations, parts, seen)
    return found, seen


def _joined(lowered: Lowered, equations: list[Equation], sent: dict[int, dict[int, list[Array]]], seen: Seen) -> None:
    """The opened and revealed values of one exchange: every party's part, whomever it was sent to."""
    names, domains = lowered.parties, Domains(lowered.bits)
    queues = {(p, to): iter(arrays) for p, by in sent.items() for to, arrays in by.items()}
    for e in equations:
        parts: dict[int, Array] = {}
        for (p, to), queue in queues.items():
            if _sends(e, p, to, names):
                parts[p] = next(queue)
        if e.op == "reveal":
            seen.words += parts.values()
        if e.op != "send" and len(parts) == len(names):
            domain, width = domains[e.output.type.bits], e.params.get("width", 64)
            value = domain.low(total(domain, [_words(a, e.output.type) for a in parts.values()]), width)
            if e.op == "open":
                seen.opened.append(value)
            else:
                seen.revealed[e.params["name"]] = value


def _sends(e: Equation, source: int, to: int, names: list[str]) -> bool:
    if e.op == "send":
        return names[source] == str(e.params["owner"])
    return e.op == "open" or to in recipients(e, names)


def _words(a: Array, t: Type) -> NDArray[np.uint64]:
    """What has travelled as bytes, as words again."""
    if a.dtype == np.uint64:
        return np.asarray(a, dtype=np.uint64)
    whole = np.zeros((*t.shape, 8), dtype=np.uint8)
    whole[..., : a.shape[-1]] = a
    return np.asarray(whole.view("<u8")[..., 0])
