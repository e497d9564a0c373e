"""The sine series behind a sigmoid: which one serves which range, and whether a text's is what it says."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from mpc.errors import ProgramError
from mpc.trig import series_error, series_noise, sine_series, valid_reach

__all__ = ["HALF_PERIODS", "check_series", "series", "series_params"]

HALF_PERIODS = (8, 16, 32, 64, 128)


@cache
def series(half: int, terms: int) -> tuple[tuple[int, ...], float, float]:
    """Coefficients at 50 bits, largest error, and the reach up to which the error holds."""
    error = 2 * series_error(half, terms, float(half))
    return sine_series(half, terms, bits=50), error, valid_reach(half, error / 2)


def series_params(half: int, terms: int, gain: float, p: int, q: int) -> dict[str, Any]:
    """All that a sigmoid op says of its series. half: L; p, q: bits of the public and of the dealt factors."""
    coefficients, error, reach = series(half, terms)
    cbits = min(62, 29 - math.frexp(gain)[1])
    scaled = [round(c * gain * 2.0 ** (cbits - 50)) for c in coefficients]
    return {
        "coefficients": scaled, "cbits": cbits, "period": (4 * half).bit_length() - 1, "p": p, "q": q, "gain": gain,
        "error": error, "reach": reach, "noise": 0.8 * series_noise(tuple(scaled), cbits, p, q),
        "half": round(gain * 2.0 ** (p + q - 1)),
    }  # fmt: skip


def check_series(params: dict[str, Any], where: str) -> None:
    """Refuse a series that is not the one its period, terms and gain give (rules 8 and 13 rest on its figures).

    Its error and reach were measured in floats, which may differ in their last digits from machine to machine.
    """
    half, terms = (1 << params["period"]) >> 2 if 0 < params["period"] < 64 else 0, len(params["coefficients"])
    bits = 1 <= params["q"] <= 32 and params["p"] >= 1 and params["p"] + params["q"] <= 62
    if half not in HALF_PERIODS or not 1 <= terms <= 4 * half or not 0 < params["gain"] < 2.0**32 or not bits:
        raise ProgramError("sigmoid: there is no such series", where)
    own = series_params(half, terms, params["gain"], params["p"], params["q"])
    for name, value in own.items():
        near = isinstance(value, float) and math.isclose(value, params[name], rel_tol=1e-6)
        if not near and params[name] != value:
            raise ProgramError(f"sigmoid: the text's {name} is not that of its series", where)
