"""The default suite: a secret value wears one mask for its whole life.

A wire x is the public Δ = x + λ and shares of λ, which the dealer knows. `masked(x)` gives the pair; it is opened at
most once per value, whatever uses it, so a product costs the opening of its own output and nothing else.

Source: Ben-Efraim, Nielsen, Omri, "Turbospeedz" (2019); Patra, Schneider, Suresh, Yalame, "ABY2.0" (2021).
"""

from __future__ import annotations

import itertools
from typing import Any

import mpc
from mpc import Wrapped, cross, deal, masked, msb, series, terms, waves
from protocols import compare

Pair = tuple[Any, Any]


def product(x: Pair, y: Pair) -> Any:
    """(Δx − λx)(Δy − λy) of two wires, elementwise, with the two terms of Δx in one: two products at each party.

    Scales add. Dealt: one word an element. Perfectly private against n − 1 semi-honest parties.
    """
    (dx, lx), (dy, ly) = x, y
    return dx * (dy - ly) - lx * dy + deal(lx * ly)


@mpc.protocol
def multiply(x: Any, y: Any) -> Any:
    """x · y, elementwise, term by term.

    No round of its own: openings of x and y, once each and shared with all their other uses; none for an operand that
    a truncation gave as Δ − λ + q·v. As q is public, q·v·(Δ − λ) is linear in the dealt v and v·λ. Dealt: one word an
    element for each product of masks: 1, 2 with one operand that was truncated, 4 with two.
    """
    ((dx, lx), wraps_x), ((dy, ly), wraps_y) = terms(x), terms(y)
    z = product((dx, lx), (dy, ly))
    for q, v in wraps_x:
        z = z + q * (v * dy - deal(v * ly))
    for q, v in wraps_y:
        z = z + q * (dx * v - deal(lx * v))
    for (q, v), (r, w) in itertools.product(wraps_x, wraps_y):
        z = z + q * r * deal(v * w)
    return z


@mpc.protocol
def matmul(x: Any, y: Any) -> Any:
    """x @ y, as `product`: Δx@Δy − Δx@λy − λx@Δy, and λx@λy, one word an element of the result, from the dealer.

    No round of its own: openings of x and y, once each and shared with their other uses.
    """
    (dx, lx), (dy, ly) = masked(x), masked(y)
    return cross(dx, lx, dy, ly) + deal(lx @ ly)


@mpc.protocol(rounding=1)
def truncate(x: Any, by: int) -> Any:
    """⌊x / 2^by⌋ or one more, for |x| < 2^62 and 1 ≤ by ≤ 62; exact about the wrap of the ring.

    A value that is a wire already costs nothing to truncate; otherwise its opening, 1 round. Dealt: 2 words an element.
    With c = x + 2^62 + λ it is (c ≫ by) − 2^(62−by) − (λ ≫ by), and 2^(64−by) more where c wrapped around the ring:
    where the msb of λ is set, and that of c is not. That is a wire but for its wrap, of which elementwise products
    make use; see docs/decisions/truncated-products.md.
    Rounding is public-coin: what is cut off is not hidden once the result is revealed.
    Source: Escudero, Ghosh, Keller, Rachuri, Scholl, "Improved primitives for MPC over mixed circuits" (2020).
    """
    d, lam = masked(x)
    c = d + (1 << (x.bits - 2))
    wrap = deal(msb(lam) << (x.bits - by))
    return Wrapped((c >> by) - (1 << (x.bits - 2 - by)), deal(lam >> by), 1 - msb(c), wrap)


@mpc.protocol
def sigmoid(x: Any, *, coefficients: list[int], cbits: int, p: int, q: int, half: int, shift: int) -> Any:
    """half + Σ b_j sin(k_j u), k = 1, 3, 5, …, where u·2^shift is an angle whose full turn is the ring.

    The opening of x and 2·K dealt words an element for K terms. With Δ = u + λ,
    sin k(Δ − λ) = sin kΔ cos kλ − cos kΔ sin kλ is linear in what the dealer shares.
    Public factors have p bits, dealt ones q, the result p + q.
    """
    d, lam = masked(x)
    odd = range(1, 2 * len(coefficients), 2)
    sin_d, cos_d = series(d, odd=odd, coefficients=coefficients, cbits=cbits, bits=p, shift=shift)
    sin_l, cos_l = waves(lam, odd=odd, bits=q, shift=shift)
    return (sin_d * deal(cos_l) - cos_d * deal(sin_l)).sum(axis=0) + half


SUITE = mpc.Suite(
    "masked",
    {
        "multiply": multiply,
        "matmul": matmul,
        "truncate": truncate,
        "sigmoid": sigmoid,
        "negative": compare.negative,
        "zero": compare.zero,
        "below": compare.below,
    },
    memoise=True,
)
