"""Which kernels run: those compiled by numba where it is installed and a program is large enough, else numpy's.

Both give the same words. `load` is called before a run, never in it; what it has loaded stays. Without numba (the
extra `fast`), or before, everything is numpy and correct.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpc import trig
from mpc.ir import Block, Equation

__all__ = [
    "available", "cache", "compiled_already", "effort", "has_sine_sum", "load", "loaded", "look", "matmul", "onehot",
    "series_tables", "sincos_turns", "sine_sum", "unload", "worthwhile",
]  # fmt: skip

Words = NDArray[Any]
_SMALL = 1 << 11  # multiplications below which numpy's own call is as fast

_WORTH = 10**7
_HEAVY = {"series": 16, "waves": 16, "onehot": 4, "look": 100}  # operations on a word of their result

_compiled: ModuleType | None = None


def available() -> bool:
    """Whether numba is installed."""
    return importlib.util.find_spec("numba") is not None


def loaded() -> bool:
    """Whether compiled kernels are in use."""
    return _compiled is not None


def worthwhile(block: Block) -> bool:
    """Whether the compiled kernels would save a run of this lowered program more time than loading them takes."""
    return _compiled is None and effort(block) >= _WORTH and available()


def cache() -> Path | None:
    """Where this machine's compiled code lies or will lie; None where there is no place for it."""
    try:
        from mpc import compiled

        kernel: Any = compiled.series
        return Path(kernel._cache.cache_path)
    except (ImportError, RuntimeError, OSError):
        return None


def compiled_already(place: Path) -> bool:
    """Whether `load` will take half a second, and not as long as compiling takes."""
    return any(place.glob("compiled.series-*.nbi"))


def load() -> bool:
    """Make the compiled kernels ready; False where that cannot be. What is not compiled yet is compiled now."""
    global _compiled  # noqa: PLW0603 - the one switch of this process
    if _compiled is None and available():
        try:
            from mpc import compiled
        except (ImportError, RuntimeError, OSError):  # a numba that does not fit, or no place for what it compiles
            return False
        _compiled = compiled
    return _compiled is not None


def effort(block: Block) -> int:
    """About how many multiplications a run of a block takes at one party, in loops too."""
    return sum(e.params["times"] * effort(e.body) if e.body is not None else _effort(e) for e in block.equations)


def _effort(e: Equation) -> int:
    if e.op in ("matmul", "cross"):
        return e.output.type.size * (e.inputs[0].type.shape or (1,))[-1] * (2 if e.op == "cross" else 1)
    return _HEAVY[e.op] * e.outputs[0].type.size if e.op in _HEAVY else 0


def unload() -> None:
    """Numpy's kernels again."""
    global _compiled  # noqa: PLW0603
    _compiled = None


def matmul(x: Words, y: Words) -> Words:
    """x @ y modulo 2^64, as `numpy.matmul`."""
    k = _compiled
    if k is None or not x.ndim or not y.ndim or x.size * (y.shape[-1] if y.ndim > 1 else 1) < _SMALL:
        return np.asarray(np.matmul(x, y))
    if x.ndim > 2 or y.ndim > 2:
        return _batched(x, y)
    if x.shape[-1] != y.shape[0]:
        raise ValueError(f"@ of shapes {x.shape} and {y.shape}")
    out: Words
    if x.ndim == y.ndim == 2:
        out = np.empty((x.shape[0], y.shape[1]), np.uint64)
        k.matmul(_rows(x), _rows(y), out)
    elif x.ndim == 2:
        out = np.empty(x.shape[0], np.uint64)
        if x.flags.f_contiguous and not x.flags.c_contiguous:
            k.vecmat(_rows(y), x.T, out)
        else:
            k.matvec(_rows(x), _rows(y), out)
    elif y.ndim == 2:
        out = np.empty(y.shape[1], np.uint64)
        if y.flags.f_contiguous and not y.flags.c_contiguous:
            k.matvec(y.T, _rows(x), out)
        else:
            k.vecmat(_rows(x), _rows(y), out)
    else:
        return np.asarray(np.matmul(x, y))
    return out


def _batched(x: Words, y: Words) -> Words:
    """Stacks of matrices, one after another."""
    if x.ndim < 2 or y.ndim < 2:
        return np.asarray(np.matmul(x, y))
    batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    left = np.broadcast_to(x, (*batch, *x.shape[-2:])).reshape(-1, *x.shape[-2:])
    right = np.broadcast_to(y, (*batch, *y.shape[-2:])).reshape(-1, *y.shape[-2:])
    out = np.empty((prod(batch), x.shape[-2], y.shape[-1]), np.uint64)
    for a, b, c in zip(left, right, out, strict=True):
        c[:] = matmul(a, b)
    return out.reshape(*batch, x.shape[-2], y.shape[-1])


def _rows(x: Words) -> Words:
    return np.ascontiguousarray(x, dtype=np.uint64)


def sincos_turns(angle: Words, bits: int, odd: tuple[int, ...]) -> tuple[Words, Words]:
    """Sine and cosine of each multiple of each angle, new first axis."""
    multiples = np.array(odd, dtype=np.uint64)
    if _compiled is None:
        return trig.sincos_turns(np.multiply.outer(multiples, angle), bits)
    return _shaped(_sincos(_compiled, _flat(angle), multiples, trig.table(), bits), angle)


def series_tables(
    angle: Words, odd: tuple[int, ...], coefficients: tuple[int, ...], cbits: int, bits: int
) -> tuple[Words, Words]:
    """`mpc.trig.series_tables`."""
    drop = trig.MAX_BITS + cbits - bits
    if _compiled is None or not _plain(odd, coefficients, cbits, bits) or trig.by_turning(odd, cbits, bits):
        return trig.series_tables(angle, odd, coefficients, cbits, bits)
    weights, multiples = np.array(coefficients, dtype=np.int64), np.array(odd, dtype=np.uint64)
    return _shaped(_series(_compiled, _flat(angle), multiples, weights, trig.table(), drop), angle)


def has_sine_sum(odd: tuple[int, ...], coefficients: tuple[int, ...], cbits: int, bits: int) -> bool:
    """Whether `sine_sum` runs compiled: there is no other."""
    return _compiled is not None and _plain(odd, coefficients, cbits, bits)


def _plain(odd: tuple[int, ...], coefficients: tuple[int, ...], cbits: int, bits: int) -> bool:
    """Whether a series is one that the compiled kernels take; the others are refused by `mpc.trig`."""
    small = all(abs(c) < 1 << 30 for c in coefficients) and len(odd) == len(coefficients)
    return small and bits >= 1 and 1 <= trig.MAX_BITS + cbits - bits < 64


def sine_sum(
    odd: tuple[int, ...], coefficients: tuple[int, ...], cbits: int, bits: int
) -> Callable[[Words, Words, Words], Words]:
    """Of an angle and dealt cosines and sines, (len(odd), *angle.shape): Σ_j of `series_tables` times these."""
    if _compiled is None:
        raise RuntimeError("the compiled kernels are not loaded")
    if trig.by_turning(odd, cbits, bits):
        return _turned_sum(_compiled.turned_sum, coefficients, trig.TURN_BITS + cbits - bits)
    kernel, table, drop = _compiled.sine_sum, trig.table(), trig.MAX_BITS + cbits - bits
    weights, multiples = np.array(coefficients, dtype=np.int64), np.array(odd, dtype=np.uint64)
    scratch = np.empty((2, 512), np.int64)

    def sums(angle: Words, cosines: Words, sines: Words) -> Words:
        out, terms = np.empty(angle.size, np.uint64), (len(odd), angle.size)
        kernel(
            _flat(angle), multiples, weights, table, drop, _rows(cosines).reshape(terms), _rows(sines).reshape(terms),
            scratch, out,
        )  # fmt: skip
        return out.reshape(angle.shape)

    return sums


def _turned_sum(
    kernel: Callable[..., None], coefficients: tuple[int, ...], drop: int
) -> Callable[[Words, Words, Words], Words]:
    weights, table = np.array(coefficients, dtype=np.int64), trig.table()
    scratch, narrow = np.empty((2, 512), np.int64), np.empty((2, 2, 512), np.int32)

    def sums(angle: Words, cosines: Words, sines: Words) -> Words:
        out, terms = np.empty(angle.size, np.uint64), (len(weights), angle.size)
        parts = _rows(cosines).reshape(terms), _rows(sines).reshape(terms)
        kernel(_flat(angle), weights, table, drop, *parts, scratch, narrow, out)
        return out.reshape(angle.shape)

    return sums


def _flat(x: Words) -> Words:
    return np.ascontiguousarray(x, dtype=np.uint64).reshape(-1)


def _shaped(both: tuple[Words, Words], angle: Words) -> tuple[Words, Words]:
    sines, cosines = both
    shape = (len(sines), *np.shape(angle))
    return sines.view(np.uint64).reshape(shape), cosines.view(np.uint64).reshape(shape)


def _sincos(k: ModuleType, angle: Words, odd: Words, table: Words, bits: int) -> tuple[Words, Words]:
    sines, cosines = (np.empty((len(odd), len(angle)), np.int64) for _ in range(2))
    k.sincos(angle, odd, table, bits, sines, cosines)
    return sines, cosines


def _series(k: ModuleType, angle: Words, odd: Words, weights: Words, table: Words, drop: int) -> tuple[Words, Words]:
    sines, cosines = (np.empty((len(odd), len(angle)), np.int64) for _ in range(2))
    k.series(angle, odd, weights, table, drop, sines, cosines)
    return sines, cosines


def onehot(r: Words, width: int) -> Words | None:
    """One-hot words of the bytes of r, (…, bytes, 4); None where numpy has to do it."""
    if _compiled is None:
        return None
    out = np.empty((r.size, (width + 6) // 8, 4), np.uint64)
    _compiled.onehot(_flat(r), width, out)
    return out.reshape(*r.shape, *out.shape[1:])


def look(hot: Words, c: Words, width: int, above: Words) -> Words | None:
    """Packed shares of the bytes' comparisons; None where numpy has to do it."""
    if _compiled is None or hot.shape[:-2] != c.shape:
        return None
    out = np.empty(c.size, np.uint64)
    _compiled.look(np.ascontiguousarray(hot).reshape(-1, *hot.shape[-2:]), _flat(c), width, above, out)
    return out.reshape(c.shape)
