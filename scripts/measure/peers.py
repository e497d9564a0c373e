"""Other systems on the same data: installed by pip in environments of their own, run as real processes on loopback.

What each is, what its figures hold and what is left out stands in scripts/peers/peers.toml; its program beside it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from launch_local import free_ports

from mpc.kernels import permutation

if TYPE_CHECKING:
    from workloads import Data, Workload

__all__ = ["CACHE", "RECIPES", "Peer", "Unavailable", "figures", "known"]

RECIPES = Path(__file__).resolve().parent.parent / "peers"
CACHE = Path("~/.cache/privity/peers").expanduser()
_INSTALL_SECONDS = 1800
_RUN_SECONDS = 600


class Unavailable(Exception):
    """A peer that cannot be had or run here, and why."""


@dataclass(frozen=True)
class Peer:
    """An entry of peers.toml. figures: of a peer that is not run again."""

    name: str
    title: str
    setting: str
    dealer: bool
    phases: str
    bytes: str
    more: bool = False
    parties: int = 2
    program: str = ""
    alone: tuple[str, ...] = ()
    pythons: tuple[str, ...] = ()
    once: tuple[str, ...] = ()
    skip: dict[str, str] = field(default_factory=dict)
    figures: dict[str, dict[str, float]] = field(default_factory=dict)


def known() -> dict[str, Peer]:
    """All of peers.toml, by name."""
    table = tomllib.loads((RECIPES / "peers.toml").read_text(encoding="utf-8"))
    if table.pop("format") != 1:
        raise ValueError("peers.toml is of another format than 1")
    tuples = ("alone", "pythons", "once")
    found = {}
    for name, entry in table.items():
        fields: dict[str, Any] = {key: tuple(value) if key in tuples else value for key, value in entry.items()}
        found[name] = Peer(name, **fields)
    return found


def figures(peer: Peer, workloads: Sequence[Workload], repeat: int, cache: Path) -> Iterator[dict[str, Any]]:
    """A line for each workload: figures, or `unavailable` with the reason."""
    if not peer.program:
        yield from _published(peer, workloads)
        return
    try:
        python = _environment(peer, cache)
    except Unavailable as reason:
        yield from ({"peer": peer.name, "workload": w.name, "unavailable": str(reason)} for w in workloads)
        return
    for workload in workloads:
        line = {"peer": peer.name, "workload": workload.name, "parties": max(peer.parties, workload.parties)}
        if workload.name in peer.skip:
            yield line | {"unavailable": peer.skip[workload.name]}
            continue
        try:
            yield line | _measured(peer, python, workload, repeat)
        except Unavailable as reason:
            yield line | {"unavailable": str(reason)}


def _published(peer: Peer, workloads: Sequence[Workload]) -> Iterator[dict[str, Any]]:
    for workload in workloads:
        if workload.name in peer.figures:
            parties = max(peer.parties, workload.parties)
            found = {"peer": peer.name, "workload": workload.name, "parties": parties}
            yield found | peer.figures[workload.name] | {"rerun": False}


# --------------------------------------------------------------------------------------------------- installation


def _environment(peer: Peer, cache: Path) -> Path:
    """The Python of the peer's own environment, made if it is not there or its recipe has changed."""
    recipe = RECIPES / f"{peer.name}.txt"
    stamp = str(zlib.crc32(recipe.read_bytes() + " ".join(peer.alone).encode()))
    folder = cache / peer.name
    python, ready = folder / "bin" / "python", folder / "ready"
    if ready.exists() and ready.read_text(encoding="utf-8") == stamp:
        return python
    print(f"installing {peer.title} into {folder}; this takes minutes", file=sys.stderr)
    pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input", "install"]
    _quietly([_python(peer), "-m", "venv", "--clear", str(folder)])
    _quietly([*pip, "-r", str(recipe)])
    _quietly([*pip, "--no-deps", *peer.alone])
    ready.write_text(stamp, encoding="utf-8")
    return python


def _python(peer: Peer) -> str:
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if here in peer.pythons:
        return sys.executable
    for version in peer.pythons:
        try:  # a name on the PATH may be a version manager's shim for a version that is not switched on
            subprocess.run([f"python{version}", "-c", "import venv"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return f"python{version}"
    raise Unavailable(f"it needs Python {' or '.join(peer.pythons)}, and there is none on the PATH")


def _quietly(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_INSTALL_SECONDS)
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"its installation failed: {_last(error.stderr)}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"its installation failed: {error}") from error


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "without a word"


# --------------------------------------------------------------------------------------------------------- a run


def _measured(peer: Peer, python: Path, workload: Workload, repeat: int) -> dict[str, Any]:
    n = max(peer.parties, workload.parties)
    data = workload.make(n)
    once = workload.name in peer.once
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="privity-peer-") as name:
        folder = Path(name)
        _export(folder, workload, data, 1 if once else repeat, not once)
        _together(peer, python, folder, n)
        measures = [json.loads((folder / f"measures-{rank}.json").read_text()) for rank in range(n)]
        with np.load(folder / "results.npz") as stored:
            results = {key: stored[key] for key in stored.files}
    slowest = [max(times) for times in zip(*(m["seconds"] for m in measures), strict=True)]
    found = {
        "seconds": median(slowest),
        "seconds_least": min(slowest),
        "repeat": len(slowest),
        "warm": not once,
        "peak_rss_bytes": max(m["peak_rss_bytes"] for m in measures),
        "error": workload.wrong(data, results),
        "load": round(load, 2),
        "rerun": True,
    }
    sent = [m["bytes_sent"] for m in measures if m["bytes_sent"] is not None]
    rounds = [m["rounds"] for m in measures if m["rounds"] is not None]
    return found | ({"bytes_sent": max(sent)} if sent else {}) | ({"rounds": max(rounds)} if rounds else {})


def _export(folder: Path, workload: Workload, data: Data, repeat: int, warm: bool) -> None:
    kind = workload.name.partition("-")[0]
    settings = {"times": 1000} if kind == "chain" else {}
    if kind == "logreg":
        data, settings = _training(workload, data)
    for i, values in enumerate(data):
        np.save(folder / f"{i}.npy", np.asarray(values, dtype=float))
    told = {"kind": kind, "arrays": len(data), "repeat": repeat, "warm": warm, "settings": settings}
    (folder / "task.json").write_text(json.dumps(told), encoding="utf-8")


def _training(workload: Workload, tables: Data) -> tuple[Data, dict[str, Any]]:
    """All rows in the order in which batches take them, their labels, and the settings by short names."""
    names = [name for name in tables[0].columns if name != "label"]
    x = np.concatenate([table.numbers(names) for table in tables])
    y = np.concatenate([table.numbers(["label"])[:, 0] for table in tables])
    batch = workload.settings.get("batch_size") or len(y)
    order = permutation(0, len(y)) if batch < len(y) else np.arange(len(y))
    given = workload.settings
    return [x[order], y[order]], {"steps": given["steps"], "rate": given["learning_rate"], "batch": batch}


def _together(peer: Peer, python: Path, folder: Path, n: int) -> None:
    """All ranks, until each has ended; the first that fails ends the others."""
    ports = ",".join(map(str, free_ports(n)))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    with ExitStack() as stack:
        logs = [stack.enter_context((folder / f"log-{rank}").open("w+b")) for rank in range(n)]
        processes = []
        for rank, log in enumerate(logs):
            command = [str(python), str(RECIPES / peer.program), "--rank", str(rank), "--ports", ports]
            command += ["--folder", str(folder)]
            processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder))
            stack.callback(_ended, processes[-1])
        _awaited(processes, logs)


def _awaited(processes: list[subprocess.Popen[bytes]], logs: Sequence[IO[bytes]]) -> None:
    until = time.monotonic() + _RUN_SECONDS
    while any(process.poll() is None for process in processes):
        failed = [log for process, log in zip(processes, logs, strict=True) if process.poll()]
        if failed:
            break
        if time.monotonic() > until:
            raise Unavailable(f"it did not end within {_RUN_SECONDS} s")
        time.sleep(0.05)
    for process, log in zip(processes, logs, strict=True):
        if process.poll():
            log.seek(0)
            raise Unavailable(f"it failed: {_last(log.read().decode(errors='replace'))}")


def _ended(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
