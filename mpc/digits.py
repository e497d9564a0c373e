"""Doubles as signed digits to a power of two: cut without a loss by their owner, put together correctly rounded."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpc.errors import InputError

__all__ = ["digits_of", "number_of"]

Floats = NDArray[np.float64]
_LEFT = 24  # bits that are left at least of the smallest number that is taken


def digits_of(params: dict[str, Any], x: Floats, at: Any) -> Floats:
    """Whole numbers d with x = Σ d_j·2^(least + base·j), a new first axis, |d| ≤ 2^(base − 1): least significant first.

    Exact, but for what lies below 2^least. InputError for a number of more digits, or of fewer bits than `_LEFT`.
    """
    base, least, count = params["base"], params["least"], params["count"]
    x = np.asarray(x, dtype=np.float64)
    size = np.abs(x)
    bad = ~((size < math.ldexp(0.5, least + base * count)) & ((size == 0) | (size >= math.ldexp(1.0, least + _LEFT))))
    if np.any(bad):
        raise InputError(
            f"{at(tuple(np.argwhere(bad)[0]))} is not finite, 2^{least + base * count - 1} or more, or below "
            f"2^{least + _LEFT}: bring the column to another unit, or leave it out"
        )
    found, rest = [], x
    for j in reversed(range(count)):
        digit = np.rint(np.ldexp(rest, -(least + base * j)))
        rest = rest - np.ldexp(digit, least + base * j)
        found.append(digit)
    return np.stack(found[::-1])


def number_of(params: dict[str, Any], digits: Floats) -> Floats:
    """Σ d_j·2^(least + base·j), rounded once: a double for every element of the other axes."""
    powers = params["least"] + params["base"] * np.arange(params["count"])
    parts = np.ldexp(digits, powers.reshape(-1, *(1,) * (digits.ndim - 1))).reshape(params["count"], -1)
    return np.array([math.fsum(column) for column in parts.T]).reshape(digits.shape[1:])
