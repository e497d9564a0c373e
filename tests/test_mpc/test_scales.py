"""Where the compiler truncates: as late and as seldom as the ring allows, whatever the order of a program's lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from traced import SUITES, given, shared

import mpc
from mpc.ir import walk

Function = Callable[[Any], Any]
A, B = np.full((4, 4), 0.3), np.full((4, 2), 0.7)
THIN, WIDE = np.full((4, 1), 0.5), np.full((1, 4), 0.5)


def _small(x: Any) -> tuple[Any, Any]:
    return mpc.bounded(x, -1, 1), mpc.bounded(x, -16, 16)


def deep_after_shallow(x: Any) -> Any:
    w, (t, _) = x * x, _small(x)
    return w * t / 2**10 + w * x / 2**20


def shallow_after_deep(x: Any) -> Any:
    w, (t, _) = x * x, _small(x)
    return w * x / 2**20 + w * t / 2**10


def four_uses(x: Any) -> Any:
    w, (t, u) = x * x, _small(x)
    return w * t / 2**10 + w * u / 2**14 + w * x / 2**20 + mpc.rescale(w, 16) / 2**10


def inside_and_outside(x: Any) -> Any:
    w = x * x
    a = mpc.rescale(w, 16) / 2**10
    return a + mpc.repeat(5, lambda _, s: mpc.bounded(s / 2 + mpc.rescale(w, 16) / 2**10, -4096, 4096), a)


def twice(x: Any) -> Any:
    return mpc.rescale(mpc.rescale(x * x, 24), 16)


def there_and_back(x: Any) -> Any:
    return mpc.rescale(mpc.rescale(x, 24), 16)


def through_matrices(x: Any) -> Any:
    return x @ A @ B


def from_the_left(x: Any) -> Any:
    return B.T @ (A @ x)


# what it does, its operand, the declared range; truncations of the text, and elements opened by masked and by beaver.
# In brackets what each value being cut by itself, where it is used, had cost.
CASES = [
    (deep_after_shallow, np.array([0.5, -0.25, 1]), 1024, 4, (9, 30)),  # (6, 21, 36)
    (shallow_after_deep, np.array([0.5, -0.25, 1]), 1024, 4, (9, 30)),  # (6, 21, 36)
    (four_uses, np.array([0.5, -0.25, 1]), 1024, 4, (9, 36)),  # (9, 30, 51)
    (inside_and_outside, np.array([500.0, -10, 3]), 1024, 3, (21, 27)),  # (4, 21, 30)
    (twice, np.array([5.0, -7.5, 3]), 8, 1, (3, 9)),  # (2, 6, 12)
    (there_and_back, np.array([5.0, -7.5, 3]), 8, 0, (0, 0)),  # (1, 0, 3)
    (through_matrices, np.arange(12.0).reshape(3, 4), 100, 1, (0, 6)),  # (2, 6, 18)
    (from_the_left, np.arange(12.0).reshape(4, 3), 100, 1, (0, 6)),  # (2, 6, 18)
]


@pytest.mark.parametrize(("f", "x", "bound", "cuts", "opened"), CASES, ids=[c[0].__name__ for c in CASES])
def test_truncations_and_openings_are_as_few_as_they_were_counted(f, x, bound, cuts, opened):
    program = shared(f, x.shape, lo=-bound, hi=bound)
    assert sum(e.op == "truncate" for e in walk(program.block)) == cuts
    assert tuple(program.plan(suite).opened for suite in SUITES) == opened
    plain = mpc.simulate(program, given(x))["result"]
    assert mpc.Program.parse(program.text).digest == program.digest
    np.testing.assert_allclose(plain, _meant(f, x), atol=2.0**-12, rtol=2.0**-14)
    for suite in SUITES:
        run = mpc.emulate(program, given(x), suite=suite)
        np.testing.assert_allclose(run.results["result"], plain, rtol=0, atol=2.0**-14)


def _meant(f: Function, x: np.ndarray) -> np.ndarray:
    """The same in float64, of functions that only rescale, bound and repeat besides."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mpc, "rescale", lambda v, _: v)
        patch.setattr(mpc, "bounded", lambda v, *_: v)
        patch.setattr(mpc, "repeat", lambda times, body, s: [s := body(i, s) for i in range(times)][-1])
        return np.asarray(f(x))


def test_the_order_of_the_lines_does_not_matter():
    first, second = (shared(f, (3,), lo=-1024, hi=1024) for f in (deep_after_shallow, shallow_after_deep))
    assert first.truncations == second.truncations == 12


def test_what_leaves_too_few_bits_is_not_shared():
    """A cut of 25 bits leaves 7 of 32: for one use it must do, the other keeps its own."""

    def f(x: Any) -> Any:
        w = x * x
        return mpc.rescale(mpc.rescale(w, 7), 16) + w * mpc.bounded(x, -1, 1) / 2**10

    program = shared(f, (3,), lo=-1024, hi=1024)
    cuts = {e.params["by"] for e in walk(program.block) if e.op == "truncate" and e.inputs[0].type.scale == 32}
    assert 25 in cuts
    assert len(cuts) == 2


def test_thin_matrices_stay_apart():
    def matmuls(f: Function) -> int:
        return sum(e.op == "matmul" for e in walk(shared(f, (3, 4)).block))

    assert matmuls(lambda x: x @ THIN @ WIDE) == 2
    assert matmuls(lambda x: x @ A @ A) == 1
    assert matmuls(lambda x: x @ mpc.constant(A, 4) @ mpc.constant(B, 4)) == 1


def test_a_matrix_keeps_its_unit():
    def f(x: Any) -> Any:
        return x @ (mpc.constant(A, 8) / 3) @ B

    x = np.arange(12.0).reshape(3, 4)
    program = shared(f, (3, 4), lo=-100, hi=100)
    np.testing.assert_allclose(mpc.simulate(program, given(x))["result"], x @ (np.round(A * 256) / 768) @ B, atol=1e-3)


def test_a_loop_takes_in_only_what_its_body_reads():
    def f(x: Any) -> Any:
        y = mpc.rescale(x * x, 16)

        def body(_: Any, s: Any) -> Any:
            unused = y * 3 + s  # noqa: F841 - the program's author does not use it
            return mpc.bounded(s / 2, -64, 64)

        return mpc.repeat(4, body, x)

    program = shared(f, (3,))
    (loop,) = [e for e in walk(program.block) if e.op == "repeat"]
    assert len(loop.inputs) == 1
    assert "mul" not in {e.op for e in walk(program.block)}
    for suite in SUITES:
        (loop,) = [e for e in walk(program.lower(suite).block) if e.op == "repeat"]
        read = {v for e in loop.body.equations for v in e.inputs} | set(loop.body.results)
        assert all(v in read for v in loop.body.params[1 + loop.params["carry"] :])
