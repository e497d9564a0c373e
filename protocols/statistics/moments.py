"""Variance, standard deviation, covariance and correlation."""

from __future__ import annotations

from typing import Any, Literal

import mpc
from protocols.learning.owners import all_columns
from protocols.learning.units import own_moments, pooled
from protocols.statistics.columns import check_limit, columns_of, rows_of, total

Partition = Literal["horizontal", "vertical"]
_BITS = 30  # of products of standardised columns


@mpc.program
def variance(
    data: mpc.PerParty[mpc.Table],
    columns: list | None = None,  # type: ignore[type-arg]
    ddof: int = 1,
    limit: float | None = None,
) -> dict[str, Any]:
    """The variance of each column over all rows of all owners, as `numpy.var(ddof=1)`.

    Without `limit` the pooled mean is revealed first, and listed; the variance is then right to 1e-6 of its size.
    2 rounds, 24 bytes a column and peer. With `limit`, the largest |value|, nothing but the variance is revealed, with
    an error up to limit²·2^-25; a value outside is refused at its owner. 4 rounds, 32 bytes. Row counts are public.
    """
    names, found, revealed = _variances(data, columns, ddof, limit)
    return {"columns": names, "variance": found, "rows": rows_of(data), **revealed}


@mpc.program
def standard_deviation(
    data: mpc.PerParty[mpc.Table],
    columns: list | None = None,  # type: ignore[type-arg]
    ddof: int = 1,
    limit: float | None = None,
) -> dict[str, Any]:
    """The standard deviation of each column over all rows of all owners: the root of what `variance` reveals."""
    names, found, revealed = _variances(data, columns, ddof, limit)
    root = mpc.sqrt(mpc.maximum(found, 0.0))
    return {"columns": names, "standard_deviation": root, "rows": rows_of(data), **revealed}


def _variances(
    data: Any, columns: list[str] | None, ddof: int, limit: float | None
) -> tuple[list[str], Any, dict[str, Any]]:
    names = columns_of(data, columns)
    n = rows_of(data, ddof + 1)
    raw = [t[names] for t in data]
    if limit is None:
        of = pooled(raw)
        return names, of.variance * (n / (n - ddof)), {"mean": of.mean}
    check_limit(limit)
    parts = [mpc.within(x, -limit, limit) / limit for x in raw]
    mean = mpc.rescale(total([x.sum(axis=0) / n for x in parts], 1.0, 40), 28)
    squares = total([(x * x).sum(axis=0) / n for x in parts], 1.0, 40)
    spread = mpc.bounded(squares - mpc.rescale(mpc.bounded(mean * mean, 0.0, 1.0), 40), -1e-6, 1.0)
    return names, mpc.reveal(spread, bits=36) * (limit * limit * n / (n - ddof)), {}


@mpc.program
def covariance(
    data: mpc.PerParty[mpc.Table],
    columns: list | None = None,  # type: ignore[type-arg]
    partition: Partition = "horizontal",
    ddof: int = 1,
) -> dict[str, Any]:
    """The covariance matrix of the columns over all rows, as `numpy.cov(rowvar=False)`.

    partition: `horizontal`, other rows of the same columns: the pooled means and variances are revealed first, then
    each owner multiplies its own standardised rows; 4 rounds, d² words. `vertical`, other columns of the same rows in
    the same order: each owner standardises its own, products cross owners, X is opened under its mask once.
    Error: below 2^-18 of the product of two deviations.
    Revealed: the correlations and variances of which it is made, and the means (horizontal).
    """
    names, found, variances, revealed = _correlations(list(data), columns, partition)
    n = len(data[0]) if partition == "vertical" else rows_of(data)
    if n <= ddof:
        raise mpc.InputError(f"there are {n} rows; this statistic needs {ddof + 1} or more")
    if partition == "vertical":
        variances = mpc.concatenate([mpc.total(v, name="variance") for v in variances])
    known = mpc.sqrt(variances)
    scaled = found * known.reshape(-1, 1) * known.reshape(1, -1) * (n / (n - ddof))
    return {"columns": names, "covariance": scaled, "rows": n, **revealed}


@mpc.program
def correlation(
    data: mpc.PerParty[mpc.Table],
    columns: list | None = None,  # type: ignore[type-arg]
    partition: Partition = "horizontal",
) -> dict[str, Any]:
    """The correlation matrix of the columns over all rows, as `numpy.corrcoef(rowvar=False)`; see `covariance`.

    A column that does not vary has correlations of 0, its own included. Error: below 2^-18.
    Revealed: the matrix; with partition=horizontal the pooled means and variances as well, with vertical nothing else.
    """
    names, found, _, revealed = _correlations(list(data), columns, partition)
    rows = len(data[0]) if partition == "vertical" else rows_of(data)
    return {"columns": names, "correlation": found, "rows": rows, **revealed}


def _correlations(
    tables: list[Any], columns: list[str] | None, partition: Partition
) -> tuple[list[str], Any, Any, dict[str, Any]]:
    """Names, the revealed matrix, the variances (revealed, or of each owner its own), and what else was revealed."""
    if partition == "horizontal":
        names = columns_of(tables, columns)
        n = rows_of(tables)
        raw = [t[names] for t in tables]
        of = pooled(raw)
        parts = [of.standardised(x) for x in raw]
        product = total([(z.T @ z) / n for z in parts], 1.01, _BITS)
        return names, mpc.reveal(product, bits=24, name="correlation"), of.variance, of.revealed
    if columns:
        raise mpc.UsageError("columns= is for partition=horizontal; with vertical all columns of all owners count")
    names = [c for _, c in all_columns(tables, "")]
    if len(set(names)) < len(names):
        raise mpc.UsageError("two owners have a column of the same name; with partition=vertical names differ")
    n = len(tables[0])
    own = [own_moments(t[list(t.columns)]) for t in tables]
    # Σz² = 1, so that |z| ≤ 1 and every product of two columns too
    shared = [
        mpc.share(of.standardised(t[list(t.columns)]) / n**0.5, range=(-1.0, 1.0), scale=_BITS)
        for t, of in zip(tables, own, strict=True)
    ]
    z = mpc.concatenate(shared, axis=1)
    product = mpc.bounded(z.T @ z, -1.01, 1.01)
    found = mpc.reveal(product, bits=24, name="correlation")
    return names, found, [of.variance for of in own], {}
