"""Tests of significance over rows of several owners: independence of categories, difference of two means."""

from __future__ import annotations

import math
from typing import Any

import mpc
from protocols.learning.owners import number, one_hot
from protocols.learning.units import pooled
from protocols.statistics.columns import keys_of, known_column, rows_of, total
from protocols.statistics.wide import wide

_MOST = 2**24  # rows
_BITS = 50  # of numbers up to 1
_LEAST = 2.0**-52  # of the squared standard error over the rows' number, in pooled variances


@mpc.program
def chi_square(data: mpc.PerParty[mpc.Table], row: str, column: str) -> dict[str, Any]:
    """The chi-square statistic of independence of two columns of categories, over all rows of all owners.

    The categories are public; the table of counts stays secret. χ² = Σ D²/(n·R·C) with D = n·O − R·C, whole numbers
    from counts O and margins R and C, so that the error is relative to the statistic itself: below 1e-5 of it.
    A category that nobody's row has does not occur. Up to 2^24 rows.
    Revealed: the statistic. Degrees of freedom follow from the categories, the p-value from both. As
    `scipy.stats.chi2_contingency` without Yates' correction.
    """
    rows, columns = keys_of(data, row), keys_of(data, column)
    n = _rows(data, 1)
    freedom = (len(rows) - 1) * (len(columns) - 1)
    found = {"degrees_of_freedom": freedom, "rows": n}
    if not freedom:  # one category: nothing to differ
        return {"chi_square": mpc.reveal(mpc.secret(0), name="chi-square") * 1.0, "p_value": 1.0, **found}
    power = math.ceil(math.log2(n))
    counts = mpc.bounded(total([one_hot(t, row, rows).T @ one_hot(t, column, columns) for t in data], n, 0), 0.0, n)
    r = mpc.bounded(counts.sum(axis=1), 1.0, n).reshape(-1, 1)
    c = mpc.bounded(counts.sum(axis=0), 1.0, n).reshape(1, -1)
    away = mpc.bounded(counts * n - r * c, -n * n / 4, n * n / 4)
    by_row = wide(_over(away, 2 * power), _root(r, power), _BITS, 1.0)
    both = mpc.rescale(wide(by_row, _root(c, power), _BITS, 1.0), 30)  # D/√(n·R·C)·√n/2^power
    most = min(len(rows), len(columns)) + 0.01
    ratio = mpc.reveal(mpc.bounded((both * both).sum(), 0.0, most), bits=54, name="chi-square over rows")
    statistic = ratio * (4.0**power / n)
    return {"chi_square": statistic, "p_value": mpc.chi_square_tail(statistic, float(freedom)), **found}


def _rows(data: Any, least: int) -> int:
    n = rows_of(data, least)
    if n > _MOST:
        raise mpc.InputError(f"there are {n} rows in all; this test is made for {_MOST} or fewer")
    return n


def _over(x: Any, power: int) -> Any:
    """A whole number over 2^power, exactly: its fraction bits."""
    return mpc.rescale(x / 2.0**power, power) if power else x


def _root(count: Any, power: int) -> Any:
    """√(2^power/count), 1 and more."""
    root = mpc.rsqrt(_over(count, power)) if power else count
    top = 2.0 ** (power / 2) * 1.001
    return mpc.bounded(mpc.rescale(root, min(root.type.scale, 24)), 0.999, top)


@mpc.program
def t_test(
    data: mpc.PerParty[mpc.Table],
    column: str,
    group: str,
    equal_variances: bool = False,
    limit: float | None = None,
) -> dict[str, Any]:
    """Student's t for the difference of a column's mean between two groups of rows, over all rows of all owners.

    group: a column with two values, which are public; group sizes and means stay secret. equal_variances: the pooled
    test, else Welch's. limit: the largest |value|, refused beyond, if one is stated. Values are standardised by pooled
    mean and variance, so that the unit does not matter. Stated, and listed: each group has two rows or more, and one of
    them varies. Relative error: 1e-5 where |t| is below 30. Up to 2^24 rows.
    As `scipy.stats.ttest_ind` of the first value's rows against the second's.
    Revealed: t, and Welch's degrees of freedom, whence the two-sided p-value; mean and variance of the column.
    """
    if limit is not None and not 0 < limit < math.inf:
        raise mpc.UsageError(f"limit is the largest |{column}|, a positive number, not {limit}")
    keys = keys_of(data, group)
    if len(keys) != 2:
        raise mpc.InputError(f"column {group!r} has {len(keys)} value(s); a t-test compares two groups")
    for t in data:
        known_column(t, column)
    n = _rows(data, 4)
    raw = [t[[column]] if limit is None else mpc.within(t[[column]], -limit, limit) for t in data]
    of = pooled(raw)
    values = [of.standardised(x).reshape(-1) / math.sqrt(n) for x in raw]  # Σx² = 1 over all rows
    members = [one_hot(t, group, keys) for t in data]
    count = mpc.assume_range(total([m.sum(axis=0) for m in members], float(n), 0), 2.0, n - 2.0)
    reach = math.sqrt(n) * 1.001
    bits = min(_BITS, 60 - math.ceil(math.log2(reach * len(values))))
    sums = mpc.bounded(total([m.T @ x for m, x in zip(members, values, strict=True)], reach, bits), -reach, reach)
    squares = mpc.bounded(total([m.T @ (x * x) for m, x in zip(members, values, strict=True)], 1.0, _BITS), 0.0, 1.001)
    root = mpc.bounded(mpc.rescale(mpc.rsqrt(count), 36), 0.0, 0.7072)  # 1/√count
    centre = wide(sums, root, _BITS, 1.001)  # mean·√count
    spread = mpc.bounded(squares - wide(centre, mpc.rescale(centre, 36), _BITS, 1.01), 0.0, 1.001)  # Σ(x − mean)²
    mean = wide(centre, root, _BITS, 0.708)
    inverse = wide(root, root, 40, 0.5002)
    below: Any = None
    if equal_variances:
        each = wide(spread.sum(), inverse, 56, 0.51)  # s²·(n − 2)/count of each group
    else:
        below = mpc.bounded(mpc.rescale(mpc.reciprocal(mpc.bounded(count - 1, 1.0, n - 3.0)), 40), 0.0, 1.0)
        each = wide(wide(spread, below, 56, 1.001), inverse, 56, 0.51)  # s²/count of each group
    error = mpc.assume_range(each.sum(), _LEAST, 1.01)
    over = mpc.bounded(mpc.rescale(mpc.rsqrt(error), 20), 0.0, 1.001 / math.sqrt(_LEAST))
    found = mpc.reveal(wide(mean[0] - mean[1], over, 24, 2.0**24), bits=24, name="t")
    t_value = found * math.sqrt(n - 2) if equal_variances else found
    freedom = n - 2 if equal_variances else _welch(each, over, below)
    p_value = mpc.student_tail(t_value, freedom * 1.0)
    return {
        "t": t_value,
        "p_value": p_value,
        "groups": [number(k) for k in keys],
        "rows": n,
        "degrees_of_freedom": freedom,
        **{f"{name} of {column}": v[0] for name, v in of.revealed.items()},
    }


def _welch(each: Any, over: Any, below: Any) -> Any:
    """(a + b)²/(a²/(n₁ − 1) + b²/(n₂ − 1)) from a and b, 1/√(a + b), and 1/(n₁ − 1) and 1/(n₂ − 1)."""
    share = mpc.rescale(wide(wide(each, over, 50, 1.01), over, 40, 1.01), 30)
    weight = wide(mpc.rescale(share * share, 40), below, 56, 1.03)
    low = mpc.bounded(weight.sum(), 1.0 / _MOST, 1.0)
    return mpc.reveal(mpc.reciprocal(low), name="degrees of freedom", bits=20)
