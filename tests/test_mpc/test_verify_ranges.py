"""Stated ranges checked while a program runs: right at every edge, exact in cost, nothing given out if one was left."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import mpc
from mpc.errors import OverflowRefusal, ProgramError
from mpc.ir import walk
from mpc.memory import run_in_memory
from mpc.programs import RANGES_HOLD
from mpc.table import owned
from protocols import BEAVER, MASKED, catalog

NAMES = ["alice", "bob", "carol"]
SUITES = pytest.mark.parametrize("suite", [MASKED, BEAVER], ids=["masked", "beaver"])
X, Y = np.array([1.5, -2.0, 3.0]), np.array([2.0, 4.0, -1.0])
GIVEN: Any = {"x": {"alice": X}, "y": {"bob": Y}}


@mpc.program
def product(x: mpc.Private, y: mpc.Private, bound: float = 8.0):
    a, b = mpc.share(x, range=(-100, 100)), mpc.share(y, range=(-100, 100))
    p = mpc.assume_range(a * b, -bound, bound)
    return {"square": mpc.reveal(p * p), "sum": mpc.reveal(a.sum(), to="alice")}


@mpc.program
def powers(x: mpc.Private, y: mpc.Private, times: int = 3, bound: float = 128.0):
    a, b = mpc.share(x, range=(-4, 4)), mpc.share(y, range=(-4, 4))
    return mpc.reveal(mpc.repeat(times, lambda i, s: mpc.assume_range(s * b, -bound, bound), a))


@mpc.program
def nested(x: mpc.Private, y: mpc.Private, bound: float = 512.0):
    a, b = mpc.share(x, range=(-4, 4)), mpc.share(y, range=(-4, 4))

    def inner(i: Any, s: Any) -> Any:
        return mpc.assume_range(s * b, -bound, bound)

    return mpc.reveal(mpc.repeat(2, lambda i, s: mpc.repeat(2, inner, s), a))


@mpc.program
def alone(x: mpc.Private, lo: float, hi: float, unit: float = 1.0, scale: int = 16):
    """Statements of what is shared, in a unit of its own; a narrow second one, so that every width is met."""
    a = mpc.share(x, range=(-(2.0**20), 2.0**20), scale=scale)
    return mpc.reveal(mpc.assume_range(a * Fraction(unit), lo, hi).sum())


def traced(function: Any, given: Any = GIVEN, **settings: Any) -> Any:
    return function.trace(given, NAMES, settings)


def holds(program: Any, given: Any, suite: Any = MASKED) -> bool:
    try:
        return bool(mpc.emulate(program, given, NAMES, suite=suite).results[RANGES_HOLD] == 1)
    except OverflowRefusal:
        return False


@SUITES
@pytest.mark.parametrize("function", [product, powers], ids=lambda f: f.name)
def test_right_ranges_give_the_same_results_at_the_planned_price(function, suite):
    before = traced(function)
    after = before.verified()
    plan = after.plan(suite)
    ran = mpc.emulate(before, GIVEN, NAMES, suite=suite, verify_ranges=True)
    plain = mpc.simulate(before, GIVEN, NAMES)
    assert ran.results.pop(RANGES_HOLD) == 1
    for name, value in plain.items():
        np.testing.assert_allclose(ran.results[name], value, rtol=0, atol=2.0**-12)
    assert (ran.rounds, ran.bytes_sent, ran.dealt_bytes) == (plan.rounds, plan.bytes_sent, plan.dealt_bytes)
    assert after.digest != before.digest
    assert mpc.Program.parse(after.text).text == after.text
    assert plan.reveals[0]["name"] == RANGES_HOLD
    assert {a["what"] for a in plan.assumptions} == {"range stated, checked while the program runs"}
    assert {a["what"] for a in before.plan(suite).assumptions} == {"range stated, not checked"}


@SUITES
@pytest.mark.parametrize(("function", "bound"), [(product, 7.99), (powers, 127.99)], ids=["product", "powers"])
def test_a_range_that_is_too_small_is_refused_by_name(function, bound, suite):
    program = traced(function, bound=bound)
    with pytest.raises(OverflowRefusal, match=r"a stated range was left: .* at test_verify_ranges.py:\d+; no result"):
        mpc.emulate(program, GIVEN, NAMES, suite=suite, verify_ranges=True)
    with pytest.raises(OverflowRefusal, match="a stated range was left"):
        mpc.simulate(program.verified(), GIVEN, NAMES)
    mpc.emulate(program, GIVEN, NAMES, suite=suite)  # unchecked, it goes through


def test_a_loop_in_a_loop_counts_every_step():
    kept = traced(nested).verified()
    assert mpc.simulate(kept, GIVEN, NAMES)[RANGES_HOLD] == 1
    assert [len(e.outputs) for e in walk(kept.block) if e.op == "repeat"] == [2, 2]
    with pytest.raises(OverflowRefusal, match="a stated range was left"):
        mpc.simulate(traced(nested, bound=511.99).verified(), GIVEN, NAMES)


@SUITES
def test_without_the_refusal_only_zeros_come_out(suite, monkeypatch):
    """The bit multiplies what is revealed: a party that ignores it learns nothing."""
    program = traced(product, bound=7.0).verified()
    lowered = program.lower(suite)
    monkeypatch.setattr(type(program), "require", lambda *_: None)
    results = run_in_memory(lowered, GIVEN).results
    assert results[RANGES_HOLD] == 0
    assert results["sum"] == 0
    assert not results["square"].any()


def test_edges_are_exact_in_any_unit():
    ulp = 2.0**-16
    for value, lo, hi, unit, inside in [
        (3.0, -3.0, 3.0, 1.0, True), (-3.0, -3.0, 3.0, 1.0, True),
        (3.0 + ulp, -3.0, 3.0, 1.0, False), (-3.0 - ulp, -3.0, 3.0, 1.0, False),
        (5.0, 5.0, 5.0, 1.0, True), (5.0 + ulp, 5.0, 5.0, 1.0, False), (5.0 - ulp, 5.0, 5.0, 1.0, False),
        (3.0, -9.0, 0.0, -3.0, True), (3.0 + ulp, -9.0, 0.0, -3.0, False), (-ulp, -9.0, 0.0, -3.0, False),
    ]:  # fmt: skip
        given = {"x": {"alice": np.array([0.5 * (lo + hi) / unit, value])}}
        program = traced(alone, given, lo=lo, hi=hi, unit=unit).verified()
        assert holds(program, given) is inside, (value, lo, hi, unit)


@mpc.program
def cubes(x: mpc.Private, bound: float = 2.0**10):
    """Declared so wide that the product of three may leave the ring: only the statement says that it does not."""
    a = mpc.share(x, range=(-(2.0**20), 2.0**20), scale=10)
    return mpc.reveal(mpc.assume_range(a * a * a, -bound, bound).sum())


@SUITES
def test_where_the_range_before_is_wider_than_the_ring_all_64_bits_are_compared(suite):
    def checked(values: list[float]) -> tuple[Any, dict[str, Any]]:
        given = {"x": {"alice": np.array(values)}}
        return traced(cubes, given).verified(), given

    program, given = checked([10.0, -10.0, 0.0])
    assert [e.params["width"] for e in walk(program.block) if e.op == "below"] == [64]
    assert holds(program, given, suite)
    for value in (10.09, -10.09, 100.0, -100.0, 1000.0, -1000.0):  # 1000³ · 2^30 is 2^59.9: still inside the ring
        program, given = checked([1.0, value])
        assert not holds(program, given, suite), value


@mpc.program
def midway(x: mpc.Private, y: mpc.Private, bound: float = 100.0):
    """Its first reveal scales what is checked: it cannot wait."""
    a, b = mpc.share(x, range=(-4, 4)), mpc.share(y, range=(-4, 4))
    top = mpc.reveal(a.sum())
    return {"top": top, "late": mpc.reveal(mpc.assume_range(top * b, -bound, bound).sum()), "free": mpc.reveal(b.sum())}


def test_a_reveal_that_the_check_rests_on_stays_early_and_is_listed():
    plan = traced(midway).verified().plan(MASKED)
    assert [r["name"] for r in plan.reveals] == ["top", RANGES_HOLD, "late", "free"]
    assert any("before it is known whether the stated ranges hold: top" in note for note in plan.notes)
    assert not any("before it is known" in note for note in traced(product).verified().plan(MASKED).notes)


def test_nothing_to_check_changes_nothing():
    @mpc.program
    def total(x: mpc.Private):
        return mpc.reveal(mpc.share(x).sum())

    program = traced(total, {"x": {"alice": X}})
    assert program.verified() is program
    checked = traced(product).verified()
    assert checked.verified() is checked


@SUITES
def test_no_elements_and_one_without_axes(suite):
    @mpc.program
    def both(x: mpc.Private):
        a = mpc.share(x, range=(-4, 4))
        return mpc.reveal(mpc.assume_range(a[3:], 1, 2).sum() + mpc.assume_range(a.sum(), 0, 2.5))

    for last, inside in ((3.0, True), (3.5, False)):
        given = {"x": {"alice": np.array([1.5, -2.0, last])}}
        assert holds(traced(both, given).verified(), given, suite) is inside


def test_the_name_of_the_bit_is_taken():
    @mpc.program
    def taken(x: mpc.Private):
        return {RANGES_HOLD: mpc.reveal(mpc.share(x).sum())}

    with pytest.raises(ProgramError, match="rename it"):
        traced(taken, {"x": {"alice": X}})


@mpc.program
def stated(x: mpc.Private, bound: float = 160.0, factor: int = 64):
    """At 56 fraction bits; the statement is all that the ring holds, near enough, and nothing asks for less."""
    a = mpc.share(x, range=(-4, 4), scale=28)
    wide = mpc.assume_range(a * a * mpc.constant(factor, 0), -bound, bound) * 0
    return mpc.reveal(wide.sum() + mpc.share(x, range=(-4, 4)).sum())


@SUITES
def test_a_statement_that_takes_most_of_the_ring(suite):
    """±100 at 56 fraction bits is 2^62.6: a difference of two such numbers leaves the ring. 127.9 is 2^62.999."""
    for value, bound, inside in [
        (1.25, 100.0, True), (1.2500001, 100.0, False), (1.0, 64.0, True), (1.1, 64.0, False), (1.414, 127.97, True),
        (1.4141, 127.97, False),
    ]:  # fmt: skip
        given = {"x": {"alice": np.array([0.5, value])}}
        for factor in (64, -64):
            program = traced(stated, given, bound=bound, factor=factor).verified()
            assert holds(program, given, suite) is inside, (value, bound, factor)


def test_a_statement_wider_than_the_ring_is_refused_at_its_line():
    given = {"x": {"alice": X[:1]}}
    program = traced(stated, given, bound=2.0**48)
    with pytest.raises(OverflowRefusal, match=r"test_verify_ranges.py:\d+: .* cannot be verified"):
        program.verified()


def rows_of_two() -> dict[str, Any]:
    rng = np.random.default_rng(3)
    data = []
    for rows in (30, 20):
        x = rng.normal(size=(rows, 2))
        data.append({"a": x[:, 0], "b": x[:, 1], "label": (x[:, 0] - x[:, 1] > 0).astype(float)})
    return {"data": data}


def test_the_margin_of_logistic_regression():
    fit, given, settings = (
        catalog["logistic-regression"],
        rows_of_two(),
        {"label": "label", "solver": "sgd", "steps": 6, "learning_rate": 8.0},
    )
    unchecked = mpc.simulate(fit, given, 2, **settings)
    names = ["alice", "bob"]
    by = {"data": dict(zip(names, given["data"], strict=True))}
    plain = fit.trace(by, names, settings).verified().plain({"data": {n: owned(v) for n, v in by["data"].items()}})
    assert plain.pop(RANGES_HOLD) == 1
    np.testing.assert_array_equal(plain["coef"], unchecked["coef"])
    ran = mpc.emulate(fit, given, 2, verify_ranges=True, **settings).results
    assert ran[RANGES_HOLD] == 1
    np.testing.assert_allclose(ran["coef"], unchecked["coef"], rtol=0, atol=1e-3)
    with pytest.raises(OverflowRefusal, match=r"-1 to 1 at \w+.py:\d+"):
        mpc.emulate(fit, given, 2, verify_ranges=True, margin=1.0, **settings)
