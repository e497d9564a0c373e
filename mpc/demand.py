"""Which values are opened: a backward look over the whole program before anything is lowered.

A value that a product, a truncation or a series consumes must be there as a masked wire. It is, for nothing, if it is a
linear function of wires; otherwise it is opened itself, once. This module chooses the set of values to open that costs
the fewest words, so that the order of a program's lines does not matter: not one slice's whole parent, not every slice.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mpc.flow import Network
from mpc.ir import Block, Equation, Kind, Var
from mpc.kernels import LINEAR

__all__ = ["Node", "Opened", "cheapest", "choose", "is_linear"]

_ALIAS = frozenset({"assume", "implied", "rounded", "unit", "settle", "secret"})


def is_linear(e: Equation) -> bool:
    """Whether a wire of the result follows from wires of the secret operands: the others are consts or added."""
    kinds = [v.type.kind for v in e.inputs]
    if e.op in ("mul", "matmul"):
        return Kind.CONST in kinds
    return e.op in LINEAR or e.op in _ALIAS


@dataclass
class Node:
    """A value among those of which some are chosen."""

    cost: int  # of choosing it; to open it: words, times iterations, times the parties that send
    parents: tuple[Var, ...] | None  # None: it does not follow from others, it can only be chosen itself


@dataclass
class _Graph:
    parties: int
    nodes: dict[Var, Node] = field(default_factory=dict)
    demanded: set[Var] = field(default_factory=set)

    def read(self, block: Block, weight: int, demands: dict[Equation, set[int]]) -> None:
        for e in block.equations:
            self.demanded |= {e.inputs[i] for i in demands.get(e, ())}
            if e.op == "repeat":
                self._loop(e, weight, demands)
                continue
            for var in e.outputs:
                if var.type.kind is Kind.SECRET:
                    senders = 1 if e.op == "share" else self.parties
                    secret = tuple(v for v in e.inputs if v.type.kind is Kind.SECRET)
                    self.nodes[var] = Node(var.type.size * weight * senders, secret if is_linear(e) else None)

    def _loop(self, e: Equation, weight: int, demands: dict[Equation, set[int]]) -> None:
        assert e.body is not None
        times, carry = e.params["times"], e.params["carry"]
        for i, p in enumerate(e.body.params[1:]):
            if p.type.kind is Kind.SECRET:
                parents = (e.inputs[i], e.body.results[i]) if i < carry else (e.inputs[i],)
                self.nodes[p] = Node(p.type.size * weight * times * self.parties, parents)
        for out, start, end in zip(e.outputs, e.inputs[:carry], e.body.results, strict=True):
            self.nodes[out] = Node(out.type.size * weight * self.parties, (start, end))
        self.read(e.body, weight * times, demands)


def cheapest(nodes: dict[Var, Node], demanded: set[Var]) -> set[Var]:
    """What to choose: the cheapest cut between the demanded values and what they could all be derived from.

    Value v stands for two places: 2v, "v is needed", and 2v + 1, "v is derived". Being needed without being derived
    costs; being derived makes every parent needed. Of equal cuts the one with the earliest values is taken, since what
    else they are used for then is free. A demanded value may be a chosen one.
    """
    at = {v: 2 * i for i, v in enumerate(nodes)}
    source, sink = 2 * len(at), 2 * len(at) + 1
    net = Network(2 * len(at) + 2)
    endless = 1 + sum(node.cost for node in nodes.values())
    for v, node in nodes.items():
        if v in demanded:
            net.connect(source, at[v], endless)
        net.connect(at[v], at[v] + 1 if node.parents is not None else sink, node.cost)
        for p in node.parents or ():
            net.connect(at[v] + 1, at[p], endless)
    net.saturate(source, sink)
    before_cut = net.away_from(sink)
    needed = {v for v, i in at.items() if i in before_cut}
    cut = {v for v in needed if nodes[v].parents is None or at[v] + 1 not in before_cut}
    return cut & _used(nodes, demanded, cut)


def _used(nodes: dict[Var, Node], demanded: set[Var], cut: set[Var]) -> set[Var]:
    """The demanded values and all that they are derived from, back to the cut."""
    used: set[Var] = set()
    todo = list(demanded)
    while todo:
        v = todo.pop()
        if v not in used:
            used.add(v)
            todo.extend(() if v in cut else nodes[v].parents or ())
    return used


@dataclass(frozen=True)
class Opened:
    """The decision: what is opened, and all values that are wires because of it and are used as such."""

    opened: frozenset[Var]
    wires: frozenset[Var]


def choose(block: Block, demands: dict[Equation, set[int]], parties: int) -> Opened:
    """The cheapest set of values to open. demands: for each equation the operands that its rule takes as wires."""
    graph = _Graph(parties)
    graph.read(block, 1, demands)
    cut = cheapest(graph.nodes, graph.demanded)
    return Opened(frozenset(cut), frozenset(_used(graph.nodes, graph.demanded, cut)))
