"""`privity resume`: find a run that was started here, and whoever can go on with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpc.errors import UsageError
from parties.home import Home, StoredRun, state_root

if TYPE_CHECKING:
    from parties.run import Run
    from parties.session import Session

__all__ = ["Again"]


@dataclass(frozen=True)
class Again:
    """A run that this coordinator has begun, and the state root where it is remembered."""

    stored: StoredRun
    root: Path

    @classmethod
    def find(cls, prefix: str, state: Path | None) -> Again:
        """The run whose id begins so, of any cluster or of local runs. Raises UsageError."""
        root = (state or state_root()).absolute()
        runs: dict[str, StoredRun] = {}
        for ledger in sorted(root.glob("*/*/ledger.sqlite")):
            with Home.open(ledger.parent, ledger.parent.name, create=False) as home:
                runs |= {run.run: run for run in home.runs.all() if "parties" in run.more}
        fitting = [run for run in runs.values() if run.run.startswith(prefix.strip().lower())]
        if len(fitting) == 1:
            return cls(fitting[0], root)
        shown = ", ".join(f"{r.run[:10]} ({r.program}, {r.status})" for r in fitting or runs.values())
        if fitting:
            raise UsageError(f"{prefix!r} begins several runs: {shown}; give more digits")
        raise UsageError(f"no run begins with {prefix!r}; {f'known here: {shown}' if shown else 'none is known here'}")

    def run(self, on_progress: Callable[..., None]) -> Run:
        """Go on with it. `total_seconds` counts from here: local processes are started too."""
        began = time.monotonic()
        with self._session() as session:
            done = session.resume(self.stored.run, on_progress=on_progress)
        return replace(done, total_seconds=time.monotonic() - began)

    def _session(self) -> Session:
        from parties.api import connect, local

        more: Any = self.stored.more
        if "cluster" in more:
            return connect(more["cluster"], key=more["key"], state=self.root)
        return local(more["parties"], state=self.root)
