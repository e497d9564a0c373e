"""The types of what is computed in float64: an owner's private values, and what is computed from revealed ones.

Ranges that an owner's schema or the program declares go along, so that a value shared without a range has one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from mpc.errors import ProgramError
from mpc.intervals import EVERYTHING, Interval, added_up, hull, joined, minus, over, plus, times
from mpc.ir import Kind, Type
from mpc.kernels import LINEAR, shape_of

Params = dict[str, Any]
Ranges = list[Interval]
EXPONENTS: Interval = (-1080.0, 1024.0)  # of doubles, in steps of 4, and of zeros (`mpc.fixed.LEAST`)
_ROUNDING = 2.0**-40  # float64 sums of up to 2^12 elements and more in practice; a value beyond is refused, not wrong


def _matrix(x: Ranges, _: Params, t: list[Type]) -> Interval:
    return added_up(times(*x), t[0].shape[-1])


def _sum(x: Ranges, p: Params, t: list[Type]) -> Interval:
    return added_up(x[0], math.prod(t[0].shape[axis] for axis in p["axes"]))


def _root(x: Ranges, _: Params, __: list[Type]) -> Interval:
    lo, hi = x[0]
    return (math.sqrt(lo), math.sqrt(hi)) if lo >= 0 else EVERYTHING


def _clip(x: Ranges, p: Params, _: list[Type]) -> Interval:
    lo, hi = x[0]
    return min(max(lo, p["lo"]), p["hi"]), max(min(hi, p["hi"]), p["lo"])


_RANGES: dict[str, Callable[[Ranges, Params, list[Type]], Interval]] = {
    "add": lambda x, _, __: plus(*x),
    "sub": lambda x, _, __: minus(*x),
    "mul": lambda x, _, __: times(*x),
    "div": lambda x, _, __: over(*x),
    "neg": lambda x, _, __: (-x[0][1], -x[0][0]),
    "matmul": _matrix,
    "sum": _sum,
    "sqrt": _root,
    "clip": _clip,
    "maximum": lambda x, _, __: (max(x[0][0], x[1][0]), max(x[0][1], x[1][1])),
    "nonzero": lambda x, _, __: hull(*x[0], 1.0),
    "within": lambda x, p, _: declared(p),
    "exponent": lambda *_: EXPONENTS,
    "rint": lambda x, _, __: (x[0][0] - 0.5, x[0][1] + 0.5),
    "digits": lambda _, p, __: (-(2.0 ** (p["base"] - 1)), 2.0 ** (p["base"] - 1)),
    "undigits": lambda *_: EVERYTHING,
    "ldexp": lambda x, _, __: x[0] if x[0] == (0.0, 0.0) else EVERYTHING,
    "chi_square_tail": lambda *_: (0.0, 1.0),
    "student_tail": lambda *_: (0.0, 1.0),
    "truth": lambda *_: (0.0, 1.0),
    "withheld": lambda x, _, __: x[0],
    "concatenate": lambda x, _, __: joined(x),
}
_EXACT = frozenset({
    "neg", "clip", "maximum", "nonzero", "within", "concatenate", "exponent", "ldexp", "digits", "truth", "withheld",
})  # fmt: skip
KNOWN_ONLY = frozenset({
    "div", "sqrt", "clip", "maximum", "nonzero", "within", "chi_square_tail", "student_tail", "exponent", "ldexp",
    "digits", "undigits", "rint", "truth", "withheld",
})  # fmt: skip
_FLOATS = KNOWN_ONLY | frozenset({"add", "sub", "neg", "mul", "matmul", "sum"}) | LINEAR


def declared(params: Params) -> Interval:
    """The interval around declared bounds: numbers, or lists of them, one a column; None where there is none."""
    lo, hi = bounds(params["lo"], -math.inf), bounds(params["hi"], math.inf)
    return float(np.min(lo)), float(np.max(hi))


def bounds(end: Any, without: float) -> Any:
    """One end of a declared range as numbers."""
    return np.array([without if v is None else v for v in end]) if isinstance(end, list) else float(end)


def float_type(op: str, params: Params, types: list[Type], where: str, kind: Kind, owner: str) -> Type:
    """The type of an op on private values, or on what is computed from revealed ones."""
    if op not in _FLOATS:
        raise ProgramError(f"{op} is not for {kind} values", where)
    if op == "within":
        _check_bounds(params, types[0], where)
    shape = shape_of(op, params, [t.shape for t in types], where)
    found = _RANGES[op]([(t.lo, t.hi) for t in types], params, types) if op in _RANGES else (types[0].lo, types[0].hi)
    lo, hi = found if op in _EXACT or op in LINEAR - {"add", "sub", "sum"} else _rounded(found)
    return Type(kind, shape, lo=lo, hi=hi, owner=owner)


def _rounded(x: Interval) -> Interval:
    lo, hi = x
    if math.isnan(lo) or math.isnan(hi):
        return EVERYTHING
    return lo - abs(lo) * _ROUNDING, hi + abs(hi) * _ROUNDING


def _check_bounds(params: Params, x: Type, where: str) -> None:
    lists = [params[end] for end in ("lo", "hi") if isinstance(params[end], list)]
    if lists and (len(lists) < 2 or not x.shape or any(len(b) != x.shape[-1] for b in lists)):
        raise ProgramError("a range for each column needs as many bounds as columns", where)
    if x.kind is not Kind.PRIVATE or np.any(bounds(params["lo"], -math.inf) > bounds(params["hi"], math.inf)):
        raise ProgramError("a declared range is lo ≤ hi, of an owner's value", where)
