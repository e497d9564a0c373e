"""Which values are opened: a backward look over the whole program before anything is lowered.

A value that a product, a truncation or a series consumes must be there as a masked wire. It is, for nothing, if it is a
linear function of wires; otherwise it is opened itself, once. This module chooses the set of values to open that costs
the fewest words, so that the order of a program's lines does not matter: not one slice's whole parent, not every slice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from mpc.ir import Block, Equation, Kind, Var
from mpc.kernels import LINEAR

__all__ = ["Opened", "choose", "is_linear"]

_ALIAS = frozenset({"assume", "rounded", "unit", "settle", "within", "secret"})


def is_linear(e: Equation) -> bool:
    """Whether a wire of the result follows from wires of the secret operands: the others are consts or added."""
    kinds = [v.type.kind for v in e.inputs]
    if e.op in ("mul", "matmul"):
        return Kind.CONST in kinds
    return e.op in LINEAR or e.op in _ALIAS


@dataclass
class _Node:
    cost: float
    parents: tuple[Var, ...] | None  # None: not linear, it can only be opened itself


@dataclass
class _Graph:
    nodes: dict[Var, _Node] = field(default_factory=dict)
    demanded: set[Var] = field(default_factory=set)

    def read(self, block: Block, weight: float, demands: dict[Equation, set[int]], parties: int) -> None:
        for e in block.equations:
            self.demanded |= {e.inputs[i] for i in demands.get(e, ())}
            if e.op == "repeat":
                self._loop(e, weight, demands, parties)
                continue
            for var in e.outputs:
                if var.type.kind is Kind.SECRET:
                    share = 1.0 / parties if e.op == "share" else 1.0
                    secret = tuple(v for v in e.inputs if v.type.kind is Kind.SECRET)
                    self.nodes[var] = _Node(var.type.size * weight * share, secret if is_linear(e) else None)

    def _loop(self, e: Equation, weight: float, demands: dict[Equation, set[int]], parties: int) -> None:
        assert e.body is not None
        times, carry = e.params["times"], e.params["carry"]
        inner = weight * times
        for i, p in enumerate(e.body.params[1:]):
            outer = e.inputs[i]
            if p.type.kind is Kind.SECRET:
                parents = (outer, e.body.results[i]) if i < carry else (outer,)
                self.nodes[p] = _Node(p.type.size * inner, parents)
        for out, start, end in zip(e.outputs, e.inputs[:carry], e.body.results, strict=True):
            self.nodes[out] = _Node(out.type.size * weight, (start, end))
        self.read(e.body, inner, demands, parties)

    def wires(self, opened: Iterable[Var]) -> set[Var]:
        """Every value that is a wire if these are opened: the greatest solution, since loops feed themselves."""
        chosen = set(opened)
        have = {v for v, node in self.nodes.items() if node.parents is not None or v in chosen}
        while True:
            lost = {v for v in have if v not in chosen and any(p not in have for p in self.nodes[v].parents or ())}
            if not lost:
                return have
            have -= lost

    def cost(self, opened: Iterable[Var]) -> float:
        return sum(self.nodes[v].cost for v in opened)

    def prune(self, opened: set[Var]) -> set[Var]:
        """Leave out what the rest gives for nothing, the dearest first."""
        for v in sorted(opened, key=lambda v: (-self.nodes[v].cost, -v.number)):
            rest = opened - {v}
            if v in self.wires(rest) and self.demanded <= self.wires(rest):
                opened = rest
        return opened

    def ancestors(self, of: Iterable[Var]) -> set[Var]:
        found: set[Var] = set()
        todo = list(of)
        while todo:
            v = todo.pop()
            if v not in found:
                found.add(v)
                todo.extend(self.nodes[v].parents or ())
        return found

    def candidates(self, opened: set[Var]) -> Iterator[set[Var]]:
        for v in sorted(self.ancestors(opened), key=lambda v: v.number):
            parents = self.nodes[v].parents
            if parents:
                yield set(parents)
                if len(set(parents)) > 1:
                    yield from ({p} for p in parents)


@dataclass(frozen=True)
class Opened:
    """The decision: what is opened, and all values that are wires because of it and are used as such."""

    opened: frozenset[Var]
    wires: frozenset[Var]


def choose(block: Block, demands: dict[Equation, set[int]], parties: int) -> Opened:
    """The set of values to open. demands: for each equation the operands that its rule takes as masked wires."""
    graph = _Graph()
    graph.read(block, 1.0, demands, parties)
    opened = graph.prune(set(graph.demanded))
    best = graph.cost(opened)
    improved = True
    while improved:
        improved = False
        for extra in graph.candidates(opened):
            trial = graph.prune(opened | extra)
            cost = graph.cost(trial)
            earlier = sum(v.number for v in trial) < sum(v.number for v in opened)
            if cost < best - 1e-9 or (cost < best + 1e-9 and len(trial) <= len(opened) and earlier):
                opened, best, improved = trial, cost, True
                break
    wires = graph.wires(opened)
    used: set[Var] = set()
    todo = list(graph.demanded)
    while todo:
        v = todo.pop()
        if v not in used:
            used.add(v)
            todo.extend(() if v in opened else graph.nodes[v].parents or ())
    return Opened(frozenset(opened), frozenset(used & wires))
