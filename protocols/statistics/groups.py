"""Rows by public groups: sums and means, the chi-square statistic, the t-test."""

from __future__ import annotations

from typing import Any

import mpc
from protocols.learning.owners import number, one_hot, values_of
from protocols.statistics.cells import MINIMUM, Cells
from protocols.statistics.columns import LIMIT, check_limit, known_column, rows_of, total


def _keys(data: Any, column: str) -> list[str]:
    for t in data:
        known_column(t, column)
    return values_of(list(data), column)


@mpc.program
def group_by(
    data: mpc.PerParty[mpc.Table], key: str, column: str, minimum: int = MINIMUM, limit: float = 2.0**20
) -> dict[str, Any]:
    """Count, sum and mean of a column for each value of a key column, over all rows of all owners.

    The key's values are public (listed as such); which row has which is not. Each owner adds up its own rows.
    minimum: a group is withheld, count, sum and mean together, if an owner has rows in it but fewer than this. Where
    fewer than this of an owner's rows would be withheld in all, its next smallest group is withheld too. With 1 all
    are shown. Withheld numbers are NaN, null in JSON.
    |values| ≤ limit, refused outside. 11 rounds and 3·⌈log2 groups⌉; with minimum=1 2, and 24 bytes a group and peer.
    Revealed: which groups are shown, and their count and sum.
    """
    check_limit(limit)
    keys = _keys(data, key)
    for t in data:
        known_column(t, column)
    n = rows_of(data)
    tables = [t for t in data if len(t)]
    members = [one_hot(t, key, keys) for t in tables]
    own = [m.T @ mpc.within(t[column], -limit, limit) for m, t in zip(members, tables, strict=True)]
    counts = [mpc.share(m.sum(axis=0), range=(0, len(t)), scale=0) for m, t in zip(members, tables, strict=True)]
    cells = Cells(counts, [len(t) for t in tables], minimum)
    count, added = cells.reveal(sum(counts), "count"), cells.reveal(total(own, n * limit), "sum")
    mean = cells.known(added / mpc.nonzero(count * 1.0))
    return {"keys": [number(k) for k in keys], "count": count, "sum": added, "mean": mean, **cells.facts}


@mpc.program
def chi_square(data: mpc.PerParty[mpc.Table], row: str, column: str) -> dict[str, Any]:
    """The chi-square statistic of independence of two columns of categories, over all rows of all owners.

    The categories are public; the table of counts stays secret. χ² = n·(Σ O²/(R·C) − 1), R and C the marginal counts.
    A category that nobody's row has does not occur. Error: below 2^-16·n.
    13 rounds for 569 rows in 3 by 2 categories.
    Revealed: the statistic. Degrees of freedom follow from the categories, the p-value from both. As
    `scipy.stats.chi2_contingency` without Yates' correction.
    """
    rows, columns = _keys(data, row), _keys(data, column)
    n = rows_of(data)
    own = [one_hot(t, row, rows).T @ one_hot(t, column, columns) for t in data]
    table = total(own, float(n), 0)
    table = mpc.bounded(table, 0.0, float(n))
    margins = [mpc.bounded(table.sum(axis=axis), 1.0, float(n)) for axis in (1, 0)]
    r, c = (mpc.rescale(mpc.bounded(mpc.reciprocal(m), 0.0, 1.0), 26) for m in margins)
    by_row = mpc.rescale(mpc.bounded(table * r.reshape(-1, 1), 0.0, 1.001), 26)
    by_column = mpc.rescale(mpc.bounded(table * c.reshape(1, -1), 0.0, 1.001), 26)
    most = float(min(len(rows), len(columns)))
    ratio = mpc.bounded((by_row * by_column).sum(), 0.0, most + 0.01)
    statistic = mpc.reveal(ratio - 1, bits=30, name="chi-square over n") * float(n)
    freedom = (len(rows) - 1) * (len(columns) - 1)
    p_value = mpc.chi_square_tail(statistic, float(freedom)) if freedom else 1.0  # one category: nothing to differ
    return {"chi_square": statistic, "degrees_of_freedom": freedom, "p_value": p_value, "rows": n}


@mpc.program
def t_test(
    data: mpc.PerParty[mpc.Table], column: str, group: str, equal_variances: bool = False, limit: float = LIMIT
) -> dict[str, Any]:
    """Student's t for the difference of a column's mean between two groups of rows, over all rows of all owners.

    group: a column with two values, which are public; group sizes and means stay secret. equal_variances: the pooled
    test, else Welch's. |values| ≤ limit, refused outside: a limit near the data's own makes t precise, its error is
    about limit²/variance·2^-22 of it. Stated, and listed: each group has two rows or more, and varies.
    As `scipy.stats.ttest_ind` of the first value's rows against the second's.
    Revealed: t, and Welch's degrees of freedom; the two-sided p-value follows from both. 36 rounds for 569 rows, 26
    with equal_variances.
    """
    check_limit(limit)
    keys = _keys(data, group)
    if len(keys) != 2:
        raise mpc.InputError(f"column {group!r} has {len(keys)} value(s); a t-test compares two groups")
    for t in data:
        known_column(t, column)
    n = rows_of(data, 4)
    members = [one_hot(t, group, keys) for t in data]
    values = [mpc.within(t[column], -limit, limit) / limit for t in data]
    count = mpc.assume_range(total([m.sum(axis=0) for m in members], float(n), 0), 2.0, float(n))
    sums = total([m.T @ x for m, x in zip(members, values, strict=True)], float(n), 24)
    squares = total([m.T @ (x * x) for m, x in zip(members, values, strict=True)], float(n), 24)
    inverse = mpc.rescale(mpc.bounded(mpc.reciprocal(count), 0.0, 0.5), 30)
    mean = mpc.rescale(mpc.bounded(sums * inverse, -1.0, 1.0), 28)
    second = mpc.rescale(mpc.bounded(squares * inverse, 0.0, 1.0), 28)
    spread = mpc.assume_range(second - mpc.rescale(mpc.bounded(mean * mean, 0.0, 1.0), 28), 2.0**-26, 1.0)
    difference = mean[0] - mean[1]
    if equal_variances:
        weighted = mpc.bounded(mpc.rescale((count * spread).sum(), 26) * (1 / (n - 2)), 2.0**-26, 2.0)
        error = mpc.bounded(mpc.rescale(weighted, 26) * inverse.sum(), 2.0**-40, 2.0)
        facts: dict[str, Any] = {"degrees_of_freedom": n - 2}
    else:
        below = mpc.rescale(mpc.bounded(mpc.reciprocal(mpc.bounded(count - 1, 1.0, float(n))), 0.0, 1.0), 28)
        each = mpc.bounded(mpc.rescale(spread, 28) * below, 0.0, 1.0)  # s²/n of each group
        error = mpc.bounded(each.sum(), 2.0**-40, 2.0)
        facts = {"degrees_of_freedom": _welch(each, error, below)}
    root = mpc.rsqrt(mpc.bounded(mpc.rescale(error, 40), 2.0**-40, 2.0))
    value = mpc.bounded(mpc.rescale(difference, 24) * mpc.rescale(root, 16), -(2.0**16), 2.0**16)
    t_value = mpc.reveal(value, name="t")
    p_value = mpc.student_tail(t_value, facts["degrees_of_freedom"] * 1.0)
    return {"t": t_value, "p_value": p_value, "groups": [number(k) for k in keys], "rows": n, **facts}


def _welch(each: Any, error: Any, below: Any) -> Any:
    """(a + b)²/(a²/(n₁ − 1) + b²/(n₂ − 1)) from the shares a/(a + b), b/(a + b) of the error."""
    inverse = mpc.rescale(mpc.reciprocal(mpc.bounded(mpc.rescale(error, 40), 2.0**-24, 2.0)), 10)
    share = mpc.rescale(mpc.bounded(mpc.rescale(each, 40) * inverse, 0.0, 1.01), 28)
    weight = mpc.rescale(mpc.bounded(share * share, 0.0, 1.03), 28) * below
    low = mpc.rescale(mpc.bounded(weight.sum(), 2.0**-18, 1.0), 34)
    return mpc.reveal(mpc.reciprocal(mpc.bounded(low, 2.0**-18, 1.0)), name="degrees of freedom", bits=8)
