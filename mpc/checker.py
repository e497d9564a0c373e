"""The mask check: every lane of every opening is hidden by a mask lane of its own (docs/rules.md, 1).

There must be an order of all openings in which each contains a mask as a summand, position by position, with an odd
public coefficient; the mask is made in the same block (so anew in each iteration), is known to no party (or only to the
sole owner of what it hides), and occurs nowhere else in that opening nor in any earlier one, inside deals too. Then, by
induction from the last opening to the first, all openings together are uniform and independent of every secret.

What it does not prove: that a rule computes what it claims (tests against `plain` do), what the reveals themselves say
(the list of reveals does), sub-unit information in public-coin rounding, and timing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mpc.clear import evaluate_block
from mpc.errors import LeakError
from mpc.ir import Block, Equation, Kind, Var, walk
from mpc.lowering import Lowered
from mpc.prg import Position, block
from mpc.programs import Program
from mpc.ring import Ring

__all__ = ["check", "check_openings", "check_result"]


_DRAWS = 12  # of all masks, against which a rule's result is held


@dataclass(frozen=True)
class _Depends:
    """How a value depends on masks: coefficients of those added in place, and those that occur in any other way."""

    linear: dict[Var, int] = field(default_factory=dict)
    other: frozenset[Var] = frozenset()

    @property
    def all(self) -> frozenset[Var]:
        return self.other | self.linear.keys()


@dataclass
class _Node:
    """An opening, or a whole loop: the masks that may (any) or must (every) be its own, and all that occur in it."""

    where: str
    pads: frozenset[Var]
    occurs: frozenset[Var]
    loop: bool = False

    def free(self, holders: dict[Var, set[int]]) -> bool:
        """Whether a mask of its own (of a loop: every one) occurs in no other opening that is left."""
        alone = [len(holders[m]) == 1 for m in self.pads]
        return all(alone) if self.loop else any(alone)


class _Check:
    def __init__(self) -> None:
        self.depends: dict[Var, _Depends] = {}
        self.consts: dict[Var, int] = {}
        self.owners: dict[Var, str] = {}
        self.past: dict[Var, Var] = {}

    def of(self, var: Var) -> _Depends:
        """Public values and consts depend on no mask: whoever sees the openings knows them."""
        if var.type.kind in (Kind.PUBLIC, Kind.CONST):
            return _Depends()
        return self.depends.get(var, _Depends())

    def block(self, b: Block) -> list[_Node]:
        """The openings of a block, checked; loops inside are checked first and stand as one node each."""
        made: set[Var] = set()
        nodes: list[_Node] = []
        opened: dict[Var, _Node] = {}
        for e in b.equations:
            if e.op in ("mask", "owner_mask"):
                made.add(e.output)
                self.owners[e.output] = e.output.type.owner
                self.depends[e.output] = _Depends({e.output: 1})
            elif e.op == "open" and e.inputs[0] not in opened:
                opened[e.inputs[0]] = self.opening(e, made)
                nodes.append(opened[e.inputs[0]])
            elif e.op == "send":
                nodes.append(self.sending(e, made))
            elif e.op == "repeat":
                nodes.append(self.loop(e))
            else:
                self.equation(e)
        _order(nodes)
        return nodes

    def opening(self, e: Equation, made: set[Var]) -> _Node:
        f = self.of(e.inputs[0])
        pads = {m for m, c in f.linear.items() if c % 2 and m in made and m not in f.other and not self.owners.get(m)}
        if not pads:
            raise LeakError(self._why(f, made), e.where)
        return _Node(e.where, frozenset(pads), f.all)

    def _why(self, f: _Depends, made: set[Var]) -> str:
        cure = "add a fresh mask(x.shape) to exactly this value, or use masked(x)"
        if not f.all:
            return f"open: no mask hides this value; {cure}"
        if any(self.owners.get(m) for m in f.linear):
            return f"open: the mask is known to the owner of another value; {cure}"
        if not f.all & made or any(m not in made for m in f.linear):
            return f"open: the mask was made outside this loop and would hide a new value in every step; {cure}"
        if any(c % 2 == 0 for c in f.linear.values()):
            return f"open: the mask is multiplied by an even number, so that low bits stay open; {cure}"
        if any(m in f.other for m in f.linear):
            return f"open: the mask occurs a second time in the same value; {cure}"
        return f"open: its masks are multiplied, spread over elements or dealt, and hide nothing by themselves; {cure}"

    def sending(self, e: Equation, made: set[Var]) -> _Node:
        x, lam = e.inputs
        if self.owners.get(lam) != x.type.owner or lam not in made:
            raise LeakError("send: an owner's value goes under a mask that only its owner knows", e.where)
        return _Node(e.where, frozenset({lam}), frozenset({lam}))

    def loop(self, e: Equation) -> _Node:
        assert e.body is not None
        carry = e.params["carry"]
        _, *params = e.body.params
        before: list[frozenset[Var]] | None = None
        state = [self.of(v).all for v in e.inputs]
        own = frozenset(v for inner in walk(e.body) for v in inner.outputs)
        nodes: list[_Node] = []
        ends: list[frozenset[Var]] = []
        while state != before:
            before = state
            for p, masks in zip(params, state, strict=True):
                self.depends[p] = _Depends({}, masks)
            nodes = self.block(e.body)
            ends = [self.of(v).all for v in e.body.results]
            past = [frozenset(self.previous(m) if m in own else m for m in masks) for masks in ends]
            state = [s | (past[i] if i < carry else frozenset()) for i, s in enumerate(before)]
        for i, out in enumerate(e.outputs):
            self.depends[out] = _Depends({}, state[i] | ends[i])
        pads = frozenset(m for node in nodes for m in node.pads if m in own or node.loop)
        return _Node(e.where, pads, frozenset(m for node in nodes for m in node.occurs), loop=True)

    def previous(self, mask: Var) -> Var:
        """The same mask in an earlier iteration: another lane, opened before."""
        return self.past.setdefault(mask, Var(-1 - mask.number, mask.type))

    def equation(self, e: Equation) -> None:
        if e.op == "const" and isinstance(e.params["value"], int):
            self.consts[e.output] = e.params["value"]
        for v in e.outputs:
            self.depends[v] = self.combined(e, v)

    def combined(self, e: Equation, out: Var) -> _Depends:
        parts = [self.of(v) for v in e.inputs]
        same = all(v.type.shape == out.type.shape for v, d in zip(e.inputs, parts, strict=True) if d.all)
        factor = self._factor(e)
        if not same or factor is None:
            return _Depends({}, frozenset(m for d in parts for m in d.all))
        linear: dict[Var, int] = {}
        for d, f in zip(parts, factor, strict=True):
            for m, c in d.linear.items():
                linear[m] = linear.get(m, 0) + f * c
        other = frozenset(m for d in parts for m in d.other)
        return _Depends({m: c for m, c in linear.items() if c}, other)

    def _factor(self, e: Equation) -> list[int] | None:
        """By which integer each operand enters, where the op is that simple."""
        match e.op:
            case "add":
                return [1, 1]
            case "sub":
                return [1, -1]
            case "neg":
                return [-1]
            case "cast":
                return [1]
            case "shl":
                return [1 << e.params["by"]]
            case "mul":
                known = [self.consts.get(v) for v in e.inputs]
                if known[0] is not None:
                    return [0, known[0]]
                if known[1] is not None:
                    return [known[1], 0]
        return None


def _order(nodes: list[_Node]) -> None:
    """Find the order, last opening first: one whose own mask occurs in no other that is left."""
    left = dict.fromkeys(range(len(nodes)))
    holders: dict[Var, set[int]] = {}
    for i, node in enumerate(nodes):
        for m in node.occurs | node.pads:
            holders.setdefault(m, set()).add(i)
    todo = list(left)
    while todo:
        i = todo.pop()
        if i not in left or not nodes[i].free(holders):
            continue
        del left[i]
        for m in nodes[i].occurs | nodes[i].pads:
            holders[m].discard(i)
            if len(holders[m]) == 1:
                todo.extend(holders[m])
    if left:
        _refuse([nodes[i] for i in left])


def _refuse(left: list[_Node]) -> None:
    node = next((n for n in left if not n.loop), left[0])
    rival = next((n for n in left if n is not node and node.pads & n.occurs), node)
    raise LeakError(
        "open: a mask is used twice; the mask of this opening also occurs in the one at "
        f"{rival.where or 'another line'}, and their difference would be open: "
        "make a mask of its own for each opening, mask(x.shape)",
        node.where,
    )


def check_openings(block: Block) -> None:
    """Raise LeakError, with the source line and the cure, unless every opening of a lowered block is masked."""
    _Check().block(block)


def _draw(seed: int, bits: int) -> Any:
    count = [0]

    def masks(shape: tuple[int, ...]) -> Any:
        count[0] += 1
        words = block(seed.to_bytes(16, "big"), Position(count[0], 0), shape)
        return words if bits == 64 else words & np.uint64((1 << bits) - 1)

    return masks


def check_result(rule: Block, where: str, bits: int = 64, units: int = 0) -> None:
    """Raise LeakError if a rule's result changes, beyond its stated rounding of `units`, when only the masks change."""
    ring = Ring(bits)
    small = _draw(1, 12)
    operands = [small(p.type.shape) for p in rule.params]
    first, *rest = (
        np.asarray(evaluate_block(ring, rule, operands, _draw(seed, 64))[0]) for seed in range(2, 2 + _DRAWS)
    )
    if any(np.any(np.abs(ring.signed(ring.sub(result, first))) > units) for result in rest):
        raise LeakError(
            "the rule's result depends on its masks: revealed, it would say something of them, and it is no function "
            "of its operands; look for a deal or a mask that nothing cancels, or state a truncation's unit: "
            "@mpc.protocol(rounding=1)",
            where,
        )


def _calls(b: Block) -> list[Equation]:
    found = [e for e in b.equations if e.op == "call"]
    for e in b.equations:
        if e.op == "repeat" and e.body is not None:
            found += _calls(e.body)
    return found


def check(lowered: Lowered) -> None:
    """The whole check of a lowered program: its openings, and the results of the rules that it brings itself."""
    check_openings(lowered.block)
    program: Program = lowered.program
    for e in _calls(program.block):
        assert e.body is not None
        check_result(e.body, e.where, lowered.bits, min(e.params["rounding"], 1))
