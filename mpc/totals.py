"""The sum over owners of what each has in float64, in any unit: in several words, with nothing told but the sum.

A double is cut into signed digits to the base 2^52, exactly, and each digit is a word of the ring. The digits of all
owners are added, revealed and put together again, correctly rounded. No range is declared and no magnitude is found.
"""

from __future__ import annotations

import math
from typing import Any

from mpc.arrays import concatenate
from mpc.comparing import at_least
from mpc.errors import ProgramError, SecretError, ShapeError
from mpc.language import bounded, reveal, share
from mpc.place import here
from mpc.surface import Private, Secret, as_real, surface
from mpc.tracing import Value, current_trace

__all__ = ["total"]

_BASE = 52  # bits of a digit: what a double holds exactly
_DIGITS = {"base": _BASE, "count": 8, "least": -288}  # 2^-288 to 2^128
_MOST_PARTS = 256  # digits of so many add up within what a reveal holds


def total(parts: Any, name: str = "") -> Any:
    """The sum of private values over owners, elementwise, revealed to everyone: float64, rounded once.

    parts: a private value, or several, of one shape. |x| < 2^127, and 0 or 2^-264 at least; beyond, the owner refuses
    it with its place. name: under which the reveal is listed.
    Cost: 1 round and 64 bytes an element and peer where two parties compute and each has one part; else 3 rounds, and
    for k parts 7 comparisons with some k points an element.
    Security: digits that are added up tell how many carries there are, beside the sum. Two owners know that from the
    sum and what they have themselves; in all other cases carries are moved up first, by comparisons. What is left then
    says more than the sum with a chance below 2^-40, that a carry makes another one.
    """
    values = [parts] if isinstance(parts, Value) else list(parts)
    if any(isinstance(v, Secret) for v in values):
        raise SecretError("mpc.total is of private values, before they are shared", here())
    if not values or not all(isinstance(v, Private) for v in values):
        raise ProgramError("mpc.total takes private values: inputs, their columns, or what owners make of them", here())
    if len({v.shape for v in values}) > 1 or len(values) > _MOST_PARTS:
        listed = ", ".join(str(v.shape) for v in values[:8])
        raise ShapeError(
            f"mpc.total of {len(values)} values of shapes {listed}: of one shape, {_MOST_PARTS} at most", here()
        )
    limit = 2.0 ** (_BASE - 1)
    added = sum(share(_cut(v), range=(-limit, limit), scale=0) for v in values)
    pair = len(surface().parties) == 2 and len({v.owner for v in values}) == len(values)
    known = reveal(added if pair else _carried(added), bits=0, name=name)
    return current_trace().emit("undigits", [as_real(known)], dict(_DIGITS))


def _cut(x: Any) -> Any:
    return current_trace().emit("digits", [x], dict(_DIGITS))


def _carried(digits: Any) -> Any:
    """Digits of the same number, least significant first, that do not say of which summands they are the sum."""
    limit = 2.0 ** (_BASE - 1)
    most = math.ceil(digits.type.bound / limit)
    ends = [limit * k for k in range(-most, most + 1) if k % 2]  # a digit is its sum less the next multiple of 2^base
    carry = bounded(at_least(digits[:-1], ends).sum(axis=-1) - len(ends) // 2, -most, most)
    left = bounded(_times(_times(digits[:-1], -_BASE) - carry, _BASE), -limit, limit)
    return concatenate([left[:1], left[1:] + carry[:-1], digits[-1:] + carry[-1:]])


def _times(x: Any, power: int) -> Any:
    """x·2^power, in the scale: no integer changes."""
    by = str(1 << power) if power >= 0 else f"1/{1 << -power}"
    return current_trace().emit("settle", [current_trace().emit("unit", [x], {"by": by})])
