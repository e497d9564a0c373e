"""mpc/batch.py: many steps of a loop dealt at once are dealt as one by one, word for word and in the same order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from made import traced
from runs import CASES, prepared
from traced import SUITES

import mpc
from mpc import batch, dealing
from mpc.batch import Steps, batch_of
from mpc.ir import Equation, Kind, Type, Var, walk
from mpc.kernels import KERNELS
from mpc.memory import names_of
from mpc.prg import Streams, block
from mpc.ring import Domains
from mpc.testing import deterministic_entropy

RNG = np.random.default_rng(23)
ALL = [("_LONG", 1 << 11), ("_LONG", 2), ("_LONG", 0), ("_MOST", 4), ("_WORDS", 64)]


def corrections(lowered: Any, stream: Any = None) -> list[Any]:
    """Everything that the dealer sends, in order. stream: where words come from, if not from the default."""
    entropy = deterministic_entropy(len(lowered.parties))[0]
    assert isinstance(entropy.stream, Streams)
    if stream is not None:
        object.__setattr__(entropy, "stream", stream)
    return [
        (c.party, c.number, [(a.dtype.str, a.shape, a.tobytes()) for a in c.arrays])
        for c in dealing.run_dealer(lowered, entropy)
    ]


def one_by_one(lowered: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    with monkeypatch.context() as patch:
        patch.setattr(dealing, "batch_of", lambda *_: None)
        return corrections(lowered)


@pytest.fixture(params=ALL, ids=lambda limit: f"{limit[0]}={limit[1]}")
def _limit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything together, some of it, nothing; loops that are no multiple of a batch."""
    monkeypatch.setattr(batch, *request.param)


def small(value: Any) -> Any:
    return mpc.rescale(mpc.accept_rounding(mpc.assume_range(value, -1, 1)), 16)


@mpc.program
def walks(x: mpc.PerParty[mpc.Private], times: int = 11) -> Any:
    """A state that is read at length, one that is handed on, a number of the step, and a row of a table."""
    a, b = (mpc.share(v, range=(-1, 1)) for v in x)

    def step(i: Any, state: Any) -> Any:
        w, old, total = state
        long = (mpc.broadcast_to(w, a.shape) * a).sum(axis=0)  # as long as the table, of the state itself
        near = small(long * 0.125 + a[i % 3] * b[0])
        return small(mpc.where(near < w, near, old)), w, small(total * 0.5 + i * 0.0625 + near * 0.25)

    w, old, total = mpc.repeat(times, step, (a[0], b[0], b[1]))
    return mpc.reveal(w), mpc.reveal(old), mpc.reveal(total * w)


@mpc.program
def products(x: mpc.PerParty[mpc.Private], times: int = 9) -> Any:
    """Matrices that stay times vectors that do not, and the other way round."""
    a, b = (mpc.share(v, range=(-1, 1)) for v in x)

    def step(i: Any, w: Any) -> Any:
        right = mpc.sigmoid(small(a @ w * 0.25)) @ b * 0.25
        return small(right * 0.5 + (a * b).T.reshape((4, 3))[i % 3] * 0.25)

    return mpc.reveal(mpc.repeat(times, step, b[0]))


@mpc.program
def sums(x: mpc.PerParty[mpc.Private], times: int = 9) -> Any:
    """A state that follows from itself through several equations, as its mask does, and is read in every step."""
    a, b = (mpc.share(v, range=(-1, 1)) for v in x)

    def step(i: Any, state: Any) -> Any:
        total, w = state
        total = mpc.assume_range(mpc.concatenate([total[1:] * 2, total[:1] * -1]) + w.sum() - w * i, -40, 40)
        return total, small(w * 0.5 + total[0] * b * 0.0125)

    total, w = mpc.repeat(times, step, (a, b))
    return mpc.reveal((total * w).sum())


def test_a_state_may_follow_from_itself_through_several_equations() -> None:
    lowered, _ = prepared(sums, {"x": {p: RNG.random(3) for p in names_of(2)}}, names_of(2), {})
    (loop,) = (e for e in lowered.block.equations if e.op == "repeat")
    needed = {v.number for v in dealing.needed_for_dealing(lowered.block)}
    made = batch_of(loop.body, lowered.slots(loop.body), loop.params["carry"], needed, 2)
    assert made is not None
    assert len(made.within) > 3
    assert made.after


OWN = [(walks, (3, 3)), (products, (4, 3)), (sums, (3,))]


def lowereds() -> Iterator[Any]:
    for suite in SUITES:
        for program, shape in OWN:
            for n in (2, 3):
                names = names_of(n)
                given = {"x": {p: RNG.random(shape) for p in names[:2]}}
                lowered, _ = prepared(program, given, names, {}, suite)
                yield pytest.param(lowered, id=f"{program.name}-{n}-{suite.name}")


@pytest.mark.usefixtures("_limit")
@pytest.mark.parametrize("lowered", list(lowereds()))
def test_many_steps_are_dealt_as_one_by_one(lowered: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = one_by_one(lowered, monkeypatch)
    assert corrections(lowered) == alone
    assert corrections(lowered, block) == alone  # a stream that knows single steps only


@pytest.mark.usefixtures("_limit")
@pytest.mark.parametrize(("program", "inputs", "names", "settings"), CASES)
def test_what_uses_all_of_the_runtime_is_dealt_the_same(
    program: Any, inputs: Any, names: list[str], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lowered, _ = prepared(program, inputs, names, settings)
    assert corrections(lowered) == one_by_one(lowered, monkeypatch)


@pytest.mark.parametrize("seed", range(40))
def test_random_programs_are_dealt_the_same(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, *ALL[seed % len(ALL)])
    lowered = traced(seed).lower(SUITES[seed % len(SUITES)])
    assert corrections(lowered) == one_by_one(lowered, monkeypatch)


def test_steps_are_done_together_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the tests above would compare nothing."""
    counted: list[int] = []
    run = Steps.run
    monkeypatch.setattr(Steps, "run", lambda self: (counted.append(self._count), run(self))[1])
    lowered, _ = prepared(walks, {"x": {p: RNG.random((3, 3)) for p in names_of(2)}}, names_of(2), {"times": 150})
    corrections(lowered)
    assert counted == [64, 64, 22]


def _unmoved(self: Steps) -> None:
    """The broken twin: after a batch the state is what it was before its last step."""


def _short_of_one(self: Steps) -> None:
    self._dealer.values |= {number: np.asarray(x) + np.uint64(1) for number, x in self._state.items()}


@mpc.program
def swaps(x: mpc.PerParty[mpc.Private], times: int = 100) -> Any:
    """Two arrays change places in every step, and one stays."""
    a, b = (mpc.share(v, range=(-1, 1)) for v in x)

    def step(_i: Any, state: Any) -> Any:
        w, one, other, still = state
        return small(w * w * 0.5), other, one, still

    w, one, other, still = mpc.repeat(times, step, (a[:2], a, b, a))
    return mpc.reveal(w), mpc.reveal((one * other + one * still).sum())


@pytest.mark.parametrize(("length", "at_once"), [(100, [64, 36]), (10_000, [6] * 16 + [4]), (100_000, [])])
def test_a_state_that_is_handed_on_counts(length: int, at_once: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step of a batch has its own; what comes back as itself is there once."""
    counted: list[int] = []
    run = Steps.run
    monkeypatch.setattr(Steps, "run", lambda self: (counted.append(self._count), run(self))[1])
    lowered, _ = prepared(swaps, {"x": {p: RNG.random(length) for p in names_of(2)}}, names_of(2), {})
    many = corrections(lowered)
    assert counted == at_once
    assert many == one_by_one(lowered, monkeypatch)


@pytest.mark.parametrize("twin", [_unmoved, _short_of_one])
def test_twins_whose_state_is_another_are_caught(twin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "_LONG", 2)
    lowered, _ = prepared(walks, {"x": {p: RNG.random((3, 3)) for p in names_of(2)}}, names_of(2), {"times": 150})
    alone = one_by_one(lowered, monkeypatch)
    assert corrections(lowered) == alone
    monkeypatch.setattr(Steps, "leave", twin)
    assert corrections(lowered) != alone


def test_nothing_of_a_loop_stays_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a batch has made is let go of when the loop is over, but for what the loop gives."""
    seen: list[set[int]] = []
    repeat = dealing._Dealer.repeat

    def watched(self: Any, e: Equation, iteration: int) -> Any:
        yield from repeat(self, e, iteration)
        made = {v.number for inner in walk(e.body) for v in inner.outputs} if e.body else set()
        seen.append(made & set(self.values))

    monkeypatch.setattr(dealing._Dealer, "repeat", watched)
    lowered, _ = prepared(walks, {"x": {p: RNG.random((3, 3)) for p in names_of(2)}}, names_of(2), {})
    corrections(lowered)
    assert seen == [set()]


def test_what_is_too_long_stays_step_by_step() -> None:
    """A loop that makes too much in a step, and one of long values that are done in pieces."""
    lowered, _ = prepared(walks, {"x": {p: RNG.random((3, 3)) for p in names_of(2)}}, names_of(2), {})
    (loop,) = (e for e in lowered.block.equations if e.op == "repeat")
    needed = {v.number for v in dealing.needed_for_dealing(lowered.block)}
    slots = lowered.slots(loop.body)
    given = loop.body, slots, loop.params["carry"], needed, 2
    assert batch_of(*given) is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "_WORDS", 3)
        assert batch_of(*given) is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(slots[0].parts[0]), "swept", True)
        assert batch_of(*given) is None


# -------------------------------------------------------------------------------------------------- all steps at once

STEPS = 5
D = Domains(64)
Shape = tuple[int, ...]
OPS: list[tuple[str, dict[str, Any], list[Shape]]] = [
    *((op, {}, [(3, 4), (3, 4)]) for op in ("add", "sub", "mul")),
    *(
        (op, {}, shapes)
        for op in ("add", "mul")
        for shapes in ([(4,), (3, 4)], [(3, 4), ()], [(), (2, 1, 4)], [(), ()])
    ),
    ("neg", {}, [(3,)]),
    ("shl", {"by": 7}, [(3,)]),
    ("shr", {"by": 9}, [(2, 3)]),
    ("msb", {}, [()]),
    ("bit", {"at": 5}, [(3,)]),
    ("mod", {"by": 7}, [()]),
    ("div", {"by": 7}, [(2,)]),
    ("onehot", {"width": 20}, [(3,)]),
    ("onehot", {"width": 64}, [()]),
    ("waves", {"odd": [1, 3, 5], "bits": 24, "shift": 30}, [(6,)]),
    ("waves", {"odd": [1], "bits": 24, "shift": 0}, [(2, 3)]),
    ("sum", {"axes": [0], "keepdims": False}, [(3, 4)]),
    ("sum", {"axes": [0, 1], "keepdims": False}, [(3, 4)]),
    ("sum", {"axes": [1], "keepdims": True}, [(3, 4)]),
    ("matmul", {}, [(3, 4), (4,)]),
    ("matmul", {}, [(4,), (4, 3)]),
    ("matmul", {}, [(2, 4), (4, 3)]),
    ("matmul", {}, [(4,), (4,)]),
    ("take", {"axis": 0}, [(7, 2), (3,)]),
    ("take", {"axis": 1}, [(2, 7), (3,)]),
    ("take", {"axis": 0}, [(7,), ()]),
    ("concatenate", {"axis": 0}, [(2, 3), (1, 3), (4, 3)]),
    ("concatenate", {"axis": 1}, [(2, 3), (2, 1)]),
    ("reshape", {"shape": [3, 2]}, [(6,)]),
    ("reshape", {"shape": []}, [(1,)]),
    ("transpose", {"axes": [2, 0, 1]}, [(2, 3, 4)]),
    ("broadcast", {"shape": [2, 3]}, [(3,)]),
    ("broadcast", {"shape": [2, 3]}, [()]),
    ("slice", {"parts": [[1, 3, 1], [0, 4, 2]]}, [(4, 4)]),
    ("dynamic_slice", {"axis": 0, "size": 2}, [(9,), ()]),
]


class _Dealer:
    """As much of one as a batch needs."""

    def __init__(self) -> None:
        self.values: dict[int, Any] = {}
        self.domains = D
        self.asked: list[int] = []

    def evaluate(self, e: Equation, iteration: int) -> tuple[Any, ...]:
        self.asked.append(iteration)
        result = KERNELS[e.op](D[e.outputs[0].type.bits], e.params, *(self.values[v.number] for v in e.inputs))
        return result if len(e.outputs) > 1 else (np.asarray(result),)

    def masks(self, e: Equation, first: int, count: int) -> Any:
        raise AssertionError(f"{e.op} of {count} steps from {first}: no mask here")


def _operand(op: str, at: int, shape: Shape) -> Any:
    small = (op in ("take", "dynamic_slice")) and at == 1
    return np.asarray(RNG.integers(0, 7 if small else 2**64, shape, dtype=np.uint64))


@pytest.mark.parametrize(("op", "params", "shapes"), OPS, ids=[f"{op}-{shapes}" for op, _, shapes in OPS])
def test_an_op_of_all_steps_is_that_of_each(op: str, params: dict[str, Any], shapes: list[Shape]) -> None:
    """Whichever operands differ from step to step."""
    for which in range(1, 1 << len(shapes)):
        moving = [bool(which >> k & 1) for k in range(len(shapes))]
        steps = [[_operand(op, k, shape) for k, shape in enumerate(shapes)] for _ in range(STEPS)]
        operands = [np.stack([s[k] for s in steps]) if wide else steps[0][k] for k, wide in enumerate(moving)]
        each = [[x[i, ...] if wide else x for x, wide in zip(operands, moving, strict=True)] for i in range(STEPS)]
        expected = [_alone(op, params, values) for values in each]
        inputs = tuple(Var(k, Type(Kind.MASK, shape)) for k, shape in enumerate(shapes))
        outputs = tuple(Var(10 + k, Type(Kind.MASK, x.shape)) for k, x in enumerate(expected[0]))
        e = Equation(op, inputs, outputs, params)
        dealer = _Dealer()
        run = batch.Batch(STEPS, [], [e], [], [], [], [], [])
        done = Steps(dealer, run, 70, STEPS, Var(99, Type(Kind.CONST)), 0)
        for v, x, wide in zip(inputs, operands, moving, strict=True):
            (done.wide if wide else dealer.values)[v.number] = x
        done.run()
        assert dealer.asked in ([], list(range(70, 70 + STEPS)))
        for k, v in enumerate(outputs):
            assert np.array_equal(done.value(v), np.stack([x[k] for x in expected])), moving


def _alone(op: str, params: dict[str, Any], values: list[Any]) -> tuple[Any, ...]:
    result = KERNELS[op](D[0], params, *values)
    return result if type(result) is tuple else (np.asarray(result),)


def test_every_rule_is_tested() -> None:
    rules: dict[str, Callable[..., Any]] = batch._RULES
    assert set(rules) - {"cast"} <= {op for op, _, _ in OPS}
