"""Figures in tables: on the screen, and in the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from measure.peers import Peer
from parties.report import Grid, bytes_in_words

__all__ = [
    "against_grid",
    "against_in_words",
    "compared",
    "growth_grids",
    "markdown",
    "missing",
    "peers_grid",
    "seconds_in_words",
    "startup_grid",
    "workloads_grid",
]

Line = Mapping[str, Any]


def seconds_in_words(seconds: float | None) -> str:
    """1.23 s, 45.6 ms, 78.9 µs."""
    if seconds is None:
        return ""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1 or unit == "µs":
            break
    return f"{seconds * factor:.3g} {unit}" if seconds * factor < 1000 else f"{seconds * factor:,.0f} {unit}"


def workloads_grid(lines: Iterable[Line]) -> Grid:
    """Our own figures."""
    header = (
        "workload", ">parties", ">online", ">on shared inputs", ">preprocessing", ">in all", ">rounds", ">sends",
        ">of it inputs", ">gets from dealer", ">peak memory", ">error",
    )  # fmt: skip
    rows = [
        (
            line["workload"],
            str(line["parties"]),
            *(seconds_in_words(line[key]) for key in _TIMES),
            f"{line['rounds']:,}",
            *(bytes_in_words(line[k]) for k in ("bytes_sent", "input_bytes", "dealt_bytes", "peak_rss_bytes")),
            f"{line['error']:.1e}",
        )
        for line in lines
        if "seconds" in line
    ]
    return Grid("medians; bytes and memory of the busiest party", header, rows)


_TIMES = ("seconds", "operation_seconds", "preprocessing_seconds", "total_seconds")


def compared(ours: Line, theirs: Line) -> dict[str, float]:
    """How many times as long they take as we: on shared inputs as they, online in all, with our dealing; and bytes."""
    ratios = {
        "operation": theirs["seconds"] / ours["operation_seconds"],
        "online": theirs["seconds"] / ours["seconds"],
        "with_dealing": theirs["seconds"] / (ours["seconds"] + ours["preprocessing_seconds"]),
    }
    if "bytes_sent" in theirs and ours["bytes_after_input"]:
        ratios["bytes"] = theirs["bytes_sent"] / ours["bytes_after_input"]
    return ratios


def peers_grid(ours: Sequence[Line], peers: Mapping[str, Peer], lines: Iterable[Line]) -> Grid:
    """Each peer's figures beside ours, where there are any of ours."""
    mine = {line["workload"]: line for line in ours if "seconds" in line}
    found = [line for line in lines if "seconds" in line]
    order = list(mine) or list(dict.fromkeys(line["workload"] for line in found))
    wanted = sorted((line for line in found if line["workload"] in order), key=lambda at: order.index(at["workload"]))
    header = (
        "workload", "peer", ">parties", ">theirs", ">ours", ">ratio", ">with inputs", ">and dealing", ">they send",
        ">ratio", ">their error", "",
    )  # fmt: skip
    return Grid(
        "peers; a ratio above 1 is in our favour",
        header,
        [_peer_row(peers, mine.get(w["workload"]), w) for w in wanted],
    )


def _peer_row(peers: Mapping[str, Peer], ours: Line | None, theirs: Line) -> tuple[str, ...]:
    ratios = compared(ours, theirs) if ours is not None else {}
    said = {name: f"{ratio:.3g}" if ratio < 1000 else f"{ratio:,.0f}" for name, ratio in ratios.items()}
    return (
        theirs["workload"],
        peers[theirs["peer"]].title,
        str(theirs["parties"]),
        seconds_in_words(theirs["seconds"]),
        seconds_in_words(ours["operation_seconds"]) if ours is not None else "",
        said.get("operation", ""),
        said.get("online", ""),
        said.get("with_dealing", ""),
        bytes_in_words(theirs["bytes_sent"]) if "bytes_sent" in theirs else "",
        said.get("bytes", ""),
        f"{theirs['error']:.1e}" if "error" in theirs else "",
        "" if theirs["rerun"] else "not re-run",
    )


def missing(peers: Mapping[str, Peer], lines: Iterable[Line]) -> Grid:
    """What is not there, and why."""
    rows = [(peers[at["peer"]].title, at["workload"], at["unavailable"]) for at in lines if "unavailable" in at]
    return Grid("unavailable", ("peer", "workload", "because"), rows)


def against_grid(lines: Iterable[Line], commit: str) -> Grid:
    """Both trees' seconds, and their ratios with the quartiles of the pairs' ratios."""
    times = ("total_seconds", "online_seconds")
    trees = (f">{commit}", ">this tree")
    header = ("workload", ">parties", ">pairs", *trees, ">in all", ">quartiles", *trees, ">online", ">quartiles")
    rows = []
    for line in (line for line in lines if "ratios" in line):
        row = [line["workload"], str(line["parties"]), str(line["pairs"])]
        for what in times:
            row += [seconds_in_words(line["old"][what]), seconds_in_words(line[what])]
            row += [f"{line['ratios'][what]:.3f}", _spread(line["quartiles"][what])]
        rows.append(tuple(row))
    return Grid("medians of the pairs' ratios, this tree to the older; below 1 this tree is faster", header, rows)


def against_in_words(line: Line) -> str:
    """Both ratios."""
    said = (("in all", "total_seconds"), ("online", "online_seconds"))
    return ", ".join(f"{name} {line['ratios'][what]:.3f} ({_spread(line['quartiles'][what])})" for name, what in said)


def _spread(quartiles: Sequence[float]) -> str:
    return " to ".join(f"{at:.2f}" for at in quartiles)


def startup_grid(lines: Iterable[Line]) -> Grid:
    """Start-up."""
    return Grid("start-up", ("what", ">time"), [(at["startup"], seconds_in_words(at["seconds"])) for at in lines])


def growth_grids(lines: Sequence[Line]) -> list[Grid]:
    """One table for each thing that grows."""
    grids = []
    for what in dict.fromkeys(line["growth"] for line in lines):
        times, sizes = (">online", ">preprocessing", ">in all"), (">sends", ">gets from dealer", ">peak memory")
        header = ("workload", f">{what}", *times, *sizes)
        rows = [
            (
                at["workload"],
                f"{at[what]:,}",
                *(seconds_in_words(at[key]) for key in ("seconds", "preprocessing_seconds", "total_seconds")),
                *(bytes_in_words(at[key]) for key in ("bytes_sent", "dealt_bytes", "peak_rss_bytes")),
            )
            for at in lines
            if at["growth"] == what and "seconds" in at
        ]
        grids.append(Grid(f"against {what}", header, rows))
    return grids


def markdown(grid: Grid) -> str:
    """The same table in a page."""
    edges = ["---:" if head.startswith(">") else "---" for head in grid.header]
    rows = [[head.removeprefix(">") for head in grid.header], edges, *grid.rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows)
