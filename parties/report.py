"""What people read: tables and sentences, rich on a terminal, plain aligned text in a pipe or under NO_COLOR.

A report is a list of blocks, made here from a run or a plan; how a block looks is decided at the end, by where it goes.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

import numpy as np

from parties.escaping import printable

__all__ = [
    "Block",
    "Grid",
    "Line",
    "bytes_in_words",
    "check_report",
    "disclosures_report",
    "emit",
    "in_words",
    "listed",
    "plain_value",
    "plan_report",
    "run_report",
    "values_report",
]

_SHOWN = 6  # elements of an array on the screen; --json and -o have all of them


@dataclass(frozen=True)
class Line:
    """One sentence. `tone`: '', 'title', 'good', 'quiet', 'warning'."""

    text: str
    tone: str = ""


@dataclass(frozen=True)
class Grid:
    """A table; columns whose header begins with '>' are numbers and stand right."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]] = ()


Block = Line | Grid


def emit(blocks: Sequence[Block], stream: TextIO | None = None) -> None:
    """Print a report, as fits the stream."""
    stream = stream or sys.stdout
    blocks = [_escaped(block) for block in blocks]
    if stream.isatty() and os.environ.get("TERM") != "dumb":
        _emit_rich(blocks, stream)
    else:
        stream.writelines(f"{line}\n" for block in blocks for line in _plain(block))


def _escaped(block: Block) -> Block:
    """Names come from other people's programs and files."""
    if isinstance(block, Line):
        return Line(printable(block.text), block.tone)
    return Grid(printable(block.title), block.header, [tuple(map(printable, row)) for row in block.rows])


def _plain(block: Block) -> Iterator[str]:
    if isinstance(block, Line):
        yield block.text
        return
    header = tuple(h.removeprefix(">") for h in block.header)
    widths = [max(map(len, column)) for column in zip(header, *block.rows, strict=True)]
    yield ""
    if block.title:
        yield block.title
    for row in (header, *block.rows):
        cells = [
            cell.rjust(width) if head.startswith(">") else cell.ljust(width)
            for cell, width, head in zip(row, widths, block.header, strict=True)
        ]
        yield ("  " + "  ".join(cells)).rstrip()


def _emit_rich(blocks: Sequence[Block], stream: TextIO) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    styles = {"title": "bold", "good": "green", "quiet": "dim", "warning": "yellow"}
    console = Console(file=stream, highlight=False)  # rich itself obeys NO_COLOR
    for block in blocks:
        if isinstance(block, Line):
            console.print(
                Text(block.text, style=styles.get(block.tone, "")), soft_wrap=True
            )  # so that a command can be copied
            continue
        table = Table(title=block.title or None, title_justify="left", title_style="bold", header_style="dim", box=None)
        for head in block.header:
            table.add_column(
                head.removeprefix(">"), justify="right" if head.startswith(">") else "left", overflow="fold"
            )
        for row in block.rows:
            table.add_row(*(Text(cell) for cell in row))
        console.print()
        console.print(table)


# --- the reports -----------------------------------------------------------------------------------------------------


def run_report(program: str, run: Any) -> list[Block]:
    """Results, what it cost, and what was revealed to whom."""
    seconds = f"{_rounds(run.rounds)} in {run.online_seconds:.2f} s online"
    more = f", {run.preprocessing_seconds:.2f} s preprocessing, {run.total_seconds:.2f} s in all"
    return [
        Line(f"{program}: done by {', '.join(run.parties)}  (digest {run.digest[:12]})", "good"),
        Grid("results", ("name", "value"), _results(run)),
        _cost(run.parties, "peak memory", run.bytes_sent, run.input_bytes, run.dealt_bytes, run.peak_rss_bytes),
        Line(""),
        Line(seconds + more),
        *_reveals("revealed", run.reveals),
        *([Line(""), *warnings] if (warnings := _warnings(run)) else []),
    ]


def _results(run: Any) -> list[tuple[str, str]]:
    """Names and values; whose a value is, if not everyone's, and where one is that is not here."""
    owners: dict[str, list[str]] = {}
    for party, values in run.results_of.items():
        for name in values:
            owners.setdefault(name, []).append(party)
    rows = [
        (name, _shortened(value) + (f"  ({' and '.join(owners[name])} alone)" if name in owners else ""))
        for name, value in run.results.items()
    ]
    for reveal in run.reveals:
        if reveal["name"] not in run.results:
            to = "the parties" if isinstance(reveal["to"], str) else " and ".join(reveal["to"])
            rows.append((str(reveal["name"]), f"shown at {to} alone"))
    return rows


def _warnings(run: Any) -> list[Line]:
    """What a reader of the results must not overlook."""
    said = list(run.warnings)
    if not run.results.get("converged", True):
        said.append("the fit did not converge (converged: false): take more steps, or a stronger penalty")
    return [Line(f"warning: {text}", "warning") for text in said]


def plan_report(program: Any, suite: str, plan: Any) -> list[Block]:
    """The exact price of a run that has not happened."""
    return [
        Line(f"{program.name}: plan for {', '.join(program.parties)}, suite {suite}", "title"),
        Line(f"digest {program.digest}", "quiet"),
        Line(_rounds(plan.rounds)),
        _cost(
            program.parties,
            "memory at most",
            plan.bytes_sent,
            plan.input_bytes,
            plan.dealt_bytes,
            plan.peak_memory_bytes,
        ),
        *_lines_of_cost(plan),
        *_facts(plan),
        *_reveals("to be revealed", plan.reveals),
        *_assumptions(plan),
    ]


def values_report(plan: Any) -> list[Block]:
    """Every secret value's scale and range, in the program's order; a line is named where its values begin."""
    rows = []
    before = ""
    for v in plan.values:
        line = str(v["where"])
        shape = "×".join(map(str, v["shape"])) or "one number"
        rows.append(("" if line == before else line, v["op"], shape, str(v["scale"]), _bound(v["lo"]), _bound(v["hi"])))
        before = line
    header = ("line", "op", "shape", ">fraction bits", ">from", ">to")
    return [Grid("secret values", header, rows)]


def check_report(program: Any, suite: str, plan: Any, exposed: Sequence[Mapping[str, str]] = ()) -> list[Block]:
    """What was found by a check that passed. exposed: warnings of reveals."""
    return [
        Line(f"{program.name}: every opening is hidden by a mask of its own, lane by lane  (suite {suite})", "good"),
        *_facts(plan),
        *_reveals("nothing is learnt beyond these reveals and the facts above", plan.reveals),
        *([Line("")] if exposed else []),
        *(Line(in_words(warning), "warning") for warning in exposed),
        *_assumptions(plan),
        Line(
            "not proved: that the rules compute what they say (tests do), what the reveals themselves tell, timing",
            "quiet",
        ),
    ]


def in_words(warning: Mapping[str, str]) -> str:
    """A warning of `mpc.exposure` in one line."""
    return f"warning: reveal {warning['name']!r} at {warning['where']}: {warning['why']}"


def disclosures_report(plan: Any) -> list[Block]:
    """All that a run would tell anybody."""
    return [*_facts(plan), *_reveals("reveals", plan.reveals)]


def _rounds(n: int) -> str:
    return "1 round" if n == 1 else f"{n:,} rounds"


def _cost(parties: Sequence[str], memory: str, *columns: Mapping[str, int]) -> Grid:
    header = ("party", ">sends", ">of it inputs", ">gets from dealer", f">{memory}")
    rows = [(p, *(bytes_in_words(column.get(p)) for column in columns)) for p in parties]
    return Grid("", header, rows)


def _lines_of_cost(plan: Any) -> list[Block]:
    rows = [
        (
            line,
            f"{cost.get('rounds', 0):,}",
            *(bytes_in_words(cost.get(name, 0)) for name in ("bytes_sent", "dealt_bytes")),
        )
        for line, cost in plan.by_line.items()
        if any(cost.values())
    ]
    return [Grid("by source line", ("line", ">rounds", ">the busiest party sends", ">dealt"), rows)] if rows else []


def _reveals(title: str, reveals: Sequence[Mapping[str, Any]]) -> list[Block]:
    rows = [
        (
            str(r["name"]),
            r["to"] if isinstance(r["to"], str) else ", ".join(r["to"]),
            "×".join(map(str, r["shape"])) or "one number",
            f"{r['count']:,}" if "count" in r else "",
            str(r.get("bits", "")),
            str(r.get("where", "")),
        )
        for r in reveals
    ]
    return [Grid(title, ("name", "to", "shape", ">in all", ">fraction bits", "line"), rows)]


def _facts(plan: Any) -> list[Block]:
    """The public facts and the values of labels and keys that a run tells beside its reveals."""
    rows = [
        (
            f"values of {d['name']}" if d["what"] == "labels" else str(d["name"]),
            ", ".join(d["owners"]),
            listed(d["columns"]),
            d["to"] if isinstance(d["to"], str) else ", ".join(d["to"]),
            f"{d['count']:,}",
        )
        for d in plan.disclosures
        if d["what"] in ("fact", "labels")
    ]
    return [Grid("public facts", ("what", "of whom", "columns", "to", ">count"), rows)] if rows else []


def listed(names: Sequence[str], most: int = _SHOWN) -> str:
    """The first few of many names."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _assumptions(plan: Any) -> list[Block]:
    blocks: list[Block] = []
    if plan.assumptions:
        rows = [(str(a["where"]), _bound(a["lo"]), _bound(a["hi"]), str(a.get("what", ""))) for a in plan.assumptions]
        blocks.append(Grid("stated, not proved", ("line", ">from", ">to", "what"), rows))
    if plan.notes:
        blocks += [Line(""), *(Line(f"note: {note}", "quiet") for note in plan.notes)]
    return blocks


def _bound(end: float | None) -> str:
    return "" if end is None else f"{end:g}"


# --- values ----------------------------------------------------------------------------------------------------------


def plain_value(value: Any) -> Any:
    """A result as JSON has it: numbers, text, lists, dicts; null for NaN: what was withheld, or has no value."""
    if isinstance(value, np.ndarray | np.generic):
        whole = value.dtype.kind != "f" or not np.isnan(value).any()
        return value.tolist() if whole else plain_value(value.tolist())
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, Mapping):
        return {str(k): plain_value(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(v) for v in value]
    return value


def _shortened(value: Any) -> str:
    value = plain_value(value)
    if value is None:
        return "—"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        inner = ", ".join(_shortened(v) for v in value[:_SHOWN])
        return f"[{inner}, … {len(value)} in all]" if len(value) > _SHOWN else f"[{inner}]"
    return str(value)


def bytes_in_words(n: float | None) -> str:
    """12 B, 3.4 kB, 1.2 MB."""
    if n is None:
        return "?"
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000 or unit == "GB":
            break
        n /= 1000
    return f"{n:.0f} {unit}" if unit == "B" else f"{n:.3g} {unit}" if n < 100 else f"{n:.0f} {unit}"


def chaos_report(answer: Mapping[str, Any]) -> list[Block]:
    """What `chaos` found."""
    lines: list[Block] = [Line(text) for text in answer.get("log", ())]
    pace = f"{answer['runs_per_second']:,.0f} a second" if answer["seeds"] > 1 else f"{answer['seconds']:.2f} s"
    rows = [(outcome, f"{count:,}") for outcome, count in answer["outcomes"].items()]
    lines.append(Grid(f"{answer['seeds']:,} simulated runs, {pace}", ("outcome", ">runs"), rows))
    for failure in answer["failures"]:
        lines += [Line(f"seed {failure['seed']}: {failure['why']}", "warning"), Line(f"  {failure['replay']}")]
    if not answer["failures"]:
        lines.append(Line("every rule held in every run", "good"))
    return lines
