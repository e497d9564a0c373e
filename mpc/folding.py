"""Constants are folded while a program is traced: in whole numbers, so that every result stays what it was.

What is known of consts alone becomes one const; factors and terms that follow one another meet before they touch the
secret; units multiply into one. `factor` and `matrix` serve the placing of scales: where a product has no room in the
ring, the constants before it are multiplied first and rounded once, instead of cutting the secret.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from mpc.ir import Type
from mpc.kernels import KERNELS, STRUCTURAL, shape_of
from mpc.ring import Reals
from mpc.types import HEADROOM

if TYPE_CHECKING:
    from mpc.surface import SurfaceTrace
    from mpc.tracing import Value

__all__ = ["factor", "folded", "matrix"]

Params = dict[str, Any]
_WHOLE = STRUCTURAL - {"dynamic_slice"} | {"add", "sub", "neg", "mul", "matmul", "sum", "shl"}
_REALS = Reals()  # its arithmetic is numpy's, and exact on Python's integers


def folded(trace: SurfaceTrace, op: str, inputs: list[Value], params: Params) -> Value | None:
    """The same value by fewer equations, or None: of consts a const, of a chain its one link."""
    if op in _CHAINS:
        return _CHAINS[op](trace, inputs[0], params)
    consts = [_literal(trace, v) for v in inputs]
    if op in _WHOLE and inputs and all(c is not None for c in consts):
        return _computed(trace, op, inputs, params)
    if op == "mul" and sum(c is not None for c in consts) == 1:
        at = 0 if consts[0] is None else 1
        return _factors(trace, inputs[at], inputs[1 - at])
    if op == "matmul" and sum(c is not None for c in consts) == 1:
        return _matrices(trace, inputs, 0 if consts[0] is None else 1)
    if op in ("add", "sub") and sum(c is not None for c in consts) == 1:
        return _terms(trace, op, inputs, 0 if consts[0] is None else 1)
    return None


def factor(trace: SurfaceTrace, x: Value) -> tuple[Value, np.ndarray] | None:
    """x as another value times known numbers, if that is how it was made in this block."""
    found = _link(trace, x, ("mul",))
    if found is None:
        return None
    _, (a, b), _ = found
    inner, const = (a, b) if _literal(trace, a) is None else (b, a)
    numbers = _literal(trace, const)
    return (
        None
        if numbers is None
        else (
            inner,
            np.ldexp(numbers.astype(np.float64), -const.type.scale) * float(const.type.unit),
        )
    )


def _literal(trace: SurfaceTrace, x: Value) -> np.ndarray | None:
    """The integers of a const, whatever its unit, as Python's own."""
    op, inputs, params = trace.made.get(x.var.number, ("", [], {}))
    if op == "unit":
        return _literal(trace, inputs[0])
    return np.array(params["value"], dtype=object).reshape(params["shape"]) if op == "const" else None


def _link(trace: SurfaceTrace, x: Value, ops: tuple[str, ...]) -> tuple[str, list[Value], Params] | None:
    """How x was made, if by one of these ops in the block that is being traced: a loop keeps what lies outside it."""
    made = trace.made.get(x.var.number)
    return made if made is not None and made[0] in ops and x.frame is trace.frames[-1] else None


def _computed(trace: SurfaceTrace, op: str, inputs: list[Value], params: Params) -> Value | None:
    numbers = [_literal(trace, v) for v in inputs]
    t = trace.type_of(op, params, [v.type for v in inputs], "")
    if t.size > sum(v.type.size for v in inputs):
        return None  # the text would grow
    value = numbers[0] << params["by"] if op == "shl" else KERNELS[op](_REALS, params, *numbers)
    return _const(trace, value, t)


def _const(trace: SurfaceTrace, value: Any, t: Type) -> Value:
    """Whole numbers at the scale and unit of a type."""
    shape, flat = np.shape(value), [int(v) for v in np.asarray(value, dtype=object).ravel()]
    params = {"value": flat if shape else flat[0], "shape": list(shape), "scale": t.scale}
    const = trace.emit("const", [], params)
    return const if t.unit == 1 else trace.emit("unit", [const], {"by": str(t.unit)})


def _units(trace: SurfaceTrace, x: Value, params: Params) -> Value | None:
    found = _link(trace, x, ("unit",))
    if found is None:
        return None
    _, (inner,), before = found
    by = Fraction(before["by"]) * Fraction(params["by"])
    return inner if by == 1 else trace.emit("unit", [inner], {"by": str(by)})


def _cuts(trace: SurfaceTrace, x: Value, params: Params) -> Value | None:
    """(x ≫ a) ≫ b = x ≫ (a + b), rounded once, of what the first cut has opened; (x ≪ a) ≫ b = x ≫ (b − a)."""
    found = _link(trace, x, ("truncate", "shl"))
    if found is None:
        return None
    before, (inner,), made = found
    by = params["by"] + (made["by"] if before == "truncate" else -made["by"])
    if by > HEADROOM:
        return None
    if by > 0:
        return trace.emit("truncate", [inner], {"by": by})
    return trace.emit("shl", [inner], {"by": -by}) if by else inner


_CHAINS = {"unit": _units, "truncate": _cuts}


def matrix(trace: SurfaceTrace, x: Value, k: Value, at: int) -> tuple[Value, np.ndarray] | None:
    """The known matrix k times x, which stands at place `at` of the product, as a known matrix times another value."""
    found = _before(trace, x, k, at)
    if found is None:
        return None
    inner, pair = found
    a, b = (_literal(trace, v) for v in pair)
    assert a is not None
    assert b is not None
    whole = np.asarray(a @ b, dtype=object)
    real = np.ldexp(whole.astype(np.float64), -sum(v.type.scale for v in pair))
    return inner, real * float(pair[0].type.unit * pair[1].type.unit)


def _before(trace: SurfaceTrace, x: Value, k: Value, at: int) -> tuple[Value, list[Value]] | None:
    """(x @ A) @ k: x, A and k; k @ (A @ x): x, k and A; if A @ k, or k @ A, has no more numbers than both."""
    found = _link(trace, x, ("matmul",))
    if found is None or _literal(trace, k) is None:
        return None
    inner, c = found[1] if at == 0 else found[1][::-1]
    if _literal(trace, c) is None or _literal(trace, inner) is not None or c.ndim != 2 or k.ndim > 2:
        return None
    pair = [c, k] if at == 0 else [k, c]
    shape = shape_of("matmul", {}, [v.shape for v in pair])
    return (inner, pair) if math.prod(shape) <= c.size + k.size else None


def _matrices(trace: SurfaceTrace, inputs: list[Value], at: int) -> Value | None:
    """(x @ A) @ B = x @ (A @ B) and B @ (A @ x) = (B @ A) @ x, exactly."""
    found = _before(trace, inputs[at], inputs[1 - at], at)
    if found is None:
        return None
    inner, pair = found
    both = trace.emit("matmul", pair)
    return trace.emit("matmul", [inner, both] if at == 0 else [both, inner])


def _factors(trace: SurfaceTrace, x: Value, k: Value) -> Value | None:
    """(x·c)·k = x·(c·k)."""
    found = _link(trace, x, ("mul",))
    if found is None:
        return None
    a, b = found[1]
    inner, c = (a, b) if _literal(trace, a) is None else (b, a)
    if _literal(trace, c) is None or _literal(trace, inner) is not None or _grows(c, k):
        return None
    return trace.emit("mul", [inner, trace.emit("mul", [c, k])])


def _terms(trace: SurfaceTrace, op: str, inputs: list[Value], at: int) -> Value | None:
    """(±x ± c) ± k = ±x + (±c ± k)."""
    k = inputs[1 - at]
    found = _link(trace, inputs[at], ("add", "sub"))
    if found is None:
        return None
    before, (a, b), _ = found
    inner, c = (a, b) if _literal(trace, a) is None else (b, a)
    numbers, more = _literal(trace, c), _literal(trace, k)
    if numbers is None or more is None or _literal(trace, inner) is not None or _grows(c, k):
        return None
    sign = -1 if op == "sub" and at == 1 else 1  # of what stood before
    positive = (before == "add" or inner is a) == (sign == 1)
    whole = sign * (-numbers if before == "sub" and c is b else numbers) + (-more if op == "sub" and at == 0 else more)
    const = _const(trace, whole, k.type)
    return trace.emit("add", [inner, const]) if positive else trace.emit("sub", [const, inner])


def _grows(c: Value, k: Value) -> bool:
    return math.prod(np.broadcast_shapes(c.shape, k.shape)) > c.type.size + k.type.size
