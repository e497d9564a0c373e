"""Suites: the rules behind the abstract ops of programs, and what a rule asks of its operands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mpc.demand import Demands
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


def rule_block(e: Equation, suite: Suite, bits: int, wrapped: Sequence[bool] = ()) -> Block | None:
    """The rule for a surface equation as a block of lowered equations; None where the op is linear.

    wrapped: for each operand, whether it is there as four terms.
    """
    if e.op == "call":
        return e.body
    rule = _rule(e, suite)
    return rule.block([v.type.shape for v in e.inputs], _rule_params(e, bits), bits, wrapped) if rule else None


def _rule(e: Equation, suite: Suite) -> Rule | None:
    secrets = sum(v.type.kind is Kind.SECRET for v in e.inputs)
    if e.op not in _RULES or (e.op in ("mul", "matmul") and secrets < 2):
        return None
    name = _NAMES.get(e.op, e.op)
    if name not in suite.rules:
        raise ProgramError(f"suite {suite.name} has no rule for {name}", e.where)
    return suite.rules[name]


def _rule_params(e: Equation, bits: int) -> dict[str, Any]:
    """What a rule is told of the surface equation: plain integers."""
    p = e.params
    if e.op in ("truncate", "negative", "zero", "below"):
        return dict(p)
    if e.op == "sigmoid":
        keys = ("coefficients", "cbits", "p", "q", "half")
        return {**{k: p[k] for k in keys}, "shift": bits - p["scale"] - p["period"]}
    return {}


def demands(block: Block, suite: Suite, bits: int) -> Demands:
    """What the rule of each equation asks of its operands, and gives."""
    found = Demands({}, {}, set())
    for e in _surface(block):
        rule = rule_block(e, suite, bits) if suite.memoise else None
        if rule is None:
            continue
        wanted = {v for inner in rule.equations if inner.op == "masked" for v in inner.inputs}
        found.terms[e] = _terms(e, suite, bits)
        found.wires[e] = {i for i, v in enumerate(rule.params) if v in wanted} - found.terms[e]
        if len(rule.results) > 1:
            found.wrapped.add(e)
    return found


def _terms(e: Equation, suite: Suite, bits: int) -> set[int]:
    """The operands that are taken as terms; one that is spread over a larger result is cheaper opened."""
    rule = _rule(e, suite) if e.op != "call" else None
    taken = rule.taken([v.type.shape for v in e.inputs], _rule_params(e, bits), bits) if rule else frozenset()
    return {i for i in taken if e.inputs[i].type.size == e.output.type.size}


def _surface(block: Block) -> Iterator[Equation]:
    for e in block.equations:
        yield e
        if e.body is not None and e.op != "call":
            yield from _surface(e.body)
