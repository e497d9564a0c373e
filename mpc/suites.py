"""Suites: the rules behind the abstract ops of programs, and what a rule asks of its operands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mpc.errors import ProgramError, UsageError
from mpc.ir import Block, Equation, Kind
from mpc.rules import Rule

__all__ = ["Suite", "demands", "find_suite", "rule_block"]

_RULES = frozenset({"mul", "matmul", "truncate", "sigmoid", "negative", "zero", "below"})
_NAMES = {"mul": "multiply"}


@dataclass(frozen=True)
class Suite:
    """The rules behind the abstract ops, and whether a value keeps its mask (`memoise`) or gets a new one each time."""

    name: str
    rules: Mapping[str, Rule]
    memoise: bool


def find_suite(suite: Suite | str) -> Suite:
    """A suite, or the one of that name that an installed package announces (entry points `privity.suites`)."""
    if isinstance(suite, Suite):
        return suite
    from importlib.metadata import entry_points  # with all that reads packages' metadata: actors know their suites

    found = {point.name: point for point in entry_points(group="privity.suites")}
    if suite not in found:
        listed = ", ".join(sorted(found)) or "none is installed"
        raise UsageError(f"there is no suite {suite!r} ({listed}); pass suite=protocols.MASKED")
    loaded = found[suite].load()
    assert isinstance(loaded, Suite)
    return loaded


def rule_block(e: Equation, suite: Suite, bits: int) -> Block | None:
    """The rule for a surface equation as a block of lowered equations; None where the op is linear."""
    if e.op == "call":
        return e.body
    secrets = sum(v.type.kind is Kind.SECRET for v in e.inputs)
    if e.op not in _RULES or (e.op in ("mul", "matmul") and secrets < 2):
        return None
    name = _NAMES.get(e.op, e.op)
    if name not in suite.rules:
        raise ProgramError(f"suite {suite.name} has no rule for {name}", e.where)
    return suite.rules[name].block([v.type.shape for v in e.inputs], _rule_params(e, bits), bits)


def _rule_params(e: Equation, bits: int) -> dict[str, Any]:
    """What a rule is told of the surface equation: plain integers."""
    p = e.params
    if e.op in ("truncate", "negative", "zero", "below"):
        return dict(p)
    if e.op == "sigmoid":
        keys = ("coefficients", "cbits", "p", "q", "half")
        return {**{k: p[k] for k in keys}, "shift": bits - p["scale"] - p["period"]}
    return {}


def demands(block: Block, suite: Suite, bits: int) -> dict[Equation, set[int]]:
    """For each equation, the operands that its rule takes as masked wires."""
    found: dict[Equation, set[int]] = {}
    for e in _surface(block):
        rule = rule_block(e, suite, bits) if suite.memoise else None
        if rule is not None:
            wanted = {v for inner in rule.equations if inner.op == "masked" for v in inner.inputs}
            found[e] = {i for i, v in enumerate(rule.params) if v in wanted}
    return found


def _surface(block: Block) -> Iterator[Equation]:
    for e in block.equations:
        yield e
        if e.body is not None and e.op != "call":
            yield from _surface(e.body)
