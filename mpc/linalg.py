"""Linear algebra of secrets: products of any rank, and the inverse of a symmetric positive definite matrix."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mpc.arithmetic import multiply_out
from mpc.arrays import transpose
from mpc.errors import OverflowRefusal, ProgramError, SecretError, ShapeError
from mpc.language import bounded, constant, rescale
from mpc.loops import repeat
from mpc.place import here
from mpc.surface import Secret
from mpc.tracing import FUNCTIONS, Value, current_trace

__all__ = ["covariance", "einsum", "inverse", "outer", "solve"]

_WANTED = 2.0**-24  # what a step of Newton-Schulz may still be away from the inverse, relative
_ROOM = 60


def outer(x: Any, y: Any) -> Any:
    """As `numpy.outer`: x_i · y_j, of shape (x.size, y.size).

    One product: scales add, and a truncation follows where the ring has no room for their sum. In the masked suite
    openings of x and y, 8 bytes an element and peer, not of the result. Security: a product of the suite.
    """
    x, y = (v if isinstance(v, Value) else np.asarray(v) for v in (x, y))
    return x.reshape(-1, 1) * y.reshape(1, -1)


def covariance(X: Any, ddof: int = 1) -> Any:
    """The covariance matrix of the columns, rows being observations: `numpy.cov(X, rowvar=False, ddof=ddof)`.

    X: secret (n, d), n > ddof; the result (d, d). Columns are centred first (free); one product Xᵀ @ X: in the masked
    suite X is opened once, 1 round, 8 bytes an element and peer. Exact but for the roundings of a product and of 1/n.
    Security: a product of the suite.
    """
    if X.ndim != 2 or X.shape[0] <= ddof:
        raise ShapeError(f"covariance takes rows of observations, more than {ddof}, not shape {X.shape}", here())
    centred = X - X.mean(axis=0)
    return (transpose(centred) @ centred) / (X.shape[0] - ddof)


# --- sums of products over named axes --------------------------------------------------------------------------------


def einsum(subscripts: str, *operands: Any) -> Any:
    """As `numpy.einsum` for one or two operands without an ellipsis and without an index twice in one operand.

    Two operands become one matrix product, so cost, scale, error and security are those of `@`. One operand: sums and a
    transposition, free and exact.
    """
    inputs, output = _parsed(subscripts, operands)
    if len(operands) == 1:
        (names,), (x,) = inputs, operands
        x = x.sum(axis=[i for i, c in enumerate(names) if c not in output] or ())
        kept = [c for c in names if c in output]
        return x.transpose([kept.index(c) for c in output])
    (a, b), (x, y) = inputs, operands
    x, a = _summed(x, a, set(b) | set(output))
    y, b = _summed(y, b, set(a) | set(output))
    batch = [c for c in a if c in b and c in output]
    inner = [c for c in a if c in b and c not in output]
    left, right = [c for c in a if c not in b], [c for c in b if c not in a]
    size = {**dict(zip(a, x.shape, strict=True)), **dict(zip(b, y.shape, strict=True))}
    shape = [size[c] for c in batch]
    m, k, n = (math.prod(size[c] for c in names) for names in (left, inner, right))
    x = x.transpose([a.index(c) for c in (*batch, *left, *inner)]).reshape([*shape, m, k])
    y = y.transpose([b.index(c) for c in (*batch, *inner, *right)]).reshape([*shape, k, n])
    order = [*batch, *left, *right]
    return (x @ y).reshape([size[c] for c in order]).transpose([order.index(c) for c in output])


def _parsed(subscripts: str, operands: tuple[Any, ...]) -> tuple[list[str], str]:
    left, arrow, output = subscripts.replace(" ", "").partition("->")
    inputs = left.split(",")
    named = "".join(inputs)
    if not 1 <= len(operands) <= 2 or not all(c.isalpha() for c in named + output):
        raise ProgramError("mpc.einsum takes one or two operands, and indices that are letters, without '...'", here())
    if len(inputs) != len(operands) or any(len(s) != np.ndim(x) for s, x in zip(inputs, operands, strict=True)):
        shapes = ", ".join(str(np.shape(x)) for x in operands)
        raise ShapeError(f"mpc.einsum {subscripts!r} does not fit the shapes {shapes}", here())
    if any(len(set(s)) < len(s) for s in [*inputs, output]) or not set(output) <= set(named):
        raise ProgramError(f"mpc.einsum {subscripts!r}: an index stands once in each operand and in the result", here())
    sizes: dict[str, int] = {}
    for s, x in zip(inputs, operands, strict=True):
        for c, n in zip(s, np.shape(x), strict=True):
            if sizes.setdefault(c, n) != n:
                raise ShapeError(f"mpc.einsum {subscripts!r}: index {c} has lengths {sizes[c]} and {n}", here())
    once = sorted(c for c in set(named) if named.count(c) == 1)
    return inputs, output if arrow else "".join(once)


def _summed(x: Any, names: str, kept: set[str]) -> tuple[Any, str]:
    """Without the axes that only this operand has and the result has not."""
    x = x if isinstance(x, Value) else np.asarray(x)
    gone = [i for i, c in enumerate(names) if c not in kept]
    return (x.sum(axis=tuple(gone)) if gone else x), "".join(c for c in names if c in kept)


# --- symmetric positive definite matrices ----------------------------------------------------------------------------


def inverse(
    H: Any, *, smallest: float, largest: float | None = None, steps: int | None = None, near: Any = None
) -> Any:
    """The inverse of a secret symmetric positive definite matrix, by Newton-Schulz: Z ← Z(2I − HZ).

    H: (d, d). smallest, largest: public bounds of its eigenvalues, which the caller answers for, e.g. the penalty of a
    ridge; largest: d times the largest entry of H's range unless given. steps: as many as bring any such H within
    2^-24, unless given. near: where to start, the inverse of a matrix not far away: right if all eigenvalues of
    near·H lie between 0 and 2, and then few steps do; a step squares the distance of near·H from 1.
    Error: entries within about κ·2^-b of the inverse, relative to its largest, with κ = largest/smallest and
    b = (60 − log2 κ)/2 bits of work. Beyond the stated eigenvalues the result is wrong without a word.
    Cost: 4 rounds a step, 2 products of (d, d); ⌈log2 κ⌉ + 5 steps or fewer. Security: products and truncations.
    Source: Schulz, "Iterative Berechnung der reziproken Matrix" (1933); docs/decisions/newton-schulz.md.
    """
    _, z, power, _, _ = _inverted(_square(H, "inverse"), smallest, largest, steps, near)
    return bounded(_halved(z, power, 62), -1.0 / smallest, 1.0 / smallest)


def _inverted(
    H: Secret, smallest: float, largest: float | None, steps: int | None, near: Any = None
) -> tuple[Any, Any, int, int, float]:
    """H/2^power with eigenvalues up to 1, its inverse at `bits`, the power, the bits, and the bound of the inverse."""
    d = H.shape[0]
    top = H.type.bound * d if largest is None else float(largest)
    if not 0 < smallest <= top < math.inf:
        raise ProgramError(f"mpc.inverse: the eigenvalues lie between 0 and infinity, not {smallest} and {top}", here())
    power = math.ceil(math.log2(top))
    kappa = math.ldexp(1.0, power) / smallest
    spread = math.ceil(math.log2(kappa))
    bits = min(30, (_ROOM - spread) // 2)
    if bits < 14:
        raise OverflowRefusal(
            f"mpc.inverse: eigenvalues of {smallest:.3g} to {top:.3g} leave {bits} bits to work with; state closer "
            "bounds, or add to the diagonal (a ridge)",
            here(),
        )
    unit = _halved(H, power, _ROOM - 1 - bits)
    first = 2.0 / (1.0 + 1.0 / kappa)
    away = (kappa - 1.0) / (kappa + 1.0) if kappa > 1 else 0.0
    count = steps if steps is not None else _count(away)
    identity = np.eye(d)

    def step(_: Any, z: Any) -> Any:
        product = rescale(bounded(_raw_product(unit, z), -2.0, 2.0), bits)
        return rescale(bounded(_raw_product(z, 2 * identity - product), -2 * kappa, 2 * kappa), bits)

    start = constant(first * identity, bits) if near is None else rescale(_halved(near, -power, 62), bits)
    return unit, repeat(count, step, start), power, bits, kappa


def solve(H: Any, b: Any, *, smallest: float, largest: float | None = None) -> Any:
    """H⁻¹ @ b for a symmetric positive definite H of shape (d, d) and b of shape (d,) or (d, k).

    The inverse of `mpc.inverse`, then one step of refinement, x + Z(b − Hx), which squares its relative error.
    Bounds of the eigenvalues, and what happens beyond them, security and source as there. Cost: 8 more rounds.
    """
    H, b = _square(H, "solve"), multiply_out(b)
    if b.ndim not in (1, 2) or b.shape[0] != H.shape[0]:
        raise ShapeError(f"mpc.solve of shapes {H.shape} and {b.shape}", here())
    unit, z, power, bits, kappa = _inverted(H, smallest, largest, None)
    shift = math.ceil(math.log2(max(b.type.bound, 2.0**-60)))
    right = _halved(b, shift, 40)
    reach = kappa * math.sqrt(H.shape[0])
    room = _ROOM - math.ceil(math.log2(reach))
    coarse = rescale(right, room - bits) if right.type.scale > room - bits else right
    x = rescale(bounded(_raw_product(z, coarse), -reach, reach), bits)
    left = rescale(bounded(right - bounded(_raw_product(unit, x), -2.0, 2.0), -2.0, 2.0), room - bits + 8)
    # what is left over is smaller than b by the relative error of z, and so is its correction than x
    more = rescale(bounded(_raw_product(z, left), -reach / 256, reach / 256), room - 2)
    found = _halved(bounded(more + x, -reach, reach), power - shift, 62)
    limit = b.type.bound / smallest * math.sqrt(H.shape[0])
    return bounded(found, -limit, limit)


def _count(away: float) -> int:
    """Steps until the distance from 1, squared each time, is below what is wanted."""
    count = 0
    while away > _WANTED:
        away, count = away * away, count + 1
    return max(count, 1)


def _square(H: Any, name: str) -> Secret:
    if not isinstance(H, Secret):
        raise SecretError(f"mpc.{name} takes a secret matrix; of known ones, use numpy outside the program", here())
    if H.ndim != 2 or H.shape[0] != H.shape[1] or not H.shape[0]:
        raise ShapeError(f"mpc.{name} takes a square matrix, not shape {H.shape}", here())
    if not math.isfinite(H.type.bound):
        raise OverflowRefusal(f"mpc.{name}: nothing is known of its entries; mpc.assume_range(H, lo, hi)", here())
    return multiply_out(H)  # type: ignore[return-value]


def _halved(x: Any, times: int, most: int) -> Any:
    """x / 2^times, exact, then at `most` fraction bits or fewer; entries within ±1 of what they may be."""
    by = f"1/{1 << times}" if times >= 0 else str(1 << -times)
    value = current_trace().emit("settle", [current_trace().emit("unit", [x], {"by": by})])
    return rescale(value, most) if value.type.scale > most else value  # type: ignore[arg-type]


def _raw_product(x: Any, y: Any) -> Any:
    """x @ y without room made by the operands' ranges: the result's own is known to be smaller than theirs say."""
    return current_trace().emit("matmul", [x, y])


FUNCTIONS.update({np.outer: outer, np.einsum: einsum})
