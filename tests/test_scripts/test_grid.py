"""scripts/grid: verdicts, cells, workers, the page; and no cell is worse than docs/evidence/grid.md says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "scripts"))

import catalogue_grid  # noqa: E402
from evaluation import cells, page, workers  # noqa: E402
from evaluation.cases import CASES, Place  # noqa: E402
from evaluation.cells import Cell, every_cell, outcome  # noqa: E402
from evaluation.comparing import VERDICTS, exact, judged, p_value, relative  # noqa: E402

import mpc  # noqa: E402
from mpc.errors import UsageError  # noqa: E402
from protocols import catalog  # noqa: E402


def grid(*words):
    command = [sys.executable, str(ROOT / "scripts" / "catalogue_grid.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240, cwd="/")


# ------------------------------------------------------------------------------------------------------- verdicts


@pytest.mark.parametrize(
    ("expected", "found", "verdict"),
    [
        (relative("x", [1.0, -1e-9], 1.0), [1.00009, 9e-5], "right"),
        (relative("x", [1.0, -1e-9], 1.0), [1.00009, 1.1e-4], "wrong"),
        (relative("x", [1e-9, 2e-9], 1e-9), [0.0, 0.0], "wrong"),
        (relative("x", 1e15, 1e15), 1.00009e15, "right"),
        (relative("x", 1.0, 1.0), np.nan, "wrong"),
        (relative("x", [1.0], 1.0), [None], "wrong"),
        (relative("x", [1.0], 1.0), None, "wrong"),
        (relative("x", [1.0], 1.0), "one", "wrong"),
        (relative("x", [1.0, 2.0], 1.0), [[1.0, 2.0]], "wrong"),
        (exact("x", [3, 0]), [3.0, 0.0], "right"),
        (exact("x", [3, 0]), [3.0, 1e-9], "wrong"),
        (p_value("x", 1e-10), 1.0009e-10, "right"),
        (p_value("x", 1e-10), 1.0011e-10, "wrong"),
        (p_value("x", 1e-10), 0.0, "wrong"),
        (p_value("x", 1e-91), 0.0, "right"),
        (p_value("x", 1e-91), 1e-11, "wrong"),
    ],
)
def test_an_answer_is_right_if_it_is_near_by_its_natural_size(expected, found, verdict):
    assert judged([expected], {"x": found}).verdict == verdict
    assert judged([exact("y", 1.0), expected], {"x": found, "y": 2.0}).verdict == "wrong"


def test_an_answer_that_says_that_it_is_not_final_is_not_silently_wrong():
    assert judged([exact("x", 1.0)], {"x": 2.0, "converged": False}).verdict == "unconverged"
    assert judged([exact("x", 1.0)], {"x": 2.0, "converged": True}).verdict == "wrong"
    assert judged([exact("x", 1.0)], {"x": 1.0, "converged": False}).verdict == "right"


def test_the_verdict_names_the_worst_number():
    said = judged([relative("x", [1.0, 2.0], 1.0), relative("y", 5.0, 1.0)], {"x": [1.0, 2.5], "y": 5.01}).said
    assert said == "x[1]: 2.5, right 2"


# ---------------------------------------------------------------------------------------------------------- cells


def test_every_program_has_its_cells():
    assert set(CASES) == set(catalog)
    every = every_cell()
    assert len({str(cell) for cell in every}) == len(every)
    assert all(Cell.parse(str(cell)) == cell for cell in every)
    full = len(cells.UNITS) * len(cells.OFFSETS) * len(cells.ROWS)
    counts = {name: sum(cell.program == name for cell in every) for name in CASES}
    assert {name: count for name, count in counts.items() if count != full} == {"log-loss": 12}


@pytest.mark.parametrize("program", list(CASES))
def test_data_are_the_same_numbers_in_every_unit_and_so_is_what_is_right(program):
    """A reference that loses digits far from zero, or in a small unit, would call right answers wrong."""
    case, other = CASES[program], (1e-6, 0.0) if program == "log-loss" else (1e-6, 1e6)
    here, there = case.question(1.0, 0.0, 200), case.question(*other, 200)
    for one, two in zip(here.expected, there.expected, strict=True):
        assert one.right.shape == two.right.shape
        assert np.all(np.isfinite(one.right))
        assert np.all(np.isfinite(two.right))
        if one.name in _WITHOUT_UNIT:
            assert two.right == pytest.approx(one.right, rel=1e-7, abs=1e-9)
    again = case.question(1.0, 0.0, 200)
    assert all(np.array_equal(a.right, b.right) for a, b in zip(here.expected, again.expected, strict=True))


_WITHOUT_UNIT = {
    "correlation", "counts", "count", "chi_square", "degrees_of_freedom", "p_value", "t", "sizes", "inertia",
    "components", "explained_variance", "explained_variance_ratio", "total_variance", "mean_count", "accuracy", "auc",
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mean:1:0", "is not PROGRAM:UNIT:OFFSET:ROWS"),
        ("mean:one:0:4", "is not PROGRAM:UNIT:OFFSET:ROWS"),
        ("meen:1:0:4", "did you mean 'mean'"),
        ("mean:0:0:4", "a unit above 0"),
        ("mean:1:inf:4", "a finite offset"),
        ("mean:1:0:3", "4 rows or more"),
        ("log-loss:1e6:0:4", "has no meaning for log-loss"),
    ],
)
def test_a_cell_that_is_none_is_wrong_usage(text, said):
    with pytest.raises(UsageError, match=said):
        Cell.parse(text)


def test_a_cell_goes_the_way_of_a_users_files(monkeypatch):
    """What the files hold is what is read: a value that only the reader refuses is refused, by row and column."""
    cell = Cell("variance", 1.0, 0.0, 4)
    assert outcome(cell, "emulated")["verdict"] == "right"
    monkeypatch.setattr(Place, "__call__", lambda self, z: np.where(np.arange(12).reshape(4, 3) == 10, np.nan, z))
    refused = outcome(cell, "emulated")
    assert refused["verdict"] == "refused"
    assert "bob: data-bob.csv: row 2 (line 3), column 'x1'" in refused["said"]
    assert "privity-grid" not in refused["said"]


@pytest.mark.parametrize("how", cells.HOW)
def test_a_program_that_is_wrong_is_called_wrong(how, monkeypatch):
    """The twin: another program than the one that is asked for, without a word."""
    assert outcome(Cell("median", 1.0, 10.0, 5), how)["verdict"] == "right"
    cases = dict(CASES) | {"quantile": CASES["median"], "median": CASES["variance"]}
    monkeypatch.setattr(cells, "CASES", cases)
    assert outcome(Cell("quantile", 1.0, 10.0, 5), how)["verdict"] == "wrong"


def test_what_breaks_is_a_crash_and_no_refusal(monkeypatch):
    @mpc.program
    def broken(data: mpc.PerParty[mpc.Table], column: str):
        raise ZeroDivisionError(column)

    monkeypatch.setitem(cells.catalog, "median", broken)
    came = outcome(Cell("median", 1.0, 0.0, 4), "emulated")
    assert came["verdict"] == "crashed"
    assert "ZeroDivisionError" in came["said"]


def test_which_cells_are_real_follows_from_the_seed():
    real = [cell for cell in every_cell() if cell.chance("real", 0) < 0.05]
    assert 0.03 < len(real) / len(every_cell()) < 0.07
    assert real != [cell for cell in every_cell() if cell.chance("real", 1) < 0.05]


# -------------------------------------------------------------------------------------------------------- workers


def test_what_ends_a_worker_is_a_verdict_on_one_cell_only(monkeypatch, tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(
        "import json, os, sys\n"
        "for line in sys.stdin:\n"
        "    if line.startswith('auc'): os._exit(7)\n"
        "    if line.startswith('pca'): import time; time.sleep(60)\n"
        "    print(json.dumps({'cell': line.strip(), 'how': 'emulated', 'verdict': 'right', 'said': ''}))\n"
        "    sys.stdout.flush()\n"
    )
    monkeypatch.setattr(workers, "_SCRIPT", script)
    monkeypatch.setattr(workers, "SECONDS", 5.0)
    asked = [Cell(program, 1.0, 0.0, 4) for program in ("mean", "auc", "pca", "median")]
    came = {at["cell"]: (at["verdict"], at["said"]) for at in workers.outcomes(asked, 1, None, 0)}
    assert came == {
        "mean:1:0:4": ("right", ""),
        "auc:1:0:4": ("crashed", "the process ended with 7"),
        "pca:1:0:4": ("crashed", "no answer within 5 s"),
        "median:1:0:4": ("right", ""),
    }


def test_whoever_takes_no_more_ends_the_workers(monkeypatch, tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(
        f"import os, pathlib, sys\npathlib.Path({str(tmp_path)!r}, f'pid-{{os.getpid()}}').touch()\n"
        "line = sys.stdin.readline()\nif 'mean' in line: print('{\"cell\": \"mean:1:0:4\"}', flush=True)\n"
        "import time; time.sleep(60)\n"
    )
    monkeypatch.setattr(workers, "_SCRIPT", script)
    came = workers.outcomes([Cell("mean", 1.0, 0.0, 4), Cell("auc", 1.0, 0.0, 4)], 2, None, 0)
    assert next(came)["cell"] == "mean:1:0:4"
    came.close()
    for note in tmp_path.glob("pid-*"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(note.name.removeprefix("pid-")), 0)


# ------------------------------------------------------------------------------------------------------- commands


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cell", "meen:1:0:4"], "did you mean 'mean'"),
        (["--program", "ridge-regresion"], "did you mean 'ridge-regression'"),
        (["--sample", "0"], "--sample counts cells, from 1 on, not 0"),
        (["--cell", "mean:1:0:4", "--sample", "3"], "--cell names cells"),
        (["--write", "--sample", "3"], "--write is of the whole grid"),
    ],
)
def test_wrong_usage_is_told(words, said):
    with pytest.raises(UsageError, match=said):
        catalogue_grid.chosen(catalogue_grid.arguments(words))


def test_a_mistake_is_one_line_and_exit_2():
    done = grid("--cell", "mean:1:0")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("grid: --cell 'mean:1:0' is not PROGRAM:UNIT:OFFSET:ROWS")
    assert len(done.stderr.splitlines()) == 1


def test_cells_by_name_through_workers():
    done = grid("--cell", "variance:1e-6:10:200", "--cell", "variance:1e12:1e6:4", "--json", "--how", "emulated")
    came = {at["cell"]: at for at in map(json.loads, done.stdout.splitlines())}
    assert {name: at["verdict"] for name, at in came.items()} == {
        "variance:1e-06:10:200": "right", "variance:1e+12:1e+06:4": "right",
    }  # fmt: skip
    assert done.returncode == 0


# ----------------------------------------------------------------------------------------------------------- page


def test_the_page_keeps_every_verdict():
    every = [Cell("log-loss", 1e-12, 0.0, 4), *(c for c in every_cell() if c.program in {"mean", "auc"})]
    made = [
        {"cell": str(cell), "how": "emulated", "verdict": VERDICTS[i % 5], "said": f"x: {i}, right 0", "excess": 1.0}
        for i, cell in enumerate(every)
    ]
    text = page.page(made, "scripts/grid --write")
    assert page.recorded(text) == {at["cell"]: at["verdict"] for at in made}
    assert "| all | 26 | 26 | 25 | 25 | 25 |" in text
