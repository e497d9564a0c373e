"""What the rules state and what they take: one unit of rounding, wires or fresh masks, operations of a comparison."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from traced import shared

import mpc
from mpc.ir import walk
from protocols import BEAVER, MASKED

SUITES = pytest.mark.parametrize("suite", [MASKED, BEAVER], ids=["masked", "beaver"])


@mpc.program
def order(x: mpc.Private, y: mpc.Private) -> Any:
    a, b = (mpc.share(v, range=(-(2.0**14), 2.0**14), scale=16) for v in (x, y))
    return mpc.reveal(a < b)


@SUITES
def test_a_comparison_shares_what_its_products_have_in_common(suite: mpc.Suite) -> None:
    """32 bits, so 4 bytes and 7 opened bits. Built from the other end, it would be four products more."""
    lowered = order.trace({"x": {"alice": np.ones(3)}, "y": {"bob": np.ones(3)}}).lower(suite)
    ops = Counter(e.op for e in walk(lowered.block))
    assert {op: ops[op] for op in ("mul", "bit", "deal", "open", "mask", "onehot", "look")} == {
        "mul": 95, "bit": 31, "deal": 25, "open": 2, "mask": 2, "onehot": 1, "look": 1,
    }  # fmt: skip


@SUITES
def test_a_truncation_states_one_unit(suite: mpc.Suite) -> None:
    program = shared(lambda x: suite.rules["truncate"](x, by=3), ())
    assert [e.params["rounding"] for e in walk(program.block) if e.op == "call"] == [1]
    for name in ("multiply", "matmul"):
        program = shared(lambda x, name=name: suite.rules[name](x, x), (2, 2))
        assert [e.params["rounding"] for e in walk(program.block) if e.op == "call"] == [0]


def test_one_suite_keeps_wires_and_the_other_masks_anew() -> None:
    assert (MASKED.name, MASKED.memoise) == ("masked", True)
    assert (BEAVER.name, BEAVER.memoise) == ("beaver", False)
    program = shared(lambda x, y: x * y + x * x + y * y, (3,), (3,))
    opened = [sum(e.op == "open" for e in walk(program.lower(suite).block)) for suite in (MASKED, BEAVER)]
    assert opened == [1, 7]  # the sum, to be truncated: an owner sends its number as a wire already
