"""The dealer's corrections of a loop's values, drawn for many steps at a time, as small masks are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any

from mpc.exchange import Array, Draw, Frame, type_words

__all__ = ["Supply", "steps_at_once"]

_STEPS, _CORRECTIONS, _WORDS = 256, 2048, 1 << 16  # at most at once


def steps_at_once(dealt: Sequence[Sequence[tuple[int, ...]]]) -> int:
    """For how many steps of a body all parties draw at a time; of what each is dealt in one step, by party, the shapes.

    The party that is dealt most decides: the dealer deals to all in the program's order, and stands still when it is
    so far ahead of one of them as it may be.
    """
    count, size = max(map(len, dealt)), max(sum(map(prod, shapes)) for shapes in dealt)
    return min(_STEPS, _CORRECTIONS // max(1, count), _WORDS // max(1, size))


class Supply:
    """The corrections for one party in the body of one loop, in the order in which its equations take them.

    shapes: of those of one step, not all of them empty. finish: what is done to the words of each. where: the program
    line of the first. most: steps that are drawn for at once. `words`: of each those of all steps that are here, by
    step; `at`: which of these is under way.
    """

    def __init__(
        self, shapes: Sequence[tuple[int, ...]], finish: Sequence[Callable[[Any], Any]], where: str, most: int
    ) -> None:
        sizes = [prod(shape) for shape in shapes]
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        self._parts = [
            (slice(start, start + size), shape, done)
            for start, size, shape, done in zip(starts, sizes, shapes, finish, strict=True)
        ]
        self._size, self._where = sum(sizes), where
        self._most = most
        self._here = 0
        self.at = 0
        self.words: list[Array] = []

    def __repr__(self) -> str:
        return f"<Supply of {len(self._parts)} corrections, at step {self.at} of {self._here}>"

    def ask(self, number: int, steps: int) -> Draw | None:
        """On to the next of at most `steps` that are left; the draw with this number, if its words are not here."""
        self.at += 1
        return self.draw(number, steps) if self.at >= self._here else None

    def draw(self, number: int, steps: int) -> Draw:
        """The draw with this number, for the next of at most `steps` that are left."""
        self.at, self._here = 0, min(steps, self._most)
        return Draw(number, self._where, (Frame(type_words, (self._here, self._size)),))

    def fill(self, drawn: Array) -> None:
        """What came for that draw."""
        self.words = [done(drawn[:, part]).reshape(self._here, *shape) for part, shape, done in self._parts]

    def each(self) -> Iterator[tuple[int, ...]]:
        """What came, step after step: of corrections of single words, as integers."""
        return zip(*[words.tolist() for words in self.words], strict=True)
