"""What an owner does alone with its data, and anyone with revealed numbers: float64, never shared, never sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpc.digits import digits_of, number_of
from mpc.errors import InputError
from mpc.fixed import decode, encode, exponents, inside, stretched
from mpc.ir import Block, Equation, Kind, Var, walk
from mpc.kernels import KERNELS
from mpc.known import bounds
from mpc.ring import Reals, Ring
from mpc.table import Table
from mpc.tails import chi_square_tail, student_tail

__all__ = ["FLOAT_KINDS", "Locator", "held", "own", "shared_integers"]

FLOAT_KINDS = frozenset({Kind.PRIVATE, Kind.CLEAR, Kind.TABLE})
_REALS = Reals()
_MATH: dict[str, Callable[..., Any]] = {
    "div": lambda _, x, y: np.divide(x, y),
    "sqrt": lambda _, x: np.sqrt(x),
    "maximum": lambda _, x, y: np.maximum(x, y),
    "nonzero": lambda _, x: np.where(x == 0, 1.0, x),
    "clip": lambda p, x: np.clip(x, p["lo"], p["hi"]),
    "rint": lambda _, x: np.rint(x),
    "undigits": number_of,
    "chi_square_tail": lambda _, x, freedom: chi_square_tail(x, freedom),
    "student_tail": lambda _, t, freedom: student_tail(t, freedom),
    "truth": lambda _, x: x != 0,
    "withheld": lambda _, x, shown: np.where(shown != 0, x, np.nan),
}
_LOCATED: dict[str, Callable[..., Any]] = {
    "within": lambda p, x, at: inside(x, bounds(p["lo"], -np.inf), bounds(p["hi"], np.inf), at),
    "exponent": lambda p, x, at: exponents(x, tuple(p["axes"]), at),
    "ldexp": lambda _, x, e, at: stretched(x, e, at),
    "digits": digits_of,
}

Where = Callable[[tuple[int, ...]], str]


def own(e: Equation, values: list[Any], inputs: dict[str, Any], ring: Ring, locate: Callable[[Var], Where]) -> Any:
    """The value of one float-level equation. Raises InputError with row and column, without the owner's name."""
    p = e.params
    match e.op:
        case "input":
            return _input(p, inputs)
        case "columns":
            return values[0].numbers(p["names"])
        case "labels":
            return values[0].labels(p["names"][0], p["classes"])
        case "within" | "exponent" | "ldexp" | "digits":
            return _LOCATED[e.op](p, *values, locate(e.inputs[-1]))
        case "number":
            return np.asarray(p["value"], dtype=np.float64).reshape(p["shape"])
        case "real":
            return decode(ring, values[0], p["scale"], Fraction(p["unit"]))
    with np.errstate(all="ignore"):
        if e.op in _MATH:
            return np.asarray(_MATH[e.op](p, *values))
        return np.asarray(KERNELS[e.op](_REALS, p, *values))


def _input(p: dict[str, Any], inputs: dict[str, Any]) -> Any:
    name, wanted = p["name"], tuple(p["shape"])
    if name not in inputs:
        raise InputError(f"input {name!r} is missing")
    value = inputs[name]
    if p["columns"] is not None:
        if not isinstance(value, Table):
            raise InputError(f"input {name!r} must be a table with columns {', '.join(p['columns'])}")
        if list(value.columns) != p["columns"] or value.rows != wanted[0]:
            raise InputError(f"input {name!r} ({value.source}) is not the table that the program was made for")
        return value
    array = value.numbers(value.columns) if isinstance(value, Table) else np.asarray(value, dtype=np.float64)
    if array.shape != wanted:
        raise InputError(f"input {name!r} has shape {array.shape}, the program was made for {wanted}")
    return array


def held(kept: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> NDArray[np.uint64]:
    """What an earlier run has put away under a name. Raises InputError unless it is words of this shape."""
    value = kept.get(name)
    if value is None:
        raise InputError(f"nothing is kept under the name {name!r}")
    if value.dtype != np.uint64 or value.shape != shape:
        raise InputError(f"what is kept as {name!r} has shape {value.shape}, the program was made for {shape}")
    return np.asarray(value)


class Locator:
    """Where an element of a shared value stands in its owner's file, for refusals."""

    def __init__(self, block: Block) -> None:
        self._by_output: dict[Var, Equation] = {v: e for e in walk(block) for v in e.outputs}

    def at(self, var: Var, values: dict[int, Any]) -> Where:
        """A function from an element's index to words."""
        e = self._by_output.get(var)
        while e is not None and e.op not in ("columns", "labels", "input"):
            rows = [v for v in e.inputs if v.type.kind is Kind.PRIVATE and v.type.shape[:1] == var.type.shape[:1]]
            e = self._by_output.get(rows[0]) if rows else None
        if e is None:
            return lambda index: f"a value computed from the input (element {index})"
        if e.op == "input":
            name = e.params["name"]
            return lambda index: f"input {name!r}, element {tuple(int(i) for i in index)}"
        table, names = values[e.inputs[0].number], e.params["names"]

        def cell(index: tuple[int, ...]) -> str:
            column = int(index[1]) if len(index) > 1 and int(index[1]) < len(names) else 0
            return str(table.at(int(index[0]), names[column]) if index else table.source)

        return cell


def shared_integers(e: Equation, x: Any, ring: Ring, at: Where) -> NDArray[np.uint64]:
    """The ring integers of a private value that is about to be shared."""
    p = e.params
    return encode(ring, x, p["scale"], p["lo"], p["hi"], p["clip"], at)
