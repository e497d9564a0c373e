"""Cells of few rows from the command line: what a person and a program read of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from command import privity

JOB = ["--input", "data=alice:a.csv", "--input", "data=bob:b.csv", "--set", "key=ward", "--set", "column=age"]
WARDS = {"a": {"east": 12, "north": 9, "west": 1}, "b": {"east": 8, "north": 7, "west": 6}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two owners' files; alice has one row in a ward."""
    for name, wards in WARDS.items():
        rows = [f"{ward},{30 + i}" for ward, n in wards.items() for i in range(n)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["ward,age", *rows]) + "\n")
    return tmp_path


def run(folder: Path, *more: str) -> Any:
    answer = privity("run", "group-by", *JOB, *more, cwd=folder)
    assert answer.code == 0, answer.err
    return answer


def test_withheld_cells_are_null_in_json_with_the_cure(folder: Path) -> None:
    answer = run(folder, "--json")
    results = answer.json["results"]
    assert (results["keys"], results["shown"]) == (["east", "north", "west"], [True, False, False])
    assert (results["count"], results["sum"][1:], results["mean"][1:]) == ([20, None, None], [None] * 2, [None] * 2)
    (warning,) = answer.json["warnings"]
    assert warning.startswith("2 of 3 cells are withheld")
    assert "--set minimum=1" in warning
    cured = run(folder, "--json", "--set", "minimum=1")
    assert (cured.json["results"]["count"], cured.json["warnings"]) == ([20, 16, 7], [])


def test_withheld_cells_are_dashes_in_tables(folder: Path) -> None:
    printed = run(folder).out
    assert "[20, —, —]" in printed
    assert "[true, false, false]" in printed
    assert "--set minimum=1" in printed
    assert "nan" not in printed
