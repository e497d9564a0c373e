"""A computing party of `parties.local` that writes down when it worked and when it waited, or what it was doing.

    profiled.py FOLDER INTERVAL party NAME

It is `python -m parties --child party NAME` with two things around it: every request of the engine and every answer
to it gets its time, and so does every look at the sockets in between; with an INTERVAL above 0 the main thread's stack
is looked at so often, in seconds, while the engine runs. FOLDER gets one file a run. Times, numbers of rounds, places
in the program and in the code stand in it, and no value of anybody's data.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path
from types import FrameType
from typing import Any

__all__ = ["Recorder", "frames_of", "label"]

_ROOT = str(Path(__file__).resolve().parents[2]) + "/"
_OURS = ("mpc", "parties", "protocols")
_OTHERS = ("numpy", "zmq", "cryptography", "numba")


class Recorder:
    """What one process writes down, a file for each run of the engine."""

    def __init__(self, folder: Path, name: str, interval: float) -> None:
        self.folder, self.name, self.interval = folder, name, interval
        self.runs = 0
        self.thread = threading.get_ident()
        self.running = False
        self.requests: list[tuple[str, int, str, float, float]] = []
        self.polls: list[tuple[float, float]] = []
        self.stacks: Counter[str] = Counter()

    def around_engine(self, run_party: Callable[..., Any]) -> Callable[..., Generator[Any, Any, Any]]:
        """The engine, with the times of its requests and of their answers."""

        def watched(*given: Any) -> Generator[Any, Any, Any]:
            clock, engine, answer = time.perf_counter, run_party(*given), None
            self.requests, self.polls, self.stacks = [], [], Counter()
            self._sample(self.interval)
            self.running, began = True, clock()
            try:
                while True:
                    try:
                        request = engine.send(answer)
                    except StopIteration as end:
                        self._write(began, clock())
                        return end.value
                    asked = clock()
                    answer = yield request
                    kind, number = type(request).__name__, getattr(request, "number", 0)
                    self.requests.append((kind, number, request.where, asked, clock()))
            finally:
                self.running = False
                self._sample(0.0)

        return watched

    def around_poll(self, poll: Callable[..., Any]) -> Callable[..., Any]:
        """A look at the sockets, with its beginning and its end."""

        def watched(*given: Any) -> Any:
            began = time.perf_counter()
            happenings = poll(*given)
            if self.running and threading.get_ident() == self.thread:  # signs of life have a mesh and a thread too
                self.polls.append((began, time.perf_counter()))
            return happenings

        return watched

    def _sample(self, interval: float) -> None:
        if self.interval:
            signal.signal(signal.SIGALRM, self._look)
            signal.setitimer(signal.ITIMER_REAL, interval, interval)

    def _look(self, _signal: int, frame: FrameType | None) -> None:
        self.stacks[";".join(frames_of(frame))] += 1

    def _write(self, began: float, ended: float) -> None:
        self._sample(0.0)
        record = {
            "party": self.name,
            "run": self.runs,
            "began": began,
            "ended": ended,
            "requests": self.requests,
            "polls": self.polls,
            "stacks": self.stacks,
        }
        (self.folder / f"{self.name}-{self.runs}.json").write_text(json.dumps(record), encoding="utf-8")
        self.runs += 1


def frames_of(frame: FrameType | None) -> list[str]:
    """A stack from the outside in: our own functions, and of other packages only what is innermost."""
    names: list[str] = []
    while frame is not None:
        name = label(frame.f_code.co_filename, frame.f_code.co_qualname)
        if name and (not names or name.startswith(_OURS)):
            names.append(name)
        frame = frame.f_back
    return names[::-1]


def label(file: str, function: str) -> str:
    """How a function is called in a flame graph; empty if it is of no package that computes or sends."""
    short = function.replace(".<locals>", "")
    inside = file.removeprefix(_ROOT).removesuffix(".py").split("/")
    if file.startswith(_ROOT) and inside[0] in _OURS:
        return f"{'.'.join(inside)}:{short}"
    found = [part for part in file.removesuffix(".py").split("/") if part in _OTHERS]
    return f"{found[0]}:{short}" if found else ""


def main(folder: str, interval: str, *role: str) -> None:
    """Be that party."""
    from parties.early import quiet

    quiet()
    import mpc.engine
    from parties import children
    from parties.mesh import Mesh

    recorder = Recorder(Path(folder), role[-1], float(interval))
    mpc.engine.run_party = recorder.around_engine(mpc.engine.run_party)
    Mesh.poll = recorder.around_poll(Mesh.poll)  # type: ignore[method-assign]
    Mesh.at_once = recorder.around_poll(Mesh.at_once)  # type: ignore[method-assign]
    sys.exit(children.main(role))


if __name__ == "__main__":
    main(*sys.argv[1:])
