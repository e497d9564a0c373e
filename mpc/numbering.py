"""The last passes of lowering: what nobody needs is left out, and every sharing gets its place in the streams."""

from __future__ import annotations

from itertools import count

from mpc.ir import SAVED, Block, Var, walk

__all__ = ["drop_dead", "number"]


def drop_dead(block: Block, needed: set[Var]) -> None:
    """Leave out what nobody needs; reveals stay, and what is put away."""
    needed |= set(block.results)
    kept = []
    for e in reversed(block.equations):
        if e.op in _STAY or any(v in needed for v in e.outputs):
            if e.body is not None:
                drop_dead(e.body, set())
            needed.update(e.inputs)
            kept.append(e)
    block.equations = kept[::-1]


_STAY = SAVED | {"reveal"}
_NUMBERED = frozenset({"mask", "owner_mask", "deal", "share", "reveal"})


def number(block: Block) -> None:
    """Give every sharing its place in the streams: once, after lowering, before dealer and parties look at it."""
    ids: dict[Var, int] = {}
    for e in walk(block):
        if e.op in _NUMBERED:
            ids[e.output] = len(ids)
            e.params = {**e.params, "id": ids[e.output]}
        elif e.op == "send":
            e.params = {**e.params, "mask": ids[e.inputs[1]]}
    last = count(len(ids))  # after all others, so that these are the same with and without checkpoints
    for e in walk(block):
        if e.op in SAVED:
            e.params = {**e.params, "ids": [next(last) for _ in e.params["names"]]}
