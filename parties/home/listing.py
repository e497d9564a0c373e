"""`privity status`, `stock` and `kept`: what is kept on this host, for people and as JSON. Names and sizes only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mpc.errors import UsageError
from parties.home.handles import Handle
from parties.home.home import Home
from parties.home.places import state_root
from parties.home.reading import actors_of
from parties.report import Block, Grid, Line, bytes_in_words

__all__ = ["drop_kept", "kept_of", "kept_report", "runs_of", "status_report", "stock_of", "stock_report"]

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


def kept_of(world: Path, party: str | None) -> list[Row]:
    """The kept secrets of one world."""
    return [_kept(name, h) for name, home in _homes(world, party) for h in home.handles.all()]


def drop_kept(world: Path, party: str | None, secret: str) -> list[Row]:
    """Give up a kept secret, wherever it is; what it was at whom. UsageError if it is nowhere."""
    dropped: list[Row] = []
    known: set[str] = set()
    for name, home in _homes(world, party):
        for handle in home.handles.all():
            known.add(handle.name)
            if handle.name == secret:
                home.handles.drop(secret)
                dropped.append(_kept(name, handle))
    if not dropped:
        listed = ", ".join(sorted(known)) or "none"
        raise UsageError(f"no secret is kept here under the name {secret!r} (kept: {listed})")
    return dropped


def _kept(party: str, h: Handle) -> Row:
    return {
        "party": party, "name": h.name, "run": h.run, "shape": list(h.shape), "parties": list(h.parties),
        "created": h.created,
    }  # fmt: skip


def kept_report(found: Sequence[Mapping[str, Any]], dropped: Sequence[Mapping[str, Any]] = ()) -> list[Block]:
    """A line a secret and party; before them, what was given up just now."""
    lines: list[Block] = [Line(_dropped(dropped), "good")] if dropped else []
    if not found:
        return [*lines, Line("no other secret is kept here" if dropped else "no secret is kept here", "quiet")]
    rows = [
        (h["party"], h["name"], "×".join(map(str, h["shape"])) or "scalar", h["run"][:10], h["created"]) for h in found
    ]
    return [*lines, Grid("kept secrets", ("party", "name", "shape", "from run", "created"), rows)]


def _dropped(dropped: Sequence[Mapping[str, Any]]) -> str:
    here = [d["party"] for d in dropped]
    elsewhere = sorted({p for d in dropped for p in d["parties"]} - set(here))
    more = f"; {', '.join(elsewhere)} may keep their parts, which are of no use without" if elsewhere else ""
    return f"dropped {dropped[0]['name']!r} at {', '.join(here)}{more}"


def _homes(world: Path, party: str | None) -> Iterator[tuple[str, Home]]:
    for name in actors_of(world, party) if world.exists() or party else []:
        with Home.open(world / name, name, create=False) as home:
            yield name, home
