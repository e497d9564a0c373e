"""Logistic regression on breast cancer: as good as scikit-learn's, the same steps as in float64, clear refusals."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import mpc
from mpc.kernels import permutation
from protocols import BEAVER, MASKED, catalog

FIT = catalog["logistic-regression"]
Columns = dict[str, Any]


@cache
def cancer() -> tuple[np.ndarray, np.ndarray, list[str]]:
    data = load_breast_cancer()
    return data.data, data.target, [str(name).replace(" ", "_") for name in data.feature_names]


@cache
def split(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    X, y, _ = cancer()
    return tuple(train_test_split(X, y, test_size=0.25, random_state=seed, stratify=y))  # X, X', y, y'


def rows_apart(X: np.ndarray, y: np.ndarray, parties: int, names: list[str] | None = None) -> list[Columns]:
    """Horizontal: other rows of the same columns, not the same number for each."""
    names = names or cancer()[2]
    ends = (np.linspace(0, 1, parties + 1) ** 1.3 * len(X)).astype(int)
    parts = [slice(a, b) for a, b in pairwise(ends)]
    return [{**dict(zip(names, X[p].T, strict=True)), "label": y[p]} for p in parts]


def columns_apart(X: np.ndarray, y: np.ndarray, parties: int = 2, names: list[str] | None = None) -> list[Columns]:
    """Vertical: other columns of the same rows; the last party has the label."""
    names = names or cancer()[2]
    parts: list[Columns] = [
        {names[j]: X[:, j] for j in chosen} for chosen in np.array_split(np.arange(X.shape[1]), parties)
    ]
    parts[-1]["label"] = y
    return parts


def fit(data: Any, parties: int, how: str = "emulate", **settings: Any) -> dict[str, Any]:
    given = {"data": data}
    if how == "plain":
        settings.pop("suite", None)
        return mpc.simulate(FIT, given, parties, label="label", **settings)
    return mpc.emulate(FIT, given, parties, label="label", **settings).results


def accuracy(found: dict[str, Any], X: np.ndarray, y: np.ndarray) -> float:
    return float(np.mean((X @ found["coef"] + found["intercept"] > 0) == y))


def standard(found: dict[str, Any], X: np.ndarray) -> np.ndarray:
    """The weights of standardised columns, the intercept last."""
    return np.append(found["coef"] * X.std(axis=0), found["intercept"] + found["coef"] @ X.mean(axis=0))


def steps_in_float64(
    X: np.ndarray, y: np.ndarray, *, steps: int, rate: float, batch: int | None = None, C: float = 1.0,
    intercept: bool = True, seed: int = 0, momentum: float = 0.0,
) -> np.ndarray:  # fmt: skip
    """The same steps on standardised columns, with the exact sigmoid."""
    n, d = X.shape
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    Z = np.column_stack([Z, np.ones(n)]) if intercept else Z
    if batch is not None and batch < n:
        order = permutation(seed, n).astype(int)
        Z, y = Z[order], y[order]
    batch = batch or n
    penalty = np.array([1.0] * d + [0.0] * intercept) / (n * C) if C else 0.0
    w = before = np.zeros(Z.shape[1])
    for i in range(steps):
        at = i % (n // batch) * batch
        part, goal = Z[at : at + batch], y[at : at + batch]
        gradient = part.T @ (1 / (1 + np.exp(-part @ w)) - goal) / batch + penalty * w
        w, before = w - rate * gradient + momentum * (w - before), w
    return w if intercept else np.append(w, 0.0)


def far(w: np.ndarray, reference: np.ndarray) -> float:
    return float(np.linalg.norm(w - reference) / np.linalg.norm(reference))


# --- as good as scikit-learn


@cache
def sklearns(seed: int) -> tuple[float, np.ndarray]:
    X, held, y, truth = split(seed)
    scaler = StandardScaler().fit(X)
    model = LogisticRegression(tol=1e-10, max_iter=20000).fit(scaler.transform(X), y)
    return model.score(scaler.transform(held), truth), np.append(model.coef_[0], model.intercept_)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("partition", "parties"), [("horizontal", 3), ("vertical", 2)])
def test_held_out_accuracy_with_the_defaults(partition, parties, seed):
    X, held, y, truth = split(seed)
    data = rows_apart(X, y, parties) if partition == "horizontal" else columns_apart(X, y, parties)
    found = fit(data, parties, partition=partition)
    score, weights = sklearns(seed)
    assert abs(accuracy(found, held, truth) - score) <= 0.01
    assert far(standard(found, X), weights) < 1e-3
    assert list(found["classes"]) == [0, 1]
    assert (found["solver"], found["n_iter"], found["converged"]) == ("irls", 8, True)


UNITS = [(1e-12, 0.0), (1e-6, 10.0), (1e-3, 1e6), (1.0, 0.0), (1e3, 10.0), (1e6, 1e6), (1e12, 0.0)]


@pytest.mark.parametrize("partition", ["horizontal", "vertical"])
@pytest.mark.parametrize("rows", [4, 200])
@pytest.mark.parametrize(("unit", "away"), UNITS)
def test_right_in_any_unit_and_far_from_zero(unit, away, rows, partition):
    rng = np.random.default_rng(rows)
    Z = rng.normal(size=(rows, 3))
    Z[:, 1] += Z[:, 0]
    y = (Z @ [1.5, -1.0, 0.5] + rng.logistic(size=rows) > 0.3).astype(int)
    y[:2] = [0, 1]
    X = (Z + away) * unit
    names = ["a", "b", "c"]
    data = rows_apart(X, y, 2, names) if partition == "horizontal" else columns_apart(X, y, 2, names)
    found = fit(data, 2, "plain", partition=partition)
    model = LogisticRegression(tol=1e-10, max_iter=10_000).fit((X - X.mean(0)) / X.std(0), y)
    assert np.max(np.abs(found["coef"] * X.std(0) - model.coef_[0])) <= 1e-4
    assert found["converged"]


def test_steps_that_went_wrong_are_not_converged():
    X, _, y, _ = split(0)
    data = rows_apart(X, y, 2)
    for settings in ({"solver": "irls", "steps": 2}, {"steps": 20}, {"solver": "irls", "margin": 8.0}):
        assert not fit(data, 2, "plain", **settings)["converged"]


@pytest.mark.parametrize("seed", range(2, 8))
def test_held_out_accuracy_of_the_meaning_on_more_splits(seed):
    X, held, y, truth = split(seed)
    for found in (fit(rows_apart(X, y, 3), 3, "plain"), fit(columns_apart(X, y), 2, "plain", partition="vertical")):
        assert abs(accuracy(found, held, truth) - sklearns(seed)[0]) <= 0.01


# --- the same steps


SCHEDULE: dict[str, Any] = {"steps": 100, "learning_rate": 0.5}


@pytest.mark.parametrize("suite", [MASKED, BEAVER], ids=lambda s: s.name)
@pytest.mark.parametrize(("partition", "parties"), [("horizontal", 3), ("vertical", 2)])
def test_weights_are_those_of_the_same_steps_in_float64(partition, parties, suite):
    X, _, y, _ = split(0)
    data = rows_apart(X, y, parties) if partition == "horizontal" else columns_apart(X, y, parties)
    found = fit(data, parties, partition=partition, suite=suite, **SCHEDULE)
    assert far(standard(found, X), steps_in_float64(X, y, steps=100, rate=0.5)) <= 0.02


@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_within_one_truncation_unit_per_step_of_plain(n):
    """A unit is that of the revealed weights, 2^-16."""
    X, _, y, _ = split(0)
    X, y = X[:160, :8], y[:160]
    names = cancer()[2][:8]
    data = rows_apart(X, y, n, names)
    found, plain = (fit(data, n, how, **SCHEDULE) for how in ("emulate", "plain"))
    assert np.max(np.abs(standard(found, X) - standard(plain, X))) <= 100 * 2.0**-16


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 64},
        {"batch_size": 50, "seed": 3},
        {"C": 0.05},
        {"C": 0},
        {"fit_intercept": False},
        {"momentum": 0.8},
    ],
    ids=str,
)
def test_settings_mean_what_they_mean_in_float64(settings):
    X, _, y, _ = split(1)
    X, names = X[:, :10], cancer()[2][:10]
    found = fit(rows_apart(X, y, 3, names), 3, **SCHEDULE, **settings)
    renamed = {"batch_size": "batch", "fit_intercept": "intercept"}
    reference = steps_in_float64(X, y, steps=100, rate=0.5, **{renamed.get(k, k): v for k, v in settings.items()})
    weights = standard(found, X)
    if settings.get("fit_intercept") is False:
        weights[-1] = 0.0  # through the centre of the columns
    assert far(weights, reference) <= 0.02


def test_the_order_of_a_mini_batch_is_fixed_by_its_seed():
    X, _, y, _ = split(1)
    data = rows_apart(X[:90, :4], y[:90], 2, cancer()[2][:4])
    first, again, other = (fit(data, 2, "plain", batch_size=30, steps=5, seed=s)["coef"] for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


# --- scales


def small() -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(3)
    X = rng.normal([0, 2, -1], [1, 3, 0.5], (60, 3))
    return X, (X @ [1, -0.5, 2] + rng.normal(0, 1, 60) > -3).astype(int), ["a", "b", "c"]


def test_scaling_by_declared_ranges_reveals_nothing_besides_the_model():
    X, y, names = small()
    ranges = {"a": [-4, 4], "b": [-10, 14], "c": [-4, 2]}
    program = {"scale": "range", "ranges": ranges, "steps": 30, "learning_rate": 1.0}
    for data, partition in ((rows_apart(X, y, 2, names), "horizontal"), (columns_apart(X, y, 2, names), "vertical")):
        run = mpc.emulate(FIT, {"data": data}, 2, label="label", partition=partition, **program)
        assert not {"mean", "variance"} & run.results.keys()
        centre, half = np.array([0, 2, -1.0]), np.array([4, 12, 3.0])
        Z = (X - centre) / half
        w = np.zeros(4)
        Z = np.column_stack([Z, np.ones(60)])
        for _ in range(30):
            w = w - 1.0 * (Z.T @ (1 / (1 + np.exp(-Z @ w)) - y) / 60 + np.array([1, 1, 1, 0]) * w / 60)
        assert (
            far(
                np.append(run.results["coef"], run.results["intercept"]),
                np.append(w[:3] / half, w[3] - (w[:3] / half) @ centre),
            )
            < 0.02
        )


def test_no_scaling_takes_values_as_they_are():
    X, y, names = small()
    found = fit(rows_apart(X, y, 2, names), 2, scale="none", steps=20, learning_rate=0.1)
    Z, w = np.column_stack([X, np.ones(60)]), np.zeros(4)
    for _ in range(20):
        w = w - 0.1 * (Z.T @ (1 / (1 + np.exp(-Z @ w)) - y) / 60 + np.array([1, 1, 1, 0]) * w / 60)
    assert far(np.append(found["coef"], found["intercept"]), w) < 0.02


def test_pooled_moments_are_revealed_and_right():
    X, y, names = small()
    found = fit(rows_apart(X, y, 3, names), 3, steps=2)
    np.testing.assert_allclose(found["mean"], X.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(found["variance"], X.var(axis=0), rtol=1e-3)


def test_a_constant_column_does_no_harm():
    X, y, names = small()
    X = X.copy()
    X[:, 1] = 7
    for data, partition in ((rows_apart(X, y, 2, names), "horizontal"), (columns_apart(X, y, 2, names), "vertical")):
        assert np.all(np.isfinite(fit(data, 2, partition=partition, steps=5)["coef"]))


@pytest.mark.parametrize(("partition", "owner"), [("horizontal", "bob"), ("vertical", "alice")])
def test_a_value_beyond_16_is_refused_at_its_owner_or_clipped(partition, owner):
    X, y, names = small()
    X = X.copy()
    X[35, 1] = 21.125
    at = "row 6 (line 7), column 'b'" if partition == "horizontal" else "row 36 (line 37), column 'b'"
    ends = [X[:30], X[30:]], [y[:30], y[30:]]
    horizontal = [{**dict(zip(names, a.T, strict=True)), "label": b} for a, b in zip(*ends, strict=True)]
    data = horizontal if partition == "horizontal" else columns_apart(X, y, 2, names)
    with pytest.raises(mpc.InputError) as caught:
        fit(data, 2, partition=partition, scale="none", steps=2)
    assert f"{owner}: data of {owner}: {at} is outside the declared range -16 to 16" in str(caught.value)
    assert "21.125" not in str(caught.value)
    assert caught.value.public == f"{owner}: input refused"
    assert np.all(np.isfinite(fit(data, 2, partition=partition, scale="none", steps=2, clip=True)["coef"]))


# --- labels and refusals


@pytest.mark.parametrize("labels", [("benign", "malignant"), ("0.0", "1.0"), ("-1", "1"), ("no", "yes")])
def test_labels_of_any_kind(labels):
    X, y, names = small()
    words = np.array(labels)[y]
    found = fit(rows_apart(X, words, 2, names), 2, steps=10)
    plain = fit(rows_apart(X, y, 2, names), 2, steps=10)
    assert [str(c) for c in found["classes"]] == [str(c).removesuffix(".0") for c in labels]
    np.testing.assert_allclose(found["coef"], plain["coef"], atol=1e-3)


def refused(error: type[Exception], data: Any, n: int = 2, **settings: Any) -> str:
    with pytest.raises(error) as caught:
        fit(data, n, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_one_class_only():
    X, y, names = small()
    assert "one class only" in refused(mpc.InputError, rows_apart(X, y * 0, 2, names))


def test_different_columns():
    X, y, names = small()
    data = rows_apart(X, y, 2, names)
    data[1]["d"] = data[1].pop("c")
    said = refused(mpc.InputError, data)
    assert "alice and bob have different columns (c, d" in said
    assert "partition=vertical" in said


def test_different_row_counts():
    X, y, names = small()
    data = columns_apart(X, y, 2, names)
    data[0] = {k: v[:-1] for k, v in data[0].items()}
    assert "different row counts (alice 59, bob 60)" in refused(mpc.InputError, data, partition="vertical")


def test_the_label_is_missing():
    X, y, names = small()
    data = [{k: v for k, v in t.items() if k != "label"} for t in rows_apart(X, y, 2, names)]
    assert "no party has the label column 'label'" in refused(mpc.UsageError, data)


def test_a_label_cell_is_missing():
    X, y, names = small()
    words = np.array(["no", "yes"])[y]
    words[7] = ""
    assert "row 8 (line 9), column 'label': the label is missing" in refused(
        mpc.InputError, [{**t, "label": words} if i == 1 else t for i, t in enumerate(columns_apart(X, y, 2, names))],
        partition="vertical",
    )  # fmt: skip


def test_two_holders_of_the_label():
    X, y, names = small()
    data = columns_apart(X, y, 2, names)
    data[0]["label"] = y
    assert "more than one party has the label" in refused(mpc.InputError, data, partition="vertical")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"batch_size": 61}, "batch_size must be between 1 and the 60 rows"),
        ({"batch_size": 0}, "batch_size must be between 1"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"learning_rate": -0.1}, "learning_rate must be positive"),
        ({"momentum": 1.0}, "momentum must lie in"),
        ({"C": -1.0}, "C must be 0 (no penalty) or positive"),
        ({"partition": "diagonal"}, "horizontal, vertical"),
        ({"scale": "minmax"}, "standard, range, none"),
        ({"scale": "range"}, "'a' has none"),
        ({"step": 5}, "did you mean 'steps'"),
    ],
    ids=str,
)
def test_settings_out_of_range(settings, words):
    X, y, names = small()
    assert words in refused(mpc.UsageError, rows_apart(X, y, 2, names), **settings)


def test_text_in_a_number_column():
    X, y, names = small()
    data = rows_apart(X, y, 2, names)
    data[1]["b"] = [*map(str, data[1]["b"][:-1]), "tall"]
    said = refused(mpc.InputError, data)
    assert "bob: data of bob: row" in said
    assert "column 'b' is text, not a number" in said
    assert "tall" not in said
