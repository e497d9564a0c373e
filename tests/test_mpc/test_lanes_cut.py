"""mpc/lanes.py: which equations run together, and in how large pieces; and what is there while one is done."""

from __future__ import annotations

from itertools import count
from typing import Any

import numpy as np
import pytest

from mpc import lanes
from mpc.ir import Equation, Kind, Type, Var
from mpc.lanes import Layout, Part, Sweep, parts

LONG = 1 << 23
WHOLE: Layout = ((), ())
numbers = count()


def var(*shape: int, kind: Kind = Kind.SHARE) -> Var:
    return Var(next(numbers), Type(kind, shape))


def op(name: str, inputs: list[Var], *shape: int, kind: Kind = Kind.SHARE, **params: Any) -> Equation:
    return Equation(name, tuple(inputs), (var(*shape, kind=kind),), params)


def cut(equations: list[Equation]) -> list[tuple[bool, list[int]]]:
    """Of each part: whether it runs piece by piece, and the places of its equations."""
    place = {id(e): at for at, e in enumerate(equations)}
    return [(part.swept, [place[id(e)] for e in part.equations]) for part in parts(equations)]


def test_sizes_are_what_they_were() -> None:
    """Corrections come in the order of the pieces: a dealer and parties that cut in another way do not fit."""
    assert (lanes._LONG, lanes._MUCH) == (1 << 23, 1 << 25)
    assert (lanes._PIECE, lanes._FEWEST, lanes._MOST) == (1 << 17, 1 << 10, 1 << 14)


@pytest.mark.parametrize(
    ("layouts", "piece"),
    [
        ([WHOLE], 1 << 14),
        ([((), (20,))], (1 << 17) // 20),
        ([((4,), (5,))], (1 << 17) // 20),
        ([WHOLE, ((), (20,)), ((2,), ())], (1 << 17) // 20),
        ([((), (8,))], 1 << 14),
        ([((1 << 10,), ())], 1 << 10),
    ],
)
def test_a_piece_is_as_much_as_stays_in_the_cache(layouts: list[Layout], piece: int) -> None:
    assert Part([], (LONG,), {var(): layout for layout in layouts}).piece == piece


@pytest.mark.parametrize(
    ("equations", "run", "layouts", "worth"),
    [
        (2, (LONG,), [WHOLE], True),
        (1, (2 * LONG,), [WHOLE], False),
        (2, (LONG - 1,), [WHOLE], False),
        (2, (40_000,), [WHOLE], False),
        (2, (2048,), [((), (4096,))], True),
        (2, (2048,), [((64,), (64,))], True),
        (2, (32, 64), [WHOLE, ((), (4096,))], True),
        (2, (2047,), [((), (4100,))], False),
        (2, (2048,), [((), (4095,))], False),
        (2, (1 << 18,), [WHOLE] * 128, True),
        (2, (1 << 18,), [WHOLE] * 127, False),
        (2, (1 << 18,), [((4,), ()), *[WHOLE] * 124], True),
    ],
)
def test_what_is_worth_cutting(equations: int, run: tuple[int, ...], layouts: list[Layout], worth: bool) -> None:
    some = [op("add", [], 1)] * equations
    assert lanes._worth(Part(some, run, {var(): layout for layout in layouts})) == worth


def test_shapes_that_are_worth_a_look() -> None:
    x = var(2048)
    local = [
        op("add", [], 1023), op("add", [], 1024), op("add", [], 64, 64), op("series", [x], 5, 2048),
        op("onehot", [var(3000)], 3000, 20), op("look", [var(4000, 20), var(4000)], 5000),
    ]  # fmt: skip
    assert lanes._shapes(local) == [(1024,), (2048,), (3000,), (64, 64), (5000,)]
    assert lanes._shapes([op("waves", [x], 7, 2048)]) == [(2048,)]


# ------------------------------------------------------------------------------------------------------ where lanes are

X, M, W = var(2048), var(2048, 20), var(5, 2048)
PRIVATE = var(2048, kind=Kind.PRIVATE)
SQUARE = var(2048, 2048)
CASES: list[tuple[Equation, dict[Var, Layout], list[Layout] | None]] = [
    (op("add", [X, W], 5, 2048), {}, [WHOLE, ((5,), ()), ((5,), ())]),
    (op("mul", [X, var()], 2048), {}, [WHOLE, WHOLE]),
    (op("mul", [X, var(1)], 2048), {}, None),
    (op("add", [X, X], 2048), {X: WHOLE}, [WHOLE, WHOLE]),
    (op("add", [X, W], 5, 2048), {X: ((), (1,)), W: ((5,), ())}, None),
    (op("add", [X, PRIVATE], 2048), {}, None),
    (op("add", [X, X], 2048, kind=Kind.CLEAR), {}, None),
    (op("checkpoint", [X], 2048), {}, None),
    (op("matmul", [X, X], 2048), {}, None),
    (op("mask", [], 2048), {}, [WHOLE]),
    (op("mask", [], 5, 2048), {}, [((5,), ())]),
    (op("owner_mask", [], 2048, 3), {}, [((), (3,))]),
    (op("mask", [], 2047), {}, None),
    (op("deal", [SQUARE], 2048, 2048), {}, [((2048,), ())] * 2),
    (op("deal", [SQUARE], 2048, 2048), {SQUARE: ((), (2048,))}, [((), (2048,))] * 2),
    (op("series", [X], 3, 2048), {}, [WHOLE, ((3,), ())]),
    (op("series", [W], 3, 2048), {}, None),
    (op("waves", [X], 2048, 3), {}, None),
    (op("onehot", [X], 2048, 20), {}, [WHOLE, ((), (20,))]),
    (op("onehot", [W], 2048, 20), {}, None),
    (op("look", [M, X], 2048), {}, [((), (20,)), WHOLE, WHOLE]),
    (op("look", [M, X], 2048, 2), {}, None),
    (op("sum", [W], 2048, axes=[0], keepdims=False), {}, [((5,), ()), WHOLE]),
    (op("sum", [SQUARE], 2048, axes=[1], keepdims=False), {}, None),
    (op("sum", [W], 2048, axes=[0], keepdims=True), {}, None),
    (op("sum", [var(7)], 2048, axes=[0], keepdims=False), {}, None),
    (op("broadcast", [var()], 2048, shape=[2048]), {}, [WHOLE]),
    (op("broadcast", [var(1)], 2048, shape=[2048]), {}, None),
    (op("broadcast", [var()], 5, 2048, shape=[5, 2048]), {}, None),
]


@pytest.mark.parametrize(("e", "known", "expected"), CASES, ids=lambda x: x.op if isinstance(x, Equation) else "")
def test_where_the_lanes_are(e: Equation, known: dict[Var, Layout], expected: list[Layout] | None) -> None:
    found = lanes._layouts(e, (2048,), known)
    if found is not None:
        assert set(found) == {v for v in (*e.inputs, *e.outputs) if v.type.shape}
    assert (found and [found[v] for v in dict.fromkeys((*e.inputs, *e.outputs)) if v in found]) == expected


def test_lanes_of_two_axes_are_the_last_two() -> None:
    table = (32, 64)
    assert lanes._layouts(op("neg", [var(3, 32, 64)], 3, 32, 64), table, {}) is not None
    assert lanes._layouts(op("neg", [var(64)], 32, 64), table, {}) is None
    assert lanes._layouts(op("neg", [var(64, 32)], 64, 32), table, {}) is None


# ------------------------------------------------------------------------------------------------- what runs together


def chain(*inputs: Var, shape: tuple[int, ...] = (LONG,)) -> list[Equation]:
    first = op("add", list(inputs), *shape)
    return [first, op("mul", [first.output, first.output], *shape)]


def test_two_long_ones_run_together_and_one_word_less_is_not_long() -> None:
    assert cut(chain(var(LONG))) == [(True, [0, 1])]
    assert cut(chain(var(LONG - 1), shape=(LONG - 1,))) == [(False, [0, 1])]
    assert cut([*chain(var(LONG)), op("add", [var(2)], 2)]) == [(False, [2]), (True, [0, 1])]


def test_what_depends_on_a_part_comes_behind_it_and_what_does_not_before() -> None:
    one, two = chain(var(LONG)), chain(var(LONG))
    total = op("sum", [one[1].output], axes=[0], keepdims=False)
    other = op("matmul", [var(3, 3)], 3, 3)
    after = op("neg", [total.output])
    assert cut([*one, other, total, after, *two]) == [(False, [2]), (True, [0, 1]), (False, [3, 4]), (True, [5, 6])]
    assert cut([*one, other, *two]) == [(False, [2]), (True, [0, 1, 3, 4])]


def test_what_is_not_worth_it_stays_in_its_order() -> None:
    short, single = chain(var(2048), shape=(2048,)), op("neg", [var(LONG)], LONG)
    local = [short[0], op("matmul", [var(3, 3)], 3, 3), short[1], op("matmul", [short[1].output], 3), single]
    assert cut(local) == [(False, [0, 1, 2, 3, 4])]


def test_each_shape_has_its_part() -> None:
    one, two = chain(var(LONG)), chain(var(4, LONG), shape=(4, LONG))
    three = chain(var(1 << 12, 1 << 12), shape=(1 << 12, 1 << 12))
    assert cut([*one, *three]) == [(True, [0, 1]), (True, [2, 3])]
    assert cut([*one, *two]) == [(True, [0, 1, 2, 3])]
    (part,) = parts([*one, *two])
    assert part.layouts[two[0].output] == ((4,), ())
    assert (part.count, part.piece) == (LONG, 1 << 14)


def test_another_place_of_the_lanes_begins_another_part() -> None:
    """What runs behind the lanes for one equation and before them for the next cannot be in one piece."""
    c = var(4096)
    hot = op("onehot", [c], 4096, 4096)
    seen = op("look", [hot.output, c], 4096)
    both = chain(hot.output, shape=(4096, 4096))
    made = lanes._gathered([hot, seen, *both], (4096,))
    assert [part.equations for part in made if isinstance(part, Part)] == [[hot, seen], both]


def test_a_part_reads_what_an_earlier_one_gave() -> None:
    """Once gathered, a part is one thing: what reads from it waits for all of it."""
    wide = chain(var(3000, 4096), shape=(3000, 4096))
    low = op("neg", [wide[1].output], 3000, 4096)
    first = op("add", [var(LONG)], LONG)
    turned = op("reshape", [first.output], LONG)
    local = [first, *wide, low, turned, op("neg", [turned.output], LONG), op("neg", [turned.output], LONG)]
    assert cut(local) == [(False, [0, 4]), (True, [5, 6]), (True, [1, 2, 3])]


# ----------------------------------------------------------------------------------------------------------- one pass


@pytest.mark.parametrize("run", [(3000,), (50, 60)], ids=["one axis", "two axes"])
def test_a_pass_cuts_what_is_read_and_puts_together_what_is_read_elsewhere(
    run: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "_MOST", 1 << 10)
    layouts: list[Layout] = [WHOLE, ((), (3,)), ((2,), ()), ((2,), (3, 4))]
    reads, gives = ([var(*before, *run, *after) for before, after in layouts] for _ in range(2))
    unknown, hidden, inner = var(*run), var(*run), var(*run)
    where = dict(zip([*reads, *gives], layouts * 2, strict=True)) | dict.fromkeys((unknown, hidden, inner), WHOLE)
    made = [op_of(x, y) for x, y in zip(reads, gives, strict=True)]
    part = Part([*made, op_of(unknown, hidden), op_of(reads[0], inner)], run, where)
    given = [np.arange(x.type.size, dtype=np.uint64).reshape(x.type.shape) for x in reads]
    values: dict[int, Any] = {x.number: value for x, value in zip(reads, given, strict=True)} | {unknown.number: None}

    pieces = []
    for start, number in Sweep(part, values, [*gives, hidden], [*reads, unknown]).pieces():
        pieces.append((start, number))
        for x, y, (before, after) in zip(reads, gives, layouts, strict=True):
            assert values[x.number].shape == (*before, number, *after)
            values[y.number] = values[x.number] + np.uint64(1)
        assert values[unknown.number] is None
        values[hidden.number], values[inner.number] = None, values[reads[0].number]
    assert pieces == [(0, 1024), (1024, 1024), (2048, 952)]
    for x, y, value in zip(reads, gives, given, strict=True):
        assert values[x.number] is value
        assert np.array_equal(values[y.number], value + np.uint64(1))
        assert values[y.number].shape == y.type.shape
    assert values[hidden.number] is None
    assert inner.number not in values


def op_of(x: Var, y: Var) -> Equation:
    return Equation("neg", (x,), (y,))
