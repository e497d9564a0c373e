"""Order: the larger, the largest and where it stands, sorting, quantiles. Tournaments and Batcher's network over
vectorised comparisons; one round of comparisons for each level whatever the number of elements in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from mpc.arithmetic import multiply_out, term
from mpc.arrays import broadcast_to, concatenate
from mpc.comparing import at_least, choose, compare, is_negative
from mpc.errors import ProgramError, SecretError, ShapeError
from mpc.language import bounded, known_clip, known_maximum, secret
from mpc.place import here
from mpc.surface import Secret
from mpc.tracing import FUNCTIONS, UFUNCS, Value

__all__ = [
    "absolute", "argmax", "argmin", "clip", "max_", "maximum", "median", "min_", "minimum", "quantile", "relu", "sign",
    "sort", "sort_by", "top_k",
]  # fmt: skip


def _secret(x: Any, name: str) -> Secret:
    if not isinstance(x, Secret):
        raise SecretError(f"mpc.{name} takes a secret value: mpc.share(x) first", here())
    return x


def sign(x: Any) -> Any:
    """−1, 0 or 1, elementwise: secret, of x's shape, at scale 0, exact.

    Two comparisons side by side: 2 rounds, and the range, bytes and security of two `is_negative`.
    """
    x = _secret(x, "sign")
    return is_negative(-x) - is_negative(x)


def absolute(x: Any) -> Any:
    """|x|, elementwise: secret, of x's shape and scale, exact.

    A comparison and a product, 3 rounds: of `is_negative`, whose range it takes, and `where`.
    """
    x = _secret(x, "absolute")
    return _narrowed(choose(is_negative(x), x, -x), 0.0, x.type.bound)


def relu(x: Any) -> Any:
    """max(x, 0), elementwise: secret, of x's shape and scale, exact; cost, range and security as `absolute`."""
    x = _secret(x, "relu")
    return _narrowed(choose(is_negative(x), x, 0), 0.0, max(x.type.hi, 0.0))


def maximum(x: Any, y: Any) -> Any:
    """The larger, elementwise: 3 rounds if a secret is among them; of known values, where they are known.

    Shapes broadcast; the result has the larger scale of the two and is exact; the range of x − y takes 63 bits at it.
    A comparison and a product: bytes and security of `is_negative` and `where`.
    """
    if not any(isinstance(v, Secret) for v in (x, y)):
        return known_maximum(x, y)
    x, y = _both(x, y)
    lo, hi = max(x.type.lo, y.type.lo), max(x.type.hi, y.type.hi)
    return _narrowed(choose(compare("lt", x, y), x, y), lo, hi)


def minimum(x: Any, y: Any) -> Any:
    """The smaller, elementwise: 3 rounds; all else as `maximum`."""
    x, y = _both(x, y)
    lo, hi = min(x.type.lo, y.type.lo), min(x.type.hi, y.type.hi)
    return _narrowed(choose(compare("lt", y, x), x, y), lo, hi)


def _narrowed(chosen: Secret, lo: float, hi: float) -> Secret:
    """What was chosen by size lies where sizes say, not only in the hull of the two."""
    narrower = lo > chosen.type.lo or hi < chosen.type.hi
    return bounded(chosen, max(lo, chosen.type.lo), min(hi, chosen.type.hi)) if narrower else chosen


def _both(x: Any, y: Any) -> tuple[Any, Any]:
    like = x if isinstance(x, Value) else y
    if not isinstance(like, Value):
        raise SecretError("at least one operand is a secret", here())
    return (v if isinstance(v, Value) else term(v, like) for v in (x, y))  # type: ignore[return-value]


def clip(x: Any, lo: Any, hi: Any) -> Any:
    """x limited to [lo, hi], elementwise: two comparisons of one opening and two products side by side, 3 rounds.

    Of known values, where they are known. lo, hi: public numbers, or arrays (then 6 rounds).
    """
    if not isinstance(x, Secret):
        return known_clip(x, lo, hi)
    if any(isinstance(end, Value) or np.ndim(end) for end in (lo, hi)):
        return minimum(maximum(x, lo), hi)
    if lo > hi:
        raise ProgramError(f"mpc.clip to [{lo}, {hi}]: the lower end comes first", here())
    x = multiply_out(x)
    beyond = math.floor(Fraction(hi) * Fraction(2) ** x.type.scale) + 1  # the first that is more than hi
    inside = at_least(x, [lo, math.ldexp(beyond, -x.type.scale)])
    lifted = choose(inside[..., 0], term(lo, x), x)
    lowered = choose(inside[..., 1], 0, hi - x)
    least, most = min(max(x.type.lo, lo), hi), max(min(x.type.hi, hi), lo)
    return bounded(lifted + lowered, least, most)


def _last(x: Any, axis: int | None, name: str) -> Any:
    """The axis that is looked along as the last one."""
    x = _secret(x, name)
    if axis is None:
        return x.ravel()
    if not -x.ndim <= axis < x.ndim:
        raise ShapeError(f"axis {axis} is out of bounds for {x.ndim} dimensions", here())
    order = [i for i in range(x.ndim) if i != axis % x.ndim]
    return x.transpose([*order, axis % x.ndim])


def _extreme(x: Any, axis: int | None, name: str, pick: Callable[[Any, Any], Any]) -> Any:
    x = _last(x, axis, name)
    if not x.shape or not x.shape[-1]:
        raise ProgramError(f"mpc.{name} of no elements", here())
    while x.shape[-1] > 1:
        n = x.shape[-1]
        won = pick(x[..., : n // 2], x[..., n // 2 : 2 * (n // 2)])
        x = concatenate([won, x[..., n - 1 :]], axis=-1) if n % 2 else won
    return x[..., 0]


def max_(x: Any, axis: int | None = None) -> Any:
    """The largest along an axis (of all, if None), which falls away: secret, at x's scale, exact.

    A knock-out: 3·⌈log2 n⌉ rounds for n elements, and bytes, range and security of n − 1 `maximum`. No element is
    refused with ProgramError.
    """
    return _extreme(x, axis, "max", maximum)


def min_(x: Any, axis: int | None = None) -> Any:
    """The smallest along an axis: 3·⌈log2 n⌉ rounds; all else as `max`."""
    return _extreme(x, axis, "min", minimum)


def argmax(x: Any, axis: int | None = None) -> Any:
    """The first index of the largest along an axis (of all, flat, if None): secret, at scale 0, exact.

    As `max`, 3·⌈log2 n⌉ rounds, with one product more for each of the n − 1 comparisons, in the same rounds.
    """
    x = _last(x, axis, "argmax")
    n = x.shape[-1] if x.shape else 0
    if not n:
        raise ProgramError("mpc.argmax of no elements", here())
    at: Any = broadcast_to(secret(np.arange(n)), x.shape)
    while (n := x.shape[-1]) > 1:
        (a, b), (i, j), (c, k) = _halves(x, n), _halves(at, n), (x[..., n - 1 :], at[..., n - 1 :])
        later = compare("lt", a, b)
        x, at = choose(later, a, b), choose(later, i, j)
        if n % 2:
            x, at = concatenate([x, c], axis=-1), concatenate([at, k], axis=-1)
    return at[..., 0]


def _halves(x: Any, n: int) -> tuple[Any, Any]:
    """Neighbours, so that of equal values the first stays first."""
    return x[..., 0 : 2 * (n // 2) : 2], x[..., 1 : 2 * (n // 2) : 2]


def argmin(x: Any, axis: int | None = None) -> Any:
    """The first index of the smallest, secret: 3·⌈log2 n⌉ rounds; all else as `argmax`."""
    return argmax(-_secret(x, "argmin"), axis)


def _layers(n: int) -> Iterator[tuple[list[int], list[int]]]:
    """Batcher's merge exchange for any n: layers of disjoint pairs (i, j), i < j.

    Source: Knuth, The Art of Computer Programming 3, 5.2.2, Algorithm M.
    """
    t = max(1, math.ceil(math.log2(n))) if n > 1 else 0
    p = 1 << (t - 1) if t else 0
    while p:
        q, r, d = 1 << (t - 1), 0, p
        while True:
            low = [i for i in range(n - d) if i & p == r]
            yield low, [i + d for i in low]
            if q == p:
                break
            d, q, r = q - p, q // 2, p
        p //= 2


def sort(x: Any, axis: int = -1) -> Any:
    """Ascending, along an axis: Batcher's network, ⌈log2 n⌉(⌈log2 n⌉ + 1)/2 layers of 3 rounds each.

    Secret, of x's shape and scale, exact; the range of a difference of two elements takes 63 bits. Each comparator
    costs a comparison and the exchange of its two elements. Security: comparisons and products; which places are
    compared is public and does not depend on what they hold.
    Source: Batcher, "Sorting networks and their applications" (1968); Knuth, volume 3, 5.2.2, Algorithm M.
    """
    return sort_by(x, axis=axis)[0]


def sort_by(keys: Any, *values: Any, axis: int = -1) -> list[Any]:
    """The keys ascending along an axis, and each of `values`, of the keys' shape, moved along with them.

    Cost, range, security and source of `sort`, and one product a comparator for each value, in the same rounds; values
    keep their scales and are exact. Of equal keys any may come first: the network is not stable. Which element went
    where stays secret.
    """
    x = _secret(keys, "sort")
    if not x.shape:
        raise ShapeError("mpc.sort of a scalar", here())
    carried = [_secret(v, "sort_by") for v in values]
    if any(v.shape != x.shape for v in carried):
        raise ShapeError(f"mpc.sort_by: keys of shape {x.shape} and values of {[v.shape for v in carried]}", here())
    order = [i for i in range(x.ndim) if i != axis % x.ndim]
    order.append(axis % x.ndim)
    moved, n = [v.transpose(order) for v in (x, *carried)], x.shape[axis]
    for low, high in _layers(n):
        if not low:
            continue
        compared = {*low, *high}
        rest = [i for i in range(n) if i not in compared]
        back = np.argsort([*low, *high, *rest])
        swap = compare("lt", moved[0][..., high], moved[0][..., low])
        moved = [_exchanged(swap, v, (low, high, rest))[..., back] for v in moved]
    return [v.transpose(list(np.argsort(order))) for v in moved]


def _exchanged(swap: Secret, y: Any, places: tuple[list[int], list[int], list[int]]) -> Any:
    """The low and the high places, exchanged where `swap` is 1, then the rest."""
    low, high, rest = places
    a, b = y[..., low], y[..., high]
    return concatenate([choose(swap, a, b), choose(swap, b, a), *([y[..., rest]] if rest else [])], axis=-1)


def top_k(x: Any, k: int, axis: int = -1) -> Any:
    """The k largest, descending, along an axis, which has length k then; cost, range and security of a `sort`."""
    n = _secret(x, "top_k").shape[axis] if x.shape else 0
    if not 1 <= k <= n:
        raise ProgramError(f"mpc.top_k of {k} among {n} elements", here())
    y = sort(_last(x, axis, "top_k"))
    y = y[..., list(range(n - 1, n - 1 - k, -1))]
    return y.transpose(list(np.argsort([*[i for i in range(x.ndim) if i != axis % x.ndim], axis % x.ndim])))


def quantile(x: Any, q: float, axis: int | None = None) -> Any:
    """As `numpy.quantile` with linear interpolation, for one public q.

    Along an axis, which falls away (of all, if None). Cost, range and security of a `sort`; exact where q·(n − 1) is
    whole, else with the rounding of a product by a public factor.
    """
    if not 0 <= q <= 1:
        raise ProgramError(f"a quantile lies between 0 and 1, not {q}", here())
    y = _last(x, axis, "quantile")
    n = y.shape[-1] if y.shape else 0
    if not n:
        raise ProgramError("mpc.quantile of no elements", here())
    y, place = sort(y), q * (n - 1)
    at, part = math.floor(place), place - math.floor(place)
    low = y[..., at]
    return low + (y[..., at + 1] - low) * part if part else low


def median(x: Any, axis: int | None = None) -> Any:
    """The middle value, or the mean of the two, along an axis (of all, if None).

    Cost, range and security of a `sort`; exact.
    """
    return quantile(x, 0.5, axis)


FUNCTIONS.update({
    np.max: max_, np.min: min_, np.argmax: argmax, np.argmin: argmin, np.sort: sort, np.median: median, np.clip: clip,
    np.quantile: quantile,
})  # fmt: skip
UFUNCS.update({np.maximum: maximum, np.minimum: minimum, np.absolute: absolute, np.sign: sign})
