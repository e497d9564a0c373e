"""mpc/supply.py: for how many steps corrections are drawn at a time, and how they are taken one after another."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from mpc.exchange import Frame
from mpc.supply import Supply, steps_at_once


@pytest.mark.parametrize(
    ("dealt", "steps"),
    [
        ([[(), ()], [()]], 256),
        ([[()] * 16, [()]], 128),  # as many corrections of whoever is dealt most
        ([[()], [()] * 9], 227),
        ([[(1000,), (24,)], [(8,)]], 64),  # as many words
        ([[], [(4, 1024)]], 16),
        ([[(1 << 16,)], []], 1),
        ([[(1 << 17,)], []], 0),
        ([[], []], 256),
        ([[(0,)], []], 256),
        ([[(512,)], [()] * 100], 20),  # who is dealt many, and who is dealt long ones
    ],
)
def test_all_draw_for_as_many_steps_as_whoever_is_dealt_most(dealt: list[list[tuple[int, ...]]], steps: int) -> None:
    assert steps_at_once(dealt) == steps
    assert steps_at_once(dealt[::-1]) == steps


def test_corrections_come_for_many_steps_and_are_taken_one_by_one() -> None:
    s = Supply([(), (2,), ()], [lambda x: x, lambda x: x + np.uint64(100), lambda x: x], "line", 4)
    words = iter(range(1000))
    seen, draws = [], []

    def filled(count: int) -> Iterator[int]:
        return (next(words) for _ in range(count))

    for step in range(10):
        draw = s.ask(len(draws) + 1, 10 - step)
        if draw is not None:
            draws.append((step, draw.number, draw.where, draw.expect))
            (frame,) = draw.expect
            s.fill(np.fromiter(filled(frame.shape[0] * 4), np.uint64).reshape(frame.shape))
        seen.append([w[s.at].tolist() for w in s.words])
    assert draws == [(at, i + 1, "line", (Frame("<u8", (n, 4)),)) for i, (at, n) in enumerate([(0, 4), (4, 4), (8, 2)])]
    assert seen == [[4 * i, [4 * i + 101, 4 * i + 102], 4 * i + 3] for i in range(10)]


def test_of_single_words_whole_steps_come_as_integers() -> None:
    s = Supply([(), ()], [lambda x: x, lambda x: x * np.uint64(2)], "line", 3)
    draw = s.draw(1, 99)
    assert draw.expect == (Frame("<u8", (3, 2)),)
    s.fill(np.arange(6, dtype=np.uint64).reshape(3, 2))
    assert list(s.each()) == [(0, 2), (2, 6), (4, 10)]
    assert all(type(word) is int for step in s.each() for word in step)
    assert s.ask(2, 99) is None
    assert "2 corrections, at step 1 of 3" in repr(s)
