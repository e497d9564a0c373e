"""mpc/types.py: what could leave the ring, or the interval where a series is right, is refused; reveals keep rule 8."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from traced import given as inputs
from traced import shared, some, trace

import mpc
from mpc import functions, language, surface, types
from mpc.ir import Kind, Type, walk
from mpc.testing import deterministic_entropy
from protocols import MASKED

Function = Callable[..., Any]


def value(program: mpc.Program, *arrays: Any, seed: int = 0) -> Any:
    return mpc.emulate(program, inputs(*arrays), suite=MASKED, entropy=deterministic_entropy(2, seed)).results["result"]


# --- overflow


TOO_WIDE: list[Function] = [
    lambda x: x**15,
    lambda x: x * np.array([2.0**40]) * x,
    lambda x: np.concatenate([x.reshape(1)] * 4).sum() ** 9,
    lambda x: mpc.repeat(3, lambda i, s: s * x, x),
]


@pytest.mark.parametrize("function", TOO_WIDE)
def test_overflow_is_refused_with_line_bound_and_cure(function: Function) -> None:
    with pytest.raises(mpc.OverflowRefusal) as caught:
        shared(function, (), lo=-100, hi=100)
    text = str(caught.value)
    assert text.startswith("test_ranges.py:")
    assert "±" in text
    assert "mpc.assume_range(x, lo, hi)" in text or "assume_range(w, lo, hi)" in text
    assert "\n" not in text


def test_the_line_is_where_the_value_first_grew_too_large() -> None:
    def program(x: Any) -> Any:
        wide = x * x * x * (x * x * x)
        narrow = wide - 1
        return narrow.reshape(1) + 2

    with pytest.raises(mpc.OverflowRefusal, match=rf"test_ranges.py:{program.__code__.co_firstlineno + 1}: mul"):
        shared(program, (), lo=-(2.0**13), hi=2.0**13)


def test_a_declared_range_must_fit() -> None:
    @mpc.program
    def program(x: mpc.Private) -> Any:
        return mpc.reveal(mpc.share(x, range=(0, 2.0**47)))

    with pytest.raises(mpc.OverflowRefusal, match=r"test_ranges.py:\d+: share could overflow.*range=\(lo, hi\)"):
        trace(program, {"x": {"alice": 1.0}})


def test_twin_without_the_refusal_gives_a_wrong_number(monkeypatch: pytest.MonkeyPatch) -> None:
    hi = 2.0**24
    with pytest.raises(mpc.OverflowRefusal):
        shared(lambda x: x * x, (), lo=0, hi=hi)
    for module in (types, surface):
        monkeypatch.setattr(module, "HEADROOM", 90)
    wrong = value(shared(lambda x: x * x, (), lo=0, hi=hi), hi - 1)
    assert not math.isclose(wrong, (hi - 1) ** 2, rel_tol=0.5)


@pytest.mark.parametrize("bound", [8, 1000, 2.0**24])
@pytest.mark.parametrize("c", [0.1, 1 / 3, 1e-5, 3.14159, 0.5, 7])
def test_fractions_that_are_multiplied_out_keep_twenty_bits(bound: float, c: float) -> None:
    x = np.array([bound * 0.7, -bound, 0.25])
    program = shared(lambda s, t: s * c + t, (3,), (3,), lo=-bound, hi=bound)
    true = x * c + x
    assert np.all(np.abs(value(program, x, x) - true) <= 2**-19 * bound * c + 2**-13)


def test_tiny_numbers_at_fine_scales() -> None:
    """More than the 62 bits that one truncation cuts."""

    @mpc.program
    def program(x: mpc.Private) -> Any:
        return mpc.reveal(mpc.share(x, range=(0, 2.0**-30), scale=60) ** 2, bits=40)

    made = trace(program, {"x": {"alice": 1.0}})
    for results in (
        mpc.simulate(made, {"x": {"alice": 2.0**-31}}),
        mpc.emulate(made, {"x": {"alice": 2.0**-31}}).results,
    ):
        assert results["result"] in (0, 2.0**-40)


def test_a_range_stated_later_makes_room() -> None:
    """Arithmetic is exact modulo the ring: only a truncation, a reveal or a series needs the size."""

    @mpc.program
    def program(x: mpc.Private) -> Any:
        s = mpc.share(x)
        return mpc.reveal(mpc.assume_range(s * s * s - s * s * s + s * s, 0, 100))

    made = trace(program, {"x": {"alice": 1.0}})
    assert "±1073741824, at 16 fraction bits" in made.notes[0]
    assert made.plan(MASKED).assumptions[0]["hi"] == 100
    assert mpc.emulate(made, {"x": {"alice": 7.5}}, suite=MASKED).results["result"] == 56.25


@pytest.mark.parametrize(("power", "bound", "bits"), [(1, 2**30, 16), (2, 2**14, 16), (3, 2**10, 10), (5, 2**7, 10)])
def test_default_ranges_are_a_ladder_and_noted(power: int, bound: int, bits: int) -> None:
    @mpc.program
    def program(x: mpc.Private) -> Any:
        return mpc.reveal(mpc.share(x) ** power)

    made = trace(program, {"x": {"alice": 1.0}})
    (note,) = made.notes
    assert note.startswith(f"inputs that declare no range are taken to lie in ±{bound}, at {bits} fraction bits")
    assert made.plan(MASKED).notes == made.notes
    assert json.dumps(note) in made.text
    with pytest.raises(mpc.InputError, match="outside the declared range"):
        mpc.simulate(made, {"x": {"alice": bound * 1.01}})


def test_declared_ranges_need_no_note() -> None:
    assert shared(lambda x: x * x, ()).notes == []


EXPRESSIONS: list[Function] = [
    lambda x, y: x + y,
    lambda x, y: x - y * 3,
    lambda x, y: x * y,
    lambda x, y: -x,
    lambda x, y: x / 7,
    lambda x, y: x @ y,
    lambda x, y: x.sum(axis=0) + y.mean(),
    lambda x, y: np.concatenate([x, y])[1:3],
    lambda x, y: x * np.array([[0.3, -2], [5, 0]]),
]
bounds = st.tuples(st.integers(-40, 40), st.integers(0, 60)).map(lambda t: (t[0] / 4, (t[0] + t[1]) / 4))


@some
@given(st.lists(st.tuples(st.sampled_from(EXPRESSIONS), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=5),
       bounds, st.integers(0, 2**32))  # fmt: skip
def test_numbers_are_right_or_refused_and_stay_in_their_ranges(chosen: Any, range_: Any, seed: int) -> None:
    lo, hi = range_
    found: list[Type] = []

    def program(x: Any, y: Any) -> Any:
        values = [x, y]
        for f, i, j in chosen:
            values.append(f(values[i % len(values)], values[j % len(values)]))
        found.append(getattr(values[-1], "type", Type(Kind.CONST)))
        return values[-1]

    try:
        made = shared(program, (2, 2), (2, 2), lo=lo, hi=hi)
    except mpc.OverflowRefusal:
        return
    except mpc.ShapeError:
        return
    rng = np.random.default_rng(seed)
    x, y = (rng.choice([lo, hi, (lo + hi) / 2], (2, 2)) for _ in range(2))
    true = np.asarray(program(x, y))
    bound, low, high = found[0].bound, found[0].lo, found[0].hi
    slack = 2**-9 * (1 + bound)  # a public fraction has ten to twenty bits once it is multiplied out
    assert np.all(low <= true + slack)
    assert np.all(true <= high + slack)
    got = value(made, x, y, seed=seed % 1000)
    np.testing.assert_allclose(got, true, rtol=0, atol=2**-8 * (1 + bound))


# --- sigmoid, rule 13


@pytest.mark.parametrize(("lo", "hi"), [(-2, 9), (-20, 3), (-50, 50), (-245, 245)])
def test_sigmoid_is_right_on_its_whole_range(lo: float, hi: float) -> None:
    u = np.linspace(lo, hi, 200)
    program = shared(lambda x: mpc.accept_rounding(mpc.sigmoid(x)), (200,), lo=lo, hi=hi)
    assert np.max(np.abs(value(program, u) - 1 / (1 + np.exp(-u)))) < 4e-5 + 2**-15
    gained = shared(lambda x: mpc.accept_rounding(mpc.sigmoid(x, gain=0.1, scale=40)), (200,), lo=lo, hi=hi)
    assert np.max(np.abs(value(gained, u) - 0.1 / (1 + np.exp(-u)))) < 4e-6 + 2**-15


@pytest.mark.parametrize("bound", [246, 1000, 2.0**40])
def test_sigmoid_beyond_the_longest_series_is_refused(bound: float) -> None:
    with pytest.raises(mpc.OverflowRefusal, match=r"test_ranges.py:\d+: sigmoid.*±245.668.*mpc.assume_range"):
        shared(lambda x: mpc.sigmoid(x), (), lo=-bound, hi=bound)  # noqa: PLW0108
    shared(lambda x: mpc.sigmoid(mpc.assume_range(x, -200, 200)), (), lo=-bound, hi=bound)


def test_a_short_series_reaches_less_far() -> None:
    rounds = [shared(mpc.sigmoid, (), lo=-b, hi=b).plan(MASKED).dealt_bytes for b in (5, 15, 50)]
    words = [sum(d.values()) for d in rounds]
    assert words[0] < words[1] < words[2]


def test_twin_without_the_refusal_gives_a_wrong_sigmoid(monkeypatch: pytest.MonkeyPatch) -> None:
    true_series, true_params = functions.series, functions.series_params
    monkeypatch.setattr(functions, "series", lambda half, terms: (*true_series(half, terms)[:2], 1e9))
    monkeypatch.setattr(functions, "series_params", lambda *a: {**true_params(*a), "reach": 1e9})
    monkeypatch.setattr(types, "check_series", lambda params, where: None)
    program = shared(lambda x: mpc.accept_rounding(mpc.sigmoid(x)), (), lo=-40, hi=40)
    assert abs(value(program, 5.0) - 0.9933) < 1e-3
    assert value(program, 20.0) < 0.1  # the mirror image: true is 1 − 2e-9


@pytest.mark.parametrize("wrong", [{"gain": 0.0}, {"gain": -1.0}, {"gain": math.inf}, {"scale": 80}, {"scale": 3}])
def test_sigmoids_that_do_not_exist(wrong: dict[str, Any]) -> None:
    with pytest.raises(mpc.ProgramError, match=r"test_ranges.py:\d+: mpc.sigmoid"):
        shared(lambda x: mpc.sigmoid(x, **wrong), ())


# --- reveals, rule 8


def bits(program: mpc.Program) -> int:
    return int(program.plan(MASKED).reveals[-1]["bits"])


def test_sixteen_bits_are_revealed_unless_more_are_asked() -> None:
    assert bits(shared(lambda x: x * x, ())) == 16
    assert bits(shared(lambda x: x, ())) == 16

    @mpc.program
    def program(x: mpc.Private, wanted: int) -> Any:
        return mpc.reveal(mpc.share(x, range=(-8, 8)) ** 2, bits=wanted)

    for wanted, shown in ((20, 20), (0, 0), (32, 32), (40, 32)):
        assert bits(trace(program, {"x": {"alice": 1.0}}, wanted=wanted)) == shown


def revealed(asked: int | None, function: Function = mpc.sigmoid) -> mpc.Program:
    @mpc.program
    def program(x: mpc.Private) -> Any:
        return mpc.reveal(function(mpc.share(x, range=(-4, 4))), bits=asked)

    return trace(program, {"x": {"alice": np.zeros(64)}})


def noise(program: mpc.Program) -> float:
    (last,) = [e for e in walk(program.block) if e.op == "reveal"]
    return last.inputs[0].type.noise


def test_a_sigmoid_is_revealed_coarser_than_its_noise() -> None:
    program = revealed(None)
    assert bits(program) == math.floor(-math.log2(noise(program))) - 20 == 10
    assert bits(revealed(None, lambda x: mpc.sigmoid(x) * mpc.sigmoid(x))) == 9
    assert bits(revealed(None, lambda x: mpc.sigmoid(x) * 16)) == 6
    assert bits(revealed(None, lambda x: mpc.sigmoid(x) / 16)) == 10  # of units of 1/16
    assert bits(revealed(7)) == 7


def test_noise_goes_through_every_operation() -> None:
    """Each result's stated noise is at least what its parts bring."""
    one = noise(revealed(None))
    assert noise(revealed(None, lambda x: mpc.sigmoid(x) + mpc.sigmoid(-x))) == 2 * one
    assert noise(revealed(None, lambda x: mpc.sigmoid(x) - x)) == one
    assert noise(revealed(None, lambda x: mpc.sigmoid(x).sum(keepdims=True))) == 64 * one
    assert noise(revealed(None, lambda x: mpc.concatenate([x, mpc.sigmoid(x)]))) == one
    assert noise(revealed(None, lambda x: mpc.assume_range(mpc.sigmoid(x)[::2].reshape(2, 16).T, 0, 1))) == one
    assert noise(revealed(None, lambda x: mpc.sigmoid(mpc.sigmoid(x)))) > one * 1.1


def test_more_bits_are_refused_with_the_cure() -> None:
    with pytest.raises(mpc.LeakError, match=r"test_ranges.py:\d+: mpc.reveal of 16 bits.*at most 10 bits.*accept_"):
        revealed(16)
    with pytest.raises(mpc.LeakError, match="reveal something coarser"):
        revealed(None, lambda x: mpc.sigmoid(x) * 4096)


def test_a_text_that_reveals_more_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language, "reveal_bits", lambda t, wanted: wanted)
    with pytest.raises(mpc.LeakError, match="low bits that depend on masks"):
        revealed(16)


def spread(program: mpc.Program, shown: int) -> int:
    """By how many units the same run differs under ten draws of all masks."""
    u = {"x": {"alice": np.linspace(-4, 4, 64)}}
    runs = [mpc.emulate(program, u, 2, suite=MASKED, entropy=deterministic_entropy(2, s)) for s in range(10)]
    units = [np.ldexp(r.results["result"], shown) for r in runs]
    return int(np.max(np.max(units, axis=0) - np.min(units, axis=0)))


def test_results_depend_on_masks_by_the_declared_rounding_only() -> None:
    assert spread(revealed(None), 10) <= 1
    assert spread(revealed(3), 3) <= 1


def test_twin_that_accepts_rounding_shows_masks() -> None:
    program = revealed(32, lambda x: mpc.accept_rounding(mpc.sigmoid(x)))
    assert bits(program) == 32
    assert spread(program, 32) > 4
    assert [a["what"] for a in program.plan(MASKED).assumptions] == ["rounding that depends on masks may be seen"]


# --- what an owner declares


TABLE = {"age": np.array([20.0, 80.0]), "bmi": np.array([21.0, 30.0])}
OTHER = {"age": np.array([1.0, 2.0]), "bmi": np.array([3.0, 70.0])}


@mpc.program
def totals(data: mpc.PerParty[mpc.Table]) -> Any:
    return mpc.reveal(sum(mpc.share(mpc.within(t[["age", "bmi"]], [0, 10], [120, 60]).sum(axis=0)) for t in data))


def test_what_is_declared_of_a_private_value_goes_along_with_it() -> None:
    plan = totals.trace({"data": {"alice": TABLE, "bob": TABLE}}).plan("masked")
    assert not plan.notes


def test_a_value_outside_what_is_declared_is_refused_at_its_owner() -> None:
    done = mpc.emulate(totals, {"data": [TABLE, TABLE]}, 2)
    assert done.results["result"].tolist() == [200.0, 102.0]
    with pytest.raises(mpc.InputError, match=r"bob: .*row 1.*'bmi' is outside the declared range 10 to 60 \(2 such"):
        mpc.emulate(totals, {"data": [TABLE, OTHER]}, 2)


@pytest.mark.parametrize(
    ("made", "lo", "hi"),
    [
        (lambda x: x * 2 - 1, -5.0, 7.0), (lambda x: x / 4, -0.5, 1.0), (lambda x: 1 / (x + 3), 1 / 7, 1.0),
        (lambda x: x.sum(), -6.0, 12.0), (lambda x: x @ np.ones(3), -6.0, 12.0), (lambda x: -x, -4.0, 2.0),
        (lambda x: mpc.clip(x, 0, 1), 0.0, 1.0), (lambda x: mpc.maximum(x, 1), 1.0, 4.0),
        (lambda x: mpc.sqrt(x + 2), 0.0, 6**0.5), (lambda x: mpc.concatenate([x, x * 3]), -6.0, 12.0),
        (lambda x: x[1:], -2.0, 4.0), (lambda x: x * x, -8.0, 16.0), (lambda x: x.mean(), -2.0, 4.0),
    ],
)  # fmt: skip
def test_ranges_of_private_values(made: Any, lo: float, hi: float) -> None:
    @mpc.program
    def shared(x: mpc.Private) -> Any:
        return mpc.reveal(mpc.share(made(mpc.within(x, -2, 4))).sum())

    (share,) = [
        e for e in shared.trace({"x": {"alice": np.zeros(3)}}, ["alice", "bob"]).block.equations if e.op == "share"
    ]
    assert share.params["lo"] == pytest.approx(lo, abs=1e-9)
    assert share.params["hi"] == pytest.approx(hi, abs=1e-9)


def test_a_share_takes_the_narrower_of_two_declarations() -> None:
    @mpc.program
    def shared(x: mpc.Private) -> Any:
        return mpc.reveal(mpc.share(mpc.within(x, 0, 4), range=(-1, 100)))

    text = shared.trace({"x": {"alice": np.zeros(3)}}, ["alice", "bob"]).text
    assert '"hi":4.0,"lo":0.0' in text.split("share", 1)[1]
    assert mpc.Program.parse(text).text == text
