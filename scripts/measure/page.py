"""docs/performance.md: the sections between its marks are written anew, from figures that lie beside it as JSON."""

from __future__ import annotations

import datetime as dt
import json
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from machine import machine

from measure.explain import explained_grids
from measure.peers import Peer
from measure.plots import flame_plot, growth_plot, peers_plot, timeline_plot
from measure.tables import (
    growth_grids,
    losses,
    markdown,
    missing,
    peers_grid,
    seconds_in_words,
    startup_grid,
    workloads_grid,
)

__all__ = ["EXPLAINED", "OURS", "PAGE", "PEERS", "filled", "keep", "merged", "sections", "write", "write_explained"]

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
PAGE = DOCS / "performance.md"
OURS = DOCS / "evidence" / "performance.json"
EXPLAINED = DOCS / "evidence" / "explained.json"
PEERS = DOCS / "evidence" / "peers.json"
Lines = Sequence[Mapping[str, Any]]


def keep(path: Path, **figures: Lines) -> None:
    """Write figures with date, machine and command. Those of peers that were not run now stay as they were."""
    head = {
        "format": 1,
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine(),
        "command": shlex.join(["./scripts/bench", *sys.argv[1:]]),
    }
    if "peers" in figures:
        before = json.loads(path.read_text(encoding="utf-8"))["peers"] if path.exists() else []
        figures["peers"] = merged(before, [{**line, "date": head["date"]} for line in figures["peers"]])
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = (f"  {json.dumps(key)}: {_one_a_line(value)}" for key, value in (head | figures).items())
    path.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")


def merged(before: Lines, now: Lines) -> list[Mapping[str, Any]]:
    """New lines in the places of old ones of the same peer and workload."""
    lines = {(line["peer"], line["workload"]): line for line in (*before, *now)}
    return list(lines.values())


def _one_a_line(value: Any) -> str:
    if not isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    return "[\n" + ",\n".join("    " + json.dumps(line, ensure_ascii=False) for line in value) + "\n  ]"


def write(peers: Mapping[str, Peer], published: Lines) -> None:
    """Fill the page's sections, and draw its plots, from what is kept and from what was published before."""
    ours = json.loads(OURS.read_text(encoding="utf-8"))
    theirs = json.loads(PEERS.read_text(encoding="utf-8")) if PEERS.exists() else {"peers": []}
    theirs["peers"] = merged(theirs["peers"], published)
    for what in dict.fromkeys(line["growth"] for line in ours["growth"]):
        growth_plot(ours["growth"], what, DOCS / f"performance-{what}.svg")
    peers_plot(ours["workloads"], peers, theirs["peers"], DOCS / "performance-peers.svg")
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), sections(ours, peers, theirs)), encoding="utf-8")


def write_explained(line: Mapping[str, Any]) -> None:
    """Fill the section that says where the time goes, and draw its two plots."""
    told = json.loads(EXPLAINED.read_text(encoding="utf-8"))
    explained_plots(line, DOCS)
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), {"explained": explained_section(told)}), encoding="utf-8")


def explained_plots(line: Mapping[str, Any], folder: Path, kind: str = "svg") -> None:
    """The timeline and the flame graph."""
    name = line["workload"]
    timeline_plot(
        line["timeline"], f"{name}: ten rounds in the middle of a run", folder / f"performance-timeline.{kind}"
    )
    title = f"{name}: {line['samples']:,} samples of all parties, online and before"
    flame_plot(line["stacks"], title, folder / f"performance-flame.{kind}")


def explained_section(told: Mapping[str, Any]) -> str:
    """Tables and plots."""
    (line,) = told["explained"]
    tables = "\n".join(f"{grid.title}:\n\n{markdown(grid)}" for grid in explained_grids(line))
    plots = "![ten rounds](performance-timeline.svg)\n\n![flame graph](performance-flame.svg)\n"
    return f"{_told('These figures', told)}\n{tables}\n{plots}"


def filled(text: str, parts: Mapping[str, str]) -> str:
    """The page with each `<!-- bench: NAME -->` section replaced; a ValueError if it has no place for one."""
    for name, part in parts.items():
        found = re.search(rf"<!-- bench: {name} -->\n(.*?)<!-- /bench -->", text, re.DOTALL)
        if not found:
            raise ValueError(f"docs/performance.md has no section {name!r}: <!-- bench: {name} --> … <!-- /bench -->")
        text = f"{text[: found.start(1)]}\n{part.strip()}\n\n{text[found.end(1) :]}"
    return text


def sections(ours: Mapping[str, Any], peers: Mapping[str, Peer], theirs: Mapping[str, Any]) -> dict[str, str]:
    """What stands between the marks."""
    growth = "\n".join(f"![{grid.title}](performance-{grid.header[1][1:]}.svg)\n\n{markdown(grid)}"
                       for grid in growth_grids(ours["growth"]))  # fmt: skip
    return {
        "machine": _told("Our own figures", ours),
        "workloads": markdown(workloads_grid(ours["workloads"])) + _chain(ours["workloads"]),
        "peers": _peers(ours["workloads"], peers, theirs),
        "startup": markdown(startup_grid(ours["startup"])),
        "growth": growth,
    }


def _told(what: str, figures: Mapping[str, Any]) -> str:
    return f"{what}: {figures['date']}, `{figures['command']}`, on {figures['machine']}.\n"


def _chain(lines: Lines) -> str:
    return "".join(
        f"\nA round of `{line['workload']}` takes {seconds_in_words(line['round_seconds'])}, "
        f"{line['round_to_pingpong']:.2f} of a bare ZeroMQ CURVE ping-pong of two processes in the same invocation "
        f"({seconds_in_words(line['pingpong_seconds'])}).\n"
        for line in lines
        if "pingpong_seconds" in line
    )


def _peers(ours: Lines, peers: Mapping[str, Peer], theirs: Mapping[str, Any]) -> str:
    lines = theirs["peers"]
    if not lines:
        return "No peer has been run: `./scripts/bench --peers --write`.\n"
    told = "".join(
        f"* **{peer.title}**: {peer.setting}. Seconds hold {peer.phases}. Bytes are {peer.bytes}.\n"
        for peer in peers.values()
    )
    busy = [line["load"] for line in lines if "load" in line]
    load = f" The load average was {min(busy):.1f} to {max(busy):.1f} while they ran.\n" if busy else ""
    table = markdown(peers_grid(ours, peers, lines))
    left_out = missing(peers, lines)
    absent = f"\nLeft out:\n\n{markdown(left_out)}" if left_out.rows else ""
    plot = "\n![how many times as long peers take](performance-peers.svg)\n"
    lost = _lost(losses(ours, peers, lines))
    return _told("Peers' figures", theirs) + load + "\n" + told + "\n" + lost + plot + "\n" + table + absent


def _lost(found: Mapping[str, Sequence[str]]) -> str:
    """Where peers need less, in words."""
    said = {
        "with_dealing": "Seconds, our dealing included",
        "operation": "Seconds online, our dealing left out",
        "bytes": "Bytes that a party sends after the inputs are shared, and is dealt",
    }
    rows = (f"* {said[what]}: {'; '.join(at) or 'nowhere'}.\n" for what, at in found.items())
    return "**Where peers need less than we** (theirs as a share of ours):\n\n" + "".join(rows)
