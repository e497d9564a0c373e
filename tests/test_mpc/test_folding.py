"""mpc/folding.py: constants meet before they touch a secret, and no result changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from traced import agrees, shared

import mpc
from mpc.ir import Kind, walk

A, B, C = np.array([0.5, 0.25, -3.0]), np.array([2.0, 0.125, 1.0]), np.array([[1.5], [-1.0], [2.0]])

CHAINS: list[tuple[Callable[[Any], Any], dict[str, int]]] = [
    (lambda x: x + A + B + 1, {"add": 1, "const": 1}),
    (lambda x: A - (B - (x - 1)), {"add": 1, "const": 1}),
    (lambda x: 1 - (x + A) - B, {"sub": 1, "const": 1}),
    (lambda x: (A - x) + B, {"sub": 1, "const": 1}),
    (lambda x: B - (A + x), {"sub": 1, "const": 1}),
    (lambda x: x * A * B * 3, {"mul": 1, "const": 1}),
    (lambda x: x * 0.5 / 4 * 8, {}),
    (lambda x: x * 0.1 * 0.2 / 0.3, {"unit": 1}),
    (lambda x: x / 8 + A + B, {"unit": 2, "add": 1, "const": 1}),
    (lambda x: (x * A) * C, {"mul": 2, "const": 2}),  # together they would be more numbers than apart
]


def ops(program: mpc.Program) -> dict[str, int]:
    found: dict[str, int] = {}
    for e in walk(program.block):
        if e.op in ("add", "sub", "mul", "unit", "const"):
            found[e.op] = found.get(e.op, 0) + 1
    return found


@pytest.mark.parametrize(("f", "expected"), CHAINS)
def test_a_chain_becomes_one_link_and_means_the_same(f: Any, expected: dict[str, int]) -> None:
    agrees(f, np.array([1.0, -2.5, 7.0]), within=2.0**-14)
    assert ops(shared(f, (3,))) == expected


def test_consts_of_consts_are_consts() -> None:
    def f(x: Any) -> Any:
        c = mpc.constant(A, 4)
        return x + ((c + c) * 2 - c).reshape(1, 3)[:, ::-1].sum(axis=0) + mpc.concatenate([c[:1], c[1:]])

    assert ops(shared(f, (3,))) == {"add": 1, "const": 1}
    agrees(lambda x: x + 3 * A[::-1] + A, np.array([1.0, -2.5, 7.0]))
    np.testing.assert_array_equal(
        mpc.simulate(
            shared(f, (3,)),
            {k: {o: np.zeros(s)} for k, o, s in (("x", "alice", 3), ("y", "bob", ()), ("z", "alice", ()))},
        )["result"],
        3 * A[::-1] + A,
    )


def test_constants_are_multiplied_before_a_secret_is_cut() -> None:
    """Three factors of 20 bits each leave no room beside 16 bits and a range; one of 20 bits does."""
    tenths = np.array([0.1, 0.7])

    def truncations(f: Callable[[Any], Any]) -> int:
        return sum(e.op == "truncate" for e in walk(shared(f, (2,), lo=-100, hi=100).block))

    assert truncations(lambda x: x * tenths * tenths * tenths) == 1  # the reveal's
    assert truncations(lambda x: mpc.bounded(mpc.bounded(x * tenths, -70, 70) * tenths, -49, 49) * tenths) > 1
    agrees(lambda x: x * tenths * tenths * tenths, np.array([7.0, -7.5]), within=2.0**-15)


def test_a_loop_keeps_what_lies_outside_it() -> None:
    def f(x: Any) -> Any:
        y = x * A
        return mpc.repeat(3, lambda _, s: mpc.bounded(s * 0.5 + y * B + 1 + 2, -64, 64), y)

    def known(x: Any) -> Any:
        s = y = x * A
        for _ in range(3):
            s = s * 0.5 + y * B + 3
        return s

    program = shared(f, (3,))
    assert {v.type.kind for e in program.block.equations if e.op == "repeat" for v in e.inputs} <= {
        Kind.SECRET,
        Kind.CONST,
    }
    given = {"x": {"alice": np.array([1.0, 2, 3])}, "y": {"bob": 0.0}, "z": {"alice": 0.0}}
    np.testing.assert_allclose(mpc.emulate(program, given).results["result"], known(np.array([1.0, 2, 3])), atol=1e-4)


def test_a_step_is_no_constant() -> None:
    table = mpc.constant

    def f(x: Any) -> Any:
        return mpc.repeat(4, lambda i, s: mpc.bounded(s + table(np.arange(4.0), 0)[i] * 2, -64, 64), x)

    given = {"x": {"alice": 1.0}, "y": {"bob": 0.0}, "z": {"alice": 0.0}}
    assert mpc.simulate(shared(f, ()), given)["result"] == 13.0
