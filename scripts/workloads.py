"""The workloads that are measured: their names are fixed, so that figures of different days and peers can be compared.

Each is a program, the data of every owner, and the right answer. Data are made from a fixed seed. What a workload
reveals beside its purpose is a few numbers, enough to see that it computed the right thing; `sum-1e6` reveals its sum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mpc
from mpc.kernels import permutation
from mpc.table import Table
from protocols import catalog

__all__ = ["WORKLOADS", "Data", "Workload"]

Values = NDArray[np.float64]
Data = list[Any]  # of each party in turn: an array, or a Table
_SHOWN = 8


@dataclass(frozen=True)
class Workload:
    """make: the data of n parties. wrong: the largest error of the results against the right answer. most: allowed.

    input: under which the parties give their data. settings: of the program.
    """

    name: str
    what: str
    program: Any
    make: Callable[[int], Data]
    wrong: Callable[[Data, dict[str, Any]], float]
    most: float
    parties: int = 2
    input: str = "data"
    settings: dict[str, Any] = field(default_factory=dict)


# ------------------------------------------------------------------------------------------------------- programs


@mpc.program
def product(data: mpc.PerParty[mpc.Private]) -> dict[str, Any]:
    """x·y, elementwise, of the first two parties."""
    x, y = _shared(data, 8.0)
    return {"shown": mpc.reveal(mpc.rescale(x * y, 16)[:_SHOWN])}


@mpc.program
def matrix_product(data: mpc.PerParty[mpc.Private], columns: int = 0) -> dict[str, Any]:
    """X @ Y of the first two parties; without `columns`, Y is a vector."""
    x, y = _shared(data, 8.0)
    z = mpc.rescale(x @ y, 16)
    return {"shown": mpc.reveal(z[:_SHOWN, 0] if columns else z[:_SHOWN])}


@mpc.program
def less(data: mpc.PerParty[mpc.Private]) -> dict[str, Any]:
    """[x < y], elementwise, of 32-bit numbers of the first two parties."""
    x, y = _shared(data, 1000.0)
    z = x < y
    return {"shown": mpc.reveal(z[:_SHOWN]), "count": mpc.reveal(z.sum())}


@mpc.program
def sigmoids(data: mpc.PerParty[mpc.Private]) -> dict[str, Any]:
    """σ(x + y), elementwise, of the first two parties, each within ±4.

    The error is to be at most 1e-4: the shortest series for ±8 is right to 4e-4 only, and a reveal that hides the
    rounding to 1e-3. These data are nobody's, so the rounding may be seen.
    """
    x, y = _shared(data, 4.0)
    return {"shown": mpc.reveal(mpc.accept_rounding(mpc.sigmoid(x + y, terms=16)))}


@mpc.program
def chain(data: mpc.PerParty[mpc.Private], times: int = 1000) -> dict[str, Any]:
    """x·y·y·… : products of two numbers, each of which needs the one before, truncated to 16 fraction bits."""
    x, y = _shared(data, 1.5)

    def step(_: Any, z: Any) -> Any:
        return mpc.assume_range(mpc.rescale(z * y, 16), -100.0, 100.0)

    return {"shown": mpc.reveal(mpc.repeat(times, step, x))}


def _shared(data: Any, limit: float) -> tuple[Any, Any]:
    x, y = list(data)[:2]
    return mpc.share(x, range=(-limit, limit)), mpc.share(y, range=(-limit, limit))


# ------------------------------------------------------------------------------------------------------------ data


def _arrays(*shapes: tuple[int, ...], limit: float = 8.0) -> Callable[[int], Data]:
    def make(n: int) -> Data:
        random = np.random.default_rng(20261125)
        all_shapes = shapes if len(shapes) >= n else (*shapes, *(shapes[-1:] * (n - len(shapes))))
        return [np.round(random.uniform(-limit, limit, shape) * 4096) / 4096 for shape in all_shapes]

    return make


def _chained(n: int) -> Data:
    return [np.array(1.25), *(np.array(1.0 + 1 / 4096) for _ in range(n - 1))]


def _table(x: Values, y: NDArray[Any]) -> Any:
    columns: dict[str, Any] = {f"x{i}": x[:, i] for i in range(x.shape[1])}
    return Table({**columns, "label": y})


def _rows(x: Values, y: NDArray[Any], n: int) -> Data:
    return [_table(x[part], y[part]) for part in np.array_split(np.arange(len(y)), n)]


def breast_cancer() -> tuple[Values, NDArray[np.int64]]:
    """569×30, standardised over all rows, as scikit-learn brings it."""
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True)
    return np.clip((x - x.mean(axis=0)) / x.std(axis=0), -15.9, 15.9), y.astype(np.int64)


def dense(rows: int, columns: int) -> tuple[Values, NDArray[np.int64]]:
    """Standard normal columns and labels of a logistic model with normal weights."""
    random = np.random.default_rng(rows * 1009 + columns)
    x = np.clip(random.standard_normal((rows, columns)), -8, 8)
    score = x @ random.standard_normal(columns) * (3 / np.sqrt(columns))
    return x, (random.uniform(size=rows) < 1 / (1 + np.exp(-score))).astype(np.int64)


def mnist_like(rows: int) -> tuple[Values, NDArray[np.int64]]:
    """784 columns within [0, 1] of which a fifth is not zero, as in MNIST; two classes."""
    random = np.random.default_rng(rows)
    x = np.where(random.uniform(size=(rows, 784)) < 0.19, random.integers(1, 256, (rows, 784)) / 256, 0.0)
    score = (x - x.mean()) @ random.standard_normal(784)
    return x, (score > 0).astype(np.int64)


# --------------------------------------------------------------------------------------------------------- answers


def _largest(right: Values, shown: Any) -> float:
    return float(np.max(np.abs(np.asarray(shown, dtype=float).reshape(-1) - right.reshape(-1))))


def _sgd(x: Values, y: Values, steps: int, rate: float, batch: int, order: NDArray[Any]) -> Values:
    """The same plain gradient steps in float64, without penalty."""
    x = np.hstack([x, np.ones((len(x), 1))])[order]
    y, w, batches = y[order], np.zeros(x.shape[1]), len(x) // batch
    for i in range(steps):
        part = slice((i % batches) * batch, (i % batches + 1) * batch)
        w -= rate / batch * x[part].T @ (1 / (1 + np.exp(-(x[part] @ w))) - y[part])
    return w


def _training(rows: tuple[Values, NDArray[np.int64]], settings: dict[str, Any]) -> Callable[..., float]:
    """How far the weights are from those of plain float steps, relative to the largest of them."""

    def wrong(_: Data, results: dict[str, Any]) -> float:
        x, y = rows
        batch = settings.get("batch_size") or len(y)
        order = permutation(0, len(y)) if batch < len(y) else np.arange(len(y))
        w = _sgd(x, y.astype(float), settings["steps"], settings["learning_rate"], batch, order)
        found = np.append(np.asarray(results["coef"], dtype=float).reshape(-1), results["intercept"])
        return float(np.max(np.abs(found - w)) / np.max(np.abs(w)))

    return wrong


def _logreg(name: str, what: str, rows: Callable[[], tuple[Values, NDArray[np.int64]]], **settings: Any) -> Workload:
    settings = {"label": "label", "scale": "none", "C": 0.0, **settings}
    return Workload(
        name,
        what,
        catalog["logistic-regression"],
        lambda n: _rows(*rows(), n),
        lambda data, results: _training(rows(), settings)(data, results),  # noqa: PLW0108 - rows are made when needed
        1e-2,
        settings=settings,
    )


def _first(of: Callable[[Values, Values], Values]) -> Callable[[Data, dict[str, Any]], float]:
    return lambda data, results: _largest(of(*data[:2]).reshape(-1)[:_SHOWN], results["shown"])


def _compared(data: Data, results: dict[str, Any]) -> float:
    z = data[0] < data[1]
    return _largest(z[:_SHOWN].astype(float), results["shown"]) + abs(float(results["count"]) - z.sum())


_ALL = (
    Workload("mul-1e5", "x·y", product, _arrays((10**5,)), _first(np.multiply), 2**-14),
    Workload("mul-1e6", "x·y", product, _arrays((10**6,)), _first(np.multiply), 2**-14),
    Workload(
        "matmul-1000", "1000×1000 times 1000×1000", matrix_product, _arrays((1000, 1000), (1000, 1000)),
        lambda d, r: _largest((d[0][:_SHOWN] @ d[1][:, 0]), r["shown"]), 2**-14, settings={"columns": 1000},
    ),
    Workload(
        "matvec-10000x100", "10000×100 times 100", matrix_product, _arrays((10000, 100), (100,)),
        _first(lambda x, y: x @ y), 2**-14,
    ),
    Workload("less-1e4", "x < y, 32 bits", less, _arrays((10**4,), limit=1000.0), _compared, 0.0),
    Workload("less-1e5", "x < y, 32 bits", less, _arrays((10**5,), limit=1000.0), _compared, 0.0),
    Workload(
        "sum-1e6", "x + y + z, revealed", catalog["secure-sum"], _arrays((10**6,), limit=1000.0),
        lambda d, r: _largest(sum(d), r["sum"]), 2**-14, parties=3, input="values",
    ),
    Workload(
        "sigmoid-1e5", "σ(x + y)", sigmoids, _arrays((10**5,), limit=4.0),
        lambda d, r: _largest(1 / (1 + np.exp(-(d[0] + d[1]))), r["shown"]), 1e-4,
    ),
    Workload(
        "chain-1000", "1,000 products, one after another", chain, _chained,
        lambda d, r: _largest(np.asarray(d[0] * d[1] ** 1000), r["shown"]), 0.05,
    ),
    _logreg("logreg-breast", "569×30, 100 full-batch steps", breast_cancer, steps=100, learning_rate=0.5),
    _logreg(
        "logreg-10000x100", "batches of 128, 1 epoch", lambda: dense(10000, 100),
        steps=78, learning_rate=0.5, batch_size=128,
    ),
    _logreg(
        "logreg-1000x784", "batches of 128, 10 epochs", lambda: mnist_like(1000),
        steps=70, learning_rate=0.1, batch_size=128,
    ),
    _logreg(
        "logreg-mnist", "60,000×784, batches of 128, 1 epoch", lambda: mnist_like(60000),
        steps=468, learning_rate=0.1, batch_size=128,
    ),
)  # fmt: skip

WORKLOADS = {w.name: w for w in _ALL}
