"""Our own workloads: real processes on this machine, a dealer among them, as `parties.local` starts them."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import parties
from mpc.errors import PeerError

if TYPE_CHECKING:
    from workloads import Data, Workload

__all__ = ["FIELDS", "measured", "right"]

FIELDS = (
    "workload", "parties", "online_seconds", "seconds", "input_seconds", "operation_seconds", "preprocessing_seconds",
    "total_seconds", "bytes_sent", "input_bytes", "bytes_after_input", "dealt_bytes", "rounds", "peak_rss_bytes",
    "error", "allowed", "repeat", "seconds_least", "seconds_most", "load",
)  # fmt: skip


def measured(workload: Workload, n: int, repeat: int) -> dict[str, Any]:
    """One line of figures: medians of `repeat` runs after one that warms up, all in one session of its own.

    A session of its own, because a process remembers the most memory it ever had. online_seconds: from the first byte
    of input sharing to the last reveal at the slowest party; of it, input_seconds until all inputs are shared, and
    operation_seconds from then on, which is what a peer's figure holds. `seconds` is another name of online_seconds.
    Bytes and memory are those of the busiest party. error: the largest of any run, the first included.
    A run that fails leaves a line with its sentence, `failed`.
    """
    data = workload.make(n)
    load = os.getloadavg()[0]
    named = {"workload": workload.name, "parties": n}
    try:
        warm, *runs = _runs(workload, data, n, repeat + 1)
    except PeerError as failure:
        return named | {"failed": str(failure), "load": round(load, 2)}
    error = max(float(workload.wrong(data, run.results)) for run in (warm, *runs))
    return named | _figures(runs) | {
        "error": error,
        "allowed": workload.most,
        "repeat": repeat,
        "load": round(load, 2),
    }  # fmt: skip


def right(line: dict[str, Any]) -> bool:
    """Whether every run ended, and gave what it should."""
    return "failed" not in line and bool(line["error"] <= line["allowed"])


def _runs(workload: Workload, data: Data, n: int, count: int) -> Iterator[parties.Run]:
    with parties.local(n) as session:
        given: dict[str, Any] = {workload.input: dict(zip(session.parties, data, strict=True)), **workload.settings}
        for _ in range(count):
            yield session.run(workload.program, **given)


def _figures(runs: Sequence[parties.Run]) -> dict[str, Any]:
    def median(of: str) -> float:
        return float(statistics.median(getattr(run, of) for run in runs))

    last = runs[-1]
    busiest = max(last.bytes_sent, key=lambda party: last.bytes_sent[party])
    online = [run.online_seconds for run in runs]
    return {
        "online_seconds": median("online_seconds"),
        "seconds": median("online_seconds"),
        "input_seconds": median("input_seconds"),
        "operation_seconds": float(statistics.median(run.online_seconds - run.input_seconds for run in runs)),
        "preprocessing_seconds": median("preprocessing_seconds"),
        "total_seconds": median("total_seconds"),
        "bytes_sent": last.bytes_sent[busiest],
        "input_bytes": last.input_bytes[busiest],
        "bytes_after_input": max(last.bytes_sent[p] - last.input_bytes[p] for p in last.bytes_sent),
        "dealt_bytes": max(last.dealt_bytes.values()),
        "rounds": last.rounds,
        "peak_rss_bytes": max(last.peak_rss_bytes.values()),
        "seconds_least": min(online),
        "seconds_most": max(online),
    }
