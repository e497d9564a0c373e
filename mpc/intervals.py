"""Interval arithmetic: the range of a result from the ranges of its operands, rounded outwards."""

from __future__ import annotations

import math
from collections.abc import Sequence

Interval = tuple[float, float]
EVERYTHING: Interval = (-math.inf, math.inf)


def hull(*values: float) -> Interval:
    """The smallest interval around numbers that float arithmetic made."""
    lo, hi = min(values), max(values)
    return math.nextafter(lo, -math.inf) if lo % 1 else lo, math.nextafter(hi, math.inf) if hi % 1 else hi


def joined(parts: Sequence[Interval]) -> Interval:
    """Around several intervals."""
    return min(lo for lo, _ in parts), max(hi for _, hi in parts)


def plus(x: Interval, y: Interval) -> Interval:
    """x + y."""
    return hull(x[0] + y[0], x[1] + y[1])


def minus(x: Interval, y: Interval) -> Interval:
    """x − y."""
    return hull(x[0] - y[1], x[1] - y[0])


def times(x: Interval, y: Interval) -> Interval:
    """x · y."""
    return hull(*(a * b if a and b else 0.0 for a in x for b in y))


def over(x: Interval, y: Interval) -> Interval:
    """x / y; everything if y may be 0."""
    if y[0] <= 0 <= y[1]:
        return EVERYTHING
    return times(x, hull(1 / y[1], 1 / y[0]))


def added_up(x: Interval, n: int) -> Interval:
    """The sum of n elements."""
    return hull(x[0] * n, x[1] * n) if n else (0.0, 0.0)
