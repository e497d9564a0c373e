"""Principal components by power iteration, over rows or columns that lie at different owners."""

from __future__ import annotations

from typing import Any

import numpy as np

import mpc
from protocols.learning.convergence import settled
from protocols.learning.owners import Partition, Scaled, Scaling

__all__ = ["principal_component", "principal_components"]

_X_BITS = 16
_BITS = 30  # of matrices of trace 1
_LIFT = 2.0**-16  # added to the diagonal: eigenvectors stay, and what is left of a deflated matrix is never 0


@mpc.program
def principal_components(
    data: mpc.PerParty[mpc.Table],
    components: int = 2,
    partition: Partition = "horizontal",
    doublings: int = 10,
    without: str = "",
    scale: Scaling = "standard",
    ranges: dict | None = None,  # type: ignore[type-arg]
    clip: bool = False,
    tolerance: float = 1e-3,
) -> dict[str, Any]:
    """The first principal components of all rows of all owners, as scikit-learn's `PCA`; rows stay secret.

    without: a column to leave out. partition, scale, ranges, clip: as in `logistic-regression`; with scale=standard the
    components are those of the correlation matrix. doublings: each squares the matrix, so 10 are 1,024 steps of power
    iteration. Of each component the entry of largest magnitude is positive.
    Results: components (components, columns), explained_variance and total_variance with n − 1 in the denominator,
    explained_variance_ratio, converged: whether every iteration ended in one direction, to within `tolerance`.
    Two eigenvalues that are nearly equal have no directions of their own; then it is false. Some 12 rounds a doubling
    and component, and d² words. Revealed: these; with partition=horizontal and scale=standard pooled means and
    variances besides.
    """
    tables = list(data)
    X, units, features = Scaled(scale, ranges or {}, clip, _X_BITS).gathered(tables, without, partition)
    n, d = X.shape
    if not 1 <= components <= d:
        raise mpc.UsageError(f"components must lie between 1 and the {d} columns, not {components}")
    if n < 2 or doublings < 1:
        raise mpc.UsageError(f"at least 2 rows and 1 doubling are needed, not {n} and {doublings}")
    largest = 1.01 if scale == "standard" else 256.0
    matrix = mpc.bounded(X.T @ X, -n * largest, n * largest) / n
    if scale != "standard":
        mean = mpc.rescale(mpc.bounded(X.sum(axis=0), -16.0 * n, 16.0 * n) / n, 24)
        matrix = mpc.rescale(matrix, 40) - mpc.outer(mean, mean)
    matrix = mpc.rescale(mpc.bounded(matrix, -largest, largest), _BITS)
    total = mpc.bounded(_diagonal(matrix).sum(), 0.0, largest * d)
    found, variances, mixed = [], [], []
    for _ in range(components):
        v, value, rest = principal_component(matrix, largest, doublings)
        found.append(v)
        variances.append(value)
        mixed.append(rest)
        outer = mpc.rescale(mpc.outer(mpc.rescale(v, 28), mpc.rescale(v, 28)), 28)
        matrix = mpc.bounded(matrix - mpc.rescale(mpc.rescale(value, 24) * outer, _BITS), -largest, largest)
    variance = mpc.reveal(mpc.stack(variances), name="explained_variance, population")
    whole = mpc.reveal(total, name="total_variance, population")
    return {
        "components": mpc.reveal(mpc.stack(found), bits=20, name="components"),
        "explained_variance": variance * (n / (n - 1)),
        "explained_variance_ratio": variance / mpc.nonzero(whole * 1.0),
        "total_variance": whole * (n / (n - 1)),
        "features": features,
        "converged": mpc.reveal(settled(mpc.stack(mixed), tolerance), name="converged"),
        **units.revealed,
    }


def principal_component(matrix: Any, largest: float, doublings: int) -> tuple[Any, Any, Any]:
    """The eigenvector of the largest eigenvalue, that eigenvalue, and how far from one direction the iteration ended.

    matrix: secret (d, d), symmetric, no eigenvalue below 0, entries within ±largest. The matrix of trace 1 is squared
    and brought back to trace 1: tr(B²) ≥ tr(B)²/d, so that its reciprocal has a range. In the end B = vvᵀ.
    """
    d = matrix.shape[0]
    lifted = matrix + _LIFT * np.eye(d)
    trace = mpc.bounded(_diagonal(lifted).sum(), _LIFT / 2, (largest + 1) * d)
    start = _over(lifted, trace)

    def squared(_: Any, b: Any) -> Any:
        square = mpc.rescale(mpc.bounded(b @ b, -1.01, 1.01), _BITS)
        return _over(square, mpc.bounded(_diagonal(square).sum(), 0.5 / d, 1.01))

    b = mpc.repeat(doublings, squared, start)
    mixed = 1 - mpc.bounded((b * b).sum(), 0.0, 1.01)
    weights = _diagonal(b)
    best = mpc.is_zero(mpc.argmax(weights, axis=0).reshape(1) - np.arange(d))
    column = mpc.bounded(b @ best, -1.01, 1.01)
    root = mpc.rsqrt(mpc.bounded((weights * best).sum(), 0.5 / d, 1.01))
    v = mpc.bounded(mpc.rescale(column, 28) * mpc.rescale(root, 26), -1.01, 1.01)
    v = mpc.rescale(v, 28)
    image = mpc.bounded(mpc.rescale(matrix, 24) @ v, -largest * d, largest * d)
    value = mpc.bounded((mpc.rescale(image, 24) * mpc.rescale(v, 24)).sum(), -largest, largest * d)
    return v, value, mixed


def _diagonal(matrix: Any) -> Any:
    return (matrix * np.eye(matrix.shape[0], dtype=int)).sum(axis=0)


def _over(matrix: Any, trace: Any) -> Any:
    """A matrix without negative eigenvalues over its trace: entries within ±1."""
    inverse = mpc.rescale(mpc.reciprocal(trace), _BITS)
    return mpc.rescale(mpc.bounded(matrix * inverse, -1.01, 1.01), _BITS)
