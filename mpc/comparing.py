"""Comparisons of secrets and what follows from them: numpy's names, secret results.

All of it rests on two ops that a suite has rules for: [x < 0] and [x = 0]. A truth value is a secret 0 or 1.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from mpc.arithmetic import aligned, multiply_out, term
from mpc.errors import OverflowRefusal, SecretError, ShapeError
from mpc.ir import Kind, Type
from mpc.language import secret
from mpc.place import here
from mpc.surface import OPERATIONS, Secret, plain_number, surface
from mpc.tracing import FUNCTIONS, Value
from mpc.types import raw_bound

__all__ = ["at_least", "compare", "is_negative", "is_zero", "where"]


def _width(x: Secret, op: str) -> int:
    return _width_of(x.type, op)


def _width_of(t: Type, op: str) -> int:
    bound = raw_bound(t)
    width = 2 + max(0, math.frexp(bound)[1]) if math.isfinite(bound) else 65
    if width > 64:
        raise OverflowRefusal(
            f"{op}: its operand may reach ±{t.bound:.6g} at {t.scale} fraction bits, {width} bits; declare a "
            "smaller range, mpc.share(x, range=(lo, hi)), or state one, mpc.assume_range(x, lo, hi)",
            here(),
        )
    return max(width - 1, 2)


def _test(op: str, x: Any) -> Secret:
    trace = surface()
    if not isinstance(x, Secret):
        raise SecretError(f"{op} takes a secret value", here())
    if x.type.unit < 0:
        x = multiply_out(x)
    value = trace.emit(op, [x], {"width": _width(x, op)})
    assert isinstance(value, Secret)
    return value


def is_negative(x: Any) -> Secret:
    """[x < 0], elementwise: secret 0 or 1 of x's shape, at scale 0, exact at x's own scale.

    x: secret, any shape, of a range that takes 63 bits at its scale. 2 rounds; bytes an element and peer: ⌈width/8⌉ for
    the bits that x's range takes at its scale, and one more (two above 33 bits). Security and source: the suite's
    `negative`.
    """
    return _test("negative", x)


def is_zero(x: Any) -> Secret:
    """[x = 0], elementwise: secret 0 or 1 of x's shape, at scale 0, exact at x's own scale.

    Range and rounds as `is_negative`; bytes as there, one for the second opening. Security and source: the suite's
    `zero`.
    """
    return _test("zero", x)


def at_least(x: Any, points: Any) -> Secret:
    """[x ≥ p] for every public p of a list, as secret 0 or 1; shape (*x.shape, len(points)).

    2 rounds; x is opened once, ⌈width/8⌉ bytes an element and peer for the width that its range and the points take at
    its scale, and each point costs a byte. Points between two numbers of that scale count as the next one up.
    Security and source: the suite's `below`.
    """
    trace = surface()
    if not isinstance(x, Secret):
        raise SecretError("mpc.at_least takes a secret value: mpc.share(x) first", here())
    x = multiply_out(x)
    listed = np.asarray(plain_number(points), dtype=object).ravel().tolist()
    if not listed:
        raise ShapeError("mpc.at_least needs at least one point", here())
    whole = [math.ceil(Fraction(p) * Fraction(2) ** x.type.scale) for p in listed]
    far = math.ldexp(max(abs(p) for p in whole), -x.type.scale)
    width = _width_of(x.type.but(lo=-x.type.bound - far), "at_least")
    value = trace.emit("below", [x], {"width": width, "points": whole})
    return 1 - value  # type: ignore[no-any-return]


def compare(op: str, x: Any, y: Any) -> Any:
    """x < y and its kin, elementwise; one operand is traced. Known values are compared where they are known."""
    kinds = {v.type.kind for v in (x, y) if isinstance(v, Value)}
    if Kind.SECRET not in kinds or not kinds <= {Kind.SECRET, Kind.CONST}:
        raise SecretError("compare secrets, or compare revealed numbers outside the program", here())
    match op:
        case "lt":
            return is_negative(x - y)
        case "gt":
            return is_negative(y - x)
        case "ge":
            return 1 - is_negative(x - y)
        case "le":
            return 1 - is_negative(y - x)
        case "eq":
            return is_zero(x - y)
    return 1 - is_zero(x - y)


def choose(condition: Secret, x: Any, y: Any) -> Any:
    """x where a secret condition is 0, y where it is 1: one product, and a range that spans no more than the two."""
    like = next((v for v in (x, y) if isinstance(v, Value)), condition)
    x, y = (secret(v if isinstance(v, Value) else term(v, like)) for v in (x, y))
    x, y = aligned(x, y, "choose")
    return surface().emit("choose", [condition, x, y])


def where(condition: Any, a: Any, b: Any) -> Any:
    """As `numpy.where`: for a public condition by choosing, for a secret one (0 or 1, a comparison) by one product.

    Shapes broadcast; the result has the larger of the two scales, exact, and a range that spans both. A secret
    condition costs 1 round more than it does itself: its opening and that of a − b, 8 bytes an element and peer each,
    unless they are wires already. Security: a product of the suite, so that nobody learns which was chosen.
    """
    if isinstance(condition, Secret):
        if condition.type.scale or condition.type.lo < 0 or condition.type.hi > 1:
            raise ShapeError("mpc.where takes a condition that is 0 or 1: a comparison", here())
        return choose(condition, b, a)
    if isinstance(condition, Value):
        raise SecretError(
            "mpc.where on a revealed condition is not in the language; choose outside the program", here()
        )
    chosen = np.asarray(condition, dtype=bool).astype(np.int64)
    return a * chosen + b * (1 - chosen)


OPERATIONS.update({op: partial(compare, op) for op in ("lt", "le", "gt", "ge", "eq", "ne")})
FUNCTIONS[np.where] = where
