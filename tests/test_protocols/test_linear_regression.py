"""Linear and ridge regression against scikit-learn, on the diabetes rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression, Ridge

import mpc
from protocols.catalog import catalog


def tables(X: np.ndarray, y: np.ndarray, partition: str, parties: int) -> dict[str, dict[str, Any]]:
    names = [f"c{i}" for i in range(X.shape[1])]
    owners = ["alice", "bob", "carol"][:parties]
    if partition == "horizontal":
        cuts = np.array_split(np.arange(len(X)), parties)
        return {
            "data": {p: {**dict(zip(names, X[c].T, strict=True)), "y": y[c]} for p, c in zip(owners, cuts, strict=True)}
        }
    cuts = np.array_split(np.arange(len(names)), parties)
    held = {p: {names[j]: X[:, j] for j in c} for p, c in zip(owners, cuts, strict=True)}
    held[owners[0]]["y"] = y
    return {"data": held}


@pytest.mark.parametrize("partition", ["horizontal", "vertical"])
@pytest.mark.parametrize(
    ("name", "parties", "suite"), [("linear", 2, "masked"), ("ridge", 3, "beaver"), ("ridge", 2, "masked")]
)
def test_diabetes(name: str, parties: int, suite: str, partition: str) -> None:
    X, y = load_diabetes(return_X_y=True, scaled=False)
    settings: dict[str, Any] = {"alpha": 5.0} if name == "ridge" else {}
    run = mpc.emulate(catalog[f"{name}-regression"], tables(X, y, partition, parties), parties, suite=suite, label="y",
                      partition=partition, **settings)  # fmt: skip
    Z = (X - X.mean(0)) / X.std(0)
    model = (Ridge(alpha=5.0, solver="cholesky") if name == "ridge" else LinearRegression()).fit(Z, y)
    coef = np.asarray(run.results["coef"])
    assert np.linalg.norm(coef * X.std(0) - model.coef_) <= 1e-5 * np.linalg.norm(model.coef_)
    predicted = X @ coef + run.results["intercept"]
    left = 1 - np.sum((y - predicted) ** 2) / np.sum((y - y.mean()) ** 2)
    assert abs(left - model.score(Z, y)) <= 1e-7
    assert run.results["converged"] is True
    plan = catalog[f"{name}-regression"].trace(
        tables(X, y, partition, parties), ["alice", "bob", "carol"][:parties],
        {"label": "y", "partition": partition, **settings},
    ).plan(suite)  # fmt: skip
    assert plan.rounds == run.rounds


UNITS = [1e-12, 1e-6, 1e-3, 1.0, 1e3, 1e6, 1e12]


def off(name: str, X: np.ndarray, y: np.ndarray, partition: str, **settings: Any) -> tuple[float, float, bool]:
    """How far coefficients are from scikit-learn's in deviations, the intercept in its terms' size; `converged`."""
    given = tables(X, y, partition, 2)
    got = mpc.simulate(catalog[f"{name}-regression"], given, label="y", partition=partition, **settings)
    deviation = np.where(X.std(0) > 1e-9 * np.abs(X).max(0), X.std(0), 1.0)
    spread = y.std() or 1.0
    model = Ridge(alpha=settings.get("alpha", 1.0), solver="cholesky") if name == "ridge" else LinearRegression()
    want = model.fit((X - X.mean(0)) / deviation, (y - y.mean()) / spread).coef_
    own = want / deviation * spread
    size = np.abs(own * X.mean(0)).sum() + abs(y.mean())
    away = abs(got["intercept"] - (y.mean() - own @ X.mean(0))) / (size or 1.0)
    return np.max(np.abs(got["coef"] * deviation / spread - want)), away, bool(got["converged"])


@pytest.mark.parametrize("partition", ["horizontal", "vertical"])
@pytest.mark.parametrize("name", ["linear", "ridge"])
@pytest.mark.parametrize("unit", UNITS)
def test_right_in_any_unit_far_from_zero_and_of_few_rows(unit: float, name: str, partition: str) -> None:
    rng = np.random.default_rng(7)
    for rows in (4, 200):
        for away in (0.0, 10.0, 1e6):
            X = rng.normal(size=(rows, 2))
            X[:, 1] += X[:, 0]
            y = (X @ [2.0, -1.0] + 0.3 * rng.normal(size=rows)) * unit / 1e3
            coefficients, intercept, sure = off(name, (X + away) * unit, y, partition)
            assert max(coefficients, intercept) <= 1e-5
            assert sure


@pytest.mark.parametrize("partition", ["horizontal", "vertical"])
def test_dependent_columns_are_right_or_not_converged(partition: str) -> None:
    rng = np.random.default_rng(8)
    found = []
    for near in (0.1, 0.03, 0.01, 1e-3, 1e-5, 0.0):
        X = rng.normal(size=(300, 3))
        X[:, 2] = X[:, 0] + near * rng.normal(size=300)
        y = X @ [1.0, 2.0, 3.0] + rng.normal(size=300)
        coefficients, _, sure = off("linear", X, y, partition)
        assert not sure or coefficients <= 1e-4
        found.append(sure)
        assert max(off("ridge", X, y, partition)[:2]) <= 1e-4
    assert found == [True, True, False, False, False, False]


@pytest.mark.parametrize("partition", ["horizontal", "vertical"])
@pytest.mark.parametrize("value", [36.6, 1e12 / 3, 1e-12 / 3])
def test_columns_and_labels_that_do_not_vary(partition: str, value: float) -> None:
    rng = np.random.default_rng(9)
    X = rng.normal(size=(50, 4))
    X[:, 2] = value
    assert off("linear", X, X @ [1, 2, 0, 4], partition) == (
        pytest.approx(0, abs=1e-5),
        pytest.approx(0, abs=1e-5),
        True,
    )
    given = tables(X, np.full(50, value), partition, 2)
    got = mpc.simulate(catalog["linear-regression"], given, label="y", partition=partition)
    assert not np.any(got["coef"])
    assert got["intercept"] == pytest.approx(value, rel=1e-6)


def test_an_inverse_made_for_fewer_dependent_columns_says_so() -> None:
    X, y = load_diabetes(return_X_y=True, scaled=False)
    run = mpc.emulate(catalog["linear-regression"], tables(X, y, "horizontal", 2), 2, label="y", least=1.0)
    assert run.results["converged"] is False


def test_what_is_refused() -> None:
    X, y = load_diabetes(return_X_y=True, scaled=False)
    for name, settings, cure in [
        ("linear", {"label": "z"}, "no party has the label column 'z'"), ("ridge", {"alpha": 0.0}, "linear-regression"),
        ("linear", {"limit": 0.0}, "a positive number"), ("linear", {"least": 2.0}, "least must lie"),
    ]:  # fmt: skip
        with pytest.raises(mpc.UsageError, match=cure):
            mpc.emulate(catalog[f"{name}-regression"], tables(X, y, "horizontal", 2), 2, **{"label": "y", **settings})
    with pytest.raises(mpc.UsageError, match="a larger least"):
        vertical = {"label": "y", "partition": "vertical", "least": 2.0**-20}
        mpc.emulate(catalog["linear-regression"], tables(X, y, "vertical", 2), 2, **vertical)
    with pytest.raises(mpc.InputError, match="outside the declared range"):
        mpc.emulate(catalog["linear-regression"], tables(X, y, "horizontal", 2), 2, label="y", limit=100.0)
