"""Sine and cosine in integers alone, and the sine series of the sigmoid.

A public number that multiplies shares must be the same at every party to the last bit: one unit of difference turns
the result into garbage. libm and BLAS differ between machines, so nothing here that a party evaluates touches a float:
angles are 64-bit fractions of a turn (the ring's own wrap is the circle's), results are two's complement words.

`sin_turns`: the nearest of 2^14 table angles, then sin(A + d) = S + d(C − d·S/2); |d| ≤ π/2^14, so that the cubic term
is below 2^-39. S and C stand at 38 bits, d at 37: every product stays under 2^63. Error before the last rounding, in
units of 2^-38: table 0.5, d 1.6 (its rounding 1, the constant 2π and the dropped angle bits 0.6), cubic term 0.4, last
shift 1, together below 2^-36. So a result is within 0.5 + 2^(bits − 36) ulp: 0.57 at 32 bits, 0.54 at 31.

`sine_series`: ½tanh(u/2), repeated with alternating signs every 2L, is smooth, odd and has period 4L; its Fourier
coefficients (the least squares over a period) are π / (L·sinh(π²(2j + 1)/(2L))). They come from `decimal`, whose exp is
correctly rounded, so they too are the same everywhere, and equal a least-squares fit on [0, L] up to e^-L.

`series_tables`: where its factors are coarse beside its coefficients (`by_turning`), every sixteenth sine and cosine
alone is looked up, at 30 bits, and each other odd multiple is the one before turned by 2·angle: four products of
32-bit words. A turn adds at most 1.6 units of 2^-30: 0.8 of its own sine and cosine, 0.7 of rounding both; 15 turns
and what they begin with, 25.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from functools import cache
from math import isqrt, log, sqrt

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MAX_BITS",
    "TURNS",
    "TURN_BITS",
    "angle_words",
    "by_turning",
    "cos_turns",
    "series_error",
    "series_noise",
    "series_tables",
    "sin_turns",
    "sincos_turns",
    "sine_series",
    "valid_reach",
]

Words = NDArray[np.uint64]
Ints = NDArray[np.int64]

MAX_BITS = 32
"""The finest result: 32 fraction bits."""

TABLE_BITS = 14
TURN_BITS = 30
"""Of a sine that is turned on: sines and their products fit 32 and 64 bits."""

TURNS = 16
"""Multiples from one that is looked up to the next."""

S_BITS = 38  # of a table entry
D_BITS = 37  # of the small angle d, in radians
TWO_PI_BITS = 23
TWO_PI = 52707179  # 2π · 2^23, rounded
REST = 64 - TABLE_BITS  # angle bits below the table's
DROP = 12  # angle bits that change nothing: what remains, times 2π, must stay under 2^63
D_SHIFT = 64 - DROP + TWO_PI_BITS - D_BITS
D_CENTRE = (1 << (REST - DROP - 1)) - (1 << (D_SHIFT - 1)) // TWO_PI  # less what makes the shift round to nearest
_COARSE = 12  # bits that a factor has less than its coefficient, where turning on is precise enough
_CHUNK = 1 << 14  # elements in one go: the scratch arrays stay in the cache
_PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")


@cache
def table() -> Ints:
    """sin(2π·i/2^14) at 38 bits for i < 5/4·2^14, each rounded to nearest; from square roots of big integers."""
    one = 1 << 160
    quarter = 1 << (TABLE_BITS - 2)
    cos, sin = 0, one  # of a quarter turn, halved until it is the table's step
    for _ in range(TABLE_BITS - 2):
        cos, sin = isqrt((one + cos) * one // 2), isqrt((one - cos) * one // 2)
    x, y, column = one, 0, []
    for _ in range(quarter + 1):
        column.append((y + (one >> (S_BITS + 1))) * (1 << S_BITS) // one)
        x, y = (x * cos - y * sin) // one, (y * cos + x * sin) // one
    rise = np.array(column, dtype=np.int64)
    half = np.concatenate((rise[:-1], rise[:0:-1]))
    values: Ints = np.concatenate((half, -half, half[:quarter]))
    values.setflags(write=False)
    return values


class _Scratch:
    """Arrays of one chunk, reused for all chunks of a call."""

    def __init__(self, size: int) -> None:
        self.turn = np.empty(size, dtype=np.uint64)
        self.index, self.d, self.sin, self.cos, self.sum = (np.empty(size, dtype=np.int64) for _ in range(5))


def _locate(angle: Words, s: _Scratch, m: int) -> None:
    """The table's sine and cosine nearest to each angle, and the small angle d that is left."""
    values = table()
    turn, index, d = s.turn[:m], s.index[:m], s.d[:m]
    np.add(angle, np.uint64(1 << (REST - 1)), out=turn)
    np.right_shift(turn, np.uint64(REST), out=index.view(np.uint64))
    np.right_shift(turn, np.uint64(DROP), out=turn)
    np.bitwise_and(turn, np.uint64((1 << (REST - DROP)) - 1), out=turn)
    np.subtract(turn.view(np.int64), np.int64(D_CENTRE), out=d)
    np.multiply(d, np.int64(TWO_PI), out=d)
    np.right_shift(d, np.int64(D_SHIFT), out=d)
    np.take(values, index, out=s.sin[:m], mode="clip")
    np.take(values[1 << (TABLE_BITS - 2) :], index, out=s.cos[:m], mode="clip")


def _turn_by(s: _Scratch, m: int, *, cosine: bool, bits: int, out: Ints) -> None:
    """S + d(C − d·S/2), or C − d(S + d·C/2), rounded to `bits`."""
    first, second, d, acc = (s.cos if cosine else s.sin)[:m], (s.sin if cosine else s.cos)[:m], s.d[:m], s.sum[:m]
    np.multiply(first, d, out=acc)
    np.right_shift(acc, np.int64(D_BITS + 1), out=acc)
    (np.add if cosine else np.subtract)(second, acc, out=acc)
    np.multiply(acc, d, out=acc)
    np.right_shift(acc, np.int64(D_BITS), out=acc)
    (np.subtract if cosine else np.add)(first, acc, out=acc)
    np.add(acc, np.int64(1 << (S_BITS - bits - 1)), out=acc)
    np.right_shift(acc, np.int64(S_BITS - bits), out=out)


def _evaluate(angle: Words, bits: int, which: tuple[bool, ...]) -> list[Words]:
    """Sine (False) and cosine (True) as asked, chunk by chunk."""
    if not 1 <= bits <= MAX_BITS:
        raise ValueError(f"sine and cosine have 1 to {MAX_BITS} fraction bits, not {bits}")
    if angle.dtype != np.uint64:
        raise TypeError(f"angles are uint64 fractions of a turn, not {angle.dtype}")
    flat = np.ascontiguousarray(angle).reshape(-1)
    outs = [np.empty(flat.size, dtype=np.int64) for _ in which]
    scratch = _Scratch(min(_CHUNK, flat.size))
    for at in range(0, flat.size, _CHUNK):
        part = flat[at : at + _CHUNK]
        _locate(part, scratch, part.size)
        for cosine, out in zip(which, outs, strict=True):
            _turn_by(scratch, part.size, cosine=cosine, bits=bits, out=out[at : at + part.size])
    return [out.view(np.uint64).reshape(angle.shape) for out in outs]


def sin_turns(angle: Words, bits: int) -> Words:
    """sin(2π·angle/2^64) · 2^bits as two's complement words, the same on every machine.

    angle: uint64 of any shape, fractions of a turn; the result has its shape. bits: 1 to 32. Within
    0.5 + 2^(bits − 36) ulp of the true sine. Raises ValueError for other bits, TypeError for a dtype other than uint64.
    Source: table look-up with a Taylor step, as in Tang, "Table-lookup algorithms for elementary functions" (1991),
    here in integers.
    """
    return _evaluate(angle, bits, (False,))[0]


def cos_turns(angle: Words, bits: int) -> Words:
    """cos(2π·angle/2^64) · 2^bits; shapes, error and refusals as `sin_turns`."""
    return _evaluate(angle, bits, (True,))[0]


def sincos_turns(angle: Words, bits: int) -> tuple[Words, Words]:
    """Both, for about two thirds of the time of the two calls; equal to them bit by bit."""
    sine, cosine = _evaluate(angle, bits, (False, True))
    return sine, cosine


def angle_words(words: Words, scale: int, half: int) -> Words:
    """The angle πu/(2L) of ring integers u·2^scale, as fractions of a turn: a shift, in which every wrap is harmless.

    half: L, a power of two, so that the period 4L divides the ring. Raises ValueError if L is none, or if
    scale + log2(4L) is above 64: the ring would then be shorter than a period.
    """
    if half < 1 or half & (half - 1):
        raise ValueError(f"half a sine period must be a power of two, not {half}")
    shift = 64 - scale - (4 * half).bit_length() + 1
    if not 0 <= shift < 64:
        raise ValueError(f"a period of {4 * half} at scale {scale} does not fit the ring: use another scale")
    return np.left_shift(words, np.uint64(shift))


def sine_series(half: int, terms: int, slope: float = 1.0, *, bits: int) -> tuple[int, ...]:
    """Integers b_j · 2^bits with σ(slope·u) ≈ ½ + Σ_{j<terms} b_j · sin((2j + 1)πu/(2·half)).

    half: L, a quarter of the period in u. slope: the slope, for an argument whose unit is not 1. The largest error on
    |u| ≤ `valid_reach` is `series_error`: for L = 16 and 8, 12, 16 terms (L = 32 and 16, 24, 32) 4e-3, 4e-4, 3e-5.
    The same integers on every machine. Raises ValueError for anything not positive.
    """
    if half < 1 or terms < 1 or slope <= 0 or bits < 1:
        raise ValueError(f"not a sine series: half {half}, terms {terms}, slope {slope}, bits {bits}")
    with localcontext(Context(prec=60, rounding=ROUND_HALF_EVEN)):
        stretch = Decimal(slope) * half
        coefficients = []
        for j in range(terms):
            grown = (_PI * _PI * (2 * j + 1) / (2 * stretch)).exp()
            b = 2 * _PI / (stretch * (grown - 1 / grown))
            coefficients.append(int((b * (1 << bits)).to_integral_value()))
    return tuple(coefficients)


def valid_reach(half: int, error: float, slope: float = 1.0) -> float:
    """Up to which |u| a series holds: 2L − ln(1/error)/slope, where the mirror image is `error` away from 1.

    error: the series' own, `series_error(half, terms, half)`; up to the reach the sum of both stays below twice that.
    Beyond, the series is silently wrong.
    """
    return 2 * half - log(1 / error) / slope


def series_error(half: int, terms: int, reach: float, slope: float = 1.0) -> float:
    """The largest |series − σ(slope·u)| over |u| ≤ reach, measured in float64 on a grid of 64 points a unit."""
    u = np.linspace(0.0, reach, max(4096, int(64 * reach * max(slope, 1.0)) + 1))
    angle = np.pi * u / (2 * half)
    b = np.array(sine_series(half, terms, slope, bits=50), dtype=np.float64) / 2.0**50
    series = sum((c * np.sin((2 * j + 1) * angle) for j, c in enumerate(b)), start=np.zeros_like(u))
    return float(np.max(np.abs(series - np.tanh(slope * u / 2) / 2)))


def series_noise(coefficients: tuple[int, ...], cbits: int, public_bits: int, dealt_bits: int) -> float:
    """The standard deviation of the part of a series' error that depends on masks; E|error| is 0.8 of it.

    Every public factor is rounded to p bits and every dealt one to q: σ² = (Σb²·2^-2q + K·2^-2p)/12: for each j
    two roundings meet a sine and a cosine of one angle, and sin² + cos² = 1. It stands in a program's text, so it is
    the same number with every Python: a sum of integers, divided once (`sum` of floats is another one from 3.12 on).
    """
    power = sum(c * c for c in coefficients) / 4**cbits
    return sqrt((power * 4.0**-dealt_bits + len(coefficients) * 4.0**-public_bits) / 12)


def series_tables(
    angle: Words, odd: tuple[int, ...], coefficients: tuple[int, ...], cbits: int, bits: int
) -> tuple[Words, Words]:
    """The public factors b_j·sin(k_j·angle) and b_j·cos(k_j·angle) at `bits`, words of shape (len(odd), *angle.shape).

    angle: uint64 fractions of a turn, as from `angle_words` of an opened Δ = u + λ. odd: the multiples k_j; 1, 3, 5, …
    for a `sine_series`. coefficients: b_j · 2^cbits, below 2^30 in magnitude. Each factor is within
    0.5 + 0.6·|b_j|·2^(bits − 32) ulp, or, `by_turning`, 0.5 + 25·|b_j|·2^(bits − 30), which is below 0.507. With
    [cos kλ] and [sin kλ] dealt at q bits,

        Σ_j sines[j]·[cos k_jλ] − cosines[j]·[sin k_jλ]  =  Σ_j b_j sin(k_j u)      at bits + q

    (plus instead of minus where Δ = u − λ). Raises ValueError if the lengths differ, if a coefficient is too large, or
    if `bits` is below 1 or not between cbits − 31 and cbits + 31.
    """
    if len(odd) != len(coefficients):
        raise ValueError(f"{len(odd)} multiples but {len(coefficients)} coefficients")
    if any(abs(c) >= 1 << 30 for c in coefficients):
        raise ValueError("a coefficient is 2^30 or more: use fewer coefficient bits")
    drop = MAX_BITS + cbits - bits
    if bits < 1 or not 1 <= drop < 64:
        raise ValueError(f"public factors at {bits} bits cannot come from coefficients at {cbits}")
    if by_turning(odd, cbits, bits):
        return _turned(angle, coefficients, TURN_BITS + cbits - bits)
    factors = sincos_turns(np.multiply.outer(np.array(odd, dtype=np.uint64), angle), MAX_BITS)
    weights = np.array(coefficients, dtype=np.int64).reshape(-1, *(1,) * angle.ndim)
    for factor in factors:
        signed = factor.view(np.int64)
        np.multiply(signed, weights, out=signed)
        np.add(signed, np.int64(1 << (drop - 1)), out=signed)
        np.right_shift(signed, np.int64(drop), out=signed)
    return factors


def by_turning(odd: tuple[int, ...], cbits: int, bits: int) -> bool:
    """Whether `series_tables` turns each multiple on from the one before: of 1, 3, 5, … and for coarse factors."""
    return cbits - bits >= _COARSE and odd == tuple(range(1, 2 * len(odd), 2))


def _turned(angle: Words, coefficients: tuple[int, ...], drop: int) -> tuple[Words, Words]:
    rows, count = -(-len(coefficients) // TURNS), len(coefficients)
    first = np.arange(1, 2 * TURNS * rows, 2 * TURNS, dtype=np.uint64)
    waves = np.stack(sincos_turns(np.multiply.outer(first, angle), TURN_BITS)).view(np.int64)
    sine, cosine = (part.view(np.int64) for part in sincos_turns(np.left_shift(angle, np.uint64(1)), TURN_BITS))
    across = np.stack((sine, -sine))[:, np.newaxis]
    weights = np.array(coefficients, np.int64).reshape(-1, *(1,) * angle.ndim)
    out = np.empty((2, count, *angle.shape), np.int64)
    half, rounding = np.int64(1 << (TURN_BITS - 1)), np.int64(1 << (drop - 1))
    for turn in range(min(TURNS, count)):
        weight = weights[turn::TURNS]
        factors = waves[:, : len(weight)] * weight
        factors += rounding
        np.right_shift(factors, drop, out=out[:, turn::TURNS])
        turned = waves[::-1] * across
        waves *= cosine
        waves += turned
        waves += half
        waves >>= TURN_BITS
    sines, cosines = out.view(np.uint64)
    return sines, cosines
