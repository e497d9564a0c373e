"""docs/evidence/grid.md: what came of every cell, by program and by unit."""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from machine import machine
from measure.tables import markdown

from evaluation.cells import OFFSETS, ROWS, UNITS, Cell
from evaluation.comparing import VERDICTS
from parties.report import Grid

__all__ = ["PAGE", "page", "recorded", "summaries"]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "evidence" / "grid.md"
_SHORT = {
    "right": "right",
    "refused": "refused",
    "unconverged": "unconv.",
    "wrong": "**wrong**",
    "crashed": "**crash**",
}
_NONE = "n/a"
Outcomes = Sequence[Mapping[str, Any]]

_HEAD = """# The catalogue on data as it is

Every program of the catalogue, with data in seven units, at three offsets from zero (in standard deviations), of three
numbers of rows, against numpy, scipy and scikit-learn: `scripts/grid --write`. Files are written and read, and settings
given, as by `privity run`; `minimum=1`, everything else is left as it is.

* *right*: to 1e-4 of the natural size: coefficients times deviation, correlations against 1, places against their
  distance from zero or a deviation, p-values to 1e-3 of themselves down to 1e-12.
* *refused*: an error with a sentence.
* *unconv.*: an answer that says `converged: false`, and is not right.
* *wrong*: another answer, without a word.
* *crash*: neither an answer nor a sentence.
* n/a: such data have no meaning for the program.

Cells run with all parties in one process; expensive ones as plaintext simulation, and about one in twenty as the
command with real processes. `scripts/grid --cell mean:1e-06:10:200` repeats one and shows the number in question;
`scripts/grid --sample 40 --seed 3` runs some.
"""


def summaries(outcomes: Outcomes) -> list[Grid]:
    """Counts by program, unit, offset, rows and way of running."""
    cells = [(Cell.parse(at["cell"]), at) for at in outcomes]
    by = {
        "program": [(cell.program, at["verdict"]) for cell, at in cells],
        "unit": [(f"{cell.unit:g}", at["verdict"]) for cell, at in cells],
        "offset": [(f"{cell.offset:g}", at["verdict"]) for cell, at in cells],
        "rows": [(f"{cell.rows:,}", at["verdict"]) for cell, at in cells],
        "run as": [(at["how"], at["verdict"]) for _, at in cells],
    }
    return [_counted(what, pairs) for what, pairs in by.items()]


def _counted(what: str, pairs: Sequence[tuple[str, str]]) -> Grid:
    counts = Counter(pairs)
    names = list(dict.fromkeys(name for name, _ in pairs))
    rows = [(name, *(str(counts[name, v] or "") for v in VERDICTS)) for name in names]
    every = Counter(verdict for _, verdict in pairs)
    rows.append(("all", *(str(every[v]) for v in VERDICTS)))
    return Grid(f"by {what}", (what, *(f">{v}" for v in VERDICTS)), rows)


def page(outcomes: Outcomes, command: str) -> str:
    """The whole page."""
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
    parts = [_HEAD, f"{len(outcomes)} cells: {now}, `{command}`, on {machine()}.\n"]
    parts += [f"## By {grid.header[0]}\n\n{markdown(grid)}" for grid in summaries(outcomes)]
    verdicts = {at["cell"]: at["verdict"] for at in outcomes}
    parts.append("## Cells\n\nA column is a number of rows, and an offset in deviations.\n")
    programs = dict.fromkeys(Cell.parse(at["cell"]).program for at in outcomes)
    parts += [f"### {program}\n\n{markdown(_cells(program, verdicts))}" for program in programs]
    parts.append(_sentences("Wrong, and crashes", (at for at in outcomes if at["verdict"] in {"wrong", "crashed"})))
    parts.append(_sentences("Refused", (at for at in outcomes if at["verdict"] == "refused")))
    return "\n".join(parts)


def _cells(program: str, verdicts: Mapping[str, str]) -> Grid:
    columns = [(rows, offset) for rows in ROWS for offset in OFFSETS]
    header = ("unit", *(f"{rows:,} rows, {offset:g}" for rows, offset in columns))
    table = []
    for unit in UNITS:
        found = (verdicts.get(str(Cell(program, unit, offset, rows))) for rows, offset in columns)
        table.append((f"{unit:g}", *(_SHORT[v] if v else _NONE for v in found)))
    return Grid(program, header, table)


def _sentences(title: str, outcomes: Iterable[Mapping[str, Any]]) -> str:
    """Each sentence once, numbers and names of files left out, with the number of cells and the first of them."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for at in outcomes:
        program = Cell.parse(at["cell"]).program
        found.setdefault((program, _kind(at["said"])), []).append(at)
    rows = [(program, str(len(cells)), cells[0]["cell"], cells[0]["said"]) for (program, _), cells in found.items()]
    return f"## {title}\n\n{markdown(Grid(title, ('program', '>cells', 'first of them', 'what it said'), rows))}"


def _kind(said: str) -> str:
    return re.sub(r"[-+]?\d[\d.]*(e[-+]?\d+)?|inf|nan", "0", said)


def recorded(text: str) -> dict[str, str]:
    """{cell: verdict} of a page."""
    long = {short: verdict for verdict, short in _SHORT.items()}
    found = {}
    for program, table in re.findall(r"^### (\S+)\n\n((?:\|.*\n)+)", text, re.MULTILINE):
        for line in table.splitlines()[2:]:
            unit, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            for (rows, offset), short in zip([(r, o) for r in ROWS for o in OFFSETS], cells, strict=True):
                if short != _NONE:
                    found[str(Cell(program, float(unit), offset, rows))] = long[short]
    return found
