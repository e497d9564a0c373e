"""Training that broke and went on: the same model as without a break, up to units of truncation, at the same price."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

import mpc
from mpc.memory import names_of, run_in_memory
from mpc.table import owned
from mpc.testing import deterministic_entropy
from protocols import suites
from protocols.catalog import catalog

ROWS, COLUMNS = 24, 5
EVERY = 4
LOGISTIC = catalog["logistic-regression"]
CASES: dict[str, tuple[Any, dict[str, Any], float]] = {
    "sgd": (LOGISTIC, {"solver": "sgd", "steps": 14}, 2.0**-8),
    "sgd, mini-batches": (
        LOGISTIC,
        {"solver": "sgd", "steps": 14, "batch_size": 8, "learning_rate": 0.5, "momentum": 0.5},
        2.0**-8,
    ),
    "newton-bound, kernel": (
        LOGISTIC,
        {"solver": "newton-bound", "steps": 26, "form": "kernel", "tolerance": 0.5},
        2.0**-6,
    ),
    "newton-bound, primal": (
        LOGISTIC,
        {"solver": "newton-bound", "steps": 13, "form": "primal", "tolerance": 0.5},
        2.0**-6,
    ),
    "k-means": (catalog["k-means"], {"k": 2, "steps": 9, "start_rows": [0, 20]}, 2.0**-8),
}


@cache
def table() -> tuple[np.ndarray, np.ndarray]:
    source = np.random.default_rng(5)
    X = source.normal(size=(ROWS, COLUMNS)) + np.outer(np.arange(ROWS) >= ROWS // 2, np.ones(COLUMNS)) * 1.5
    y = (X.sum(axis=1) + source.normal(size=ROWS) * 2 > 3.5).astype(float)
    return X, y


def inputs(n: int, partition: str, labelled: bool) -> Any:
    X, y = table()
    names = [f"c{i}" for i in range(COLUMNS)]
    parts = []
    if partition == "horizontal":
        for rows in np.array_split(np.arange(ROWS), n):
            parts.append({**dict(zip(names, X[rows].T, strict=True)), **({"label": y[rows]} if labelled else {})})
    else:
        for columns in np.array_split(np.arange(COLUMNS), n):
            parts.append({names[j]: X[:, j] for j in columns})
        if labelled:
            parts[-1]["label"] = y
    return {"data": {p: owned(part) for p, part in zip(names_of(n), parts, strict=True)}}


def made(case: str, n: int, partition: str) -> tuple[mpc.Program, Any, float]:
    function, settings, within = CASES[case]
    labelled = function is LOGISTIC
    given = inputs(n, partition, labelled)
    more = {"label": "label"} if labelled else {}
    program = function.trace(given, names_of(n), {**settings, **more, "partition": partition})
    return program, given, within


def price(lowered: Any) -> Any:
    plan = lowered.cost()
    return plan.rounds, plan.bytes_sent, plan.dealt_bytes


def close(found: Any, wanted: Any, within: float) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        if isinstance(value, np.ndarray | float):
            np.testing.assert_allclose(found[name], value, rtol=0, atol=within, err_msg=name)
        else:
            assert found[name] == value


@pytest.mark.parametrize(
    ("n", "partition", "suite"),
    [(2, "vertical", "masked"), (3, "horizontal", "masked"), (5, "vertical", "masked"), (2, "horizontal", "beaver")],
)
@pytest.mark.parametrize("case", CASES)
def test_the_model_is_the_same(case, n, partition, suite):
    program, given, within = made(case, n, partition)
    checked = program.with_checkpoints(EVERY)
    lowered = checked.lower(suites[suite])
    assert price(lowered) == price(program.lower(suites[suite]))
    full = run_in_memory(lowered, given, entropy=deterministic_entropy(n, 1))
    last = full.checkpoints[-1]
    assert last[1] in {8, 12, 24}
    for at in sorted({last, full.checkpoints[0]}):
        broken = run_in_memory(lowered, given, entropy=deterministic_entropy(n, 2), stop=at)
        rest = checked.continued(*at).lower(suites[suite])
        rest.check()
        found = run_in_memory(rest, given, kept=broken.checkpoint(*at), entropy=deterministic_entropy(n, 3))
        for party, results in full.results_of.items():
            close(found.results_of[party], results, within)
        assert found.rounds < full.rounds
        reveals = [r["name"] for r in checked.lower(suites[suite]).reveals]
        assert [r["name"] for r in rest.reveals] == reveals[len(reveals) - len(rest.reveals) :]
