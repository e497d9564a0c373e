"""When each equation of a lowered block runs: slots of local work, each ended by at most one exchange.

An opening sits in the earliest slot where its operands are there, so openings that do not depend on each other share a
round. Masks and what is dealt are made in the first slot, or, where they are long, in the one that needs them first.
Engine, dealer and price all walk these same slots.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from mpc.ir import Block, Equation, Kind, Var
from mpc.lanes import BLOCKS, Part, parts

__all__ = ["DEALT", "Slot", "Spent", "receiver", "schedule"]

EXCHANGED = frozenset({"open", "send", "reveal"})
DEALT = frozenset({Kind.CONST, Kind.MASK, Kind.DEALER})  # what the dealer knows
_EARLY = 1 << 24  # words of masks and dealt values that may lie there from the beginning


@dataclass
class Spent:
    """What nobody reads any more: after a local equation, and after the slot."""

    after: dict[Equation, list[Var]] = field(default_factory=dict)
    dead: list[Var] = field(default_factory=list)

    def within(self, part: Part) -> set[Var]:
        """What a part makes that is read nowhere else."""
        spent = {v for e in part.equations for v in self.after.get(e, ())}
        return spent & part.made


@dataclass
class Slot:
    """Local equations in order, in parts that run one after another; then one exchange; then loops.

    party, dealer: what each of them may forget, and when.
    """

    parts: list[Part] = field(default_factory=list)
    exchange: list[Equation] = field(default_factory=list)
    loops: list[Equation] = field(default_factory=list)
    party: Spent = field(default_factory=Spent)
    dealer: Spent = field(default_factory=Spent)

    @property
    def local(self) -> list[Equation]:
        """All local equations, in order."""
        return [e for part in self.parts for e in part.equations]

    @property
    def deals(self) -> list[Equation]:
        """Those whose corrections the dealer sends, in that order."""
        return [e for part in self.parts for e in part.deals]


def receiver(deal: Equation, parties: int) -> int:
    """The party that is sent what is missing of a dealt value; the shares of all others come from streams."""
    return int(deal.params["id"]) % parties


def schedule(block: Block, *, sweep: bool = True) -> list[Slot]:
    """The slots of one block, in order. sweep: whether long work is done piece by piece, the same words in any case."""
    places = _sunk(block, _earliest(block))
    local: list[list[Equation]] = [[] for _ in range(max(places.values(), default=-1) + 1)]
    slots = [Slot() for _ in local]
    for e in block.equations:
        at = places[e]
        if e.op in EXCHANGED:
            slots[at].exchange.append(e)
        elif e.op == "repeat":
            slots[at].loops.append(e)
        else:
            local[at].append(e)
    for slot, equations in zip(slots, local, strict=True):
        slot.parts = parts(equations) if sweep else [Part(equations)]
    _bury(block, slots)
    return slots


def _earliest(block: Block) -> dict[Equation, int]:
    """The first slot in which an equation could run."""
    level: dict[Var, int] = {}
    made: dict[Var, int] = {}
    places: dict[Equation, int] = {}
    for e in block.equations:
        ready = made if e.op == "repeat" else level  # the loops of a slot run after its exchange, one after another
        at = places[e] = max((ready.get(v, 0) for v in e.inputs), default=0)
        after = at + (e.op in EXCHANGED or e.op == "repeat")
        for v in e.outputs:
            level[v], made[v] = after, at
    return places


def _sunk(block: Block, places: dict[Equation, int]) -> dict[Equation, int]:
    """Masks, and what only the dealer computes and deals, wait until the first slot that reads them, if they are long.

    What is short is made before the first exchange, where nobody waits for it.
    """
    kept = set(block.results)
    movable = [e for e in block.equations if _of_masks(e) and kept.isdisjoint(e.outputs)]
    if sum(v.type.size for e in movable if e.op in BLOCKS for v in e.outputs) <= _EARLY:
        return places
    waits, first = set(movable), dict[Var, int]()
    for e in reversed(block.equations):
        if e in waits and e.outputs and all(v in first for v in e.outputs):
            places[e] = max(places[e], min(first[v] for v in e.outputs))
        for v in _read(e):
            first[v] = min(first.get(v, places[e]), places[e])
    return places


def _of_masks(e: Equation) -> bool:
    return e.op in BLOCKS or all(v.type.kind is Kind.DEALER for v in e.outputs)


def _read(e: Equation) -> tuple[Var, ...]:
    """What an equation needs; a mask that is sent is made anew by its owner, and only named."""
    return e.inputs[:1] if e.op == "send" else e.inputs


def _bury(block: Block, slots: list[Slot]) -> None:
    kept = set(block.params) | set(block.results)
    for dealer in (False, True):
        last: dict[Var, tuple[int, Equation | None]] = {}
        for i, slot in enumerate(slots):
            for e in slot.local:
                last.update(dict.fromkeys(_touched(e, dealer), (i, e)))
            for e in (*slot.exchange, *slot.loops):
                if e.op == "repeat" or not dealer:
                    last.update(dict.fromkeys((*_read(e), *e.outputs), (i, None)))
        for v, (i, after) in last.items():
            if v in kept or v.type.kind is Kind.TABLE:
                continue
            spent = slots[i].dealer if dealer else slots[i].party
            if after is None:
                spent.dead.append(v)
            else:
                spent.after.setdefault(after, []).append(v)


def _touched(e: Equation, dealer: bool) -> Iterable[Var]:
    """What one side reads and makes in an equation: a party takes no part in what the dealer computes."""
    if dealer:
        return (*e.inputs, *e.outputs) if all(v.type.kind in DEALT for v in e.outputs) else ()
    if any(v.type.kind is Kind.DEALER for v in e.outputs):
        return ()
    return e.outputs if e.op == "deal" else (*e.inputs, *e.outputs)
