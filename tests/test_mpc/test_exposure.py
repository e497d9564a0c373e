"""Warnings of reveals: what is a value of a single row, and what comes from one owner alone; counts over loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mpc
from mpc.exposure import exposures
from protocols import catalog

Tables = mpc.PerParty[mpc.Table]
AGES = {"alice": 5, "bob": 7}
DATA = {"data": {p: {"age": np.arange(n) + 20.0, "bmi": np.arange(n) + 15.0} for p, n in AGES.items()}}


def ages(data: Any) -> list[Any]:
    return [mpc.share(t["age"], range=(0, 200)) for t in data]


def found(function: Callable[..., Any], inputs: Any = None, **settings: Any) -> list[tuple[str, str, str]]:
    """What is warned of, at which reveal, and how many numbers of how many."""
    program = mpc.program(function).trace(inputs or DATA, ["alice", "bob"], settings)
    return [(w["what"], w["name"], w["why"].partition(":")[0]) for w in exposures(program)]


ROWS = "numbers are values of single rows, as they stand or scaled, moved or chosen"
ROW = "it is a value of a single row, as it stands or scaled, moved or chosen"
ALONE = "numbers come from one owner's data alone"


def a_sum(data: Tables) -> Any:
    return {"x": mpc.reveal(sum(x.sum() for x in ages(data)))}


def a_mean_of_products(data: Tables) -> Any:
    return {"x": mpc.reveal(mpc.concatenate([x * x for x in ages(data)]).mean())}


def to_its_owner(data: Tables) -> Any:
    return {"x": mpc.reveal(ages(data)[1] * 3, to="bob")}


def counts_above(data: Tables) -> Any:
    return {"x": mpc.reveal(mpc.at_least(mpc.concatenate(ages(data)), [30, 40]).sum(axis=0))}


def whole_sums(data: Tables) -> Any:
    return {"x": mpc.total([t[["age", "bmi"]].sum(axis=0) for t in data])}


def centred_on_a_secret_mean(data: Tables) -> Any:
    x = mpc.concatenate(ages(data))
    return {"x": mpc.reveal((x - x.mean()) @ np.arange(12.0))}


@pytest.mark.parametrize(
    "program", [a_sum, a_mean_of_products, to_its_owner, counts_above, whole_sums, centred_on_a_secret_mean],
    ids=lambda f: f.__name__,
)  # fmt: skip
def test_honest_programs_get_no_warning(program: Any) -> None:
    assert found(program) == []


def scaled(x: Any) -> Any:
    return x * -0.5 + 3


def reversed_order(x: Any) -> Any:
    return x[::-1].reshape(1, 5)[0]


def permuted(x: Any) -> Any:
    return mpc.permute(x, 3)


def sorted_rows(x: Any) -> Any:
    return mpc.sort(x)


def times_the_identity(x: Any) -> Any:
    return np.eye(5) @ x


def opened_by_a_bit(x: Any) -> Any:
    return mpc.where(x.sum() > 3, x, 0)


def times_a_bit(x: Any) -> Any:
    return x * (x.sum() > 3)


def rescaled(x: Any) -> Any:
    return mpc.rescale(mpc.assume_range(x, 0, 150), 4)


@pytest.mark.parametrize(
    "made",
    [scaled, reversed_order, permuted, sorted_rows, times_the_identity, opened_by_a_bit, times_a_bit, rescaled],
    ids=lambda f: f.__name__,
)
def test_a_column_as_it_stands(made: Any) -> None:
    def program(data: Tables) -> Any:
        return {"x": mpc.reveal(made(ages(data)[0]))}

    assert found(program) == [("column", "x", f"5 of 5 {ROWS}"), ("one owner", "x", f"5 of 5 {ALONE} (alice 5)")]


def first(x: Any) -> Any:
    return x[0]


def one_hot(x: Any) -> Any:
    return (x * np.array([0, 0, 1, 0, 0])).sum()


def one_hot_product(x: Any) -> Any:
    return np.array([0, 0, 0, 2.5, 0]) @ x


def a_sum_of_one(x: Any) -> Any:
    return x[2:3].sum() / 2


@pytest.mark.parametrize("made", [first, one_hot, one_hot_product, a_sum_of_one], ids=lambda f: f.__name__)
def test_a_row_as_it_stands(made: Any) -> None:
    def program(data: Tables) -> Any:
        return {"x": mpc.reveal(made(ages(data)[0]))}

    alone = "it comes from one owner's data alone (alice 1)"
    assert found(program) == [("row", "x", ROW), ("one owner", "x", alone)]


@pytest.mark.parametrize("made", [mpc.max, mpc.median, lambda x: mpc.quantile(x, 0.3), lambda x: mpc.top_k(x, 1)[0]])
def test_an_order_statistic_is_a_row(made: Any) -> None:
    def program(data: Tables) -> Any:
        return {"x": mpc.reveal(made(mpc.concatenate(ages(data))))}

    assert found(program) == [("row", "x", ROW)]


def test_a_function_of_each_row_and_one_owners_sum() -> None:
    def bits(data: Tables) -> Any:
        return {"x": mpc.reveal(mpc.concatenate(ages(data)) > 40)}

    def squares(data: Tables) -> Any:
        return {"x": mpc.reveal((ages(data)[1] ** 2)[:2])}

    def alone(data: Tables) -> Any:
        return {"x": mpc.reveal(ages(data)[0].sum()), "y": mpc.reveal(sum(x.sum() for x in ages(data)))}

    each = "numbers are computed from a single row each"
    assert found(bits)[0] == ("column", "x", f"12 of 12 {each}")
    assert found(bits)[1] == ("one owner", "x", f"12 of 12 {ALONE} (alice 5, bob 7)")
    assert found(squares)[0] == ("row", "x", f"2 of 2 {each}")
    assert found(alone) == [("one owner", "x", "it comes from one owner's data alone (alice 1)")]


def test_two_columns_of_one_row_are_its_own() -> None:
    def program(data: Tables) -> Any:
        both = mpc.share(data[0][["age", "bmi"]], range=(0, 200))
        return {"sum": mpc.reveal(both.sum(axis=1)), "total": mpc.reveal(both.sum(axis=0))}

    assert [w[:2] for w in found(program)] == [("column", "sum"), ("one owner", "sum"), ("one owner", "total")]


def test_a_column_that_is_taken_twice_is_followed_twice() -> None:
    def program(data: Tables) -> Any:
        twice = mpc.share(data[0][["age", "bmi", "age"]], range=(0, 200))
        return {"last": mpc.reveal(twice[:, 2]), "total": mpc.reveal(twice[:, 2].sum())}

    assert [w[:2] for w in found(program)] == [("column", "last"), ("one owner", "last"), ("one owner", "total")]


def test_what_is_revealed_is_known_from_there_on() -> None:
    def program(data: Tables) -> Any:
        mean = mpc.reveal(sum(x.sum() for x in ages(data)), name="mean") / 12
        return {"x": mpc.reveal(mpc.share(data[0]["age"] - mean, range=(-200, 200)))}

    assert found(program)[0] == ("column", "x", f"5 of 5 {ROWS}")


def test_the_coordinator_beside_the_owner_is_somebody_else() -> None:
    def program(data: Tables) -> Any:
        return {"x": mpc.reveal(ages(data)[0], to=["alice", "coordinator"])}

    assert [w[0] for w in found(program)] == ["column", "one owner"]


# --- loops -----------------------------------------------------------------------------------------------------------


def in_a_loop(data: Tables, steps: int) -> Any:
    x = mpc.concatenate(ages(data))

    def body(i: Any, s: Any) -> Any:
        mpc.reveal(x[i : i + 3], name="three")
        return s

    return {"x": mpc.reveal(mpc.repeat(steps, body, x.sum()))}


def nested(data: Tables, inner: int) -> Any:
    x = mpc.concatenate(ages(data))

    def body(i: Any, s: Any) -> Any:
        mpc.reveal(x.sum() * (i + 1), name="outer")

        def within(j: Any, t: Any) -> Any:
            mpc.reveal(mpc.stack([x.sum(), x[0]]) * (j + 1), name="inner")
            return t

        return mpc.repeat(inner, within, s)

    return {"x": mpc.reveal(mpc.repeat(4, body, mpc.secret(0)))}


def counts(function: Any, **settings: Any) -> dict[str, tuple[int, list[int]]]:
    plan = mpc.program(function).trace(DATA, ["alice", "bob"], settings).plan("masked")
    told = {d["name"]: d["count"] for d in plan.disclosures if d["what"] == "reveal"}
    assert told == {r["name"]: r["count"] for r in plan.reveals}
    return {r["name"]: (r["count"], r["shape"]) for r in plan.reveals}


def test_reveals_inside_loops_are_counted_as_often_as_they_are_made() -> None:
    assert counts(in_a_loop, steps=3) == {"three": (9, [3]), "x": (1, [])}
    assert counts(nested, inner=5) == {"outer": (4, []), "inner": (40, [2]), "x": (1, [])}


@pytest.mark.parametrize("suite", ["masked", "beaver"])
def test_a_reveal_in_a_loop_stays_if_the_loops_state_is_not_used(suite: str) -> None:
    def program(data: Tables) -> Any:
        x = mpc.concatenate(ages(data))

        def body(i: Any, s: Any) -> Any:
            mpc.reveal(s + i, name="each")
            return s

        mpc.repeat(3, body, x.sum())
        return {"x": mpc.reveal(x.sum())}

    assert counts(program) == {"each": (3, []), "x": (1, [])}
    done = mpc.emulate(mpc.program(program), DATA, ["alice", "bob"], suite=suite)
    assert done.results["x"] == 271
    assert done.rounds == 4


def test_warnings_count_the_steps() -> None:
    alone = f"3 of 3 {ALONE} (alice 3)"
    assert found(in_a_loop, steps=1) == [("row", "three", f"3 of 3 {ROWS}"), ("one owner", "three", alone)]
    alone = f"30 of 30 {ALONE} (alice 12, bob 18)"
    assert found(in_a_loop, steps=10) == [("column", "three", f"30 of 30 {ROWS}"), ("one owner", "three", alone)]
    assert found(nested, inner=5)[0] == ("column", "inner", f"20 of 40 {ROWS}")


def test_of_a_running_sum_the_first_step_is_a_row() -> None:
    def program(data: Tables) -> Any:
        x = mpc.concatenate(ages(data))

        def body(i: Any, s: Any) -> Any:
            s = mpc.assume_range(s + x[i], 0, 3000)
            mpc.reveal(s, name="so far")
            return s

        return {"x": mpc.reveal(mpc.repeat(12, body, mpc.secret(0)))}

    row = "1 of 12 numbers is a value of a single row, as it stands or scaled, moved or chosen"
    assert found(program) == [("row", "so far", row), ("one owner", "so far", f"5 of 12 {ALONE} (alice 5)")]


def test_rows_that_travel_in_a_loops_state() -> None:
    def program(data: Tables) -> Any:
        x = mpc.concatenate(ages(data))

        def body(i: Any, s: Any) -> Any:
            return x[i], s[0], s[1]

        return {"x": mpc.reveal(mpc.repeat(9, body, (mpc.secret(0), mpc.secret(0), x.sum()))[2])}

    assert found(program)[0] == ("row", "x", ROW)


@pytest.mark.parametrize("partition", ["horizontal", "vertical"])
def test_training_warns_of_nothing_but_magnitudes_of_one_owners_columns(partition: str) -> None:
    rng = np.random.default_rng(3)
    data = {p: {"a": rng.normal(size=20), "y": ["n", "p"] * 10} for p in ("alice", "bob")}
    if partition == "vertical":
        data["bob"] = {"b": data["bob"]["a"]}
    settings = {"label": "y", "steps": 40, "partition": partition}
    warnings = exposures(catalog["logistic-regression"].trace({"data": data}, ["alice", "bob"], settings))
    assert {(w["what"], w["name"].partition(" ")[0]) for w in warnings} <= {("one owner", "magnitude")}
    assert partition == "vertical" or not warnings


def test_standard_deviations_of_different_owners_columns_come_from_one_owner_each() -> None:
    data = {"alice": {"a": np.arange(6.0)}, "bob": {"b": np.arange(6.0) ** 2}}
    program = catalog["covariance"].trace({"data": data}, ["alice", "bob"], {"partition": "vertical"})
    warnings = exposures(program)
    assert {w["what"] for w in warnings} == {"one owner"}
    assert all("(alice 1, bob 1)" in w["why"] for w in warnings if w["name"] == "standard deviations")


def test_a_large_table_is_followed_in_little_time_and_memory() -> None:
    """A million numbers: rows are numbers along columns, and work is done on what differs."""

    def program(x: mpc.PerParty[mpc.Private]) -> Any:
        rows = mpc.concatenate([mpc.share(v, range=(-1, 1)) for v in x])
        return {"x": mpc.reveal((rows * 2 - 1)[::2])}

    big = {"x": {"alice": np.zeros((20_000, 50)), "bob": np.zeros((100, 50))}}
    assert found(program, big)[0] == ("column", "x", f"502,500 of 502,500 {ROWS}")
