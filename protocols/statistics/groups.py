"""Rows by public groups: sums and means."""

from __future__ import annotations

from typing import Any

import mpc
from protocols.learning.owners import number, one_hot
from protocols.statistics.cells import MINIMUM, Cells
from protocols.statistics.columns import check_limit, keys_of, known_column, rows_of, total


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
    keys = keys_of(data, key)
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
