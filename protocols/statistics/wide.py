"""Products of numbers that together are wider than the ring: one of them in words."""

from __future__ import annotations

import math
from typing import Any

import mpc
from mpc.tracing import current_trace

_ROOM = 60  # bits of a product


def wide(x: Any, y: Any, bits: int, bound: float) -> Any:
    """x·y elementwise at `bits` fraction bits, for |x·y| ≤ bound, however wide x is.

    x is cut into words from above, each with as many bits as y leaves room for; |y| takes 48 bits at most. Error: one
    unit of 2^-bits for each word, and one of x times |y|. Cost: a round for the cuts, of each word a product and a
    truncation.
    """
    room = _ROOM - _width(y)
    if room < 12:
        raise mpc.OverflowRefusal(f"an operand of {_width(y)} bits leaves no room for the other one's words")
    scales = [x.type.scale - max(0, _width(x) - room)]
    while scales[-1] < x.type.scale:
        scales.append(min(x.type.scale, scales[-1] + room - 2))
    cuts = [mpc.rescale(x, scale) for scale in scales]
    words = [cuts[0]]
    words += [
        mpc.bounded(b - a, -(2.0 ** (1 - s)), 2.0 ** (1 - s)) for a, b, s in zip(cuts, cuts[1:], scales, strict=False)
    ]
    products: list[Any] = [current_trace().emit("mul", [word, y]) for word in words]
    return mpc.bounded(sum(mpc.rescale(p, bits) if p.type.scale > bits else p for p in products), -bound, bound)


def _width(x: Any) -> int:
    """Bits of the integers behind a value, without their sign."""
    return max(1, math.ceil(math.log2(max(x.type.bound, 2.0**-1000))) + int(x.type.scale))
