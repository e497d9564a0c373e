"""Histogram, quantiles and median."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import mpc
from protocols.statistics.cells import MINIMUM, Cells
from protocols.statistics.columns import known_column, limited, ordered, rows_of
from protocols.statistics.wide import wide

_LIMIT = 2.0**20


def counts(x: Any, edges: Any) -> Any:
    """How many of secret numbers lie in each bin, as `numpy.histogram`: half-open bins, the last one closed.

    x: secret, any shape; edges: public, ascending. Thresholds of all numbers at all edges: 2 rounds. Secret (bins,).
    """
    unit = 2.0**-x.type.scale  # edges are rounded as the numbers were, so that a number on an edge stays on it
    closed = [round(e / unit) * unit for e in _edges(edges)]
    closed[-1] += unit
    reached = mpc.at_least(x.ravel(), closed).sum(axis=0)
    return reached[:-1] - reached[1:]


@mpc.program
def histogram(
    data: mpc.PerParty[mpc.Table],
    column: str,
    edges: list,  # type: ignore[type-arg]
    minimum: int = MINIMUM,
) -> dict[str, Any]:
    """How many rows of all owners have a value in each bin of `edges`, as `numpy.histogram`; others count nowhere.

    Values are compared with 16 fraction bits, |value| ≤ 2^20. Each row is shared and compared with every edge: 3
    rounds, 5 bytes and a byte an edge a row. minimum: bins of few rows are withheld, as groups are in `group-by`, where
    an owner's rows outside of all bins are withheld rows; 9 and 3·⌈log2 bins⌉ rounds more, with 1 none.
    Revealed: which bins are shown, and their totals.
    """
    listed = _edges(edges)
    for t in data:
        known_column(t, column)
    rows_of(data)
    tables = [t for t in data if len(t)]
    own = [counts(mpc.share(t[column], range=(-_LIMIT, _LIMIT)), listed) for t in tables]
    own = [mpc.bounded(c, 0.0, float(len(t))) for c, t in zip(own, tables, strict=True)]
    cells = Cells(own, [len(t) for t in tables], minimum)
    return {"column": column, "edges": listed, "counts": cells.reveal(sum(own), "counts"), **cells.facts}


def _edges(edges: Any) -> list[float]:
    listed = [float(e) for e in edges]
    if len(listed) < 2 or any(a >= b for a, b in pairwise(listed)):
        raise mpc.UsageError("edges are two or more ascending numbers: --set 'edges=[0, 10, 20]'")
    return listed


@mpc.program
def quantile(
    data: mpc.PerParty[mpc.Table],
    column: str,
    q: list | float = 0.5,  # type: ignore[type-arg]
    limit: float | None = None,
) -> dict[str, Any]:
    """Quantiles of a column over all rows of all owners, as `numpy.quantile` (linear), for one q or a list of them.

    limit: the largest |value|, refused beyond; without one the column's magnitude is revealed. All rows are sorted,
    secret: 3 rounds for each of Batcher's ⌈log2 n⌉(⌈log2 n⌉ + 1)/2 layers, 22 bytes a comparison. Error: 2^-40 of the
    largest |value|. Revealed: the quantiles.
    """
    wanted = [float(v) for v in (q if isinstance(q, list) else [q])]
    if not wanted or not all(0 <= v <= 1 for v in wanted):
        raise mpc.UsageError(f"q must lie between 0 and 1, not {q}")
    for t in data:
        known_column(t, column)
    n = rows_of(data)
    shared, e = ordered([limited(t, column, limit) for t in data], f"magnitude of {column}")
    x = mpc.sort(mpc.concatenate(shared))
    found = []
    for v in wanted:
        at = min(int(v * (n - 1)), n - 2) if n > 1 else 0
        part = v * (n - 1) - at
        found.append(x[at] + wide(x[at + 1] - x[at], mpc.constant(part, 30), 44, 2.0) if part else x[at])
    known = mpc.ldexp(mpc.reveal(mpc.stack(found), bits=44), e)
    return {"column": column, "q": wanted, "quantiles": known, "rows": n}


@mpc.program
def median(data: mpc.PerParty[mpc.Table], column: str, limit: float | None = None) -> dict[str, Any]:
    """The median of a column over all rows of all owners; see `quantile`."""
    for t in data:
        known_column(t, column)
    rows = rows_of(data)
    shared, e = ordered([limited(t, column, limit) for t in data], f"magnitude of {column}")
    middle = mpc.reveal(mpc.median(mpc.concatenate(shared)), bits=44)
    return {"column": column, "median": mpc.ldexp(middle, e), "rows": rows}
