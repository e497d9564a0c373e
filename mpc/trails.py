"""Which row and which owner each element of a value rests on: arrays of numbers, and what ops make of them.

Most of these arrays are broadcast, a row's number along its columns, and stay so: work is done on what differs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpc.kernels import shape_of

__all__ = [
    "NONE", "SEVERAL", "Shape", "Trail", "added", "joined", "mixed", "multiplied", "narrowed", "one_or_several",
    "spread", "weighted",
]  # fmt: skip

NONE, SEVERAL = -2, -1  # no row or owner, or more than one; else its number
_FAR = np.iinfo(np.int64).max
Ids = NDArray[np.int64]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Trail:
    """What each element of a value rests on; kept: whether it is a value of its row as it stands."""

    row: Ids
    owner: Ids
    kept: NDArray[np.bool_]

    @property
    def shape(self) -> Shape:
        """The value's."""
        return self.row.shape

    def each(self, f: Callable[[Any], Any]) -> Trail:
        """The same elements in other places."""
        return Trail(f(self.row), f(self.owner), f(self.kept))

    def to(self, shape: Shape) -> Trail:
        """Broadcast."""
        return self.each(lambda a: np.broadcast_to(a, shape))

    @property
    def pattern(self) -> tuple[bytes, bytes, bytes]:
        """All but which row it is."""
        (thin,) = narrowed([self])
        return np.minimum(thin.row, 0).tobytes(), thin.owner.tobytes(), thin.kept.tobytes()


def spread(shape: Shape, row: int, owner: int, *, kept: bool) -> Trail:
    """All elements alike."""
    return Trail(np.array(row), np.array(owner), np.array(kept)).to(shape)


def narrowed(trails: Sequence[Trail], but: int | None = None) -> list[Trail]:
    """Trails of as many axes, cut to length 1 along those along which each of them is broadcast."""
    arrays = [a for t in trails for a in (t.row, t.owner, t.kept)]
    alike = [axis != but and not any(a.strides[axis] for a in arrays) for axis in range(arrays[0].ndim)]
    return [t.each(lambda a: a[_first(alike)]) for t in trails]


def _first(alike: Sequence[bool]) -> tuple[slice, ...]:
    return tuple(slice(0, 1) if same else slice(None) for same in alike)


def one_or_several(x: Ids, y: Ids) -> Ids:
    """What an element rests on that is made of two."""
    return np.where(x == NONE, y, np.where((y == NONE) | (x == y), x, SEVERAL))


def added(x: Trail, axes: Shape, *, keepdims: bool) -> Trail:
    """Sums: of one element that is anybody's, and public numbers, that element stays."""
    (thin,) = narrowed([x])
    repeated = prod(x.shape[a] for a in axes) != prod(thin.shape[a] for a in axes)
    there = (thin.row != NONE).sum(axis=axes, keepdims=keepdims)
    kept = (thin.kept & (thin.row != NONE)).sum(axis=axes, keepdims=keepdims)
    row, owner = (_reduced(ids, axes, keepdims=keepdims) for ids in (x.row, x.owner))
    return Trail(row, owner, np.broadcast_to((there == 1) & (kept == 1) & (not repeated), row.shape))


def _ends(ids: Ids, axes: Shape, *, keepdims: bool) -> tuple[Ids, Ids]:
    """The least and the largest number, without NONE, along axes."""
    thin = ids[_first([not stride for stride in ids.strides])]
    low = np.where(thin == NONE, _FAR, thin).min(axis=axes, keepdims=keepdims, initial=_FAR)
    high = thin.max(axis=axes, keepdims=keepdims, initial=NONE)
    axes = tuple(a % ids.ndim for a in axes)
    shape = shape_of("sum", {"axes": axes, "keepdims": keepdims}, [ids.shape])
    return np.broadcast_to(low, shape), np.broadcast_to(high, shape)


def _between(low: Ids, high: Ids) -> Ids:
    return np.where(high == NONE, NONE, np.where(low == high, low, SEVERAL))


def _reduced(ids: Ids, axes: Shape, *, keepdims: bool = False) -> Ids:
    return _between(*_ends(ids, axes, keepdims=keepdims))


def mixed(trails: Sequence[Trail], shape: Shape) -> Trail:
    """Every element rests on all of them."""

    def all_of(each: Sequence[Ids]) -> int:
        return int(_reduced(np.array([_reduced(ids, tuple(range(ids.ndim))) for ids in each]), (0,)))

    return spread(shape, all_of([t.row for t in trails]), all_of([t.owner for t in trails]), kept=False)


def joined(trails: Sequence[Trail], axis: int) -> Trail:
    """Concatenated."""
    shape = [*trails[0].shape]
    shape[axis] = sum(t.shape[axis] for t in trails)
    thin = narrowed(trails, but=axis)
    return Trail(
        np.concatenate([t.row for t in thin], axis=axis),
        np.concatenate([t.owner for t in thin], axis=axis),
        np.concatenate([t.kept for t in thin], axis=axis),
    ).to(tuple(shape))


def multiplied(x: Trail, y: Trail, shape: Shape) -> Trail:
    """A matrix product of two: each element rests on a row of the one and a column of the other."""

    def both(a: Ids, b: Ids) -> Ids:
        a, b = (a.reshape(1, -1) if a.ndim < 2 else a), (b.reshape(-1, 1) if b.ndim < 2 else b)
        (xl, xh), (yl, yh) = _ends(a, (-1,), keepdims=True), _ends(b, (-2,), keepdims=True)
        return _between(np.minimum(xl, yl), np.maximum(xh, yh)).reshape(shape)

    return Trail(both(x.row, y.row), both(x.owner, y.owner), np.broadcast_to(np.array(False), shape))


def weighted(x: Trail, weights: NDArray[np.bool_]) -> Trail:
    """x @ known numbers, of which only those that are not 0 count: weights (k, m)."""
    axis = len(x.shape) - 1
    if weights.all():
        return added(x, (axis,), keepdims=True).to((*x.shape[:-1], weights.shape[1]))

    def column(chosen: NDArray[np.bool_]) -> Trail:
        return added(x.each(lambda a: a[..., chosen]), (axis,), keepdims=True)

    return joined([column(chosen) for chosen in weights.T], axis)
