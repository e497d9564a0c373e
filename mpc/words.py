"""Equations on single words, many of them as one function of Python's integers.

A call of numpy costs the same however little an array holds, and the step of a loop on single numbers is a dozen calls
on one word each, where Python is quicker with its integers. Between such functions words are arrays, as all values are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, MutableMapping, Sequence
from functools import lru_cache
from types import CodeType
from typing import Any

import numpy as np

from mpc.ir import Equation

__all__ = ["OPS", "compiled", "fused", "term"]

_TERMS = {"add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "neg": "-{0}", "shl": "{0} << {by}"}
_SHIFTS = {"shr": "{0} >> {by}", "msb": "{0} >> {top}"}  # of words: nothing comes out that is longer
OPS = _TERMS.keys() | _SHIFTS.keys()


def fused(
    equations: Sequence[Equation],
    left_out: Callable[[Equation], Collection[int]],
    kept: Collection[int],
    values: MutableMapping[int, Any],
    bits: int,
) -> Callable[[int], None]:
    """These equations of OPS on single words of a ring, in order, as one act on the values.

    left_out: which operands of an equation are not this party's to add. kept: the numbers of the results that
    somebody else reads. The source that is compiled holds numbers of variables and public parameters, and no value.
    """
    made: set[int] = set()
    lines: list[str] = []
    for e in equations:
        numbers = [v.number for v in e.inputs]
        lines += [f"v{n} = values[{n}].item()" for n in dict.fromkeys(numbers) if n not in made]
        made.update(numbers)
        lines.append(f"v{e.output.number} = {term(e, left_out(e), bits)}")
        made.add(e.output.number)
    lines += [f"values[{n}] = array(v{n}, word)" for n in kept]
    scope: dict[str, Any] = {"values": values, "array": np.array, "word": np.uint64, "mask": (1 << bits) - 1}
    exec(compiled("def act(_):\n " + "\n ".join(lines)), scope)  # noqa: S102 - of numbers alone, as dataclasses are made
    act: Callable[[int], None] = scope.pop("act")  # or it would hold itself, and the values
    return act


@lru_cache(64)
def compiled(text: str) -> CodeType:
    """The code of a text. Parties of one process, and runs of one program, have the same."""
    return compile(text, "words of a loop's step", "exec")


def term(e: Equation, left_out: Collection[int], bits: int) -> str:
    """An equation of OPS as an expression of Python's integers, each operand being v and its number."""
    operands = ["0" if at in left_out else f"v{v.number}" for at, v in enumerate(e.inputs)]
    if e.op == "shl" and e.params["by"] >= bits:
        return "0"
    if e.op in _SHIFTS:
        return _SHIFTS[e.op].format(*operands, by=e.params.get("by"), top=bits - 1)
    return f"({_TERMS[e.op].format(*operands, by=e.params.get('by'))}) & mask"
