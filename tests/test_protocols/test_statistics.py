"""Statistics over rows of several owners, against numpy and scipy on the pooled rows."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import load_breast_cancer

import mpc
from protocols.catalog import catalog

NAMES = ("alice", "bob", "carol", "dave", "erin")


@cache
def rows() -> dict[str, np.ndarray]:
    """Columns of very different size, a label, and categories."""
    X, y = load_breast_cancer(return_X_y=True)
    rng = np.random.default_rng(3)
    area = X[:, 3]
    grade = np.digitize(area + rng.normal(0, 200, len(X)), [450, 700])
    return {
        "radius": X[:, 0], "smoothness": X[:, 4], "area": area, "label": np.where(y == 1, "benign", "malignant"),
        "grade": np.array(["low", "middle", "high"])[grade],
    }  # fmt: skip


def split(parties: int, names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    ends = (np.linspace(0, 1, parties + 1) ** 1.3 * 569).astype(int)
    return {
        p: {name: rows()[name][a:b] for name in names}
        for p, a, b in zip(NAMES[:parties], ends[:-1], ends[1:], strict=True)
    }


def run(name: str, taken: tuple[str, ...], parties: int = 2, suite: str = "masked", **settings: Any) -> Any:
    return mpc.emulate(catalog[name], {"data": split(parties, taken)}, parties, suite=suite, **settings)


NUMBERS = ("radius", "smoothness", "area")


def pooled() -> np.ndarray:
    return np.stack([rows()[name] for name in NUMBERS], axis=1)


@pytest.mark.parametrize(("parties", "suite"), [(2, "masked"), (3, "beaver"), (5, "masked")])
def test_variance_and_deviation(parties: int, suite: str) -> None:
    got = run("variance", NUMBERS, parties, suite).results
    assert got["columns"] == list(NUMBERS)
    assert np.allclose(got["variance"], pooled().var(axis=0, ddof=1), rtol=1e-6)
    got = run("standard-deviation", NUMBERS, parties, suite, ddof=0).results
    assert np.allclose(got["standard_deviation"], pooled().std(axis=0), rtol=1e-6)


@pytest.mark.parametrize("suite", ["masked", "beaver"])
def test_variance_alone_is_revealed_with_a_limit(suite: str) -> None:
    done = run("variance", ("radius",), 3, suite, limit=32.0)
    assert abs(done.results["variance"][0] - rows()["radius"].var(ddof=1)) <= 32.0**2 * 2.0**-26 * 2
    plan = catalog["variance"].trace({"data": split(3, ("radius",))}, NAMES[:3], {"limit": 32.0}).plan(suite)
    assert [r["name"] for r in plan.reveals] == ["reveal_0"]


@pytest.mark.parametrize("suite", ["masked", "beaver"])
@pytest.mark.parametrize("parties", [2, 3])
def test_covariance_and_correlation(parties: int, suite: str) -> None:
    got = run("covariance", NUMBERS, parties, suite).results
    want = np.cov(pooled(), rowvar=False)
    spread = pooled().std(axis=0)
    assert np.max(np.abs(got["covariance"] - want) / np.outer(spread, spread)) <= 2.0**-18
    got = run("correlation", NUMBERS, parties, suite).results
    assert np.max(np.abs(got["correlation"] - np.corrcoef(pooled(), rowvar=False))) <= 2.0**-18


@pytest.mark.parametrize("suite", ["masked", "beaver"])
def test_columns_of_different_owners(suite: str) -> None:
    data = {"alice": {"radius": rows()["radius"], "area": rows()["area"]}, "bob": {"smoothness": rows()["smoothness"]}}
    order = ["radius", "area", "smoothness"]
    table = np.stack([rows()[name] for name in order], axis=1)
    done = mpc.emulate(catalog["correlation"], {"data": data}, 2, suite=suite, partition="vertical")
    assert done.results["columns"] == order
    assert np.max(np.abs(done.results["correlation"] - np.corrcoef(table, rowvar=False))) <= 2.0**-18
    done = mpc.emulate(catalog["covariance"], {"data": data}, 2, suite=suite, partition="vertical")
    spread = table.std(axis=0)
    off = np.abs(done.results["covariance"] - np.cov(table, rowvar=False)) / np.outer(spread, spread)
    assert np.max(off) <= 2.0**-18


@pytest.mark.parametrize(("parties", "suite"), [(2, "masked"), (3, "beaver")])
def test_histogram(parties: int, suite: str) -> None:
    edges = [5, 10, 12.5, 15, 28.11]
    got = run("histogram", ("radius",), parties, suite, column="radius", edges=edges).results
    whole = np.round(rows()["radius"] * 65536) / 65536
    assert np.array_equal(got["counts"], np.histogram(whole, [*edges[:-1], np.round(28.11 * 65536) / 65536])[0])


@pytest.mark.parametrize(("parties", "suite"), [(2, "masked"), (3, "beaver")])
def test_quantiles(parties: int, suite: str) -> None:
    data = {p: {"area": t["area"][:25]} for p, t in split(parties, ("area",)).items()}
    whole = np.concatenate([t["area"] for t in data.values()])
    settings = {"column": "area", "q": [0.0, 0.1, 0.5, 0.9, 1.0]}
    got = mpc.emulate(catalog["quantile"], {"data": data}, parties, suite=suite, **settings).results
    assert np.allclose(got["quantiles"], np.quantile(whole, settings["q"]), atol=2.0**-15)
    got = mpc.emulate(catalog["median"], {"data": data}, parties, suite=suite, column="area").results
    assert abs(got["median"] - np.median(whole)) <= 2.0**-15


@pytest.mark.parametrize(("parties", "suite"), [(2, "masked"), (3, "beaver")])
def test_groups(parties: int, suite: str) -> None:
    columns = ("area", "grade")
    got = run("group-by", columns, parties, suite, key="grade", column="area").results
    assert got["keys"] == ["high", "low", "middle"]
    for k, count, total, mean in zip(got["keys"], got["count"], got["sum"], got["mean"], strict=True):
        area = rows()["area"][rows()["grade"] == k]
        assert count == len(area)
        assert total == pytest.approx(area.sum(), rel=1e-6)
        assert mean == pytest.approx(area.mean(), rel=1e-6)
    assert (got["shown"].tolist(), got["minimum"]) == ([True] * 3, 5)
    own = [int(np.sum(t["grade"] == "low")) for t in split(parties, columns).values()]
    withheld = run("group-by", columns, parties, suite, key="grade", column="area", minimum=min(own) + 1).results
    assert not withheld["shown"][1]
    for name in ("count", "sum", "mean"):
        assert np.isnan(withheld[name]).tolist() == (~withheld["shown"]).tolist()
        assert withheld[name][withheld["shown"]].tolist() == got[name][withheld["shown"]].tolist()


@pytest.mark.parametrize(("parties", "suite"), [(2, "masked"), (3, "beaver"), (5, "masked")])
def test_chi_square(parties: int, suite: str) -> None:
    got = run("chi-square", ("label", "grade"), parties, suite, row="label", column="grade").results
    table = [[np.sum((rows()["label"] == r) & (rows()["grade"] == c)) for c in ("high", "low", "middle")]
             for r in ("benign", "malignant")]  # fmt: skip
    want = stats.chi2_contingency(table, correction=False)
    assert got["degrees_of_freedom"] == want.dof
    assert got["chi_square"] == pytest.approx(want.statistic, abs=569 * 2.0**-16)
    assert got["p_value"] == pytest.approx(want.pvalue, rel=5e-3)


@pytest.mark.parametrize(("parties", "suite"), [(2, "masked"), (3, "beaver")])
@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize(("column", "limit"), [("radius", 32.0), ("area", 4096.0), ("smoothness", 0.25)])
def test_t(parties: int, suite: str, equal: bool, column: str, limit: float) -> None:
    settings = {"column": column, "group": "label", "equal_variances": equal, "limit": limit}
    got = run("t-test", (column, "label"), parties, suite, **settings).results
    first, second = (rows()[column][rows()["label"] == v] for v in ("benign", "malignant"))
    want = stats.ttest_ind(first, second, equal_var=equal)
    assert got["t"] == pytest.approx(want.statistic, rel=2e-3)
    assert got["degrees_of_freedom"] == pytest.approx(want.df, rel=5e-3)
    assert got["p_value"] == pytest.approx(stats.t.sf(abs(got["t"]), got["degrees_of_freedom"]) * 2, rel=1e-8)
    assert got["p_value"] == pytest.approx(want.pvalue, rel=0.5)  # some 1e-90: a small part of t is a large one of it


def test_one_category_differs_from_nothing() -> None:
    given = {"alice": {"a": ["x", "x"], "b": ["y", "z"]}, "bob": {"a": ["x", "x"], "b": ["z", "z"]}}
    got = mpc.emulate(catalog["chi-square"], {"data": given}, 2, row="a", column="b").results
    assert (got["degrees_of_freedom"], got["p_value"]) == (0, 1.0)
    assert got["chi_square"] == pytest.approx(0, abs=1e-4)


def test_one_key_is_a_group_too() -> None:
    given = {"alice": {"a": ["x", "x"], "b": [1.0, 2.0]}, "bob": {"a": ["x"], "b": [4.5]}}
    got = mpc.emulate(catalog["group-by"], {"data": given}, 2, key="a", column="b", minimum=1).results
    assert (got["keys"], list(got["count"]), list(got["sum"])) == (["x"], [3], [7.5])


@pytest.mark.parametrize(
    ("name", "settings", "error", "cure"),
    [
        ("variance", {"columns": ["radios"]}, mpc.UsageError, "did you mean 'radius'"),
        ("variance", {"limit": 1e12}, mpc.UsageError, "limit must lie"),
        ("variance", {"limit": 1.0}, mpc.InputError, "outside the declared range"),
        ("histogram", {"column": "radius", "edges": [2, 1]}, mpc.UsageError, "ascending"),
        ("quantile", {"column": "radius", "q": 2.0}, mpc.UsageError, "between 0 and 1"),
        ("quantile", {"column": "x"}, mpc.UsageError, "has no column 'x'"),
        ("group-by", {"key": "label", "column": "nothing"}, mpc.UsageError, "has no column 'nothing'"),
        ("t-test", {"column": "radius", "group": "grade"}, mpc.InputError, "3 value"),
    ],
)
def test_what_is_refused(name: str, settings: dict[str, Any], error: type[Exception], cure: str) -> None:
    columns = ("radius",) if name in ("variance", "histogram") else ("radius", "label", "grade")
    with pytest.raises(error, match=cure):
        run(name, columns, **settings)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("group-by", {"key": "label", "column": "radius"}), ("t-test", {"group": "label", "column": "radius"}),
     ("variance", {"columns": ["radius"]})],
)  # fmt: skip
def test_a_value_beyond_the_limit_is_refused_at_its_owner(name: str, settings: dict[str, Any]) -> None:
    """One among many, whose sum alone would still fit."""
    given = {
        "alice": {"radius": [1.0, 2.0, 3.0, 2.5], "label": ["a", "b", "a", "b"]},
        "bob": {"radius": [1.0, 9.5, 3.0, 2.5], "label": ["a", "b", "a", "b"]},
    }
    with pytest.raises(mpc.InputError, match=r"bob: .*row 2.*'radius' is outside the declared range -8 to 8"):
        mpc.emulate(catalog[name], {"data": given}, 2, limit=8.0, **settings)


@pytest.mark.parametrize("rows", [8, 200, 30_000, 400_000])
@pytest.mark.parametrize("case", ["independent", "wide", "dependent", "the same", "rare"])
def test_chi_square_is_right_relative_to_itself_for_many_rows(rows: int, case: str) -> None:
    rng = np.random.default_rng(rows)
    u, v = rng.integers(0, 2, rows), rng.integers(0, 2, rows)
    if case == "wide":
        u, v = rng.integers(0, 3, rows), rng.integers(0, 4, rows)
    if case in ("dependent", "the same"):
        v = np.where(rng.random(rows) < (0.1 if case == "dependent" else 1.0), u, v)
    if case == "rare":
        u = np.concatenate([[1], np.zeros(rows - 1, dtype=int)])
    u[:4], v[:4] = [0, 0, 1, 1], [0, 1, 0, 1]
    table = np.histogram2d(u, v, bins=(len(set(u.tolist())), len(set(v.tolist()))))[0]
    want = stats.chi2_contingency(table, correction=False)
    data = {p: {"u": u[part], "v": v[part]} for p, part in (("alice", slice(0, None, 2)), ("bob", slice(1, None, 2)))}
    got = mpc.simulate(catalog["chi-square"], {"data": data}, row="u", column="v")
    assert got["chi_square"] == pytest.approx(want.statistic, rel=1e-5, abs=1e-9)
    assert got["degrees_of_freedom"] == want.dof
    if want.pvalue > 1e-12:
        assert got["p_value"] == pytest.approx(want.pvalue, rel=1e-3)


def test_what_statistics_cost() -> None:
    def cost(name: str, taken: tuple[str, ...], **settings: Any) -> tuple[int, int]:
        plan = catalog[name].trace({"data": split(2, taken)}, NAMES[:2], settings).plan("masked")
        return plan.rounds, max(plan.bytes_sent.values())

    assert cost("variance", NUMBERS) == (2, 384)
    assert cost("variance", ("radius",), limit=32.0) == (4, 32)
    assert cost("covariance", NUMBERS) == (4, 528)
    assert cost("group-by", ("radius", "label"), key="label", column="radius") == (14, 242)
    assert cost("group-by", ("radius", "label"), key="label", column="radius", minimum=1) == (2, 48)
    assert cost("chi-square", ("grade", "label"), row="grade", column="label")[0] == 15
    assert cost("t-test", ("radius", "label"), column="radius", group="label", limit=32.0)[0] == 48
