"""Fixed-point arithmetic of programs: a product adds scales, an addition aligns them.

A factor that is no integer is carried as an exact fraction, the unit, until something needs it multiplied out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from mpc.errors import ProgramError
from mpc.folding import factor, matrix
from mpc.ir import Kind
from mpc.place import here
from mpc.surface import (
    FRACTION_BITS,
    OPERATIONS,
    Public,
    Secret,
    as_real,
    bits_for,
    constant_of,
    fit,
    literal,
    plain_number,
    room,
    surface,
    whole,
)
from mpc.tracing import Value, current_trace
from mpc.types import raw_bound, surface_type


def multiply_out(x: Value) -> Value:
    """The same number with unit 1: the unit, rounded to 20 significant bits if there is room, is multiplied in."""
    if x.type.unit == 1:
        return x
    x = current_trace().emit("settle", [x])
    unit = x.type.unit
    if unit == 1:
        return x
    bits = 0
    if unit.denominator > 1 or abs(unit.numerator) >= 1 << 20:  # a float such as 0.1 is 52 bits over a power of two
        best = 20 - math.floor(math.log2(abs(unit)))
        spare = math.floor(-room(max(raw_bound(x.type), 1.0), float(abs(unit))))
        if spare < best - 10:
            x = fit(best - 10 - spare, x, "multiplying by a fraction")
        bits = min(best, max(spare, best - 10))
    plain = current_trace().emit("unit", [x], {"by": str(1 / unit)})
    return product("mul", plain, literal(unit, bits))


def shift_up(x: Value, by: int) -> Value:
    """More fraction bits, same number."""
    return current_trace().emit("shl", [x], {"by": by}) if by else x


def aligned(x: Value, y: Value, op: str) -> tuple[Value, Value]:
    """Two values at one scale and unit."""
    if x.type.unit != y.type.unit:
        x, y = multiply_out(x), multiply_out(y)
    for _ in range(2):
        scale = max(x.type.scale, y.type.scale)
        bound = max(raw_bound(v.type.but(scale=scale)) for v in (x, y)) * 2
        excess = room(max(bound, 1.0)) if math.isfinite(bound) else 0.0
        if excess > 0:
            x, y = (fit(excess, v, op) if v.type.scale == scale and excess > 0 else v for v in (x, y))
    scale = max(x.type.scale, y.type.scale)
    return shift_up(x, scale - x.type.scale), shift_up(y, scale - y.type.scale)


def term(c: Any, like: Value) -> Value:
    """A plain number as a const that can be added to `like`: in its unit, with at least its scale if that is exact."""
    numbers = np.asarray(plain_number(c))
    t = like.type
    different, places = np.unique(numbers.ravel(), return_inverse=True)  # a column of ones is one number
    inner = [Fraction(v) / t.unit for v in different.tolist()]
    bits = max(t.scale, min(FRACTION_BITS, bits_for(np.asarray(inner, dtype=np.float64))), 0)
    value = constant_of(whole(inner, bits)[places].reshape(numbers.shape), bits)
    return value if t.unit == 1 else current_trace().emit("unit", [value], {"by": str(t.unit)})


def _sum_like(op: str) -> Callable[[Any, Any], Any]:
    def apply(x: Any, y: Any) -> Any:
        if not isinstance(x, Value):
            if op == "add" and isinstance(x, int | float) and x == 0:
                return y  # where Python's sum() starts
            x = term(x, y)
        elif not isinstance(y, Value):
            if isinstance(y, int | float) and y == 0:
                return x
            y = term(y, x)
        x, y = aligned(x, y, op)
        return current_trace().emit(op, [x, y])

    return apply


def product(op: str, x: Value, y: Value) -> Value:
    """Elementwise or matrix product of traced values; an operand is truncated first if the product would not fit."""
    if op == "matmul":
        surface_type(op, {}, [x.type.but(lo=0.0, hi=0.0), y.type.but(lo=0.0, hi=0.0)], here())
    count = x.shape[-1] if op == "matmul" else 1
    for _ in range(3):
        excess = room(raw_bound(x.type), raw_bound(y.type), float(max(count, 1)))
        if excess <= 0 or not math.isfinite(excess):
            break
        if y.type.kind is not Kind.SECRET or (x.type.kind is Kind.SECRET and x.type.scale >= y.type.scale):
            x = fit(
                min(excess, max(1.0, x.type.scale - FRACTION_BITS)) if x.type.scale > FRACTION_BITS else excess, x, op
            )
        else:
            y = fit(
                min(excess, max(1.0, y.type.scale - FRACTION_BITS)) if y.type.scale > FRACTION_BITS else excess, y, op
            )
    return current_trace().emit(op, [x, y])


def _mul(x: Any, y: Any) -> Any:
    if isinstance(x, Value) and isinstance(y, Value):
        return product("mul", x, y)
    value, c = (x, plain_number(y)) if isinstance(x, Value) else (y, plain_number(x))
    if isinstance(c, np.ndarray):
        return _times_known(value, c)
    if c == 1:
        return value
    if isinstance(c, int) and abs(c) < 1 << 32 and (c <= 0 or value.type.unit == 1):
        return product("mul", value, literal(c, 0))
    return current_trace().emit("unit", [value], {"by": str(Fraction(c))})


def _times_known(x: Value, c: np.ndarray) -> Value:
    """x times known numbers; those that x was multiplied by before join them where the ring has no room for both."""
    factors = _known(c)
    if isinstance(x, Secret) and room(raw_bound(x.type), raw_bound(factors.type)) > 0:
        found = factor(surface(), x)
        if found is not None:
            x, together = found[0], np.asarray(found[1] * c)
            factors = _known(together)
    return product("mul", x, factors)


def _matmul(x: Any, y: Any) -> Any:
    values = [v if isinstance(v, Value) else _known(plain_number(v)) for v in (x, y)]
    at = 1 if isinstance(y, Secret) else 0
    known = not isinstance((y, x)[at], Value)
    if known and all(v.shape for v in values) and isinstance(values[at], Secret):
        count = float(max(values[0].shape[-1], 1))
        if room(*(max(raw_bound(v.type), 1.0) for v in values), count) > 0:
            found = matrix(surface(), values[at], values[1 - at], at)
            if found is not None:
                values[at], values[1 - at] = found[0], _known(found[1])
    return product("matmul", *values)


def _known(c: Any) -> Value:
    """A public array as a const with as many fraction bits as it needs."""
    value: Value = literal(c, bits_for(c) if np.size(c) else 0)
    return value


def _div(x: Any, y: Any) -> Any:
    if isinstance(y, Secret):
        return OPERATIONS["quotient"](x, y)
    if isinstance(y, Public):
        return current_trace().emit("div", [as_real(x), as_real(y)])
    if isinstance(y, Value):
        raise ProgramError("division by the step index is not in the language; use a public table", here())
    c = plain_number(y)
    if np.any(np.asarray(c) == 0):
        raise ProgramError("division by zero", here())
    if isinstance(c, np.ndarray):
        return _mul(x, 1.0 / c)
    return current_trace().emit("unit", [x], {"by": str(1 / Fraction(c))}) if c != 1 else x


OPERATIONS.update(
    {
        "add": _sum_like("add"),
        "sub": _sum_like("sub"),
        "mul": _mul,
        "matmul": _matmul,
        "div": _div,
    }
)
