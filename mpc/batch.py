"""What the dealer does in the body of a loop, for many steps at once: as it sees no openings, it need not wait for any.

A value that differs from step to step has one axis more, its steps, in front. What does not depend on the loop's state
is computed for all steps first; then the state, one step after another, with nothing but what leads from one state to
the next; then the rest. What is long stays step by step, when it is sent. The words are those of dealing step by step,
and they are sent in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mpc.ir import Block, Equation, Var, walk
from mpc.kernels import KERNELS, slices
from mpc.ring import Domain, Domains
from mpc.schedule import Slot, receiver

__all__ = ["MASKS", "Batch", "Steps", "batch_of"]

_MOST, _FEWEST = 64, 4  # steps
_WORDS = 1 << 17  # that a batch makes
_LONG = 1 << 11  # words of a value that take longer than what is saved
MASKS = frozenset({"mask", "owner_mask"})
Shared = tuple[Any, bool]  # a value, and whether its first axis is that of steps
_Rule = Callable[[Domain, dict[str, Any], int, Sequence[Shared]], Any]


@dataclass(frozen=True)
class Batch:
    """How a body is dealt. steps: at once. state: parameters that the dealer needs and that change, with what is next.

    before, within, after: equations that do not depend on the state, those through which it depends on itself, and
    those which only read it. late: those of single steps, with what follows from them. deals: whom what is dealt in a
    step, in the order of sending; together: those of them that are made for all steps at once.
    """

    steps: int
    state: list[tuple[Var, Var]]
    before: list[Equation]
    within: list[Equation]
    after: list[Equation]
    late: list[Equation]
    deals: list[tuple[int, list[Equation]]]
    together: list[Equation]

    @property
    def made(self) -> list[Var]:
        """What its equations give."""
        return [v for e in (*self.before, *self.within, *self.after, *self.late) for v in e.outputs]


def batch_of(body: Block, slots: Sequence[Slot], carry: int, needed: set[int], parties: int) -> Batch | None:
    """How this body is dealt many steps at once; None if it is not.

    That is if it holds loops, or long values that are done in pieces, or if its state, with what leads to it, is too
    long. needed: the numbers of the values that deals depend on.
    """
    parts = [part for slot in slots for part in slot.parts]
    if any(part.swept for part in parts) or any(inner.op == "repeat" for inner in walk(body)):
        return None
    mine = [e for part in parts for e in part.equations if any(v.number in needed for v in e.outputs)]
    pairs = zip(body.params[1 : 1 + carry], body.results, strict=True)
    state = [(p, r) for p, r in pairs if p.number in needed and p is not r]
    leading = _leading(mine, {r for _, r in state})
    long = {e for e in mine if e not in leading and _long(e)}
    late = long | _following(mine, {v for e in long for v in e.outputs})
    soon = [e for e in mine if e not in late]
    single = {v for e in late for v in e.outputs}
    deals = [e for part in parts for e in part.deals]
    together = [e for e in deals if single.isdisjoint(e.inputs) and not _long(e)]
    made = [v for e in (*soon, *together) for v in e.outputs]
    words = sum(v.type.size for v in (*made, *(p for p, _ in state)))
    steps = min(_MOST, _WORDS // max(1, words))
    reading = _following(soon, {p for p, _ in state})
    batch = Batch(
        steps=steps,
        state=state,
        before=[e for e in soon if e not in reading],
        within=[e for e in soon if e in reading and e in leading],
        after=[e for e in soon if e in reading and e not in leading],
        late=[e for e in mine if e in late],
        deals=[pair for part in parts for pair in _by_party(part.deals, parties)],
        together=together,
    )
    return batch if steps >= _FEWEST else None


def _long(e: Equation) -> bool:
    return any(v.type.size > _LONG for v in e.outputs)


def _following(equations: Iterable[Equation], values: set[Var]) -> set[Equation]:
    """Those that depend on these values."""
    values, found = set(values), set()
    for e in equations:
        if not values.isdisjoint(e.inputs):
            found.add(e)
            values.update(e.outputs)
    return found


def _leading(equations: Sequence[Equation], values: set[Var]) -> set[Equation]:
    """Those that these values depend on."""
    values, found = set(values), set()
    for e in reversed(equations):
        if not values.isdisjoint(e.outputs):
            found.add(e)
            values.update(e.inputs)
    return found


def _by_party(deals: Sequence[Equation], parties: int) -> list[tuple[int, list[Equation]]]:
    of: dict[int, list[Equation]] = {}
    for e in deals:
        of.setdefault(receiver(e, parties), []).append(e)
    return sorted(of.items())


class Dealing(Protocol):
    """What a batch needs of the dealer. values: by number, those that are the same in every step."""

    values: dict[int, Any]
    domains: Domains

    def evaluate(self, e: Equation, iteration: int) -> tuple[Any, ...]:
        """What an equation gives that deals nothing, in the step of this flat index."""

    def masks(self, e: Equation, first: int, count: int) -> Any:
        """A mask in so many steps from the flat index `first` on."""


class Steps:
    """The steps of one batch that are being done, from the flat index `first` on. `wide`: values by step."""

    def __init__(self, dealer: Dealing, batch: Batch, first: int, count: int, step: Var, start: int) -> None:
        self._dealer, self._batch, self._first, self._count = dealer, batch, first, count
        self._state: dict[int, Any] = {}
        self.wide: dict[int, Any] = {step.number: np.arange(start, start + count, dtype=np.uint64)}

    def run(self) -> None:
        """Compute what the deals that are made together depend on."""
        for e in self._batch.before:
            self._together(e)
        self._advance()
        for e in self._batch.after:
            self._together(e)

    def leave(self) -> None:
        """The state is in the dealer's values as it is after the last step."""
        self._dealer.values |= self._state

    def late(self, i: int) -> None:
        """What is left of one of the steps: what it gives is among the dealer's values."""
        for e in self._batch.late:
            self._alone(e, i)

    def at(self, v: Var, i: int) -> Any:
        """In one of the steps, after `late`."""
        return self.wide[v.number][i, ...] if v.number in self.wide else self._dealer.values[v.number]

    def value(self, v: Var) -> Any:
        """Of all steps; where it is the same in all, without their axis."""
        return self.wide[v.number] if v.number in self.wide else self._dealer.values[v.number]

    def _together(self, e: Equation) -> None:
        dealer = self._dealer
        differs = any(v.number in self.wide for v in e.inputs)
        if e.op == "deal":  # to the dealer it is what it was; the corrections are made afterwards
            self._put(e, (self.value(e.inputs[0]),), differs)
        elif e.op in MASKS:
            self._put(e, (dealer.masks(e, self._first, self._count),), True)
        elif not differs:
            self._put(e, dealer.evaluate(e, self._first), False)
        else:
            values = [(self.value(v), v.number in self.wide) for v in e.inputs]
            results = _all_steps(e, dealer.domains[e.outputs[0].type.bits], self._count, values)
            self._put(e, self._one_by_one(e) if results is None else results, True)

    def _put(self, e: Equation, results: Sequence[Any], differs: bool) -> None:
        values = self.wide if differs else self._dealer.values
        for v, result in zip(e.outputs, results, strict=True):
            values[v.number] = result

    def _one_by_one(self, e: Equation) -> list[Any]:
        return [np.stack(each) for each in zip(*(self._alone(e, i) for i in range(self._count)), strict=True)]

    def _alone(self, e: Equation, i: int) -> tuple[Any, ...]:
        """What an equation gives in one step."""
        values = self._dealer.values
        for v in e.inputs:
            values[v.number] = self.at(v, i)
        results = (values[e.inputs[0].number],) if e.op == "deal" else self._dealer.evaluate(e, self._first + i)
        for v, result in zip(e.outputs, results, strict=True):
            values[v.number] = result
        return results

    def _advance(self) -> None:
        """The state, and what leads from one to the next, one step after another."""
        values, within, state = self._dealer.values, self._batch.within, self._batch.state
        made: dict[int, list[Any]] = {p.number: [] for p, _ in state}
        made |= {v.number: [] for e in within for v in e.outputs}
        for i in range(self._count):
            for p, _ in state:
                made[p.number].append(values[p.number])
            for e in within:
                for v, result in zip(e.outputs, self._alone(e, i), strict=True):
                    made[v.number].append(result)
            self._state = {p.number: self.at(r, i) for p, r in state}
            values |= self._state
        self.wide |= {number: np.stack(each) for number, each in made.items()}


def _all_steps(e: Equation, domain: Domain, steps: int, values: Sequence[Shared]) -> Sequence[Any] | None:
    """What an equation gives in every step, some of its operands differing; None: each step is to be done by itself."""
    rule = _RULES.get(e.op)
    results = None if rule is None else rule(domain, e.params, steps, values)
    return results if results is None or type(results) is tuple else (results,)


def _elementwise(op: str) -> _Rule:
    def rule(domain: Domain, params: dict[str, Any], _: int, values: Sequence[Shared]) -> Any:
        axes = max(np.ndim(x) - wide for x, wide in values)
        return KERNELS[op](domain, params, *(_aligned(x, axes) if wide else x for x, wide in values))

    return rule


def _aligned(x: Any, axes: int) -> Any:
    """With so many axes behind that of steps."""
    return x.reshape(len(x), *(1,) * (axes + 1 - x.ndim), *x.shape[1:])


def _sum(domain: Domain, params: dict[str, Any], _: int, values: Sequence[Shared]) -> Any:
    return domain.sum(values[0][0], tuple(axis + 1 for axis in params["axes"]), params["keepdims"])


def _concatenate(_: Domain, params: dict[str, Any], steps: int, values: Sequence[Shared]) -> Any:
    parts = [x if wide else np.broadcast_to(x, (steps, *x.shape)) for x, wide in values]
    return np.concatenate(parts, axis=params["axis"] + 1)


def _matmul(domain: Domain, _p: dict[str, Any], _n: int, values: Sequence[Shared]) -> Any:
    """A matrix that is the same in every step times vectors that are not is one product of matrices."""
    (x, wide_x), (y, wide_y) = values
    if wide_x and not wide_y and (np.ndim(x), np.ndim(y)) == (2, 2):
        return domain.matmul(x, y)
    if wide_y and not wide_x and (np.ndim(x), np.ndim(y)) == (2, 2):
        return domain.matmul(x, y.T).T
    return None


def _take(_: Domain, params: dict[str, Any], _n: int, values: Sequence[Shared]) -> Any:
    (x, wide), (index, moving) = values
    if not moving:
        return np.take(x, index.astype(np.int64), axis=params["axis"] + 1)
    return None if wide or params["axis"] else np.take(x, index.astype(np.int64), axis=0)


def _waves(domain: Domain, params: dict[str, Any], _: int, values: Sequence[Shared]) -> Any:
    return tuple(np.moveaxis(x, 1, 0) for x in KERNELS["waves"](domain, params, values[0][0]))


_ELEMENTWISE = ("add", "sub", "mul", "neg", "shl", "shr", "msb", "bit", "mod", "div")
_RULES: dict[str, _Rule] = {
    **{op: _elementwise(op) for op in _ELEMENTWISE},
    "cast": lambda _d, _p, _n, values: values[0][0],
    "onehot": lambda d, p, _, values: KERNELS["onehot"](d, p, values[0][0]),
    "waves": _waves,
    "sum": _sum,
    "matmul": _matmul,
    "take": _take,
    "concatenate": _concatenate,
    "reshape": lambda _d, p, n, values: values[0][0].reshape(n, *p["shape"]),
    "transpose": lambda _d, p, _n, values: values[0][0].transpose(0, *(axis + 1 for axis in p["axes"])),
    "broadcast": lambda _d, p, n, values: np.broadcast_to(_aligned(values[0][0], len(p["shape"])), (n, *p["shape"])),
    "slice": lambda _d, p, _n, values: values[0][0][(slice(None), *slices(p))],
}
