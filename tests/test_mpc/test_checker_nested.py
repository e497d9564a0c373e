"""mpc/checker.py on a loop inside a loop: random bodies over Z_4, judged by all views of the steps unrolled."""

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
STEPS = 2  # of each loop
MASKS = STEPS + STEPS * STEPS  # one in each outer step, one in each inner one
LANES = 4 ** (2 + MASKS)
_LANE = np.arange(LANES, dtype=np.uint64)
DIGITS = [(_LANE >> np.uint64(2 * i)) & np.uint64(3) for i in range(2 + MASKS)]
Step = Callable[..., Any]


def random_bodies(rng: np.random.Generator) -> tuple[Step, Step]:
    """What the outer step may open before its inner loop, and what the inner step opens; each gives the next state."""
    c = [int(n) for n in rng.choice([0, 0, 1, 1, 1, 2, 3], 14)]
    kind, opens = int(rng.integers(0, 3)), bool(rng.integers(0, 2))

    def outer(state: Any, y: Any, opened: list[Any]) -> tuple[Any, Any]:
        a = mpc.mask((LANES,))
        shown = y
        if opens:
            shown = mpc.open(state * c[0] + y * c[1] + a)
            opened.append(shown)
        return state * c[2] + a * c[3] + shown * c[4] + y, a

    def inner(state: Any, y: Any, a: Any, opened: list[Any]) -> Any:
        b = mpc.mask((LANES,))
        dealt = [mpc.deal(a * b), mpc.deal(b >> 1), mpc.deal(a >> 1)][kind]
        shown = mpc.open(state * c[5] + y * c[6] + a * c[7] + b * c[8] + dealt * (c[9] % 2))
        opened.append(shown)
        return state * c[10] + a * c[11] + b * c[12] + shown * c[13] + y

    return outer, inner


def begun(t: RuleTrace) -> tuple[Any, Any]:
    params = tuple(t.fresh(Type(Kind.SHARE, (LANES,))) for _ in range(2))
    t.frames[0].block.params = params
    x, y = (t.wrap(p, t.frames[0]) for p in params)
    return x, y


def unrolled(outer: Step, inner: Step) -> Block:
    t = RuleTrace(2)
    opened: list[Any] = []
    with t.recording():
        state, y = begun(t)
        for _ in range(STEPS):
            state, a = outer(state, y, opened)
            for _ in range(STEPS):
                state = inner(state, y, a, opened)
        t.frames[0].block.results = tuple(v.var for v in opened)
    return t.frames[0].block


def repeated(t: RuleTrace, state: Any, body: Callable[[Any], Any]) -> Any:
    with t.frame() as frame:
        step, inside = t.fresh(Type(Kind.CONST)), t.fresh(Type(Kind.SHARE, (LANES,)))
        frame.block.params = (step, inside)
        frame.block.results = (t.use(body(t.wrap(inside, frame))),)
    frame.block.params += tuple(frame.lifted.values())
    params = {"times": STEPS, "carry": 1}
    return t.record("repeat", (t.use(state), *frame.outer), [state.type], params, "a.py:1", frame.block)[0]


def looped(outer: Step, inner: Step) -> Block:
    t = RuleTrace(2)
    with t.recording():
        x, y = begun(t)

        def once(state: Any) -> Any:
            inside, a = outer(state, y, [])
            return repeated(t, inside, lambda s: inner(s, y, a, []))

        repeated(t, x, once)
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
def nests() -> list[tuple[Block, bool]]:
    rng = np.random.default_rng(8)
    made = [random_bodies(rng) for _ in range(250)]
    return [(looped(*m), leaks(unrolled(*m))) for m in made]


def test_no_accepted_nest_leaks(nests: list[tuple[Block, bool]]) -> None:
    passed = [leaking for block, leaking in nests if accepted(block)]
    safe = sum(not leaking for _, leaking in nests)
    assert not any(passed)
    assert 30 < len(passed) <= safe < len(nests)


def test_twin_that_takes_every_mask_for_one_of_its_own_accepts_a_leak(
    nests: list[tuple[Block, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mask of the outer step would hide another value in every inner one."""
    true = checker._Check.opening
    monkeypatch.setattr(checker._Check, "opening", lambda self, e, made: true(self, e, set(self.owners)))
    monkeypatch.setattr(checker._Check, "loop", _shallow)
    assert any(leaking for block, leaking in nests if accepted(block))


def _shallow(self: Any, e: Any) -> Any:
    for p, v in zip(e.body.params[1:], e.inputs, strict=True):
        self.depends[p] = self.of(v)
    nodes = self.block(e.body)
    return checker._Node(e.where, frozenset().union(*(n.pads for n in nodes)), frozenset(), loop=True)


@pytest.mark.parametrize("suite", ["masked", "beaver"])
def test_a_truncated_state_goes_through_a_loop_in_a_loop(suite: str) -> None:
    """The masks of an inner step are other masks in the next outer one."""

    @mpc.program
    def powers(x: mpc.Private) -> Any:
        def inner(_: Any, s: Any) -> Any:
            return mpc.assume_range(mpc.rescale(s * s, 16), -1, 1)

        start = mpc.share(x, range=(-1, 1))
        return mpc.reveal(mpc.repeat(3, lambda i, s: mpc.repeat(2, inner, s), start))

    given = np.array([0.99, 0.5])
    done = mpc.emulate(powers, {"x": {"alice": given}}, parties=2, suite=suite)
    assert np.allclose(done.results["result"], given**64, atol=1e-3)
