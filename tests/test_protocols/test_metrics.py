"""Accuracy, log loss and the area under the ROC curve against scikit-learn, for any ties and partitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

import mpc
from mpc.testing import deterministic_entropy
from protocols import suites
from protocols.learning.metrics import accuracy, auc, log_loss

SUITES = list(suites)


def rows(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels of both classes, and probabilities with many ties."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    y[:2] = 0, 1
    return y, np.round(np.clip(rng.random(n) * 0.7 + y * 0.3, 0, 1), 1)


def tables(y: np.ndarray, p: np.ndarray, partition: str) -> dict[str, Any]:
    label = np.array(["no", "yes"])[y]
    if partition == "vertical":
        return {"alice": {"ill": label}, "bob": {"p": p}}
    half = len(y) // 2
    return {"alice": {"ill": label[:half], "p": p[:half]}, "bob": {"ill": label[half:], "p": p[half:]}}


def run(program: Any, data: dict[str, Any], suite: str, parties: int = 2, **more: Any) -> Any:
    names = ("alice", "bob", "carol")[:parties]
    asked = {"label": "ill", "score": "p", **more}
    return mpc.emulate(program, {"data": data}, names, suite=suite, entropy=deterministic_entropy(parties, 1), **asked)


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize(("n", "partition"), [(2, "vertical"), (3, "horizontal"), (37, "vertical"), (37, "horizontal")])
def test_metrics_are_those_of_scikit_learn(n: int, partition: str, suite: str) -> None:
    y, p = rows(n)
    data = tables(y, p, partition)
    assert run(accuracy, data, suite).results["accuracy"] == sklearn_metrics.accuracy_score(y, p >= 0.5)
    area = run(auc, data, suite, 3).results
    assert area["auc"] == pytest.approx(sklearn_metrics.roc_auc_score(y, p), abs=2.0**-15)
    assert area["classes"] == ["no", "yes"]
    kept = np.clip(p, 2.0**-16, 1 - 2.0**-16)
    assert run(log_loss, data, suite).results["log_loss"] == pytest.approx(
        sklearn_metrics.log_loss(y, kept), abs=2.0**-15
    )


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=2, max_size=9))
def test_the_area_counts_ties_half(drawn: list[tuple[bool, int]]) -> None:
    y = np.array([int(label) for label, _ in drawn])
    y[:2] = 0, 1
    score = np.array([value for _, value in drawn], dtype=float)
    found = run(auc, tables(y, score, "vertical"), "masked").results["auc"]
    assert found == pytest.approx(sklearn_metrics.roc_auc_score(y, score), abs=2.0**-15)


@pytest.mark.parametrize(
    ("program", "rounds", "bytes_sent"), [(accuracy, 2, 72), (log_loss, 14, 1120), (auc, 26, 1666)]
)
def test_what_a_metric_costs(program: Any, rounds: int, bytes_sent: int) -> None:
    plan = program.trace({"data": tables(*rows(8), "vertical")}, ["alice", "bob"], {"label": "ill", "score": "p"}).plan(
        "masked"
    )
    assert (plan.rounds, max(plan.bytes_sent.values())) == (rounds, bytes_sent)
    assert {r["to"] for r in plan.reveals} == {"everyone"}


@pytest.mark.parametrize(
    ("data", "asked", "text"),
    [
        ({"alice": {"ill": ["a", "b"]}, "bob": {"q": [1.0, 2]}}, {}, "no party has the score column 'p'"),
        ({"alice": {"ill": ["a", "b"]}, "bob": {"p": [1.0, 2, 3]}}, {}, "alice has 2 rows and bob 3"),
        ({"alice": {"ill": ["a", "b"]}, "bob": {"ill": ["a", "b"], "p": [1.0, 2]}}, {}, "either every party has both"),
        ({"alice": {"ill": ["a", "b", "c"]}, "bob": {"p": [1.0, 2, 3]}}, {}, "3 classes; this metric is for two"),
    ],
)
def test_wrong_tables_are_refused(data: dict[str, Any], asked: dict[str, Any], text: str) -> None:
    with pytest.raises(mpc.MpcError, match=text):
        run(accuracy, data, "masked", **asked)


def test_a_probability_beyond_one_is_refused_at_its_owner() -> None:
    with pytest.raises(mpc.InputError, match=r"bob: .*row 2.*'p' is outside the declared range 0 to 1"):
        run(log_loss, {"alice": {"ill": ["a", "b"]}, "bob": {"p": [0.5, 1.5]}}, "masked")
