"""docs/functions.md is what its script would write, as far as that can be said without measuring errors."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import sys
from pathlib import Path
from typing import Any

import pytest

import mpc
import protocols

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


@pytest.mark.parametrize(
    "case", [c for c in FUNCTIONS.CASES if c.row < 16 and "area" not in c.name], ids=lambda c: c.name
)
def test_the_costs_in_the_table_are_those_of_today(case: Any) -> None:
    rounds, sent, dealt = FUNCTIONS.cost(case, 2)
    _, _, _, _, in_table, sent_in_table, dealt_in_table, _ = (cell.strip() for cell in LINES[case.name].split("|"))
    assert in_table == str(rounds)
    assert sent_in_table.split(" / ")[0] == f"{sent:.4g}"
    assert dealt_in_table.split(" / ")[0] == f"{dealt:.5g}"


def words(text: str) -> set[str]:
    return set("".join(c if c.isalnum() or c == "_" else " " for c in text).split())


def test_every_public_function_of_the_language_has_a_line_or_a_reason() -> None:
    functions = {n for n in mpc.__all__ if not inspect.isclass(getattr(mpc, n))}
    reasons = {n for names in FUNCTIONS.NO_LINE.values() for n in names.split()}
    lines = {n for case in FUNCTIONS.CASES for n in words(f"{case.name} {case.of}")}
    assert functions - lines - reasons == set()
    assert reasons & lines & functions == set(), "a reason, and yet a line"
    assert {n for n in reasons if not hasattr(mpc, n)} == set(), "a reason for what there is not"


def made_in_protocols() -> dict[str, Any]:
    """Public functions of a secret in `protocols`: no programs, no rules, which are in the table as what they serve."""
    found: dict[str, Any] = {}
    for info in pkgutil.walk_packages(protocols.__path__, "protocols."):
        module = importlib.import_module(info.name)
        for name, f in vars(module).items():
            if inspect.isfunction(f) and f.__module__ == info.name and not name.startswith("_"):
                found[f"{info.name}.{name}".removeprefix("protocols.")] = f
    return found


def test_every_public_function_of_the_protocols_has_a_line_or_a_reason() -> None:
    made = made_in_protocols()
    lines = {n for case in FUNCTIONS.CASES for n in words(case.name)}
    without = {name for name in made if name.rpartition(".")[2] not in lines}
    assert without == set(FUNCTIONS.PARTS.split())
