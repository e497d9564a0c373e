"""Digests of every program of the catalogue as this interpreter makes them: `python digests.py` prints them as JSON.

What parties hash must not depend on the version of Python or numpy that one of them runs.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

from mpc import Program
from protocols import suites

HERE = Path(__file__).resolve()


def digests() -> dict[str, list[str]]:
    """{program, suite: of its text, of its lowered text, of its plan}."""
    found = {}
    for name, program in programs():
        for suite_name, suite in suites.items():
            lowered = Program.parse(program.text).lower(suite)
            plan = hashlib.sha256(repr(sorted(vars(lowered.cost()).items(), key=str)).encode()).hexdigest()
            found[f"{name}, {suite_name}"] = [program.digest, lowered.digest, plan]
    return found


def programs() -> list[tuple[str, Any]]:
    """The cases of tests/test_protocols/test_catalog.py, traced."""
    path = HERE.parents[1] / "test_protocols/test_catalog.py"
    spec = importlib.util.spec_from_file_location("catalogued", path)
    catalogued: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(catalogued)
    return [
        (case, catalogued.catalog[name].trace(catalogued.inputs(parameter, data), catalogued.PARTIES, settings))
        for case, (name, parameter, data, settings, _) in catalogued.PROGRAMS.items()
    ]


if __name__ == "__main__":
    print(json.dumps(digests()))
