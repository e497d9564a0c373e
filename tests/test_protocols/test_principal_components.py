"""Principal components against scikit-learn's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

import mpc
from mpc.testing import deterministic_entropy
from protocols import suites
from protocols.learning.principal_components import principal_components

X = load_iris().data


def tables(partition: str) -> dict[str, Any]:
    if partition == "vertical":
        return {"alice": {"a": X[:, 0], "b": X[:, 1]}, "bob": {"c": X[:, 2], "d": X[:, 3]}}
    return {
        p: dict(zip("abcd", part.T, strict=True)) for p, part in zip(("alice", "bob"), (X[:60], X[60:]), strict=True)
    }


def run(data: dict[str, Any], parties: int = 2, suite: str = "masked", **asked: Any) -> Any:
    names = ("alice", "bob", "carol")[:parties]
    entropy = deterministic_entropy(parties, 1)
    return mpc.emulate(principal_components, {"data": data}, names, suite=suite, entropy=entropy, **asked)


def close(found: dict[str, Any], known: PCA, room: float) -> None:
    signed = np.array([c * np.sign(c[np.abs(c).argmax()]) for c in known.components_])
    assert np.max(np.abs(found["components"] - signed)) <= room
    assert np.allclose(found["explained_variance"], known.explained_variance_, atol=1e-4)
    assert np.allclose(found["explained_variance_ratio"], known.explained_variance_ratio_, atol=1e-4)


@pytest.mark.parametrize("suite", list(suites))
@pytest.mark.parametrize("partition", ["horizontal", "vertical"])
def test_components_are_those_of_scikit_learn(partition: str, suite: str) -> None:
    found = run(tables(partition), 3 if suite == "masked" else 2, suite, partition=partition, components=3).results
    close(found, PCA(3).fit(StandardScaler().fit_transform(X)), 1e-5)
    assert found["converged"] is True


def test_unscaled_columns_reveal_no_mean() -> None:
    done = run(tables("horizontal"), components=2, scale="none")
    close(done.results, PCA(2).fit(X), 1e-4)
    plan = principal_components.trace({"data": tables("horizontal")}, ["alice", "bob"], {"scale": "none"}).plan(
        "masked"
    )
    assert [r["name"].split(",")[0] for r in plan.reveals] == [
        "explained_variance", "total_variance", "components", "converged",
    ]  # fmt: skip


def test_two_equal_eigenvalues_are_reported() -> None:
    square = {"a": [1.0, -1.0, 0.0, 0.0], "b": [0.0, 0.0, 1.0, -1.0]}
    assert run({"alice": square, "bob": square}, components=1, scale="none").results["converged"] is False


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(mpc.UsageError, match="between 1 and the 4 columns, not 5"):
        run(tables("horizontal"), components=5)
