"""What the rules compute: truncation about the wrap, products, the sigmoid; against plain, numpy and each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mpc
from mpc import engine
from mpc.series import series
from mpc.testing import deterministic_entropy
from protocols import BEAVER, MASKED

NAMES = ["alice", "bob", "carol", "dave", "erin"]
SUITES = {"masked": MASKED, "beaver": BEAVER}
TOP = 2**62
LIMIT = float(np.nextafter(2.0**62, 0))


# --- truncation


@mpc.program
def every_truncation(high: mpc.Private, low: mpc.Private):
    """z = high · 2^31 + low, by 1 to 62 bits: one opening, 62 results."""
    upper = mpc.share(high, range=(-(2.0**31), 2.0**31), scale=0)
    z = upper * 2**31 + mpc.share(low, range=(0, 2.0**31), scale=0)
    z = mpc.assume_range(z, -LIMIT, LIMIT)
    return {f"by{t}": mpc.reveal(mpc.rescale(z, -t), bits=-t) for t in range(1, 63)}


def edges() -> list[int]:
    """The ends of the range, zero, and the neighbours of every power of two, of both signs."""
    near = {s * (2**k) + d for k in range(62) for s in (1, -1) for d in (-1, 0, 1)}
    return sorted({-TOP, -TOP + 1, TOP - 1, TOP - 2, 0} | {z for z in near if -TOP <= z < TOP})


def operands(count: int) -> np.ndarray:
    """Edges, random values of every magnitude, and random values of the whole range."""
    rng = np.random.default_rng(62)
    whole = rng.integers(-TOP, TOP, count, dtype=np.int64)
    sized = whole >> rng.integers(0, 62, count)
    return np.concatenate([np.array(edges(), dtype=np.int64), np.where(rng.random(count) < 0.5, whole, sized)])


def halves(z: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    return {"high": {"alice": (z >> 31).astype(float)}, "low": {"bob": (z & (2**31 - 1)).astype(float)}}


@pytest.fixture
def integers(monkeypatch):
    """Results as ring integers: float64 has no room for 62 bits."""
    monkeypatch.setattr(engine, "decode", lambda ring, value, scale, unit: ring.signed(value))


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("n", [2, 3, 5])
def test_truncation_is_exact_about_the_wrap(n, suite, integers):
    """More than a million results for each n: all of them the floor, or one more."""
    z = operands(17_000)
    run = mpc.emulate(every_truncation, halves(z), NAMES[:n], suite=SUITES[suite])
    checked, above = 0, 0
    for t in range(1, 63):
        off = run.results[f"by{t}"] - (z >> t)
        assert set(np.unique(off)) <= {0, 1}
        checked, above = checked + off.size, above + int(off.sum())
    assert checked >= 1_000_000
    assert 0.3 < above / checked < 0.7  # the rounding is the mask's


def test_a_multiple_is_truncated_without_rounding(integers):
    z = (operands(500) >> 20) << 20
    run = mpc.emulate(every_truncation, halves(z), 3, suite=MASKED)
    for t in range(1, 21):
        np.testing.assert_array_equal(run.results[f"by{t}"], z >> t)


def local_truncation(z: np.ndarray, t: int, n: int) -> np.ndarray:
    """The broken twin (SecureML): each party shifts its own share; the last one minus the shift of minus its share."""
    rng = np.random.default_rng(n)
    shares = [rng.integers(0, 2**64, z.shape, dtype=np.uint64) for _ in range(n - 1)]
    last = z.view(np.uint64) - sum(shares[1:], start=shares[0])
    parts = [s >> np.uint64(t) for s in shares] + [np.uint64(0) - ((np.uint64(0) - last) >> np.uint64(t))]
    return sum(parts[1:], start=parts[0]).view(np.int64)


@pytest.mark.parametrize(("n", "wrong"), [(2, 0.05), (3, 0.2)])
def test_the_twin_with_local_truncation_fails(n, wrong):
    """Large values at two parties; at three a quarter to a half of all elements, small ones too."""
    z = operands(100_000)[len(edges()) :]
    off = local_truncation(z, 16, n) - (z >> 16)
    assert np.mean(np.abs(off) > 1) > wrong
    small = np.full(100_000, 12345, dtype=np.int64)
    assert (np.mean(np.abs(local_truncation(small, 4, n) - (small >> 4)) > 1) > wrong) == (n > 2)


def test_a_rule_cannot_truncate_a_share_locally():
    @mpc.protocol
    def cheap(x):
        return x >> 8

    @mpc.program
    def program(x: mpc.Private):
        return mpc.reveal(cheap(mpc.share(x, range=(-1, 1))))

    with pytest.raises(mpc.LeakError, match="shr of a share"):
        program.trace({"x": {"alice": np.zeros(2)}}, NAMES[:2])


def test_a_value_of_2_to_62_is_refused():
    @mpc.program
    def program(x: mpc.Private):
        z = mpc.assume_range(mpc.share(x, range=(-1, 1), scale=0), -(2.0**62), 2.0**62)
        return mpc.reveal(mpc.rescale(z, -4))

    with pytest.raises(mpc.OverflowRefusal, match=r"test_arithmetic.py:\d+.*2\^62"):
        program.trace({"x": {"alice": np.zeros(2)}}, NAMES[:2])


# --- products


@mpc.program
def products(x: mpc.Private, y: mpc.Private, A: mpc.Private):
    a, b, m = (mpc.share(v, range=(-100, 100), scale=12) for v in (x, y, A))
    ab = a * b
    return {
        "elementwise": mpc.reveal(ab, bits=24),
        "broadcast": mpc.reveal(m * a, bits=24),
        "vector": mpc.reveal(m @ a, bits=24),
        "gram": mpc.reveal(m.T @ m, bits=24),
        "square": mpc.reveal(a * a, bits=24),
        "sum": mpc.reveal((a + b) * (a - b) + ab, bits=24),
        "truncated": mpc.reveal(mpc.rescale(ab, 12) * mpc.rescale(ab, 12) + ab * 0, bits=16),
    }


def reals(seed: int = 7) -> dict[str, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    grid = {"x": rng.uniform(-99, 99, 6), "y": rng.uniform(-99, 99, 6), "A": rng.uniform(-99, 99, (4, 6))}
    owners = {"x": "alice", "y": "bob", "A": "bob"}
    return {k: {owners[k]: np.rint(v * 2**12) / 2**12} for k, v in grid.items()}


def in_numpy(given: dict[str, dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    x, y, A = (next(iter(given[k].values())) for k in ("x", "y", "A"))
    return {
        "elementwise": x * y, "broadcast": A * x, "vector": A @ x, "gram": A.T @ A, "square": x * x,
        "sum": (x + y) * (x - y) + x * y, "truncated": (x * y) ** 2,
    }  # fmt: skip


@pytest.mark.parametrize("n", [2, 3, 5])
def test_products_of_both_suites_are_exact(n):
    given = reals()
    expected, plain = in_numpy(given), mpc.simulate(products, given, NAMES[:n])
    runs = {name: mpc.emulate(products, given, NAMES[:n], suite=suite).results for name, suite in SUITES.items()}
    for name, value in expected.items():
        for suite in SUITES:
            if name == "truncated":  # two roundings of 2^-12, times |x·y| ≤ 10^4
                np.testing.assert_allclose(runs[suite][name], value, rtol=0, atol=2 * 1e4 * 2**-12 + 2**-16)
            else:
                np.testing.assert_array_equal(runs[suite][name], value)
                np.testing.assert_array_equal(runs[suite][name], plain[name])


@pytest.mark.parametrize("suite", SUITES)
def test_results_do_not_depend_on_masks_beyond_the_stated_rounding(suite):
    given = reals()
    first, second = (
        mpc.emulate(products, given, 3, suite=SUITES[suite], entropy=deterministic_entropy(3, seed)) for seed in (1, 2)
    )
    assert first.transcripts != second.transcripts
    again = mpc.emulate(products, given, 3, suite=SUITES[suite], entropy=deterministic_entropy(3, 1))
    assert again.transcripts == first.transcripts
    for name, value in first.results.items():
        if name == "truncated":
            assert 0 < np.max(np.abs(value - second.results[name])) < 2 * 1e4 * 2**-12
        else:
            np.testing.assert_array_equal(value, second.results[name])


# --- sigmoid


@mpc.program
def curve(u: mpc.Private, bound: float, gain: float = 1.0):
    value = mpc.sigmoid(mpc.share(u, range=(-bound, bound), scale=16), gain=gain)
    return {"p": mpc.reveal(mpc.accept_rounding(value), bits=40)}


def sigmoid(u: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-u))


@pytest.mark.parametrize(("half", "error"), [(8, 4e-4), (16, 4e-5), (32, 4e-5), (64, 4e-5), (128, 4e-5)])
def test_the_series_is_right_up_to_its_reach(half, error):
    """The shortest one, for |u| ≤ 8, to 4e-4; all others to 4e-5."""
    reach = series(half, half)[2]
    u = np.rint(np.linspace(-reach, reach, 4001) * 2**16) / 2**16
    u = u[np.abs(u) <= reach]
    given = {"u": {"alice": u}}
    plain = mpc.simulate(curve, given, 2, bound=reach)["p"]
    assert np.max(np.abs(plain - sigmoid(u))) < error
    for suite in SUITES.values():
        run = mpc.emulate(curve, given, 2, suite=suite, bound=reach).results["p"]
        assert np.max(np.abs(run - plain)) < 2.0**-26
        assert np.max(np.abs(run - sigmoid(u))) < error


@pytest.mark.parametrize("n", [2, 3, 5])
def test_the_sigmoids_rounding_is_what_its_type_says(n):
    u = np.random.default_rng(n).uniform(-20, 20, 3000)
    given: dict[str, Any] = {"u": {"alice": u}}
    first, second = (
        mpc.emulate(curve, given, NAMES[:n], suite=MASKED, entropy=deterministic_entropy(n, seed), bound=24.0).results[
            "p"
        ]
        for seed in (1, 2)
    )
    spread = np.abs(first - second)
    assert 2.0**-36 < np.mean(spread) < 2.0**-29
    assert np.max(spread) < 2.0**-26


def test_a_gain_is_folded_into_the_series():
    u = np.linspace(-20, 20, 501)
    given = {"u": {"alice": u}}
    value = mpc.emulate(curve, given, 2, suite=MASKED, bound=24.0, gain=0.125).results["p"]
    assert np.max(np.abs(value - sigmoid(np.rint(u * 2**16) / 2**16) / 8)) < 4e-5 / 8


def test_beyond_its_reach_the_series_would_be_wrong_and_is_refused():
    """Rule 13, with its twin: without the refusal the number is wrong by almost one."""
    given = {"u": {"alice": np.array([240.0, 300.0, 500.0])}}
    with pytest.raises(mpc.OverflowRefusal, match="sigmoid"):
        mpc.simulate(curve, given, 2, bound=512.0)
    wrong = mpc.simulate(lying, given, 2)["p"]
    assert abs(wrong[0] - 1) < 4e-5
    assert abs(wrong[2] - 1) > 0.9


@mpc.program
def lying(u: mpc.Private):
    value = mpc.sigmoid(mpc.assume_range(mpc.share(u, range=(-512, 512), scale=16), -245, 245))
    return {"p": mpc.reveal(mpc.accept_rounding(value), bits=40)}
