"""Every rule and every function through `mpc.testing.verify`, with its cost and with twins that leak."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mpc
from mpc.testing import Report, VerificationError, verify
from protocols import beaver, catalog, compare, masked
from protocols.learning.metrics import accuracy_of, area_under_curve, log_loss_of
from protocols.learning.prediction import probability

X = np.array([-7, -1, 0, 1, 2, 100, -1000, 31])
Y = np.array([3, -1, 0, 5, -2, 7, 1000, -31])
BOTH = {"x": {"alice": X}, "y": {"bob": Y}}
ONE = {"x": {"alice": X}}


PARTIES = (2, 3, 5)


def whole(report: Report, parties: tuple[int, ...], *, opens: bool = True) -> None:
    """For each number of parties every check is there once, and the twins have failed in the ways that they must."""
    for n in parties:
        mine = [line for line in report.lines if line.startswith(f"{n} parties: ")]
        assert len(mine) == 8 + any("after a break" in line for line in mine)
        (twins,) = (line for line in mine if "twins that fail" in line)
        if opens:
            assert all(word in twins for word in ("by the mask check", "zero by the views", "nothing dealt by"))


@mpc.protocol
def multiply_under_one_mask(x: Any, y: Any) -> Any:
    """Beaver's with one mask for both factors: their difference is public."""
    a = mpc.mask(x.shape)
    c = mpc.deal(a * a)
    d, e = mpc.open(x - a), mpc.open(y - a)
    return c + d * a + a * e + d * e


@mpc.protocol
def multiply_wrongly(x: Any, y: Any) -> Any:
    """Without the last term."""
    a, b = mpc.mask(x.shape), mpc.mask(y.shape)
    c = mpc.deal(a * b)
    d, e = mpc.open(x - a), mpc.open(y - b)
    return c + d * b + a * e


@mpc.protocol(rounding=1)
def truncate_under_a_doubled_mask(x: Any, by: int) -> Any:
    """The lowest bit of x is not hidden by 2r."""
    r = mpc.mask(x.shape)
    c = mpc.open(x + (1 << 62) + r + r)
    return (c >> by) - mpc.deal((r + r) >> by)


@mpc.protocol
def negative_without_the_second_mask(x: Any, width: int) -> Any:
    """The bits of the comparison are opened under one mask for all lanes."""
    c, r = mpc.masked_low(x, width)
    n = (width + 6) // 8
    masks = mpc.mask((1,), bits=2 * n - 1)
    opened = mpc.open(mpc.look(mpc.deal(mpc.onehot(r, width)), c, width, "less") + mpc.broadcast_to(masks, x.shape))
    return mpc.bit(opened, 0) + mpc.deal(mpc.bit(r, width - 1))


@pytest.mark.parametrize(
    ("rule", "suite", "cost"),
    [
        (masked.multiply, "masked", {"rounds": 2, "bytes_sent": 128, "dealt_bytes": 64}),
        (beaver.multiply, "beaver", {"rounds": 2, "bytes_sent": 192, "dealt_bytes": 64}),
    ],
)
def test_multiplication(rule: Any, suite: str, cost: dict[str, int]) -> None:
    for twin in (multiply_under_one_mask, multiply_wrongly):
        report = verify(rule, inputs=BOTH, suite=suite, expected=np.multiply, cost=cost, broken_twin=twin)
        assert "over Z_4 all views of 16 inputs are equal" in str(report)
        assert "the broken twin fails" in report.lines[-1]


def test_a_matrix_product() -> None:
    inputs = {"x": {"alice": X.reshape(2, 4)}, "y": {"bob": Y.reshape(4, 2)}}
    for rule, suite in ((masked.matmul, "masked"), (beaver.matmul, "beaver")):
        verify(rule, inputs=inputs, suite=suite, expected=np.matmul)


def applied(f: Callable[..., Any], bits: int | None = None) -> mpc.ProgramFunction:
    def one(x: mpc.Private) -> Any:
        return mpc.reveal(f(mpc.share(x, range=(-1024, 1024))), bits=bits)

    return mpc.program(one)


@pytest.mark.parametrize("suite", ["masked", "beaver"])
def test_truncation(suite: str) -> None:
    program = applied(lambda x: mpc.rescale(x, 4), 4)
    twin = {"truncate": truncate_under_a_doubled_mask}
    verify(program, inputs=ONE, suite=suite, parties=PARTIES, tolerance=2.0**-4, broken_twin=twin)


FUNCTIONS: list[tuple[str, Callable[[Any], Any], float]] = [
    ("less", lambda x: x < 5, 0), ("equal", lambda x: x == 1, 0), ("sign", mpc.sign, 0), ("absolute", mpc.absolute, 0),
    ("relu", mpc.relu, 0), ("where", lambda x: mpc.where(x > 0, x, -2), 0), ("clip", lambda x: mpc.clip(x, -2, 2), 0),
    ("maximum", lambda x: mpc.maximum(x, 1), 0), ("max", mpc.max, 0), ("argmin", mpc.argmin, 0), ("sort", mpc.sort, 0),
    ("minimum", lambda x: mpc.minimum(x, 1), 0), ("min", mpc.min, 0), ("argmax", mpc.argmax, 0),
    ("other comparisons", lambda x: (x <= 1) + 2 * (x > 1) + 4 * (x >= 40) + 8 * (x != 1), 0),
    ("quantile", lambda x: mpc.quantile(x, 0.25), 2.0**-15), ("division", lambda x: x / (mpc.relu(x) + 1), 2.0**-13),
    ("top_k", lambda x: mpc.top_k(x, 2), 0), ("median", mpc.median, 2.0**-15),
    ("at_least", lambda x: mpc.at_least(x, [-2, 0, 3]), 0),
    ("softmax", mpc.softmax, 2.0**-15), ("sort_by", lambda x: mpc.sort_by(x, x * 2)[1], 0),
    ("accuracy", lambda x: accuracy_of(x < 1, x < 5), 0), ("probability", probability, 2.0**-14),
    ("area", lambda x: area_under_curve(mpc.bounded(x < 1, 0, 1), x), 2.0**-14),
    ("log loss", lambda x: log_loss_of(x < 1, mpc.bounded(x / 64 + 0.5, -1, 2)), 2.0**-13),
]  # fmt: skip


@pytest.mark.parametrize(("name", "f", "tolerance"), FUNCTIONS, ids=[f[0] for f in FUNCTIONS])
def test_a_function(name: str, f: Callable[[Any], Any], tolerance: float) -> None:
    few = {"x": {"alice": np.array([-3.0, 0.5, 1, 40])}}
    whole(verify(applied(f), inputs=few, parties=PARTIES, tolerance=tolerance), PARTIES)
    whole(verify(applied(f), inputs=few, suite="beaver", parties=(2,), tolerance=tolerance), (2,))


NARROW: list[tuple[str, Callable[[Any], Any], float, float, float]] = [
    ("reciprocal", mpc.reciprocal, 0.25, 64, 2.0**-14), ("sqrt", mpc.sqrt, 0, 64, 2.0**-14),
    ("rsqrt", mpc.rsqrt, 0.25, 64, 2.0**-14), ("exp", mpc.exp, -5, 2, 2.0**-14), ("log", mpc.log, 0.25, 64, 2.0**-14),
    ("sin", mpc.sin, -64, 64, 2.0**-14), ("cos", mpc.cos, -64, 64, 2.0**-14), ("sigmoid", mpc.sigmoid, -8, 8, 2.0**-8),
    ("tanh", mpc.tanh, -8, 8, 2.0**-6), ("polynomial", lambda x: mpc.polynomial(x, [1, 1, 1]), -2, 2, 2.0**-14),
]  # fmt: skip


@pytest.mark.parametrize(("name", "f", "lo", "hi", "tolerance"), NARROW, ids=[f[0] for f in NARROW])
def test_a_function_of_a_narrow_range(
    name: str, f: Callable[[Any], Any], lo: float, hi: float, tolerance: float
) -> None:
    def one(x: mpc.Private) -> Any:
        return mpc.reveal(f(mpc.share(x, range=(lo, hi))))

    few = {"x": {"alice": np.clip([-3.0, 0.5, 1, 40], lo, hi)}}
    elsewhere = {"x": {"alice": np.clip([2.0, 2.5, -4, 0.25], lo, hi)}}
    whole(verify(mpc.program(one), inputs=few, other=elsewhere, parties=PARTIES, tolerance=tolerance), PARTIES)


def positive(x: Any) -> Any:
    """A symmetric matrix with eigenvalues from 2 to 18, for x within ±2."""
    return mpc.bounded(mpc.rescale(mpc.outer(x, x), 20), -4, 4) + 2 * np.eye(4)


LINEAR: list[tuple[str, Callable[[Any], Any], float]] = [
    ("outer", lambda x: mpc.outer(x, x), 2.0**-14), ("einsum", lambda x: mpc.einsum("i,j->ji", x, x), 2.0**-14),
    ("covariance", lambda x: mpc.covariance(x.reshape(2, 2)), 2.0**-14),
    ("matmul", lambda x: x.reshape(1, 2, 2) @ x.reshape(2, 2), 2.0**-14),
    ("inverse", lambda x: mpc.inverse(positive(x), smallest=2.0, largest=18.0), 2.0**-14),
    ("solve", lambda x: mpc.solve(positive(x), x, smallest=2.0, largest=18.0), 2.0**-14),
]  # fmt: skip


@pytest.mark.parametrize(("name", "f", "tolerance"), LINEAR, ids=[f[0] for f in LINEAR])
def test_linear_algebra(name: str, f: Callable[[Any], Any], tolerance: float) -> None:
    def one(x: mpc.Private) -> Any:
        return mpc.reveal(f(mpc.share(x, range=(-2, 2))))

    given, elsewhere = ({"x": {"alice": np.array(x)}} for x in ([-1.0, 0.5, 2, 0.25], [1.0, 1.5, -0.5, 2]))
    whole(verify(mpc.program(one), inputs=given, other=elsewhere, parties=PARTIES, tolerance=tolerance), PARTIES)


def rows(seed: int) -> dict[str, Any]:
    """Two owners' tables, of the same public classes and counts."""
    rng = np.random.default_rng(seed)
    made = [{"age": rng.normal(size=4), "bmi": rng.normal(size=4), "ill": ["n", "y", "y", "n"]} for _ in "ab"]
    return {"data": dict(zip(("alice", "bob"), made, strict=True))}


def numbers(seed: int) -> dict[str, Any]:
    return {"data": {p: {c: t[c] for c in ("age", "bmi")} for p, t in rows(seed)["data"].items()}}


def labelled(seed: int) -> dict[str, Any]:
    """Two columns of labels; another seed pairs them otherwise, since an owner sends only how often a pair occurs."""
    sex = list(np.roll(["f", "m", "f", "f"], seed))
    return {"data": {p: {"ill": ["n", "y", "y", "n"], "sex": sex} for p in ("alice", "bob")}}


def vectors(seed: int) -> dict[str, Any]:
    return {"values": {p: t["age"] for p, t in rows(seed)["data"].items()}}


def counts(seed: int) -> dict[str, Any]:
    visits = np.array([1.0, 3, 2, 4])
    return {"data": {p: {**t, "visits": visits} for p, t in numbers(seed)["data"].items()}}


def chances(seed: int) -> dict[str, Any]:
    return {"data": {p: {"ill": t["ill"], "p": np.abs(t["age"]) % 1} for p, t in rows(seed)["data"].items()}}


def modelled(seed: int) -> dict[str, Any]:
    return {"model": {"alice": {"age": [float(seed)], "intercept": [0.5]}}, "data": {"bob": {"age": [1.0, seed]}}}


SCORE = {"label": "ill", "score": "p"}
LABEL = {"label": "ill", "steps": 2}
SLOW = {"quantile", "median", "t-test", "auc", "pca", "poisson-regression"}
CATALOG: list[tuple[str, Callable[[int], Any], dict[str, Any], float]] = [
    ("secure-sum", vectors, {}, 0), ("mean", vectors, {}, 2.0**-15),
    ("variance", rows, {"columns": ["age", "bmi"], "limit": 8.0}, 2.0**-14),
    ("standard-deviation", numbers, {}, 2.0**-8), ("covariance", numbers, {}, 2.0**-8),
    ("correlation", numbers, {}, 2.0**-10), ("histogram", rows, {"column": "age", "edges": [-1, 1], "minimum": 2}, 0),
    ("quantile", numbers, {"column": "age"}, 2.0**-14), ("median", numbers, {"column": "age"}, 2.0**-15),
    ("group-by", rows, {"key": "ill", "column": "age", "minimum": 2}, 2.0**-14),
    ("chi-square", labelled, {"row": "ill", "column": "sex"}, 2.0**-12),
    ("t-test", rows, {"group": "ill", "column": "age", "limit": 8.0}, 2.0**-6),
    ("linear-regression", numbers, {"label": "bmi", "limit": 8.0}, 2.0**-4),
    ("ridge-regression", numbers, {"label": "bmi", "limit": 8.0}, 2.0**-6),
    ("logistic-regression", rows, LABEL, 2.0**-6),
    ("logistic-regression", rows, {**LABEL, "solver": "newton-bound"}, 2.0**-5),
    ("poisson-regression", counts, {"label": "visits", "steps": 1}, 2.0**-4),
    ("k-means", rows, {"k": 2, "without": "ill", "scale": "none", "starts": 1, "steps": 2, "minimum": 2}, 2.0**-12),
    ("pca", rows, {"without": "ill", "components": 1, "doublings": 2, "scale": "none"}, 2.0**-8),
    ("predict", modelled, {}, 2.0**-14), ("accuracy", rows, {"label": "ill", "score": "age"}, 0),
    ("log-loss", chances, SCORE, 2.0**-12), ("auc", chances, SCORE, 2.0**-14),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "made", "settings", "tolerance"),
    [pytest.param(*c, marks=[pytest.mark.slow] * (c[0] in SLOW), id=f"{i} {c[0]}") for i, c in enumerate(CATALOG)],
)
def test_programs_of_the_catalogue(
    name: str, made: Callable[[int], Any], settings: dict[str, Any], tolerance: float
) -> None:
    given = {"inputs": made(1), "other": made(2), "settings": settings, "tolerance": tolerance}
    whole(verify(catalog[name], parties=PARTIES, **given), PARTIES, opens=name not in ADDED)


ADDED = {"secure-sum", "mean", "standard-deviation"}  # sums of shares: no mask, and nothing dealt


def test_the_whole_catalogue_goes_through_the_kit() -> None:
    assert {name for name, *_ in CATALOG} == set(catalog)


def test_comparisons_have_twins() -> None:
    program = applied(lambda x: x < 5)
    verify(program, inputs=ONE, parties=(2, 3, 5), broken_twin={"negative": negative_without_the_second_mask})
    with pytest.raises(VerificationError, match="passed every check"):
        verify(program, inputs=ONE, parties=(2,), broken_twin={"negative": compare.negative})


def test_the_kit_sees_what_it_must_see(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(VerificationError, match="rounds is 2, not 1"):
        verify(masked.multiply, inputs=BOTH, parties=(2,), cost={"rounds": 1})
    with pytest.raises(VerificationError, match="not what is expected"):
        verify(masked.multiply, inputs=BOTH, parties=(2,), expected=np.add)
    with pytest.raises(VerificationError, match="mask check refuses"):
        verify(multiply_under_one_mask, inputs=BOTH, parties=(2,), suite="beaver")
    monkeypatch.setattr("mpc.checker.check", lambda _: None)  # then the views must tell
    with pytest.raises(VerificationError, match="tells inputs apart"):
        verify(multiply_under_one_mask, inputs=BOTH, parties=(2,), suite="beaver")
    with pytest.raises(VerificationError, match="of plain"):
        verify(applied(lambda x: mpc.rescale(x / 3, 8), 8), inputs=ONE, parties=(2,))
