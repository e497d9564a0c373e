"""What a person waits for before anything is computed: a command from its start to its result, and the compiler."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import protocols
from mpc.errors import MpcError

if TYPE_CHECKING:
    from workloads import Workload

__all__ = ["startup"]

_STEPS = (100, 10_000)


def startup(regression: Workload, repeat: int) -> list[dict[str, Any]]:
    """`privity run secure-sum` on three files of three numbers, and logistic regression made ready in this process."""
    return [_command(repeat), *(_compiled(regression, steps, repeat) for steps in _STEPS)]


def _command(repeat: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="privity-bench-") as folder:
        words = [sys.executable, "-m", "parties", "run", "secure-sum", "--state", str(Path(folder) / "state")]
        for number, party in enumerate(("alice", "bob", "carol")):
            file = Path(folder) / f"{party}.csv"
            file.write_text("value\n" + "".join(f"{number + row}.5\n" for row in range(3)), encoding="utf-8")
            words += ["--input", f"values={party}:{file}"]
        seconds = []
        for _ in range(repeat + 1):
            began = time.perf_counter()
            done = subprocess.run(words, check=False, capture_output=True, text=True)
            seconds.append(time.perf_counter() - began)
            if done.returncode:
                raise MpcError(f"privity run secure-sum failed: {done.stderr.strip()}")
    return {"startup": "privity run secure-sum, three tiny files", "seconds": statistics.median(seconds[1:])}


def _compiled(regression: Workload, steps: int, repeat: int) -> dict[str, Any]:
    """Traced, lowered, checked and priced."""
    data = regression.make(2)
    given = {regression.input: dict(zip(("alice", "bob"), data, strict=True))}
    settings = regression.settings | {"steps": steps}
    seconds = []
    for _ in range(repeat + 1):
        began = time.perf_counter()
        lowered = regression.program.trace(given, ("alice", "bob"), settings).lower(protocols.MASKED)
        lowered.check()
        lowered.cost()
        seconds.append(time.perf_counter() - began)
    return {
        "startup": f"logistic regression of {steps:,} steps: trace, lower, check, price",
        "steps": steps,
        "seconds": statistics.median(seconds[1:]),
        "seconds_first": seconds[0],
    }
