"""mpc/trig.py: bit-exact, near the true sine, and good enough for the sigmoid."""

from __future__ import annotations

import ast
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mpc import trig

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "vectors" / "trig.json").read_text(encoding="utf-8"))
Words = NDArray[np.uint64]


def weyl(count: int) -> Words:
    return np.arange(count, dtype=np.uint64) * np.uint64(int(VECTORS["golden"], 16))


def digest(*arrays: Words) -> str:
    return hashlib.sha256(b"".join(a.astype("<u8").tobytes() for a in arrays)).hexdigest()


def radians(angle: Words) -> NDArray[np.float64]:
    return angle.view(np.int64) * (2 * np.pi / 2.0**64)


def words(*values: int) -> Words:
    return np.array([v % (1 << 64) for v in values], dtype=np.uint64)


def worst(angle: Words, bits: int) -> float:
    """The largest error in ulps of the result, against float64 (good to 1e-6 of a 32-bit ulp)."""
    sine, cosine = trig.sincos_turns(angle, bits)
    errors = (
        sine.view(np.int64) - np.sin(radians(angle)) * 2.0**bits,
        cosine.view(np.int64) - np.cos(radians(angle)) * 2.0**bits,
    )
    return max(float(np.max(np.abs(e))) for e in errors)


# --- bit for bit


@pytest.mark.parametrize("bits", [31, 32])
def test_vectors_bit_for_bit(bits: int) -> None:
    angle = words(*(int(c["angle"], 16) for c in VECTORS["cases"]))
    want = np.array([c[f"sin_cos_{bits}"] for c in VECTORS["cases"]])
    assert np.array_equal(trig.sin_turns(angle, bits).view(np.int64), want[:, 0])
    assert np.array_equal(trig.cos_turns(angle, bits).view(np.int64), want[:, 1])


@pytest.mark.parametrize("bits", range(1, trig.MAX_BITS + 1))
def test_digest_of_many_angles(bits: int) -> None:
    assert digest(*trig.sincos_turns(weyl(1 << 16), bits)) == VECTORS["sha256_of_65536"][str(bits)]


def test_one_wrong_table_entry_changes_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = trig.table().copy()
    wrong[1234] += 1 << 7
    monkeypatch.setattr(trig, "table", lambda: wrong)
    assert digest(*trig.sincos_turns(weyl(1 << 16), 32)) != VECTORS["sha256_of_65536"]["32"]


@pytest.mark.parametrize("key", VECTORS["series"])
def test_series_bit_for_bit(key: str) -> None:
    half, terms = map(int, key.split(","))
    b = trig.sine_series(half, terms, bits=30)
    assert list(b) == VECTORS["series"][key]["coefficients_30"]
    odd = tuple(range(1, 2 * terms, 2))
    for bits, turned in ((20, False), (18, True)):
        assert trig.by_turning(odd, 30, bits) == turned
        assert digest(*trig.series_tables(weyl(512), odd, b, 30, bits)) == VECTORS["series"][key][f"tables_{bits}"]


def test_what_a_party_evaluates_names_no_float() -> None:
    evaluated = {
        "table",
        "_locate",
        "_turn_by",
        "_evaluate",
        "sin_turns",
        "cos_turns",
        "sincos_turns",
        "angle_words",
        "series_tables",
        "_turned",
    }
    tree = ast.parse(Path(trig.__file__).read_text(encoding="utf-8"))
    found = [f for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) and f.name in evaluated]
    assert {f.name for f in found} == evaluated
    for function in found:
        for node in ast.walk(function):
            assert not (isinstance(node, ast.Constant) and isinstance(node.value, float)), function.name
            assert not isinstance(node, ast.Div), function.name
            assert not (
                isinstance(node, ast.Attribute)
                and node.attr in {"sin", "cos", "float64", "matmul", "dot", "pi"}
                and isinstance(node.value, ast.Name)
                and node.value.id == "np"
            ), function.name


# --- close to the true sine


@pytest.mark.parametrize("bits", [31, 32])
def test_vectors_against_exact_sines(bits: int) -> None:
    limit = 0.5 + 2.0 ** (bits - 36)
    for case in VECTORS["cases"]:
        for got, exact in zip(case[f"sin_cos_{bits}"], case["exact_60"], strict=True):
            assert abs((got << (60 - bits)) - exact) <= limit * 2 ** (60 - bits), case["angle"]


@pytest.mark.parametrize("bits", [8, 16, 24, 31, 32])
def test_error_bound_on_scattered_angles(bits: int) -> None:
    assert worst(weyl(1 << 18), bits) <= 0.5 + 2.0 ** (bits - 36)


def test_error_bound_at_every_table_edge() -> None:
    edges = (np.arange(1 << 14, dtype=np.uint64) << np.uint64(50)) + np.uint64(1 << 49)
    for offset in (-1, 0, 1):
        assert worst(edges + words(offset)[0], 32) <= 0.5 + 2.0**-4


def test_axes_are_exact() -> None:
    axes = words(0, 1 << 62, 1 << 63, 3 << 62)
    for bits in (1, 20, 32):
        assert trig.sin_turns(axes, bits).view(np.int64).tolist() == [0, 1 << bits, 0, -(1 << bits)]
        assert trig.cos_turns(axes, bits).view(np.int64).tolist() == [1 << bits, 0, -(1 << bits), 0]


@given(st.integers(0, 2**64 - 1), st.integers(1, 32))
def test_symmetries_hold_within_one_ulp(angle: int, bits: int) -> None:
    a, mirrored, quarter = words(angle, -angle, angle + (1 << 62))
    sine, cosine = (int(f(words(int(a)), bits).view(np.int64)[0]) for f in (trig.sin_turns, trig.cos_turns))
    assert abs(sine + int(trig.sin_turns(words(int(mirrored)), bits).view(np.int64)[0])) <= 1
    assert abs(cosine - int(trig.sin_turns(words(int(quarter)), bits).view(np.int64)[0])) <= 1
    assert max(abs(sine), abs(cosine)) <= 1 << bits


# --- shapes and refusals


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (5,), (2, 3, 4), ((1 << 14) + 1,), (3, 1 << 14)])
def test_shapes_and_chunks(shape: tuple[int, ...]) -> None:
    angle = weyl(int(np.prod(shape))).reshape(shape)
    sine, cosine = trig.sincos_turns(angle, 30)
    assert sine.shape == cosine.shape == shape
    assert np.array_equal(sine, trig.sin_turns(angle, 30))
    assert np.array_equal(cosine, trig.cos_turns(angle, 30))
    assert sine.dtype == np.uint64


def test_strided_and_untouched_input() -> None:
    angle = weyl(64).reshape(8, 8)
    before = angle.copy()
    assert np.array_equal(trig.sin_turns(angle.T[::2], 30), trig.sin_turns(angle, 30).T[::2])
    assert np.array_equal(angle, before)


@pytest.mark.parametrize("bits", [0, 33, -1])
def test_refuses_other_bits(bits: int) -> None:
    with pytest.raises(ValueError, match="1 to 32 fraction bits"):
        trig.sin_turns(weyl(1), bits)


def test_refuses_other_dtypes() -> None:
    with pytest.raises(TypeError, match="int64"):
        trig.cos_turns(weyl(2).view(np.int64), 20)  # type: ignore[arg-type]


# --- the sigmoid


@pytest.mark.parametrize(
    ("half", "terms", "error"),
    [(16, 8, 4.4e-3), (16, 12, 3.8e-4), (16, 16, 3.3e-5), (32, 16, 4.5e-3), (32, 24, 3.9e-4), (32, 32, 3.3e-5)],
)
def test_series_reaches_the_stated_error(half: int, terms: int, error: float) -> None:
    own = trig.series_error(half, terms, half)
    assert 0.9 * error < own <= error
    assert trig.series_error(half, terms, trig.valid_reach(half, own)) <= 2 * own


def test_series_is_silently_wrong_beyond_its_reach() -> None:
    own = trig.series_error(16, 16, 16)
    assert trig.series_error(16, 16, 2 * 16 - 7) > 20 * own
    assert trig.series_error(16, 16, 40) > 0.9


@pytest.mark.parametrize(("half", "terms"), [(16, 12), (32, 24)])
def test_series_is_the_least_squares_fit(half: int, terms: int) -> None:
    u = (np.arange(8000) + 0.5) / 8000 * half
    basis = np.stack([np.sin((2 * j + 1) * np.pi * u / (2 * half)) for j in range(terms)], axis=1)
    fit = np.linalg.lstsq(basis, np.tanh(u / 2) / 2, rcond=None)[0]
    ours = np.array(trig.sine_series(half, terms, bits=50)) / 2.0**50
    assert np.max(np.abs(fit - ours)) < np.exp(-half)


def test_slope_stretches_the_argument() -> None:
    assert trig.sine_series(16, 12, 2.0, bits=40) == trig.sine_series(32, 12, bits=40)
    assert trig.series_error(16, 24, 16, slope=2.0) == pytest.approx(trig.series_error(32, 24, 32), rel=1e-2)
    assert trig.valid_reach(16, 1e-4, slope=2.0) == pytest.approx(trig.valid_reach(32, 1e-4) / 2)


@pytest.mark.parametrize(
    "call", [(0, 8, 1.0, 20), (16, 0, 1.0, 20), (16, 8, 0.0, 20), (16, 8, -1.0, 20), (16, 8, 1.0, 0)]
)
def test_refuses_what_is_no_series(call: tuple[int, int, float, int]) -> None:
    with pytest.raises(ValueError, match="not a sine series"):
        trig.sine_series(*call[:3], bits=call[3])


def test_angle_words_wrap_with_the_ring() -> None:
    u = words(0, 1 << 20, -(1 << 20), 64 << 20, 65 << 20)
    angle = trig.angle_words(u, 20, 16)
    assert angle.tolist() == [0, 1 << 58, (1 << 64) - (1 << 58), 0, 1 << 58]
    assert trig.angle_words(words(1 << 58), 58, 16).tolist() == [1 << 58]


@pytest.mark.parametrize(("scale", "half"), [(20, 12), (20, 0), (59, 16), (-6, 16)])
def test_angle_words_refuse_what_does_not_divide_the_ring(scale: int, half: int) -> None:
    with pytest.raises(ValueError, match=r"power of two|does not fit the ring"):
        trig.angle_words(words(0), scale, half)


def test_tables_are_rounded_products() -> None:
    angle, odd, b = weyl(600).reshape(20, 30), (1, 3, 5), (1 << 29, -12345678, 1)
    parts = trig.series_tables(angle, odd, b, 30, 28)
    for part, function in zip(parts, (np.sin, np.cos), strict=True):
        assert part.shape == (3, 20, 30)
        for j in range(3):
            exact = b[j] / 2.0**30 * function(odd[j] * radians(angle)) * 2.0**28
            assert np.max(np.abs(part[j].view(np.int64) - exact)) <= 0.5 + 0.6 * abs(b[j]) / 2.0**34 + 1e-5


@pytest.mark.parametrize("terms", [1, 2, 15, 16, 17, 64, 200])
@pytest.mark.parametrize("less", [12, 14])
def test_tables_by_turning_are_rounded_products_too(terms: int, less: int) -> None:
    """The largest coefficients, and many angles."""
    angle, odd = weyl(3_000 // terms * 10).reshape(-1, 10), tuple(range(1, 2 * terms, 2))
    b = ((1 << 30) - 1,) * terms
    assert trig.by_turning(odd, 42, 42 - less)
    parts = trig.series_tables(angle, odd, b, 42, 42 - less)
    multiples = np.multiply.outer(np.array(odd, np.uint64), angle)  # wraps as turns do
    for part, function in zip(parts, (np.sin, np.cos), strict=True):
        exact = b[0] / 2.0**less * function(radians(multiples))
        assert np.max(np.abs(part.view(np.int64) - exact)) <= 0.5 + 25 / 2.0**less + 1e-5


@pytest.mark.parametrize("terms", [1, 8, 17])
def test_tables_by_turning_hold_no_more_rows_than_terms(terms: int) -> None:
    sines, cosines = trig.series_tables(weyl(100), tuple(range(1, 2 * terms, 2)), (1 << 29,) * terms, 40, 20)
    assert sines.shape == cosines.shape == (terms, 100)
    owner = sines
    while owner.base is not None:
        owner = owner.base
    assert owner.nbytes == sines.nbytes + cosines.nbytes


def test_turns_drift_by_no_more_than_is_said_and_by_some() -> None:
    angle, odd = weyl(20_000), tuple(range(1, 33, 2))
    sine = trig.series_tables(angle, odd, (1 << 29,) * 16, 41, 29)[0].view(np.int64)
    exact = 2.0**17 * np.sin(radians(np.multiply.outer(np.array(odd, np.uint64), angle)))
    drift = np.max(np.abs(sine - exact), axis=1) - 0.5
    assert drift[-1] < 25 * 2.0**-13
    assert drift[-1] > drift[0] + 2.0**-13


@pytest.mark.parametrize(
    ("odd", "cbits", "bits"), [((1, 3, 5), 30, 19), ((1, 3, 7), 30, 18), ((3, 5), 30, 18), ((2, 4), 40, 20)]
)
def test_nothing_else_is_turned(odd: tuple[int, ...], cbits: int, bits: int) -> None:
    assert not trig.by_turning(odd, cbits, bits)
    b, angle = (1 << 29,) * len(odd), weyl(300)
    sines = trig.series_tables(angle, odd, b, cbits, bits)[0].view(np.int64)
    looked_up = trig.sin_turns(np.multiply.outer(np.array(odd, np.uint64), angle), trig.MAX_BITS).view(np.int64)
    drop = trig.MAX_BITS + cbits - bits
    assert np.array_equal(sines, (looked_up * b[0] + (1 << (drop - 1))) >> drop)


@pytest.mark.parametrize(
    ("odd", "b", "cbits", "bits"),
    [
        ((1, 3), (1,), 30, 20),
        ((1,), (1 << 30,), 30, 20),
        ((1,), (1,), 10, 42),
        ((1,), (1,), 10, 0),
        ((1,), (1,), 62, 30),
    ],
)
def test_tables_refuse(odd: tuple[int, ...], b: tuple[int, ...], cbits: int, bits: int) -> None:
    with pytest.raises(ValueError, match=r"multiples|too|use fewer|cannot come"):
        trig.series_tables(weyl(2), odd, b, cbits, bits)


def test_tables_of_tiny_coefficients() -> None:
    """The last shift that fits: 63 bits."""
    part = trig.series_tables(words(1 << 62), (1,), ((1 << 30) - 1,), 62, 31)[0]
    assert part.tolist() == [[0]]
    assert trig.series_tables(words(1 << 62), (1,), ((1 << 30) - 1,), 61, 31)[0].tolist() == [[1]]


def masked_series(u: Words, lam: Words, half: int, terms: int, p: int, q: int) -> NDArray[np.float64]:
    """What the parties compute together, in the clear: public factors of Δ = u + λ, dealt factors of λ."""
    odd, b = tuple(range(1, 2 * terms, 2)), trig.sine_series(half, terms, bits=30)
    angle, mask = trig.angle_words(u + lam, 20, half), trig.angle_words(lam, 20, half)
    sines, cosines = trig.series_tables(angle, odd, b, 30, p)
    dealt_sin, dealt_cos = trig.sincos_turns(np.multiply.outer(np.array(odd, dtype=np.uint64), mask), q)
    total = (sines * dealt_cos - cosines * dealt_sin).sum(axis=0)
    return np.asarray(total.view(np.int64) / 2.0 ** (p + q))


def test_masked_sigmoid_for_any_mask() -> None:
    u = np.arange(-24 << 20, 24 << 20, 12345, dtype=np.int64).view(np.uint64)
    lam = weyl(u.size + 1)[1:]
    real = u.view(np.int64) / 2.0**20
    error = np.abs(0.5 + masked_series(u, lam, 16, 12, 24, 24) - 1 / (1 + np.exp(-real)))
    assert np.max(error) < 5.2e-4


@pytest.mark.parametrize(
    ("half", "terms", "p", "q"),
    [(16, 8, 20, 20), (16, 12, 20, 20), (16, 12, 18, 24), (16, 12, 24, 18), (16, 16, 24, 24), (32, 32, 28, 24)],
)
def test_noise_is_as_the_formula_says(half: int, terms: int, p: int, q: int) -> None:
    b = trig.sine_series(half, terms, bits=30)
    u = (weyl(20_000) >> np.uint64(39)) - np.uint64(16 << 20)
    angle = radians(trig.angle_words(u, 20, half))
    clear = np.sum([c / 2.0**30 * np.sin((2 * j + 1) * angle) for j, c in enumerate(b)], axis=0)
    noise = masked_series(u, u * np.uint64(0x2545F4914F6CDD1D) ^ weyl(20_000), half, terms, p, q) - clear
    assert float(np.std(noise)) == pytest.approx(trig.series_noise(b, 30, p, q), rel=0.05)
    assert abs(float(np.mean(noise))) < 0.1 * float(np.std(noise))
