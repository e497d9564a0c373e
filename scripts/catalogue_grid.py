"""Is the catalogue right on data as it is? Every program, in every unit, far from zero, with few rows and many.

    catalogue_grid.py [--jobs N]                      # the whole grid, an hour
    catalogue_grid.py --sample N [--seed S]           # some of its cells
    catalogue_grid.py --cell PROGRAM:UNIT:OFFSET:ROWS ... [--how real]   # one, again: mean:1e-06:10:200
    catalogue_grid.py --program mean --program auc    # those of a program
    catalogue_grid.py --write                         # the whole grid, into docs/evidence/grid.md

A verdict each: right, refused (with a sentence), unconverged (it says so), wrong (without a word), crashed. Exit 1 if
one is wrong or crashed. How a cell is run, and against what it is compared: scripts/evaluation.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from entry import entered
from evaluation import page
from evaluation.cases import CASES
from evaluation.cells import HOW, Cell, every_cell, outcome
from evaluation.workers import outcomes, serve

from mpc.errors import UsageError
from parties.report import emit
from parties.target import nearest


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="grid", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cell", action="append", metavar="CELL", help="PROGRAM:UNIT:OFFSET:ROWS; several times too")
    parser.add_argument("--program", action="append", metavar="NAME", help="only this one's cells; several times too")
    parser.add_argument("--sample", type=int, metavar="N", help="so many cells, chosen by the seed")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the sample, and of which cells are real")
    parser.add_argument("--how", choices=HOW, help="all cells in this way; else by seed and price")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="cells at a time (default: 2)")
    parser.add_argument("--json", action="store_true", help="a JSON object a cell, and nothing else")
    parser.add_argument("--write", action="store_true", help=f"into {page.PAGE.name}, of the whole grid")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(words)
    for name in given.program or ():
        if name not in CASES:
            raise UsageError(f"there is no program {name!r}{nearest(name, list(CASES))}; there: {', '.join(CASES)}")
    for name, least in (("sample", given.sample), ("jobs", given.jobs)):
        if least is not None and least < 1:
            raise UsageError(f"--{name} counts cells, from 1 on, not {least}")
    if given.cell and (given.program or given.sample):
        raise UsageError("--cell names cells: it goes with neither --program nor --sample")
    if given.write and (given.cell or given.program or given.sample or given.how):
        raise UsageError("--write is of the whole grid: no --cell, --program, --sample or --how")
    return given


def chosen(given: argparse.Namespace) -> list[Cell]:
    """The cells that were asked for, in the grid's order; a sample has those of the lowest of its seed's numbers."""
    if given.cell:
        return [Cell.parse(text) for text in given.cell]
    cells = [cell for cell in every_cell() if not given.program or cell.program in given.program]
    if given.sample:
        limit = sorted(cell.chance("sample", given.seed) for cell in cells)[: given.sample][-1]
        cells = [cell for cell in cells if cell.chance("sample", given.seed) <= limit]
    return cells


def told(found: Iterator[dict[str, Any]], count: int, as_json: bool) -> list[dict[str, Any]]:
    """All outcomes, each said when it is there."""
    kept = []
    for at in found:
        kept.append(at)
        line = f"{len(kept):5}/{count}  {at['verdict']:11} {at['how']:9} {at['cell']}  {at['said']}"
        print(json.dumps(at) if as_json else line, file=sys.stdout if as_json else sys.stderr, flush=True)
    return kept


def run(given: argparse.Namespace) -> int:
    """What was asked for; 1 if a cell is wrong or crashed."""
    if given.worker:
        serve(given.how, given.seed)
        return 0
    cells = chosen(given)
    if len(cells) == 1:
        kept = told(iter([outcome(cells[0], given.how, given.seed)]), 1, given.json)
    else:
        kept = told(outcomes(cells, given.jobs, given.how, given.seed), len(cells), given.json)
    places = {str(cell): i for i, cell in enumerate(cells)}
    kept.sort(key=lambda at: places[at["cell"]])
    if given.write:
        page.PAGE.write_text(page.page(kept, shlex.join(["scripts/grid", *sys.argv[1:]])), encoding="utf-8")
    if not given.json:
        emit(page.summaries(kept))
    return int(any(at["verdict"] in {"wrong", "crashed"} for at in kept))


if __name__ == "__main__":
    sys.exit(entered("grid", lambda: run(arguments())))
