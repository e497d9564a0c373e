"""The page's plots: small SVG files that are the same for the same figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from measure.peers import Peer
from measure.tables import compared

__all__ = ["growth_plot", "peers_plot"]

Lines = Sequence[Mapping[str, Any]]


def growth_plot(lines: Lines, what: str, target: Path) -> None:
    """Seconds and bytes against elements, parties or steps, on logarithmic axes (parties: a linear one)."""
    figure, (seconds, sent) = _figure(2)
    mine = [line for line in lines if line["growth"] == what and "seconds" in line]
    for name in dict.fromkeys(line["workload"] for line in mine):
        points = [line for line in mine if line["workload"] == name]
        across = [line[what] for line in points]
        seconds.plot(across, [line["seconds"] for line in points], marker="o", label=name)
        sent.plot(across, [max(line["bytes_sent"], 1) for line in points], marker="o", label=name)
    for axis, title in ((seconds, "online seconds"), (sent, "bytes sent by the busiest party")):
        axis.set(xscale="linear" if what == "parties" else "log", yscale="log", xlabel=what, title=title)
        axis.grid(alpha=0.3)
    seconds.legend(fontsize=8)
    _save(figure, target)


def peers_plot(ours: Lines, peers: Mapping[str, Peer], theirs: Lines, target: Path) -> None:
    """How many times as long each peer takes for each workload."""
    figure, (axis,) = _figure(1)
    mine = {line["workload"]: line for line in ours if "seconds" in line}
    for name, peer in peers.items():
        found = {
            line["workload"]: compared(mine[line["workload"]], line)["operation"]
            for line in theirs
            if line["peer"] == name and "seconds" in line and line["workload"] in mine
        }
        marker = "o" if peer.dealer else "x"
        axis.scatter([list(mine).index(w) for w in found], list(found.values()), marker=marker, s=24, label=peer.title)
    axis.axhline(1.0, color="black", linewidth=0.8)
    axis.set_xticks(range(len(mine)), list(mine), rotation=35, ha="right", fontsize=8)
    title = "a peer's seconds / ours, on shared inputs (dots: a dealer or trusted party; crosses: none)"
    axis.set(yscale="log", title=title, xlim=(-0.5, len(mine) - 0.5))
    axis.grid(alpha=0.3)
    figure.legend(fontsize=7, loc="outside lower center", ncols=4)
    _save(figure, target)


def _figure(columns: int) -> tuple[Any, Sequence[Any]]:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.fonttype"] = "none"  # text stays text
    mpl.rcParams["svg.hashsalt"] = "privity"
    figure = Figure(figsize=(9, 3.6 if columns > 1 else 4.6), layout="constrained")
    return figure, [figure.add_subplot(1, columns, i + 1) for i in range(columns)]


def _save(figure: Any, target: Path) -> None:
    figure.savefig(target, metadata={"Date": None})
