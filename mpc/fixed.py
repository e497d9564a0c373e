"""Between real numbers and ring integers: fixed point, with the range checked where the data is."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpc.errors import InputError
from mpc.ir import Kind, Type
from mpc.ring import Ring

__all__ = ["LEAST", "decode", "encode", "exponents", "inside", "scalar", "stretched"]

LEAST = -1080  # the exponent of an array of zeros: below that of every other
STEP = 4  # exponents are multiples of it
_CHUNK = 1 << 15
_FAR = 1 << 13  # beyond, every product is 0 or infinite
_LARGEST = 1022  # of the powers of two whose inverse is a normal number too


def encode(ring: Ring, x: NDArray[Any], scale: int, lo: float, hi: float, clip: bool, at: Any) -> NDArray[np.uint64]:
    """Reals to integers x · 2^scale, rounded to nearest. at(index) says where an element stands, for refusals.

    Raises InputError for a value outside [lo, hi] (unless `clip`) or not finite; the message never holds the value.
    """
    x = np.asarray(x, dtype=np.float64)
    x = np.clip(x, lo, hi) if clip and np.all(np.isfinite(x)) else inside(x, lo, hi, at)
    numbers = np.ascontiguousarray(x).reshape(-1)
    whole = np.empty(numbers.shape, dtype=np.int64)
    for start in range(0, len(whole), _CHUNK):  # as much as stays in the cache
        part = _times(numbers[start : start + _CHUNK], scale)
        whole[start : start + _CHUNK] = np.rint(part, out=part)
    return ring.reduce(whole.view(np.uint64).reshape(x.shape))


def inside(x: NDArray[Any], lo: Any, hi: Any, at: Any) -> NDArray[Any]:
    """x, if all of it is finite and within [lo, hi], numbers or one for each column; else InputError, as `encode`."""
    _finite(x, at)
    within = (x >= np.asarray(lo)) & (x <= np.asarray(hi))
    if not within.all():
        out = np.argwhere(~within)
        low, high = (float(np.broadcast_to(end, x.shape)[tuple(out[0])]) for end in (lo, hi))
        more = f" ({len(out)} such values)" if len(out) > 1 else ""
        raise InputError(
            f"{at(tuple(out[0]))} is outside the declared range {low:g} to {high:g}{more}: correct it, declare a wider "
            "range in the program or the schema, or clip"
        )
    return x


def _finite(x: NDArray[Any], at: Any) -> None:
    finite = np.isfinite(x)
    if not finite.all():
        raise InputError(f"{at(tuple(np.argwhere(~finite)[0]))} is not finite: fill or remove it")


def exponents(x: NDArray[Any], axes: tuple[int, ...], at: Any) -> NDArray[np.float64]:
    """The least multiples e of 4 with |x| ≤ 2^e over these axes; `LEAST` where all is zero. Exact for every double."""
    top = np.maximum(np.max(x, axis=axes, initial=0.0), -np.min(x, axis=axes, initial=0.0))
    if not np.all(np.isfinite(top)):
        _finite(x, at)
    half, e = np.frexp(top)
    e = np.ceil((e - (half == 0.5)) / STEP) * STEP
    return np.where(top > 0, e, float(LEAST))


def stretched(x: NDArray[Any], e: NDArray[Any], at: Any) -> NDArray[np.float64]:
    """x · 2^e for whole numbers e: exact unless it leaves the doubles."""
    e = np.asarray(e)
    if not np.all(e == np.rint(e)):
        raise InputError(f"{at(())}: 2^e is multiplied for whole numbers e, and one is not")
    return np.asarray(np.ldexp(x, np.clip(e, -_FAR, _FAR).astype(np.int32)))


def decode(ring: Ring, x: NDArray[np.uint64], scale: int, unit: Fraction) -> NDArray[np.float64]:
    """Integers to reals: x · 2^−scale · unit, exact in float64 below 2^53."""
    real = _times(ring.signed(x).astype(np.float64), -scale)
    if unit == 1:
        return real
    if unit.numerator == 1 and unit.denominator < 1 << 53:
        return real / unit.denominator
    return real * unit.numerator / unit.denominator


def _times(x: NDArray[np.float64], power: int) -> NDArray[np.float64]:
    """x · 2^power. A product with a power of two is as exact as ldexp, and sooner done, where that is a number."""
    return x * 2.0**power if abs(power) <= _LARGEST else np.ldexp(x, power)


def scalar(value: float, t: Type) -> float | bool:
    """A result without dimensions: a revealed integer that is 0 or 1 by its range is a truth value."""
    truth = t.kind is Kind.PUBLIC and t.scale == 0 and t.unit == 1 and (t.lo, t.hi) == (0.0, 1.0)
    return bool(value) if truth else value
