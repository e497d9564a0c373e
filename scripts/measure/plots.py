"""The page's plots: small SVG files that are the same for the same figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from measure.peers import Peer
from measure.tables import compared

__all__ = ["flame_plot", "growth_plot", "peers_plot", "timeline_plot", "tree"]

Lines = Sequence[Mapping[str, Any]]


def growth_plot(lines: Lines, what: str, target: Path) -> None:
    """Seconds and bytes against elements, parties or steps, on logarithmic axes (parties: a linear one)."""
    figure, (seconds, whole, sent) = _figure(3)
    mine = [line for line in lines if line["growth"] == what and "seconds" in line]
    for name in dict.fromkeys(line["workload"] for line in mine):
        points = [line for line in mine if line["workload"] == name]
        across = [line[what] for line in points]
        seconds.plot(across, [line["seconds"] for line in points], marker="o", label=name)
        whole.plot(across, [line["total_seconds"] for line in points], marker="o", label=name)
        (drawn,) = sent.plot(across, [line["bytes_sent"] + line["dealt_bytes"] for line in points], marker="o")
        sent.plot(across, [line["bytes_sent"] for line in points], linestyle=":", color=drawn.get_color())
    titles = ("online seconds", "seconds in all, dealing too", "bytes sent and dealt (dotted: sent)")
    for axis, title in zip((seconds, whole, sent), titles, strict=True):
        axis.set(xscale="linear" if what == "parties" else "log", yscale="log", xlabel=what, title=title)
        axis.grid(alpha=0.3)
    seconds.legend(fontsize=8)
    _save(figure, target)


def peers_plot(ours: Lines, peers: Mapping[str, Peer], theirs: Lines, target: Path) -> None:
    """How many times as long each peer takes for each workload, and how many times as many bytes it moves."""
    figure, axes = _figure(2)
    figure.set_size_inches(13, 5)
    mine = {line["workload"]: line for line in ours if "seconds" in line}
    names = list(mine)
    for name, peer in peers.items():
        found = [line for line in theirs if line["peer"] == name and "seconds" in line and line["workload"] in mine]
        ratios = [(names.index(line["workload"]), compared(mine[line["workload"]], line)) for line in found]
        for axis, what in zip(axes, ("with_dealing", "bytes"), strict=True):
            points = [(at, ratio[what]) for at, ratio in ratios if what in ratio]
            marker = "^" if what == "bytes" and peer.more else "o" if peer.dealer else "x"
            axis.scatter(*zip(*points, strict=True) if points else ([], []), marker=marker, s=24, label=peer.title)
    titles = ("seconds: a peer's / ours, dealing included", "bytes: a peer's / ours, dealt ones included")
    for axis, title in zip(axes, titles, strict=True):
        axis.axhline(1.0, color="black", linewidth=0.8)
        axis.set_xticks(range(len(mine)), names, rotation=35, ha="right", fontsize=8)
        axis.set(yscale="log", title=title, xlim=(-0.5, len(mine) - 0.5))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("below 1 we need more", fontsize=8)
    marks = "dots: a dealer or trusted party; crosses: none;\ntriangles: at least, its dealer is not counted"
    axes[1].set_ylabel(marks, fontsize=8)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=7, loc="outside lower center", ncols=5)
    _save(figure, target)


def timeline_plot(timeline: Mapping[str, Sequence[Any]], title: str, target: Path) -> None:
    """Ten rounds of one run, the parties one above another; their clocks are one."""
    figure, (axis,) = _figure(1)
    figure.set_size_inches(11, 1.4 + 0.7 * len(timeline))
    zero = min(begin for found in timeline.values() for _, _, begin, _ in found)
    for row, found in enumerate(timeline.values()):
        for what, color in _COLORS.items():
            bars = [(1e6 * (begin - zero), 1e6 * (end - begin)) for kind, _, begin, end in found if kind == what]
            axis.broken_barh(bars, (row - 0.4, 0.8), color=color, linewidth=0, label=_SAID[what] if not row else None)
        starts = {number: begin for _, number, begin, _ in reversed(found)}
        for number, begin in starts.items():
            axis.text(1e6 * (begin - zero), row + 0.42, str(number), fontsize=6, va="bottom")
            axis.vlines(1e6 * (begin - zero), row - 0.4, row + 0.5, color="black", linewidth=0.5)
    axis.set(title=title, xlabel="µs; a line where the work for a round begins", ylim=(-0.6, len(timeline) - 0.2))
    axis.set_yticks(range(len(timeline)), list(timeline))
    axis.grid(axis="x", alpha=0.3)
    axis.margins(x=0.01)
    figure.legend(fontsize=8, loc="outside lower center", ncols=3)
    _save(figure, target)


def tree(stacks: Mapping[str, int]) -> dict[str, Any]:
    """Collapsed stacks as nested `{"count": …, "inside": {name: …}}`."""
    root: dict[str, Any] = {"count": 0, "inside": {}}
    for stack, count in stacks.items():
        node = root
        node["count"] += count
        for name in stack.split(";"):
            node = node["inside"].setdefault(name, {"count": 0, "inside": {}})
            node["count"] += count
    while len(root["inside"]) == 1 and next(iter(root["inside"].values()))["inside"]:
        root = next(iter(root["inside"].values()))  # what every sample has in common says nothing
    return root


def flame_plot(stacks: Mapping[str, int], title: str, target: Path, least: float = 0.005) -> None:
    """Who calls whom, from below; widths are shares of the samples, and what is below `least` is left blank."""
    figure, (axis,) = _figure(1)
    root = tree(stacks)
    rows = _flames(axis, root, 0.0, 0, max(1, root["count"]), least)
    figure.set_size_inches(13, 1.0 + 0.27 * rows)
    axis.set(title=title, xlim=(0, 1), ylim=(0, rows), xlabel="share of the samples")
    axis.set_yticks([])
    _save(figure, target)


def _flames(axis: Any, node: Mapping[str, Any], left: float, row: int, every: int, least: float) -> int:
    """Draw what is inside a node; the number of rows that this takes."""
    top = row
    for name, inner in sorted(node["inside"].items(), key=lambda at: -at[1]["count"]):
        width = inner["count"] / every
        if width < least:
            break
        package = name.split(".")[0].split(":")[0]
        axis.barh(
            row + 0.5, width, 0.94, left, color=_PACKAGES.get(package, "#cccccc"), edgecolor="white", linewidth=0.5
        )
        said = f"{name.rpartition(':')[2]} ({name.rpartition(':')[0]})"
        fits = int(width * 190)
        if fits >= 4:
            short = said if len(said) <= fits else said[: fits - 1] + "…"
            axis.text(left + 0.002, row + 0.5, short, fontsize=7, va="center")
        top = max(top, row + 1, _flames(axis, inner, left, row + 1, every, least))
        left += width
    return top


_COLORS = {"work": "#2a6f97", "channel": "#e9a03b", "waiting": "#dddddd"}
_SAID = {
    "work": "own work",
    "channel": "channel: pack, send, take apart",
    "waiting": "waiting for messages and reading them",
}
_PACKAGES = {"mpc": "#9ec5e0", "protocols": "#9ec5e0", "parties": "#f2cf93", "zmq": "#dddddd", "numpy": "#a9d6a5"}


def _figure(columns: int) -> tuple[Any, Sequence[Any]]:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.fonttype"] = "none"  # text stays text
    mpl.rcParams["svg.hashsalt"] = "privity"
    figure = Figure(figsize=(max(9, 4 * columns), 3.6 if columns > 1 else 4.6), layout="constrained")
    return figure, [figure.add_subplot(1, columns, i + 1) for i in range(columns)]


def _save(figure: Any, target: Path) -> None:
    figure.savefig(target, metadata={"Date": None})
