"""What a program tells, and to whom: its reveals, and the public facts that it is made from. A walk over the surface.

A reveal rests on the columns that flow into it, and inside loops it is told in every step. Facts are told before
anything runs: row counts, column names, the values of the labels and keys that owners were asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

from mpc.ir import Block, Equation, Var, walk

if TYPE_CHECKING:
    from mpc.programs import InputSpec, Program

__all__ = ["Flow", "Source", "Told", "disclosures", "taken"]


@dataclass(frozen=True)
class Told:
    """The distinct values of a column, which an owner was asked for while a program was traced: so many of them."""

    input: str
    owner: str
    column: str
    count: int


@dataclass(frozen=True, slots=True)
class Source:
    """Where numbers come from: a column of an owner's table, its array (no column), or a kept secret (no owner)."""

    owner: str
    input: str
    column: str = ""


class Flow:
    """What flows into every value of a program, the bodies of loops included.

    Sets are bits of a whole number, two for each source: that it flows in as it is, and that its size does
    (`exponent`).
    """

    def __init__(self, program: Program) -> None:
        self._places: dict[Source, int] = {}
        self._found: dict[Var, int] = {}
        for spec in program.inputs:
            for column in ("", *(spec.columns or ())):
                self._place(Source(spec.owner, spec.name, column))
        self._block(program.block)

    def into(self, var: Var) -> list[Source]:
        """The sources of a value, in the order of the program's inputs and their columns."""
        return self._sources(self._found[var])

    def used(self) -> list[Source]:
        """The sources of any value."""
        return self._sources(reduce(or_, self._found.values(), 0))

    def sizes_only(self, var: Var) -> bool:
        """Whether a value rests on the sizes of data alone."""
        return self._found[var] != 0 and not self._found[var] & self._whole

    @property
    def _whole(self) -> int:
        """The bits that say that a source flows in as it is."""
        return ((1 << 2 * len(self._places)) - 1) // 3

    def _sources(self, bits: int) -> list[Source]:
        return [source for source, place in self._places.items() if bits >> 2 * place & 3]

    def _place(self, source: Source) -> int:
        return 1 << 2 * self._places.setdefault(source, len(self._places))

    def _block(self, block: Block) -> None:
        for e in block.equations:
            if e.op == "repeat":
                self._loop(e)
            else:
                self._found.update(dict.fromkeys(e.outputs, self._bits(e)))

    def _bits(self, e: Equation) -> int:
        p = e.params
        if e.op == "input":
            return self._place(Source(p["owner"], p["name"]))
        if e.op in ("handle", "kept", "shown"):
            return self._place(Source("", p["name"]))
        if e.op in ("columns", "labels"):
            (table,) = self.into(e.inputs[0])
            columns = (self._place(Source(table.owner, table.input, column)) for column in p["names"])
            return reduce(or_, columns)
        bits = reduce(or_, (self._found[v] for v in e.inputs), 0)
        return ((bits | bits >> 1) & self._whole) << 1 if e.op == "exponent" else bits

    def _loop(self, e: Equation) -> None:
        """What flows into the state in one step flows on in the next: until nothing new does."""
        body, carry = e.body, e.params["carry"]
        assert body is not None
        self._found[body.params[0]] = 0
        self._found.update(zip(body.params[1:], (self._found[v] for v in e.inputs), strict=True))
        state, before = body.params[1 : 1 + carry], [-1]
        grown = [self._found[p] for p in state]
        while grown != before:
            self._found.update(zip(state, grown, strict=True))
            self._block(body)
            before, grown = grown, [self._found[p] | self._found[r] for p, r in zip(state, body.results, strict=True)]
        self._found.update(zip(e.outputs, grown, strict=True))


def disclosures(program: Program) -> list[dict[str, Any]]:
    """Everything that a run tells anybody: `{what, name, owners, columns, to, count}` for each fact and each reveal.

    what: `fact`, `labels` (the values of a label or key), `magnitude` (a reveal of sizes alone), `reveal`. owners,
    columns: whose data, and which columns of it, a value rests on; a kept secret may rest on anybody's. to: `everyone`
    (the parties, and the coordinator where the cluster file lets it receive), or names; the dealer reads the program's
    text. count: how many numbers or texts, over all steps of loops.
    """
    flow = Flow(program)
    found = [*_facts(program, flow), *_labels(program)]
    for e, times in _reveals(program.block, 1):
        sources = flow.into(e.output)
        owners = {s.owner for s in sources}
        whose = [p for p in program.parties if p in owners or "" in owners]
        columns = list(dict.fromkeys(s.column for s in sources if s.column))
        what = "magnitude" if flow.sizes_only(e.output) else "reveal"
        found.append(_one(what, e.params["name"], whose, columns, e.params["to"], e.output.type.size * times))
    return found


def taken(program: Program, spec: InputSpec) -> list[tuple[str, bool]]:
    """The columns that a program takes of one of its inputs, each once, and whether as a label or key."""
    tables = {e.output for e in program.block.equations if e.op == "input" and _is(e, spec)}
    found = {
        (column, e.op == "labels"): None
        for e in walk(program.block)
        if e.op in ("columns", "labels") and not tables.isdisjoint(e.inputs)
        for column in e.params["names"]
    }
    return list(found)


def _is(e: Equation, spec: InputSpec) -> bool:
    return (e.params["name"], e.params["owner"]) == (spec.name, spec.owner)


def _reveals(block: Block, times: int) -> Iterator[tuple[Equation, int]]:
    for e in block.equations:
        if e.op == "reveal":
            yield e, times
        elif e.op == "repeat" and e.body is not None:
            yield from _reveals(e.body, times * e.params["times"])


def _facts(program: Program, flow: Flow) -> Iterator[dict[str, Any]]:
    """What everybody knows of the inputs, and the one bit that a refusal tells."""
    used, readers = flow.used(), _readers(program)
    for spec in program.inputs:
        if spec.columns is None:
            yield _one("fact", f"{spec.name}: shape", [spec.owner], [], readers, len(spec.shape))
        else:
            yield _one("fact", f"{spec.name}: rows", [spec.owner], [], readers, 1)
            names = list(spec.columns)
            yield _one("fact", f"{spec.name}: column names", [spec.owner], names, readers, len(names))
        taken = [s.column for s in used if (s.owner, s.input) == (spec.owner, spec.name) and s.column]
        yield _one("fact", f"{spec.name}: accepted or refused", [spec.owner], taken, "everyone", 1)


def _labels(program: Program) -> Iterator[dict[str, Any]]:
    for t in dict.fromkeys(program.told):
        yield _one("labels", t.column, [t.owner], [t.column], _readers(program), t.count)


def _readers(program: Program) -> list[str]:
    """Whoever reads the program's text."""
    return [*program.parties, "coordinator", "dealer"]


def _one(
    what: str, name: str, owners: Sequence[str], columns: Sequence[str], to: str | list[str], count: int
) -> dict[str, Any]:
    return {
        "what": what, "name": name, "owners": list(owners), "columns": list(columns), "to": to, "count": count
    }  # fmt: skip
