"""The domains a program computes in: the ring of k-bit integers, and the reals for what one owner does alone.

A domain is an object with one method for each arithmetic operation; kernels, engine and dealer are given one and never
ask which. A prime field comes beside `Ring` with the same methods. The width is a parameter so that tests can enumerate
every random choice over Z_4 or Z_8.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mpc import native

__all__ = ["RING64", "Bits", "Domain", "Domains", "Reals", "Ring", "Shared"]

Values = NDArray[Any]


class Domain(Protocol):
    """What a domain must be able to do; every argument and result is an array of its elements."""

    bits: int

    def literal(self, value: object) -> Values:
        """Python integers as elements."""

    def add(self, x: Values, y: Values) -> Values:
        """x + y, elementwise."""

    def sub(self, x: Values, y: Values) -> Values:
        """x − y, elementwise."""

    def neg(self, x: Values) -> Values:
        """−x."""

    def mul(self, x: Values, y: Values) -> Values:
        """x · y, elementwise."""

    def matmul(self, x: Values, y: Values) -> Values:
        """Matrix product, as `numpy.matmul`."""

    def sum(self, x: Values, axes: tuple[int, ...], keepdims: bool) -> Values:
        """The sum over axes."""


def _word(value: int) -> Values:
    word = np.array(value, np.uint64)
    word.flags.writeable = False
    return word


_WORDS = [_word(i) for i in range(64)]
_MASKS = [_word((1 << i) - 1) for i in range(65)]


class Ring:
    """Z_2^bits, elements held in uint64 words; two's complement where a sign is meant.

    Single words are arrays too (`out=...`): numpy takes longer for its scalars.
    """

    def __init__(self, bits: int = 64) -> None:
        if not 2 <= bits <= 64:
            raise ValueError(f"a ring has 2 to 64 bits, not {bits}")
        self.bits = bits
        self._mask = _MASKS[bits]

    def __repr__(self) -> str:
        return f"Ring({self.bits})"

    def reduce(self, x: Values) -> Values:
        """Words modulo 2^bits."""
        return x if self.bits == 64 else np.bitwise_and(x, self._mask, out=...)

    def literal(self, value: object) -> Values:
        """Python integers (nested lists, arrays of ints) as elements, any sign and size."""
        if isinstance(value, np.ndarray) and value.dtype.kind in "iu":
            return self.reduce(value.astype(np.uint64))
        whole = np.asarray(value, dtype=object)
        flat = [int(v) & ((1 << self.bits) - 1) for v in whole.ravel()]
        return np.array(flat, dtype=np.uint64).reshape(whole.shape)

    def signed(self, x: Values) -> NDArray[np.int64]:
        """Elements as integers in [−2^(bits−1), 2^(bits−1))."""
        up = np.uint64(64 - self.bits)
        return np.right_shift(np.left_shift(x, up).view(np.int64), up.astype(np.int64))

    def add(self, x: Values, y: Values) -> Values:
        """x + y."""
        return self.reduce(np.add(x, y, out=...))

    def sub(self, x: Values, y: Values) -> Values:
        """x − y."""
        return self.reduce(np.subtract(x, y, out=...))

    def neg(self, x: Values) -> Values:
        """−x."""
        return self.reduce(np.subtract(_WORDS[0], x, out=...))

    def mul(self, x: Values, y: Values) -> Values:
        """x · y, elementwise."""
        return self.reduce(np.multiply(x, y, out=...))

    def matmul(self, x: Values, y: Values) -> Values:
        """Matrix product, as `numpy.matmul`."""
        return self.reduce(native.matmul(x, y))

    def sum(self, x: Values, axes: tuple[int, ...], keepdims: bool) -> Values:
        """The sum over axes."""
        return self.reduce(np.add.reduce(x, axis=axes, keepdims=keepdims, dtype=np.uint64, out=...))

    def shl(self, x: Values, by: int) -> Values:
        """x · 2^by."""
        return self.reduce(np.left_shift(x, _WORDS[by], out=...)) if by < 64 else np.zeros_like(x)

    def shr(self, x: Values, by: int) -> Values:
        """⌊x / 2^by⌋ of the element as an unsigned integer."""
        return np.right_shift(x, _WORDS[by], out=...)

    def msb(self, x: Values) -> Values:
        """The most significant bit, as 0 or 1."""
        return np.right_shift(x, _WORDS[self.bits - 1], out=...)

    def low(self, x: Values, width: int) -> Values:
        """x modulo 2^width."""
        return x if width >= self.bits else np.bitwise_and(x, _MASKS[width], out=...)


class Bits:
    """Words of up to 64 bits under exclusive or: Boolean sharing, packed. Addition is its own inverse."""

    def __init__(self, bits: int) -> None:
        if not 1 <= bits <= 64:
            raise ValueError(f"a word has 1 to 64 bits, not {bits}")
        self.bits = bits
        self._mask = np.uint64((1 << bits) - 1)

    def __repr__(self) -> str:
        return f"Bits({self.bits})"

    def reduce(self, x: Values) -> Values:
        """The low `bits` of each word."""
        return x if self.bits == 64 else np.bitwise_and(x, self._mask)

    def literal(self, value: object) -> Values:
        """Python integers as words."""
        return self.reduce(RING64.literal(value))

    def add(self, x: Values, y: Values) -> Values:
        """x ⊕ y."""
        return np.bitwise_xor(x, y)

    def sub(self, x: Values, y: Values) -> Values:
        """x ⊕ y."""
        return np.bitwise_xor(x, y)

    def neg(self, x: Values) -> Values:
        """x itself."""
        return x

    def mul(self, x: Values, y: Values) -> Values:
        """x ∧ y, bit by bit."""
        return np.bitwise_and(x, y)

    def matmul(self, x: Values, y: Values) -> Values:
        """Refused: words have no matrix product."""
        raise TypeError(f"packed bits have no matrix product (shapes {x.shape}, {y.shape})")

    def sum(self, x: Values, axes: tuple[int, ...], keepdims: bool) -> Values:
        """The exclusive or over axes."""
        if keepdims:
            return np.asarray(np.bitwise_xor.reduce(x, axis=axes, keepdims=True))
        return np.asarray(np.bitwise_xor.reduce(x, axis=axes))

    def low(self, x: Values, width: int) -> Values:
        """The low `width` bits, and never more than the word has."""
        return np.bitwise_and(x, np.uint64((1 << min(width, self.bits)) - 1))


Shared = Ring | Bits
"""The domains in which values are shared."""


class Reals:
    """float64, for what an owner computes alone on its own data and for arithmetic on revealed numbers."""

    bits = 64

    def literal(self, value: object) -> Values:
        """Numbers as float64."""
        return np.asarray(value, dtype=np.float64)

    def add(self, x: Values, y: Values) -> Values:
        """x + y."""
        return np.add(x, y)

    def sub(self, x: Values, y: Values) -> Values:
        """x − y."""
        return np.subtract(x, y)

    def neg(self, x: Values) -> Values:
        """−x."""
        return np.negative(x)

    def mul(self, x: Values, y: Values) -> Values:
        """x · y."""
        return np.multiply(x, y)

    def matmul(self, x: Values, y: Values) -> Values:
        """Matrix product."""
        return np.asarray(np.matmul(x, y))

    def sum(self, x: Values, axes: tuple[int, ...], keepdims: bool) -> Values:
        """The sum over axes, in pairs: numpy does so along the last axis of an array as it lies in memory only."""
        rest = [i for i in range(x.ndim) if i not in axes]
        lying = np.ascontiguousarray(x.transpose(*rest, *axes)).reshape(*(x.shape[i] for i in rest), -1)
        found = np.asarray(np.sum(lying, axis=-1))
        return np.expand_dims(found, axes) if keepdims else found


RING64 = Ring(64)


class Domains:
    """The domain for each number of packed bits: 0 means the ring of a program."""

    def __init__(self, bits: int) -> None:
        self.ring = Ring(bits)
        self._words: dict[int, Bits] = {}

    def __getitem__(self, bits: int) -> Shared:
        if not bits:
            return self.ring
        return self._words.setdefault(bits, Bits(bits))


def total(domain: Domain, parts: Sequence[Values]) -> Values:
    """The sum of shares."""
    result = parts[0]
    for part in parts[1:]:
        result = domain.add(result, part)
    return result
