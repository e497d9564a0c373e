"""One side of `bench --against`: a process that runs workloads of one tree, in turn with the other side.

    side.py    # in the tree's folder, with the tree and its scripts first on the path

Each line of standard input is an order, each line of standard output its answer, both JSON. The first line says which
workloads the tree has, and for how many parties each is meant.

    {"open": NAME, "parties": N}  a session of N parties, and a run that warms it up
    {"run": true}                 one run: its total_seconds and online_seconds
    {"close": true}               the end of the session: the largest error of its runs, and the allowed one

An order that fails is answered with `failed`, a sentence. The process ends with its standard input. Of the tree it uses
only what older trees have as well: `parties.local`, `Session.run`, and scripts/workloads.py.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack
from typing import Any

from workloads import WORKLOADS

import parties

Answer = dict[str, Any]


class Bench:
    """The session that is open, and what its runs gave."""

    def __init__(self) -> None:
        self.stack = ExitStack()
        self.data: dict[tuple[str, int], Any] = {}
        self.workload: Any = None
        self.parties = 0
        self.session: Any = None
        self.results: list[Any] = []

    def do(self, order: dict[str, Any]) -> Answer:
        """The answer to an order."""
        if "open" in order:
            return self.open(order["open"], order["parties"])
        return self.run() if "run" in order else self.close()

    def open(self, name: str, n: int) -> Answer:
        """Start the parties and run once."""
        self.workload, self.parties, self.results = WORKLOADS[name], n, []
        if (name, n) not in self.data:
            self.data = {(name, n): self.workload.make(n)}  # of one workload at a time: some are large
        self.session = self.stack.enter_context(parties.local(n))
        return self.run()

    def run(self) -> Answer:
        """Run once more."""
        values = dict(zip(self.session.parties, self.data[self.workload.name, self.parties], strict=True))
        run = self.session.run(self.workload.program, **{self.workload.input: values}, **self.workload.settings)
        self.results.append(run.results)
        return {"total_seconds": run.total_seconds, "online_seconds": run.online_seconds}

    def close(self) -> Answer:
        """Stop the parties, and only then look at the results, so that no run waits for that."""
        self.stack.close()
        if not self.results:
            return {"error": 0.0, "allowed": 0.0}
        data = self.data[self.workload.name, self.parties]
        error = max(float(self.workload.wrong(data, results)) for results in self.results)
        return {"error": error, "allowed": self.workload.most}


def main() -> None:
    """Answer orders until there are no more."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # whatever else is printed is no answer
    print(json.dumps({"workloads": {w.name: w.parties for w in WORKLOADS.values()}}), file=answers)
    bench = Bench()
    try:
        for line in sys.stdin:
            try:
                answer = bench.do(json.loads(line))
            except Exception as failure:  # noqa: BLE001 - of an older tree any: it is told, with its sentence
                bench.results.clear()
                answer = {"failed": str(failure) or type(failure).__name__}
            print(json.dumps(answer), file=answers)
    finally:
        bench.stack.close()


if __name__ == "__main__":
    main()
