"""mpc/words.py: many equations on single words as one function give what each gives by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import drive, prepared, same

import mpc
from mpc import alone
from mpc.engine import _Party
from mpc.exchange import Exchange
from mpc.ir import Equation, Kind, Type, Var
from mpc.kernels import KERNELS
from mpc.memory import names_of
from mpc.ring import Ring
from mpc.words import OPS, fused

WORD = Type(Kind.SHARE)
GIVEN = 3  # operands that are there before


@st.composite
def programs(draw: st.DrawFn) -> list[Equation]:
    """Equations, each on what was given or made before it."""
    out: list[Equation] = []
    for number in range(GIVEN, GIVEN + draw(st.integers(1, 12))):
        op = draw(st.sampled_from(sorted(OPS)))
        count = 2 if op in ("add", "sub", "mul") else 1
        operands = [Var(draw(st.integers(0, number - 1)), WORD) for _ in range(count)]
        params = {"by": draw(st.integers(0, 63 if op == "shr" else 70))} if op in ("shl", "shr") else {}
        out.append(Equation(op, tuple(operands), (Var(number, WORD),), params))
    return out


@given(
    equations=programs(),
    words=st.lists(st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 2**63, 2**64 - 1]), min_size=3, max_size=3),
    bits=st.sampled_from([64, 63, 40, 2]),
    spared=st.sampled_from([[], [0], [1], [0, 1]]),
)
@settings(deadline=None)
def test_together_they_give_what_they_give_one_by_one(
    equations: list[Equation], words: list[int], bits: int, spared: list[int]
) -> None:
    """spared: the operand that another party adds, in sums of the first operand."""
    ring = Ring(bits)
    given_words = {n: ring.literal(word) for n, word in enumerate(words)}

    def left_out(e: Equation) -> list[int]:
        return spared if e.op in ("add", "sub") and e.inputs[0].number == 0 else []

    expected = dict(given_words)
    for e in equations:
        operands = [expected[v.number] for v in e.inputs]
        for at in left_out(e):
            operands[at] = np.zeros((), np.uint64)
        expected[e.output.number] = KERNELS[e.op](ring, e.params, *operands)
    values: dict[int, Any] = dict(given_words)
    kept = [e.output.number for e in equations[::2]]
    fused(equations, left_out, kept, values, bits)(0)
    assert values.keys() == {*range(GIVEN), *kept}
    for number in kept:
        made = values[number]
        assert (made.dtype, made.shape) == (np.uint64, ())
        assert made == expected[number]


def test_a_word_that_is_read_twice_is_looked_up_once_and_its_value_stands_in_no_source() -> None:
    looked: list[int] = []

    class Values(dict[int, Any]):
        def __getitem__(self, number: int) -> Any:
            looked.append(number)
            return super().__getitem__(number)

    x = Var(0, WORD)
    square = Equation("mul", (x, x), (Var(1, WORD),))
    secret = 0x0123456789ABCDEF
    values = Values({0: np.array(secret, np.uint64)})
    act = fused([square, Equation("add", (square.output, x), (Var(2, WORD),))], lambda _: [], [2], values, 64)
    constants = act.__code__.co_consts  # type: ignore[attr-defined]
    assert secret not in constants
    act(0)
    assert looked == [0]
    assert act.__code__.co_consts == constants  # type: ignore[attr-defined]


@mpc.program
def chained(x: mpc.PerParty[mpc.Private]) -> Any:
    """Products of a loop on single numbers, with a public constant, a sum and a negative."""
    a, b = (mpc.share(v, range=(-1.5, 1.5)) for v in x[:2])

    def step(i: Any, z: Any) -> Any:
        return mpc.assume_range(mpc.rescale(0.25 - z * b, 16), -2, 2)

    return mpc.reveal(mpc.repeat(20, step, a))


def all_of(n: int) -> tuple[dict[int, Any], list[Any]]:
    """The results of a run, and every word that was sent."""
    sent: list[Any] = []

    def watch(p: int, r: Any) -> None:
        if isinstance(r, Exchange):
            sent.append((p, r.number, {q: [a.tobytes() for a in arrays] for q, arrays in r.arrays.items()}))

    names = names_of(n)
    lowered, owned = prepared(chained, {"x": {p: np.asarray(1.25 - i) for i, p in enumerate(names)}}, names, {})
    return drive(lowered, owned, n, watch), sorted(sent, key=lambda m: m[:2])


@pytest.mark.parametrize("n", [2, 3])
def test_the_step_of_a_loop_on_single_numbers_is_two_functions(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes before the opening of a step, and what comes after it; each message is what it is one by one."""
    made: list[int] = []

    def counted(equations: Any, *rest: Any) -> Any:
        made.append(len(equations))
        return fused(equations, *rest)

    monkeypatch.setattr(_Party, "straightened", lambda _self, _e: False)
    monkeypatch.setattr(_Party, "foresee", lambda _self, _e: None)  # it has a function more
    monkeypatch.setattr(alone, "fused", counted)
    results, sent = all_of(n)
    assert len(made) == 2 * n
    assert min(made) >= 4
    monkeypatch.setattr(alone.Alone, "is_word", lambda _self, _e: False)
    one_by_one, expected = all_of(n)
    assert len(made) == 2 * n
    assert sent == expected
    assert same(results, one_by_one)


def test_twin_in_which_every_party_adds_what_all_know_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Party, "straightened", lambda _self, _e: False)
    right, _ = all_of(2)
    monkeypatch.setattr(alone.Alone, "not_mine", lambda _self, _e: [])
    wrong, _ = all_of(2)
    assert not same(right, wrong)
