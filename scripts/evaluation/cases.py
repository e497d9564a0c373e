"""Each program of the catalogue with data in any unit and offset, and the right answer by numpy, scipy, scikit-learn.

Data of a program are the same numbers in every unit and at every offset: unit · (z + offset), z with a deviation of
about 1. So where one cell is right and the next wrong, the unit or the offset is the cause. Every owner's rows come
from one table, cut in two.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.cluster import KMeans
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor, Ridge
from sklearn.metrics import log_loss, roc_auc_score

from evaluation.comparing import Expected, exact, p_value, relative

__all__ = ["CASES", "Case", "Question"]

Values = NDArray[Any]
Columns = dict[str, Any]
SEED = 20261201


@dataclass(frozen=True)
class Question:
    """What is asked: files of columns by input and party, settings of the program, and what must come out."""

    inputs: dict[str, dict[str, Columns]]
    settings: dict[str, Any]
    expected: list[Expected]


@dataclass(frozen=True)
class Case:
    """A program of the catalogue.

    ask(random, place, rows): the question. applies: whether a unit and an offset have a meaning; probabilities have
    none.
    """

    program: str
    ask: Callable[[np.random.Generator, Place, int], Question]
    applies: Callable[[float, float], bool] = field(default=lambda unit, offset: True)

    def question(self, unit: float, offset: float, rows: int) -> Question:
        """The same numbers for every unit and offset."""
        random = np.random.default_rng([SEED, zlib.crc32(self.program.encode()), rows])
        return self.ask(random, Place(unit, offset), rows)


@dataclass(frozen=True)
class Place:
    """A unit and an offset."""

    unit: float
    offset: float

    def __call__(self, z: Any) -> Values:
        """Numbers of deviation 1 in this unit, at this offset."""
        return np.asarray((z + self.offset) * self.unit)


# ----------------------------------------------------------------------------------------------------------------- data


def _table(x: Values, **more: Any) -> Columns:
    """Columns x0, x1, …, and others."""
    return {f"x{i}": x[:, i] for i in range(x.shape[1])} | more


def _halves(columns: Columns, name: str = "data", parties: tuple[str, str] = ("alice", "bob")) -> dict[str, Any]:
    """The first half of the rows at one owner, the rest at another."""
    middle = len(next(iter(columns.values()))) // 2
    parts = ({c: v[:middle] for c, v in columns.items()}, {c: v[middle:] for c, v in columns.items()})
    return {name: dict(zip(parties, parts, strict=True))}


def _correlated(random: np.random.Generator, rows: int, columns: int) -> Values:
    """Normal columns, each of which has half of the first in it."""
    z = random.standard_normal((rows, columns))
    z[:, 1:] += 0.5 * z[:, :1]
    return z


def _upper_half(score: Values) -> NDArray[np.int64]:
    """1 for the larger half."""
    labels = np.zeros(len(score), dtype=np.int64)
    labels[np.argsort(score)[len(score) // 2 :]] = 1
    return labels


def _near(right: Any, spread: Any) -> Any:
    """The natural size of a place on an axis: its distance from 0, at least a deviation."""
    return np.maximum(np.abs(right), spread)


# -------------------------------------------------------------------------------------------------------- sums, moments


def _secure_sum(random: np.random.Generator, place: Place, rows: int) -> Question:
    x = place(_correlated(random, rows, 2))
    y = place(_correlated(random, rows, 2))
    inputs = {"values": {"alice": _table(x), "bob": _table(y)}}
    return Question(inputs, {}, [relative("sum", x + y, _near(x + y, place.unit))])


def _mean(random: np.random.Generator, place: Place, rows: int) -> Question:
    x = place(_correlated(random, rows, 2))
    right = x.mean(axis=0)
    return Question(_halves(_table(x), "values"), {}, [relative("mean", right, _near(right, x.std(axis=0)))])


def _moment(name: str, of: Callable[[Values], Values], size: Callable[[Values], Any]) -> Callable[..., Question]:
    def ask(random: np.random.Generator, place: Place, rows: int) -> Question:
        x = place(_correlated(random, rows, 3))
        return Question(_halves(_table(x)), {}, [relative(name, of(x), size(x))])

    return ask


def _variances(x: Values) -> Values:
    return x.var(axis=0, ddof=1)


def _deviations(x: Values) -> Values:
    return x.std(axis=0, ddof=1)


# ---------------------------------------------------------------------------------------------------------------- order


def _histogram(random: np.random.Generator, place: Place, rows: int) -> Question:
    x = place(random.standard_normal(rows))
    edges = place(np.array([-5.0, -1.0, 0.25, 1.0, 5.0]))
    counts = np.histogram(x, edges)[0]
    expected = [relative("counts", counts, rows)]  # exact below 10,000 rows
    return Question(_halves({"x": x}), {"column": "x", "edges": edges.tolist(), "minimum": 1}, expected)


def _quantile(random: np.random.Generator, place: Place, rows: int) -> Question:
    x, q = place(random.standard_normal(rows)), [0.1, 0.5, 0.9]
    right = np.quantile(x, q)
    return Question(_halves({"x": x}), {"column": "x", "q": q}, [relative("quantiles", right, _near(right, x.std()))])


def _median(random: np.random.Generator, place: Place, rows: int) -> Question:
    x = place(random.standard_normal(rows))
    right = np.median(x)
    return Question(_halves({"x": x}), {"column": "x"}, [relative("median", right, _near(right, x.std()))])


# --------------------------------------------------------------------------------------------------------------- groups


def _group_by(random: np.random.Generator, place: Place, rows: int) -> Question:
    x, group = place(random.standard_normal(rows)), np.arange(rows) % 3
    names, spread = np.array(["north", "south", "west"]), x.std()
    order = random.permutation(rows)
    x, group = x[order], group[order]
    count = np.array([(group == k).sum() for k in range(3)])
    total = np.array([x[group == k].sum() for k in range(3)])
    expected = [
        exact("count", count),
        relative("sum", total, _near(total, spread)),
        relative("mean", total / count, _near(total / count, spread)),
    ]
    return Question(_halves({"region": names[group], "x": x}), {"key": "region", "column": "x", "minimum": 1}, expected)


def _chi_square(random: np.random.Generator, place: Place, rows: int) -> Question:
    """Categories that are numbers in this unit. The dependence shrinks with the rows, so that p stays of a size."""
    row = np.arange(rows) % 2
    column = np.where(random.uniform(size=rows) < 1.5 / np.sqrt(rows), row, random.integers(0, 3, rows))
    column[:2] = (1, 0)
    right = stats.chi2_contingency(_counts(row, column), correction=False)
    expected = [
        relative("chi_square", right.statistic, max(abs(right.statistic), 1.0)),
        exact("degrees_of_freedom", right.dof),
        p_value("p_value", right.pvalue),
    ]
    columns = {"u": place(row.astype(float)), "v": place(column.astype(float))}
    return Question(_halves(columns), {"row": "u", "column": "v"}, expected)


def _counts(row: Values, column: Values) -> Values:
    table = np.zeros((row.max() + 1, column.max() + 1))
    np.add.at(table, (row, column), 1)
    return table[:, table.sum(axis=0) > 0]


def _t_test(random: np.random.Generator, place: Place, rows: int) -> Question:
    group = np.arange(rows) % 2
    x = place(random.standard_normal(rows) * (1 + 0.5 * group) + group * 4 / np.sqrt(rows))
    right = stats.ttest_ind(x[group == 0], x[group == 1], equal_var=False)
    expected = [
        relative("t", right.statistic, max(abs(right.statistic), 1.0)),
        relative("degrees_of_freedom", right.df, right.df),
        p_value("p_value", right.pvalue),
    ]
    return Question(_halves({"x": x, "group": group}), {"column": "x", "group": "group"}, expected)


# ---------------------------------------------------------------------------------------------------------- regressions


def _standardised(x: Values) -> Values:
    return np.asarray((x - x.mean(axis=0)) / x.std(axis=0))


def _model(x: Values, weights: Values, start: float, least: float) -> list[Expected]:
    """What a model on standardised columns is in their own units. least: the smallest natural size of the intercept."""
    coef = weights / x.std(axis=0)
    moved = coef * x.mean(axis=0)
    intercept = start - moved.sum()
    size = max(abs(intercept), np.abs(moved).sum(), least)
    return [
        relative("coef", coef, np.abs(weights).max() / x.std(axis=0)),
        relative("intercept", intercept, size),
    ]


def _linear(make: Callable[[], Any]) -> Callable[..., Question]:
    def ask(random: np.random.Generator, place: Place, rows: int) -> Question:
        z = _correlated(random, rows, 2)
        y = place(z @ np.array([1.5, -1.0]) + 0.5 * random.standard_normal(rows))
        x = place(z)
        fitted = make().fit(_standardised(x), y)
        expected = _model(x, fitted.coef_, float(fitted.intercept_), float(y.std()))
        return Question(_halves(_table(x, y=y)), {"label": "y"}, expected)

    return ask


def _logistic(random: np.random.Generator, place: Place, rows: int) -> Question:
    z = _correlated(random, rows, 2)
    y = _upper_half(z @ np.array([1.5, -1.0]) + random.logistic(size=rows))
    x = place(z)
    fitted = LogisticRegression(C=1.0, tol=1e-12, solver="newton-cholesky").fit(_standardised(x), y)
    expected = _model(x, fitted.coef_[0], float(fitted.intercept_[0]), 1.0)
    return Question(_halves(_table(x, y=y)), {"label": "y"}, expected)


def _poisson(random: np.random.Generator, place: Place, rows: int) -> Question:
    z = _correlated(random, rows, 2)
    y = random.poisson(np.exp(np.clip(z @ np.array([0.4, -0.3]) + 1.0, -2.0, 3.0)))
    y[0] += y.sum() == 0
    x = place(z)
    fitted = PoissonRegressor(alpha=1.0, tol=1e-12, solver="newton-cholesky").fit(_standardised(x), y)
    expected = _model(x, fitted.coef_, float(fitted.intercept_), 1.0)
    return Question(_halves(_table(x, y=y)), {"label": "y"}, [*expected, relative("mean_count", y.mean(), y.mean())])


# ---------------------------------------------------------------------------------------------- clusters and components


def _k_means(random: np.random.Generator, place: Place, rows: int) -> Question:
    """Two clusters far apart, so that every start ends in the same one."""
    member = np.arange(rows) % 2
    z = 0.3 * random.standard_normal((rows, 2)) + np.where(member == 0, -1.0, 1.0).reshape(-1, 1)
    order = random.permutation(rows)
    x = place(z[order])
    fitted = KMeans(2, n_init=10, random_state=0).fit(_standardised(x))
    centres = fitted.cluster_centers_ * x.std(axis=0) + x.mean(axis=0)
    first = np.argsort(centres[:, 0])

    def in_order(results: Mapping[str, Any], name: str) -> Any:
        found = np.asarray(results["centers"], dtype=float)
        return np.asarray(results[name])[np.argsort(found[:, 0])]

    expected = [
        relative("centers", centres[first], _near(centres[first], x.std(axis=0)), lambda r: in_order(r, "centers")),
        exact("sizes", np.bincount(fitted.labels_)[first], lambda r: in_order(r, "sizes")),
        relative("inertia", fitted.inertia_, fitted.inertia_),
    ]
    return Question(_halves(_table(x)), {"k": 2, "minimum": 1}, expected)


def _components(random: np.random.Generator, place: Place, rows: int) -> Question:
    """Components of the correlation matrix; of each the entry of largest magnitude is positive."""
    z = random.standard_normal((rows, 3))
    z[:, 1] = z[:, 0] + 0.5 * z[:, 1]
    x = place(z)
    matrix = np.corrcoef(x, rowvar=False)
    values, vectors = np.linalg.eigh(matrix)
    values, vectors = values[::-1][:2], vectors[:, ::-1][:, :2].T
    largest = vectors[np.arange(2), np.abs(vectors).argmax(axis=1)]
    share = rows / (rows - 1)
    expected = [
        relative("components", vectors * np.sign(largest).reshape(-1, 1), 1.0),
        relative("explained_variance", values * share, 3 * share),
        relative("explained_variance_ratio", values / 3, 1.0),
        relative("total_variance", 3 * share, 3 * share),
    ]
    return Question(_halves(_table(x)), {"components": 2}, expected)


# ---------------------------------------------------------------------------------------------- predictions and metrics


def _predict(random: np.random.Generator, place: Place, rows: int) -> Question:
    """A model that was made for such data: its scores are of size 1."""
    x = place(_correlated(random, rows, 2))
    w = np.array([0.8, -0.6]) / place.unit
    b = 0.3 - float(w @ x.mean(axis=0))
    score = x @ w + b
    model = {"x0": w[:1], "x1": w[1:], "intercept": np.array([b])}
    inputs = {"model": {"alice": model}, **_halves(_table(x), parties=("bob", "carol"))}
    middle = rows // 2
    size = _near(score, score.std())
    expected = [
        relative("predictions of bob", score[:middle], size[:middle]),
        relative("predictions of carol", score[middle:], size[middle:]),
    ]
    return Question(inputs, {"tell_coordinator": True}, expected)


def _scored(random: np.random.Generator, rows: int) -> tuple[Values, NDArray[np.int64]]:
    z = random.standard_normal(rows)
    return z, _upper_half(z + random.standard_normal(rows))


def _accuracy(random: np.random.Generator, place: Place, rows: int) -> Question:
    z, y = _scored(random, rows)
    score, threshold = place(z), float(place(np.array(0.1)))
    right = np.mean((score >= threshold) == (y == 1))
    settings = {"label": "y", "score": "score", "threshold": threshold}
    return Question(_halves({"score": score, "y": y}), settings, [relative("accuracy", right, 1.0)])


def _log_loss(random: np.random.Generator, place: Place, rows: int) -> Question:
    """Probabilities in a unit of at most 1: rare events."""
    z, y = _scored(random, rows)
    p = place.unit / (1 + np.exp(-2 * z))
    right = log_loss(y, p)
    return Question(_halves({"p": p, "y": y}), {"label": "y", "score": "p"}, [relative("log_loss", right, right)])


def _auc(random: np.random.Generator, place: Place, rows: int) -> Question:
    z, y = _scored(random, rows)
    score = place(z)
    settings = {"label": "y", "score": "score"}
    return Question(_halves({"score": score, "y": y}), settings, [relative("auc", roc_auc_score(y, score), 1.0)])


_ALL = (
    Case("secure-sum", _secure_sum),
    Case("mean", _mean),
    Case("variance", _moment("variance", _variances, _variances)),
    Case("standard-deviation", _moment("standard_deviation", _deviations, _deviations)),
    Case("covariance", _moment("covariance", lambda x: np.cov(x, rowvar=False),
                               lambda x: np.outer(_deviations(x), _deviations(x)))),
    Case("correlation", _moment("correlation", lambda x: np.corrcoef(x, rowvar=False), lambda x: 1.0)),
    Case("histogram", _histogram),
    Case("quantile", _quantile),
    Case("median", _median),
    Case("group-by", _group_by),
    Case("chi-square", _chi_square),
    Case("t-test", _t_test),
    Case("linear-regression", _linear(LinearRegression)),
    Case("ridge-regression", _linear(lambda: Ridge(alpha=1.0))),
    Case("logistic-regression", _logistic),
    Case("poisson-regression", _poisson),
    Case("k-means", _k_means),
    Case("pca", _components),
    Case("predict", _predict),
    Case("accuracy", _accuracy),
    Case("log-loss", _log_loss, lambda unit, offset: unit <= 1 and not offset),
    Case("auc", _auc),
)  # fmt: skip

CASES = {case.program: case for case in _ALL}
