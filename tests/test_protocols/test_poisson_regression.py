"""Poisson regression against scikit-learn's."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import PoissonRegressor
from sklearn.preprocessing import StandardScaler

import mpc
from mpc.testing import deterministic_entropy
from protocols.learning.poisson_regression import poisson_regression

ROWS, COLUMNS = 442, "abcde"


@cache
def data() -> tuple[np.ndarray, np.ndarray]:
    X = load_diabetes().data[:, :5] * 40 + 50
    Z = StandardScaler().fit_transform(X)
    rate = np.exp(1.0 + Z @ np.array([0.4, -0.4, 0.2, 0.0, 0.3]))
    return X, np.random.default_rng(1).poisson(rate).astype(float)


def tables(partition: str, X: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    if partition == "vertical":
        named = dict(zip(COLUMNS, X.T, strict=True))
        return {"alice": {c: named[c] for c in "ab"}, "bob": {c: named[c] for c in "cde"}, "carol": {"visits": y}}
    return {
        p: {**dict(zip(COLUMNS, X[at].T, strict=True)), "visits": y[at]}
        for p, at in (("alice", slice(0, 150)), ("bob", slice(150, ROWS)))
    }


def run(inputs: dict[str, Any], suite: str = "masked", **asked: Any) -> Any:
    names = list(inputs)
    entropy = deterministic_entropy(len(names), 1)
    return mpc.emulate(
        poisson_regression, {"data": inputs}, names, suite=suite, entropy=entropy, label="visits", **asked
    )


@pytest.mark.parametrize(
    ("partition", "suite", "alpha"),
    [("horizontal", "masked", 1.0), ("horizontal", "beaver", 0.01), ("vertical", "masked", 0.01)],
)
def test_coefficients_are_those_of_scikit_learn(partition: str, suite: str, alpha: float) -> None:
    X, y = data()
    scaler = StandardScaler().fit(X)
    known = PoissonRegressor(alpha=alpha, tol=1e-10, max_iter=1000).fit(scaler.transform(X), y)
    found = run(tables(partition, X, y), suite, partition=partition, alpha=alpha).results
    assert np.max(np.abs(found["coef"] * scaler.scale_ - known.coef_)) <= 1e-4
    centred = found["intercept"] + found["coef"] @ scaler.mean_
    assert centred == pytest.approx(known.intercept_, abs=1e-3)
    assert found["mean_count"] == pytest.approx(y.mean(), rel=1e-5)
    assert found["converged"] is True


def test_what_has_not_converged_says_so() -> None:
    X, y = data()
    given = tables("horizontal", X, y)
    assert run(given, alpha=0.01, steps=2).results["converged"] is False  # on its way
    assert run(given, alpha=0.01, margin=0.5, steps=8).results["converged"] is False  # cut off


def test_counts_below_zero_are_refused_at_their_owner() -> None:
    X, y = data()
    wrong = y.copy()
    wrong[151] = -1
    with pytest.raises(mpc.InputError, match=r"bob: .*row 2.*'visits' is outside the declared range 0 to 1024"):
        run(tables("horizontal", X, wrong))


@pytest.mark.parametrize(("asked", "text"), [({"margin": 9.0}, "margin must lie"), ({"alpha": -1.0}, "alpha must lie")])
def test_wrong_settings_are_refused(asked: dict[str, Any], text: str) -> None:
    with pytest.raises(mpc.UsageError, match=text):
        run(tables("horizontal", *data()), **asked)
