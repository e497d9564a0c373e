"""Live progress on standard error: a bar on a terminal, a line now and then in a pipe."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from parties.escaping import printable

__all__ = ["OnProgress", "progress"]

OnProgress = Callable[[str, int, int], None]  # what is going on, how much of it is done, of how much
_PAUSE = 5.0  # seconds between lines in a pipe; short runs print none


@contextmanager
def progress(title: str, stream: TextIO) -> Iterator[OnProgress]:
    """A callback for a run that shows where it stands until the block ends."""
    title = printable(title)
    if not stream.isatty():
        yield _lines(title, stream)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(file=stream), transient=True) as bar:
        task = bar.add_task(f"{title}: starting", total=None)

        def advance(stage: str, done: int, total: int) -> None:
            bar.update(task, description=f"{title}: {stage}", completed=done, total=total or None)

        yield advance


def _lines(title: str, stream: TextIO) -> OnProgress:
    last = time.monotonic()

    def line(stage: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if done and now - last >= _PAUSE:  # nothing done is no progress: whatever takes long may end in a refusal
            last = now
            print(f"privity: {title}: {stage} {done} of {total}", file=stream, flush=True)

    return line
