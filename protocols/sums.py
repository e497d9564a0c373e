"""Sums and means over parties: no multiplication, one round."""

from __future__ import annotations

import math
from typing import Any

import mpc

_RANGE = 2.0**40  # of each input; 65,536 values of this size fit the ring at 4 fraction bits and more below


@mpc.program
def secure_sum(values: mpc.PerParty[mpc.Private], limit: float = _RANGE) -> dict[str, Any]:
    """The elementwise sum of one array (or CSV file) from each party; nobody learns another's.

    values: arrays of one shape, |x| ≤ limit, 16 fraction bits: integers are exact. 1 round, 8 bytes an element to each
    peer; sharing costs no message. Revealed: the sum, to everyone.
    """
    return {"sum": mpc.reveal(_total(values, limit))}


@mpc.program
def mean(values: mpc.PerParty[mpc.Private], limit: float = _RANGE) -> dict[str, Any]:
    """The mean over all rows of all parties: for arrays (rows,) a number, for (rows, columns) one number a column.

    Each party adds up its own rows first. 1 round, 8 bytes a column to each peer. Revealed: the sum over all rows,
    exact, which the public number of rows divides; row counts are public.
    """
    rows = sum(v.shape[0] if v.shape else 1 for v in values)
    if not rows:
        raise mpc.UsageError("mean: no party has a row")
    total = _total([v.sum(axis=0) if v.shape else v for v in values], limit * 2**10)
    return {"mean": mpc.reveal(total / rows), "rows": rows}


def _total(values: Any, limit: float) -> Any:
    if len(values) < 2:
        raise mpc.UsageError(
            f"only {values[0].owner} brings data, and the sum would be just that; two parties or more do"
        )
    shapes = {v.shape for v in values}
    if len(shapes) > 1:
        listed = ", ".join(f"{v.owner} {v.shape}" for v in values)
        raise mpc.ShapeError(f"all parties bring the same shape; here {listed}")
    bits = max(0, min(16, 60 - math.ceil(math.log2(limit * len(values)))))
    return sum(mpc.share(v, range=(-limit, limit), scale=bits) for v in values)
