"""Non-linear functions of a secret, as ops that a suite has a rule for."""

from __future__ import annotations

import math
from typing import Any

from mpc.arithmetic import multiply_out
from mpc.errors import OverflowRefusal, ProgramError, SecretError
from mpc.place import here
from mpc.series import HALF_PERIODS, series, series_params
from mpc.surface import Secret, surface, truncate

__all__ = ["sigmoid"]

_SCALE = 60  # of a sigmoid that nobody asked to be coarser: all that the ring has room for


def _split(scale: int, gain: float, terms: int) -> tuple[int, int]:
    """Bits of the public and of the dealt factors: so that both roundings weigh alike, summed over the terms."""
    lean = round(math.log2(2.0 * math.sqrt(terms / 0.6) / gain))
    dealt = max(2, min(31, (scale - lean) // 2))
    return scale - dealt, dealt


def sigmoid(u: Any, *, gain: float = 1.0, scale: int = _SCALE, terms: int | None = None) -> Secret:
    """gain · 1/(1 + e^−u), elementwise, as a sine series: the shortest one that is right on u's range.

    u: secret, any shape, of a declared, derived or stated range within ±245. gain: a public factor, folded into the
    series. scale: fraction bits of the result; fewer cost nothing but precision. terms: of the series; as many as its
    half period unless given, which is right to 4e-5.
    Error: the series' (4e-5 · gain; 4e-4 where u's range is within ±8), and a rounding that depends on masks, of 2^-30
    at the default scale; see `Type.noise`. Beyond the range the series would be silently wrong, so a wider range is
    refused.
    Cost: one opening of u (1 round, 8 bytes an element), 2·terms dealt words an element.
    Security: perfect given rule 1 (the opening has its own mask, the rest is linear in dealt values).
    Source: docs/decisions/integer-trigonometry.md; the identity sin(Δ − λ) = sin Δ cos λ − cos Δ sin λ.
    """
    trace = surface()
    if not isinstance(u, Secret):
        raise SecretError("mpc.sigmoid takes a secret value", here())
    if gain <= 0 or not math.isfinite(gain):
        raise ProgramError("mpc.sigmoid: gain is a positive number", here())
    if not 8 <= scale <= 62:
        raise ProgramError(f"mpc.sigmoid: its result has 8 to 62 fraction bits, not {scale}", here())
    u = multiply_out(u)
    known = [(half, half if terms is None else terms) for half in HALF_PERIODS]
    half, count = next((s for s in known if u.type.bound <= series(*s)[2]), known[-1])
    _, _, reach = series(half, count)
    if u.type.bound > reach:
        raise OverflowRefusal(
            f"sigmoid: its argument may reach ±{u.type.bound:.6g}, and the longest series is right up to ±{reach:.6g}; "
            "declare a smaller range where it is shared, mpc.share(x, range=(lo, hi)), or state it: "
            "mpc.assume_range(u, lo, hi)",
            here(),
        )
    u = truncate(u, u.type.scale + (4 * half).bit_length() - 65)
    params = {**series_params(half, count, gain, *_split(scale, gain, count)), "scale": u.type.scale}
    value = trace.emit("sigmoid", [u], params)
    assert isinstance(value, Secret)
    return value
