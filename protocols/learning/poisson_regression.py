"""Poisson regression with a log link by Newton's steps, for rows or columns that lie at different owners."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import mpc
from protocols.learning.convergence import settled
from protocols.learning.owners import Partition, Scaled, gathered, known_label

__all__ = ["poisson_regression"]

_X_BITS = 14
_WEIGHTS = 64.0
_BALANCE = 1.01  # Σx² of a standardised column is n within a hundredth
_TOP = 2.0**8  # y over its mean


@mpc.program
def poisson_regression(
    data: mpc.PerParty[mpc.Table],
    label: str,
    alpha: float = 1.0,
    partition: Partition = "horizontal",
    steps: int = 10,
    margin: float = 4.0,
    least: float = 2.0**-8,
    least_mean: float = 2.0**-6,
    limit: float = 2.0**10,
    clip: bool = False,
    tolerance: float = 1e-3,
) -> dict[str, Any]:
    """Counts explained by e^(xw + b): scikit-learn's `PoissonRegressor(alpha)` on standardised columns.

    label: the column of counts, 0 ≤ y ≤ limit. Minimised is mean(e^u − y·u) + alpha/2·‖w‖², intercept unpenalised.
    partition and standardisation as in `logistic-regression`; a scaled value beyond ±16 is refused, or clipped with
    `clip`. steps: of Newton. margin: u, less the log of the mean count, is cut off at ±margin while training; if the
    last u reaches it, `converged` is false and a larger margin is needed. least: the smallest eigenvalue of the
    Hessian over the mean count that its inverse is made for. least_mean: the mean count is stated to be at least that.
    Results: coef and intercept in the columns' own units, features, mean_count, converged: no weight of the scaled
    columns moved by `tolerance` in the last step, and u stays inside the margin.
    Some 130 rounds a step, n·d + 6n words and the inverse's own.
    Revealed besides: one over the mean count, `converged`, pooled means and variances (horizontal).
    """
    _check(alpha, steps, margin, least, least_mean, limit)
    tables = list(data)
    known_label(tables, label)
    counts = [mpc.within(t[label], 0.0, limit) for t in tables if label in t.columns]
    rows = sum(len(c) for c in counts)
    mean: Any = sum(mpc.share(c.sum() / rows, range=(0, limit), scale=24) for c in counts)
    inverse = mpc.reciprocal(mpc.assume_range(mean, least_mean, limit))
    inverse_mean = mpc.reveal(inverse, name="one over the mean count", bits=24)
    scaled = Scaled("standard", {}, clip, _X_BITS)
    X, y, units, features = gathered(
        tables, label, partition, scaled, lambda t: mpc.share(t[label] * inverse_mean, range=(0, _TOP), scale=26)
    )
    n, d = X.shape
    X = mpc.concatenate([X, np.ones((n, 1))], axis=1)
    penalty = _penalty(inverse_mean, alpha, least_mean) * np.array([1] * d + [0])
    top = math.exp(margin)
    largest = (d + 1) * top * _BALANCE + alpha / least_mean

    def rate(w: Any) -> tuple[Any, Any]:
        u = mpc.rescale(mpc.assume_range(X @ w, -(2.0**12), 2.0**12), 24)
        return mpc.rescale(mpc.exp(mpc.clip(u, -margin, margin)), 26), u

    def step(_: Any, state: tuple[Any, Any]) -> tuple[Any, Any]:
        w, _before = state
        grown, _u = rate(w)
        residual = mpc.bounded(grown - y, -_TOP, top * 1.001)
        gradient = mpc.bounded(X.T @ residual, -n * (_TOP + top), n * (_TOP + top)) / n
        gradient = mpc.rescale(gradient, 24) + mpc.rescale(mpc.rescale(w, 20) * penalty, 24)
        bits = 60 - 2 * _X_BITS - math.ceil(math.log2(n * top * _BALANCE))
        curved = X.T @ (X * mpc.rescale(grown, min(20, bits)).reshape(-1, 1))
        curved = mpc.rescale(mpc.bounded(curved, -n * top * _BALANCE, n * top * _BALANCE) / n, 24)
        hessian = mpc.bounded(curved + penalty * np.eye(d + 1, dtype=int), -largest, largest)
        inverse = mpc.inverse(hessian, smallest=least, largest=largest)
        change = mpc.assume_range(inverse @ mpc.rescale(gradient, 20), -_WEIGHTS, _WEIGHTS)
        return mpc.assume_range(w - mpc.rescale(change, 24), -_WEIGHTS, _WEIGHTS), w

    start = mpc.constant(np.zeros(d + 1), 24)
    w, before = mpc.repeat(steps, step, (start, start))
    _, u = rate(w)
    outside = (mpc.is_negative(margin - u) + mpc.is_negative(u + margin)).sum()
    rest = settled(w - before, tolerance) * mpc.is_zero(outside)
    log_mean = -mpc.rescale(mpc.log(mpc.secret(inverse_mean)), 24)
    shift = mpc.concatenate([mpc.secret(np.zeros(d)), log_mean.reshape(1)])
    coef, intercept = units.own(w + shift, d, True)
    return {
        "coef": coef,
        "intercept": intercept,
        "features": features,
        "mean_count": 1.0 / inverse_mean,
        "n_iter": steps,
        "converged": mpc.reveal(rest, name="converged"),
        **units.revealed,
    }


def _penalty(inverse_mean: Any, alpha: float, least_mean: float) -> Any:
    """alpha over the mean count: what the penalty is where counts are divided by their mean."""
    size = math.ceil(math.log2(max(alpha / least_mean, 1.0)))
    exact = mpc.constant(alpha, 24 if alpha >= 2.0**-8 else 36)
    return mpc.rescale(mpc.bounded(mpc.secret(inverse_mean) * exact, 0.0, alpha / least_mean + 1e-3), 30 - size)


def _check(alpha: float, steps: int, margin: float, least: float, least_mean: float, limit: float) -> None:
    if not 0 <= alpha <= 2.0**10:
        raise mpc.UsageError(f"alpha must lie between 0 and 1024, not {alpha}")
    if steps < 1:
        raise mpc.UsageError(f"steps must be at least 1, not {steps}")
    if not 0.5 <= margin <= 8:
        raise mpc.UsageError(f"margin must lie between 0.5 and 8, not {margin}")
    if not 2.0**-16 <= least <= 1:
        raise mpc.UsageError(f"least must lie between 2^-16 and 1, not {least}")
    if not 2.0**-12 <= least_mean < limit <= 2.0**20:
        raise mpc.UsageError(f"0 < least_mean < limit ≤ 2^20, not {least_mean} and {limit}")
