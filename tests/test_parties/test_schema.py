"""--schema: declared ranges of columns reach the program, are checked at their owners, and a wrong file is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import privity

import mpc
from parties.schema import load_schema
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
        ("format = 1\n", r"no \[columns.NAME\]"), ("format = 1\n[columns.age]\nlo = 1", "a range and nothing else"),
        ("format = 1\n[columns.age]\nrange = [3, 1]", "'age' is two numbers, lo ≤ hi"),
        ("format = 1\n[columns.age]\nrange = [0, inf]", "'age' is two numbers"),
        ("format = 1\n[columns.age]\nrange = [true, 1]", "'age' is two numbers"),
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


def test_scaling_by_range_takes_the_schema() -> None:
    rows = {"age": [20.0, 60, 30, 70], "ill": ["n", "y", "n", "y"]}
    given, settings = {"data": [rows, rows]}, {"label": "ill", "scale": "range", "steps": 3}
    known = catalog["logistic-regression"].declaring({"age": (0.0, 100.0)})
    by_schema = mpc.emulate(known, given, 2, **settings).results
    by_setting = mpc.emulate(catalog["logistic-regression"], given, 2, ranges={"age": [0, 100]}, **settings).results
    assert by_schema["coef"] == pytest.approx(by_setting["coef"], abs=1e-3)
    with pytest.raises(mpc.UsageError, match="or --schema FILE"):
        mpc.emulate(catalog["logistic-regression"], given, 2, **settings)
