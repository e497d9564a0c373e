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
                      partition=partition, limit=400.0, **settings)  # fmt: skip
    Z = (X - X.mean(0)) / X.std(0)
    model = (Ridge(alpha=5.0, solver="cholesky") if name == "ridge" else LinearRegression()).fit(Z, y)
    coef = np.asarray(run.results["coef"])
    assert np.linalg.norm(coef * X.std(0) - model.coef_) <= 2e-3 * np.linalg.norm(model.coef_)
    predicted = X @ coef + run.results["intercept"]
    left = 1 - np.sum((y - predicted) ** 2) / np.sum((y - y.mean()) ** 2)
    assert abs(left - model.score(Z, y)) <= 1e-4
    assert run.results["converged"] is True
    plan = catalog[f"{name}-regression"].trace(
        tables(X, y, partition, parties), ["alice", "bob", "carol"][:parties],
        {"label": "y", "partition": partition, "limit": 400.0, **settings},
    ).plan(suite)  # fmt: skip
    assert plan.rounds == run.rounds


def test_an_inverse_made_for_fewer_dependent_columns_says_so() -> None:
    X, y = load_diabetes(return_X_y=True, scaled=False)
    run = mpc.emulate(
        catalog["linear-regression"],
        tables(X, y, "horizontal", 2),
        2,
        label="y",
        limit=400.0,
        least=1.0,
        tolerance=1e-4,
    )
    assert run.results["converged"] is False


def test_what_is_refused() -> None:
    X, y = load_diabetes(return_X_y=True, scaled=False)
    for name, settings, cure in [
        ("linear", {"label": "z"}, "no party has the label column 'z'"), ("ridge", {"alpha": 0.0}, "linear-regression"),
        ("linear", {"limit": 0.0}, "limit must lie"), ("linear", {"least": 2.0}, "least must lie"),
    ]:  # fmt: skip
        with pytest.raises(mpc.UsageError, match=cure):
            mpc.emulate(catalog[f"{name}-regression"], tables(X, y, "horizontal", 2), 2, **{"label": "y", **settings})
    with pytest.raises(mpc.InputError, match="outside the declared range"):
        mpc.emulate(catalog["linear-regression"], tables(X, y, "horizontal", 2), 2, label="y", limit=100.0)
