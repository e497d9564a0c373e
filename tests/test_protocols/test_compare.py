"""Comparison by one-hot tables, and what stands on it: against numpy, with exact costs, and with broken twins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mpc
from mpc.checker import check_openings
from mpc.rules import Rule, RuleTrace
from protocols import BEAVER, MASKED, compare

NAMES = ["alice", "bob", "carol", "dave", "erin"]
SUITES = [MASKED, BEAVER]
RANGE = (-(2.0**14), 2.0**14 - 1)


@mpc.program
def less(x: mpc.Private, y: mpc.Private, scale: int = 16) -> Any:
    a, b = (mpc.share(v, range=RANGE, scale=scale) for v in (x, y))
    return {"lt": mpc.reveal(a < b), "eq": mpc.reveal(a == b)}


@mpc.program
def signs(x: mpc.Private, bits: int = 31) -> Any:
    a = mpc.share(x, range=(-(2.0**bits) + 1, 2.0**bits - 1), scale=0)
    return {"negative": mpc.reveal(mpc.is_negative(a)), "zero": mpc.reveal(mpc.is_zero(a))}


def edges(bits: int) -> np.ndarray:
    """All powers of two and their neighbours, of both signs, and numbers whose bytes are 0 or 255."""
    whole = {0, *(s * ((1 << k) + d) for k in range(bits) for d in (-1, 0, 1) for s in (1, -1))}
    whole |= {s * ((0x00FF00FF >> k) & ((1 << bits) - 1)) for k in range(24) for s in (1, -1)}
    return np.array(sorted(v for v in whole if abs(v) < 1 << bits), dtype=np.float64)


@pytest.mark.parametrize("bits", [1, 6, 7, 8, 15, 23, 24, 31, 39])
@pytest.mark.parametrize("suite", SUITES, ids=lambda s: s.name)
def test_every_width_at_its_edges(suite: mpc.Suite, bits: int) -> None:
    x = edges(bits)
    got = mpc.emulate(signs, {"x": {"alice": x}}, 3, suite=suite, bits=bits).results
    np.testing.assert_array_equal(got["negative"], x < 0)
    np.testing.assert_array_equal(got["zero"], x == 0)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_no_error_in_many_random_values(n: int) -> None:
    rng = np.random.default_rng(n)
    x = rng.integers(-(2**31) + 1, 2**31, 340_000).astype(np.float64)
    got = mpc.emulate(signs, {"x": {"bob": x}}, n, suite=MASKED).results
    assert np.array_equal(got["negative"], x < 0)
    assert np.array_equal(got["zero"], x == 0)


@pytest.mark.parametrize("n", [2, 3])
def test_two_rounds_and_five_bytes_for_32_bits(n: int) -> None:
    """4 bytes of x + r modulo 2^32, and 7 bits; 320 dealt bytes; then one round that reveals to alice."""

    @mpc.program
    def only_less(x: mpc.Private, y: mpc.Private) -> Any:
        a, b = (mpc.share(v, range=RANGE) for v in (x, y))
        return mpc.reveal(a < b, to="alice")

    given_ = {"x": {"alice": np.linspace(-9, 9, 100)}, "y": {"bob": np.zeros(100)}}
    plan = only_less.trace(given_, NAMES[:n]).plan(MASKED)
    assert plan.rounds == 3
    assert plan.bytes_sent["alice"] == 5 * 100 * (n - 1)
    assert sum(plan.dealt_bytes.values()) == 320 * 100
    run = mpc.emulate(only_less, given_, n, suite=MASKED)
    assert (run.rounds, run.bytes_sent, run.dealt_bytes) == (plan.rounds, plan.bytes_sent, plan.dealt_bytes)


def test_a_wire_is_compared_in_one_round() -> None:
    """x is there as a wire because of the product; only the 7 bits are opened for the comparison."""

    @mpc.program
    def both(x: mpc.Private, y: mpc.Private) -> Any:
        a, b = (mpc.share(v, range=RANGE, scale=8) for v in (x, y))
        return {"p": mpc.reveal(a * b), "n": mpc.reveal(a < 0)}

    traced = both.trace({"x": {"alice": np.ones(3)}, "y": {"bob": np.ones(3)}})
    opened = [e.params["width"] for e in traced.lower(MASKED).block.equations if e.op == "open"]
    assert opened == [5]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-40, 40), min_size=1, max_size=9), st.sampled_from(SUITES))
def test_order_is_numpys(values: list[int], suite: mpc.Suite) -> None:
    x = np.array(values) / 4

    @mpc.program
    def order(x: mpc.Private) -> Any:
        a = mpc.share(x, range=(-10, 10))
        return {
            "sort": mpc.reveal(mpc.sort(a)), "max": mpc.reveal(np.max(a)), "min": mpc.reveal(mpc.min(a)),
            "argmax": mpc.reveal(mpc.argmax(a)), "argmin": mpc.reveal(mpc.argmin(a)), "sign": mpc.reveal(mpc.sign(a)),
            "absolute": mpc.reveal(mpc.absolute(a)), "relu": mpc.reveal(mpc.relu(a)),
            "clip": mpc.reveal(mpc.clip(a, -1.5, 2.0)), "median": mpc.reveal(mpc.median(a)),
            "quantile": mpc.reveal(mpc.quantile(a, 0.25)), "top": mpc.reveal(mpc.top_k(a, 1)),
            "where": mpc.reveal(mpc.where(a >= 1, a, -1.0)), "if_else": mpc.reveal(mpc.if_else(a >= 1, a, -1.0)),
        }  # fmt: skip

    wanted = {
        "sort": np.sort(x), "max": x.max(), "min": x.min(), "argmax": x.argmax(), "argmin": x.argmin(),
        "sign": np.sign(x), "absolute": abs(x), "relu": x.clip(0), "clip": x.clip(-1.5, 2.0), "median": np.median(x),
        "quantile": np.quantile(x, 0.25), "top": x.max(keepdims=True), "where": np.where(x >= 1, x, -1.0),
        "if_else": np.where(x >= 1, x, -1.0),
    }  # fmt: skip
    got = mpc.emulate(order, {"x": {"alice": x}}, 2, suite=suite).results
    plain = mpc.simulate(order, {"x": {"alice": x}}, 2)
    for name, value in wanted.items():
        np.testing.assert_allclose(got[name], value, atol=2**-14, err_msg=name)
        np.testing.assert_allclose(plain[name], value, atol=2**-14, err_msg=name)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 9)), max_size=9), st.sampled_from(SUITES))
def test_what_is_moved_along_stays_with_its_key(drawn: list[tuple[int, int]], suite: mpc.Suite) -> None:
    """Of equal keys any may come first; no value leaves its key."""
    keys, values = (np.array([d[i] for d in drawn], dtype=float) for i in (0, 1))

    @mpc.program
    def moved(keys: mpc.Private, values: mpc.Private) -> Any:
        k, v = mpc.sort_by(mpc.share(keys, range=(-4, 4)), mpc.share(values, range=(0, 9), scale=0))
        return {"keys": mpc.reveal(k), "values": mpc.reveal(v)}

    got = mpc.emulate(moved, {"keys": {"alice": keys}, "values": {"bob": values}}, 2, suite=suite).results
    np.testing.assert_array_equal(got["keys"], np.sort(keys))
    assert sorted(zip(got["keys"], got["values"], strict=True)) == sorted(zip(keys, values, strict=True))


@pytest.mark.parametrize("suite", SUITES, ids=lambda s: s.name)
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (3, 0), (1,), (1, 1)])
def test_no_elements_and_no_dimensions(shape: tuple[int, ...], suite: mpc.Suite) -> None:
    x = np.full(shape, -1.5)

    @mpc.program
    def little(x: mpc.Private) -> Any:
        a = mpc.share(x, range=(-10, 10))
        found = {"less": a < 0, "equal": a == -1.5, "relu": mpc.relu(a), "clip": np.clip(a, -1, 1), "sign": mpc.sign(a)}
        if shape:
            found["sort"] = mpc.sort(a)
        return {name: mpc.reveal(v) for name, v in found.items()}

    want = {"less": x < 0, "equal": x == -1.5, "relu": x.clip(0), "clip": x.clip(-1, 1), "sign": np.sign(x), "sort": x}
    for name, value in mpc.emulate(little, {"x": {"alice": x}}, 2, suite=suite).results.items():
        assert np.shape(value) == shape
        np.testing.assert_array_equal(value, want[name], err_msg=name)


def test_along_an_axis() -> None:
    m = np.random.default_rng(2).integers(-20, 20, (3, 5)) / 4

    @mpc.program
    def along(x: mpc.Private) -> Any:
        a = mpc.share(x, range=(-8, 8))
        return {
            "rows": mpc.reveal(np.sort(a, axis=0)), "columns": mpc.reveal(mpc.sort(a)),
            "most": mpc.reveal(mpc.argmax(a, axis=0)), "middle": mpc.reveal(mpc.median(a, axis=1)),
            "top": mpc.reveal(mpc.top_k(a, 2, axis=1)),
        }  # fmt: skip

    got = mpc.emulate(along, {"x": {"alice": m}}, 2, suite=MASKED).results
    np.testing.assert_array_equal(got["rows"], np.sort(m, axis=0))
    np.testing.assert_array_equal(got["columns"], np.sort(m))
    np.testing.assert_array_equal(got["most"], m.argmax(axis=0))
    np.testing.assert_array_equal(got["middle"], np.median(m, axis=1))
    np.testing.assert_array_equal(got["top"], np.sort(m)[:, :-3:-1])


def test_refusals() -> None:
    def traced(body: Any) -> None:
        mpc.program(lambda x: {"r": mpc.reveal(body(mpc.share(x[0])))}).trace({"x": {"alice": np.ones(3)}}, NAMES[:2])

    with pytest.raises(mpc.ProgramError, match=r"test_compare.py:\d+: .*0 or 1"):
        traced(lambda a: mpc.where(a, a, 0))
    with pytest.raises(mpc.ProgramError, match="of no elements"):
        traced(lambda a: mpc.max(a[:0]))
    with pytest.raises(mpc.ProgramError, match="between 0 and 1"):
        traced(lambda a: mpc.quantile(a, 2))
    with pytest.raises(TypeError, match=r"use mpc\.where"):
        traced(lambda a: a + 1 if a[0] < 1 else a)


def test_the_openings_are_masked_and_the_twin_without_a_mask_is_refused() -> None:
    for width in (8, 32):
        check_openings(_lowered(compare.negative, width))

    def naked(x: Any, width: int) -> Any:
        c, r = mpc.masked_low(x, width)
        opened = mpc.open(mpc.look(mpc.deal(mpc.onehot(r, width)), c, width, "less"))
        return mpc.bit(opened, 0) * mpc.deal(r)

    def reused(x: Any, width: int) -> Any:
        c, r = mpc.masked_low(x, width)
        bits = mpc.mask(x.shape, bits=2 * ((width + 6) // 8) - 1)
        hot = mpc.deal(mpc.onehot(r, width))
        first = mpc.open(mpc.look(hot, c, width, "less") + bits)
        second = mpc.open(mpc.look(hot, c + 1, width, "less") + bits)
        return (mpc.bit(first, 0) + mpc.bit(second, 0)) * mpc.deal(r)

    for twin in (naked, reused):
        with pytest.raises(mpc.LeakError):
            check_openings(_lowered(mpc.protocol(twin), 32))


def _lowered(rule: Rule, width: int) -> Any:
    """A rule's block, with its `masked_low` written out as a fresh opening."""
    trace = RuleTrace(64)
    block = rule.block([(3,)], {"width": width}, 64)
    with trace.recording():
        known = {block.params[0]: trace.wrap(trace.fresh(block.params[0].type), trace.frames[0])}
        trace.frames[0].block.params = tuple(v.var for v in known.values())
        for e in block.equations:
            if e.op == "masked_low":
                r = mpc.mask((3,))
                outputs = [mpc.open(known[e.inputs[0]] + r, width), r]
            else:
                outputs = [trace.emit(e.op, [known[v] for v in e.inputs], e.params)]
            known.update(zip(e.outputs, outputs, strict=True))
    return trace.frames[0].block
