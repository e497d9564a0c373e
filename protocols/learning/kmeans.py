"""k-means clustering by Lloyd's steps, over rows or columns that lie at different owners."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import mpc
from protocols.learning.convergence import settled
from protocols.learning.owners import Partition, Scaled, Scaling
from protocols.statistics.cells import MINIMUM, Cells

__all__ = ["k_means"]

_X_BITS = 16
_CENTRE_BITS = 20
_FAR = 16.0  # |x| of a scaled column


@mpc.program
def k_means(
    data: mpc.PerParty[mpc.Table],
    k: int,
    partition: Partition = "horizontal",
    steps: int = 20,
    starts: int = 4,
    start_rows: list | None = None,  # type: ignore[type-arg]
    without: str = "",
    scale: Scaling = "standard",
    ranges: dict | None = None,  # type: ignore[type-arg]
    clip: bool = False,
    labels: bool = False,
    tell_coordinator: bool = False,
    tolerance: float = 1e-3,
    seed: int = 0,
    minimum: int = MINIMUM,
) -> dict[str, Any]:
    """Centres of k clusters of rows, as scikit-learn's `KMeans` finds them; rows and their clusters stay secret.

    without: a column to leave out. partition, scale, ranges, clip: as in `logistic-regression`; distances are those of
    the scaled columns. starts: how many times k rows, chosen by the public `seed`, are taken as centres; all starts
    run side by side and the one with the least inertia counts, which one stays secret. start_rows: the rows (counted
    from 0 over all owners) of a single start instead. steps: of each start. labels: with partition=horizontal each
    owner learns the clusters of its own rows besides, and with tell_coordinator whoever starts the run learns all.
    A step: distances to all centres (one product), the nearest by a tournament, means of the rows nearest to each; a
    centre without rows stays. 25 rounds a step for k = 3; some 100 bytes a row, start and step.
    minimum: clusters of fewer rows are withheld, centre and size together, and so is the next smallest where fewer
    than this would be withheld in all: rows of all owners together, those that the centre is the mean of and those
    nearest to it in the end. A centre without rows is a row that was started from, and withheld. With 1 all are shown.
    Results: centers (k, columns) in the columns' own units, sizes, shown, inertia of the scaled columns, converged:
    whether no centre moved by more than `tolerance` in the last step.
    Revealed: these; with partition=horizontal and scale=standard pooled means and variances besides.
    """
    tables = list(data)
    scaled = Scaled(scale, ranges or {}, clip, _X_BITS)
    X, units, features = scaled.gathered(tables, without, partition)
    n = X.shape[0]
    _check(k, n, steps, starts)
    first = _first(X, k, starts, start_rows, seed)
    none = mpc.secret(np.zeros(first.shape[:2], dtype=int))
    ends = mpc.repeat(steps, lambda i, now: (*_step(X, now[0]), now[0]), (first, none, first))
    centres, behind, before = ends
    nearest, inertia = _nearest(X, centres)
    sizes = nearest.sum(axis=0)
    moved = centres - before
    if first.shape[0] > 1:
        best = _one_hot(mpc.argmin(inertia, axis=0).reshape(1), first.shape[0])[0]
        centres, moved = (mpc.bounded(_picked(best, v), v.type.lo, v.type.hi) for v in (centres, moved))
        sizes, behind, inertia = (_picked(best, v) for v in (sizes, behind, inertia))
        nearest = _picked(best, nearest.transpose(1, 0, 2))
    else:
        centres, behind, moved, sizes, inertia = centres[0], behind[0], moved[0], sizes[0], inertia[0]
        nearest = nearest[:, 0]
    counts = [mpc.bounded(c, 0.0, float(n)) for c in (sizes, behind)]
    cells = Cells(counts, [n, n], minimum, empty=False)
    found = {
        "centers": units.points(centres, "centers", cells.reveal),
        "sizes": cells.reveal(sizes, "sizes"),
        "inertia": mpc.reveal(inertia, name="inertia"),
        "features": features,
        "converged": mpc.reveal(settled(moved, tolerance), name="converged"),
        **units.revealed,
        **cells.facts,
    }
    return {**found, **_own_labels(tables, nearest, k, partition, tell_coordinator)} if labels else found


def _first(X: Any, k: int, starts: int, rows: list[int] | None, seed: int) -> Any:
    """The first centres, (starts, k, d): rows by a public choice."""
    n, d = X.shape
    if rows is not None:
        if len(set(rows)) != k or not all(0 <= r < n for r in rows):
            raise mpc.UsageError(f"start_rows are {k} different rows from 0 to {n - 1}, not {rows}")
        return mpc.rescale(X[list(rows)], _CENTRE_BITS).reshape(1, k, d)
    parts = [mpc.permute(X, seed + s)[:k].reshape(1, k, d) for s in range(starts)]
    return mpc.rescale(mpc.concatenate(parts), _CENTRE_BITS)


def _one_hot(index: Any, count: int) -> Any:
    """0 and 1 for a secret index, a new last axis."""
    return mpc.is_zero(index.reshape(*index.shape, 1) - np.arange(count))


def _distances(X: Any, centres: Any) -> Any:
    """‖c‖² − 2x·c for every row and centre, (n, starts, k): squared distances but for ‖x‖², which all have alike."""
    starts, k, d = centres.shape
    reach = 3 * d * _FAR**2
    cross = (X @ centres.reshape(starts * k, d).T).reshape(X.shape[0], starts, k)
    square = (centres * centres).sum(axis=-1)
    return mpc.rescale(mpc.bounded(mpc.rescale(square, 36) - 2 * cross, -reach, reach), 20)


def _nearest(X: Any, centres: Any) -> tuple[Any, Any]:
    """Which centre is nearest, (n, starts, k) of 0 and 1, and each start's inertia."""
    away = _distances(X, centres)
    nearest = _one_hot(mpc.argmin(away, axis=2), centres.shape[1])
    least = (away * nearest).sum(axis=(0, 2))
    n, d = X.shape
    inertia = mpc.rescale(least, 20) + mpc.rescale((X * X).sum(), 20)
    return nearest, mpc.bounded(inertia, -1.0, 4 * n * d * _FAR**2)


def _step(X: Any, centres: Any) -> tuple[Any, Any]:
    """Each centre becomes the mean of the rows nearest to it, and how many these are; one that has none stays."""
    n, d = X.shape
    starts, k, _ = centres.shape
    nearest = _one_hot(mpc.argmin(_distances(X, centres), axis=2), k)
    count = mpc.bounded(nearest.sum(axis=0), 0.0, float(n))
    empty = mpc.is_zero(count)
    sums = mpc.bounded(nearest.reshape(n, starts * k).T @ X, -n * _FAR, n * _FAR).reshape(starts, k, d)
    inverse = mpc.bounded(mpc.reciprocal(mpc.bounded(count + empty, 1.0, float(n))), 0.0, 1.0)
    bits = 60 - _X_BITS - math.ceil(math.log2(n * _FAR))
    means = mpc.bounded(sums * mpc.rescale(inverse, min(30, bits)).reshape(starts, k, 1), -_FAR, _FAR)
    moved = mpc.where(empty.reshape(starts, k, 1), centres, mpc.rescale(means, _CENTRE_BITS))
    return mpc.bounded(moved, -_FAR, _FAR), count


def _picked(best: Any, x: Any) -> Any:
    """Of one value for each start, the best start's."""
    shape = (best.shape[0], *(1,) * (x.ndim - 1))
    return (best.reshape(shape) * x).sum(axis=0)


def _own_labels(tables: list[Any], nearest: Any, k: int, partition: Partition, tell: bool) -> dict[str, Any]:
    if partition != "horizontal":
        raise mpc.UsageError("labels=true is for partition=horizontal, where each row has one owner")
    label = nearest @ np.arange(k)
    ends = np.cumsum([0, *(len(t) for t in tables)]).tolist()
    places = zip(tables, ends[:-1], ends[1:], strict=True)
    besides = ["coordinator"] if tell else []
    return {f"labels of {t.owner}": mpc.reveal(label[a:b], to=[t.owner, *besides]) for t, a, b in places}


def _check(k: int, n: int, steps: int, starts: int) -> None:
    if not 2 <= k <= n:
        raise mpc.UsageError(f"k must lie between 2 and the {n} rows, not {k}")
    if steps < 1 or starts < 1:
        raise mpc.UsageError(f"steps and starts must be at least 1, not {steps} and {starts}")
