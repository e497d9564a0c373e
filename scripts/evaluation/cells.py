"""A cell of the grid: one program with data in one unit, at one offset, of so many rows; run as a user's files are.

The data are written as CSV files and go the way of `privity run`: the command line's own `Job` reads, traces, lowers
and checks. Then the protocol runs with all parties in this process (emulated), or where that takes too long its
fixed-point meaning (simulated); real cells are the command itself, with every party a process.
"""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
import tempfile
import traceback
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.cases import CASES, Columns, Question
from evaluation.comparing import Verdict, judged
from mpc.errors import MpcError, PeerError, UsageError
from mpc.memory import run_in_memory
from mpc.testing import deterministic_entropy
from parties.data import read_csv
from parties.job import Job
from parties.target import nearest
from protocols import catalog, suites

__all__ = ["HOW", "OFFSETS", "ROWS", "UNITS", "Cell", "every_cell", "outcome"]

UNITS = (1e-12, 1e-6, 1e-3, 1.0, 1e3, 1e6, 1e12)
OFFSETS = (0.0, 10.0, 1e6)
ROWS = (4, 200, 30_000)
HOW = ("emulated", "simulated", "real")
_CHEAP = 1 << 26  # bytes dealt and sent: these are emulated
_MOST = 1 << 32  # and a tenth of those up to here
_ROUNDS = 5000
_REAL = 0.05
_SHARE = 0.1
_SECONDS = 900.0


@dataclass(frozen=True)
class Cell:
    """program:unit:offset:rows."""

    program: str
    unit: float
    offset: float
    rows: int

    def __str__(self) -> str:
        return f"{self.program}:{self.unit:g}:{self.offset:g}:{self.rows}"

    @classmethod
    def parse(cls, text: str) -> Cell:
        """A cell by its name. Raises UsageError. Units, offsets and rows beyond the grid's are welcome."""
        try:
            program, unit, offset, rows = text.split(":")
            cell = cls(program, float(unit), float(offset), int(rows))
        except ValueError:
            raise UsageError(f"--cell {text!r} is not PROGRAM:UNIT:OFFSET:ROWS, for example mean:1e-6:10:200") from None
        if program not in CASES:
            raise UsageError(
                f"there is no program {program!r}{nearest(program, list(CASES))}; there: {', '.join(CASES)}"
            )
        if not 0 < cell.unit < np.inf or not abs(cell.offset) < np.inf or cell.rows < 4:
            raise UsageError(f"--cell {text!r}: a unit above 0, a finite offset, and 4 rows or more")
        if not CASES[program].applies(cell.unit, cell.offset):
            raise UsageError(f"--cell {text!r}: this unit or offset has no meaning for {program}")
        return cell

    def chance(self, purpose: str, seed: int) -> float:
        """A number from 0 to 1 that is the cell's own."""
        return zlib.crc32(f"{seed} {purpose} {self}".encode()) / 2**32


def every_cell() -> list[Cell]:
    """The whole grid."""
    return [
        Cell(program, unit, offset, rows)
        for program, case in CASES.items()
        for rows in ROWS
        for unit in UNITS
        for offset in OFFSETS
        if case.applies(unit, offset)
    ]


def outcome(cell: Cell, how: str | None = None, seed: int = 0) -> dict[str, Any]:
    """What came of a cell, as JSON. how: emulated, simulated or real; else as the seed and the price say."""
    if how is None and cell.chance("real", seed) < _REAL:
        how = "real"
    question = CASES[cell.program].question(cell.unit, cell.offset, cell.rows)
    with tempfile.TemporaryDirectory(prefix="privity-grid-") as name:
        told = {"cell": str(cell), "how": how}
        try:
            words = _words(cell.program, question, Path(name))
            told["how"], results = _ran(words, cell, how, seed, Path(name))
            verdict = judged(question.expected, results)
        except MpcError as refused:
            sentence = " ".join(str(refused).split())
            # An exception of a program's own code is told by its line, as in a user's program: here it is a bug.
            crashed = isinstance(refused, PeerError) or re.search(r"\b[A-Z]\w+Error: ", sentence)
            verdict = Verdict("crashed" if crashed else "refused", sentence)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what this cell gives
            last = traceback.extract_tb(error.__traceback__)[-1]
            verdict = Verdict("crashed", f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})")
        said = verdict.said.replace(f"{name}/", "")
    told["how"] = told["how"] or "compiled"
    return told | {"verdict": verdict.verdict, "said": said, "excess": verdict.excess}


def _words(program: str, question: Question, folder: Path) -> list[str]:
    """The command's arguments; the files are written."""
    words = [program]
    for name, by_party in question.inputs.items():
        for party, columns in by_party.items():
            file = folder / f"{name}-{party}.csv"
            _write(file, columns)
            words += ["--input", f"{name}={party}:{file}"]
    settings = dict(question.settings)
    if "minimum" in catalog[program].parameters:
        settings["minimum"] = 1
    return words + [word for name, value in settings.items() for word in ("--set", f"{name}={json.dumps(value)}")]


def _write(file: Path, columns: Columns) -> None:
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(columns)
        # As Python writes numbers: the shortest text that is the same double.
        writer.writerows(zip(*(np.asarray(v).tolist() for v in columns.values()), strict=True))


def _ran(words: list[str], cell: Cell, how: str | None, seed: int, folder: Path) -> tuple[str, Mapping[str, Any]]:
    if how == "real":
        return how, _command(words, folder)
    given = {key: [w for k, w in pairwise(words) if k == key] for key in ("--input", "--set")}
    job = Job.from_arguments(
        words[0], None, None, None, given["--input"], given["--set"], "masked", catalog=catalog, suites=suites
    )
    done = job.compile()
    tables = {name: {party: read_csv(path) for party, path in files.items()} for name, files in job.inputs.items()}
    if how is None:
        bytes_ = sum(done.plan.dealt_bytes.values()) + sum(done.plan.bytes_sent.values())
        cheap = bytes_ <= _CHEAP and done.plan.rounds <= _ROUNDS
        chosen = bytes_ <= _MOST and cell.chance("emulated", seed) < _SHARE
        how = "emulated" if cheap or chosen else "simulated"
    if how == "simulated":
        return how, done.program.plain(tables)
    masks = deterministic_entropy(
        len(job.parties), int(cell.chance("masks", seed) * 2**32)
    )  # so that it can be repeated
    results = run_in_memory(done.lowered, tables, entropy=masks).results
    done.program.require(results)
    return how, results


def _command(words: list[str], folder: Path) -> Mapping[str, Any]:
    """`privity run` itself."""
    command = [sys.executable, "-m", "parties", "run", *words, "--json", "--state", str(folder / "state")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_SECONDS)
    answer = json.loads(done.stdout) if done.stdout.startswith("{") else {}
    if done.returncode == 0:
        results: Mapping[str, Any] = answer["results"]
        return results
    said = str(answer.get("error") or done.stderr.strip() or f"exit {done.returncode}")
    raise (PeerError if done.returncode not in {1, 2, 3, 5} else MpcError)(said)
