"""Elementary functions of a secret: find the piece that x lies in, evaluate one polynomial there, scale it back.

For public points p₀ < p₁ < … the bits [x ≥ p_k] cost two rounds for all k together. Whatever depends on the piece alone
is linear in them and so costs nothing: a sum of steps, step_k·[x ≥ p_k]. Inside a piece x becomes t in [−1, 1], and
one polynomial of degree 8 serves all pieces. No rounding here but that of truncations: results are exact to their
stated error whatever the masks, and may be revealed with 16 bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from mpc.arithmetic import multiply_out
from mpc.comparing import at_least
from mpc.errors import OverflowRefusal, ProgramError, SecretError
from mpc.functions import sigmoid
from mpc.language import bounded, constant, known_sqrt, rescale
from mpc.ordering import max_
from mpc.place import here
from mpc.polynomials import WORK_BITS, fitted, polynomial
from mpc.surface import OPERATIONS, Secret
from mpc.tracing import UFUNCS, current_trace

__all__ = ["cos", "divide", "exp", "log", "reciprocal", "rsqrt", "sin", "softmax", "sqrt", "tanh"]

_DEGREE = 8
_ROOM = 60  # bits of a product that is scaled back


def _secret(x: Any, name: str) -> Secret:
    if not isinstance(x, Secret):
        raise SecretError(f"mpc.{name} takes a secret value: mpc.share(x) first", here())
    x = multiply_out(x)
    if not math.isfinite(x.type.bound):
        raise OverflowRefusal(f"{name}: nothing is known of the size of its argument; {_CURE}", here())
    return x  # type: ignore[no-any-return]


_CURE = "declare its range, mpc.share(x, range=(lo, hi)), or state it, mpc.assume_range(x, lo, hi)"


def _steps(reached: Any, values: Sequence[float], bits: int) -> Any:
    """Σ_k (values[k + 1] − values[k])·[x ≥ p_k] + values[0]: what belongs to x's piece. Free."""
    listed = [round(math.ldexp(v, bits)) for v in values]
    jumps = np.array([math.ldexp(b - a, -bits) for a, b in pairwise(listed)])
    low = math.ldexp(min(listed), -bits)
    value = (reached * constant(jumps, bits)).sum(axis=-1) + constant(math.ldexp(listed[0], -bits), bits)
    return bounded(value, low, math.ldexp(max(listed), -bits))


# --- positive arguments: powers of two -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Normal:
    """x = 2^e · z with 1 ≤ z < 2: z as t in [−1, 1], and the bits that say e."""

    t: Any
    reached: Any
    exponents: list[int]


def _normal(x: Secret, name: str, *, zero: bool = False) -> _Normal:
    """Where x lies between powers of two. zero: x may be 0, which reaches none of them."""
    lo, hi = x.type.lo, x.type.hi
    if lo < 0 or (lo == 0 and not zero):
        least = "0 or more" if zero else "more than 0"
        raise ProgramError(f"{name}: its argument may be {lo:.6g} and must be {least} by its range; {_CURE}", here())
    ulp = -x.type.scale
    first = max(math.frexp(lo)[1] - 1, ulp) if lo > 0 else ulp
    last = max(math.frexp(hi)[1] - 1, first)
    exponents = list(range(first, last + 1))
    points = [math.ldexp(1.0, e) for e in (exponents if zero else exponents[1:])]
    if not points:  # one power of two holds the whole range
        return _Normal(_centred(x, -first), None, exponents)
    reached = at_least(x, points)
    scales = [math.ldexp(1.0, -e) for e in exponents]
    shrink = _steps(reached, [0.0, *scales] if zero else scales, max(0, last))
    z = bounded(current_trace().emit("mul", [x, shrink]), 0.0 if zero else 1.0, 2.0)
    return _Normal(_centred(z, 0), reached, exponents)


def _centred(z: Any, shift: int) -> Any:
    """2z − 3 at working precision, for z·2^shift in [1, 2)."""
    bits = z.type.scale - shift
    z = current_trace().emit("unit", [z], {"by": f"{1 << shift}" if shift >= 0 else f"1/{1 << -shift}"})
    z = current_trace().emit("settle", [z])
    assert z.type.scale == bits
    t = bounded(z, 1.0, 2.0) * 2 - 3
    return rescale(t, WORK_BITS) if t.type.scale > WORK_BITS else t


def _scaled(x: Secret, name: str, f: Callable[[Any], Any], power: float, *, zero: bool = False) -> Any:
    """f(x) where f(2^e·z) = 2^(power·e)·f(z): the polynomial of f on [1, 2), times a power of two."""
    normal = _normal(x, name, zero=zero)
    ends = sorted((float(f(1.0)), float(f(2.0))))
    p = bounded(polynomial(normal.t, fitted(f, 1.0, 2.0, _DEGREE)), ends[0] - 1e-5, ends[1] + 1e-5)
    factors = [2.0 ** (power * e) for e in normal.exponents]
    if normal.reached is None:
        return p * factors[0]
    top = math.log2(max(factors))
    exact = max(0, math.ceil(-min(power * e for e in normal.exponents)))
    bits = max(0, min(_ROOM - WORK_BITS - 1 - math.ceil(top), exact if power == round(power) else 30))
    factor = _steps(normal.reached, [0.0, *factors] if zero else factors, bits)
    y = current_trace().emit("mul", [rescale(p, WORK_BITS), factor])
    bounds = [0.0 if zero else ends[0] * min(factors), ends[1] * max(factors)]
    known = [float(f(v)) if v > 0 else 0.0 for v in (x.type.lo, x.type.hi) if v > 0 or zero]
    lo, hi = (min(known), max(known)) if known else (bounds[0], bounds[1])
    margin = 1e-5 * hi + math.ldexp(2.0, -WORK_BITS + max(0, math.ceil(top)))
    return bounded(y, max(bounds[0], lo) - margin, min(bounds[1], hi) + margin)


def reciprocal(x: Any) -> Any:
    """1/x, elementwise, for x of a declared range within (0, ∞).

    Relative error below 2^-20. Cost: 2 rounds for the powers of two that the range spans, then 5.
    Security: comparisons, products and truncations of the suite, nothing else is opened.
    Source: range reduction as in Catrina, Saxena, "Secure computation with fixed-point numbers" (2010), by tables.
    """
    return _scaled(_secret(x, "reciprocal"), "reciprocal", lambda z: 1.0 / z, -1.0)


def divide(x: Any, y: Any) -> Any:
    """x / y for a secret y whose range is positive, or negative, throughout; relative error of `reciprocal`.

    x: secret or known; shapes broadcast. Cost of `reciprocal` and, of a secret x, of one product; security as there.
    """
    y = _secret(y, "division")
    if y.type.hi < 0:
        return divide(-x, -y)
    if isinstance(x, int | float):
        return reciprocal(y) if x == 1 else reciprocal(y) * x
    return x * reciprocal(y)


def sqrt(x: Any) -> Any:
    """√x, elementwise: of a secret whose range is 0 or more, else where x is known.

    Of 0 it is 0. Relative error below 2^-20. Cost and security as `reciprocal`; one power of two more for each bit
    below 1 where the range begins at 0.
    """
    if not isinstance(x, Secret):
        return known_sqrt(x)
    x = _secret(x, "sqrt")
    return _scaled(x, "sqrt", np.sqrt, 0.5, zero=x.type.lo <= 0)


def rsqrt(x: Any) -> Any:
    """1/√x, elementwise, for x of a declared range within (0, ∞); relative error below 2^-20.

    Cost, security and source as `reciprocal`.
    """
    return _scaled(_secret(x, "rsqrt"), "rsqrt", lambda z: 1.0 / np.sqrt(z), -0.5)


def log(x: Any) -> Any:
    """The natural logarithm, elementwise, for x of a declared range within (0, ∞); error below 2^-20.

    Cost: 2 rounds for the powers of two, then 4; no product to scale back. Security and source as `reciprocal`.
    """
    x = _secret(x, "log")
    normal = _normal(x, "log")
    p = polynomial(normal.t, fitted(np.log, 1.0, 2.0, _DEGREE))
    whole = [e * math.log(2.0) for e in normal.exponents]
    e = whole[0] if normal.reached is None else _steps(normal.reached, whole, 30)
    return bounded(p + e, math.log(x.type.lo) - 1e-5, math.log(x.type.hi) + 1e-5)


# --- the exponential and what follows from it ------------------------------------------------------------------------


def exp(x: Any) -> Any:
    """e^x, elementwise, for x of a declared range with hi ≤ 20.

    Error below 2^-20 of e^x plus 2^-20 (more where e^hi leaves the ring no room: 2^-30·e^hi). What is smaller than
    that comes out as 0, however far below 0 the range begins.
    Cost: 2 rounds for the pieces, one piece for every 2 of x's range, then 5. Security: as `reciprocal`.
    """
    x = _secret(x, "exp")
    lo, hi = x.type.lo, x.type.hi
    if hi > 20:
        raise OverflowRefusal(f"exp: its argument may be {hi:.6g}, and e^20 is the largest it gives; {_CURE}", here())
    bits = min(32, _ROOM - WORK_BITS - 3 - math.ceil(hi / math.log(2.0)))
    least = -(bits + 1) * math.log(2.0)  # below, e^x is less than half a unit
    start = max(lo, least)
    pieces = max(1, math.ceil((hi - start) / 2))
    width = (hi - start) / pieces if hi > start else 2.0
    middles = [start + (k + 0.5) * width for k in range(pieces)]
    points = [start + k * width for k in range(pieces)]
    values = [math.exp(m) for m in middles]
    if lo >= least:
        points, starts = points[1:], middles
    else:
        values, starts = [0.0, *values], [middles[0], *middles]
    f = fitted(np.exp, -width / 2, width / 2, _DEGREE)
    if not points:
        return bounded(polynomial(_unit(x - middles[0], width), [c * values[0] for c in f]), *_about(lo, hi))
    reached = at_least(x, points)
    t = _unit(x - _steps(reached, starts, 30), width)
    p = bounded(polynomial(t, f), math.exp(-width / 2) - 1e-5, math.exp(width / 2) + 1e-5)
    y = current_trace().emit("mul", [rescale(p, WORK_BITS), _steps(reached, values, bits)])
    return bounded(y, *_about(lo, hi))


def _about(lo: float, hi: float) -> tuple[float, float]:
    margin = 1e-5 * math.exp(hi) + 1e-5
    return math.exp(lo) - margin if lo > -30 else -margin, math.exp(hi) + margin


def _unit(x: Any, width: float) -> Any:
    """2x/width, in [−1, 1] where x is in its piece."""
    x = rescale(x, WORK_BITS + 2) if x.type.scale > WORK_BITS + 2 else x
    return bounded(rescale(bounded(x, -width, width) * constant(2 / width, 30), WORK_BITS), -1.0, 1.0)


def softmax(x: Any, axis: int = -1) -> Any:
    """e^x / Σ e^x along an axis, error below 2^-16; the largest is subtracted first, so that any range is right.

    x: secret, of one axis at least and any declared range. Cost: a maximum, 3·⌈log2 n⌉ rounds, an exponential, a
    reciprocal of the sum and a product. Security: theirs.
    """
    x = _secret(x, "softmax")
    if not x.shape or not x.shape[axis]:
        raise ProgramError("mpc.softmax of no elements", here())
    n, order = x.shape[axis], [*x.shape]
    order[axis] = 1
    shifted = bounded(x - max_(x, axis).reshape(order), x.type.lo - x.type.hi, 0.0)
    grown = exp(rescale(shifted, 20) if shifted.type.scale > 20 else shifted)
    grown = bounded(rescale(grown, 24), 0.0, 1.0 + 1e-5)
    total = bounded(grown.sum(axis=axis, keepdims=True), 1.0 - 1e-5, n * (1.0 + 1e-5))
    return bounded(grown * reciprocal(bounded(total, 0.5, 2.0 * n)), 0.0, 1.0 + 1e-4)


def tanh(x: Any) -> Any:
    """tanh x = 2·σ(2x) − 1, elementwise, for a range within ±122; error twice that of `mpc.sigmoid` at 2x.

    Cost, security and source of `mpc.sigmoid`: one opening, 1 round, 8 bytes an element and peer.
    """
    x = _secret(x, "tanh")
    return sigmoid(x * 2) * 2 - 1


def sin(x: Any) -> Any:
    """sin x, elementwise, for any declared range: error below 2^-20 plus 2^-30 of the range.

    Cost: 2 rounds for the multiples of 2π in the range, 256 at most, then 6 for a polynomial of degree 15 in odd
    powers. Security: comparisons, products and truncations of the suite, nothing else is opened.
    """
    x = _secret(x, "sin")
    return _wave(x, 0.0)


def cos(x: Any) -> Any:
    """cos x = sin(x + π/2); see `sin`."""
    x = _secret(x, "cos")
    return _wave(x, math.pi / 2)


def _wave(x: Any, ahead: float) -> Any:
    turn = 2 * math.pi
    first, last = math.floor((x.type.lo + ahead) / turn + 0.5), math.floor((x.type.hi + ahead) / turn + 0.5)
    if last - first > 256:
        raise OverflowRefusal(f"sin and cos take a range of 256 turns at most, not {last - first}; {_CURE}", here())
    turns = [k * turn - ahead for k in range(first, last + 1)]
    points = [k - math.pi for k in turns[1:]]
    centre = _steps(at_least(x, points), turns, 32) if points else turns[0]
    t = _unit(x - centre, turn)
    f = fitted(np.sinc, -1.0, 1.0, 16)
    square = bounded(rescale(t * t, WORK_BITS), 0.0, 1.0)
    even = bounded(polynomial(square, [c * math.pi for c in f[::2]]), -1e-3, math.pi + 1e-3)
    return bounded(t * rescale(even, WORK_BITS), -1.0 - 1e-5, 1.0 + 1e-5)


OPERATIONS["quotient"] = divide
UFUNCS.update({
    np.exp: exp, np.log: log, np.sqrt: sqrt, np.tanh: tanh, np.sin: sin, np.cos: cos, np.reciprocal: reciprocal,
})  # fmt: skip
