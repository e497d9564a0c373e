"""A program as data: types, variables, equations, blocks.

Two levels share these classes. A *surface* program speaks of tables, private, secret and public numbers with a scale,
a unit and a range; a *lowered* program speaks of ring integers by binding time: const (all know it, the dealer too),
public (opened: the parties know it, the dealer never), mask (the dealer knows it, the parties hold shares), dealer (a
function of masks that nobody else holds), share (nobody knows it), private (its owner).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fractions import Fraction
from math import inf, prod
from typing import Any

__all__ = ["SAVED", "Block", "Equation", "Kind", "Type", "Var", "spoken", "walk"]

SAVED = frozenset({"checkpoint", "keep"})  # ops that put shares away and give nothing


class Kind(StrEnum):
    """When, and to whom, a value becomes known."""

    CONST = "const"
    PUBLIC = "public"
    MASK = "mask"
    DEALER = "dealer"
    SHARE = "share"
    PRIVATE = "private"
    TABLE = "table"
    SECRET = "secret"
    CLEAR = "clear"


@dataclass(frozen=True, slots=True)
class Type:
    """Kind and shape, and on the surface what the integers mean: real value = integer · 2^−scale · unit.

    lo, hi: the proven or stated range of the real value. noise: the expected size of an error that depends on masks,
    beyond declared rounding (docs/rules.md, 8). owner: of private values, tables, and masks that their owner knows.
    bits: 0 for numbers, which add up in the ring; else words of so many bits, which add up by exclusive or.
    """

    kind: Kind
    shape: tuple[int, ...] = ()
    scale: int = 0
    unit: Fraction = Fraction(1)
    lo: float = -inf
    hi: float = inf
    noise: float = 0.0
    owner: str = ""
    bits: int = 0

    @property
    def size(self) -> int:
        """How many elements."""
        return prod(self.shape)

    @property
    def bound(self) -> float:
        """The largest magnitude of the real value."""
        return max(abs(self.lo), abs(self.hi))

    def but(self, **changes: Any) -> Type:
        """The same type with some fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True, slots=True, eq=False)
class Var:
    """One value of a program; its number is its name in the text."""

    number: int
    type: Type


@dataclass(slots=True, eq=False)
class Equation:
    """outputs = op(inputs; params); `body` for the ops that hold a nested block.

    where: the source line, on the surface with what the author wrote there: `train.py:17 (multiply)`; lowered, also the
    line of the rule that it went through: `train.py:17 (multiply) via beaver.py:30`.
    """

    op: str
    inputs: tuple[Var, ...]
    outputs: tuple[Var, ...]
    params: dict[str, Any] = field(default_factory=dict)
    where: str = ""
    body: Block | None = None

    @property
    def line(self) -> str:
        """The author's source line alone; `-` if there is none."""
        return self.where.partition(" ")[0] or "-"

    @property
    def output(self) -> Var:
        """The only output."""
        (var,) = self.outputs
        return var


def spoken(e: Equation) -> str:
    """A lowered equation that needs others, for people: what the author wrote, and where. `multiply, train.py:17`."""
    rest = e.where.partition(" ")[2]
    written = rest[1:].partition(")")[0] if rest.startswith("(") else "opening"
    return f"{_SPOKEN.get(e.op, written)}, {e.line}"


_SPOKEN = {"send": "input", "reveal": "reveal"}


@dataclass(slots=True, eq=False)
class Block:
    """Equations in order, with parameters and results."""

    params: tuple[Var, ...] = ()
    equations: list[Equation] = field(default_factory=list)
    results: tuple[Var, ...] = ()


def walk(block: Block) -> Iterator[Equation]:
    """Every equation of a block and of the blocks inside it, in program order."""
    for equation in block.equations:
        yield equation
        if equation.body is not None:
            yield from walk(equation.body)
