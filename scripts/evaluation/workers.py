"""Cells side by side, each worker a process: what ends it, or takes too long, is a verdict on one cell only."""

from __future__ import annotations

import json
import queue
import select
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from evaluation.cells import Cell, outcome

__all__ = ["outcomes", "serve"]

SECONDS = 900.0
_SCRIPT = Path(__file__).resolve().parents[1] / "catalogue_grid.py"
_END = "end"


def serve(how: str | None, seed: int) -> None:
    """Be a worker: a cell's name on each line of standard input, its outcome on each line of standard output."""
    for line in sys.stdin:
        print(json.dumps(outcome(Cell.parse(line.strip()), how, seed)), flush=True)


def outcomes(cells: Sequence[Cell], jobs: int, how: str | None, seed: int) -> Iterator[dict[str, Any]]:
    """What came of each cell, as soon as it is there. Nothing goes on when the iterator is closed."""
    waiting: queue.SimpleQueue[Cell] = queue.SimpleQueue()
    found: queue.SimpleQueue[dict[str, Any] | str] = queue.SimpleQueue()
    for cell in cells:
        waiting.put(cell)
    command = [sys.executable, str(_SCRIPT), "--worker", "--seed", str(seed), *(["--how", how] if how else [])]
    workers = [_Worker(command) for _ in range(min(jobs, len(cells)))]
    threads = [threading.Thread(target=w.work, args=(waiting, found), daemon=True) for w in workers]
    try:
        for thread in threads:
            thread.start()
        working = len(threads)
        while working:
            came = found.get()
            if isinstance(came, str):
                working -= 1
            else:
                yield came
    finally:
        for worker in workers:
            worker.stop()
        for thread in threads:
            thread.join()


class _Worker:
    def __init__(self, command: list[str]) -> None:
        self.command = command
        self.process: subprocess.Popen[bytes] | None = None
        self.stopped = False
        self.lock = threading.Lock()

    def work(self, waiting: queue.SimpleQueue[Cell], found: queue.SimpleQueue[dict[str, Any] | str]) -> None:
        """Take cells until there are none."""
        with suppress(queue.Empty):
            while not self.stopped:
                cell = waiting.get_nowait()
                came = self.ask(cell)
                if not self.stopped:
                    found.put(came)
        self.stop()
        found.put(_END)

    def ask(self, cell: Cell) -> dict[str, Any]:
        """What came of a cell."""
        process = self.started()
        if process is None:
            return {}
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(OSError):
            process.stdin.write(f"{cell}\n".encode())
        ready = select.select([process.stdout], [], [], SECONDS)[0]
        line = process.stdout.readline() if ready else b""
        if line:
            came: dict[str, Any] = json.loads(line)
            return came
        why = f"the process ended with {process.wait()}" if ready else f"no answer within {SECONDS:.0f} s"
        self.kill()
        return {"cell": str(cell), "how": "compiled", "verdict": "crashed", "said": why, "excess": None}

    def started(self) -> subprocess.Popen[bytes] | None:
        """The process, a new one if there is none."""
        with self.lock:
            if self.process is None and not self.stopped:
                self.process = subprocess.Popen(
                    self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
                    start_new_session=True,
                )  # fmt: skip
            return self.process

    def stop(self) -> None:
        """For good."""
        self.stopped = True
        self.kill()

    def kill(self) -> None:
        """This process; the parties of a real cell end with their launcher."""
        with self.lock:
            process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()
