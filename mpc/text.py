"""The one canonical form of a program: text that a person reads, that parses back to the same, and that is hashed.

    %3 = share(%2) {"scale":16} : secret[190] scale 16 in -120.0..120.0 @ age.py:7 (share)

One equation a line; nested blocks are indented between `{` and `}`. Parameters are JSON with sorted keys.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from fractions import Fraction
from math import inf
from typing import Any

from mpc.errors import ProgramError
from mpc.ir import Block, Equation, Kind, Type, Var

__all__ = ["digest", "parse_block", "print_block"]


def read_json(text: str) -> Any:
    """The inverse of `compact`: as `json.loads`, without NaN and infinities. Raises ValueError for anything else."""
    try:
        return _JSON.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


_JSON = json.JSONDecoder(parse_constant=_no_number)
_WRITER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
_HEAD = re.compile(r"(?:(?P<outs>%\d+(?:, %\d+)*) = )?(?P<op>[a-z_]+)\((?P<ins>[%\d, ]*)\) ")
_TAIL = re.compile(r"(?: : (?P<types>.*?))? @ (?P<where>\S.*)")
_TYPE = re.compile(
    r"(?P<kind>[a-z]+)\[(?P<shape>[\d,]*)\](?: bits (?P<bits>\d+))?"
    r"(?: scale (?P<scale>-?\d+))?(?: unit (?P<unit>-?\d+/\d+))?"
    r"(?: in (?P<lo>\S+?)\.\.(?P<hi>\S+))?(?: noise (?P<noise>\S+))?(?: of (?P<owner>\S+))?"
)


def digest(text: str) -> str:
    """sha256 of a canonical text, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def compact(value: object) -> str:
    """JSON with sorted keys and no spaces."""
    return _WRITER.encode(value)


def print_type(t: Type) -> str:
    """`secret[190,2] scale 16 in -120.0..120.0`; what is default is left out."""
    out = f"{t.kind}[{','.join(map(str, t.shape))}]"
    out += f" bits {t.bits}" if t.bits else ""
    out += f" scale {t.scale}" if t.scale else ""
    out += f" unit {t.unit.numerator}/{t.unit.denominator}" if t.unit != 1 else ""
    out += f" in {t.lo!r}..{t.hi!r}" if (t.lo, t.hi) != (-inf, inf) else ""
    out += f" noise {t.noise!r}" if t.noise else ""
    return out + (f" of {t.owner}" if t.owner else "")


def print_block(block: Block, indent: str = "") -> Iterator[str]:
    """The lines of a block."""
    if block.params:
        yield f"{indent}({_declare(block.params)})"
    for equation in block.equations:
        yield indent + _print_equation(equation)
        if equation.body is not None:
            yield indent + "{"
            yield from print_block(equation.body, indent + "  ")
            yield indent + "}"
    if block.results:
        yield f"{indent}return {_names(block.results)}"


def _names(variables: tuple[Var, ...]) -> str:
    return ", ".join(f"%{v.number}" for v in variables)


def _declare(variables: tuple[Var, ...]) -> str:
    return "; ".join(f"%{v.number}: {print_type(v.type)}" for v in variables)


def _print_equation(e: Equation) -> str:
    types = " : " + "; ".join(print_type(v.type) for v in e.outputs) if e.outputs else ""
    made = f"{_names(e.outputs)} = " if e.outputs else ""
    return f"{made}{e.op}({_names(e.inputs)}) {compact(e.params)}{types} @ {e.where or '-'}"


def parse_type(text: str) -> Type:
    """The inverse of `print_type`."""
    match = _TYPE.fullmatch(text)
    if match is None:
        raise ProgramError(f"not a type: {text[:80]!r}")
    shape = tuple(int(n) for n in match["shape"].split(",") if n)
    return Type(
        Kind(match["kind"]),
        shape,
        int(match["scale"] or 0),
        Fraction(match["unit"] or 1),
        float(match["lo"]) if match["lo"] else -inf,
        float(match["hi"]) if match["hi"] else inf,
        float(match["noise"] or 0.0),
        match["owner"] or "",
        int(match["bits"] or 0),
    )


def _split(line: str) -> tuple[re.Match[str], dict[str, Any], re.Match[str]]:
    head = _HEAD.match(line)
    if head is None:
        raise ProgramError(f"not an equation: {line[:80]!r}")
    params, end = _JSON.raw_decode(line, head.end())
    tail = _TAIL.fullmatch(line, end)
    if tail is None or not isinstance(params, dict):
        raise ProgramError(f"not an equation: {line[:80]!r}")
    return head, params, tail


class _Reader:
    """A recursive reader over the lines of one block tree; every variable is defined before it is used, once."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = [line.strip() for line in lines]
        self.at = 0
        self.known: dict[int, Var] = {}

    def block(self, depth: int = 0) -> Block:
        if depth > 16:
            raise ProgramError("blocks are nested deeper than 16")
        block = Block()
        if self._peek().startswith("("):
            block.params = tuple(self._declared(part) for part in self._take()[1:-1].split("; "))
        while self.at < len(self.lines) and self._peek() not in ("}", "") and not self._peek().startswith("return "):
            block.equations.append(self._equation(depth))
        if self._peek().startswith("return "):
            block.results = self._use(self._take().removeprefix("return "))
        return block

    def _peek(self) -> str:
        return self.lines[self.at] if self.at < len(self.lines) else ""

    def _take(self) -> str:
        self.at += 1
        return self.lines[self.at - 1]

    def _declared(self, text: str) -> Var:
        name, _, kind = text.partition(": ")
        return self._define(name, parse_type(kind))

    def _define(self, name: str, kind: Type) -> Var:
        number = int(name.removeprefix("%"))
        if number in self.known:
            raise ProgramError(f"%{number} is defined twice")
        self.known[number] = Var(number, kind)
        return self.known[number]

    def _use(self, names: str) -> tuple[Var, ...]:
        numbers = [int(name.strip().removeprefix("%")) for name in names.split(",") if name.strip()]
        missing = [n for n in numbers if n not in self.known]
        if missing:
            raise ProgramError(f"%{missing[0]} is used before it is defined")
        return tuple(self.known[n] for n in numbers)

    def _equation(self, depth: int) -> Equation:
        line = self._take()
        match, params, tail = _split(line)
        inputs = self._use(match["ins"])
        outer = dict(self.known)
        body = None
        if self._peek() == "{":
            self._take()
            self.known = dict(outer)
            body = self.block(depth + 1)
            if self._take() != "}":
                raise ProgramError("a block is not closed")
            self.known = outer
        types = [parse_type(t) for t in (tail["types"] or "").split("; ") if t]
        names = (match["outs"] or "").split(", ") if match["outs"] else []
        if len(types) != len(names):
            raise ProgramError(f"{len(names)} results but {len(types)} types: {line[:80]!r}")
        outputs = tuple(self._define(name, t) for name, t in zip(names, types, strict=True))
        where = "" if tail["where"] == "-" else tail["where"]
        return Equation(match["op"], inputs, outputs, params, where, body)


def parse_block(lines: list[str]) -> Block:
    """The inverse of `print_block`. Raises ProgramError for anything that it did not print."""
    try:
        reader = _Reader(lines)
        block = reader.block()
    except (ValueError, KeyError, IndexError, ArithmeticError, RecursionError) as error:
        raise ProgramError(f"the program text cannot be read: {error}") from None
    if reader.at < len(reader.lines):
        raise ProgramError(f"the program text goes on after its end: {reader.lines[reader.at][:80]!r}")
    return block
