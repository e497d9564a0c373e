"""Every program of the catalogue with both suites: its meaning in the clear, and the protocol in 100 orders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mpc
from mpc.memory import run_in_memory
from mpc.testing import deterministic_entropy
from protocols import catalog, suites

PARTIES = ["alice", "bob", "carol"]
RNG = np.random.default_rng(11)
LABELS = np.array(["no", "yes"])


def tables(rows: int, columns: list[list[str]]) -> list[dict[str, Any]]:
    return [
        {name: LABELS[np.arange(rows) % 2] if name == "ill" else _numbers(name, rows) for name in names}
        for names in columns
    ]


def _numbers(name: str, rows: int) -> Any:
    if name == "visits":
        return RNG.poisson(3.0, rows).astype(float)
    return RNG.random(rows) if name == "p" else RNG.normal(size=rows)


def inputs(parameter: str, data: Any) -> dict[str, dict[str, Any]]:
    """One table from each party, or what is given by name already."""
    named = {parameter: dict(zip(PARTIES, data, strict=True))} if parameter else data
    return {name: {p: mpc.table.owned(d, p) for p, d in by.items()} for name, by in named.items()}


SAME = [["age", "bmi", "ill"]] * 3
NUMBERS = [["age", "bmi"]] * 3
OTHER = [["age"], ["bmi", "pulse"], ["ill"]]
COUNTS = [["age", "visits"]] * 3
SCORED = [["p", "ill"]] * 3
STEPS = {"label": "ill", "steps": 4, "learning_rate": 0.5}
MODEL = {"age": [0.5, 1.0], "bmi": [-2.0, 0.25], "intercept": [0.1, 0.0], "class": ["yes", "no"]}
MODELLED = {"model": {"alice": MODEL}, "data": dict(zip(PARTIES[1:], tables(3, NUMBERS[1:]), strict=True))}
PROGRAMS: dict[str, tuple[str, str, list[Any], dict[str, Any], float]] = {
    "sum": ("secure-sum", "values", [np.arange(5) * k for k in (1, -2, 7)], {}, 0),
    "mean": ("mean", "values", [RNG.normal(size=(rows, 2)) for rows in (3, 1, 4)], {}, 0),
    "horizontal": ("logistic-regression", "data", tables(8, SAME), STEPS, 4),
    "horizontal, mini-batches": ("logistic-regression", "data", tables(8, SAME), {**STEPS, "batch_size": 5}, 4),
    "horizontal, momentum": ("logistic-regression", "data", tables(8, SAME), {**STEPS, "momentum": 0.5}, 4),
    "horizontal, as they are": ("logistic-regression", "data", tables(8, SAME), {**STEPS, "scale": "none"}, 4),
    "vertical": ("logistic-regression", "data", tables(10, OTHER), {**STEPS, "partition": "vertical"}, 4),
    "newton": (
        "logistic-regression",
        "data",
        tables(8, SAME),
        {"label": "ill", "solver": "newton-bound", "steps": 3, "tolerance": 1e-5, "margin": 50.0},
        64,
    ),
    "irls": ("logistic-regression", "data", tables(8, SAME), {"label": "ill", "solver": "irls", "steps": 2}, 64),
    "linear": ("linear-regression", "data", tables(8, NUMBERS), {"label": "bmi", "limit": 8.0}, 4),
    "ridge": ("ridge-regression", "data", tables(8, NUMBERS), {"label": "bmi", "limit": 8.0}, 4),
    "variance": ("variance", "data", tables(8, NUMBERS), {"limit": 8.0}, 1),
    "deviation": ("standard-deviation", "data", tables(8, NUMBERS), {}, 0),
    "covariance": ("covariance", "data", tables(8, NUMBERS), {}, 1),
    "correlation": ("correlation", "data", tables(8, NUMBERS), {}, 1),
    "histogram": ("histogram", "data", tables(4, SAME), {"column": "age", "edges": [-1, 0, 1]}, 0),
    "quantile": ("quantile", "data", tables(3, SAME), {"column": "age", "q": [0.3, 0.9]}, 1),
    "median": ("median", "data", tables(3, SAME), {"column": "age"}, 1),
    "groups": ("group-by", "data", tables(8, SAME), {"key": "ill", "column": "age", "minimum": 3}, 1),
    "chi-square": ("chi-square", "data", tables(8, SAME), {"row": "ill", "column": "ill"}, 32),
    "poisson": ("poisson-regression", "data", tables(8, COUNTS), {"label": "visits", "steps": 2}, 64),
    "clusters": ("k-means", "data", tables(6, NUMBERS), {"k": 2, "steps": 2, "starts": 2}, 4),
    "components": ("pca", "data", tables(8, NUMBERS), {"components": 1, "doublings": 3}, 64),
    "prediction": ("predict", "", MODELLED, {"output": "probability"}, 2),
    "accuracy": ("accuracy", "data", tables(4, SCORED), {"label": "ill", "score": "p"}, 0),
    "log loss": ("log-loss", "data", tables(4, SCORED), {"label": "ill", "score": "p"}, 2),
    "auc": ("auc", "data", tables(3, SCORED), {"label": "ill", "score": "p"}, 2),
    "t-test": ("t-test", "data", tables(8, SAME), {"group": "ill", "column": "age", "limit": 8.0}, 512),
}


def orders(seed: int) -> Callable[[int], int]:
    rng = np.random.default_rng(seed)
    return lambda moves: int(rng.integers(moves))


def equal(results: dict[str, Any], expected: dict[str, Any], units: float = 0.0) -> None:
    assert set(results) == set(expected)
    for name, value in expected.items():
        if isinstance(value, float | np.ndarray):
            np.testing.assert_allclose(results[name], value, rtol=0, atol=units * 2.0**-16, err_msg=name)
        else:
            assert results[name] == value


def test_the_table_is_complete():
    assert {name for name, *_ in PROGRAMS.values()} == set(catalog)


@pytest.mark.parametrize("suite", suites.values(), ids=suites)
@pytest.mark.parametrize("case", PROGRAMS)
def test_plain_and_100_delivery_orders(case, suite):
    name, parameter, data, settings, units = PROGRAMS[case]
    given = inputs(parameter, data)
    program = catalog[name].trace(given, PARTIES, settings)
    lowered = program.lower(suite)
    lowered.check()
    plan = lowered.cost()
    first = run_in_memory(lowered, given, entropy=deterministic_entropy(3, 1))
    equal(first.results, program.plain(given), units)
    for seed in range(100 if plan.rounds < 30 else 5):
        run = run_in_memory(lowered, given, entropy=deterministic_entropy(3, 1), pick=orders(seed))
        assert run.transcripts == first.transcripts
        for party in PARTIES:
            equal(run.results_of[party], first.results_of[party])
        assert (run.rounds, run.bytes_sent, run.dealt_bytes) == (plan.rounds, plan.bytes_sent, plan.dealt_bytes)


@pytest.mark.parametrize("case", PROGRAMS)
def test_both_suites_agree(case):
    name, parameter, data, settings, units = PROGRAMS[case]
    one, other = (
        mpc.emulate(catalog[name], inputs(parameter, data), PARTIES, suite=s, **settings) for s in suites.values()
    )
    equal(one.results, other.results, 2 * units)


@pytest.mark.parametrize("case", PROGRAMS)
def test_the_text_is_all_there_is(case):
    """A program that went through its text lowers to the same, and runs to the same."""
    name, parameter, data, settings, _ = PROGRAMS[case]
    given = inputs(parameter, data)
    program = catalog[name].trace(given, PARTIES, settings)
    read = mpc.Program.parse(program.text)
    for suite in suites.values():
        assert read.lower(suite).digest == program.lower(suite).digest
        one, other = (
            run_in_memory(p.lower(suite), given, entropy=deterministic_entropy(3, 1)) for p in (program, read)
        )
        assert one.transcripts == other.transcripts
