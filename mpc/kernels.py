"""What each linear or structural op does to arrays, in any domain; and the shapes that come out.

One table serves `plain`, the parties' engine, the dealer and an owner's own float arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpc import native
from mpc.errors import ProgramError, ShapeError
from mpc.prg import Position, block
from mpc.ring import Domain, Ring

__all__ = ["KERNELS", "LINEAR", "STRUCTURAL", "angle_of", "bind", "direct", "permutation", "shape_of"]

Shape = tuple[int, ...]
Params = dict[str, Any]
Values = NDArray[Any]

STRUCTURAL = frozenset({"reshape", "transpose", "broadcast", "slice", "dynamic_slice", "take", "concatenate"})
LINEAR = STRUCTURAL | {"add", "sub", "neg", "sum", "shl"}  # of every secret operand; mul and matmul are bilinear


def slices(params: Params) -> tuple[slice, ...]:
    """The numpy index of a `slice` op."""
    return tuple(slice(*part) for part in params["parts"])


def permutation(seed: int, n: int) -> NDArray[np.uint64]:
    """A fixed public order of n rows: integers only, equal on every machine."""
    words = block(seed.to_bytes(16, "big"), Position(0, 0), (n,))
    return np.argsort(words, kind="stable").astype(np.uint64)


def _slice(_: Domain, params: Params, x: Values) -> Values:
    return x[slices(params)]


def _dynamic_slice(_: Domain, params: Params, x: Values, start: Values) -> Values:
    axis, size, at = params["axis"], params["size"], int(start)
    if not 0 <= at <= x.shape[axis] - size:
        raise ShapeError(f"a slice of {size} from {at} leaves an axis of length {x.shape[axis]}")
    part: Values = x[(slice(None),) * axis + (slice(at, at + size),)]
    return part


def _concatenate(_: Domain, params: Params, *parts: Values) -> Values:
    return np.concatenate(parts, axis=params["axis"])


def angle_of(d: Domain, params: Params, x: Values) -> Values:
    """The argument of a sine, in fractions of a turn."""
    return np.left_shift(x, np.uint64(params["shift"] + 64 - d.bits))


def _series(d: Domain, params: Params, x: Values) -> tuple[Values, Values]:
    odd, coefficients = tuple(params["odd"]), tuple(params["coefficients"])
    return native.series_tables(angle_of(d, params, x), odd, coefficients, params["cbits"], params["bits"])


def _waves(d: Domain, params: Params, x: Values) -> tuple[Values, Values]:
    return native.sincos_turns(angle_of(d, params, x), params["bits"], tuple(params["odd"]))


_ABOVE = np.zeros((256, 4), dtype=np.uint64)  # for each byte c, the positions above it among 256, as four words
for _c in range(256):
    _positions = ((1 << 256) - 1) ^ ((1 << (_c + 1)) - 1)
    _ABOVE[_c] = [(_positions >> (64 * w)) & ((1 << 64) - 1) for w in range(4)]


def _bytes_of(x: Values, width: int) -> Values:
    """The low width − 1 bits of words as bytes, least significant first, new last axis."""
    n = (width + 6) // 8
    low = np.bitwise_and(x, np.uint64((1 << (width - 1)) - 1))
    return np.ascontiguousarray(low, dtype="<u8").reshape(*np.shape(x), 1).view(np.uint8)[..., :n]


def _onehot(_: Domain, params: Params, r: Values) -> Values:
    """For each byte of r, 256 bits of which bit r_j is one."""
    compiled = native.onehot(r, params["width"])
    if compiled is not None:
        return compiled
    octets = _bytes_of(r, params["width"])
    out = np.zeros((*octets.shape, 4), dtype=np.uint64)
    where = np.right_shift(octets, 6)[..., None].astype(np.int64)
    np.put_along_axis(out, where, np.left_shift(np.uint64(1), octets.astype(np.uint64) & np.uint64(63))[..., None], -1)
    return out


def _look(_: Domain, params: Params, hot: Values, c: Values) -> Values:
    """Shares of [r_j > c_j] and [r_j = c_j] for every byte: linear in the one-hot words; packed, `less` bits first."""
    compiled = native.look(hot, c, params["width"], _ABOVE) if params["what"] == "less" else None
    if compiled is not None:
        return compiled
    octets = _bytes_of(c, params["width"])
    n = octets.shape[-1]
    word = np.take_along_axis(hot, np.right_shift(octets, 6)[..., None].astype(np.int64), -1)[..., 0]
    equal = np.right_shift(word, octets.astype(np.uint64) & np.uint64(63)) & np.uint64(1)
    places = np.arange(n, dtype=np.uint64)
    if params["what"] == "equal":
        return np.asarray(np.bitwise_or.reduce(np.left_shift(equal, places), axis=-1))
    folded = np.bitwise_xor.reduce(np.bitwise_and(hot, _ABOVE[octets]), axis=-1)
    less = np.bitwise_count(folded).astype(np.uint64) & np.uint64(1)
    upper = np.left_shift(equal[..., 1:], places[: n - 1] + np.uint64(n))
    both = np.concatenate([np.left_shift(less, places), upper], axis=-1)
    return np.asarray(np.bitwise_or.reduce(both, axis=-1))


def _ring(d: Domain) -> Ring:
    if not isinstance(d, Ring):
        raise ProgramError("shifts and bits are of ring integers")
    return d


KERNELS: dict[str, Callable[..., Any]] = {
    "add": lambda d, _, x, y: d.add(x, y),
    "sub": lambda d, _, x, y: d.sub(x, y),
    "neg": lambda d, _, x: d.neg(x),
    "mul": lambda d, _, x, y: d.mul(x, y),
    "matmul": lambda d, _, x, y: d.matmul(x, y),
    "cross": lambda d, _, dx, lx, dy, ly: d.sub(d.matmul(dx, d.sub(dy, ly)), d.matmul(lx, dy)),
    "sum": lambda d, p, x: d.sum(x, tuple(p["axes"]), p["keepdims"]),
    "shl": lambda d, p, x: _ring(d).shl(x, p["by"]),
    "shr": lambda d, p, x: _ring(d).shr(x, p["by"]),
    "msb": lambda d, _, x: _ring(d).msb(x),
    "series": _series,
    "onehot": _onehot,
    "look": _look,
    "bit": lambda _, p, x: np.right_shift(x, np.uint64(p["at"])) & np.uint64(1),
    "waves": _waves,
    "reshape": lambda _, p, x: x.reshape(p["shape"]),
    "transpose": lambda _, p, x: x.transpose(p["axes"]),
    "broadcast": lambda _, p, x: np.broadcast_to(x, p["shape"]),
    "slice": _slice,
    "dynamic_slice": _dynamic_slice,
    "take": lambda _, p, x, index: np.take(x, index.astype(np.int64), axis=p["axis"]),
    "concatenate": _concatenate,
    "const": lambda d, p: d.literal(p["value"]).reshape(p["shape"]),
    "permutation": lambda d, p: permutation(p["seed"], p["n"]),
    "mod": lambda d, p, x: np.mod(x, np.uint64(p["by"])),
    "div": lambda d, p, x: np.floor_divide(x, np.uint64(p["by"])),
}


def bind(op: str, domain: Domain, params: Params) -> Callable[..., Any]:
    """The kernel of one op with its domain and parameters put in; nothing is looked up when it is called."""
    if op == "slice":
        return itemgetter(slices(params))
    kernel = KERNELS[op]
    return lambda *values: kernel(domain, params, *values)


_UFUNCS: dict[str, np.ufunc] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "neg": np.negative,
    "shl": np.left_shift, "shr": np.right_shift, "msb": np.right_shift,
}  # fmt: skip


def direct(op: str, domain: Domain, params: Params) -> tuple[np.ufunc | None, tuple[np.uint64, ...]]:
    """The numpy function that is all there is to an op of 64-bit words, and its constant operands; None if none is."""
    ufunc = _UFUNCS.get(op) if isinstance(domain, Ring) and domain.bits == 64 else None
    by = {"msb": 63}.get(op, params.get("by"))
    if ufunc is None or by is None:
        return ufunc, ()
    return (ufunc, (np.uint64(by),)) if by < 64 else (None, ())


def _broadcast_shape(params: Params, *shapes: Shape) -> Shape:
    return np.broadcast_shapes(*shapes)


def _matmul_shape(_: Params, x: Shape, y: Shape) -> Shape:
    if not x or not y:
        raise ValueError("@ takes no scalars; use *")
    inner = y[-2] if len(y) > 1 else y[0]
    if x[-1] != inner:
        raise ValueError(f"@ of {x} and {y}: the inner lengths {x[-1]} and {inner} differ")
    batch = np.broadcast_shapes(x[:-2], y[:-2])
    return (*batch, *x[-2:-1], *(y[-1:] if len(y) > 1 else ()))


def _sum_shape(params: Params, x: Shape) -> Shape:
    if any(not 0 <= axis < len(x) for axis in params["axes"]):
        raise ValueError(f"no axis {params['axes']} in shape {x}")
    if params["keepdims"]:
        return tuple(1 if i in params["axes"] else n for i, n in enumerate(x))
    return tuple(n for i, n in enumerate(x) if i not in params["axes"])


def _reduced_shape(params: Params, x: Shape) -> Shape:
    return _sum_shape({**params, "keepdims": False}, x)


def _by_probe(op: str) -> Callable[..., Shape]:
    def shape(params: Params, *shapes: Shape) -> Shape:
        probes = [np.broadcast_to(np.uint64(0), s) for s in shapes]
        return tuple(KERNELS[op](None, params, *probes).shape)

    return shape


def _take_shape(params: Params, x: Shape, index: Shape) -> Shape:
    axis = params["axis"]
    return (*x[:axis], *index, *x[axis + 1 :])


def _const_shape(params: Params) -> Shape:
    shape = tuple(params["shape"])
    if np.shape(params["value"]) != ((prod(shape),) if shape else ()) and np.shape(params["value"]) != shape:
        raise ValueError("not as many values as the shape has elements")
    return shape


_SHAPES: dict[str, Callable[..., Shape]] = {
    "add": _broadcast_shape,
    "sub": _broadcast_shape,
    "mul": _broadcast_shape,
    "div": _broadcast_shape,
    "neg": lambda _, x: x,
    "shl": lambda _, x: x,
    "mod": lambda _, x: x,
    "shr": lambda _, x: x,
    "msb": lambda _, x: x,
    "matmul": _matmul_shape,
    "sum": _sum_shape,
    "exponent": _reduced_shape,
    "digits": lambda p, x: (p["count"], *x),
    "undigits": lambda _, x: x[1:],
    "take": _take_shape,
    "const": _const_shape,
    "permutation": lambda p: (p["n"],),
    "kept": lambda p: tuple(p["shape"]),
    "shown": lambda p: tuple(p["shape"]),
    **{op: _by_probe(op) for op in ("reshape", "transpose", "broadcast", "slice", "dynamic_slice")},
}


def _concatenate_shape(params: Params, *shapes: Shape) -> Shape:
    axis = params["axis"]
    rest = {(*s[:axis], *s[axis + 1 :]) for s in shapes}
    if len(rest) != 1 or any(len(s) <= axis for s in shapes):
        raise ValueError(f"shapes {', '.join(map(str, shapes))} do not fit along axis {axis}")
    return (*shapes[0][:axis], sum(s[axis] for s in shapes), *shapes[0][axis + 1 :])


def shape_of(op: str, params: Params, shapes: list[Shape], where: str = "") -> Shape:
    """The shape of `op` on operands of these shapes; ShapeError in numpy's words, with the source line."""
    if op == "concatenate":
        rule: Callable[..., Shape] = _concatenate_shape
    else:
        rule = _SHAPES.get(op, _broadcast_shape)
    try:
        return rule(params, *shapes)
    except (ValueError, IndexError, TypeError) as error:
        listed = " and ".join(str(s) for s in shapes)
        raise ShapeError(f"{op} of shapes {listed} does not work: {error}", where) from None
