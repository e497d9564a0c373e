"""mpc/checker.py on results that depend on masks by a unit or more, whatever their rule states."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from traced import shared

import mpc
from mpc import checker
from mpc.errors import LeakError
from mpc.prg import Position, block
from protocols import BEAVER, MASKED


@pytest.mark.parametrize(("units", "rounding", "refused"), [(1, 0, True), (1, 1, False), (2, 1, True), (2, 2, True)])
def test_whatever_rounding_is_stated_one_unit_may_depend_on_masks(units: int, rounding: int, refused: bool) -> None:
    def turns(x: Any) -> Any:
        return x + units * mpc.deal(mpc.msb(mpc.mask(())))

    lowered = shared(mpc.protocol(turns, rounding=rounding), ()).lower(MASKED)
    if refused:
        with pytest.raises(LeakError, match="depends on its masks"):
            lowered.check()
    else:
        lowered.check()


@pytest.mark.parametrize("bits", [1, 12, 63, 64])
def test_draws_are_words_of_so_many_bits_from_a_stream_of_their_own(bits: int) -> None:
    draw, low = checker._draw(5, bits), np.uint64((1 << bits) - 1)
    for number in (1, 2, 3):
        words = draw((200,))
        assert np.array_equal(words, block((5).to_bytes(16, "big"), Position(number, 0), (200,)) & low)
        assert np.bitwise_or.reduce(words) == low


def test_a_result_is_held_against_twelve_draws_of_all_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operands are the same each time, small, and have nothing in common with any mask."""
    seen: list[tuple[bytes, Any]] = []
    original = checker.evaluate_block

    def evaluated(ring: Any, rule: Any, operands: Any, draw: Any) -> Any:
        masks: list[Any] = []
        result = original(ring, rule, operands, lambda shape: masks.append(draw(shape)) or masks[-1])  # type: ignore[func-returns-value]
        seen.append((b"".join(x.tobytes() for x in operands), masks))
        assert max(int(x.max()) for x in operands) < 1 << 12
        return result

    monkeypatch.setattr(checker, "evaluate_block", evaluated)
    checker.check_result(BEAVER.rules["multiply"].block([(40,), (40,)], {}, 64), "")
    assert len(seen) == 12
    assert len({operands for operands, _ in seen}) == 1
    masks = [m for _, made in seen for m in made]
    assert len(masks) == len({m.tobytes() for m in masks}) == 24
    low = {(m & np.uint64(4095)).tobytes() for m in masks}
    given = np.frombuffer(seen[0][0], dtype=np.uint64).reshape(2, 40)
    assert not low & {x.tobytes() for x in given}
