"""On the path of every process that `bench --against` starts: it writes down from where that process takes its code.

Python imports `sitecustomize` before anything else, so the parties and the dealer are witnessed as well. The witness
looks at the first import of each package and then leaves; no run has begun by then.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

_PACKAGES = {"mpc", "parties", "protocols"}


class Witness:
    """A finder that finds nothing, and notes what the next one will."""

    def __init__(self, note: Path) -> None:
        self.note = note
        self.awaited = set(_PACKAGES)

    def find_spec(self, name: str, path: Any = None, _target: Any = None) -> ModuleSpec | None:
        """Write the origin of a package down; the search goes on behind this finder."""
        if name in self.awaited:
            self.awaited.discard(name)
            spec = PathFinder.find_spec(name, path)
            with self.note.open("a", encoding="utf-8") as out:
                out.write(f"{spec.origin if spec else None}\n")
            if not self.awaited:
                sys.meta_path.remove(self)  # type: ignore[arg-type]
        return None


if "PRIVITY_BENCH_WITNESS" in os.environ:
    sys.meta_path.insert(0, Witness(Path(os.environ["PRIVITY_BENCH_WITNESS"]) / str(os.getpid())))  # type: ignore[arg-type]
