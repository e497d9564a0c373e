"""Non-linear functions of a secret, as ops that a suite has a rule for."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from mpc.errors import OverflowRefusal, SecretError
from mpc.surface import Secret, multiply_out, surface, truncate
from mpc.tracing import here
from mpc.trig import series_error, series_noise, sine_series, valid_reach

__all__ = ["sigmoid"]

_HALF_PERIODS = (8, 16, 32, 64, 128)
_SCALE = 60  # of a sigmoid that nobody asked to be coarser: all that the ring has room for


@cache
def _series(half: int, terms: int) -> tuple[tuple[int, ...], float, float]:
    """Coefficients at 50 bits, largest error, and the reach up to which the error holds."""
    error = 2 * series_error(half, terms, float(half))
    return sine_series(half, terms, bits=50), error, valid_reach(half, error / 2)


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
    Error: the series' (4e-5 · gain), and a rounding that depends on masks, of 2^-30 at the default scale; see
    `Type.noise`. Beyond the range the series would be silently wrong, so a wider range is refused.
    Cost: one opening of u (1 round, 8 bytes an element), 2·terms dealt words an element.
    Security: perfect given rule 1 (the opening has its own mask, the rest is linear in dealt values).
    Source: docs/decisions/sigmoid.md; the identity sin(Δ − λ) = sin Δ cos λ − cos Δ sin λ.
    """
    trace = surface()
    if not isinstance(u, Secret):
        raise SecretError("mpc.sigmoid takes a secret value", here())
    if gain <= 0 or not math.isfinite(gain):
        raise SecretError("mpc.sigmoid: gain is a positive number", here())
    u = multiply_out(u)
    series = [(half, half if terms is None else terms) for half in _HALF_PERIODS]
    half, count = next((s for s in series if u.type.bound <= _series(*s)[2]), series[-1])
    coefficients, error, reach = _series(half, count)
    if u.type.bound > reach:
        raise OverflowRefusal(
            f"sigmoid: its argument may reach ±{u.type.bound:.6g}, and the longest series is right up to ±{reach:.6g}; "
            "declare a smaller range where it is shared, mpc.share(x, range=(lo, hi)), or state it: "
            "mpc.assume_range(u, lo, hi)",
            here(),
        )
    period = (4 * half).bit_length() - 1
    u = truncate(u, u.type.scale + period - 64)
    p, q = _split(scale, gain, count)
    cbits = min(62, 29 - math.frexp(gain)[1])
    scaled = [round(c * gain * 2.0 ** (cbits - 50)) for c in coefficients]
    noise = 0.8 * series_noise(tuple(scaled), cbits, p, q)
    params = {
        "coefficients": scaled, "cbits": cbits, "period": period, "p": p, "q": q, "gain": gain, "error": error,
        "reach": reach, "noise": noise, "half": round(gain * 2.0 ** (scale - 1)), "scale": u.type.scale,
    }  # fmt: skip
    value = trace.emit("sigmoid", [u], params)
    assert isinstance(value, Secret)
    return value
