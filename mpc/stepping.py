"""All steps of a loop on single words as one generator function, in which words are Python's integers throughout.

Beside the arithmetic, of which a step on single numbers has little, walking through slots and rounds and turning words
into arrays and back would take most of a step. Here a step is straight code, and what is sent are integers too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpc.exchange import Exchange, Frame, Words
from mpc.ir import Block, Equation
from mpc.prg import Ahead
from mpc.rounds import Round, Rounds, Run, fits
from mpc.supply import Supply
from mpc.words import compiled, term

__all__ = ["Stage", "stepped"]


@dataclass(frozen=True, slots=True)
class Stage:
    """A slot of the loop's body: whose blocks of streams it has, its equations of `mpc.words.OPS`, and its round.

    masks: for each stream the numbers of the values that it gives.
    """

    masks: tuple[tuple[Ahead, list[int]], ...]
    equations: tuple[Equation, ...]
    round: Round | None


def stepped(
    party: Rounds,
    body: Block,
    carry: int,
    stages: Sequence[Stage],
    supply: Supply | None,
    dealt: dict[int, int],
    *,
    counts: bool,
) -> Callable[[int, int, int], Run]:
    """The steps of this body as a function of the flat index and the number of the first, and of how many there are.

    It takes the state from the values of the body's first `carry` parameters and leaves it there. supply: of what is
    dealt; `dealt`: the numbers of those values, and where in it they stand. counts: whether a step reads its number.
    The source that is compiled holds numbers of variables and public parameters, and no value.
    """
    counter, *params = [p.number for p in body.params]
    state = params[:carry]
    scope: dict[str, Any] = {"party": party, "values": party.values, "array": np.array, "word": np.dtype("<u8")}
    scope |= {"mask": (1 << 64) - 1, "Exchange": Exchange, "integers": _integers, "supply": supply, "nothing": ()}
    step = list(_step(party, stages, dealt, scope))
    made = {counter, *dealt, *(n for s in stages for n in _made(s))}
    outside = dict.fromkeys(n for n in (*state, *_read(stages, body)) if n not in made)
    lines = ["def steps(first, start, times):", *(f" v{n} = values[{n}].item()" for n in outside)]
    lines += [f" {_masks(numbers)} = {_masks(numbers)}_of.each(first)" for s in stages for _, numbers in s.masks]
    lines += [" dealt = iter(nothing)"] if supply is not None else []
    lines += [" yield from nothing", " for at in range(times):"]  # a generator, though no step may have a round
    lines += [f"  v{counter} = start + at"] if counts else []
    lines += _supplied(dealt) if supply is not None else []
    lines += [f"  {line}" for line in step]
    lines += [f"  {_together(state)} = {_together([v.number for v in body.results])}"] if state else []
    lines += [f" values[{n}] = array(v{n}, word)" for n in state]
    exec(compiled("\n".join(lines)), scope)  # noqa: S102 - of numbers alone, as dataclasses are made
    steps: Callable[[int, int, int], Run] = scope.pop("steps")  # or it would hold itself, and all its masks
    return steps


def _made(s: Stage) -> Iterator[int]:
    for _, numbers in s.masks:
        yield from numbers
    yield from (e.output.number for e in s.equations)
    if s.round is not None:
        yield from (e.output.number for e in s.round.equations)


def _read(stages: Iterable[Stage], body: Block) -> Iterator[int]:
    for s in stages:
        yield from (v.number for e in s.equations for v in e.inputs)
        yield from (e.inputs[0].number for e in (s.round.equations if s.round is not None else ()))
    yield from (v.number for v in body.results)


def _integers(items: list[Any], expect: tuple[Frame, ...], who: str, where: str) -> Words:
    """What a peer owed, of integers or of arrays. Raises PeerError."""
    if items and type(items[0]) is int and len(items) == len(expect):
        return items
    fits(items, expect, who, where)
    return [a.item() for a in items]


def _masks(numbers: Sequence[int]) -> str:
    return f"masks{numbers[0]}"


def _together(numbers: Sequence[int]) -> str:
    return ", ".join(f"v{n}" for n in numbers)


def _supplied(dealt: dict[int, int]) -> Iterator[str]:
    """The corrections of this step, of which those of many steps come together."""
    yield "  words = next(dealt, nothing)"
    yield "  if not words:"
    yield "   supply.fill(*(yield from party.answered(supply.draw(party.draws + 1, times - at))))"
    yield "   dealt = supply.each()"
    yield "   words = next(dealt)"
    yield f"  {_together(sorted(dealt, key=dealt.__getitem__))}, = words"


def _step(party: Rounds, stages: Sequence[Stage], dealt: dict[int, int], scope: dict[str, Any]) -> Iterator[str]:
    for s in stages:
        for ahead, numbers in s.masks:
            scope[f"{_masks(numbers)}_of"] = ahead
            yield f"{_together(numbers)}, = next({_masks(numbers)})"
        for e in s.equations:
            yield f"v{e.output.number} = {term(e, party.not_mine(e), 64)}"
        if s.round is not None:
            yield from _exchanged(party, s.round, scope)


def _exchanged(party: Rounds, r: Round, scope: dict[str, Any]) -> Iterator[str]:
    """One round, in which each party opens its words to all others."""
    first = r.equations[0].output.number
    scope |= {f"round{first}": r, f"expect{first}": r.expect}
    yield f"sent = [{_together([e.inputs[0].number for e in r.equations])}]"
    yield "party.exchanges += 1"
    to = ", ".join(f"{peer}: [*sent]" if at else f"{peer}: sent" for at, peer in enumerate(r.expect))
    yield f"answer = yield Exchange(party.exchanges, round{first}.words, {{{to}}}, expect{first}, single=True)"
    for peer, frames in r.expect.items():
        scope[f"frames{first}_{peer}"] = frames
        about = f"frames{first}_{peer}, party.calls[{peer}], round{first}.where"
        yield f"theirs{peer} = integers(answer.get({peer}, nothing), {about})"
    for at, e in enumerate(r.equations):
        whole = " + ".join((f"v{e.inputs[0].number}", *(f"theirs{peer}[{at}]" for peer in r.expect)))
        yield f"v{e.output.number} = ({whole}) & mask"
