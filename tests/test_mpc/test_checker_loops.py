"""mpc/checker.py on loops: random bodies over Z_4, checked as a loop, and judged by all views of two steps unrolled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mpc
from mpc import checker
from mpc.checker import check_openings
from mpc.clear import evaluate_block
from mpc.errors import LeakError
from mpc.ir import Block, Kind, Type
from mpc.ring import Ring
from mpc.rules import RuleTrace

RING = Ring(2)
STEPS = 2
MASKS = 1 + 2 * STEPS  # one outside, two in each step
LANES = 4 ** (2 + MASKS)
_LANE = np.arange(LANES, dtype=np.uint64)
DIGITS = [(_LANE >> np.uint64(2 * i)) & np.uint64(3) for i in range(2 + MASKS)]
Body = Callable[[Any, Any, Any, list[Any]], Any]


def random_body(rng: np.random.Generator) -> tuple[Body, bool]:
    """One step: an opening of state, secret and masks, and the next state. Then whether the outer mask opens first."""
    c = [int(n) for n in rng.choice([0, 0, 1, 1, 2, 3], 12)]
    kind = int(rng.integers(0, 4))

    def body(state: Any, y: Any, outer: Any, opened: list[Any]) -> Any:
        a, b = mpc.mask((LANES,)), mpc.mask((LANES,))
        dealt = [mpc.deal(a * b), mpc.deal(outer * a), mpc.deal(outer >> 1), mpc.deal(b >> 1)][kind]
        shown = mpc.open(state * c[0] + y * c[1] + a * c[2] + b * c[3] + outer * c[4] + dealt * c[5])
        opened.append(shown)
        return state * c[6] + a * c[7] + b * c[8] + outer * c[9] + shown * c[10] + dealt * c[11] + y

    return body, bool(rng.integers(0, 2))


def start(t: RuleTrace) -> list[Any]:
    params = tuple(t.fresh(Type(Kind.SHARE, (LANES,))) for _ in range(2))
    t.frames[0].block.params = params
    return [t.wrap(p, t.frames[0]) for p in params]


def unrolled(body: Body, first: bool) -> Block:
    t = RuleTrace(2)
    opened: list[Any] = []
    with t.recording():
        x, y = start(t)
        outer = mpc.mask((LANES,))
        if first:
            opened.append(mpc.open(x * 3 + outer))
        state = x
        for _ in range(STEPS):
            state = body(state, y, outer, opened)
        t.frames[0].block.results = tuple(v.var for v in opened)
    return t.frames[0].block


def looped(body: Body, first: bool) -> Block:
    t = RuleTrace(2)
    shape = (LANES,)
    with t.recording():
        x, y = start(t)
        outer = mpc.mask(shape)
        if first:
            mpc.open(x * 3 + outer)
        with t.frame() as frame:
            step, state = t.fresh(Type(Kind.CONST)), t.fresh(Type(Kind.SHARE, shape))
            frame.block.params = (step, state)
            result = body(t.wrap(state, frame), y, outer, [])
            frame.block.results = (t.use(result),)
        frame.block.params += tuple(frame.lifted.values())
        t.record("repeat", (x.var, *frame.outer), [state.type], {"times": STEPS, "carry": 1}, "a.py:1", frame.block)
    return t.frames[0].block


def leaks(block: Block) -> bool:
    pads = iter(DIGITS[2:])
    opened = evaluate_block(RING, block, DIGITS[:2], lambda shape: next(pads))
    view = sum(v << np.uint64(2 * i) for i, v in enumerate(opened))
    row = (_LANE & np.uint64(15)) * np.uint64(4 ** len(opened)) + view
    count = np.bincount(row.astype(np.int64), minlength=16 * 4 ** len(opened)).reshape(16, -1)
    return bool(np.any(count != count[0]))


def accepted(block: Block) -> bool:
    try:
        check_openings(block)
    except LeakError:
        return False
    return True


@pytest.fixture(scope="module")
def loops() -> list[tuple[Block, bool]]:
    rng = np.random.default_rng(7)
    made = [random_body(rng) for _ in range(300)]
    return [(looped(*m), leaks(unrolled(*m))) for m in made]


def test_no_accepted_loop_leaks(loops: list[tuple[Block, bool]]) -> None:
    passed = [leaking for block, leaking in loops if accepted(block)]
    safe = sum(not leaking for _, leaking in loops)
    assert not any(passed)
    assert 50 < len(passed) <= safe < len(loops)


def test_twin_that_forgets_where_masks_are_made_accepts_a_leak(
    loops: list[tuple[Block, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mask from outside would hide another value in every step."""
    true = checker._Check.opening
    monkeypatch.setattr(checker._Check, "loop", _shallow)
    monkeypatch.setattr(checker._Check, "opening", lambda self, e, made: true(self, e, set(self.owners)))
    assert any(leaking for block, leaking in loops if accepted(block))


def _shallow(self: Any, e: Any) -> Any:
    for p, v in zip(e.body.params[1:], e.inputs, strict=True):
        self.depends[p] = self.of(v)
    nodes = self.block(e.body)
    return checker._Node(e.where, frozenset().union(*(n.pads for n in nodes)), frozenset(), loop=True)


def test_a_mask_of_the_block_around_hides_nothing_even_where_a_body_names_it() -> None:
    """No lowering makes such a body, since what comes from outside is an operand; the check does not rely on that."""
    t = RuleTrace(2)
    with t.recording():
        x, _ = start(t)
        outer = mpc.mask((LANES,))
        with t.frame() as frame:
            step, state = t.fresh(Type(Kind.CONST)), t.fresh(Type(Kind.SHARE, (LANES,)))
            frame.block.params = (step, state)
            mpc.open(t.wrap(state, frame) + mpc.mask((LANES,)))
            frame.block.results = (state,)
        t.record("repeat", (x.var,), [state.type], {"times": STEPS, "carry": 1}, "a.py:1", frame.block)
    check_openings(t.frames[0].block)
    (add,) = (e for e in frame.block.equations if e.op == "add")
    add.inputs = tuple(outer.var if v.type.kind is Kind.MASK else v for v in add.inputs)
    with pytest.raises(LeakError, match="outside this loop"):
        check_openings(t.frames[0].block)


def opened_after(step: Callable[[Any, Any, Any], Any], last: Callable[[Any, Any, Any], Any]) -> Block:
    """A loop whose body opens and gives back what `step` does, then an opening of what `last` makes of its result."""
    t = RuleTrace(2)
    with t.recording():
        x, y = start(t)
        outer = mpc.mask((LANES,))
        with t.frame() as frame:
            count, state = t.fresh(Type(Kind.CONST)), t.fresh(Type(Kind.SHARE, (LANES,)))
            frame.block.params = (count, state)
            frame.block.results = (t.use(step(t.wrap(state, frame), y, outer)),)
        frame.block.params += tuple(frame.lifted.values())
        (out,) = t.record(
            "repeat", (x.var, *frame.outer), [state.type], {"times": STEPS, "carry": 1}, "a.py:1", frame.block
        )
        mpc.open(last(out, y, outer))
    return t.frames[0].block


def test_what_a_loop_gives_back_keeps_its_masks() -> None:
    """The result is x − STEPS·outer; what is added outside may take the mask away again."""
    check_openings(opened_after(lambda s, y, r: s + y, lambda s, y, r: s + r))
    with pytest.raises(LeakError, match="second time"):
        check_openings(opened_after(lambda s, y, r: s - r, lambda s, y, r: s + r))


def test_a_loops_own_masks_may_not_leave_it_into_an_opening_that_shares_another() -> None:
    """x + a + b inside, y + a + b afterwards: each has a mask that no other made, and their difference is open."""

    def step(s: Any, y: Any, outer: Any) -> Any:
        own = mpc.mask((LANES,))
        mpc.open(s + own + outer)
        return own + 0 * s

    check_openings(opened_after(step, lambda s, y, outer: y + s + mpc.mask((LANES,))))
    with pytest.raises(LeakError, match="used twice"):
        check_openings(opened_after(step, lambda s, y, outer: y + s + outer * 3))
