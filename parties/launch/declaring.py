"""A party's schema file while it serves: what it declares now counts, for every question and run from then on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mpc.errors import UsageError
from parties.declared import Declared
from parties.schema import load_schema
from parties.store import Store, stamp_of

__all__ = ["Declaring"]

_SECONDS = 0.25  # between two looks at the file


class Declaring:
    """Read at once, and by `look` again when it has changed. Raises UsageError for a file that is wrong at the start.

    tell: a line for the owner. store: the data that it is about.
    """

    def __init__(self, path: Path | None, tell: Callable[[str], None], store: Store) -> None:
        self._path = path
        self._tell = tell
        self._store = store
        self._stamp = stamp_of(path) if path is not None else ()
        self._next = 0.0
        self.declared = load_schema(path) if path is not None else Declared()
        self._doubt()

    def _doubt(self) -> None:
        """Say what of it will not do for the data."""
        for text in self.declared.doubts(self._store.values()):
            self._tell(f"{self._path}: {text}")

    def look(self, use: Callable[[Declared], None]) -> None:
        """Whether it has changed, a few times a second. While it is wrong no values are told, and the floor stays.

        use: takes what is declared from here on.
        """
        now = time.monotonic()
        if self._path is None or now < self._next:
            return
        self._next = now + _SECONDS
        stamp = stamp_of(self._path)
        if stamp == self._stamp and time.time_ns() - max(stamp[-1:], default=0) > 2 * _SECONDS * 1e9:
            return
        self._stamp = stamp
        try:
            found, what = load_schema(self._path), "counts from here on"
        except UsageError as wrong:
            found, what = (
                replace(Declared(), minimum=self.declared.minimum),
                f"no values are told until it is right: {wrong}",
            )
        if found != self.declared:
            self.declared = found
            self._tell(f"the schema file {self._path} has changed: {what}")
            self._doubt()
            use(found)
