"""The fewest rows of an owner that a cell may show: its floor, which a coordinator may only raise, and its party."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from actors import Net
from command import privity
from served import Served

import mpc
from mpc.errors import UsageError
from mpc.table import Table
from parties.api import real_machinery
from parties.declared import FLOOR, Declared
from parties.machinery import real
from parties.schema import load_schema
from protocols import catalog, suites
from protocols.statistics.cells import MINIMUM

TABLE = {"x": np.arange(12.0)}
BINS = {"column": "x", "edges": [0.0, 6.0, 12.0]}


def started(declared: Declared | None, minimum: int, change: Any = lambda text: text, machinery: Any = None) -> Any:
    """The verdict on a histogram whose text a coordinator may change, at two parties with this floor."""
    net = Net(2, machinery or real_machinery(), offers=[Table(TABLE, "a.csv")] * 2, declared=declared)
    given = {"data": dict.fromkeys(net.cluster.names, Table(TABLE))}
    made = catalog["histogram"].trace(given, net.cluster.names, {**BINS, "minimum": minimum})
    text = change(made.text.replace('"name":"data"', '"name":"x"'))
    net.begin(text, program=mpc.Program.parse(text))
    net.settle()
    return net.verdict


def test_the_floor_of_a_host_is_the_default_of_programs() -> None:
    assert FLOOR == MINIMUM
    assert real_machinery().withholding == {"group_by", "histogram", "k_means"}


@pytest.mark.parametrize(
    ("declared", "minimum", "said"),
    [
        (None, 4, "with minimum=4: of its rows a cell that is shown has 5 or more (minimum = 5 by default"),
        (None, 5, ""),
        (None, 6, ""),
        (Declared(minimum=10), 9, "10 or more (minimum = 10 in its schema file); run it with --set minimum=10"),
        (Declared(minimum=10), 10, ""),
        (Declared(minimum=1), 1, ""),
        (Declared(local=True), 1, ""),
        (Declared(local=True, minimum=3), 2, "3 or more (minimum = 3 in its schema file)"),
    ],
)
def test_a_coordinator_may_only_raise_it(declared: Declared | None, minimum: int, said: str) -> None:
    verdict = started(declared, minimum)
    if said:
        assert verdict.kind == "policy"
        assert verdict.sentence.startswith("run refused: alice: does not take part in histogram")
        assert said in verdict.sentence
    else:
        assert verdict is None


@pytest.mark.parametrize("lie", ['"minimum":"5"', '"minimum":null', '"minimum":true', '"minimum":[5]', '"minimum":5.0'])
def test_a_minimum_that_is_no_number_of_rows_is_below_every_floor(lie: str) -> None:
    verdict = started(None, 5, lambda text: text.replace('"minimum":5', lie))
    assert (verdict.kind, "does not take part in histogram" in verdict.sentence) == ("policy", True)


def test_a_program_that_states_none_is_below_every_floor() -> None:
    def without(text: str) -> str:
        return text.replace(',"minimum":5', "").replace('"minimum",', "").replace(',"minimum"]', "]")

    assert "minimum=None" in started(None, 5, without).sentence


def test_a_party_that_knows_of_no_such_program_would_take_part() -> None:
    """The twin: without the names of programs that withhold nothing is refused."""
    assert started(None, 1, machinery=real(suites)) is None


@pytest.mark.parametrize("text", ["minimum = 0", "minimum = 2.5", "minimum = true", 'minimum = "5"', "minimum = [5]"])
def test_a_wrong_minimum_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "schema.toml"
    path.write_text(f"format = 1\n{text}\n")
    with pytest.raises(UsageError, match=r"schema.toml: minimum is a whole number of rows from 1"):
        load_schema(path)


def test_a_schema_may_state_a_minimum_alone(tmp_path: Path) -> None:
    path = tmp_path / "schema.toml"
    path.write_text("format = 1\nminimum = 7\n")
    assert load_schema(path) == Declared(minimum=7)
    path.write_text('format = 1\nminimum = 7\n[columns.age]\nas = "key"\nat_most = 3\n')
    assert load_schema(path).minimum == 7


def test_a_local_run_keeps_the_floor_of_its_schema(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text("x\n" + "".join(f"{i}\n" for i in range(12)))
    (tmp_path / "schema.toml").write_text("format = 1\nminimum = 7\n")
    inputs = ["--input", "data=alice:a.csv", "--input", "data=bob:b.csv", "--set", "column=x"]
    inputs += ["--set", "edges=[0, 6, 12]"]
    refused = privity("run", "histogram", *inputs, "--schema", "schema.toml", cwd=tmp_path)
    assert refused.code == 5
    assert "--set minimum=7 or more" in refused.refusal
    done = privity("run", "histogram", *inputs, "--schema", "schema.toml", "--set", "minimum=7", "--json", cwd=tmp_path)
    assert done.json["results"]["shown"] == [False, False]


def test_each_owner_on_its_own_host_has_its_floor(tmp_path: Path) -> None:
    """alice states 6, bob nothing: with less the run is refused and names whose clause it was, with 6 it is done."""
    wards = {"east": 9, "north": 8, "west": 1}
    rows = "".join(f"{ward},{30 + i}\n" for ward, n in wards.items() for i in range(n))
    with Served(tmp_path, {name: {"stays": f"ward,age\n{rows}"} for name in ("alice", "bob")}, schema="") as served:
        key = '[columns.ward]\nas = "key"\nat_most = 20\n'
        for name, floor in (("alice", "minimum = 6\n"), ("bob", "")):
            (tmp_path / f"{name}.toml").write_text(f"format = 1\n{floor}{key}")
            served.serve(name, "--schema", f"{name}.toml", wait=False)
        for command in (served.running["alice"], served.running["bob"], served.serve("dealer")):
            command.says("listening on port")

        def grouped(*more: str) -> Any:
            words = ["--set", "key=ward", "--set", "column=age", *more]
            command = served.run("group-by", *words, offer="stays", parameter="data")
            return command.wait(), command

        for minimum, who, clause in (
            ("1", "", "ask its owner to lower it"),
            ("5", "alice", "minimum = 6 in its schema file"),
        ):
            code, refused = grouped("--set", f"minimum={minimum}")
            assert code == 5, refused.err
            assert f"{who}: does not take part in group_by with minimum={minimum}" in refused.sentence
            assert clause in refused.sentence
        code, done = grouped("--set", "minimum=6")
        assert code == 0, done.err
        assert done.json["results"]["shown"] == [True, False, False]
        assert done.json["results"]["count"] == [18, None, None]
