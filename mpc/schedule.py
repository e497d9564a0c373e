"""When each equation of a lowered block runs: slots of local work, each ended by at most one exchange.

An opening sits in the earliest slot where its operands are there, so openings that do not depend on each other share a
round. Engine, dealer and price all walk these same slots.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mpc.ir import Block, Equation, Kind, Var

__all__ = ["Slot", "schedule"]

EXCHANGED = frozenset({"open", "send", "reveal"})


@dataclass
class Slot:
    """Local equations in order, the deals whose corrections they need, then one exchange, then loops."""

    local: list[Equation] = field(default_factory=list)
    deals: list[Equation] = field(default_factory=list)
    exchange: list[Equation] = field(default_factory=list)
    loops: list[Equation] = field(default_factory=list)
    spent: dict[Equation, list[Var]] = field(default_factory=dict)  # values that nobody reads after a local equation
    dead: list[Var] = field(default_factory=list)  # values that nobody reads after this slot

    def __bool__(self) -> bool:
        return bool(self.local or self.deals or self.exchange or self.loops)


def schedule(block: Block) -> list[Slot]:
    """The slots of one block, in order."""
    level: dict[Var, int] = {}
    made: dict[Var, int] = {}
    slots: list[Slot] = []
    for e in block.equations:
        ready = made if e.op == "repeat" else level  # the loops of a slot run after its exchange, one after another
        at = max((ready.get(v, 0) for v in e.inputs), default=0)
        while len(slots) <= at:
            slots.append(Slot())
        if e.op in EXCHANGED:
            slots[at].exchange.append(e)
        elif e.op == "repeat":
            slots[at].loops.append(e)
        else:
            slots[at].local.append(e)
            if e.op == "deal":
                slots[at].deals.append(e)
        after = at + (e.op in EXCHANGED or e.op == "repeat")
        for v in e.outputs:
            level[v], made[v] = after, at
    _bury(block, slots)
    return slots


def _bury(block: Block, slots: list[Slot]) -> None:
    kept = set(block.params) | set(block.results)
    last: dict[Var, tuple[int, Equation | None]] = {}
    for i, slot in enumerate(slots):
        for e in slot.local:
            last.update(dict.fromkeys((*e.inputs, *e.outputs), (i, e)))
        for e in (*slot.exchange, *slot.loops):
            read = e.inputs[:1] if e.op == "send" else e.inputs  # a mask is named there, its owner makes it anew
            last.update(dict.fromkeys((*read, *e.outputs), (i, None)))
    for v, (i, after) in last.items():
        if v in kept or v.type.kind is Kind.TABLE:
            continue
        if after is None:
            slots[i].dead.append(v)
        else:
            slots[i].spent.setdefault(after, []).append(v)
