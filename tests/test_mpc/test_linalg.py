"""Products of any rank and inverses, against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mpc


def grid(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Sixty-fourths within ±4: products of two are exact."""
    return np.round(np.random.default_rng(seed).uniform(-4, 4, shape) * 64) / 64


def both(f: Any, x: np.ndarray, y: np.ndarray, suite: str = "masked", parties: int = 2) -> Any:
    def applied(a: mpc.Private, b: mpc.Private) -> Any:
        return mpc.reveal(f(mpc.share(a, range=(-4, 4)), mpc.share(b, range=(-4, 4))))

    inputs = {"a": {"alice": x}, "b": {"bob": y}}
    return mpc.emulate(mpc.program(applied), inputs, parties=parties, suite=suite).results["result"]


RANKS = [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((5, 2, 3), (5, 3, 4)),
         ((1, 2, 3), (5, 3, 4)), ((2, 3), (5, 3, 4)), ((3,), (5, 3, 4)), ((5, 2, 3), (3,)), ((4, 1, 2, 3), (5, 3, 2)),
         ((0, 3), (3, 2)), ((2, 0), (0, 3)), ((0,), (0,))]  # fmt: skip


@pytest.mark.parametrize("suite", ["masked", "beaver"])
@pytest.mark.parametrize(("a", "b"), RANKS)
def test_matmul_of_any_rank(a: tuple[int, ...], b: tuple[int, ...], suite: str) -> None:
    x, y = grid(a), grid(b, 1)
    got = both(lambda s, t: s @ t, x, y, suite)
    assert np.shape(got) == np.shape(x @ y)
    assert np.array_equal(got, x @ y)


@pytest.mark.parametrize(("a", "b"), [((2, 3), (2, 3)), ((3,), (2,)), ((5, 2, 3), (4, 3, 2)), ((), (3,))])
def test_matmul_of_misfits_names_both_shapes(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    with pytest.raises(mpc.ShapeError, match=r"test_linalg.py:\d+: .*"):
        both(lambda s, t: s @ t, grid(a), grid(b))


EINSUMS = ["ij,jk->ik", "ij,jk->ki", "ij,jk", "bij,bjk->bki", "i,i->", "i,j->ij", "ij,ij->", "ij,ij->i", "ijk,kl->ijl",
           "ij,k->jk", "ijk,j->ik", "ij,kj->ik"]  # fmt: skip


@pytest.mark.parametrize("subscripts", EINSUMS)
def test_einsum(subscripts: str) -> None:
    size = {"i": 2, "j": 3, "k": 4, "l": 2, "b": 3}
    left, right = subscripts.partition("->")[0].split(",")
    x, y = grid(tuple(size[c] for c in left)), grid(tuple(size[c] for c in right), 1)
    got = both(lambda s, t: np.einsum(subscripts, s, t), x, y)
    want = np.einsum(subscripts, x, y)
    assert np.shape(got) == np.shape(want)
    assert np.allclose(got, want, atol=1e-12)


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_einsum_of_drawn_subscripts(data: Any) -> None:
    size = {c: data.draw(st.integers(0, 3), c) for c in "abcd"}
    left = "".join(data.draw(st.permutations("abcd"))[: data.draw(st.integers(0, 3))])
    right = "".join(data.draw(st.permutations("abcd"))[: data.draw(st.integers(0, 3))])
    names = sorted(set(left + right))
    output = "".join(data.draw(st.permutations(names))[: data.draw(st.integers(0, len(names)))]) if names else ""
    x, y = grid(tuple(size[c] for c in left)), grid(tuple(size[c] for c in right), 1)
    subscripts = f"{left},{right}->{output}"
    got = both(lambda s, t: mpc.einsum(subscripts, s, t), x, y)
    assert np.allclose(got, np.einsum(subscripts, x, y), atol=1e-12)


@pytest.mark.parametrize("subscripts", ["ij->ji", "ij->j", "ij->", "ijk->ki"])
def test_einsum_of_one_operand_is_free(subscripts: str) -> None:
    x = grid((2, 3, 4)[: subscripts.index("-")])

    @mpc.program
    def applied(a: mpc.Private) -> Any:
        return mpc.reveal(mpc.einsum(subscripts, mpc.share(a, range=(-4, 4))))

    run = mpc.emulate(applied, {"a": {"alice": x}}, parties=2)
    assert np.allclose(run.results["result"], np.einsum(subscripts, x), atol=1e-12)
    assert run.rounds == 1


@pytest.mark.parametrize(
    ("subscripts", "cure"),
    [("ii,ij->j", "once in each operand"), ("...i,ij", "without"), ("ij,jk->iz", "once in each operand"),
     ("i,jk->i", "does not fit"), ("ij,jk,kl", "does not fit"), ("ij,ik->jk", "lengths 2 and 3")],
)  # fmt: skip
def test_einsum_of_what_it_does_not_take(subscripts: str, cure: str) -> None:
    with pytest.raises((mpc.ProgramError, mpc.ShapeError), match=cure):
        both(lambda s, t: mpc.einsum(subscripts, s, t), grid((2, 3)), grid((3, 4)))


def test_outer_and_covariance() -> None:
    x, y = grid((7,)), grid((5,), 1)
    assert np.array_equal(both(np.outer, x, y), np.outer(x, y))
    rows = grid((9, 4))
    got = both(lambda s, _: mpc.covariance(s), rows, y)
    assert np.allclose(got, np.cov(rows, rowvar=False), atol=2.0**-15)
    with pytest.raises(mpc.ShapeError, match="rows of observations"):
        both(lambda s, _: mpc.covariance(s), grid((1, 4)), y)


def test_a_matrix_product_costs_its_operands_openings() -> None:
    @mpc.program
    def applied(a: mpc.Private, b: mpc.Private) -> Any:
        return mpc.reveal(mpc.share(a, range=(-4, 4), scale=8) @ mpc.share(b, range=(-4, 4), scale=8))

    for n in (2, 3):
        inputs = {"a": {"alice": grid((7, 3))}, "b": {"bob": grid((3, 5))}}
        plan = applied.trace(inputs, ["alice", "bob", "carol"][:n]).plan("masked")
        assert plan.rounds == 2
        assert plan.bytes_sent["alice"] == (n - 1) * 8 * (21 + 35)
        assert plan.bytes_sent["bob"] == (n - 1) * 8 * (15 + 35)


def definite(d: int, smallest: float, largest: float, seed: int = 0) -> np.ndarray:
    """Symmetric, with eigenvalues spread by magnitude between the two."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))
    return (q * np.geomspace(smallest, largest, d)) @ q.T


def inverted(h: np.ndarray, suite: str = "masked", parties: int = 2, **bounds: Any) -> Any:
    @mpc.program
    def applied(a: mpc.Private) -> Any:
        top = float(np.ceil(np.abs(h).max()))
        return mpc.reveal(mpc.inverse(mpc.share(a, range=(-top, top), scale=20), **bounds), bits=24)

    return mpc.emulate(applied, {"a": {"alice": h}}, parties=parties, suite=suite)


@pytest.mark.parametrize("suite", ["masked", "beaver"])
@pytest.mark.parametrize(("d", "lo", "hi"), [(1, 2, 2), (2, 0.5, 3), (5, 1, 1000), (31, 4, 8000), (8, 2.0**-6, 1)])
def test_the_inverse(d: int, lo: float, hi: float, suite: str) -> None:
    h = definite(d, lo, hi)
    got = inverted(h, suite, smallest=lo * 0.99, largest=hi * 1.01).results["result"]
    want = np.linalg.inv(np.round(h * 2.0**20) / 2.0**20)
    kappa = hi / lo
    assert np.max(np.abs(got - want)) <= kappa * 2.0 ** (np.log2(kappa) / 2 - 28) / lo + 2.0**-23


def test_the_inverse_of_more_parties_and_its_cost() -> None:
    h = definite(6, 1, 64)
    two, three = (inverted(h, parties=n, smallest=1, largest=64) for n in (2, 3))
    assert np.allclose(two.results["result"], three.results["result"], atol=2.0**-20)
    steps = 11  # (63/65)^(2^11) is the first below 2^-24: the sequence of squares
    assert two.rounds == three.rounds
    assert two.rounds <= 4 * (steps + 1) + 4


def test_an_inverse_from_one_nearby_takes_few_steps() -> None:
    h = definite(6, 1, 64)

    @mpc.program
    def twice(a: mpc.Private) -> Any:
        x = mpc.share(a, range=(-64, 64), scale=20)
        bounds = {"smallest": 0.5, "largest": 64.0}
        first = mpc.inverse(x, **bounds)
        return [mpc.reveal(mpc.inverse(x * 0.75, **bounds, steps=steps, near=first), bits=24) for steps in (1, 5)]

    results = mpc.emulate(twice, {"a": {"alice": h}}, parties=2).results
    want = np.linalg.inv(0.75 * h)
    # near·H is 0.75, so a step leaves a part of 1/16 and five leave 4^-32, far below the rounding
    assert np.allclose(results["result_0"], want * (1 - 1 / 16), atol=1e-6)
    assert np.allclose(results["result_1"], want, atol=1e-6)


def test_solving() -> None:
    h, b = definite(5, 1, 50), grid((5, 2))

    @mpc.program
    def applied(a: mpc.Private, c: mpc.Private) -> Any:
        return mpc.reveal(
            mpc.solve(mpc.share(a, range=(-64, 64)), mpc.share(c, range=(-4, 4)), smallest=0.9, largest=51)
        )

    got = mpc.emulate(applied, {"a": {"alice": h}, "c": {"bob": b}}, parties=2).results["result"]
    assert np.allclose(got, np.linalg.solve(np.round(h * 65536) / 65536, b), atol=1e-4)


@pytest.mark.parametrize(
    ("h", "bounds", "cure"),
    [(np.eye(2)[:1], {"smallest": 1}, "square matrix"), (np.eye(2), {"smallest": 0}, "between 0 and infinity"),
     (np.eye(2), {"smallest": 2, "largest": 1}, "between 0 and infinity"), (np.eye(2), {"smallest": 1e-12}, "ridge")],
)  # fmt: skip
def test_what_is_no_positive_definite_matrix_is_refused(h: np.ndarray, bounds: dict[str, Any], cure: str) -> None:
    with pytest.raises(mpc.MpcError, match=cure):
        inverted(h, **bounds)
