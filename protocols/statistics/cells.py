"""Cells of few rows: which of them are shown is decided on shares, and nothing of the others is revealed.

A cell is a set of rows: a group, a bin, a cluster. Each owner has 0 or at least `minimum` rows in every cell that is
shown, and 0 or at least `minimum` rows that are not shown, in withheld cells and in none. Which cells an owner has
withheld follows from its own rows alone. What this stops and what not: docs/decisions/small-cells.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import mpc

MINIMUM = 5  # rows; the practice of disclosure control is 3 to 10


class Cells:
    """Cells of which some are shown. shown: a secret bit for each, or None if all are."""

    def __init__(self, counts: Sequence[Any], rows: Sequence[int], minimum: int, empty: bool = True) -> None:
        """counts: each owner's secret number of rows in each cell; rows: its public number; empty: such are shown."""
        if minimum < 1:
            raise mpc.UsageError(f"minimum is at least 1, not {minimum}: the fewest rows of an owner that are shown")
        self.minimum = minimum
        self._cells = counts[0].shape[0]
        self._bits = shown_cells(mpc.stack(counts), rows, minimum, empty) if minimum > 1 else None
        self._known = None if self._bits is None else mpc.reveal(self._bits, name="shown")

    def reveal(self, x: Any, name: str, bits: int | None = None) -> Any:
        """x, of shape (cells, …), where its cell is shown, else NaN: the product with the secret bit is revealed."""
        if self._bits is None:
            return mpc.reveal(x, name=name, bits=bits)
        shape = (self._cells, *(1,) * (x.ndim - 1))
        known = mpc.reveal(mpc.where(self._bits.reshape(shape), x, 0), name=name, bits=bits)
        return self.known(known)

    def known(self, x: Any) -> Any:
        """What was computed from revealed numbers, shape (cells, …), with NaN in the place of what is withheld."""
        if self._known is None:
            return x
        return mpc.withheld(x, self._known.reshape(self._cells, *(1,) * (x.ndim - 1)))

    @property
    def facts(self) -> dict[str, Any]:
        """What a program returns beside its numbers: `shown`, a truth value for each cell, and the minimum."""
        shown = [True] * self._cells if self._known is None else mpc.truth(self._known)
        return {"shown": shown, "minimum": self.minimum}


def shown_cells(counts: Any, rows: Sequence[int], minimum: int, empty: bool = True) -> Any:
    """[the cell is shown] for each cell, secret.

    counts: secret (owners, cells), whole numbers; rows: each owner's public number of rows, in cells or not. empty:
    whether cells without rows are shown. Rounds, with the sharing: 8 and 3·⌈log2 cells⌉; per owner comparisons of three
    numbers a cell, and a tournament. Security: comparisons and products of the suite.
    """
    minimum = min(minimum, max(rows) + 1)  # more withholds all, as this does
    reached = mpc.at_least(counts, [1, minimum])
    hidden = (_few(reached) + _covers(counts, reached[..., 1], rows, minimum)).sum(axis=0)
    if not empty:
        hidden = hidden + (1 - reached[..., 0]).sum(axis=0)
    return mpc.is_zero(hidden + sum(0 < n < minimum for n in rows))  # an owner of so few rows: no cell is shown


def _few(reached: Any) -> Any:
    """[1 ≤ x < minimum] of [x ≥ 1] and [x ≥ minimum]."""
    return mpc.bounded(reached[..., 0] - reached[..., 1], 0.0, 1.0)


def _covers(counts: Any, safe: Any, rows: Sequence[int], minimum: int) -> Any:
    """Each owner's smallest cell of `minimum` rows or more, if all its smaller ones and what is in none hold fewer.

    counts, safe: (owners, cells); so is what comes out, 0 and 1.
    """
    cells, most = counts.shape[1], float(max(rows))
    inside = mpc.bounded(counts * safe, 0.0, most)
    outside = mpc.bounded(np.array(rows) - inside.sum(axis=1), 0.0, most)
    smallest = mpc.argmin(inside + (1 - safe) * (int(most) + 1), axis=1)
    chosen = mpc.is_zero(smallest.reshape(-1, 1) - np.arange(cells))
    return _few(mpc.at_least(outside, [1, minimum])).reshape(-1, 1) * chosen
