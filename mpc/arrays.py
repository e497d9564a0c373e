"""numpy's functions on traced values: joining, stacking, reducing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mpc.arithmetic import multiply_out, shift_up, term
from mpc.errors import ShapeError
from mpc.place import here
from mpc.surface import (
    Clear,
    Private,
    as_real,
    fit,
    room,
)
from mpc.tracing import FUNCTIONS, Value, current_trace
from mpc.types import raw_bound


def permutation(n: int, seed: int = 0) -> Value:
    """A fixed public order of n rows, by the seed and their number alone; parts of it are for `permute`."""
    return current_trace().emit("permutation", [], {"seed": seed, "n": n})


def permute(x: Any, seed: int = 0, *, rows: Value | None = None) -> Any:
    """The rows of x in a fixed public order that depends on the seed and their number alone.

    rows: only these, a part of `permutation(len(x), seed)`: a batch of a loop, of which x then is not copied whole.
    """
    order = permutation(len(x), seed) if rows is None else rows
    return current_trace().emit("take", [x, order], {"axis": 0})


def concatenate(parts: Sequence[Any], axis: int = 0) -> Any:
    """As `numpy.concatenate`; plain arrays among the parts become public constants."""
    values = list(parts)
    traced = [v for v in values if isinstance(v, Value)]
    if not traced:
        return np.concatenate(values, axis=axis)
    if any(isinstance(v, Private | Clear) for v in traced):
        values = [as_real(v) for v in values]
    else:
        values = [v if isinstance(v, Value) else term(v, traced[0]) for v in values]
        if len({v.type.unit for v in values}) > 1:
            values = [multiply_out(v) for v in values]
        scale = max(v.type.scale for v in values)
        excess = room(max(1.0, *(raw_bound(v.type.but(scale=scale)) for v in values)))
        if 0 < excess < math.inf:
            most = scale - math.ceil(excess)
            values = [fit(v.type.scale - most, v, "concatenate") if v.type.scale > most else v for v in values]
        scale = max(v.type.scale for v in values)
        values = [shift_up(v, scale - v.type.scale) for v in values]
    ndim = values[0].ndim
    if len({v.ndim for v in values}) != 1 or not -ndim <= axis < ndim:
        raise ShapeError(f"concatenate of shapes {', '.join(str(v.shape) for v in values)} along axis {axis}", here())
    if len(values) == 1:
        return values[0]
    return current_trace().emit("concatenate", values, {"axis": axis % ndim})


def stack(parts: Sequence[Any], axis: int = 0) -> Any:
    """As `numpy.stack`."""
    values = [v if isinstance(v, Value) else np.asarray(v) for v in parts]
    ndim = values[0].ndim + 1
    at = axis % ndim
    return concatenate([v.reshape([*v.shape[:at], 1, *v.shape[at:]]) for v in values], at)


def _method(name: str) -> Callable[..., Any]:
    def function(x: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(x, Value):
            return getattr(x, name)(*args, **kwargs)
        if name == "sum" and isinstance(x, list | tuple) and any(isinstance(v, Value) for v in x):
            return total(x) if not args and not kwargs else getattr(stack(x), name)(*args, **kwargs)
        return getattr(np, name)(x, *args, **kwargs)

    function.__name__ = name
    function.__doc__ = f"As `numpy.{name}`."
    return function


def total(parts: Sequence[Any]) -> Any:
    """The sum of a list of values."""
    result: Any = 0
    for part in parts:
        result = result + part
    return result


sum_ = _method("sum")
mean = _method("mean")
reshape = _method("reshape")
transpose = _method("transpose")


def matmul(x: Any, y: Any) -> Any:
    """As `numpy.matmul`."""
    return x @ y


def broadcast_to(x: Value, shape: Sequence[int]) -> Any:
    """As `numpy.broadcast_to`."""
    return x.trace.emit("broadcast", [x], {"shape": list(shape)}) if tuple(shape) != x.shape else x


FUNCTIONS.update(
    {
        np.sum: sum_,
        np.mean: mean,
        np.reshape: reshape,
        np.transpose: transpose,
        np.ravel: lambda x: x.ravel(),
        np.concatenate: concatenate,
        np.stack: stack,
        np.vstack: lambda parts: concatenate([p if p.ndim > 1 else p.reshape(1, -1) for p in parts], 0),
        np.hstack: lambda parts: concatenate(parts, 1 if parts[0].ndim > 1 else 0),
        np.dot: matmul,
        np.broadcast_to: broadcast_to,
        np.shape: lambda x: x.shape,
        np.ndim: lambda x: x.ndim,
        np.size: lambda x: x.size,
    }
)
