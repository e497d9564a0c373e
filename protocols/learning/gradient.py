"""Plain gradient steps for logistic regression, full batch or mini-batches, with momentum."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

import mpc
from protocols.learning.owners import X_BITS

__all__ = ["WEIGHTS", "Steps", "gradient_steps"]

_RESIDUAL_BITS = 36  # of the residual times the rate; weights then stand at 46 bits and Xw at 56: no truncation
_WEIGHT_BITS = X_BITS + _RESIDUAL_BITS
WEIGHTS = 64.0  # |w| of standardised columns


@dataclass(frozen=True)
class Steps:
    """The schedule: how many steps, how long, how much momentum, on how many rows at a time."""

    times: int
    rate: float
    momentum: float
    batch: int
    penalty: float  # 1/(n·C), 0 without


def gradient_steps(
    X: Any,
    y: Any,
    penalised: np.ndarray,
    steps: Steps,
    margin: float,
    *,
    intercept: bool = False,
    seed: int | None = None,
) -> tuple[Any, Any]:
    """Weights after `steps` from zero, and those one step before, in the form of scikit-learn's objective.

    X: secret (n, d) at 10 fraction bits, |x| ≤ 16; y: secret (n,) of 0 and 1, or (n, k), a column for each of k models;
    penalised: of 0 and 1, for each weight. intercept: whether a last weight stands alone, as if X had a last column of
    ones: it is added to Xw, and its gradient is the sum of the residuals. seed: of the order of the rows; None: as they
    are. Where no row is used more than twice, each batch is taken out of X, which is not copied in order.
    margin: the stated bound of |Xw|; the sigmoid is right up to it and the plan lists it.
    Gives secret (d,) or (d, k) at 46 bits, or (d + 1, …) with an intercept. Cost of a step: 3 rounds, 2·batch + d words
    (the openings of Xw, of the residual, of the new weights), whatever the size of X, and one for an intercept with a
    penalty or momentum: alone it is made of what is open. Penalty and momentum truncate wires that are open already.
    Security: rule 1; the rounding of the residual depends on masks (about 2^-14 of it), which `accept_rounding` states.
    """
    gain = steps.rate / steps.batch
    target = y * mpc.constant(gain, _RESIDUAL_BITS)
    n, d = X.shape
    order = mpc.permutation(n, seed) if seed is not None and steps.times * steps.batch <= 2 * n else None
    if seed is not None and order is None:
        X, target = mpc.permute(X, seed), mpc.permute(target, seed)

    def batch(of: Any, i: Any) -> Any:
        batches = n // steps.batch
        at = (i % batches) * steps.batch if batches > 1 else 0
        part = slice(at, at + steps.batch)
        return of[part] if order is None else mpc.permute(of, rows=order[part])

    def step(i: Any, state: tuple[Any, Any]) -> tuple[Any, Any]:
        w, before = state
        rows, goal = batch(X, i), batch(target, i)
        sums = rows @ w[:d] + w[d:] if intercept else rows @ w
        u = mpc.assume_range(sums, -margin, margin)
        residual = mpc.sigmoid(u, gain=gain, scale=_RESIDUAL_BITS) - goal
        slope = rows.T @ residual
        if intercept:
            slope = mpc.concatenate([slope, mpc.sum(residual, axis=0, keepdims=True)])
        new = w - slope
        if steps.penalty:
            new = new - _scaled(w, steps.rate * steps.penalty * penalised.reshape(-1, *(1,) * (y.ndim - 1)))
        if steps.momentum:
            new = new + _scaled(w - before, np.full(w.shape, steps.momentum))
        return mpc.accept_rounding(mpc.assume_range(new, -WEIGHTS, WEIGHTS)), w

    zero = mpc.constant(np.zeros((d + intercept, *y.shape[1:])), _WEIGHT_BITS)
    w, before = mpc.repeat(steps.times, step, (zero, zero))
    return w, before


def _scaled(w: Any, factor: np.ndarray) -> Any:
    """w · factor at the weights' own scale: w loses the bits that the factor brings, 12 or more of them significant."""
    bits = min(_WEIGHT_BITS - 10, max(12, 12 - math.floor(math.log2(float(np.max(np.abs(factor)))))))
    return mpc.rescale(w, _WEIGHT_BITS - bits) * mpc.constant(factor, bits)
