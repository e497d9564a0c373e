"""Which reveals show values of single rows, or rest on one owner's data alone: warnings, found on the traced program.

Every element of every value is followed back: to the one row that it rests on, or to several, and to the one owner, or
to several; and whether it is a value of that row as it stands: moved, chosen, or scaled by public numbers. What has
been revealed is known from there on, and counts as public. Loops are walked until nothing changes, and step by step if
they reveal something.

This is no proof: a sum over rows with a secret weight that is 0 for all but one is a sum here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from mpc.ir import Block, Equation, Kind, Var, walk
from mpc.kernels import KERNELS, STRUCTURAL
from mpc.ring import Reals
from mpc.trails import (
    NONE,
    SEVERAL,
    Shape,
    Trail,
    added,
    joined,
    mixed,
    multiplied,
    narrowed,
    one_or_several,
    spread,
    weighted,
)  # fmt: skip

if TYPE_CHECKING:
    from mpc.programs import Program

__all__ = ["exposures"]

_REALS = Reals()
_STEPS = 256  # of a loop, that are walked; the last of them stands for the rest
_WORK = 1 << 27  # elements by columns of a matrix of known numbers, up to which its zeros count
_CONSTS = STRUCTURAL | {"add", "sub", "neg", "mul", "matmul", "sum", "mod", "div", "permutation"}
_SAME = frozenset({
    "neg", "shl", "unit", "settle", "truncate", "assume", "implied", "rounded", "share", "secret", "within", "clip",
    "nonzero", "digits",
})  # fmt: skip
_FUNCTIONS = frozenset({"negative", "zero", "below", "sigmoid", "sqrt"})

Given = list[Trail | None]  # None: nothing of anybody's
_NOTHING = spread((), NONE, NONE, kept=False)


def _together(given: Given, shape: Shape) -> list[Trail]:
    """The operands of an elementwise op, broadcast."""
    return narrowed([(t or _NOTHING).to(shape) for t in given])


@dataclass
class _Seen:
    """What was found of one reveal, over all steps: of `numbers`, values as they stand, of one row, of one owner."""

    equation: Equation
    numbers: int = 0
    kept: int = 0
    single: int = 0
    alone: Counter[int] = field(default_factory=Counter)


def exposures(program: Program) -> list[dict[str, str]]:
    """Warnings of a program's reveals: {what, name, where, why} each, in the order of the program.

    what: `row`, if numbers of it are values of single rows as they stand, or computed from one row each; `column`, if
    these are as many as an input of several rows has; `one owner`, if numbers rest on one owner's data alone. What is
    revealed to that owner alone is no reason.
    """
    walked = _Walk(program)
    walked.block(program.block, 1)
    rows = min((s.shape[0] for s in program.inputs if s.shape and s.shape[0] > 1), default=0)
    return [w for seen in walked.seen.values() for w in _warnings(program, seen, rows)]


def _warnings(program: Program, seen: _Seen, rows: int) -> Iterator[dict[str, str]]:
    e = seen.equation
    head = {"name": str(e.params["name"]), "where": e.line}
    if shown := seen.kept or seen.single:
        found = _part(shown, seen.numbers, *(_KEPT if seen.kept else _SINGLE))
        why = f"{found}: reveal sums over many rows, or reveal it to their owner alone (to=…)"
        yield {"what": "column" if 0 < rows <= shown else "row", **head, "why": why}
    if seen.alone:
        by = ", ".join(f"{program.parties[o]} {n:,}" for o, n in sorted(seen.alone.items()))
        found = _part(seen.alone.total(), seen.numbers, *(f"{verb} from one owner's data alone" for verb in _COME))
        why = f"{found} ({by}): combine several owners' data first, or reveal it to that owner alone (to=…)"
        yield {"what": "one owner", **head, "why": why}


_KEPT = (
    "is a value of a single row, as it stands or scaled, moved or chosen",
    "are values of single rows, as they stand or scaled, moved or chosen",
)
_SINGLE = ("is computed from a single row", "are computed from a single row each")
_COME = ("comes", "come")


def _part(n: int, total: int, one: str, more: str) -> str:
    """So many of all numbers, and what they are."""
    if total == 1:
        return f"it {one}"
    return f"{n:,} of {total:,} numbers {one if n == 1 else more}"


class _Walk:
    """One walk over a program. seen: by equation, what was found of every reveal."""

    def __init__(self, program: Program) -> None:
        self.seen: dict[int, _Seen] = {}
        self._parties = program.parties
        self._found: dict[Var, Trail | None] = {}
        self._known: dict[Var, Any] = {}  # numbers of consts
        self._input_rows = sum(s.shape[0] if s.shape else 1 for s in program.inputs)
        self._rows = 0

    def _fresh(self, count: int) -> int:
        """The first of so many numbers that no row has yet."""
        self._rows += count
        return self._rows - count

    def block(self, block: Block, times: int) -> None:
        """Walk the equations, of which each is run so many times with what is found."""
        for e in block.equations:
            if e.op == "repeat":
                self._loop(e, times)
            elif e.op == "reveal":
                self._reveal(e, times)
            elif e.outputs:
                self._equation(e)

    def _equation(self, e: Equation) -> None:
        out, given = e.output, [self._found.get(v) for v in e.inputs]
        if out.type.kind is Kind.CONST:
            self._known[out] = _numbers(e, [self._known.get(v) for v in e.inputs])
        if out.type.kind in (Kind.CONST, Kind.PUBLIC, Kind.CLEAR):
            self._found[out] = None
        elif e.op == "input":
            self._found[out] = self._input(e)
        elif e.op in ("handle", "kept"):
            self._found[out] = spread(out.type.shape, SEVERAL, SEVERAL, kept=False)  # may be anybody's
        else:
            self._found[out] = self._computed(e, given) if any(g is not None for g in given) else None

    def _input(self, e: Equation) -> Trail:
        """An owner's rows: the first axis."""
        shape = e.output.type.shape
        n = shape[0] if shape else 1
        rows = (self._fresh(n) + np.arange(n)).reshape((n, *(1,) * (len(shape) - 1)) if shape else ())
        owner = self._parties.index(e.params["owner"])
        return Trail(rows, np.array(owner), np.array(True)).to(shape)

    def _computed(self, e: Equation, given: Given) -> Trail:
        op, shape = e.op, e.output.type.shape
        first = given[0]
        if op in STRUCTURAL:
            return self._moved(e, given)
        if op in _ELEMENTWISE:
            return _ELEMENTWISE[op](self, e, given).to(shape)
        if op == "matmul":
            return self._product(e, given)
        if first is not None and len(given) == 1:
            if op in ("columns", "labels"):
                rows = first.each(lambda a: a[:, :1])  # all columns of a row alike
                return rows.to(shape) if len(shape) > 1 else rows.each(lambda a: a[:, 0])
            if op in _SAME:
                return first.to(shape)
            if op in _FUNCTIONS:
                each = first.each(lambda a: a[..., None]) if op == "below" else first
                return Trail(each.row, each.owner, np.array(False)).to(shape)
            if op == "sum":
                return added(first, tuple(e.params["axes"]), keepdims=e.params["keepdims"])
        return mixed([g for g in given if g is not None], shape)

    def _moved(self, e: Equation, given: Given) -> Trail:
        """Elements in other places, and beside one another."""
        if e.op == "concatenate":
            parts = [(g or _NOTHING).to(v.type.shape) for g, v in zip(given, e.inputs, strict=True)]
            return joined(parts, e.params["axis"])
        rest, (x, *_) = [self._known.get(v) for v in e.inputs[1:]], given
        if x is None or any(r is None for r in rest):
            return mixed([g for g in given if g is not None], e.output.type.shape)
        return x.each(lambda a: KERNELS[e.op](_REALS, e.params, a, *rest))

    def _chosen(self, e: Equation, given: Given) -> Trail:
        """x or y, by a condition if there is one: a value of one row as it stands, if both are such, or known."""
        shape = e.output.type.shape
        c, x, y = _together([None, *given] if len(given) == 2 else given, shape)
        kept = (x.kept | (x.row == NONE)) & (y.kept | (y.row == NONE)) & (x.kept | y.kept)
        row = one_or_several(x.row, y.row)
        if kept.any():
            some = self._fresh(prod(shape)) + np.arange(prod(shape)).reshape(shape)  # of these, nobody knows which
            row = np.where(kept & (row == SEVERAL), some, row)
        row = np.where(kept, row, one_or_several(row, c.row))
        return Trail(row, one_or_several(one_or_several(x.owner, y.owner), c.owner), kept)

    def _summed(self, e: Equation, given: Given) -> Trail:
        """x + y, x − y: with a public number as it stands, and of chosen values what lies between them."""
        x, y = _together(given, e.output.type.shape)
        between = x.kept & y.kept & ((e.inputs[0] is e.inputs[1]) | (self._is_chosen(x) & self._is_chosen(y)))
        kept = np.where(x.row == NONE, y.kept, np.where(y.row == NONE, x.kept, between))
        return Trail(one_or_several(x.row, y.row), one_or_several(x.owner, y.owner), kept)

    def _is_chosen(self, x: Trail) -> Any:
        return (x.row == SEVERAL) | (x.row >= self._input_rows)

    def _times(self, e: Equation, given: Given) -> Trail:
        """x·y: with a public number scaled, with a secret bit chosen or 0."""
        shape = e.output.type.shape
        for g, other in zip(given, e.inputs[::-1], strict=True):
            zero = None if g is None or self._known.get(other) is None else np.asarray(self._known[other] == 0)
            if g is not None and zero is not None and zero.any():
                t = g.to(shape)
                return Trail(np.where(zero, NONE, t.row), np.where(zero, NONE, t.owner), t.kept & ~zero)
        if any(g is None for g in given):
            return next(g for g in given if g is not None)
        x, y = _together(given, shape)
        row, owner = one_or_several(x.row, y.row), one_or_several(x.owner, y.owner)
        kept = np.where(x.row == NONE, y.kept, x.kept & (y.row == NONE))
        for bit, value in ((e.inputs[0], y), (e.inputs[1], x)):
            if _is_bit(bit):
                row, kept = np.where(value.kept, value.row, row), kept | value.kept
        return Trail(row, owner, kept)

    def _over(self, e: Equation, given: Given) -> Trail:
        """x/y, x·2^y of an owner's: by a public number scaled."""
        x, y = _together(given, e.output.type.shape)
        return Trail(one_or_several(x.row, y.row), one_or_several(x.owner, y.owner), x.kept & (y.row == NONE))

    def _product(self, e: Equation, given: Given) -> Trail:
        """A matrix product: with known numbers, only what is not multiplied by 0 counts."""
        shape, (x, y), (v, w) = e.output.type.shape, given, e.inputs
        if x is not None and y is not None:
            return multiplied(x, y, shape)
        trail, matrix, known = (x, w, self._known.get(w)) if x is not None else (y, v, self._known.get(v))
        assert trail is not None
        if len(matrix.type.shape) > 2 or trail.row.ndim > 2 or prod(shape) * matrix.type.shape[-1] > _WORK:
            return mixed([trail], shape)
        weights = np.ones(matrix.type.shape, dtype=bool) if known is None else np.asarray(known != 0, dtype=bool)
        if x is not None:
            return weighted(trail, weights.reshape(len(weights), -1)).each(lambda a: a.reshape(shape))
        rows = weights.reshape(-1, weights.shape[-1])
        return weighted(trail.each(np.transpose), rows.T).each(lambda a: a.T.reshape(shape))

    def _loop(self, e: Equation, times: int) -> None:
        """Step by step; of a loop without a reveal until all rests on the same again."""
        body, carry, steps = e.body, e.params["carry"], e.params["times"]
        assert body is not None
        reveals = any(inner.op == "reveal" for inner in walk(body))
        state = [self._found[v] for v in e.inputs]
        self._known.update((p, self._known.get(v)) for p, v in zip(body.params[1:], e.inputs, strict=True))
        self._found[body.params[0]] = None
        for i in range(min(steps, _STEPS)):
            rest = steps - i if i + 1 == _STEPS else 1
            self._known[body.params[0]] = np.asarray(i + e.params.get("start", 0), dtype=np.uint64)
            self._found.update(zip(body.params[1:], state, strict=True))
            self.block(body, times * rest)
            before, state = state, [*(self._found[v] for v in body.results), *state[carry:]]
            if not reveals and _alike(before, state):
                break
        self._found.update(zip(e.outputs, state, strict=False))

    def _reveal(self, e: Equation, times: int) -> None:
        self._found[e.output] = None
        seen, trail = self.seen.setdefault(id(e), _Seen(e)), self._found[e.inputs[0]]
        seen.numbers += e.output.type.size * times
        if trail is None:
            return
        to = e.params["to"]
        only = self._parties.index(to[0]) if isinstance(to, list) and len(to) == 1 and to[0] in self._parties else NONE
        others = trail.owner != only
        seen.kept += int(np.sum(others & trail.kept)) * times
        seen.single += int(np.sum(others & (trail.row >= 0))) * times
        owners, counts = np.unique(trail.owner[others & (trail.owner >= 0)], return_counts=True)
        seen.alone.update({int(o): int(n) * times for o, n in zip(owners, counts, strict=True)})


_ELEMENTWISE: dict[str, Callable[[_Walk, Equation, Given], Trail]] = {
    "add": _Walk._summed,
    "sub": _Walk._summed,
    "mul": _Walk._times,
    "div": _Walk._over,
    "ldexp": _Walk._over,
    "maximum": _Walk._chosen,
    "choose": _Walk._chosen,
}


def _numbers(e: Equation, given: list[Any]) -> Any:
    """The numbers of a const, or None; of what is scaled, whether they are 0 is all that counts."""
    if e.op == "const":
        return np.asarray(e.params["value"]).reshape(e.params["shape"])
    if any(g is None for g in given):
        return None
    if e.op in ("shl", "unit", "settle"):
        return given[0]
    return np.asarray(KERNELS[e.op](_REALS, e.params, *given)) if e.op in _CONSTS else None


def _is_bit(v: Var) -> bool:
    t = v.type
    return t.kind is Kind.SECRET and t.scale == 0 and t.unit == 1 and t.lo >= 0 and t.hi <= 1


def _alike(before: Given, after: Given) -> bool:
    pairs = zip(before, after, strict=True)
    return all((a is b) or (a is not None and b is not None and a.pattern == b.pattern) for a, b in pairs)
