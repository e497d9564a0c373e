"""How time and bytes grow with elements, parties and steps: one line a point, as data for plots."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from measure.ours import measured

if TYPE_CHECKING:
    from workloads import Data, Workload

__all__ = ["ELEMENTS", "OF_ELEMENTS", "PARTIES", "STEPS", "growth", "sized"]

ELEMENTS = tuple(10**k for k in range(3, 8))
PARTIES = (2, 3, 4, 6, 8, 12, 16)
STEPS = (10, 100, 1000, 10_000)
OF_ELEMENTS = ("mul-1e5", "less-1e4", "sum-1e6", "sigmoid-1e5")
_OF_PARTIES = ("mul-1e5", "less-1e4", "sum-1e6", "logreg-breast")
_OF_STEPS = {"chain-1000": "times", "logreg-10000x100": "steps"}
_ENOUGH = 20.0  # seconds: the next point of a line that took so long is left out


def growth(workloads: Mapping[str, Workload], repeat: int, elements: tuple[int, ...] = ELEMENTS) -> Iterator[Any]:
    """Every point of every line. A line ends where a run fails or takes more than 20 seconds."""
    for name in OF_ELEMENTS:
        yield from _line("elements", elements, workloads[name], repeat, sized)
    for name in _OF_PARTIES:
        yield from _line("parties", PARTIES, workloads[name], repeat, lambda workload, n: replace(workload, parties=n))
    for name in _OF_STEPS:
        yield from _line("steps", STEPS, workloads[name], repeat, _stepped)


def _line(
    what: str, points: tuple[int, ...], workload: Workload, repeat: int, at: Callable[[Workload, int], Workload]
) -> Iterator[dict[str, Any]]:
    for point in points:
        there = at(workload, point)
        found = measured(there, there.parties, repeat)
        yield {"growth": what, what: point} | found
        if "failed" in found or found["total_seconds"] > _ENOUGH:
            return


def sized(workload: Workload, elements: int) -> Workload:
    """The same with so many elements: its data again and again, or the first of them."""

    def make(n: int) -> Data:
        return [np.resize(values, elements) for values in workload.make(n)]

    return replace(workload, name=workload.name.partition("-")[0], make=make)


def _stepped(workload: Workload, steps: int) -> Workload:
    """The same with so many steps; the right answer is that of the workload's own number, so none is asked for."""
    settings = workload.settings | {_OF_STEPS[workload.name]: steps}
    return replace(workload, settings=settings, wrong=lambda data, results: 0.0)
