"""Linear and ridge regression in closed form, for rows or columns that lie at different owners."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import mpc
from protocols.learning.convergence import settled
from protocols.learning.owners import Feature, Partition, all_columns, known_label, same_columns
from protocols.learning.units import OwnUnits, own_moments, pooled

__all__ = ["linear_regression", "ridge_regression"]

_BITS = 40  # of correlations
_COARSE = 10  # of an inverse that is refined with
_NEAR = 0.5  # of rows and columns of I − ZR
_REFINED = 3
_ROUNDED = 2.0**-29  # what rounding shared columns does to correlations
_LEAST = 2.0**-10  # eigenvalue of correlations


@mpc.program
def linear_regression(
    data: mpc.PerParty[mpc.Table],
    label: str,
    partition: Partition = "horizontal",
    limit: float | None = None,
    least: float = _LEAST,
    tolerance: float = 1e-4,
) -> dict[str, Any]:
    """Least squares with an intercept, as scikit-learn's `LinearRegression`; the rows stay with their owners.

    label: the column of numbers to predict, in any unit; limit: the largest |label|, refused beyond, if one is stated.
    partition: `horizontal`, other rows of the same columns: each owner adds up its own products of standardised
    columns; `vertical`, other columns of the same rows: products cross owners. least: the smallest eigenvalue of the
    columns' correlation matrix that the inverse is made for; the less, the fewer bits it has.
    Results: coef and intercept in the columns' own units, features, converged: no coefficient is further than
    `tolerance` deviations of the label from its place, by a bound that is computed with it; if it is false, columns are
    nearly dependent: a smaller `least`, or a ridge. Columns that do not vary have coefficient 0.
    Some 90 rounds; d² words, with vertical n·d + d².
    Revealed besides: `converged`; horizontal: mean and variance of every column, the label's too; vertical: magnitudes
    of deviations.
    """
    return _solved(data, label, partition, limit, 0.0, least, tolerance)


@mpc.program
def ridge_regression(
    data: mpc.PerParty[mpc.Table],
    label: str,
    alpha: float = 1.0,
    partition: Partition = "horizontal",
    limit: float | None = None,
    tolerance: float = 1e-4,
) -> dict[str, Any]:
    """As `linear-regression` with a penalty alpha·‖w‖² on the standardised columns: scikit-learn's `Ridge(alpha)`."""
    if not 0 < alpha < 2.0**30:
        raise mpc.UsageError(f"alpha must be positive, not {alpha}; without a penalty use linear-regression")
    return _solved(data, label, partition, limit, alpha, _LEAST, tolerance)


def _solved(
    data: Any,
    label: str,
    partition: Partition,
    limit: float | None,
    alpha: float,
    least: float,
    tolerance: float,
) -> dict[str, Any]:
    if limit is not None and not 0 < limit < math.inf:
        raise mpc.UsageError(f"limit is the largest |{label}|, a positive number, not {limit}")
    if not 2.0**-20 <= least <= 1:
        raise mpc.UsageError(f"least must lie between 2^-20 and 1, not {least}")
    tables = list(data)
    known_label(tables, label)
    features = same_columns(tables, label) if partition == "horizontal" else all_columns(tables, label)
    if not features:
        raise mpc.UsageError(f"there is no column beside the label {label!r} to explain it with")
    n = len(tables[0]) if partition == "vertical" else sum(len(t) for t in tables)
    if n < 2:
        raise mpc.InputError(f"there are {n} rows in all; a regression needs 2 or more")
    gathered = _rows if partition == "horizontal" else _columns
    penalty = alpha / n
    R, r, back, revealed = gathered(tables, features, label, limit, penalty)
    smallest = max(penalty, least) / (1 + penalty)
    if partition == "vertical" and tolerance < _ROUNDED / smallest:
        raise mpc.UsageError(
            f"columns are shared with 30 bits, which moves coefficients by up to {_ROUNDED / smallest:.2g} where an "
            f"eigenvalue is {smallest:.2g}: a larger least, a ridge, or a tolerance of that size"
        )
    w, sure = _solution(R, r, smallest, tolerance)
    coef, intercept = back(w / math.sqrt(1 + penalty))
    names = [name for _, name in features]
    return {
        "coef": coef,
        "intercept": intercept,
        "features": names,
        "rows": n,
        "converged": mpc.reveal(sure, name="converged"),
        **revealed,
    }


def _label(t: Any, label: str, limit: float | None) -> Any:
    return t[label] if limit is None else mpc.within(t[label], -limit, limit)


def _rows(
    tables: Sequence[Any], features: list[Feature], label: str, limit: float | None, penalty: float
) -> tuple[Any, Any, Any, dict[str, Any]]:
    """(R + penalty·I)/(1 + penalty), R the columns' correlations, and over √(1 + penalty) those with the label.

    Each owner adds up its own rows. Then the way back to own units, and what else is revealed.
    """
    names = [name for _, name in features]
    d = len(names)
    raw = [mpc.concatenate([t[names], _label(t, label, limit).reshape(-1, 1)], axis=1) for t in tables]
    of = pooled(raw)
    own = [of.standardised(x) for x in raw]
    n = sum(len(x) for x in raw)
    sums = [z.T @ z / n for z in own]
    sums[0] = sums[0] + of.still * np.eye(d + 1)
    parts = [s[:d, :d] / (1 + penalty) for s in sums]
    parts[0] = parts[0] + penalty / (1 + penalty) * np.eye(d)
    R = _added(parts)
    r = _added([s[:d, d] / math.sqrt(1 + penalty) for s in sums])

    def back(w: Any) -> tuple[Any, Any]:
        known = mpc.reveal(w, bits=24, name="coefficients of the standardised columns")
        coef = known * of.inverse[:d] * of.spread[d]
        return coef, of.mean[d] - (coef * of.mean[:d]).sum()

    return R, r, back, of.revealed


def _added(parts: Sequence[Any]) -> Any:
    """The sum of owners' parts of correlations: within ±1 in all."""
    return mpc.bounded(sum(mpc.share(p, range=(-1.001, 1.001), scale=_BITS) for p in parts), -1.001, 1.001)


def _columns(
    tables: Sequence[Any], features: list[Feature], label: str, limit: float | None, penalty: float
) -> tuple[Any, Any, Any, dict[str, Any]]:
    """As `_rows`, where owners have other columns of the same rows."""
    n = len(tables[0])
    (holder,) = [t for t in tables if label in t.columns]
    y = _label(holder, label, limit).reshape(-1, 1)
    of_label = own_moments(y)
    owners, shared = [], []
    for i, t in enumerate(tables):
        names = [name for at, name in features if at == i]
        if names:
            owners.append(own_moments(t[names]))
            shared.append(owners[-1].standardised(t[names]) / math.sqrt(n * (1 + penalty)))
    # Σx² = 1, so that |x| ≤ 1 and every product of two columns too
    X = mpc.concatenate([mpc.share(x, range=(-1.0, 1.0), scale=30) for x in shared], axis=1)
    z = mpc.share(of_label.standardised(y).reshape(-1) / math.sqrt(n), range=(-1.0, 1.0), scale=30)
    still = mpc.concatenate([mpc.share(of.still, range=(0, 1), scale=0) for of in owners])
    lifted = mpc.constant(penalty / (1 + penalty), _BITS) + still * mpc.constant(1 / (1 + penalty), _BITS)
    R = mpc.rescale(mpc.bounded(X.T @ X, -1.01, 1.01), _BITS) + lifted * np.eye(len(features), dtype=int)
    R = mpc.bounded(R, -1.01, 1.01)
    r = mpc.rescale(mpc.bounded(X.T @ z, -1.01, 1.01), _BITS)
    units = OwnUnits(owners)
    return R, r, lambda w: units.own(w, len(features), False, of_label), {}


def _solution(R: Any, r: Any, smallest: float, tolerance: float) -> tuple[Any, Any]:
    """R⁻¹r of a secret correlation matrix, and the bit whether it is right to `tolerance`.

    Z is near R⁻¹ if no row and no column of I − ZR has absolute values that add up to more than ½. Then each
    x ← x + Z(r − Rx) halves at least what is left over, and x is off by at most twice its last step. Both are looked
    at: an eigenvalue below `smallest` leaves the first one large.
    """
    d = R.shape[0]
    reach = math.sqrt(1.0 / smallest) * 1.01
    Z = mpc.rescale(mpc.inverse(R, smallest=smallest, largest=1.01 * d), _COARSE)
    off = mpc.absolute(np.eye(d) - mpc.rescale(mpc.bounded(Z @ mpc.rescale(R, 24), -2.0, 2.0), 20))
    far = sum(mpc.is_negative(_NEAR - off.sum(axis=axis)).sum() for axis in (0, 1))
    x: Any = None
    step, left, size = None, r, 1.01
    for _ in range(_REFINED):
        bits = 60 - _COARSE - math.ceil(math.log2(d / smallest)) - math.ceil(math.log2(size))
        step = mpc.bounded(Z @ mpc.rescale(left, min(bits, _BITS)), -reach, reach)
        step = mpc.rescale(step, _BITS) if step.type.scale > _BITS else step
        x = step if x is None else mpc.bounded(x + step, -reach, reach)
        size = max(size / 2, 2.0**-20)
        left = mpc.bounded(_left(R, r, x, reach), -size, size)
    wrong = far + (1 - settled(step, tolerance / 2))
    return x, mpc.is_zero(wrong)


def _left(R: Any, r: Any, x: Any, reach: float) -> Any:
    """r − Rx in two words: a coarse x times all of R, and the rest of x times fewer bits."""
    d = R.shape[0]
    room = 60 - _BITS - math.ceil(math.log2(reach * d))
    coarse, ulp = mpc.rescale(x, room), 2.0 ** (1 - room)
    rest = mpc.bounded(x - coarse, -ulp, ulp)
    fine = mpc.bounded(mpc.rescale(R, 60 - _BITS - 1 + room - math.ceil(math.log2(d))) @ rest, -d * ulp, d * ulp)
    return r - mpc.rescale(mpc.bounded(R @ coarse, -4.0, 4.0), _BITS) - mpc.rescale(fine, _BITS)
