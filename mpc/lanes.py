"""Which local equations of a slot run together, over a few of their lanes at a time.

Elementwise work on long arrays waits for memory, and everything between two openings would be there at once. So a run
of equations whose elements do not depend on each other is done piece by piece, as much as stays in the cache: only what
is read elsewhere is ever whole. Parties and dealer cut in the same way, and corrections come in that order.

A lane is one element of the shape over which a part runs; a value may have more axes before that shape (the terms of a
series) and behind it (the bytes of a comparison).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from mpc.ir import SAVED, Equation, Kind, Type, Var
from mpc.prg import Position, Stream, Streams

__all__ = ["BLOCKS", "Part", "Sweep", "parts", "piece_of"]

Shape = tuple[int, ...]
Layout = tuple[Shape, Shape]  # the axes before the lanes, and those behind

_LONG = 1 << 23  # words of a value above which memory counts; shorter ones are sooner done whole,
_MUCH = 1 << 25  # unless they are so many words together
_PIECE = 1 << 17  # words of a piece of the largest value
_FEWEST, _MOST = 1 << 10, 1 << 14  # lanes of a piece
_ELEMENTWISE = frozenset({"add", "sub", "mul", "neg", "shl", "shr", "msb", "bit", "cast"})
BLOCKS = frozenset({"mask", "owner_mask", "deal"})
_SERIES = frozenset({"series", "waves"})
_ALONE = frozenset({Kind.PRIVATE, Kind.TABLE, Kind.CLEAR})  # of one owner, or float


@dataclass
class Part:
    """Local equations in order, with the deals among them. layouts: of what has lanes, if they run piece by piece."""

    equations: list[Equation]
    lanes: Shape = ()
    layouts: dict[Var, Layout] = field(default_factory=dict)

    @property
    def deals(self) -> list[Equation]:
        """Those whose corrections are drawn."""
        return [e for e in self.equations if e.op == "deal"]

    @property
    def made(self) -> set[Var]:
        """What they give."""
        return {v for e in self.equations for v in e.outputs}

    @property
    def count(self) -> int:
        """How many lanes there are."""
        return prod(self.lanes)

    @property
    def piece(self) -> int:
        """How many lanes are done at a time."""
        wide = max(prod(before) * prod(after) for before, after in self.layouts.values())
        return max(_FEWEST, min(_MOST, _PIECE // wide))

    def layout(self, number: int) -> Layout:
        """Where the lanes of a value are."""
        return self._by_number[number]

    @cached_property
    def _by_number(self) -> dict[int, Layout]:
        return {v.number: layout for v, layout in self.layouts.items()}

    @property
    def swept(self) -> bool:
        """Whether they run piece by piece."""
        return bool(self.lanes)

    def narrowed(self, count: int) -> list[Equation]:
        """The same equations, on so many lanes; every value keeps its number."""
        small: dict[Var, Var] = {}
        for v, (before, after) in self.layouts.items():
            small[v] = Var(v.number, v.type.but(shape=(*before, count, *after)))
        return [_narrow(e, small) for e in self.equations]


def _narrow(e: Equation, small: dict[Var, Var]) -> Equation:
    outputs = tuple(small[v] for v in e.outputs)
    params = {**e.params, "shape": list(outputs[0].type.shape)} if e.op == "broadcast" else e.params
    return Equation(e.op, tuple(small.get(v, v) for v in e.inputs), outputs, params, e.where)


class Sweep:
    """One pass over the lanes of a part: what is read from outside in pieces, what is put together again.

    values: by number, as an engine has them; while a piece is done they hold that piece. results: what is read
    elsewhere. A value that is not known here (None) stays that.
    """

    def __init__(self, part: Part, values: dict[int, Any], results: Iterable[Var], reads: Iterable[Var]) -> None:
        self._part, self._values = part, values
        self._whole = {v.number: (values[v.number], -1 - len(part.layouts[v][1])) for v in reads}
        self._flat = {
            number: (None if x is None else _flat(x, part, axis), axis) for number, (x, axis) in self._whole.items()
        }
        self._out = {v: np.empty(_shape(part, v), dtype=np.uint64) for v in results}
        self._unknown: set[Var] = set()

    def pieces(self) -> Iterator[tuple[int, int]]:
        """First lane and number of lanes of each piece; what it reads is there, what it gave is taken afterwards."""
        part, values = self._part, self._values
        for start in range(0, part.count, part.piece):
            count = min(part.piece, part.count - start)
            for number, (x, axis) in self._flat.items():
                values[number] = None if x is None else x[_lanes(axis, start, count)]
            yield start, count
            for v, out in self._out.items():
                x = values[v.number]
                if x is None:
                    self._unknown.add(v)
                else:
                    out[_lanes(-1 - len(part.layouts[v][1]), start, count)] = x
        for number, (x, _) in self._whole.items():
            values[number] = x
        for v in part.made:
            values.pop(v.number, None)
        for v, out in self._out.items():
            values[v.number] = None if v in self._unknown else out.reshape(v.type.shape)


def _lanes(axis: int, start: int, count: int) -> tuple[Any, ...]:
    return (..., slice(start, start + count), *(slice(None),) * (-1 - axis))


def _shape(part: Part, v: Var) -> Shape:
    before, after = part.layouts[v]
    return (*before, part.count, *after)


def _flat(x: Any, part: Part, axis: int) -> Any:
    """With all lanes in one axis; a view, where memory allows."""
    if len(part.lanes) == 1:
        return x
    x = np.asarray(x)
    end = x.ndim + axis + 1
    first = end - len(part.lanes)
    return x.reshape(*x.shape[:first], part.count, *x.shape[end:])


def piece_of(stream: Stream, seed: bytes, at: Position, t: Type, part: Part, number: int, start: int) -> Any:
    """Some lanes, from lane `start`, of the block of one sharing of a part; t: of a value with that many of them."""
    before, after = part.layout(number)
    wide, deep = prod(before), prod(after)
    count = t.size // max(1, wide * deep)
    if not isinstance(stream, Streams):  # one that knows whole sharings only
        words = stream(seed, at, (*before, *part.lanes, *after)).reshape(*before, part.count, *after)
        return words[_lanes(-1 - len(after), start, count)]
    rows = [
        stream(seed, Position(at.number, at.iteration, (row * part.count + start) * deep), (count * deep,))
        for row in range(wide)
    ]
    return (rows[0] if wide == 1 else np.stack(rows)).reshape(t.shape)


# ------------------------------------------------------------------------------------------------ which run together


def parts(local: Sequence[Equation]) -> list[Part]:
    """Local equations of a slot in an order that keeps what depends on what; long runs of one shape together."""
    items: list[Equation | Part] = list(local)
    for lanes in _shapes(local) if _long([v.type.size for e in local for v in (*e.inputs, *e.outputs)]) else []:
        items = _gathered(items, lanes)
    out: list[Part] = []
    for item in items:
        if isinstance(item, Part):
            out.append(item)
        elif out and not out[-1].swept:
            out[-1].equations.append(item)
        else:
            out.append(Part([item]))
    return out


def _shapes(local: Sequence[Equation]) -> list[Shape]:
    """Shapes over which equations might run, those with the fewest elements first."""
    found = set()
    for e in local:
        values = e.inputs if e.op in _SERIES or e.op == "onehot" else e.outputs
        found |= {v.type.shape for v in values if v.type.size >= _FEWEST}
    return sorted(found, key=lambda shape: (prod(shape), shape))


def _gathered(items: Sequence[Equation | Part], lanes: Shape) -> list[Equation | Part]:
    """The same, with what runs over these lanes put together as far as what depends on it allows."""
    out: list[Equation | Part] = []
    part, made, first = Part([], lanes), set[Var](), 0
    order = {id(item): at for at, item in enumerate(items)}

    def close() -> None:
        nonlocal part, made, first
        if _worth(part):
            out.append(part)
        else:
            out[first:] = sorted([*out[first:], *part.equations], key=lambda item: order[id(item)])
        part, made, first = Part([], lanes), set(), len(out)

    for item in items:
        reads = item.inputs if isinstance(item, Equation) else [v for e in item.equations for v in e.inputs]
        layouts = _layouts(item, lanes, part.layouts) if isinstance(item, Equation) else None
        if layouts is None and not made.isdisjoint(reads):
            close()
            layouts = _layouts(item, lanes, part.layouts) if isinstance(item, Equation) else None
        if layouts is None or not isinstance(item, Equation):
            out.append(item)  # before the part that is being made: nothing in it depends on that
        else:
            part.equations.append(item)
            part.layouts |= layouts
            made.update(item.outputs)
    close()
    return out


def _worth(part: Part) -> bool:
    if len(part.equations) < 2:
        return False
    sizes = [part.count * prod(before) * prod(after) for before, after in part.layouts.values()]
    return part.count >= 2 * part.piece and _long(sizes)


def _long(sizes: Sequence[int]) -> bool:
    """Whether values of so many words are worth being done piece by piece."""
    return max(sizes, default=0) >= _LONG or sum(sizes) >= _MUCH


def _layouts(e: Equation, lanes: Shape, known: dict[Var, Layout]) -> dict[Var, Layout] | None:
    """Where the lanes are in what an equation reads and gives; None if it is not done lane by lane."""
    if e.op in SAVED or any(v.type.kind in _ALONE for v in (*e.inputs, *e.outputs)):
        return None
    rule = _RULES.get(e.op, _elementwise if e.op in _ELEMENTWISE else None)
    found = rule(e, lanes, known) if rule is not None else None
    if found is None or any(known.get(v, layout) != layout for v, layout in found.items()):
        return None
    return found


def _ends(v: Var, lanes: Shape) -> Layout | None:
    shape, n = v.type.shape, len(lanes)
    return (shape[: len(shape) - n], ()) if len(shape) >= n and shape[len(shape) - n :] == lanes else None


def _begins(v: Var, lanes: Shape) -> Layout | None:
    shape, n = v.type.shape, len(lanes)
    return ((), shape[n:]) if shape[:n] == lanes else None


def _all(found: dict[Var, Layout | None]) -> dict[Var, Layout] | None:
    whole = {v: layout for v, layout in found.items() if layout is not None}
    return whole if len(whole) == len(found) else None


def _elementwise(e: Equation, lanes: Shape, _: dict[Var, Layout]) -> dict[Var, Layout] | None:
    return _all({v: _ends(v, lanes) for v in (*e.outputs, *(v for v in e.inputs if v.type.shape))})


def _source(e: Equation, lanes: Shape, known: dict[Var, Layout]) -> dict[Var, Layout] | None:
    """As what is dealt, if that is made in the same part; else the lanes stand behind, or before."""
    given = known.get(e.inputs[0]) if e.inputs else None
    own = given or _ends(e.output, lanes) or _begins(e.output, lanes)
    return _all(dict.fromkeys((*e.inputs, *e.outputs), own))


def _series(e: Equation, lanes: Shape, _: dict[Var, Layout]) -> dict[Var, Layout] | None:
    return _all({v: _ends(v, lanes) for v in e.outputs} | {e.inputs[0]: _just(e.inputs[0], lanes)})


def _just(v: Var, lanes: Shape) -> Layout | None:
    return ((), ()) if v.type.shape == lanes else None


def _onehot(e: Equation, lanes: Shape, _: dict[Var, Layout]) -> dict[Var, Layout] | None:
    return _all({e.inputs[0]: _just(e.inputs[0], lanes), e.output: _begins(e.output, lanes)})


def _look(e: Equation, lanes: Shape, _: dict[Var, Layout]) -> dict[Var, Layout] | None:
    hot, c = e.inputs
    return _all({hot: _begins(hot, lanes), c: _just(c, lanes), e.output: _just(e.output, lanes)})


def _sum(e: Equation, lanes: Shape, _: dict[Var, Layout]) -> dict[Var, Layout] | None:
    (x,) = e.inputs
    layout = _ends(x, lanes)
    front = layout is not None and list(e.params["axes"]) == list(range(len(layout[0]))) and not e.params["keepdims"]
    return _all({x: layout if front else None, e.output: _just(e.output, lanes)})


def _broadcast(e: Equation, lanes: Shape, _: dict[Var, Layout]) -> dict[Var, Layout] | None:
    return _all({e.output: None if e.inputs[0].type.shape else _just(e.output, lanes)})


_Rule = Callable[[Equation, Shape, dict[Var, Layout]], dict[Var, Layout] | None]
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(BLOCKS, _source),
    **dict.fromkeys(_SERIES, _series),
    "onehot": _onehot,
    "look": _look,
    "sum": _sum,
    "broadcast": _broadcast,
}
