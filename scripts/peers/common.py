"""What every peer's program shares: its task, the loop that is timed, what it leaves behind.

A peer is run as one process a party, in an environment of its own, which has numpy and the peer and nothing of privity.
The folder it is given holds `task.json` and the owners' arrays; rank 0 leaves `results.npz` there, and every rank
`measures-RANK.json`.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SHOWN = 8


@dataclass(frozen=True)
class Task:
    """One workload for one rank. kind: the first word of its name. settings: of the training, or of the chain."""

    folder: Path
    rank: int
    ports: list[int]
    kind: str
    repeat: int
    warm: bool
    settings: dict[str, Any]
    arrays: list[np.ndarray[Any, Any]]

    @property
    def parties(self) -> int:
        """How many there are."""
        return len(self.ports)


def task() -> Task:
    """The task that the command line names."""
    parser = argparse.ArgumentParser(description="One party of a peer's run.")
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--ports", type=lambda text: [int(port) for port in text.split(",")], required=True)
    parser.add_argument("--folder", type=Path, required=True)
    given, _ = parser.parse_known_args()
    told = json.loads((given.folder / "task.json").read_text())
    arrays = [np.load(given.folder / f"{i}.npy") for i in range(told["arrays"])]
    return Task(
        given.folder, given.rank, given.ports, told["kind"], told["repeat"], told["warm"], told["settings"], arrays
    )


def timed(given: Task, barrier: Callable[[], Any], compute: Callable[[], Any]) -> tuple[Any, list[float]]:
    """The last result of `compute`, and the seconds of each time, from one barrier of all parties."""
    if given.warm:
        compute()
    seconds, result = [], None
    for _ in range(given.repeat):
        barrier()
        began = time.perf_counter()
        result = compute()
        seconds.append(time.perf_counter() - began)
    return result, seconds


def leave(given: Task, seconds: list[float], results: dict[str, Any] | None, **counts: int | None) -> None:
    """Write what was measured; rank 0 writes the results too."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found = {"seconds": seconds, "peak_rss_bytes": peak, **counts}
    (given.folder / f"measures-{given.rank}.json").write_text(json.dumps(found))
    if given.rank == 0 and results is not None:
        np.savez(given.folder / "results.npz", **results)


def named(kind: str, found: np.ndarray[Any, Any]) -> dict[str, Any]:
    """A revealed result under the names that our own programs give it."""
    if kind == "logreg":
        flat = found.reshape(-1)
        return {"coef": flat[:-1], "intercept": flat[-1]}
    if kind == "sum":
        return {"sum": found}
    if kind == "sigmoid":
        return {"shown": found}
    shown = {"shown": found[:SHOWN, 0] if kind == "matmul" else found.reshape(-1)[:SHOWN]}
    return shown | {"count": found.sum()} if kind == "less" else shown


def with_ones(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A column of ones for the intercept."""
    return np.hstack([x, np.ones((len(x), 1))])


def chained(given: Task, x: Any, y: Any) -> Any:
    """x·y·y·… , as often as the task says, in whatever arithmetic x and y have."""
    for _ in range(given.settings["times"]):
        x = x * y
    return x
