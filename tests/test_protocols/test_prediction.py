"""Prediction with a secret model: against scikit-learn, and who learns what."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import mpc
from mpc.testing import deterministic_entropy
from protocols import suites
from protocols.learning.prediction import predict, probability

PARTIES = ["alice", "bob", "carol"]
SUITES = list(suites)


@cache
def cancer() -> tuple[np.ndarray, np.ndarray, float]:
    """Raw columns of very different size, coefficients and intercept in their units."""
    X, y = load_breast_cancer(return_X_y=True)
    scaler = StandardScaler().fit(X)
    fit = LogisticRegression(max_iter=1000).fit(scaler.transform(X), y)
    w = fit.coef_[0] / scaler.scale_
    return X[:60], w, float(fit.intercept_[0] - w @ scaler.mean_)


def table(X: np.ndarray, columns: Any) -> dict[str, Any]:
    return {f"c{i}": X[:, i] for i in columns}


def run(inputs: dict[str, Any], suite: str = "masked", **asked: Any) -> Any:
    return mpc.emulate(predict, inputs, PARTIES, suite=suite, entropy=deterministic_entropy(3, 1), **asked)


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("output", ["score", "probability", "class"])
def test_two_owners_of_rows_learn_the_predictions_of_their_own(output: str, suite: str) -> None:
    X, w, b = cancer()
    model = {**{f"c{i}": [w[i]] for i in range(30)}, "intercept": [b]}
    data = {"bob": table(X[:20], range(30)), "carol": table(X[20:], range(30))}
    done = run({"model": {"alice": model}, "data": data}, suite, output=output)
    u = X @ w + b
    want = {"score": u, "probability": 1 / (1 + np.exp(-u)), "class": u >= 0}[output]
    # 2^-23·Σ|w| + 2^-24·Σ|x|, and the bits that are revealed
    room = 0 if output == "class" else 2.0**-23 * np.abs(w).sum() + 2.0**-24 * np.abs(X).sum(axis=1).max() + 2.0**-16
    for owner, part in (("bob", want[:20]), ("carol", want[20:])):
        assert np.max(np.abs(done.results_of[owner][f"predictions of {owner}"] - part)) <= room
    other = {"bob": "carol", "carol": "bob"}
    for owner in data:
        assert f"predictions of {other[owner]}" not in done.results_of[owner]
    assert not any(name.startswith("predictions") for name in done.results_of["alice"])


def test_columns_of_two_owners() -> None:
    X, w, b = cancer()
    model = {**{f"c{i}": [w[i]] for i in range(30)}, "intercept": [b]}
    data = {"bob": table(X, range(12)), "carol": table(X, range(12, 30))}
    done = run({"model": {"alice": model}, "data": data}, partition="vertical")
    assert np.max(np.abs(done.results_of["bob"]["predictions"] - (X @ w + b))) <= 2e-3
    assert "predictions" not in done.results_of["alice"]
    plan = predict.trace({"model": {"alice": model}, "data": data}, PARTIES, {"partition": "vertical"}).plan("masked")
    assert [r["to"] for r in plan.reveals] == [["bob", "carol"]]


def test_classes_come_by_name_whatever_the_order_of_the_models_rows() -> None:
    X, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])
    fits = [LogisticRegression().fit(X, y == k) for k in range(3)]
    order = [2, 0, 1]
    model = {f"c{i}": [fits[k].coef_[0][i] for k in order] for i in range(4)}
    model |= {"intercept": [fits[k].intercept_[0] for k in order], "class": names[order].tolist()}
    scores = np.stack([fit.decision_function(X) for fit in fits], axis=1)
    done = run({"model": {"alice": model}, "data": {"bob": table(X, range(4))}}, output="class")
    assert done.results["classes"] == names.tolist()
    sure = np.sort(scores)[:, -1] - np.sort(scores)[:, -2] > 1e-3
    assert np.array_equal(done.results["predictions of bob"][sure], scores.argmax(axis=1)[sure])
    done = run({"model": {"alice": model}, "data": {"bob": table(X, range(4))}}, output="probability")
    assert np.allclose(done.results["predictions of bob"], 1 / (1 + np.exp(-scores)), atol=1e-4)


def test_counts_of_a_poisson_regression() -> None:
    model = {"c0": [0.5], "intercept": [1.0]}
    done = run({"model": {"alice": model}, "data": {"bob": {"c0": [-4.0, 0.0, 6.0]}}}, output="count")
    assert np.allclose(done.results["predictions of bob"], np.exp([-1.0, 1.0, 4.0]), rtol=1e-5, atol=1e-4)


def test_probability_is_right_on_any_range() -> None:
    @mpc.program
    def chances(x: mpc.Private) -> Any:
        return mpc.reveal(probability(mpc.share(x, range=(-1000, 1000))))

    x = np.array([-1000.0, -30, -12, -5, -1, -0.0001, 0, 0.0001, 1, 5, 12, 30, 1000])
    for suite in SUITES:
        done = mpc.emulate(chances, {"x": {"alice": x}}, 2, suite=suite, entropy=deterministic_entropy(2, 1))
        assert np.max(np.abs(done.results["result"] - (1 + np.tanh(x / 2)) / 2)) <= 2.0**-15


@pytest.mark.parametrize(
    ("model", "asked", "text"),
    [
        ({"c9": [1.0]}, {}, "the feature 'c9', and bob has no such column"),
        ({"intercept": [1.0]}, {}, "names no feature"),
        ({"c0": [2.0**13]}, {}, "alice: .*'c0' is outside the declared range"),
        ({"c0": [1.0, 2.0], "class": ["a", "a"]}, {"output": "class"}, "2 rows and 1 different classes"),
        ({"c0": [1.0]}, {"score_limit": 0.0}, "score_limit must lie between"),
    ],
)
def test_wrong_models_are_refused(model: dict[str, Any], asked: dict[str, Any], text: str) -> None:
    with pytest.raises(mpc.MpcError, match=text):
        run({"model": {"alice": model}, "data": {"bob": {"c0": [1.0, 2.0]}}}, **asked)


def test_the_bound_of_the_scores_is_listed() -> None:
    inputs = {"model": {"alice": {"c0": [1.0]}}, "data": {"bob": {"c0": [1.0]}}}
    plan = predict.trace(inputs, PARTIES, {}).plan("masked")
    assert [a["hi"] for a in plan.assumptions] == [2.0**16]
