"""`-o DIR`: what a run leaves behind for its owner."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpc.errors import UsageError
from parties.escaping import safe_json

__all__ = ["Output"]

_FILES = ("run.json", "results.json")


@dataclass(frozen=True)
class Output:
    """A directory for one run: `run.json` as --json prints it, `results.json` with the results (the model) alone."""

    directory: Path

    @classmethod
    def prepare(cls, directory: Path, force: bool) -> Output:
        """Refuse before anything runs if results would be overwritten or cannot be written."""
        for name in _FILES:
            if not force and (directory / name).exists():
                raise UsageError(f"{directory / name} exists already; name another directory, or say --force")
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{directory}: cannot be made ({error.strerror})") from None
        if not os.access(directory, os.W_OK):
            raise UsageError(f"{directory}: cannot be written to; check its permissions")
        return cls(directory)

    def write(self, answer: Mapping[str, Any]) -> None:
        """Write both files, each whole or not at all."""
        for name, content in zip(_FILES, (answer, answer["results"]), strict=True):
            partial = self.directory / f".{name}.partial"
            partial.write_text(safe_json(content, indent=2) + "\n", encoding="utf-8")
            partial.replace(self.directory / name)
