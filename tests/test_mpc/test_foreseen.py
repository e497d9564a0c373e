"""mpc/foreseen.py: what a loop makes of streams alone is there before the data, and is what its steps would make."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from loops import exchanged, nested, two
from runs import CASES, drive, prepared, same

import mpc
from mpc import engine, schedule
from mpc.engine import _Party, run_party
from mpc.exchange import Draw, Exchange
from mpc.foreseen import Foreseen, of_streams
from mpc.ir import Block, Equation, Kind, Type, Var
from mpc.memory import names_of
from mpc.testing import deterministic_entropy
from protocols import BEAVER, MASKED


@mpc.program
def chained(x: mpc.PerParty[mpc.Private]) -> Any:
    """A state that is multiplied; rows of a value outside; a public number of each step."""
    a, b = two(x)

    def step(i: Any, z: Any) -> Any:
        row = b[i % 2]
        return mpc.assume_range(mpc.rescale(z * row, 16) + i, -90, 90)

    return mpc.reveal(mpc.repeat(7, step, a[0]))


@mpc.program
def twice(x: mpc.PerParty[mpc.Private]) -> Any:
    """Two loops, of which the second begins with what the first has left."""
    a, b = two(x)

    def step(_: Any, z: Any) -> Any:
        return mpc.assume_range(mpc.rescale(z * b, 16), -2, 2)

    return mpc.reveal(mpc.repeat(3, step, mpc.repeat(4, step, a)))


def square(n: int) -> Any:
    return {"x": {p: np.arange(4.0).reshape(2, 2) / 4 - i / 4 for i, p in enumerate(names_of(n))}}


OWN = [
    pytest.param(program, square(n), names_of(n), {}, id=f"{program.name}-{n}")
    for program in (chained, exchanged, nested, twice)
    for n in (2, 3)
]


TRAINED = next(c.values for c in CASES if c.id == "logistic-2")


def said(case: Any, suite: mpc.Suite = MASKED) -> tuple[Any, Any]:
    """The results of a run, and all that each party sends, word by word."""
    program, inputs, names, settings = case
    sent: list[list[Any]] = [[] for _ in names]

    def watch(p: int, r: Any) -> None:
        if isinstance(r, Exchange):
            sent[p].append((r.number, {q: [a.tobytes() for a in arrays] for q, arrays in r.arrays.items()}))
        elif isinstance(r, Draw):
            sent[p].append(r.expect)

    lowered, owned = prepared(program, inputs, names, settings, suite)
    return drive(lowered, owned, len(names), watch), sent


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """How many steps of each loop are made before the data, and the bytes of all, in the order of parties."""
    met: list[tuple[int, int]] = []
    really = Foreseen.prepare

    def prepare(self: Foreseen, values: Any, start: int, times: int, room: int) -> int:
        taken = really(self, values, start, times, room)
        met.append((len(self._waiting), taken))
        return taken

    monkeypatch.setattr(Foreseen, "prepare", prepare)
    return met


@pytest.mark.parametrize("suite", [MASKED, BEAVER], ids=["masked", "beaver"])
@pytest.mark.parametrize("case", [pytest.param(c.values, id=c.id) for c in (*OWN, *CASES)])
def test_what_is_foreseen_is_what_the_steps_would_make(
    case: Any, suite: mpc.Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = said(case, suite)
    monkeypatch.setattr(_Party, "foresee", lambda _self, _e: None)
    step_by_step = said(case, suite)
    assert before[1] == step_by_step[1]
    assert same(before[0], step_by_step[0])


def test_all_steps_are_made_before_the_data(waiting: list[tuple[int, int]]) -> None:
    """The call that prepares a run is given none."""
    lowered, _ = prepared(*TRAINED)
    for p, entropy in enumerate(deterministic_entropy(2)[1]):
        run_party(lowered, p, {}, entropy).close()
    assert [steps for steps, _ in waiting] == [3, 3]


@pytest.mark.parametrize(("room", "steps"), [(0, 0), (1, 1), (1 << 20, 3)])
def test_as_many_steps_as_there_is_room_for(
    room: int, steps: int, waiting: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are made when they begin, and all is the same."""
    expected = said(TRAINED)
    monkeypatch.setattr(engine, "ROOM", room)
    assert said(TRAINED)[1] == expected[1]
    assert [made for made, _ in waiting] == [3, 3, steps, steps]


def test_loops_share_that_room(waiting: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    case = next(c.values for c in OWN if c.id == "twice-2")
    expected = said(case)
    (first, size), (second, _) = waiting[:2]
    assert (first, second) == (4, 3)
    monkeypatch.setattr(engine, "ROOM", size + 1)
    assert said(case)[1] == expected[1]
    assert [steps for steps, _ in waiting[4:6]] == [4, 1]


@mpc.program
def spread(x: mpc.PerParty[mpc.Private]) -> Any:
    """A step whose masks are copied into much more than they are."""
    a, b = two(x)

    def bounded(z: Any) -> Any:
        return mpc.rescale(mpc.assume_range(z, -2, 2), 16)

    def step(_: Any, z: Any) -> Any:
        few = bounded(z * b[:5])
        many = mpc.broadcast_to(few, (200, 5)).reshape((1000,))
        return bounded(few + (many * b).reshape((200, 5)).sum(axis=0) * 2.0**-13)

    return mpc.reveal(mpc.repeat(40, step, a[:5]))


def test_no_more_waits_than_is_said(waiting: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = {"x": {p: np.zeros(1000) for p in names_of(2)}}
    lowered, _ = prepared(spread, inputs, names_of(2), {})

    def held(p: int, room: int) -> int:
        monkeypatch.setattr(engine, "ROOM", room)
        entropy = deterministic_entropy(2)[1][p]
        tracemalloc.start()
        run = run_party(lowered, p, {}, entropy)
        found, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        run.close()
        return found

    held(0, 0)  # what is made once, by whoever is first
    for p in range(2):
        nothing, something = held(p, 0), held(p, 1 << 17)
        made, size = waiting[-1]
        assert 0 < made < 40
        assert size <= (1 << 17) + 10_000  # a step more
        assert 0 < something - nothing < size + 4_000


def test_what_takes_much_in_a_step_is_left_where_it_is(
    waiting: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = said(OWN[0].values)
    monkeypatch.setattr(engine, "MOST", 3)
    assert said(OWN[0].values)[1] == expected[1]
    assert len(waiting) == 2


def test_where_masks_wait_for_their_slot_so_do_steps(
    waiting: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory counts there."""
    monkeypatch.setattr(schedule, "_EARLY", 1)
    monkeypatch.setattr(engine, "_LONG", 100)
    short = said(TRAINED)
    assert [steps for steps, _ in waiting] == [3, 3]
    monkeypatch.setattr(engine, "_LONG", 1)
    assert said(TRAINED)[1] == short[1]
    assert len(waiting) == 2


def test_twin_in_which_the_mask_of_the_state_stands_still_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    expected, _ = said(TRAINED)
    really = Foreseen.__init__
    monkeypatch.setattr(Foreseen, "__init__", lambda self, b, e, a, f, _state: really(self, b, e, a, f, []))
    wrong, _ = said(TRAINED)
    assert not same(wrong, expected)


def test_twin_that_makes_every_step_of_the_first_masks_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    expected, _ = said(OWN[0].values)
    really = Foreseen._make
    monkeypatch.setattr(Foreseen, "_make", lambda self, _at: really(self, 0))
    wrong, _ = said(OWN[0].values)
    assert not same(wrong, expected)


def test_nothing_that_was_opened_or_that_the_dealer_corrects_is_foreseen() -> None:
    lowered, _ = prepared(*TRAINED)
    (loop,) = [e for e in lowered.block.equations if e.op == "repeat"]
    assert loop.body is not None
    local = [q for slot in lowered.slots(loop.body) for q in slot.local]
    pairs = list(zip(loop.body.params[1:], loop.body.results, strict=False))
    there = (loop.body.params[0], *loop.body.params[1 + len(pairs) :])
    for corrected in (True, False):
        found, state = of_streams(local, there, pairs, lambda _, c=corrected: c)
        opened = {e.output for slot in lowered.slots(loop.body) for e in slot.exchange}
        made = {v for q in found for v in q.outputs}
        assert opened.isdisjoint(v for q in found for v in q.inputs)
        assert any(q.op == "deal" for q in found) != corrected
        assert {before.type.kind for before, _ in state} == {Kind.MASK}
        assert {after for _, after in state} <= made | set(loop.body.params)
        everything, _ = of_streams(local, (*there, *opened), pairs, lambda _, c=corrected: c)
        assert len(everything) > len(found)


def test_what_is_foreseen_is_found_by_what_it_is_made_of() -> None:
    """Of ops on data nothing, however little they read; of what is dealt what no correction belongs to."""
    numbers = iter(range(99))

    def var(kind: Kind = Kind.MASK, size: int = 3) -> Var:
        return Var(next(numbers), Type(kind, (size,)))

    there, public, state, table = var(), var(Kind.PUBLIC), var(), var(Kind.TABLE)
    mask = Equation("mask", (), (var(),))
    dealt, own = (Equation("deal", (public,), (var(),)) for _ in "ab")
    added = Equation("add", (there, mask.output), (var(),))
    becomes = Equation("sub", (state, added.output), (var(),))
    of_data = [Equation(op, (), (var(Kind.SHARE),)) for op in ("share", "shown", "kept")]
    read = Equation("add", (public, mask.output), (var(),))
    both = Equation("waves", (added.output,), (var(Kind.DEALER), var(Kind.DEALER)))
    mixed = Equation("waves", (added.output,), (var(), var(Kind.DEALER)))
    saved = Equation("checkpoint", (added.output,), ())
    column = Equation("column", (), (var(Kind.PRIVATE),))
    equations = [mask, dealt, own, added, becomes, *of_data, read, both, mixed, saved, column]
    pairs = [(state, becomes.output), (table, read.output)]
    found, carried = of_streams(equations, [there], pairs, lambda e: e in (own, mask))
    assert found == [mask, dealt, added, becomes]
    assert carried == pairs[:1]
    lost, _ = of_streams(equations, [], pairs, lambda e: e in (own, mask))
    assert lost == [mask, dealt]


def test_what_waits_is_counted_with_what_holds_it() -> None:
    """A view takes no memory of its own; what is read by nobody does not wait."""
    step, kept, rows = (Var(i, Type(Kind.MASK, shape)) for i, shape in enumerate(((), (4, 6), (4,))))
    taken = Equation("take", (kept, rows), (Var(3, Type(Kind.MASK, (4, 5))),))
    turned = Equation("transpose", (taken.output,), (Var(4, Type(Kind.MASK, (5, 4))),))
    again = Equation("slice", (turned.output,), (Var(5, Type(Kind.MASK, (2, 4))),))
    inner = Equation("add", (taken.output, taken.output), (Var(6, Type(Kind.MASK, (4, 5))),))
    short = Equation("sum", (inner.output,), (Var(7, Type(Kind.MASK, (7,))),))
    own = [taken, turned, again, inner, short]
    other = Equation("cross", (turned.output, again.output, short.output), (Var(8, Type(Kind.SHARE, (1,))),))
    body = Block((step, kept, rows), [*own, other], (other.output,))
    values: dict[int, Any] = {1: np.zeros((4, 6), np.uint64)}
    numbers: list[int] = []

    def make(e: Equation, words: Any) -> Any:
        def act(at: int) -> None:
            numbers.append(int(values.get(0, at)))
            values[e.output.number] = words(at)

        return act

    def new(at: int) -> Any:
        return np.full((4, 5), at, np.uint64)

    words = [new, lambda _: values[3].T, lambda _: values[4][1:3], new, lambda at: np.full(7, at, np.uint64)]
    foreseen = Foreseen(body, own, list(map(make, own, words)), set(), [])
    size = 8 * (20 + 7) + 256 * 4  # of what is looked at through two views, and three arrays and their step
    for room, steps in ((0, 0), (1, 1), (size, 1), (size + 1, 2), (3 * size, 3), (99 * size, 5)):
        numbers.clear()
        assert foreseen.prepare(values, 10, 5, room) == steps * size
        assert sorted(set(numbers)) == [10 + at for at in range(steps)]
        assert values.keys() <= {0, 1}
        for at in range(steps):
            values.clear()
            foreseen.step(values, 17)
            assert values.keys() == {4, 5, 7}
            assert {int(x.flat[0]) for x in values.values()} == {at}
        values.clear()
        values[1] = np.zeros((4, 6), np.uint64)
    foreseen.step(values, 17)
    assert values[6][0, 0] == 17


def test_what_is_there_anyway_takes_no_room() -> None:
    """A row of a parameter, and an array of many steps once."""
    step, kept = Var(0, Type(Kind.MASK, ())), Var(1, Type(Kind.MASK, (100, 6)))
    row = Equation("dynamic_slice", (kept, step), (Var(3, Type(Kind.MASK, (6,))),))
    part = Equation("mask", (), (Var(4, Type(Kind.MASK, (8,))),))
    both = Equation("add", (row.output, part.output), (Var(5, Type(Kind.SHARE, (1,))),))
    body = Block((step, kept), [row, part, both], (both.output,))
    values: dict[int, Any] = {1: np.zeros((100, 6), np.uint64)}
    many = np.zeros((3, 8), np.uint64)
    acts = [
        lambda at: values.__setitem__(3, values[1][at]),
        lambda at: values.__setitem__(4, (many if at < 3 else many.copy())[at % 3]),
    ]
    foreseen = Foreseen(body, [row, part], acts, set(), [])
    assert foreseen.prepare(values, 0, 3, 10**6) == many.nbytes + 3 * 3 * 256
    foreseen = Foreseen(body, [row, part], acts, set(), [])
    assert foreseen.prepare(values, 0, 5, 10**6) == 3 * many.nbytes + 5 * 3 * 256


def test_what_a_loop_has_made_is_let_go_of_with_it() -> None:
    """Its last step's values too, and all that waits if nobody comes for it."""
    lowered, owned = prepared(*OWN[0].values)
    run = run_party(lowered, 0, {"x": owned["x"]["alice"]}, deterministic_entropy(2)[1][0])
    party = run.gi_frame.f_locals["party"]
    (known,) = party.foreseen.values()
    assert not any(number in party.values for number in known._made)
    assert "Foreseen" in repr(known)
    assert "array" not in repr(known)
    run.close()
    assert not party.foreseen
