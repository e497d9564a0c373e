"""All that a program tells: facts, the values of labels and keys, and reveals, whose they are and how many."""

import numpy as np
import pytest

import mpc
from mpc.disclosures import disclosures
from protocols import catalog

PARTIES = ("alice", "bob")


def table(*columns, rows=6):
    return {c: ["n", "y"] * (rows // 2) if c in "yk" else np.arange(1.0, rows + 1) for c in columns}


def reveals(program):
    found = [d for d in disclosures(program) if d["what"] == "reveal"]
    return {d["name"]: (d["owners"], d["columns"], d["to"], d["count"]) for d in found}


@mpc.program
def looped(x: mpc.PerParty[mpc.Table]):
    first, second = x

    def body(i, state):
        own, joint = state
        mpc.reveal(joint.reshape(1) * mpc.constant(np.ones(3), 0), to="bob", name="each")
        mixed = mpc.assume_range(joint + own, -9, 9)
        return mpc.assume_range(mpc.share(second["b"]).sum(), -9, 9), mixed

    start = mpc.assume_range(mpc.share(first["a"]).sum(), -9, 9)
    own, joint = mpc.repeat(3, body, (start, start))
    return {"own": mpc.reveal(own), "joint": mpc.reveal(joint, to=["alice", "coordinator"])}


def test_reveals_of_loops_count_every_step_and_name_what_flows_in_by_way_of_the_state():
    made = looped.trace({"x": {p: table("a", "b", "c") for p in PARTIES}})
    both = [["alice", "bob"], ["a", "b"]]
    assert reveals(made) == {
        "each": (*both, ["bob"], 9),
        "own": (*both, "everyone", 1),  # of the first step's start, should there be no step
        "joint": (*both, ["alice", "coordinator"], 1),
    }


def test_a_reveal_of_one_owner_names_nobody_else():
    @mpc.program
    def hers(x: mpc.PerParty[mpc.Table], z: mpc.Private):
        first, _ = x
        return {"a": mpc.reveal(mpc.share(first["a"]).sum()), "z": mpc.reveal(mpc.share(z) * 2)}

    made = hers.trace({"x": {p: table("a", "b") for p in PARTIES}, "z": {"bob": np.ones((2, 2))}})
    assert reveals(made) == {"a": (["alice"], ["a"], "everyone", 1), "z": (["bob"], [], "everyone", 4)}


def test_a_kept_secret_may_be_anybodys():
    @mpc.program
    def first(x: mpc.Private):
        mpc.keep(mpc.share(x), "s")

    @mpc.program
    def then(s: mpc.Secret):
        return mpc.reveal(s)

    handle = mpc.emulate(first, {"x": {"alice": np.ones(2)}}, parties=2).handles["s"]
    assert reveals(then.trace({"s": handle}))["result"] == (["alice", "bob"], [], "everyone", 2)


def test_facts_name_the_columns_that_are_used_and_labels_how_many_values_each_owner_told():
    data = {"alice": table("a", "b", "y"), "bob": {**table("a", "b"), "y": ["n", "maybe"] * 3}}
    made = catalog["group-by"].trace({"data": data}, settings={"key": "y", "column": "b"})
    found = disclosures(made)
    text = ["alice", "bob", "coordinator", "dealer"]

    def fact(name, owner, columns, to, count):
        what = {"what": "fact", "name": f"data: {name}", "owners": [owner]}
        return {**what, "columns": columns, "to": to, "count": count}

    assert [d for d in found if d["what"] == "fact"] == [
        f
        for owner in PARTIES
        for f in (
            fact("rows", owner, [], text, 1),
            fact("column names", owner, ["a", "b", "y"], text, 3),
            fact("accepted or refused", owner, ["b", "y"], "everyone", 1),
        )
    ]
    labels = {"what": "labels", "name": "y", "columns": ["y"], "to": text, "count": 2}
    assert [d for d in found if d["what"] == "labels"] == [{**labels, "owners": [owner]} for owner in PARTIES]


def test_values_that_are_asked_for_and_not_used_are_listed_too_and_once():
    @mpc.program
    def curious(x: mpc.Table):
        return {"how many": len(x.classes("k")), "sum": mpc.reveal(mpc.share(x["a"] * x["a"]).sum())}

    made = curious.trace({"x": {"bob": table("a", "k")}}, PARTIES)
    asked = [(d["name"], d["owners"], d["count"]) for d in disclosures(made) if d["what"] == "labels"]
    assert asked == [("k", ["bob"], 2)]
    for other in (made.verified(), made.with_checkpoints(2)):
        assert [d["name"] for d in disclosures(other) if d["what"] == "labels"] == ["k"]
    assert "told" not in made.text
    assert mpc.Program.parse(made.text).digest == made.digest


def test_a_reveal_of_sizes_alone_is_a_magnitude_and_nothing_else_is():
    @mpc.program
    def sized(x: mpc.PerParty[mpc.Table]):
        tables = [t[["a", "b"]] for t in x]
        e = mpc.magnitude(tables, axis=0)
        scaled = sum(mpc.share(mpc.ldexp(t, -e), range=(-1, 1)).sum(axis=0) for t in tables)
        own = mpc.share(mpc.exponent(tables[0]) / 4, range=(-999, 999), scale=0)
        mixed = own + mpc.rescale(mpc.share(tables[0][:1, 0], range=(-9, 9)), 0).sum()
        return {"e": e, "sum": mpc.reveal(scaled), "own": mpc.reveal(own), "mixed": mpc.reveal(mixed)}

    made = sized.trace({"x": {p: table("a", "b") for p in PARTIES}})
    found = {d["name"]: (d["what"], d["owners"]) for d in disclosures(made) if d["what"] not in ("fact", "labels")}
    assert found == {
        "magnitude of a, b": ("magnitude", ["alice", "bob"]),
        "sum": ("reveal", ["alice", "bob"]),
        "own": ("magnitude", ["alice"]),
        "mixed": ("reveal", ["alice"]),
    }


@pytest.mark.parametrize("suite", ["masked", "beaver"])
def test_the_plan_has_them_and_they_agree_with_its_reveals(suite):
    data = {p: table("a", "b", "y", rows=10) for p in PARTIES}
    made = catalog["logistic-regression"].trace({"data": data}, settings={"label": "y", "steps": 3})
    plan = made.plan(suite)
    assert plan.disclosures == disclosures(made)
    listed = [(d["name"], d["to"], d["count"]) for d in plan.disclosures if d["what"] == "reveal"]
    assert listed == [(r["name"], r["to"], int(np.prod(r["shape"]))) for r in plan.reveals]
