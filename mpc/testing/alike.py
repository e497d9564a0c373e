"""Whether two samples of views look alike: a two-sample chi-square on every byte and on differences of neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["SURE", "deviation"]

SURE = 7.0  # standard deviations: one false alarm in 10^11 comparisons
_BINS = 16
_MOST = 4096  # columns that are looked at


def deviation(first: NDArray[np.uint8], then: NDArray[np.uint8]) -> float:
    """The largest difference between two samples of rows of bytes, in standard deviations, over all their columns.

    Low and high half of every byte and of every difference between neighbours; of very long rows, of bytes spread
    evenly over them. Rows of different lengths are infinitely far apart.
    """
    if first.shape != then.shape:
        return np.inf
    step = -(-first.shape[1] // _MOST) | 1
    x, y = first.astype(np.int16), then.astype(np.int16)
    worst = 0.0
    for a, b in ((x, y), (np.diff(x), np.diff(y))):
        for shift in (0, 4):
            left, right = (np.right_shift(v[:, ::step], shift) & (_BINS - 1) for v in (a, b))
            worst = max(worst, _largest(left, right))
    return worst


def _largest(x: NDArray[np.int16], y: NDArray[np.int16]) -> float:
    """Chi-square of every column as a normal deviate, by Wilson and Hilferty (1931); the largest."""
    a, b = (np.stack([(v == i).sum(axis=0) for i in range(_BINS)]).astype(float) for v in (x, y))
    both = a + b
    used = both > 0
    freedom = used.sum(axis=0) - 1
    chi = np.divide((a - b) ** 2, both, out=np.zeros_like(a), where=used).sum(axis=0)[freedom > 0]
    freedom = freedom[freedom > 0]
    if not freedom.size:
        return 0.0
    spread = 2.0 / (9.0 * freedom)
    return float(np.max((np.cbrt(chi / freedom) - (1.0 - spread)) / np.sqrt(spread)))
