"""docs/functions.md is what its script would write, as far as that can be said without measuring errors."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def script() -> Any:
    spec = importlib.util.spec_from_file_location("functions_script", ROOT / "scripts" / "functions.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


FUNCTIONS = script()
LINES = {
    line.split("|")[1].strip(): line for line in FUNCTIONS.TARGET.read_text().splitlines() if line.startswith("| ")
}


def test_every_case_has_its_line() -> None:
    assert list(LINES)[1:] == [case.name for case in FUNCTIONS.CASES]


@pytest.mark.parametrize("case", [c for c in FUNCTIONS.CASES if c.row == 1], ids=lambda c: c.name)
def test_the_costs_in_the_table_are_those_of_today(case: Any) -> None:
    rounds, sent, dealt = FUNCTIONS.cost(case, 2)
    _, _, _, _, in_table, sent_in_table, dealt_in_table, _ = (cell.strip() for cell in LINES[case.name].split("|"))
    assert in_table == str(rounds)
    assert sent_in_table.split(" / ")[0] == f"{sent:.4g}"
    assert dealt_in_table.split(" / ")[0] == f"{dealt:.5g}"
