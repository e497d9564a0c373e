"""mpc/native.py: compiled kernels give numpy's words to the last bit, and are chosen by the program's size alone."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mpc
from mpc import native, trig
from mpc.kernels import KERNELS
from mpc.ring import RING64, Bits
from mpc.testing import deterministic_entropy
from protocols import suites

RNG = np.random.default_rng(5)
EDGES = np.array([0, 1, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 1], dtype=np.uint64)


def words(*shape: int) -> Any:
    values = RNG.integers(0, 2**64, shape, dtype=np.uint64)
    edge = RNG.random(shape) < 0.2
    return np.where(edge, RNG.choice(EDGES, shape), values)


@pytest.fixture(autouse=True)
def compiled() -> Iterator[None]:
    pytest.importorskip("numba")
    assert native.load()
    yield
    native.unload()


def numpys(op: Any) -> Any:
    """The same, by numpy alone."""
    native.unload()
    try:
        return op()
    finally:
        native.load()


sizes = st.integers(0, 70)


@settings(max_examples=150, deadline=None)
@given(sizes, sizes, sizes, st.sampled_from(["mm", "mv", "vm", "tm", "mt", "tv", "vt", "view", "read"]))
def test_products_are_numpys(n: int, m: int, p: int, form: str) -> None:
    x, y = {
        "mm": lambda: (words(n, m), words(m, p)),
        "mv": lambda: (words(n, 40 * m), words(40 * m)),
        "vm": lambda: (words(40 * m), words(40 * m, p)),
        "tm": lambda: (words(m, n).T, words(m, p)),
        "mt": lambda: (words(n, m), words(p, m).T),
        "tv": lambda: (words(40 * m, n).T, words(40 * m)),
        "vt": lambda: (words(40 * m), words(p, 40 * m).T),
        "view": lambda: (words(2 * n, m)[::2], words(m, 3 * p)[:, ::3]),
        "read": lambda: (words(n, m), words(m, p)),
    }[form]()
    if form == "read":
        x.flags.writeable = False
    assert np.array_equal(RING64.matmul(x, y), np.matmul(x, y))


def by_halves(x: Any, y: Any, *scratch: Any) -> Any:
    from mpc import compiled

    out = words(x.shape[0], y.shape[1])
    compiled.matmul_split(x, y, *(scratch or compiled.scratch(*y.shape)), out)
    return out


def by_words(x: Any, y: Any) -> Any:
    from mpc import compiled

    out = words(x.shape[0], y.shape[1])
    compiled.matmul_whole(x, y, out)
    return out


@settings(max_examples=150, deadline=None)
@given(sizes, sizes, sizes, st.integers(1, 4), st.integers(1, 20))
def test_both_kernels_of_a_product_are_numpys(n: int, m: int, p: int, tiles: int, depth: int) -> None:
    """Whichever of them this CPU would get; the one by halves with panels of any size too."""
    x, y = words(n, m), words(m, p)
    right = np.matmul(x, y)
    assert np.array_equal(by_words(x, y), right)
    assert np.array_equal(by_halves(x, y), right)
    assert np.array_equal(by_halves(x, y, words(tiles, depth, 4), words(6, 4)), right)


@pytest.mark.parametrize("shape", [(0, 0, 0), (1, 300, 1), (1, 1, 300), (300, 1, 1), (7, 251, 257), (20, 503, 515)])
def test_products_of_more_than_a_panel_are_numpys(shape: tuple[int, int, int]) -> None:
    n, m, p = shape
    x, y = words(n, m), words(m, p)
    assert np.array_equal(by_halves(x, y), np.matmul(x, y))
    assert np.array_equal(by_words(x, y), np.matmul(x, y))


def test_the_largest_words_multiply_by_halves() -> None:
    x = np.full((7, 600), 2**64 - 1, np.uint64)
    assert np.array_equal(by_halves(x, np.ascontiguousarray(x.T)), np.full((7, 7), 600, np.uint64))


@pytest.mark.parametrize(
    ("able", "halves"),
    [({"avx2": True, "avx512dq": False}, True), ({"avx2": True, "avx512dq": True}, False), ({}, False), (None, False)],
)
def test_the_cpu_decides_how_words_are_multiplied(
    able: dict[str, bool] | None, halves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mpc import compiled

    def features() -> dict[str, bool]:
        if able is None:
            raise RuntimeError("failed to get host cpu features.")
        return able

    monkeypatch.setattr("llvmlite.binding.get_host_cpu_features", features)
    assert compiled._multiplies_halves_faster() == halves


@pytest.mark.parametrize("halves", [False, True])
def test_a_product_goes_to_the_kernel_that_was_chosen(halves: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from mpc import compiled

    used = []
    for name in ("matmul_split", "matmul_whole"):
        kernel = getattr(compiled, name)
        monkeypatch.setattr(compiled, name, lambda *a, name=name, kernel=kernel: (used.append(name), kernel(*a)))
    monkeypatch.setattr(compiled, "_HALVES", halves)
    for rows in (20, 3):
        x, y = words(rows, 40), words(40, 50)
        assert np.array_equal(native.matmul(x, y), np.matmul(x, y))
    assert used == ["matmul_split" if halves else "matmul_whole", "matmul_whole"]


@pytest.mark.parametrize(
    ("left", "right"), [((3, 40, 50), (50, 60)), ((40, 50), (3, 50, 6)), ((2, 1, 40, 50), (3, 50, 9))]
)
def test_stacks_of_matrices_are_numpys(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    x, y = words(*left), words(*right)
    assert np.array_equal(native.matmul(x, y), np.matmul(x, y))


def test_a_product_of_shapes_that_do_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(50, 60\)"):
        native.matmul(words(50, 60), words(61, 60))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, trig.MAX_BITS), st.integers(1, 9), st.integers(0, 200))
def test_sines_are_those_of_trig(bits: int, terms: int, n: int) -> None:
    angle, odd = words(n), tuple(range(1, 2 * terms, 2))
    sines, cosines = native.sincos_turns(angle, bits, odd)
    right = trig.sincos_turns(np.multiply.outer(np.array(odd, dtype=np.uint64), angle), bits)
    assert np.array_equal(sines, right[0])
    assert np.array_equal(cosines, right[1])


@settings(max_examples=60, deadline=None)
@given(st.integers(12, 50), st.data(), st.integers(1, 9))
def test_series_are_those_of_trig(cbits: int, data: st.DataObject, terms: int) -> None:
    bits = data.draw(st.integers(max(1, cbits - 31), cbits + 31))
    coefficients = tuple(int(c) for c in RNG.integers(-(2**30) + 1, 2**30, terms))
    angle, odd = words(3, 20), tuple(range(1, 2 * terms, 2))
    found = native.series_tables(angle, odd, coefficients, cbits, bits)
    right = trig.series_tables(angle, odd, coefficients, cbits, bits)
    assert all(np.array_equal(f, r) for f, r in zip(found, right, strict=True))


@settings(max_examples=60, deadline=None)
@given(st.integers(32, 60), st.integers(-1, 31), st.sampled_from([1, 2, 16, 17, 40]), st.sampled_from([0, 1, 60, 1100]))
def test_sums_of_series_are_those_of_trig(cbits: int, less: int, terms: int, n: int) -> None:
    """At the edges of what is turned on too, with coefficients of either sign up to the largest."""
    odd, largest = tuple(range(1, 2 * terms, 2)), 2**30 - 1
    coefficients = (largest, -largest, *(int(c) for c in RNG.integers(-largest, largest + 1, terms)))[:terms]
    angle, cosines, sines = words(n), words(terms, n), words(terms, n)
    angle[:5] = np.array([0, 1 << 62, 1 << 63, 3 << 62, 1 << 61], np.uint64)[: len(angle[:5])]
    found = native.sine_sum(odd, coefficients, cbits, cbits - less)(angle, cosines, sines)
    by_sine, by_cosine = trig.series_tables(angle, odd, coefficients, cbits, cbits - less)
    assert np.array_equal(found, (by_sine * cosines - by_cosine * sines).sum(axis=0, dtype=np.uint64))


def test_a_wrong_series_is_refused_as_by_trig() -> None:
    with pytest.raises(ValueError, match="multiples"):
        native.series_tables(words(3), (1, 3), (5,), 30, 20)
    with pytest.raises(ValueError, match="2\\^30"):
        native.series_tables(words(3), (1,), (1 << 30,), 30, 20)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 64), st.integers(0, 60), st.sampled_from(["less", "equal"]))
def test_tables_of_comparison_are_numpys(width: int, n: int, what: str) -> None:
    r, c = words(n, 2), words(n, 2)
    hot = KERNELS["onehot"](Bits(64), {"width": width}, r)
    assert np.array_equal(hot, numpys(lambda: KERNELS["onehot"](Bits(64), {"width": width}, r)))
    shares = hot ^ words(*hot.shape)
    params = {"width": width, "what": what}
    found = KERNELS["look"](Bits(64), params, shares, c)
    assert np.array_equal(found, numpys(lambda: KERNELS["look"](Bits(64), params, shares, c)))


def test_compiled_kernels_name_no_float() -> None:
    """Public numbers that multiply shares come from integers alone."""
    source = Path(str(importlib.util.find_spec("mpc.compiled").origin)).read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        assert not (isinstance(node, ast.Constant) and isinstance(node.value, float))
        assert not isinstance(node, ast.Div)
        assert not (isinstance(node, ast.Attribute) and node.attr in {"float64", "float32", "fastmath"})


@mpc.program
def fit(X: mpc.Private, w: mpc.Private, steps: int = 3):
    x, start = mpc.share(X, range=(-1, 1), scale=10), mpc.share(w, range=(-1, 1), scale=10)

    def step(_: Any, v: Any) -> Any:
        return mpc.assume_range(mpc.rescale(x.T @ (x @ v), 10), -1, 1)

    return mpc.reveal(mpc.repeat(steps, step, start))


def lowered(rows: int, steps: int) -> Any:
    schemas = {"X": {"alice": mpc.Schema((rows, 5))}, "w": {"bob": mpc.Schema((5,))}}
    return fit.trace(schemas, ["alice", "bob"], {"steps": steps}).lower(suites["masked"])


def test_effort_counts_loops_and_decides() -> None:
    small, large = native.effort(lowered(10, 3).block), native.effort(lowered(10, 300).block)
    assert 90 * small < large <= 100 * small
    native.unload()
    assert not native.worthwhile(lowered(10, 3).block)
    assert native.worthwhile(lowered(3000, 300).block)
    native.load()
    assert not native.worthwhile(lowered(3000, 300).block)  # they are here already


def test_a_run_gives_the_same_with_and_without() -> None:
    inputs = {"X": {"alice": RNG.uniform(-0.3, 0.3, (600, 5))}, "w": {"bob": RNG.uniform(-1, 1, 5)}}
    found, right = (
        how(lambda: mpc.emulate(fit, inputs, 2, entropy=deterministic_entropy(2), steps=4)) for how in (plainly, numpys)
    )
    assert found.transcripts == right.transcripts
    assert np.array_equal(found.results["result"], right.results["result"])


def plainly(op: Any) -> Any:
    return op()
