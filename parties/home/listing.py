"""`privity status`, `stock` and `kept`: what is kept on this host, for people and as JSON. Names and sizes only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mpc.errors import UsageError
from parties.home.home import Home
from parties.home.places import state_root
from parties.home.reading import actors_of
from parties.report import Block, Grid, Line, bytes_in_words

__all__ = ["kept_of", "kept_report", "runs_of", "status_report", "stock_of", "stock_report"]

Row = dict[str, Any]


def runs_of(root: Path | None) -> list[Row]:
    """The runs that were started here, of every world, the latest first."""
    found = []
    for ledger in (root or state_root()).absolute().glob("*/*/ledger.sqlite"):
        with Home.open(ledger.parent, ledger.parent.name, create=False) as home:
            found += [
                {
                    "run": run.run, "program": run.program, "parties": list(run.more["parties"]), "begun": run.begun,
                    "status": run.status, "sentence": run.sentence, "checkpoint_every": run.every,
                    "cluster": run.more.get("cluster", ""),
                }
                for run in home.runs.all() if "parties" in run.more
            ]  # fmt: skip
    return sorted(found, key=lambda run: str(run["begun"]), reverse=True)


def status_report(found: Sequence[Mapping[str, Any]]) -> list[Block]:
    """A line a run, and why the stopped ones stopped."""
    if not found:
        return [Line("no run was started here", "quiet")]
    rows = [(r["run"][:10], r["program"], r["begun"], ", ".join(r["parties"]), r["status"]) for r in found]
    stopped = [Line(f"{r['run'][:10]}: {r['sentence']}", "quiet") for r in found if r["sentence"]]
    table = Grid("runs", ("run", "program", "begun", "parties", "status"), rows)
    return [table, *([Line("")] if stopped else []), *stopped]


def stock_of(world: Path, party: str | None, *, burn: bool = False) -> list[Row]:
    """The material in the stores of one world: unused, used and burnt. burn: what is unused is given up first."""
    for _, home in _homes(world, party) if burn else ():
        for material in home.materials.all(state="stocked"):
            home.materials.burn(material.id, "given up by whoever runs this party")
    return [
        {
            "party": name, "material": m.id, "program": m.digest, "parties": list(m.parties), "bytes": m.size,
            "stocked": m.stocked, "state": m.state,
        }
        for name, home in _homes(world, party) for m in home.materials.all()
    ]  # fmt: skip


def stock_report(found: Sequence[Mapping[str, Any]]) -> list[Block]:
    """A line a material and store."""
    if not found:
        return [Line("no material is stored here; make some with: privity deal", "quiet")]
    rows = [
        (m["party"], m["material"][:10], m["program"][:12], m["stocked"], bytes_in_words(m["bytes"]), m["state"])
        for m in found
    ]
    return [Grid("stored material", ("party", "material", "for digest", "stored", ">size", "state"), rows)]


def kept_of(world: Path, party: str | None, drop: str | None) -> list[Row]:
    """The kept secrets of one world. drop: one to give up first, wherever it is; UsageError if it is nowhere."""
    dropped = False
    found: list[Row] = []
    for name, home in _homes(world, party):
        if drop is not None and any(h.name == drop for h in home.handles.all()):
            home.handles.drop(drop)
            dropped = True
        found += [
            {
                "party": name, "name": h.name, "run": h.run, "shape": list(h.shape), "parties": list(h.parties),
                "created": h.created,
            }
            for h in home.handles.all()
        ]  # fmt: skip
    if drop is not None and not dropped:
        known = ", ".join(sorted({row["name"] for row in found})) or "none"
        raise UsageError(f"no secret is kept here under the name {drop!r} (kept: {known})")
    return found


def kept_report(found: Sequence[Mapping[str, Any]]) -> list[Block]:
    """A line a secret and party."""
    if not found:
        return [Line("no secret is kept here", "quiet")]
    rows = [
        (h["party"], h["name"], "×".join(map(str, h["shape"])) or "scalar", h["run"][:10], h["created"]) for h in found
    ]
    return [Grid("kept secrets", ("party", "name", "shape", "from run", "created"), rows)]


def _homes(world: Path, party: str | None) -> Iterator[tuple[str, Home]]:
    for name in actors_of(world, party) if world.exists() or party else []:
        with Home.open(world / name, name, create=False) as home:
            yield name, home
