"""Polynomials of a secret with public coefficients: powers by doubling, so that the depth is logarithmic."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mpc.arithmetic import multiply_out
from mpc.errors import ProgramError, SecretError
from mpc.language import bounded, constant, rescale
from mpc.place import here
from mpc.surface import Secret, plain_number

__all__ = ["fitted", "polynomial"]

WORK_BITS = 26  # of the powers of an argument in [−1, 1]
_COEFFICIENT_BITS = 30


def polynomial(x: Any, coefficients: Sequence[float]) -> Any:
    """c₀ + c₁x + c₂x² + …, elementwise; as `numpy.polynomial.polynomial.polyval`.

    x: secret, any shape. coefficients: public numbers, lowest power first. Every power stands at 26 fraction bits, or
    as many as x's range leaves room for, and loses one unit at most for each product under it; coefficients have 30.
    Cost: for degree k ⌈log2 k⌉ products one after the other, 1 round each, 8 bytes an element and power to each peer;
    what is truncated goes into the next product as it is.
    Security: products and truncations of the suite, nothing else.
    """
    if not isinstance(x, Secret):
        raise SecretError("mpc.polynomial takes a secret value: mpc.share(x) first", here())
    known = [float(plain_number(c)) for c in coefficients]
    if not known:
        raise ProgramError("mpc.polynomial needs at least one coefficient, the constant one first", here())
    x = multiply_out(x)
    degree = max((i for i, c in enumerate(known) if c), default=0)
    if not degree:
        return x * 0 + known[0]
    grow = max(0.0, math.log2(max(x.type.bound, 1e-9)))
    half = (degree + 1) // 2
    bits = max(4, min(WORK_BITS, math.floor((60 - 2 * half * grow) / 2))) if degree > 1 else WORK_BITS
    powers = _powers(x if x.type.scale <= bits else rescale(x, bits), degree, bits)
    bound = max(abs(c) * x.type.bound**i for i, c in enumerate(known)) * (degree + 1)
    room = 60 - max(p.type.scale for p in powers.values()) - math.ceil(math.log2(max(bound, 1e-9)))
    digits = max(2, min(_COEFFICIENT_BITS, room))
    total: Any = 0
    for i in range(degree, 0, -1):
        if known[i]:
            total = total + powers[i] * constant(known[i], digits)
    return total + known[0] if known[0] else total


def _powers(x: Any, degree: int, bits: int) -> dict[int, Any]:
    """x, x², … at `bits`: each the product of two that are there already."""
    powers = {1: x}
    bound = x.type.bound
    for k in range(2, degree + 1):
        a, b = powers[k - k // 2], powers[k // 2]
        powers[k] = bounded(rescale(a * b, bits), -(bound**k) if k % 2 else 0.0, bound**k)
    return powers


def fitted(f: Callable[[Any], Any], lo: float, hi: float, degree: int) -> list[float]:
    """Coefficients in t = (2z − lo − hi)/(hi − lo) of f's interpolation at Chebyshev's points of [lo, hi].

    They are traced into the program's text as integers: only who traces evaluates f, so no two machines need agree.
    """
    chebyshev = np.polynomial.chebyshev.chebinterpolate(lambda t: f((t * (hi - lo) + lo + hi) / 2), degree)
    listed: list[float] = np.polynomial.chebyshev.cheb2poly(chebyshev).tolist()
    return listed
