"""Whether an iteration has come to rest, and where it ended was right, as one secret bit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import mpc
from mpc.tracing import current_trace

_BITS = 20  # of the gradient of the mean loss
_FLOOR = 2.0**-16  # of the gradient of the mean loss: what is left of it in fixed point


def settled(change: Any, tolerance: float) -> Any:
    """1 if every element of `change` lies within ±tolerance, else 0: secret. Two comparisons an element, 4 rounds.

    The change is looked at with 20 fraction bits; nothing but the bit comes out when it is revealed.
    """
    small = mpc.rescale(change, 20) if change.type.scale > 20 else change
    limit = round(tolerance * 2.0**20) / 2.0**20
    if limit <= 0:
        raise mpc.UsageError(f"tolerance must be at least 1e-6, not {tolerance}")
    moved = mpc.is_negative(limit - small) + mpc.is_negative(limit + small)
    return mpc.is_zero(moved.sum())


def outside(x: Any, limit: float) -> Any:
    """How many elements are beyond ±limit, exact for any word that the ring may hold, whatever its range says: secret.

    Two comparisons of 64 bits an element. Source: docs/decisions/verified-ranges.md.
    """
    bits = x.type.scale
    if math.ldexp(limit, bits + 1) >= 2.0**62:
        raise mpc.OverflowRefusal(
            f"±{limit:g} at {bits} fraction bits is too wide to be checked: rescale the value first"
        )
    end = math.floor(math.ldexp(limit, bits))
    word = mpc.bounded(x, 0.0, 0.0)  # nothing is assumed: all 64 bits are compared
    below = current_trace().emit("below", [word], {"width": 64, "points": [-end, end + 1]})
    return mpc.bounded(below[..., 0] + 1 - below[..., 1], 0.0, 2.0).sum()


def minimised(X: Any, y: Any, w: Any, ridge: np.ndarray, margin: float, weights: float, tolerance: float) -> Any:
    """[w is where a logistic loss is least], checked at w alone, however it came about: secret.

    X: secret (n, d), |x| ≤ 16; y: secret (n,) or (n, k); w: secret (d,) or (d, k); ridge: the penalty of each weight.
    Looked at are: every |w| ≤ weights, every |xw| ≤ margin, in all 64 bits, and that the gradient of the mean loss is
    no longer than `tolerance`, rounded down to a power of two, times what it is at 0, or than 2^-16. Steps that went
    wrong on the way cannot make it 1.
    Rounds: some 12; 2n words and comparisons of n numbers for each of k models.
    """
    n = X.shape[0]
    wrong = outside(w, weights)
    w = mpc.rescale(mpc.bounded(w, -weights, weights), min(w.type.scale, 24))
    u = X @ w
    wrong = wrong + outside(u, margin)
    u = mpc.bounded(u, -margin, margin)
    power = math.ceil(math.log2(n))
    bits = min(28, 56 - X.type.scale - power)
    p = mpc.accept_rounding(mpc.bounded(mpc.sigmoid(u, scale=bits), -1e-3, 1.0 + 1e-3))
    # both sides are divided by the same power of two, which costs nothing
    lifted = mpc.constant(ridge / 2.0**power, 28).reshape(-1, *(1,) * (y.ndim - 1))
    slope = _mean(X.T @ (p - y), n) + mpc.rescale(w * lifted, 28)
    start = _mean(X.T @ (y - 0.5), n)
    if not 2.0**-20 <= tolerance < 1:
        raise mpc.UsageError(f"tolerance must be at least 1e-6 and below 1, not {tolerance}")
    coarser = 2.0 ** math.floor(math.log2(tolerance))
    long = _squared(slope, 64.0) - _squared(start * coarser, 32.0 * coarser) - _FLOOR**2
    return mpc.is_zero(wrong + mpc.is_negative(-long).sum())


def _mean(x: Any, n: int) -> Any:
    """A sum over n rows of |terms| ≤ 16, over the next power of two."""
    x = mpc.bounded(x, -16.0 * n, 16.0 * n) / 2.0 ** math.ceil(math.log2(n))
    return mpc.rescale(x, 28)


def _squared(x: Any, bound: float) -> Any:
    """The squared length of each column, at most bound² in all its elements."""
    x = mpc.rescale(mpc.bounded(x, -bound, bound), _BITS)
    return mpc.bounded((x * x).sum(axis=0), 0.0, x.shape[0] * bound**2)
