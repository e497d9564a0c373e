"""What of a loop's steps follows from streams and public numbers alone: a party computes it before it has its data.

In the masked suite that is all that is done to masks: the rows of λ for each batch, the mask of the state from step to
step. Source: function-dependent preprocessing, as in Patra, Schneider, Suresh, Yalame: ABY2.0, USENIX Security 2021.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import numpy as np

from mpc.ir import Block, Equation, Kind, Var
from mpc.lanes import BLOCKS
from mpc.owner import FLOAT_KINDS

__all__ = ["MOST", "ROOM", "Foreseen", "of_streams"]

MOST = 1 << 20  # words that a step may make like this: else they would all lie there together
ROOM = 16 << 20  # bytes that may wait for their steps, and one step more
_ARRAY = 256  # bytes that an array takes beside its words, or what holds those of a step
_DATA = frozenset({"share", "shown", "kept"})  # ops on data, or on what an earlier run has kept
_OTHERS = FLOAT_KINDS | {Kind.DEALER}


def of_streams(
    equations: Sequence[Equation],
    there: Collection[Var],
    state: Iterable[tuple[Var, Var]],
    corrected: Callable[[Equation], bool],
) -> tuple[list[Equation], list[tuple[Var, Var]]]:
    """Which equations of a body are like that, in order, and which entries of its state.

    there: what is known of its parameters. state: entries that are known at the beginning, and the result of a step
    that each becomes. corrected: of what is dealt, whether the dealer's correction comes to this party.
    """
    carried = list(state)
    while True:
        known = {*there, *(before for before, _ in carried)}
        found = []
        for e in equations:
            drawn = e.op in BLOCKS and not (e.op == "deal" and corrected(e))
            if drawn or (e.op not in BLOCKS | _DATA and known.issuperset(e.inputs) and _here(e)):
                found.append(e)
                known.update(e.outputs)
        remaining = [(before, after) for before, after in carried if after in known]
        if remaining == carried:
            return found, carried
        carried = remaining


def _here(e: Equation) -> bool:
    """Whether it is an equation of this party's on words."""
    return bool(e.outputs) and all(v.type.kind not in _OTHERS for v in e.outputs)


def _whole(array: Any) -> Any:
    """The array whose memory a view keeps."""
    while isinstance(base := getattr(array, "base", None), np.ndarray):
        array = base
    return array


class Foreseen:
    """These equations of one loop, and what they have made of the steps to come.

    acts: how they are made at a step. fixed: what is the same at every step. state: as of `of_streams`.
    """

    def __init__(
        self,
        body: Block,
        equations: Sequence[Equation],
        acts: Sequence[Callable[[int], None]],
        fixed: Collection[Var],
        state: Sequence[tuple[Var, Var]],
    ) -> None:
        own = set(equations)
        made = [v for e in equations for v in e.outputs if v not in fixed]
        wanted = {*body.results, *(v for e in body.equations if e not in own for v in e.inputs)}
        self._counter = body.params[0].number
        self._acts = acts
        self._made = [v.number for v in made]
        self._read = [v.number for v in made if v in wanted]
        self._state = [(before.number, after.number) for before, after in state]
        self._waiting: deque[dict[int, Any]] = deque()

    def __repr__(self) -> str:
        return f"<Foreseen: {len(self._acts)} acts, {len(self._waiting)} steps>"

    def prepare(self, values: dict[int, Any], start: int, times: int, room: int) -> int:
        """Make steps until `room` bytes wait; the parameters that are known are among the values, and are left there.

        start, times: the number of the first step, and of all. Returns how many bytes wait.
        """
        there = {id(whole) for whole in map(_whole, values.values())}
        size = at = 0
        while at < times and size < room:
            values[self._counter] = np.asarray(start + at, dtype=np.uint64)
            self._make(at)
            step = {number: values[number] for number in self._read}
            wholes = {id(whole): whole.nbytes for whole in map(_whole, step.values())}
            size += sum(nbytes for whole, nbytes in wholes.items() if whole not in there) + _ARRAY * (1 + len(step))
            there |= wholes.keys()
            self._waiting.append(step)
            values.update({before: values[after] for before, after in self._state})
            at += 1
        for number in self._made:
            values.pop(number, None)
        return size

    def step(self, values: dict[int, Any], at: int) -> None:
        """A step begins: take what was made for it, or make it."""
        if self._waiting:
            values.update(self._waiting.popleft())
        else:
            self._make(at)

    def _make(self, at: int) -> None:
        for act in self._acts:
            act(at)
