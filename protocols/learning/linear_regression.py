"""Linear and ridge regression in closed form, for rows or columns that lie at different owners."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import mpc
from protocols.learning.convergence import settled
from protocols.learning.owners import Partition, Scaled, gathered, known_label, shared_numbers

__all__ = ["linear_regression", "ridge_regression"]

_BITS = 18  # of the standardised columns: dependent columns take more than gradient steps need
_BALANCE = 1.01  # Σx² of a standardised column is n within a hundredth


@mpc.program
def linear_regression(
    data: mpc.PerParty[mpc.Table],
    label: str,
    partition: Partition = "horizontal",
    limit: float = 2.0**16,
    least: float = 2.0**-10,
    clip: bool = False,
    tolerance: float = 1e-3,
) -> dict[str, Any]:
    """Least squares with an intercept, as scikit-learn's `LinearRegression`; the rows stay with their owners.

    label: the column of numbers to predict, |y| ≤ limit (rounded up to a power of two). partition: `horizontal`, other
    rows of the same columns; `vertical`, other columns of the same rows. Columns are standardised as in
    `logistic-regression`; a scaled value beyond ±16 is refused, or clipped with `clip`. least: the smallest eigenvalue
    of the columns' correlation matrix that the inverse is made for. converged: no column's correlation with what is
    left over exceeds `tolerance` of the limit; if not, columns are nearly dependent: a smaller `least`, or a ridge.
    Results: coef and intercept in the columns' own units, features. Some 90 rounds, n·d + d² words.
    Revealed besides: `converged`, pooled mean and variance (horizontal).
    """
    return _solved(data, label, partition, limit, 0.0, least, clip, tolerance)


@mpc.program
def ridge_regression(
    data: mpc.PerParty[mpc.Table],
    label: str,
    alpha: float = 1.0,
    partition: Partition = "horizontal",
    limit: float = 2.0**16,
    clip: bool = False,
    tolerance: float = 1e-3,
) -> dict[str, Any]:
    """As `linear-regression` with a penalty alpha·‖w‖² on the standardised columns: scikit-learn's `Ridge(alpha)`."""
    if not 0 < alpha < 2.0**30:
        raise mpc.UsageError(f"alpha must be positive, not {alpha}; without a penalty use linear-regression")
    return _solved(data, label, partition, limit, alpha, 0.0, clip, tolerance)


def _solved(
    data: Any, label: str, partition: Partition, limit: float, alpha: float, least: float, clip: bool, tolerance: float
) -> dict[str, Any]:
    if not 2.0**-10 <= limit <= 2.0**30:
        raise mpc.UsageError(f"limit must lie between 2^-10 and 2^30, not {limit}: the largest |{label}|")
    if alpha == 0 and not 2.0**-20 <= least <= 1:
        raise mpc.UsageError(f"least must lie between 2^-20 and 1, not {least}")
    top = 2.0 ** math.ceil(math.log2(limit))
    tables = list(data)
    known_label(tables, label)
    scaled = Scaled("standard", {}, clip, _BITS)
    X, y, units, features = gathered(tables, label, partition, scaled, lambda t: shared_numbers(t, label, top))
    n, d = X.shape
    gram = mpc.bounded(X.T @ X, -_BALANCE * n, _BALANCE * n)
    smallest = alpha + n * least
    moment = mpc.bounded(X.T @ y, -_BALANCE * n, _BALANCE * n)
    largest = _BALANCE * n * d + alpha
    reach = math.sqrt(n / smallest) * _BALANCE
    w = mpc.solve(gram + alpha * np.eye(d), moment, smallest=smallest, largest=largest)
    w = mpc.rescale(mpc.bounded(w, -reach, reach), 30)
    residual = mpc.bounded((moment - gram @ mpc.rescale(w, 24) - w * alpha) / n, -4.0 - reach * d, 4.0 + reach * d)
    mean = mpc.bounded(y.sum() / n, -1.0, 1.0)
    weights = mpc.concatenate([w, mpc.rescale(mean, 30).reshape(1)]) * top
    coef, intercept = units.own(weights, d, True)
    return {
        "coef": coef,
        "intercept": intercept,
        "features": features,
        "rows": n,
        "converged": mpc.reveal(settled(residual, tolerance), name="converged"),
        **units.revealed,
    }
