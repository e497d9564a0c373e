"""Comparison with zero by one-hot tables: two rounds, any number of parties, an arithmetic result.

x is opened as c = x + r modulo 2^k. With both numbers in bytes, the dealer's one-hot words of r say, byte by byte and
without talking, whether r_j > c_j and whether r_j = c_j, as XOR-shared bits. These are opened under masks of their own;
products of the bits are then linear in products of the masks, which the dealer shares as numbers.

Source: the table look-up goes back to Ishai, Kushilevitz, Meldgaard, Orlandi, Paskin-Cherniavsky, "On the power of
correlated randomness" (2013); the combination with an arithmetic opening is in docs/decisions/comparison.md.
"""

from __future__ import annotations

from functools import reduce
from itertools import combinations
from operator import add
from typing import Any

import numpy as np

import mpc
from mpc import bit, deal, look, masked_low, onehot

Bits = frozenset[int]


class _Products:
    """Products of opened bits as linear combinations of dealt products of their masks.

    A bit is E + (1 − 2E)·β with E public and β its mask, so a product over a set of bits is the sum over subsets S of
    Π_{∉S} E · Π_{∈S} (1 − 2E) · Π_{∈S} β. Every dealt product is multiplied by `factor`, what only the dealer knows.
    Products are built from the highest bit downwards and kept, so that those which begin alike share their beginning.
    """

    def __init__(self, opened: Any, masks: Any, factor: Any) -> None:
        self._opened, self._masks = opened, masks
        self._coefficients: dict[tuple[int, ...], Any] = {}
        self._halves: dict[int, tuple[Any, Any]] = {}
        self._public: dict[tuple[tuple[int, bool], ...], Any] = {}
        self._dealt: dict[tuple[int, ...], Any] = {(): factor}

    def add(self, bits: Bits) -> None:
        """Add the product of these bits to the sum."""
        falling = sorted(bits, reverse=True)
        for size in range(len(bits) + 1):
            for chosen in combinations(falling, size):
                term = self._coefficient(tuple((i, i in chosen) for i in falling))
                before = self._coefficients.get(chosen)
                self._coefficients[chosen] = term if before is None else before + term

    def total(self) -> Any:
        """The sum, times the factor, as a share."""
        terms = []
        for chosen, coefficient in self._coefficients.items():
            product = self._of_masks(chosen)
            terms.append(coefficient * (product if isinstance(product, int) else deal(product)))
        return reduce(add, terms)

    def _coefficient(self, factors: tuple[tuple[int, bool], ...]) -> Any:
        """The product over (bit, whether its mask stands for it) of 1 − 2E or E."""
        if factors not in self._public:
            *before, (i, masked) = factors
            if i not in self._halves:
                e = bit(self._opened, i)
                self._halves[i] = e, 1 - 2 * e
            last = self._halves[i][masked]
            self._public[factors] = self._coefficient(tuple(before)) * last if before else last
        return self._public[factors]

    def _of_masks(self, chosen: tuple[int, ...]) -> Any:
        """The factor times the masks of these bits: an integer, or what only the dealer knows."""
        if chosen not in self._dealt:
            before, last = self._of_masks(chosen[:-1]), bit(self._masks, chosen[-1])
            self._dealt[chosen] = last if isinstance(before, int) else before * last
        return self._dealt[chosen]


@mpc.protocol
def negative(x: Any, width: int) -> Any:
    """[x < 0] as a number 0 or 1, elementwise, for |x| < 2^(width − 1).

    2 rounds: ⌈width/8⌉ bytes an element (none, and 1 round, where x is a wire already), then 2J − 1 bits for J bytes.
    Dealt: 32·J bytes of one-hot words and 3·2^J − 2 words or fewer. Perfectly private: both openings are masked.
    """
    c, r = masked_low(x, width)
    return _sign(c, r, deal(onehot(r, width)), width)


@mpc.protocol
def below(x: Any, width: int, points: list[int]) -> Any:
    """[x < p] for every public p, elementwise, new last axis; |x − p| < 2^(width − 1).

    As `negative`, and x is opened once for all points: each costs 2J − 1 bits and 3·2^J − 2 dealt words or fewer. They
    share the one-hot words too: what is opened of them has masks of its own at every point.
    """
    c, r = masked_low(x, width)
    hot = deal(onehot(r, width))
    words = hot.shape[-2:]
    each = mpc.broadcast_to(hot.reshape((*x.shape, 1, *words)), (*x.shape, len(points), *words))
    return _sign(c.reshape((*x.shape, 1)) - np.array(points, dtype=object), r.reshape((*x.shape, 1)), each, width)


def _sign(c: Any, r: Any, hot: Any, width: int) -> Any:
    """The sign of c − r modulo 2^width; `hot`: shares of r's one-hot words."""
    n = (width + 6) // 8
    masks = mpc.mask(c.shape, bits=2 * n - 1)
    opened = mpc.open(look(hot, c, width, "less") + masks)
    sign_c, sign_r = bit(c, width - 1), bit(r, width - 1)
    borrow = _Products(opened, masks, 1 - 2 * sign_r)
    for j in range(n):  # r_j > c_j, and all bytes above are equal
        borrow.add(frozenset({j, *range(n + j, 2 * n - 1)}))
    return sign_c + (1 - 2 * sign_c) * (deal(sign_r) + borrow.total())


@mpc.protocol
def zero(x: Any, width: int) -> Any:
    """[x = 0] as a number 0 or 1, elementwise, for |x| < 2^(width − 1). As `negative`; J bits in the second round."""
    c, r = masked_low(x, width)
    n = (width + 6) // 8
    masks = mpc.mask(x.shape, bits=n)
    opened = mpc.open(look(deal(onehot(r, width)), c, width, "equal") + masks)
    equal = _Products(opened, masks, 1)
    equal.add(frozenset(range(n)))
    return equal.total()
