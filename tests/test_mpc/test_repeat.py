"""mpc/loops.py: a body traced once, whatever the number of steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from traced import SUITES, shared, some
from traced import given as inputs

import mpc
from mpc.ir import walk
from protocols import MASKED


def runs(program: mpc.Program, *arrays: Any, expected: Any, within: float = 0.0) -> None:
    assert mpc.Program.parse(program.text).text == program.text
    got = [mpc.simulate(program, inputs(*arrays))]
    got += [mpc.emulate(program, inputs(*arrays), suite=suite).results for suite in SUITES]
    for results in got:
        np.testing.assert_allclose(results["result"], expected, rtol=0, atol=within)


X = np.arange(12).reshape(4, 3) / 16
w0 = np.array([0.5, -0.25, 1.0])


@some
@given(st.integers(0, 6))
def test_steps_add_up(times: int) -> None:
    program = shared(lambda x: mpc.repeat(times, lambda i, s: mpc.assume_range(s + x * i, -99, 99), x), (3,))
    runs(program, w0, expected=w0 + w0 * sum(range(times)))


def test_the_size_of_a_program_does_not_depend_on_the_number_of_steps() -> None:
    def trained(times: int) -> mpc.Program:
        return shared(
            lambda x, w: mpc.repeat(times, lambda i, s: mpc.assume_range(s - x @ s / 8, -9, 9), w), (3, 3), (3,)
        )

    few, many = trained(5), trained(5000)
    assert len(few.text.splitlines()) == len(many.text.splitlines())
    assert len(few.lower(MASKED).text.splitlines()) == len(many.lower(MASKED).text.splitlines())
    assert many.plan(MASKED).rounds - few.plan(MASKED).rounds == 4995 * (few.plan(MASKED).rounds - 2) / 5


def test_zero_steps_give_the_start() -> None:
    runs(shared(lambda x: mpc.repeat(0, lambda i, s: s * s * s, x), (3,)), w0, expected=w0)


@pytest.mark.parametrize("times", [-1, 1.5, "3"])
def test_the_number_of_steps_is_a_public_whole_number(times: Any) -> None:
    with pytest.raises((mpc.ProgramError, TypeError)):
        shared(lambda x: mpc.repeat(times, lambda i, s: s, x), ())


def test_a_secret_number_of_steps() -> None:
    with pytest.raises(mpc.SecretError, match=r"test_repeat.py:\d+: .*must be public settings"):
        shared(lambda x: mpc.repeat(x, lambda i, s: s, x), ())


# --- states


def test_state_as_tuple_list_dict() -> None:
    def fibonacci(i: Any, s: Any) -> Any:
        return s[1], mpc.assume_range(s[0] + s[1], 0, 100)

    def named(i: Any, s: Any) -> Any:
        return {"a": s["b"], "b": mpc.assume_range(s["a"] + s["b"], 0, 100)}

    def listed(i: Any, s: Any) -> Any:
        return [s[1], mpc.assume_range(s[0] + s[1], 0, 100)]

    runs(shared(lambda x, y: mpc.repeat(6, fibonacci, (x, y))[0], (), ()), 0.0, 1.0, expected=8)
    runs(shared(lambda x, y: mpc.repeat(6, listed, [x, y])[0], (), ()), 0.0, 1.0, expected=8)
    runs(shared(lambda x, y: mpc.repeat(6, named, {"a": x, "b": y})["a"], (), ()), 0.0, 1.0, expected=8)


def test_public_and_plain_starts() -> None:
    def add(i: Any, s: Any, x: Any, *, by: float) -> Any:
        return mpc.assume_range(s + x * by, -99, 99)

    runs(shared(lambda x: mpc.repeat(4, add, 0.5, x, by=2), ()), 1.5, expected=12.5)
    runs(shared(lambda x: mpc.repeat(4, add, np.zeros(3), x, by=2), (3,)), w0, expected=8 * w0)
    runs(shared(lambda x: mpc.repeat(4, add, mpc.reveal(x), x, by=2), (3,)), w0, expected=9 * w0)


@pytest.mark.parametrize(
    ("body", "error", "text"),
    [
        (lambda i, s: s * s, mpc.OverflowRefusal, "assume_range"),
        (lambda i, s: s + 1, mpc.OverflowRefusal, r"the range of the loop's state \(value 0\) grows.*assume_range"),
        (lambda i, s: mpc.sigmoid(s) / 2, mpc.OverflowRefusal, r"noise.*accept_rounding"),
        (lambda i, s: (s, s), mpc.ShapeError, "takes 1 values and returns 2"),
        (lambda i, s: s.sum(), mpc.ShapeError, r"has shape \(3,\) and comes back with \(\)"),
        (lambda i, s: s[i : i + 2].sum() + s, mpc.ShapeError, "may leave an axis of length 3"),
        (lambda i, s: s[i - 1] + s, mpc.ShapeError, "may leave an axis"),
        (lambda i, s: s[i / 2] + s, mpc.ShapeError, "whole steps"),
        (lambda i, s: s[(i - 1) % 3] + s, mpc.ProgramError, "negative"),
        (lambda i, s: s[i % 0] + s, mpc.ProgramError, "no meaning"),
        (lambda i, s: s[: i + 1].sum() + s, mpc.ShapeError, "must not depend on the step"),
        (lambda i, s: s[i:].sum() + s, mpc.ShapeError, "needs an end"),
        (lambda i, s: s[i : i + 5].sum() + s, mpc.ShapeError, "a length of 1 to 3, not 5"),
        (lambda i, s: s if i else s * 2, mpc.SecretError, "truth"),
        (lambda i, s: s / i, mpc.ProgramError, "division by the step index"),
        (lambda i, s: s**i, mpc.ProgramError, "whole powers"),
        (lambda i, s: mpc.sqrt(i) * s, mpc.ProgramError, "float"),
    ],
)
def test_bodies_that_are_refused(body: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=rf"test_repeat.py:\d+: .*{text}"):
        shared(lambda x: mpc.repeat(5, body, x), (3,))


def test_a_range_that_stands_still_needs_no_statement() -> None:
    runs(shared(lambda x: mpc.repeat(9, lambda i, s: -s, x), (3,)), w0, expected=-w0)
    runs(shared(lambda x: mpc.repeat(3, lambda i, s: s / 2, x), (3,)), w0, expected=w0 / 8, within=2**-13)


# --- the step index


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (lambda x, i: x[i], X.sum(axis=0)),
        (lambda x, i: x[i : i + 1].sum(axis=0), X.sum(axis=0)),
        (lambda x, i: x[(i % 2) * 2 : (i % 2) * 2 + 2].sum(axis=0), 2 * X.sum(axis=0)),
        (lambda x, i: x[(i // 2) * 2 : (i // 2 + 1) * 2].sum(axis=0), 2 * X.sum(axis=0)),
        (lambda x, i: x[3 - i] * i, sum(X[3 - i] * i for i in range(4))),
        (lambda x, i: x[1] * (2 * i + 1) - i, 16 * X[1] - 6),
        (lambda x, i: x[2] * (i * 0.5), 3 * X[2]),
        (lambda x, i: x.T[:, i], X.sum(axis=0)),
        (lambda x, i: x[i, 1] + x[i][2], np.full(3, (X[:, 1] + X[:, 2]).sum())),
        (lambda x, i: x[i] * mpc.constant(np.array([3, 1, 4, 1]), 0)[i], np.array([3, 1, 4, 1]) @ X),
    ],
)
def test_index_arithmetic(part: Any, expected: Any) -> None:
    def body(i: Any, s: Any, x: Any) -> Any:
        return mpc.assume_range(s + part(x, i), -99, 99)

    runs(shared(lambda x: mpc.repeat(4, body, np.zeros(3), x), (4, 3)), X, expected=expected, within=2**-14)


def test_permuted_batches() -> None:
    def program(x: Any) -> Any:
        rows = mpc.permute(x, 7)
        return mpc.repeat(2, lambda i, s: mpc.assume_range(s + rows[2 * i : 2 * i + 2].sum(axis=0), -9, 9), np.zeros(3))

    runs(shared(program, (4, 3)), X, expected=X.sum(axis=0))


# --- nesting and hoisting


def test_nested_loops_count_their_steps_apart() -> None:
    def outer(i: Any, s: Any, x: Any) -> Any:
        return mpc.repeat(3, lambda j, t: mpc.assume_range(t + x[i] * (j + 1) + x[j], -99, 99), s)

    expected = sum(X[i] * (j + 1) + X[j] for i in range(4) for j in range(3))
    runs(shared(lambda x: mpc.repeat(4, outer, np.zeros(3), x), (4, 3)), X, expected=expected)


def test_products_in_nested_loops() -> None:
    def outer(i: Any, s: Any, x: Any) -> Any:
        inner = mpc.repeat(2, lambda j, t: mpc.assume_range(t * x[i] + x[j], -9, 9), s)
        return mpc.rescale(mpc.assume_range(inner * s, -9, 9), 16)

    state = w0
    for i in range(3):
        inner = state
        for j in range(2):
            inner = inner * X[i] + X[j]
        state = inner * state
    runs(shared(lambda x, w: mpc.repeat(3, outer, w, x), (4, 3), (3,)), X, w0, expected=state, within=2**-12)


def equations(program: mpc.Program, op: str) -> int:
    """How many equations of this kind stand inside a loop."""
    return sum(e.op == op for loop in program.block.equations if loop.body for e in walk(loop.body))


def test_what_does_not_change_moves_out_of_the_loop() -> None:
    def step(i: Any, s: Any, x: Any, w: Any) -> Any:
        return mpc.assume_range(s + (x - w * 2).T @ s[:3].sum() / 64 if False else s + ((x - w * 2) @ w)[0], -99, 99)

    program = shared(lambda x, w: mpc.repeat(3, step, np.zeros(3), x, w), (4, 3), (3,))
    assert equations(program, "matmul") == equations(program, "sub") == 0
    assert equations(program, "add") == 1
    assert program.plan(MASKED).rounds == 3
    runs(program, X, w0, expected=np.full(3, 3 * ((X - 2 * w0) @ w0)[0]), within=2**-13)


def test_an_invariant_matrix_is_opened_once_outside() -> None:
    def step(i: Any, s: Any, x: Any) -> Any:
        return mpc.assume_range(mpc.rescale((x - 1).T @ (x[::-1] @ s), 16), -1, 1)

    def cost(times: int) -> int:
        program = shared(lambda x, w: mpc.repeat(times, step, w, x), (40, 3), (3,), lo=-1, hi=1)
        return sum(program.plan(MASKED).bytes_sent.values())

    assert cost(12) - cost(11) == cost(11) - cost(10) == 2 * 8 * (40 + 3 + 3)


def test_a_value_of_the_body_does_not_leave_it() -> None:
    kept: list[Any] = []
    with pytest.raises(mpc.ProgramError, match=r"test_repeat.py:\d+: .*return it from the body"):
        shared(lambda x: mpc.repeat(2, lambda i, s: kept.append(s) or s, x) + kept[0], (3,))


def test_reveals_in_a_loop_are_listed_and_run() -> None:
    def step(i: Any, s: Any) -> Any:
        return mpc.reveal(s, name="step") * 1 + s / 2

    program = shared(lambda x: mpc.repeat(3, lambda i, s: mpc.assume_range(step(i, s), -99, 99), x), ())
    assert [r["name"] for r in program.plan(MASKED).reveals] == ["step", "result"]
    runs(program, 2.0, expected=6.75, within=2**-12)


def test_two_loops_that_do_not_wait_for_each_other() -> None:
    """Both are in one slot, and both are dealt for."""

    def grown(y: Any) -> Any:
        return mpc.repeat(2, lambda _, s: mpc.assume_range(s * y, -9, 9), y)

    program = shared(lambda x: grown(x[:2]).sum() + grown(x[1:] + 0.5).sum() * 2, (3,))
    for suite in SUITES:
        lowered = program.lower(suite)
        assert max(len(slot.loops) for slot in lowered.slots(lowered.block)) == 2
    runs(program, w0, expected=(w0[:2] ** 3).sum() + 2 * ((w0[1:] + 0.5) ** 3).sum(), within=2**-10)


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33])
def test_loops_over_arrays_of_any_size(size: int) -> None:
    """Few words are made for many steps at once, and none at all are no words."""
    x = np.linspace(0, 1, size)
    program = shared(lambda y: mpc.repeat(3, lambda _, s: mpc.assume_range(s * y, -9, 9), y), (size,))
    runs(program, x, expected=x**4, within=2**-10)
