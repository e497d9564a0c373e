"""Surface ops that are short for others: written out before lowering looks at a program."""

from __future__ import annotations

import numpy as np

from mpc.ir import Block, Equation, Var, walk

__all__ = ["expand"]


def expand(block: Block) -> Block:
    """The same block with choose(c, x, y) as x + c · (y − x)."""
    names = [v.number for e in walk(block) for v in (*e.outputs, *(e.body.params if e.body else ()))]
    return _expanded(block, [max(names, default=0) + 1])


def _expanded(block: Block, fresh: list[int]) -> Block:
    out: list[Equation] = []
    for e in block.equations:
        if e.op == "choose":
            out.extend(_choose(e, fresh))
        elif e.op == "repeat" and e.body is not None:
            out.append(Equation(e.op, e.inputs, e.outputs, e.params, e.where, _expanded(e.body, fresh)))
        else:
            out.append(e)
    return Block(block.params, out, block.results)


def _choose(e: Equation, fresh: list[int]) -> list[Equation]:
    c, x, y = e.inputs
    difference = Var(fresh[0], x.type.but(shape=np.broadcast_shapes(x.type.shape, y.type.shape)))
    product = Var(fresh[0] + 1, e.output.type)
    fresh[0] += 2
    return [
        Equation("sub", (y, x), (difference,), {}, e.where),
        Equation("mul", (c, difference), (product,), {}, e.where),
        Equation("add", (x, product), (e.output,), {}, e.where),
    ]
