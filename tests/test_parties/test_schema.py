"""--schema: declared ranges of columns reach the program, are checked at their owners, and a wrong file is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import privity

import mpc
from parties.declared import Column
from parties.schema import load_schema, parse_columns
from protocols import catalog

PROGRAM = """\
import mpc


@mpc.program
def total(data: mpc.PerParty[mpc.Table]):
    both = [t[["age", "bmi"]] for t in data]
    return mpc.reveal(sum(mpc.share(x[:, 0].sum()) for x in both))
"""
SCHEMA = 'format = 1\n\n[columns.age]\nrange = [0, 120]\n\n[columns."bmi"]\nrange = [10, 60.5]\n'


@pytest.fixture
def job(tmp_path: Path) -> list[str]:
    (tmp_path / "sums.py").write_text(PROGRAM)
    (tmp_path / "a.csv").write_text("age,bmi\n30,21\n40,22\n")
    (tmp_path / "b.csv").write_text("age,bmi\n20,23\n")
    (tmp_path / "schema.toml").write_text(SCHEMA)
    inputs = ["--input", "data=alice:a.csv", "--input", "data=bob:b.csv"]
    return ["sums.py:total", *inputs, "--schema", "schema.toml"]


def test_a_schema_gives_what_is_shared_its_range(job: list[str], tmp_path: Path) -> None:
    shown = privity("show", *job, cwd=tmp_path).out
    assert shown.count('within(%2) {"hi":[120.0,60.5],"lo":[0.0,10.0]}') == 2  # as traced, and as lowered
    plan = privity("plan", *job, "--json", cwd=tmp_path).json
    assert not any("declare no range" in note for note in plan["notes"])
    assert privity("run", *job, "--json", cwd=tmp_path).json["results"] == {"result": 90.0}


def test_its_owner_refuses_a_value_outside(job: list[str], tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("age,bmi\n20,23\n20,9\n")
    done = privity("run", *job, cwd=tmp_path)
    assert done.code == 3
    assert "bob: b.csv: row 2 (line 3), column 'bmi' is outside the declared range 10 to 60.5" in done.refusal


def test_a_column_that_nobody_has_is_refused(job: list[str], tmp_path: Path) -> None:
    (tmp_path / "schema.toml").write_text(SCHEMA.replace("age", "agee"))
    done = privity("plan", *job, cwd=tmp_path)
    assert done.code == 2
    assert "the column 'agee', which no input has; did you mean 'age'?" in done.refusal


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("format = 1\n[columns.age]\nrange = [0, 1", "not TOML"), ("[columns.age]\nrange = [0, 1]", "format = 1"),
        ("format = 1\n[column.age]\nrange = [0, 1]", "'column' is nothing a schema knows"),
        ("format = 1\n", r"no \[columns.NAME\]"),
        *((f"format = 1\n[columns.age]\n{lines}", rf"\[columns.age\].* {said}") for lines, said in (
            ("lo = 1", "takes range"), ("", "takes range"), ("range = [3, 1]", "range is two numbers, lo ≤ hi"),
            ("range = [0, inf]", "range is two numbers"), ("range = [true, 1]", "range is two numbers"),
            ('as = "lable"', 'as is "label" or "key"'), ("as = 1", 'as is "label" or "key"'),
            ('as = "label"', "needs one line more: values"), ('as = "key"\nat_most = 2\nvalues = [1]', "one line more"),
            ("at_most = 2", 'which need as = "label"'), ('as = "feature"\nvalues = [1]', 'which need as = "label"'),
            ('as = "label"\nat_most = 0', "whole number from 1"), ('as = "label"\nat_most = true', "whole number"),
            ('as = "label"\nvalues = []', "different texts or numbers"), ('as = "label"\nvalues = 1', "different"),
            ('as = "label"\nvalues = ["a", ["b"]]', "different"), ('as = "label"\nvalues = [true]', "different"),
            ('as = "label"\nvalues = [1, 1.0]', "different"), ('as = "label"\nvalues = ["a", " a "]', "different"),
            ('as = "label"\nvalues = ["nan"]', "different"),
        )),
        ('format = 1\n[columns."a b"]\nlo = 1', r'\[columns."a b"\] takes range'),
    ],
)  # fmt: skip
def test_a_wrong_file_is_named(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "schema.toml"
    path.write_text(text)
    with pytest.raises(mpc.UsageError, match=said) as refused:
        load_schema(path)
    assert str(path) in str(refused.value)
    with pytest.raises(mpc.UsageError, match="no such schema file"):
        load_schema(tmp_path / "none.toml")


def test_what_a_file_declares_of_labels_and_keys_is_read(tmp_path: Path) -> None:
    path = tmp_path / "schema.toml"
    path.write_text(
        'format = 1\n[columns.y]\nas = "label"\nvalues = ["no", 1, 2.0, 0.5]\n'
        '[columns."a b"]\nas = "key"\nat_most = 7\n[columns.age]\nas = "feature"\nrange = [0, 120]\n'
    )
    declared = load_schema(path)
    assert declared.columns == {
        "y": Column(role="label", values=("no", "1", "2", "0.5")),
        "a b": Column(role="key", at_most=7),
        "age": Column((0.0, 120.0), "feature"),
    }
    assert declared.ranges == {"age": (0.0, 120.0)}
    assert parse_columns("again", declared.fields()) == declared.columns


def test_scaling_by_range_takes_the_schema() -> None:
    rows = {"age": [20.0, 60, 30, 70], "ill": ["n", "y", "n", "y"]}
    given, settings = {"data": [rows, rows]}, {"label": "ill", "scale": "range", "steps": 3}
    known = catalog["logistic-regression"].declaring({"age": (0.0, 100.0)})
    by_schema = mpc.emulate(known, given, 2, **settings).results
    by_setting = mpc.emulate(catalog["logistic-regression"], given, 2, ranges={"age": [0, 100]}, **settings).results
    assert by_schema["coef"] == pytest.approx(by_setting["coef"], abs=1e-3)
    with pytest.raises(mpc.UsageError, match="or --schema FILE"):
        mpc.emulate(catalog["logistic-regression"], given, 2, **settings)
