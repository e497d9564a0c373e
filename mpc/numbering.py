"""The last passes of lowering: what nobody needs is left out, and every sharing gets its place in the streams."""

from __future__ import annotations

from itertools import count

from mpc.ir import SAVED, Block, Equation, Var, walk

__all__ = ["drop_dead", "number", "tells", "trim"]


def drop_dead(block: Block, needed: set[Var]) -> None:
    """Leave out what nobody needs; reveals stay, and what is put away."""
    needed |= set(block.results)
    kept = []
    for e in reversed(block.equations):
        if e.op in _STAY or tells(e) or any(v in needed for v in e.outputs):
            if e.body is not None:
                drop_dead(e.body, set())
                trim(e)
            needed.update(e.inputs)
            kept.append(e)
    block.equations = kept[::-1]


def tells(e: Equation) -> bool:
    """Whether it is a loop that reveals something, whatever becomes of its state."""
    return e.op == "repeat" and e.body is not None and any(inner.op == "reveal" for inner in walk(e.body))


def trim(loop: Equation) -> None:
    """Take into a loop only what its body reads, beside its state."""
    assert loop.body is not None
    body, first = loop.body, 1 + loop.params["carry"]
    read = {v for e in body.equations for v in e.inputs} | set(body.results)
    kept = [(p, v) for p, v in zip(body.params[first:], loop.inputs[first - 1 :], strict=True) if p in read]
    body.params = (*body.params[:first], *(p for p, _ in kept))
    loop.inputs = (*loop.inputs[: first - 1], *(v for _, v in kept))


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
