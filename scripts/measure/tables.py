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
    "losses",
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
        ">of it inputs", ">gets from dealer", ">sends and gets", ">peak memory", ">error",
    )  # fmt: skip
    rows = [
        (
            line["workload"],
            str(line["parties"]),
            *(seconds_in_words(line[key]) for key in _TIMES),
            f"{line['rounds']:,}",
            *(bytes_in_words(line[k]) for k in ("bytes_sent", "input_bytes", "dealt_bytes")),
            bytes_in_words(line["bytes_sent"] + line["dealt_bytes"]),
            bytes_in_words(line["peak_rss_bytes"]),
            f"{line['error']:.1e}",
        )
        for line in lines
        if "seconds" in line
    ]
    return Grid("medians; bytes and memory of the busiest party", header, rows)


_TIMES = ("seconds", "operation_seconds", "preprocessing_seconds", "total_seconds")


def compared(ours: Line, theirs: Line) -> dict[str, float]:
    """How many times as much they take as we, on shared inputs as they.

    with_dealing: our dealing counts as theirs does; operation: it does not. bytes: that a party sends, and those that
    it gets from the dealer.
    """
    ratios = {
        "with_dealing": theirs["seconds"] / (ours["operation_seconds"] + ours["preprocessing_seconds"]),
        "operation": theirs["seconds"] / ours["operation_seconds"],
    }
    if "bytes_sent" in theirs:
        ratios["bytes"] = theirs["bytes_sent"] / (ours["bytes_after_input"] + ours["dealt_bytes"])
    return ratios


def peers_grid(ours: Sequence[Line], peers: Mapping[str, Peer], lines: Iterable[Line]) -> Grid:
    """Each peer's figures beside ours, where there are any of ours."""
    mine = {line["workload"]: line for line in ours if "seconds" in line}
    found = [line for line in lines if "seconds" in line]
    order = list(mine) or list(dict.fromkeys(line["workload"] for line in found))
    wanted = sorted((line for line in found if line["workload"] in order), key=lambda at: order.index(at["workload"]))
    header = (
        "workload", "peer", ">parties", ">theirs", ">ours, dealing too", ">ratio", ">ours online", ">ratio",
        ">they send", ">we send", ">we are dealt", ">sum", ">ratio", ">their error", "",
    )  # fmt: skip
    return Grid(
        "peers, on shared inputs; a ratio above 1 is in our favour",
        header,
        [_peer_row(peers[w["peer"]], mine.get(w["workload"]), w) for w in wanted],
    )


def _peer_row(peer: Peer, ours: Line | None, theirs: Line) -> tuple[str, ...]:
    ratios = compared(ours, theirs) if ours is not None else {}
    said = {name: _ratio(ratio) for name, ratio in ratios.items()}
    if peer.more and "bytes" in said:
        said["bytes"] = f"> {said['bytes']}"
    seconds, sizes = ("", ""), ("", "", "")
    if ours is not None:
        both = ours["operation_seconds"] + ours["preprocessing_seconds"]
        seconds = (seconds_in_words(both), seconds_in_words(ours["operation_seconds"]))
        sent, dealt = ours["bytes_after_input"], ours["dealt_bytes"]
        sizes = (bytes_in_words(sent), bytes_in_words(dealt), bytes_in_words(sent + dealt))
    return (
        theirs["workload"],
        peer.title,
        str(theirs["parties"]),
        seconds_in_words(theirs["seconds"]),
        seconds[0],
        said.get("with_dealing", ""),
        seconds[1],
        said.get("operation", ""),
        _their_bytes(peer, theirs),
        *sizes,
        said.get("bytes", ""),
        f"{theirs['error']:.1e}" if "error" in theirs else "",
        "" if theirs["rerun"] else "not re-run",
    )


def _their_bytes(peer: Peer, theirs: Line) -> str:
    if "bytes_sent" not in theirs:
        return ""
    return bytes_in_words(theirs["bytes_sent"]) + (" and more" if peer.more else "")


def _ratio(ratio: float) -> str:
    return f"{ratio:.3g}" if ratio < 1000 else f"{ratio:,.0f}"


def losses(ours: Sequence[Line], peers: Mapping[str, Peer], lines: Sequence[Line]) -> dict[str, list[str]]:
    """Where a peer needs less than we: for each ratio of `compared` the workloads, and who."""
    mine = {line["workload"]: line for line in ours if "seconds" in line}
    found: dict[str, dict[str, list[str]]] = {"with_dealing": {}, "operation": {}, "bytes": {}}
    for line in lines:
        if "seconds" not in line or line["workload"] not in mine:
            continue
        peer = peers[line["peer"]]
        for what, ratio in compared(mine[line["workload"]], line).items():
            if ratio < 1 and not (what == "bytes" and peer.more):
                found[what].setdefault(line["workload"], []).append(f"{peer.title} {_ratio(ratio)}")
    return {what: [f"`{name}`: {', '.join(at[name])}" for name in mine if name in at] for what, at in found.items()}


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
        times = (">online", ">preprocessing", ">in all")
        sizes = (">sends", ">gets from dealer", ">sends and gets", ">peak memory")
        header = ("workload", f">{what}", *times, *sizes)
        rows = [
            (
                at["workload"],
                f"{at[what]:,}",
                *(seconds_in_words(at[key]) for key in ("seconds", "preprocessing_seconds", "total_seconds")),
                *(bytes_in_words(at[key]) for key in ("bytes_sent", "dealt_bytes")),
                bytes_in_words(at["bytes_sent"] + at["dealt_bytes"]),
                bytes_in_words(at["peak_rss_bytes"]),
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
