"""A home with something of every kind in it, what may be done to it, and what must hold whatever happened."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from disks import FailingDisk, bury

from parties.home import Handle, Home, Material, Stream, database

RUN, SESSION, MATERIAL = "a" * 32, "b" * 32, "c" * 32
DIGEST = "ab" * 32
ARRAYS = {"w": np.arange(4, dtype=np.uint64), "none": None}
Action = Callable[[Home], Any]


def fresh() -> str:
    return uuid.uuid4().hex


def without_fsync(monkeypatch: Any) -> None:
    """A dying process does not lose what it gave to the kernel; waiting for the disk would only make tests slow."""
    monkeypatch.setattr(database, "SYNCHRONOUS", "OFF")
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def array(n: int) -> dict[str, Any]:
    return {"w": np.full(5, n, np.uint64)}


def opened(directory: Path) -> Home:
    return Home.open(directory, "alice")


def begin(home: Home, session: str = SESSION, attempt: int = 1) -> None:
    home.ledger.begin(RUN, attempt, session, program="fit", digest="d", role="party")


def handle(n: int, name: str = "model") -> Handle:
    return Handle(name, f"{n:032x}", (5,), 20, None, None, None, None, ("alice", "bob"))


def material(name: str) -> Material:
    return Material(name, "d", "c", ("alice", "bob"), 40)


def prepared(home: Home) -> None:
    """Something of every kind."""
    begin(home)
    home.vault.put("plain", {"n": 1}, array(1))
    home.checkpoints.prepare(RUN, 1, "loop", 10, array(1))
    home.checkpoints.commit(RUN, 1)
    home.handles.stage(handle(1), array(1))
    home.handles.commit(handle(1).run)
    home.materials.stock(material(MATERIAL), array(1))


def template(directory: Path) -> Path:
    """Such a home, closed."""
    with opened(directory) as home:
        prepared(home)
        home.ledger.end(SESSION, "done")
    return directory


@contextlib.contextmanager
def working(source: Path, directory: Path) -> Iterator[Home]:
    """A copy of the template in the hands of a process whose attempt is under way, and which dies at the end."""
    shutil.copytree(source, directory)
    home = opened(directory)
    with home._database.change() as connection:
        connection.execute("UPDATE attempts SET ended = '', how = '', token = ?", (home._presence.token,))
    yield home
    bury(home)


def steps_of(source: Path, directory: Path, action: Action) -> int:
    """How many steps an action takes."""
    with working(source, directory) as home, FailingDisk() as counted:
        action(home)
    shutil.rmtree(directory)
    return len(counted.steps)


def whole(home: Home) -> None:
    """What holds whatever happened: files and rows agree, nothing is left over, the journal's chain fits."""
    named = {c.blob for c in home.checkpoints.held(RUN)}
    named |= {h.blob for h in home.handles._select(None, "1", ())} | {m.blob for m in home.materials.all() if m.blob}
    assert set(home.vault.names()) - {"plain"} == named
    assert {row[0] for row in home._database.rows("SELECT name FROM blobs")} == named
    for name in home.vault.names():
        home.vault.get(name)
    assert [p.name for p in home.directory.rglob("*.part")] == []
    assert [p.name for p in (home.directory / "open").iterdir()] == [home._presence.token]
    assert home.journal.verify().holds


def plain(home: Home) -> Any:
    header, arrays = home.vault.get("plain")
    return header["n"], arrays["w"].tolist()


def epochs(home: Home) -> Any:
    return [(c.epoch, c.state, home.checkpoints.load(RUN, c.epoch)[2]["w"][0]) for c in home.checkpoints.held(RUN)]


def _model(home: Home) -> Any:
    return home.handles.get("model").run[-1], home.handles.load("model")[1]["w"][0]


def _keep(home: Home) -> None:
    home.handles.stage(handle(2), array(2))
    home.handles.commit(handle(2).run)


def _two_phases(home: Home) -> None:
    home.checkpoints.prepare(RUN, 2, "loop", 20, array(2))
    home.checkpoints.commit(RUN, 2)


BOTH = [[(1, "committed", 1)], [(1, "committed", 1), (2, "prepared", 2)], [(2, "committed", 2)]]

# name: what is done, how to look at the outcome, the states that may be seen, from old to new
ACTIONS: dict[str, tuple[Action, Action, list[Any]]] = {
    "put": (lambda h: h.vault.put("plain", {"n": 2}, array(2)), plain, [(1, [1] * 5), (2, [2] * 5)]),
    "prepare": (lambda h: h.checkpoints.prepare(RUN, 2, "loop", 20, array(2)), epochs, BOTH[:2]),
    "commit": (_two_phases, epochs, BOTH),
    "restored": (
        lambda h: h.checkpoints.restored(RUN, 1, 2),
        lambda h: sum(e["what"] == "checkpoint restored" for e in h.journal.entries()),
        [0, 1],
    ),
    "keep": (_keep, _model, [("1", 1), ("2", 2)]),
    "drop": (lambda h: h.handles.drop("model"), lambda h: [x.name for x in h.handles.all()], [["model"], []]),
    "stock": (
        lambda h: h.materials.stock(material("e" * 32), array(3)),
        lambda h: h.materials.state("e" * 32),
        [None, "stocked"],
    ),
    "take": (
        lambda h: h.materials.take(MATERIAL, SESSION),
        lambda h: h.materials.state(MATERIAL),
        ["stocked", "burnt"],  # what a dead process had taken is burnt
    ),
    "burn": (lambda h: h.materials.burn(MATERIAL, "x"), lambda h: h.materials.state(MATERIAL), ["stocked", "burnt"]),
    "reserve": (
        lambda h: h.ledger.reserve(SESSION, [Stream("k"), Stream("l", 0, 5)]),
        lambda h: [stream.key for _, stream in h.ledger.reserved()],
        [[], ["k", "l"]],
    ),
}
