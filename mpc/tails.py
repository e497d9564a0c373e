"""The chance of a statistic at least so large: upper tails of the chi-square and of Student's distribution, in float64.

For what is known: a statistic that was revealed, its degrees of freedom. Each reader computes it alone; it never
touches a share.
Source: continued fractions by Lentz's method, Press et al., "Numerical Recipes" (3rd edition), 6.2 and 6.4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["chi_square_tail", "student_tail"]

_TINY = 1e-300
_STEPS = 100_000
_CLOSE = 1e-15


def chi_square_tail(x: Any, freedom: Any) -> NDArray[np.float64]:
    """P(χ² ≥ x), elementwise; NaN where `freedom` is not positive, 1 where x is not."""
    return np.asarray(np.vectorize(_chi_square, otypes=[np.float64])(x, freedom))


def student_tail(t: Any, freedom: Any) -> NDArray[np.float64]:
    """P(|T| ≥ |t|), both sides, elementwise; NaN where `freedom` is not positive."""
    return np.asarray(np.vectorize(_student, otypes=[np.float64])(t, freedom))


def _chi_square(x: float, freedom: float) -> float:
    if not freedom > 0 or math.isnan(x):
        return math.nan
    return _gamma_above(freedom / 2, x / 2) if x > 0 else 1.0


def _student(t: float, freedom: float) -> float:
    if not freedom > 0 or math.isnan(t):
        return math.nan
    if math.isinf(t):
        return 0.0
    return _beta_below(freedom / (freedom + t * t), t * t / (freedom + t * t), freedom / 2, 0.5)


def _gamma_above(a: float, x: float) -> float:
    """The regularised incomplete gamma function Q(a, x): by its series below a + 1, by its fraction above."""
    if math.isinf(x):
        return 0.0
    size = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x >= a + 1:
        return size * _fraction(lambda k: -k * (k - a) if k else 1.0, lambda k: x + 2 * k + 1 - a)
    term = total = 1 / a
    for k in range(1, _STEPS):
        term *= x / (a + k)
        total += term
        if term < total * _CLOSE:
            break
    return 1.0 - size * total


def _beta_below(x: float, rest: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b); rest: 1 − x, which x near 1 does not say well enough."""
    if x <= 0 or rest <= 0:
        return float(rest <= 0)
    size = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(rest))
    if x >= (a + 1) / (a + b + 2):
        return 1.0 - size * _beta_fraction(rest, b, a) / b
    return size * _beta_fraction(x, a, b) / a


def _beta_fraction(x: float, a: float, b: float) -> float:
    def above(k: int) -> float:
        if not k:
            return 1.0
        m = k // 2
        if k % 2:
            return -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        return m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))

    return _fraction(above, lambda _: 1.0)


def _fraction(above: Callable[[int], float], below: Callable[[int], float]) -> float:
    """above(0)/(below(0) + above(1)/(below(1) + …))."""
    f, c, d = _TINY, _TINY, 0.0
    for k in range(_STEPS):
        d = below(k) + above(k) * d
        c = below(k) + above(k) / c
        d, c = 1.0 / (d or _TINY), c or _TINY
        f *= c * d
        if abs(c * d - 1) < _CLOSE:
            break
    return f
