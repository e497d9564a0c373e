"""x[...] of a traced value: numpy's basic indexing, index arrays, and slices that move with the step of a loop."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from mpc.errors import SecretError, ShapeError
from mpc.ir import Kind, Var
from mpc.place import here
from mpc.tracing import FUNCTIONS, Frame, Value

__all__ = ["Index"]


def _expand(key: Any, shape: tuple[int, ...]) -> list[Any]:
    parts = list(key) if isinstance(key, tuple) else [key]
    taken = sum(1 for p in parts if p is not None and p is not Ellipsis)
    if taken > len(shape):
        raise ShapeError(f"{taken} indices for shape {shape}", here())
    fill = [slice(None)] * (len(shape) - taken)
    dots = [i for i, p in enumerate(parts) if p is Ellipsis]
    at = dots[0] if dots else len(parts)
    return parts[:at] + fill + [p for p in parts[at:] if p is not Ellipsis]


def index(x: Value, key: Any) -> Any:
    """numpy's basic indexing, one-dimensional index arrays, and slices that start at a public step index."""
    parts = _expand(key, x.shape)
    _unlike_numpy(parts)
    used = [p for p in parts if p is not None]
    static = [_static(p, n) for p, n in zip(used, x.shape, strict=True)]
    if any(s != [0, n, 1] for s, n in zip(static, x.shape, strict=True)):
        x = x.trace.emit("slice", [x], {"parts": static})
    for axis, part in enumerate(used):
        if isinstance(part, Value) or (isinstance(part, slice) and _moving(part)):
            x = _moved(x, axis, part)
        elif not isinstance(part, slice | int | np.integer):
            x = _taken(x, axis, np.asarray(part))
    lengths = iter(x.shape)
    kept = [(1 if p is None else next(lengths), p) for p in parts]
    scalar = (int, np.integer, Value)
    return x.reshape([n for n, p in kept if not isinstance(p, scalar)])


def _unlike_numpy(parts: list[Any]) -> None:
    """Refuse what numpy would read in another way: two index arrays, or an array and a number with a slice between."""
    listed = [p for p in parts if p is not None and not isinstance(p, int | np.integer | slice | Value)]
    if any(isinstance(p, bool) for p in parts) or len(listed) > 1:
        raise ShapeError("one index array at a time, and no single truth value: x[rows][:, columns]", here())
    advanced = [i for i, p in enumerate(parts) if p is not None and not isinstance(p, slice)]
    if listed and advanced and advanced[-1] - advanced[0] >= len(advanced):
        raise ShapeError("an index array beside a number needs them next to each other: x[rows][:, :, 0]", here())


def _static(part: Any, length: int) -> list[int | None]:
    if isinstance(part, int | np.integer):
        at = operator.index(part)
        if not -length <= at < length:
            raise ShapeError(f"index {at} is out of bounds for an axis of length {length}", here())
        return [at % length, at % length + 1, 1]
    if isinstance(part, slice) and not _moving(part):
        start, stop, step = part.indices(length)
        return [start, stop if stop >= 0 else None, step]
    return [0, length, 1]


def _moving(part: slice) -> bool:
    return any(isinstance(p, Value) for p in (part.start, part.stop))


def _moved(x: Value, axis: int, part: Any) -> Value:
    """The part of an axis that begins at a traced public number."""
    start, size = (part.start, distance(part.start, part.stop)) if isinstance(part, slice) else (part, 1)
    if not isinstance(start, Value) or start.type.kind is not Kind.CONST or start.shape:
        raise SecretError("an index must be public: a number, a slice, or the loop's step index", here())
    if isinstance(part, slice) and (part.step not in (None, 1) or not 0 < size <= x.shape[axis]):
        raise ShapeError(f"a moving slice needs step 1 and a length of 1 to {x.shape[axis]}, not {size}", here())
    return x.trace.emit("dynamic_slice", [x, start], {"axis": axis, "size": size})


def _taken(x: Value, axis: int, chosen: Any) -> Value:
    """The rows that an array of integers or booleans names."""
    if chosen.dtype == bool and chosen.shape == x.shape[axis : axis + 1]:
        chosen = np.flatnonzero(chosen)
    if chosen.dtype.kind not in "iu" or chosen.ndim != 1:
        raise ShapeError("an index array must be one-dimensional: integers, or one truth value a row", here())
    n = x.shape[axis]
    if chosen.size and not (-n <= chosen.min() and chosen.max() < n):
        raise ShapeError(f"an index is out of bounds for an axis of length {n}", here())
    listed = [int(i) % n for i in chosen]
    order = x.trace.emit("const", [], {"value": listed, "shape": [len(listed)], "scale": 0})
    return x.trace.emit("take", [x, order], {"axis": axis})


class Index(Value):
    """A public integer known to all and to the dealer: the step of a loop, and what is computed from it.

    `linear` is its value as Σ coefficient · variable + offset, so that the length of X[i*b:(i+1)*b] is known.
    """

    __slots__ = ("linear",)

    def __init__(self, var: Var, frame: Frame, linear: tuple[dict[int, int], int] | None = None) -> None:
        super().__init__(var, frame)
        self.linear = linear if linear is not None else ({var.number: 1}, 0)

    def _with(self, op: str, x: Any, y: Any) -> Any:
        if not all(isinstance(v, int | Index) for v in (x, y)) or (
            op == "mul" and isinstance(x, Index) and isinstance(y, Index)
        ):
            return self.trace.binary(op, x, y)
        (cx, ox), (cy, oy) = ((v.linear if isinstance(v, Index) else ({}, v)) for v in (x, y))
        if op == "mul":
            factor, coefs, offset = (oy, cx, ox) if not cy else (ox, cy, oy)
            linear = ({v: c * factor for v, c in coefs.items()}, offset * factor)
        else:
            sign = 1 if op == "add" else -1
            linear = ({v: cx.get(v, 0) + sign * cy.get(v, 0) for v in cx | cy}, ox + sign * oy)
        result = self.trace.binary(op, x, y)
        return Index(result.var, result.frame, linear)

    def __add__(self, y: Any) -> Any:
        return self._with("add", self, y)

    def __radd__(self, y: Any) -> Any:
        return self._with("add", y, self)

    def __sub__(self, y: Any) -> Any:
        return self._with("sub", self, y)

    def __rsub__(self, y: Any) -> Any:
        return self._with("sub", y, self)

    def __mul__(self, y: Any) -> Any:
        return self._with("mul", self, y)

    def __rmul__(self, y: Any) -> Any:
        return self._with("mul", y, self)

    def _stepped(self, op: str, by: int) -> Any:
        coefs, offset = self.linear
        steps = self.trace.frames[-1].steps
        key = (op, by, offset, *sorted((v, c) for v, c in coefs.items() if c))
        if key not in steps:
            value = self.trace.emit(op, [self], {"by": by})
            steps[key] = Index(value.var, value.frame)
        return steps[key]

    def __mod__(self, n: int) -> Any:
        return self._stepped("mod", operator.index(n))

    def __floordiv__(self, n: int) -> Any:
        return self._stepped("div", operator.index(n))


def distance(start: Any, stop: Any) -> int:
    """stop − start of a moving slice, which must be a plain number."""
    start = 0 if start is None else start
    if stop is None:
        raise ShapeError("a moving slice needs an end, as X[i*b:(i+1)*b]", here())
    (a, x), (b, y) = ((v.linear if isinstance(v, Index) else ({}, operator.index(v))) for v in (start, stop))
    if any(a.get(v, 0) != b.get(v, 0) for v in a | b):
        raise ShapeError("the length of a slice must not depend on the step: X[i*b:(i+1)*b] has length b", here())
    return y - x


FUNCTIONS[operator.getitem] = index
