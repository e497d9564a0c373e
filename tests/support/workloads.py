"""What runs while something is broken: a program, its data at three parties, how to tell a right result."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from served import Command, Served, world_of

__all__ = ["NAMES", "REGRESSION", "SUM", "Workload", "attempts", "checkpoints", "offers", "regression"]

NAMES = ["alice", "bob", "carol"]


@dataclass(frozen=True)
class Workload:
    """A program of the catalogue, as `privity run` takes it. every: steps between checkpoints, 0 for none."""

    program: str
    offer: str
    parameter: str
    results: tuple[str, ...]
    settings: tuple[str, ...] = ()
    every: int = 0
    names: tuple[str, ...] = field(default=tuple(NAMES))

    @property
    def words(self) -> list[str]:
        """Its settings, as words of the command line."""
        return [
            *(w for setting in self.settings for w in ("--set", setting)),
            *(["--checkpoint-every", str(self.every)] if self.every else []),
        ]

    def served(self, world: Served) -> Command:
        """Run by the parties of a cluster."""
        return world.run(self.program, *self.words, offer=self.offer, parameter=self.parameter)

    def local(self, folder: Path, state: Path, mark: str) -> Command:
        """Run by the local launcher."""
        inputs = [w for n in self.names for w in ("--input", f"{self.parameter}={n}:{n}-{self.offer}.csv")]
        return Command(folder, "run", ["run", self.program, *inputs, *self.words, "--state", state, "--json"], mark)

    def numbers(self, answer: Any) -> np.ndarray:
        """The results of a run, in a row."""
        return np.concatenate([np.ravel(np.asarray(answer["results"][name], dtype=float)) for name in self.results])


SUM = Workload("secure-sum", "values", "values", ("sum",))


def regression(steps: int = 60, every: int = 5) -> Workload:
    """Some three rounds a step."""
    settings = ("label=y", "solver=sgd", f"steps={steps}")
    return Workload("logistic-regression", "table", "data", ("coef", "intercept"), settings, every)


REGRESSION = regression()


def offers(names: list[str] = NAMES, rows: int = 20) -> dict[str, dict[str, str]]:
    """A column of numbers and a table for each party: {party: {name: CSV}}."""
    rng = np.random.default_rng(1)
    found = {}
    for number, name in enumerate(names, start=1):
        X = rng.normal(size=(rows, 3))
        label = np.where(X @ [2.0, -1.0, 0.5] + rng.normal(size=rows) * 0.5 > 0, "yes", "no")
        lines = [",".join([*(f"{v:.4f}" for v in row), y]) for row, y in zip(X, label, strict=True)]
        found[name] = {
            "values": "v\n" + "".join(f"{number * k}\n" for k in (1, 2, 3)),
            "table": "a,b,c,y\n" + "\n".join(lines) + "\n",
        }
    return found


def counted(table: str) -> Callable[[Path], int]:
    """How many rows of a table the ledgers below a directory have, read from outside while they are written."""

    def count(root: Path) -> int:
        total = 0
        for home in world_of(root):
            with closing(sqlite3.connect(f"file:{home / 'ledger.sqlite'}?mode=ro", uri=True, timeout=5)) as ledger:
                try:
                    total += ledger.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                except sqlite3.OperationalError:
                    continue  # its tables are being made
        return total

    return count


attempts = counted("attempts")
checkpoints = counted("checkpoints")


def moment(seconds: float) -> Callable[[], bool]:
    """True from some seconds on."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end
