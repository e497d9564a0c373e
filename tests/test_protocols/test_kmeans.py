"""k-means against scikit-learn's, from the same rows and from several starts."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris
from sklearn.preprocessing import StandardScaler

import mpc
from mpc.testing import deterministic_entropy
from protocols import suites
from protocols.learning.kmeans import k_means

ROWS = [3, 70, 120]


@cache
def iris() -> tuple[np.ndarray, StandardScaler]:
    X, _ = load_iris(return_X_y=True)
    return X, StandardScaler().fit(X)


def tables(partition: str) -> dict[str, Any]:
    X, _ = iris()
    if partition == "vertical":
        return {"alice": {"a": X[:, 0], "b": X[:, 1]}, "bob": {"c": X[:, 2], "d": X[:, 3]}}
    return {
        p: dict(zip("abcd", part.T, strict=True)) for p, part in zip(("alice", "bob"), (X[:60], X[60:]), strict=True)
    }


def run(data: dict[str, Any], parties: int = 2, suite: str = "masked", **asked: Any) -> Any:
    names = ("alice", "bob", "carol")[:parties]
    entropy = deterministic_entropy(parties, 1)
    return mpc.emulate(k_means, {"data": data}, names, suite=suite, entropy=entropy, k=3, **asked)


@pytest.mark.parametrize("suite", list(suites))
@pytest.mark.parametrize("partition", ["horizontal", "vertical"])
def test_from_the_same_rows_it_ends_where_scikit_learn_ends(partition: str, suite: str) -> None:
    X, scaler = iris()
    Z = scaler.transform(X)
    known = KMeans(3, init=Z[ROWS], n_init=1, algorithm="lloyd").fit(Z)
    parties = 3 if partition == "vertical" else 2
    found = run(tables(partition), parties, suite, partition=partition, start_rows=ROWS, steps=9).results
    assert np.allclose(found["centers"], scaler.inverse_transform(known.cluster_centers_), atol=1e-4)
    assert found["sizes"].tolist() == np.bincount(known.labels_).tolist()
    assert found["inertia"] == pytest.approx(known.inertia_, abs=1e-2)
    assert found["converged"] is True


def test_the_best_of_several_starts_counts_and_labels_go_to_their_owners() -> None:
    X, scaler = iris()
    best = KMeans(3, n_init=20, random_state=0).fit(scaler.transform(X))
    done = run(tables("horizontal"), steps=12, starts=4, labels=True)
    assert done.results["inertia"] == pytest.approx(best.inertia_, rel=1e-3)
    mine = done.results_of["bob"]["labels of bob"]
    assert "labels of alice" not in done.results_of["bob"]
    together = [done.results_of[p][f"labels of {p}"] for p in ("alice", "bob")]
    assert np.bincount(np.concatenate(together).astype(int)).tolist() == done.results["sizes"].tolist()
    assert len(mine) == 90


def test_too_few_steps_are_reported() -> None:
    assert run(tables("horizontal"), steps=1, start_rows=ROWS).results["converged"] is False


def test_a_centre_without_rows_stays() -> None:
    """Two of three starting centres are the same point: of equal distances the first wins, the second stays empty."""
    data = {"alice": {"a": [0.0, 0.0, 8.0]}, "bob": {"a": [0.0, 9.0, 9.0]}}
    found = run(data, start_rows=[0, 1, 2], steps=4, scale="none", minimum=1).results
    assert found["sizes"].tolist() == [3.0, 0.0, 3.0]
    assert np.allclose(found["centers"].ravel(), [0, 0, 26 / 3], atol=1e-4)


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"start_rows": [0, 1]}, "3 different rows from 0 to 149"), ({"start_rows": [0, 1, 150]}, "different rows"),
        ({"steps": 0}, "steps and starts"), ({"partition": "vertical", "labels": True}, "labels=true is for"),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused(asked: dict[str, Any], text: str) -> None:
    with pytest.raises(mpc.UsageError, match=text):
        run(tables(asked.get("partition", "horizontal")), **asked)


def test_what_it_costs() -> None:
    settings = {"k": 3, "start_rows": ROWS, "steps": 9}
    plan = k_means.trace({"data": tables("horizontal")}, ["alice", "bob"], settings).plan("masked")
    more = k_means.trace({"data": tables("horizontal")}, ["alice", "bob"], {**settings, "steps": 10}).plan("masked")
    assert more.rounds - plan.rounds == 25
    assert max(more.bytes_sent.values()) - max(plan.bytes_sent.values()) == 15744
