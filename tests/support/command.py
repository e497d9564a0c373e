"""How tests run the command: as people do, in a process of its own, and then look for what it left running."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MARK = "PRIVITY_TEST_MARK"


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def refusal(self) -> str:
        """The one line of a refusal."""
        lines = [line for line in self.err.splitlines() if not re.fullmatch(r"privity: .*: round \d+ of \d+", line)]
        assert len(lines) == 1, self.err
        assert lines[0].startswith("privity: ")
        assert "Traceback" not in self.err
        return lines[0]


def privity(*arguments: object, cwd: Path | None = None, timeout: float = 120, **more: str) -> Answer:
    """Run `privity …`; fails if it leaves a process behind."""
    mark = uuid.uuid4().hex
    environment = {**os.environ, MARK: mark, "NO_COLOR": "1", **more}
    done = subprocess.run(
        [sys.executable, "-m", "parties", *map(str, arguments)],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert not still_running(mark), "processes are left"
    return Answer(done.returncode, done.stdout, done.stderr)


def still_running(mark: str, patience: float = 2.0) -> list[int]:
    """Processes that inherited a mark and have not gone within `patience` seconds."""
    deadline = time.monotonic() + patience
    while (found := marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def marked(mark: str) -> list[int]:
    """Process ids whose environment has the mark.

    Only root reads the environment of a process that is not dumpable, as parties are; for anybody else, one of those
    that has lost its parent counts, whosever it is.
    """
    wanted = f"{MARK}={mark}".encode()
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _is_marked(entry, wanted)]


def _is_marked(process: Path, wanted: bytes) -> bool:
    try:
        return wanted in (process / "environ").read_bytes().split(b"\0")
    except PermissionError:
        return _is_orphaned_party(process)
    except OSError:
        return False


def _is_orphaned_party(process: Path) -> bool:
    try:
        parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
        return b"parties\0--child" in (process / "cmdline").read_bytes() and parent == "1"
    except OSError:
        return False
