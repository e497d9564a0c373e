"""Elementary functions of secrets against numpy: their stated errors, costs, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mpc

Function = Callable[[Any], Any]
ULP = 2.0**-16  # of an input, and of what is revealed
ERROR = 2.0**-20  # of a function whose docstring says so

CASES: list[tuple[str, Function, Function, float, float, float, float]] = [
    # name, of secrets, of floats, range, absolute error, relative error
    ("reciprocal", mpc.reciprocal, lambda x: 1 / x, 1 / 256, 256, 0, ERROR),
    ("reciprocal of one power of two", mpc.reciprocal, lambda x: 1 / x, 1, 1.99, 0, ERROR),
    ("division", lambda x: 3 / x, lambda x: 3 / x, 0.5, 1000, 0, ERROR),
    ("division by what is negative", lambda x: 3 / x, lambda x: 3 / x, -1000, -0.5, 0, ERROR),
    ("sqrt", mpc.sqrt, np.sqrt, 0, 1000, 0, ERROR),
    ("sqrt of large numbers", mpc.sqrt, np.sqrt, 2**20, 2**30, 0, ERROR),
    ("rsqrt", mpc.rsqrt, lambda x: 1 / np.sqrt(x), 1 / 256, 1000, 0, ERROR),
    ("log", mpc.log, np.log, 2**-16, 1000, ERROR, 0),
    ("exp", mpc.exp, np.exp, -16, 4, ERROR, ERROR),
    ("exp of one piece", mpc.exp, np.exp, -0.5, 0.5, ERROR, ERROR),
    ("exp far below 0", mpc.exp, np.exp, -1000, 0, ERROR, ERROR),
    ("exp up to its end", mpc.exp, np.exp, -20, 20, 2.0**-30 * np.exp(20), ERROR),
    ("sin", mpc.sin, np.sin, -100, 100, ERROR + 200 * 2.0**-30, 0),
    ("cos", mpc.cos, np.cos, -3, 3, ERROR, 0),
    ("polynomial", lambda x: mpc.polynomial(x, [1, -2, 0, 0.5]), lambda x: 1 - 2 * x + x**3 / 2, -2, 2, ERROR, 0),
]


def points(lo: float, hi: float, n: int) -> np.ndarray:
    """The ends, powers of two and their neighbours, and points spread evenly and by magnitude; multiples of an ulp."""
    rng = np.random.default_rng(1)
    spread = rng.uniform(lo, hi, n)
    sign = -1.0 if hi <= 0 else 1.0
    top = max(abs(lo), abs(hi))
    sizes = sign * np.exp(rng.uniform(np.log(max(min(abs(lo), abs(hi)), ULP) if lo * hi >= 0 else ULP), np.log(top), n))
    powers = sign * 2.0 ** np.arange(-16, 31)
    near = np.concatenate([powers - ULP, powers, powers + ULP, [lo, hi]])
    whole = np.round(np.concatenate([spread, sizes, near]) / ULP) * ULP
    inside: np.ndarray = whole[(whole >= lo) & (whole <= hi)]
    return inside


def applied(f: Function, lo: float, hi: float) -> mpc.ProgramFunction:
    def result(x: mpc.Private) -> Any:
        return mpc.reveal(f(mpc.share(x, range=(lo, hi))), bits=24)

    return mpc.program(result)


@pytest.mark.parametrize("suite", ["masked", "beaver"])
@pytest.mark.parametrize(("name", "f", "known", "lo", "hi", "absolute", "relative"), CASES, ids=[c[0] for c in CASES])
def test_a_function_keeps_its_stated_error(
    name: str, f: Function, known: Function, lo: float, hi: float, absolute: float, relative: float, suite: str
) -> None:
    x = points(lo, hi, 2000)
    got = mpc.emulate(applied(f, lo, hi), {"x": {"alice": x}}, parties=2, suite=suite).results["result"]
    want = known(x)
    allowed = absolute + relative * np.abs(want) + 2.0**-23  # and the two roundings of what is revealed
    assert np.all(np.abs(got - want) <= allowed), (name, float(np.max(np.abs(got - want) - allowed)))


@pytest.mark.parametrize("parties", [3, 5])
@pytest.mark.parametrize(("name", "f", "known", "lo", "hi", "absolute", "relative"), CASES, ids=[c[0] for c in CASES])
def test_more_parties_give_the_same(
    name: str, f: Function, known: Function, lo: float, hi: float, absolute: float, relative: float, parties: int
) -> None:
    x = points(lo, hi, 50)
    program = applied(f, lo, hi)
    got = mpc.emulate(program, {"x": {"alice": x}}, parties=parties).results["result"]
    plain = mpc.simulate(program, {"x": {"alice": x}})["result"]
    assert np.all(np.abs(got - plain) <= absolute + relative * np.abs(known(x)) + 2.0**-23), name


def test_nothing_but_a_secret_is_taken():
    for f in (mpc.exp, mpc.log, mpc.reciprocal, mpc.rsqrt, mpc.sin, mpc.cos, mpc.tanh, mpc.softmax, mpc.at_least):
        with pytest.raises(TypeError, match=r"mpc\.\w+ takes a secret value"):
            applied(lambda x, f=f: f(2.0, [1]) if f is mpc.at_least else f(2.0), 0, 1).trace(
                {"x": {"alice": 1.0}}, ["alice", "bob"]
            )


def test_an_exponential_that_would_leave_the_ring_is_refused():
    with pytest.raises(mpc.OverflowRefusal, match=r"test_elementary.py:\d+: exp: its argument may be 21, and e\^20"):
        applied(mpc.exp, 0, 21).trace({"x": {"alice": 1.0}}, ["alice", "bob"])


@pytest.mark.parametrize("suite", ["masked", "beaver"])
def test_softmax_and_tanh(suite: str) -> None:
    @mpc.program
    def both(x: mpc.Private) -> dict[str, Any]:
        shared = mpc.share(x, range=(-20, 20))
        wave = mpc.accept_rounding(mpc.tanh(shared))
        return {"softmax": mpc.reveal(mpc.softmax(shared), bits=24), "tanh": mpc.reveal(wave, bits=24)}

    x = points(-20, 20, 200)[:240].reshape(-1, 8)
    got = mpc.emulate(both, {"x": {"alice": x}}, parties=2, suite=suite).results
    grown = np.exp(x - x.max(axis=1, keepdims=True))
    assert np.max(np.abs(got["softmax"] - grown / grown.sum(axis=1, keepdims=True))) <= 2.0**-16
    assert np.max(np.abs(got["tanh"] - np.tanh(x))) <= 8e-5


@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 3)])
@pytest.mark.parametrize("f", [mpc.exp, mpc.log, mpc.reciprocal, mpc.sqrt, mpc.rsqrt, mpc.sin, mpc.tanh])
def test_shapes_are_kept(f: Function, shape: tuple[int, ...]) -> None:
    @mpc.program
    def program(x: mpc.Private) -> Any:
        return mpc.reveal(f(mpc.share(x, range=(1, 4))))

    x = np.full(shape, 2.5)
    assert np.shape(mpc.emulate(program, {"x": {"alice": x}}, parties=2).results["result"]) == shape


def test_numpy_s_names_reach_them():
    x = np.array([0.5, 1.0, 2.0])
    for theirs in (np.exp, np.log, np.sqrt, np.tanh, np.sin, np.cos, np.reciprocal):
        program = applied(lambda s, theirs=theirs: mpc.accept_rounding(theirs(s)), 0.25, 4)
        got = mpc.emulate(program, {"x": {"alice": x}}, parties=2).results["result"]
        assert np.allclose(got, theirs(x), atol=1e-4)


def test_thresholds_are_exact():
    x = points(-8, 8, 3000)
    ends = [-8, -1.5, 0, 2.0**-16, 0.3, 7.999]

    @mpc.program
    def program(x: mpc.Private) -> Any:
        return mpc.reveal(mpc.at_least(mpc.share(x, range=(-8, 8)), ends))

    for suite in ("masked", "beaver"):
        run = mpc.emulate(program, {"x": {"alice": x}}, parties=3, suite=suite)
        assert np.array_equal(run.results["result"], x[:, None] >= np.array(ends))
    plan = program.trace({"x": {"alice": x}}, ["alice", "bob"]).plan("masked")
    # for each x 3 bytes of its opening; for each point one byte of bits, and 8 of the result
    assert plan.rounds == 3
    assert plan.bytes_sent["bob"] == len(x) * (3 + len(ends) * (1 + 8))
