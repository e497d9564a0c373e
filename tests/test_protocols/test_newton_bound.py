"""Logistic regression by Newton steps, and of several classes, against scikit-learn on standardised columns."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

import mpc
from mpc.testing import deterministic_entropy
from protocols.catalog import catalog

FIT = catalog["logistic-regression"]
Table = dict[str, Any]


@cache
def cancer() -> tuple[np.ndarray, np.ndarray]:
    X, y = load_breast_cancer(return_X_y=True)
    return X, y


def tables(X: np.ndarray, y: np.ndarray, partition: str, parties: int = 2) -> dict[str, dict[str, Table]]:
    """Rows or columns in uneven parts; with columns, the last party holds the label."""
    names = [f"c{i}" for i in range(X.shape[1])]
    if partition == "horizontal":
        ends = (np.linspace(0, 1, parties + 1) ** 1.2 * len(X)).astype(int)
        parts: list[Table] = [{**dict(zip(names, X[a:b].T, strict=True)), "label": y[a:b]} for a, b in pairwise(ends)]
    else:
        parts = [{names[j]: X[:, j] for j in chosen} for chosen in np.array_split(np.arange(len(names)), parties)]
        parts[-1]["label"] = y
    return {"data": dict(zip(["alice", "bob", "carol"], parts, strict=False))}


def fitted(X: np.ndarray, y: np.ndarray, partition: str, parties: int = 2, **settings: Any) -> Any:
    inputs = tables(X, y, partition, parties)
    entropy = deterministic_entropy(parties, 1)
    return mpc.emulate(FIT, inputs, parties, entropy=entropy, label="label", partition=partition, **settings)


def reference(X: np.ndarray, y: np.ndarray, c: float = 1.0) -> Any:
    return LogisticRegression(C=c, tol=1e-10, max_iter=20000).fit((X - X.mean(0)) / X.std(0), y)


def away(results: dict[str, Any], X: np.ndarray, model: Any) -> float:
    """The largest difference of a coefficient of the standardised columns."""
    return float(np.max(np.abs(np.asarray(results["coef"]) * X.std(0) - model.coef_)))


@pytest.mark.parametrize(("solver", "rounds", "most"), [("newton-bound", 250, 1e-2), ("irls", 246, 1e-3)])
@pytest.mark.parametrize("partition", ["horizontal", "vertical"])
def test_breast_cancer_is_scikit_learn_s(solver: str, rounds: int, most: float, partition: str) -> None:
    X, y = cancer()
    run = fitted(X, y, partition, solver=solver)
    model = reference(X, y)
    assert away(run.results, X, model) <= most
    right = ((X @ np.asarray(run.results["coef"]) + run.results["intercept"] > 0) == y).mean()
    assert right == model.score((X - X.mean(0)) / X.std(0), y)
    assert run.results["converged"] is True
    assert run.rounds <= rounds
    assert max(run.bytes_sent.values()) <= (5e6 if solver == "newton-bound" else 3e6)


@pytest.mark.parametrize("partition", ["horizontal", "vertical"])
def test_a_hundred_gradient_steps_cost_what_they_cost(partition: str) -> None:
    X, y = cancer()
    inputs = tables(X, y, partition)
    settings = {"label": "label", "partition": partition, "steps": 100}
    plan = FIT.trace(inputs, ["alice", "bob"], settings).plan("masked")
    assert plan.rounds <= 316
    assert max(plan.bytes_sent.values()) <= 2e6


def test_the_primal_form_and_three_parties() -> None:
    X, y = cancer()
    model = reference(X, y)
    primal = fitted(X, y, "horizontal", solver="newton-bound", form="primal")
    assert away(primal.results, X, model) <= 2e-2
    assert max(primal.bytes_sent.values()) <= 2e6
    assert away(fitted(X, y, "vertical", 3, solver="newton-bound").results, X, model) <= 1e-2


@pytest.mark.parametrize("solver", ["newton-bound", "irls"])
@pytest.mark.parametrize(("c", "intercept"), [(0.1, True), (10.0, True), (0.5, False)])
def test_penalty_and_intercept(solver: str, c: float, intercept: bool) -> None:
    X, y = (part[:200] for part in cancer())
    X = X[:, :6]
    run = fitted(X, y, "horizontal", solver=solver, C=c, fit_intercept=intercept, suite="beaver")
    Z = (X - X.mean(0)) / X.std(0)
    model = LogisticRegression(C=c, tol=1e-10, max_iter=20000, fit_intercept=intercept).fit(Z, y)
    # the rounding of the columns to 10 bits, 14 for irls, weighs in proportion to C
    assert away(run.results, X, model) <= {"newton-bound": 1e-2, "irls": 1e-3}[solver] * (3 if c > 1 else 1)
    assert run.results["converged"] is True


def test_too_few_steps_are_reported() -> None:
    X, y = cancer()
    for solver in ("newton-bound", "irls", "sgd"):
        assert fitted(X[:150, :8], y[:150], "horizontal", solver=solver, steps=2).results["converged"] is False


@pytest.mark.parametrize(
    ("settings", "cure"),
    [({"scale": "none"}, "scale=standard"), ({"C": 0.0}, "C > 0"), ({"batch_size": 8}, "batch_size is for solver=sgd"),
     ({"margin": 0.25}, "between 0.5 and 200"), ({"tolerance": 1e-9}, "at least 1e-6")],
)  # fmt: skip
def test_settings_that_do_not_go_together(settings: dict[str, Any], cure: str) -> None:
    X, y = cancer()
    with pytest.raises(mpc.UsageError, match=cure):
        fitted(X[:50, :4], y[:50], "horizontal", solver="newton-bound", **settings)


@pytest.mark.parametrize("solver", ["newton-bound", "sgd"])
@pytest.mark.parametrize("partition", ["horizontal", "vertical"])
def test_more_classes_are_one_against_the_rest(solver: str, partition: str) -> None:
    X, y = load_iris(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    X, y = X[order], y[order]
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    run = fitted(X, names, partition, solver=solver)
    assert run.results["classes"] == ["setosa", "versicolor", "virginica"]
    coef, intercept = np.asarray(run.results["coef"]), np.asarray(run.results["intercept"])
    assert coef.shape == (3, 4)
    assert intercept.shape == (3,)
    model = OneVsRestClassifier(LogisticRegression(C=1.0)).fit((X - X.mean(0)) / X.std(0), y)
    found = (X @ coef.T + intercept).argmax(axis=1)
    assert (found == y).mean() >= model.score((X - X.mean(0)) / X.std(0), y) - 0.02


def test_irls_is_for_two_classes() -> None:
    X, y = load_iris(return_X_y=True)
    with pytest.raises(mpc.UsageError, match="two classes, not 3"):
        fitted(X, y, "horizontal", solver="irls")


def digits() -> tuple[np.ndarray, np.ndarray]:
    X, y = load_digits(return_X_y=True)
    return X, y


def test_even_and_odd_digits() -> None:
    X, y = digits()
    X, odd = X[:1200], y[:1200] % 2
    X = X[:, X.std(0) > 0]
    run = fitted(X, odd, "horizontal", solver="newton-bound", form="primal", clip=True)
    model = reference(X, odd)
    found = (X @ np.asarray(run.results["coef"]) + run.results["intercept"] > 0).astype(int)
    assert abs((found == odd).mean() - model.score((X - X.mean(0)) / X.std(0), odd)) <= 0.005


def test_ten_digits_one_against_the_rest() -> None:
    X, y = digits()
    X = X[:, X.std(0) > 0]
    half = np.arange(len(X)) % 4 != 0
    run = fitted(X[half], y[half], "horizontal", solver="newton-bound", form="primal", steps=40, clip=True)
    coef, intercept = np.asarray(run.results["coef"]), np.asarray(run.results["intercept"])
    mean, spread = X[half].mean(0), X[half].std(0) + (X[half].std(0) == 0)
    model = OneVsRestClassifier(LogisticRegression(max_iter=1000)).fit((X[half] - mean) / spread, y[half])
    right = ((X[~half] @ coef.T + intercept).argmax(1) == y[~half]).mean()
    assert right >= model.score((X[~half] - mean) / spread, y[~half]) - 0.005
