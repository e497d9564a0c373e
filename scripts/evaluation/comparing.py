"""What a program should give, how near it must come, and the verdict on what it gave."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["VERDICTS", "Expected", "Verdict", "exact", "judged", "p_value", "relative"]

_TOLERANCE = 1e-4  # of the natural size
_P_TOLERANCE = 1e-3  # of a p-value itself
_P_LEAST = 1e-12  # below it a p-value need only be below it

# From best to worst. unconverged: it answered, and said that the answer is not final. crashed: it gave neither an
# answer nor a sentence of its own.
VERDICTS = ("right", "refused", "unconverged", "wrong", "crashed")

Take = Callable[[Mapping[str, Any]], Any]


@dataclass(frozen=True)
class Expected:
    """A result by its name. allowed: how far each number may be from the right one. take: where it is not by name."""

    name: str
    right: NDArray[Any]
    allowed: NDArray[Any]
    take: Take | None = None

    def excess(self, results: Mapping[str, Any]) -> tuple[float, str]:
        """The largest error over what is allowed (at most 1 is right), and the number in question."""
        found = self.take(results) if self.take else results.get(self.name)
        got = _numbers(found)
        if got is None or got.shape != self.right.shape:
            return np.inf, f"{self.name}: {_short(found)}, right {_short(self.right)}"
        error = np.abs(got - self.right)
        with np.errstate(divide="ignore", invalid="ignore"):
            over = np.where(error == 0, 0.0, error / self.allowed)
        over = np.where(np.isnan(over), np.inf, over)
        worst = np.unravel_index(int(np.argmax(over)), over.shape) if over.shape else ()
        place = f"[{', '.join(map(str, worst))}]" if worst else ""
        return float(over[worst]), f"{self.name}{place}: {got[worst]:.9g}, right {self.right[worst]:.9g}"


def relative(name: str, right: Any, size: Any, take: Take | None = None) -> Expected:
    """Right to 1e-4 of a natural size."""
    values = np.asarray(right, dtype=float)
    return Expected(name, values, np.broadcast_to(np.abs(size) * _TOLERANCE, values.shape).astype(float), take)


def exact(name: str, right: Any, take: Take | None = None) -> Expected:
    """A whole number that may not be another."""
    values = np.asarray(right, dtype=float)
    return Expected(name, values, np.zeros(values.shape), take)


def p_value(name: str, right: float) -> Expected:
    """Right to 1e-3 of itself, down to 1e-12."""
    allowed = _P_TOLERANCE * right if right >= _P_LEAST else _P_LEAST
    return Expected(name, np.asarray(float(right)), np.asarray(allowed))


def _numbers(found: Any) -> NDArray[np.float64] | None:
    try:
        return np.asarray(found, dtype=float)
    except (TypeError, ValueError):
        return None


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else f"{text[:57]}…"


@dataclass(frozen=True)
class Verdict:
    """right, refused, unconverged, wrong or crashed; why; and the largest error over what is allowed."""

    verdict: str
    said: str = ""
    excess: float | None = None


def judged(expected: Sequence[Expected], results: Mapping[str, Any]) -> Verdict:
    """The verdict on an answer."""
    excess, said = max((e.excess(results) for e in expected), key=lambda found: found[0])
    if excess <= 1:
        return Verdict("right", said, excess)
    return Verdict("wrong" if results.get("converged", True) else "unconverged", said, excess)
