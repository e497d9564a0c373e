"""What the statistics share: columns by name, and sums over all rows of all owners.

Each owner adds up its own rows in float64 before anything is shared, so that the number of rows costs nothing. `limit`
bounds every value; sums of n values then lie within ±n·limit, and that is what the ranges are declared from.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from typing import Any

import mpc
from protocols.learning.owners import values_of

LIMIT = 2.0**14  # of a value, unless the setting says otherwise
ROOM = 60
_ORDERED = 44  # bits of values that are compared


def columns_of(tables: Sequence[Any], columns: list[str] | None, without: Sequence[str] = ()) -> list[str]:
    """The columns asked for, or all; every owner must have them."""
    if sum(len(t) for t in tables) < 1:
        raise mpc.InputError("no party has a row")
    first = tables[0]
    names = list(columns) if columns else [c for c in first.columns if c not in without]
    for t in tables:
        for name in names:
            known_column(t, name)
    if not names:
        raise mpc.UsageError("there is no column to compute on: --set columns=[…]")
    return names


def known_column(t: Any, name: str) -> None:
    """Refuse a column that an owner has not, with the nearest name."""
    if name not in t.columns:
        near = difflib.get_close_matches(name, t.columns, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        listed = ", ".join(t.columns[:8])
        raise mpc.UsageError(f"{t.owner} has no column {name!r}; {hint}its columns are {listed}")


def keys_of(tables: Sequence[Any], column: str) -> list[str]:
    """The distinct values of a column that all tables have, which become public."""
    for t in tables:
        known_column(t, column)
    return values_of(list(tables), column)


def total(parts: Sequence[Any], bound: float, bits: int | None = None) -> Any:
    """The sum over owners of what each has added up alone; |each sum| ≤ bound. Shared for nothing."""
    need = math.ceil(math.log2(max(bound, 1.0))) + math.ceil(math.log2(len(parts) + 1))
    scale = max(0, min(24, ROOM - need)) if bits is None else bits
    return sum(mpc.share(p, range=(-bound, bound), scale=scale) for p in parts)


def limited(t: Any, column: str, limit: float | None) -> Any:
    """An owner's column, of which values beyond ±limit are refused if one is stated."""
    return t[column] if limit is None else mpc.within(t[column], -limit, limit)


def ordered(own: Sequence[Any], name: str) -> tuple[list[Any], Any]:
    """Owners' numbers as shares within ±1 that compare as they do, and the public exponent of their unit.

    Numbers that differ by less than 2^-44 of the largest may come out equal. The magnitude is revealed under `name`
    unless a range is declared.
    """
    e = mpc.magnitude(own, name=name)
    return [mpc.share(mpc.ldexp(x, -e), range=(-1, 1), scale=_ORDERED) for x in own], e


def rows_of(tables: Sequence[Any], least: int = 1) -> int:
    """The public number of rows."""
    n = sum(len(t) for t in tables)
    if n < least:
        raise mpc.InputError(f"there are {n} rows in all; this statistic needs {least} or more")
    return n


def check_limit(limit: float) -> None:
    """A limit is a positive number that leaves the ring room for squares."""
    if not 2.0**-10 <= limit <= 2.0**24:
        raise mpc.UsageError(f"limit must lie between 2^-10 and 2^24, not {limit}: the largest |value| of any column")
