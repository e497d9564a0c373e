"""mpc/totals.py, mpc/digits.py: sums over owners in any unit are correctly rounded, and tell nothing but the sum."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import mpc
from mpc.memory import names_of
from mpc.programs import Program
from mpc.totals import _carried
from mpc.tracing import current_trace
from protocols import suites

PARAMS = {"base": 52, "count": 8, "least": -288}


@mpc.program
def added(x: mpc.PerParty[mpc.Private]) -> Any:
    return mpc.total(x)


def words(x: Any, carried: bool) -> Any:
    """The digits' sums as they are revealed: with carries moved up, or, the twin, without."""
    cut = [current_trace().emit("digits", [v], PARAMS) for v in x]
    added = sum(mpc.share(d, range=(-(2.0**51), 2.0**51), scale=0) for d in cut)
    return mpc.reveal(_carried(added) if carried else added, bits=0)


@mpc.program
def shown(x: mpc.PerParty[mpc.Private]) -> Any:
    return words(x, carried=True)


@mpc.program
def twin(x: mpc.PerParty[mpc.Private]) -> Any:
    return words(x, carried=False)


def numbers(n: int, unit: float, seed: int) -> list[np.ndarray]:
    """Values of a unit over twenty orders, of which some cancel almost."""
    rng = np.random.default_rng(seed)
    found = [rng.normal(size=9) * unit * 10.0 ** rng.integers(-10, 10, 9) for _ in range(n)]
    found[1][:3] = -found[0][:3] * (1 + 1e-12)
    found[1][3:5] = 0.0
    return found


@pytest.mark.parametrize("suite", suites.values(), ids=suites)
@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("unit", [1e-24, 1e-12, 1e-6, 1e-3, 1.0, 1e3, 1e6, 1e12, 1e18])
def test_a_total_is_the_exact_sum_rounded_once(unit: float, n: int, suite: Any) -> None:
    data = numbers(n, unit, n)
    want = [math.fsum(column) for column in zip(*data, strict=True)]
    run = mpc.emulate(added, {"x": data}, n, suite=suite)
    np.testing.assert_array_equal(run.results["result"], want)
    np.testing.assert_array_equal(mpc.simulate(added, {"x": data}, n)["result"], want)
    plan = added.trace({"x": dict(zip(names_of(n), data, strict=True))}).plan(suite)
    assert (run.rounds, run.bytes_sent, run.dealt_bytes) == (plan.rounds, plan.bytes_sent, plan.dealt_bytes)


def test_what_it_costs() -> None:
    def cost(n: int) -> tuple[int, int, int]:
        schemas = {p: mpc.Schema((10,)) for p in names_of(n)}
        plan = added.trace({"x": schemas}).plan("masked")
        return plan.rounds, max(plan.bytes_sent.values()), sum(plan.dealt_bytes.values())

    assert cost(2) == (1, 640, 0)
    assert cost(3) == (3, 3380, 442_400)


def test_whole_numbers_are_exact_and_text_is_that_of_every_unit() -> None:
    big = [np.array([2.0**53, 2.0**62]), np.array([2.0**53 - 1, -(2.0**62)])]
    np.testing.assert_array_equal(mpc.emulate(added, {"x": big}).results["result"], [2.0**54, 0.0])
    small, large = ({"x": {p: np.full(2, s) for p in ("alice", "bob")}} for s in (1e-30, 1e30))
    assert added.trace(small).text == added.trace(large).text


@pytest.mark.parametrize("bad", [np.nan, np.inf, 2.0**127, -(2.0**128), 2.0**-265, 5e-324])
def test_what_no_digits_hold_is_refused_with_its_place(bad: float) -> None:
    with pytest.raises(
        mpc.InputError, match=r"input 'x', element \(1,\) is not finite, 2\^127 or more, or below 2\^-264"
    ):
        mpc.emulate(added, {"x": [np.array([1.0, bad]), np.array([1.0, 2.0])]})


def seen(program: Any, own: float) -> set[tuple[float, ...]]:
    """What carol, who brings nothing, may see of two others whose sum is always the same."""
    unit = 2.0**-28
    data = {"alice": np.array(own * unit), "bob": np.array((2.0**52 * 1.5 - own) * unit)}
    runs = (mpc.emulate(program, {"x": data}, 3).results["result"] for _ in range(40))
    return {tuple(np.ravel(r).tolist()) for r in runs}


def test_a_third_party_does_not_learn_of_carries() -> None:
    few, many = 2.0**49, 2.0**51 * 1.2  # one carry in the second owners' digits, and two
    assert seen(shown, few) == seen(shown, many)
    assert seen(twin, few) != seen(twin, many)  # the twin: 40 runs, and never the same words


def test_texts_are_read_back_and_hostile_ones_refused() -> None:
    for n in (2, 3):
        program = added.trace({"x": {p: mpc.Schema((2, 3)) for p in names_of(n)}})
        program.check()
        assert Program.parse(program.text).digest == program.digest
        with pytest.raises(mpc.ProgramError, match="wrong parameters"):
            Program.parse(program.text.replace('"count":8', '"count":2147483647'))


def test_secrets_and_shapes_are_refused() -> None:
    @mpc.program
    def of_secret(x: mpc.Private) -> Any:
        return mpc.total(mpc.share(x))

    @mpc.program
    def of_nothing(x: mpc.Private) -> Any:
        return mpc.total([])

    with pytest.raises(mpc.SecretError, match="before they are shared"):
        mpc.simulate(of_secret, {"x": {"alice": np.ones(2)}})
    with pytest.raises(mpc.ProgramError, match="takes private values"):
        mpc.simulate(of_nothing, {"x": {"alice": np.ones(2)}})
    with pytest.raises(mpc.ShapeError, match=r"2 values of shapes \(2,\), \(3,\)"):
        mpc.simulate(added, {"x": [np.ones(2), np.ones(3)]})
