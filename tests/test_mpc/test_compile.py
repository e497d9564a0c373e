"""What the compiler does, counted: not more for more steps, not twice for the same rule, no number rounded wrongly."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mpc
from mpc import rules
from mpc.ir import walk
from mpc.surface import whole
from protocols import BEAVER, MASKED, catalog, compare

NAMES = [f"c{i}" for i in range(30)]
ROWS = {"alice": 200, "bob": 255}


def regression(steps: int, suite: mpc.Suite) -> mpc.Lowered:
    data = {p: {**dict.fromkeys(NAMES, np.arange(n, dtype=float)), "label": np.arange(n) % 2} for p, n in ROWS.items()}
    settings = {"label": "label", "steps": steps, "learning_rate": 0.1, "batch_size": 128}
    return catalog["logistic-regression"].trace({"data": data}, settings=settings).lower(suite)


@pytest.mark.parametrize("suite", [MASKED, BEAVER], ids=lambda s: s.name)
def test_the_work_does_not_depend_on_the_number_of_steps(suite, monkeypatch):
    done: Counter[str] = Counter()
    typed, traced = rules.lowered_type, rules.Rule._trace

    def count(name, function):
        def counted(*args):
            done[name] += 1
            return function(*args)

        return counted

    monkeypatch.setattr(rules, "lowered_type", count("equations typed", typed))
    monkeypatch.setattr(rules.Rule, "_trace", count("rules traced", traced))
    regression(100, suite)  # traces the rules, once and for all
    done.clear()
    found = []
    for steps in (100, 10_000):
        lowered = regression(steps, suite)
        lowered.check()
        cost = lowered.cost()
        assert cost.rounds > 3 * steps
        found.append((dict(done), sum(1 for _ in walk(lowered.block)), sum(1 for _ in walk(lowered.program.block))))
        done.clear()
    assert found[0] == found[1]
    assert "rules traced" not in found[0][0]


def test_a_rule_that_is_used_again_is_neither_traced_nor_typed_again(monkeypatch):
    @mpc.program
    def many(x: mpc.Private):
        a = mpc.share(x, range=(-8, 8))
        return mpc.reveal(sum(mpc.is_negative(a - k) for k in range(20)), bits=0)

    program = many.trace({"x": {"alice": np.zeros(4)}}, ["alice", "bob"])
    program.lower(BEAVER)
    typed: list[str] = []
    before = rules.lowered_type
    monkeypatch.setattr(rules, "lowered_type", lambda op, *more: typed.append(op) or before(op, *more))
    lowered = program.lower(BEAVER)
    rule = sum(e.op == "look" for e in walk(lowered.block))
    assert rule == 20
    assert not {"look", "onehot", "bit"} & set(typed)


@pytest.mark.parametrize(
    ("width", "equations", "dealt"), [(9, 33, 4), (17, 63, 7), (25, 117, 13), (33, 215, 25), (41, 401, 49)]
)
def test_products_of_bits_share_what_they_begin_with(width, equations, dealt):
    block = compare.negative.block([(8,)], {"width": width}, 64)
    assert len(block.equations) == equations
    assert sum(e.op == "deal" for e in block.equations) == dealt


@given(st.lists(st.floats(-(2.0**40), 2.0**40), min_size=1, max_size=5), st.integers(-8, 20))
def test_numbers_are_rounded_to_whole_ones_exactly(values, scale):
    exact = [round(Fraction(v) * Fraction(2) ** scale) for v in values]
    assert whole(np.array(values), scale).tolist() == exact
    assert whole(np.array(values, dtype=object), scale).tolist() == exact


@pytest.mark.parametrize("value", [0.5, 1.5, -2.5, 2.0**80, 1e-300, 1 << 70, Fraction(1, 3)])
def test_halves_go_to_the_even_side_and_no_size_is_too_large(value):
    for scale in (0, 3):
        assert whole(value, scale).tolist() == round(Fraction(value) * 2**scale)


def test_a_column_of_equal_numbers_is_added_in_the_unit_of_a_secret():
    @mpc.program
    def shifted(x: mpc.Private):
        return mpc.reveal(mpc.share(x, range=(-1, 1)) / 3 + np.full(1000, 0.25))

    got = mpc.simulate(shifted, {"x": {"party_0": np.zeros(1000)}}, ["party_0", "party_1"])
    np.testing.assert_allclose(got["result"], 0.25, atol=2.0**-15)
