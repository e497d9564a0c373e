"""A lowered program on true values instead of shares: what it computes if nobody cheats, for given masks.

`plain` uses it for rules that a program calls, the checker to see that results do not depend on masks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mpc.ir import Block, Equation
from mpc.kernels import KERNELS
from mpc.ring import Domains, Ring

__all__ = ["evaluate_block", "no_masks"]

Masks = Callable[[tuple[int, ...]], Any]


def no_masks(shape: tuple[int, ...]) -> Any:
    """Every mask zero: a rule's own meaning."""
    return np.zeros(shape, dtype=np.uint64)


def evaluate_block(ring: Ring, block: Block, operands: list[Any], masks: Masks) -> list[Any]:
    """A rule's block on the true values of its parameters."""
    values: dict[int, Any] = {p.number: x for p, x in zip(block.params, operands, strict=True)}
    domains = Domains(ring.bits)
    for e in block.equations:
        for v, value in zip(e.outputs, _equation(domains, e, values, masks), strict=True):
            values[v.number] = value
    return [values[v.number] for v in block.results]


def _equation(domains: Domains, e: Equation, values: dict[int, Any], masks: Masks) -> tuple[Any, ...]:
    domain = domains[e.outputs[0].type.bits]
    inputs = [values[v.number] for v in e.inputs]
    if e.op in ("mask", "owner_mask"):
        return (domain.reduce(masks(e.output.type.shape)),)
    if e.op in ("deal", "cast"):
        return (inputs[0],)
    if e.op == "open":
        return (domain.low(inputs[0], e.params["width"]),)
    if e.op in ("masked", "masked_low"):
        lam = domain.reduce(masks(e.outputs[1].type.shape))
        return domain.add(inputs[0], lam), lam
    result = KERNELS[e.op](domain, e.params, *inputs)
    return result if len(e.outputs) > 1 else (np.asarray(result),)
