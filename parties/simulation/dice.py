"""Choices that repeat: one stream of numbers a seed and a purpose."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

from mpc.prg import Position, block

__all__ = ["Dice"]

T = TypeVar("T")
_AT_ONCE = 256
_WHOLE = float(1 << 53)


class Dice:
    """A source of choices. purpose: other purposes of the same seed have independent choices."""

    def __init__(self, seed: int, purpose: str) -> None:
        self._key = hashlib.sha256(f"privity simulation {seed} {purpose}".encode()).digest()[:16]
        self._drawn = 0
        self._stock: list[int] = []

    def _next(self) -> int:
        if not self._stock:
            self._stock = block(self._key, Position(0, self._drawn), (_AT_ONCE,)).tolist()
            self._drawn += 1
        return self._stock.pop()

    def below(self, count: int) -> int:
        """0, 1, …, count − 1."""
        return self._next() % count

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return (self._next() >> 11) < probability * _WHOLE

    def between(self, low: float, high: float) -> float:
        """A number of an interval."""
        return low + (high - low) * ((self._next() >> 11) / _WHOLE)

    def one_of(self, things: Sequence[T]) -> T:
        """One of some things."""
        return things[self.below(len(things))]

    def __call__(self, count: int) -> bytes:
        """So many bytes: an `Entropy`."""
        return b"".join(self._next().to_bytes(8, "little") for _ in range(-(-count // 8)))[:count]
