"""Broken twins that are made of any program, mechanically: what the kit says of a program, it must deny of each.

Of the program, by which the mask check must refuse it: one opening without its mask, under a mask of another opening,
under twice a mask, under eight bits of a mask, under one mask for all elements, an input sent under no mask. Of the
randomness: all masks zero, which the views must tell; all dealt values zero, which the results must tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpc.checker import check_openings
from mpc.errors import LeakError
from mpc.ir import Block, Equation, Kind, Type, Var, walk
from mpc.lowering import Lowered
from mpc.prg import DealerEntropy, PartyEntropy, Position, block
from mpc.testing.faults import VerificationError

__all__ = ["broken_masks", "refused", "undealt", "unmasked"]

_EACH = 3  # twins of a kind; of more openings, some spread evenly over the program
Entropies = tuple[DealerEntropy, list[PartyEntropy]]


def refused(lowered: Lowered) -> dict[str, int]:
    """How many twins of each kind the mask check refuses: all, or VerificationError."""
    found: dict[str, int] = {}
    for name, where, twin in broken_masks(lowered.block):
        try:
            check_openings(twin)
        except LeakError:
            found[name] = found.get(name, 0) + 1
        else:
            raise VerificationError(f"the mask check accepts {name} ({where})")
    return found


def broken_masks(b: Block) -> Iterator[tuple[str, str, Block]]:
    """Twins of a lowered block, each with what is broken and at which line."""
    pads = _spread(_pads(b))
    new = count(1 + max((v.number for e in walk(b) for v in e.outputs), default=0))
    for name, make in _BREAKS.items():
        for e in pads:
            made = make(e, new)
            if made:
                yield name, e.where, _with(b, e, made)
    for first, second in _pairs(b, {e.output for e in pads}):
        alias = Equation("cast", (first.output,), (second.output,), {"kind": "mask"}, second.where)
        yield "a mask of another opening", second.where, _with(b, second, [alias])


def undealt(b: Block, new: Iterator[int] | None = None) -> Block:
    """The same with zero for all that the dealer computes."""
    fresh = new or count(1 + max((v.number for e in walk(b) for v in e.outputs), default=0))
    made: list[Equation] = []
    for e in b.equations:
        if e.op == "deal":
            made += _zero(e, fresh)
        else:
            made.append(replace(e, body=undealt(e.body, fresh)) if e.body is not None else e)
    return Block(b.params, made, b.results)


def unmasked(entropy: Entropies) -> Entropies:
    """Randomness in which all that comes from the dealer's seeds is zero: every mask, and all shares of it but one."""
    dealer, parties = entropy
    known = {*dealer.parties, *(s for row in dealer.owners for s in row)}

    def stream(seed: bytes, at: Position, shape: tuple[int, ...]) -> NDArray[np.uint64]:
        return np.zeros(shape, dtype=np.uint64) if seed in known else block(seed, at, shape)

    return replace(dealer, stream=stream), [replace(p, stream=stream) for p in parties]


# --- which masks ------------------------------------------------------------------------------------------------------


def _pads(b: Block) -> list[Equation]:
    """Masks that are added to a value just before it is opened, and owners' masks of what is sent."""
    made = {v: e for e in walk(b) for v in e.outputs}
    found: dict[Var, Equation] = {}
    for e in walk(b):
        if e.op == "open":
            last = made.get(e.inputs[0])
            added = last.inputs if last is not None and last.op in ("add", "sub") else ()
            masks = [made[v] for v in added if v in made and made[v].op == "mask"]
            if len(masks) == 1:
                found[masks[0].output] = masks[0]
        elif e.op == "send":
            found[e.inputs[1]] = made[e.inputs[1]]
    return list(found.values())


def _spread(equations: list[Equation]) -> list[Equation]:
    at = sorted({round(f * (len(equations) - 1)) for f in np.linspace(0, 1, _EACH)}) if equations else []
    return [equations[i] for i in at]


def _pairs(b: Block, pads: set[Var]) -> list[tuple[Equation, Equation]]:
    """Two masks of one block and one type."""
    found: list[tuple[Equation, Equation]] = []
    before: dict[Any, Equation] = {}
    for e in b.equations:
        if e.body is not None:
            found += _pairs(e.body, pads)
        elif e.op in ("mask", "owner_mask") and e.output in pads:
            t = e.output.type
            if (t.shape, t.bits, t.owner) in before:
                found.append((before[t.shape, t.bits, t.owner], e))
            before[t.shape, t.bits, t.owner] = e
    return found


# --- what is done to them ---------------------------------------------------------------------------------------------


def _with(b: Block, old: Equation, new: list[Equation]) -> Block:
    """The block with one equation, wherever it stands, replaced."""
    made: list[Equation] = []
    for e in b.equations:
        if e is old:
            made += new
        else:
            made.append(replace(e, body=_with(e.body, old, new)) if e.body is not None else e)
    return Block(b.params, made, b.results)


def _zero(e: Equation, new: Iterator[int]) -> list[Equation]:
    t = e.output.type
    zero, spread = (Var(next(new), Type(Kind.CONST, shape, bits=t.bits)) for shape in ((), t.shape))
    return [
        Equation("const", (), (zero,), {"value": 0, "shape": []}, e.where),
        Equation("broadcast", (zero,), (spread,), {"shape": list(t.shape)}, e.where),
        Equation("cast", (spread,), (e.output,), {"kind": "mask"}, e.where),
    ]


def _twice(e: Equation, new: Iterator[int]) -> list[Equation]:
    if e.output.type.bits:
        return []
    r = Var(next(new), e.output.type)
    return [replace(e, outputs=(r,)), Equation("add", (r, r), (e.output,), {}, e.where)]


def _short(e: Equation, new: Iterator[int]) -> list[Equation]:
    t = e.output.type
    if t.bits or e.op == "owner_mask":
        return []
    r, few = Var(next(new), t), Var(next(new), t.but(kind=Kind.DEALER))
    return [
        replace(e, outputs=(r,)),
        Equation("shr", (r,), (few,), {"by": 56}, e.where),
        Equation("deal", (few,), (e.output,), {"id": next(new)}, e.where),
    ]


def _one_for_all(e: Equation, new: Iterator[int]) -> list[Equation]:
    t = e.output.type
    if t.size < 2:
        return []
    one = (1,) * len(t.shape)
    r = Var(next(new), t.but(shape=one))
    return [
        replace(e, outputs=(r,), params={**e.params, "shape": list(one)}),
        Equation("broadcast", (r,), (e.output,), {"shape": list(t.shape)}, e.where),
    ]


_BREAKS: dict[str, Callable[[Equation, Iterator[int]], list[Equation]]] = {
    "an opening without a mask": _zero,
    "twice a mask": _twice,
    "eight bits of a mask": _short,
    "one mask for all elements": _one_for_all,
}
