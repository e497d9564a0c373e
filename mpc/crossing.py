"""The product of two wires at one party: its share of Δx@Δy − Δx@λy − λx@Δy, in as few matrix products as can be.

Of all parties only one may add Δx@Δy. Where it does it needs one product, (Δx − λx)@(Δy − λy), less λx@λy of its own
shares, which it can have before anything is opened; all others need two. So for large matrices each party does it for
rows of its own: 2 − 1/n products at each of n parties, the longest wait, where one would have 1 and the others 2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpc.ring import Shared

__all__ = ["Crossing", "divided"]

Shape = tuple[int, ...]
Values = NDArray[Any]
_LARGE = 1 << 22  # multiplications above which rows are divided; each row costs a pass over its factor first
_WIDE = 16  # columns above which a row's product is worth that pass


def divided(x: Shape, y: Shape) -> bool:
    """Whether rows are divided in a product of these shapes; lowered programs say so, since all have to do the same."""
    return len(x) == len(y) == 2 and x[0] * x[1] * y[1] >= _LARGE and y[1] >= _WIDE


class Crossing:
    """A product of this shape, at party `me` of n. divided: each party has rows of its own; else the first has all."""

    def __init__(self, domain: Shared, me: int, n: int, shape: Shape, divided: bool) -> None:
        self._domain, self._first, self._divided = domain, me == 0, divided
        rows = shape[0] if divided else 0
        start, end = (rows * i // n for i in (me, me + 1))
        self._own, self._others = slice(start, end), (slice(0, start), slice(end, rows))

    def before(self, lx: Values, ly: Values) -> Values | None:
        """λx@λy of this party's shares for the rows of its own; None where that saves nothing."""
        return np.asarray(self._domain.matmul(lx[self._own], ly)) if self._divided else None

    def share(self, dx: Values, lx: Values, dy: Values, ly: Values, before: Values | None = None) -> Values:
        """This party's share. before: what `before` gave, if it was asked."""
        d = self._domain
        if not self._divided:
            return d.sub(d.matmul(dx, d.sub(dy, ly) if self._first else d.neg(ly)), d.matmul(lx, dy))
        out, own, rest = np.empty((dx.shape[0], dy.shape[1]), np.uint64), self._own, d.sub(dy, ly)
        if before is None:
            out[own] = d.sub(d.matmul(dx[own], rest), d.matmul(lx[own], dy))
        else:
            out[own] = d.sub(d.matmul(d.sub(dx[own], lx[own]), rest), before)
        for part in self._others:
            out[part] = d.neg(d.add(d.matmul(dx[part], ly), d.matmul(lx[part], dy)))
        return out
