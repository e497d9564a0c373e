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

__all__ = ["Demands", "Node", "Opened", "cheapest", "choose", "is_linear"]

_ALIAS = frozenset({"assume", "implied", "rounded", "unit", "settle", "secret"})
LANEWISE = (LINEAR | _ALIAS | {"mul"}) - {"sum", "concatenate"}
"""Linear ops whose every lane is made of one lane of each operand, so that a public factor of a lane stays one."""


@dataclass
class Demands:
    """What the rules ask of their operands, by equation; and which of them give a result as four terms."""

    wires: dict[Equation, set[int]]  # the operands that are taken as wires
    terms: dict[Equation, set[int]]  # those that are taken in whichever public terms they have, a wire's or four
    wrapped: set[Equation]


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
    terms: set[Var] = field(default_factory=set)

    def read(self, block: Block, weight: int, demands: Demands) -> None:
        for e in block.equations:
            self.demanded |= {e.inputs[i] for i in demands.wires.get(e, ())}
            self.terms |= {e.inputs[i] for i in demands.terms.get(e, ())}
            if e.op == "repeat":
                self._loop(e, weight, demands)
                continue
            for var in e.outputs:
                if var.type.kind is Kind.SECRET:
                    senders = 1 if e.op == "share" else self.parties
                    secret = tuple(v for v in e.inputs if v.type.kind is Kind.SECRET)
                    self.nodes[var] = Node(var.type.size * weight * senders, secret if is_linear(e) else None)

    def _loop(self, e: Equation, weight: int, demands: Demands) -> None:
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


def _derivable(nodes: dict[Var, Node], cut: set[Var]) -> set[Var]:
    """All values that follow from the chosen ones; loops feed themselves."""
    children: dict[Var, list[Var]] = {}
    for v, node in nodes.items():
        for p in node.parents or ():
            children.setdefault(p, []).append(v)
    todo = [v for v, node in nodes.items() if node.parents is None and v not in cut]
    lost = set(todo)
    while todo:
        for v in children.get(todo.pop(), ()):
            if v not in lost and v not in cut:
                lost.add(v)
                todo.append(v)
    return nodes.keys() - lost


@dataclass
class _Wraps:
    """How many wraps a value is made of: one of each truncation. With one it can be four terms; 2 stands for more."""

    given: set[Equation]
    count: dict[Var, int] = field(default_factory=dict)

    def read(self, block: Block) -> None:
        """Count until loops stand still; more only leads to more, so they do."""
        before = None
        while before != self.count:
            before = dict(self.count)
            self._block(block)

    def _block(self, block: Block) -> None:
        for e in block.equations:
            if e.op == "repeat":
                self._loop(e)
            elif e in self.given:
                self.count[e.output] = 1
            elif e.op in LANEWISE and is_linear(e):
                wraps = [v for v in e.inputs if self.count.get(v)]
                if wraps and all(v.type.size >= e.output.type.size for v in wraps):
                    self.count[e.output] = min(2, sum(self.count[v] for v in wraps))

    def _loop(self, e: Equation) -> None:
        assert e.body is not None
        _, *params = e.body.params
        for i, (p, v) in enumerate(zip(params, e.inputs, strict=True)):
            sources = (v, e.body.results[i]) if i < e.params["carry"] else (v,)
            self.count[p] = max(self.count.get(source, 0) for source in sources)
        self._block(e.body)
        for out, p in zip(e.outputs, params, strict=False):
            self.count[out] = self.count[p]


def _relieved(graph: _Graph, block: Block, given: set[Equation]) -> set[Var]:
    """The values that are there as four terms, and need not be opened for rules that take these.

    All else that these rules take, and all that such a value is made of beside the truncated one, is demanded as a
    wire. So is whatever follows from what is opened in any case.
    """
    wraps = _Wraps(given)
    wraps.read(block)
    found: set[Var] = set()
    if all(wraps.count.get(v) != 1 for v in graph.terms):
        graph.demanded |= graph.terms
        return found
    there = _derivable(graph.nodes, cheapest(graph.nodes, graph.demanded))
    todo = list(graph.terms)
    while todo:
        v = todo.pop()
        if v in there or wraps.count.get(v) != 1:
            graph.demanded.add(v)
        elif v not in found:
            found.add(v)
            todo.extend(graph.nodes[v].parents or ())
    return found


@dataclass(frozen=True)
class Opened:
    """The decision: what is opened, and all values that are wires because of it and are used as such.

    wrapped: the values that no rule needs as wires and some as terms, of which they have four: see `mpc.rules.Wrapped`.
    """

    opened: frozenset[Var]
    wires: frozenset[Var]
    wrapped: frozenset[Var]


def choose(block: Block, demands: Demands, parties: int) -> Opened:
    """The cheapest set of values to open."""
    graph = _Graph(parties)
    graph.read(block, 1, demands)
    wrapped = _relieved(graph, block, demands.wrapped)
    cut = cheapest(graph.nodes, graph.demanded)
    wires = _used(graph.nodes, graph.demanded, cut)
    return Opened(frozenset(cut), frozenset(wires), frozenset(wrapped - wires))
