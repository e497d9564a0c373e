"""A sine series and what it is multiplied by, as one kernel: none of its terms is ever an array.

What a rule writes as `(sines * deal(cos) − cosines * deal(sin)).sum(axis=0)` is two products and a difference of K
values an element; between them they would go through memory five times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mpc import native
from mpc.ir import Equation
from mpc.kernels import angle_of
from mpc.ring import Ring

__all__ = ["SineSum", "sine_sums"]


@dataclass(frozen=True, slots=True)
class SineSum:
    """One that was found. steps: the equations that it replaces. cosines, sines: numbers of what was dealt."""

    series: Equation
    cosines: int
    sines: int
    steps: frozenset[Equation]

    @property
    def takes(self) -> bool:
        """Whether there is a compiled kernel for it in this process."""
        return native.has_sine_sum(*self._terms)

    @property
    def _terms(self) -> tuple[tuple[int, ...], tuple[int, ...], int, int]:
        p = self.series.params
        return tuple(p["odd"]), tuple(p["coefficients"]), p["cbits"], p["bits"]

    def bound(self, ring: Ring) -> Callable[[Any, Any, Any], Any]:
        """The kernel: of x and what was dealt, Σ_j sines_j(x)·[cos]_j − cosines_j(x)·[sin]_j, elementwise."""
        kernel, p = native.sine_sum(*self._terms), self.series.params
        return lambda x, cosines, sines: kernel(angle_of(ring, p, x), cosines, sines)


def sine_sums(equations: Sequence[Equation], inside: set[int]) -> dict[Equation, SineSum]:
    """By the equation that gives each sum. inside: the numbers of values that nobody else reads."""
    made = {v.number: e for e in equations for v in e.outputs}
    uses = Counter(v.number for e in equations for v in e.inputs)
    found: dict[Equation, SineSum] = {}
    for e in equations:
        one = _matched(e, made)
        if one is None:
            continue
        between = {v.number for step in one.steps for v in step.outputs}
        if between <= inside and all(uses[number] == 1 for number in between):
            found[e] = one
    return found


def _matched(e: Equation, made: dict[int, Equation]) -> SineSum | None:
    if e.op != "sum" or list(e.params["axes"]) != [0] or e.params["keepdims"]:
        return None
    difference = made.get(e.inputs[0].number)
    if difference is None or difference.op != "sub":
        return None
    products, pairs = [], []
    for at, v in enumerate(difference.inputs):
        product = made.get(v.number)
        if product is None or product.op != "mul":
            return None
        factor, dealt = product.inputs
        series = made.get(factor.number)
        if series is None or series.op != "series" or series.outputs[at] is not factor:
            return None
        if dealt.type.shape != factor.type.shape or dealt.type.bits:
            return None
        products.append(product)
        pairs.append((series, dealt.number))
    (series, cosines), (other, sines) = pairs
    if series is not other:
        return None
    return SineSum(series, cosines, sines, frozenset({difference, series, *products}))
