"""What a party and the dealer still hold when their part is done: no long value that nobody reads any more."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mpc
from mpc import alone, dealing, engine, lanes
from mpc.ir import Block, Equation, Kind, Type, Var, walk
from mpc.memory import names_of, run_in_memory
from mpc.prg import DealerEntropy
from protocols import suites

LONG = alone.SMALL + 1


@mpc.program
def chain(x: mpc.Private, y: mpc.Private) -> Any:
    a, b = mpc.share(x, range=(-8, 8)), mpc.share(y, range=(-8, 8))
    return mpc.reveal((a * b + a) * (a - b) + b), mpc.reveal(a * b, to="alice")


@mpc.program
def order(x: mpc.Private, y: mpc.Private) -> Any:
    return mpc.reveal(mpc.share(x, range=(-8, 8)) < mpc.share(y, range=(-8, 8)))


@mpc.program
def loops(x: mpc.Private, y: mpc.Private) -> Any:
    a, b = mpc.share(x, range=(-1, 1)), mpc.share(y, range=(-1, 1))
    return mpc.reveal(mpc.repeat(3, lambda i, z: mpc.assume_range(z * b + a * b, -1, 1), a) < b)


class Kept:
    """What every party, and the dealer, of a run had at its end."""

    def __init__(self, program: Any, suite: str, size: int) -> None:
        given = {"x": {"alice": np.linspace(-1, 1, size)}, "y": {"bob": np.linspace(-1, 1, size)}}
        self.lowered = program.trace(given, names_of(3)).lower(suites[suite])
        self.parties: list[engine._Party] = []
        self.held: list[dict[int, Any]] = []
        with pytest.MonkeyPatch.context() as m:
            original_party = engine._Party
            m.setattr(engine, "_Party", lambda *given: self.parties.append(original_party(*given)) or self.parties[-1])  # type: ignore[func-returns-value]
            original = alone.Alone.release
            m.setattr(alone.Alone, "release", lambda one: self.held.append(dict(one.values)) or original(one))  # type: ignore[func-returns-value]
            run_in_memory(self.lowered, given)
        dealer = dealing._Dealer(self.lowered, DealerEntropy.fresh(3))
        assert len(list(dealer.block(self.lowered.block, 0))) == sum(dealer.draws) > 0
        self.held.append(dealer.values)

    def left(self, size: int) -> set[int]:
        """The numbers of long values that were not forgotten, and are no results."""
        results = {v.number for v in self.lowered.outputs_by_name.values()}
        return {number for values in self.held for number, x in values.items() if np.size(x) >= size} - results


@pytest.mark.parametrize("suite", ["masked", "beaver"])
@pytest.mark.parametrize("program", [chain, order], ids=lambda p: p.name)
def test_no_long_value_is_left(program: Any, suite: str) -> None:
    kept = Kept(program, suite, LONG)
    assert len(kept.parties) == 3
    assert len(kept.held) == 4
    assert kept.left(LONG) == set()


def test_short_values_stay_where_they_are() -> None:
    """To forget them would take longer than they are worth."""
    assert alone.SMALL == 32
    assert len(Kept(chain, "masked", alone.SMALL).left(alone.SMALL)) > 20


@pytest.mark.parametrize("suite", ["masked", "beaver"])
def test_of_a_loop_only_what_goes_in_and_comes_out_is_left(suite: str) -> None:
    kept = Kept(loops, suite, LONG)
    edges = {
        v.number
        for e in walk(kept.lowered.block)
        if e.body is not None
        for v in (*e.body.params, *e.body.results, *e.inputs)
    }
    assert kept.left(LONG) - edges == set()


@pytest.mark.parametrize(
    ("sizes", "small"),
    [
        ([4096] * 32, 4096),
        ([4096] * 33, alone.SMALL),
        ([4096] * 32 + [4097] * 5 + [alone.SMALL] * 99, 4096),
        ([33] * 3971, 4096),
        ([33] * 3972, alone.SMALL),
    ],
)
def test_in_a_loop_short_values_stay_until_the_next_step_if_they_are_few(sizes: list[int], small: int) -> None:
    """A body of many would let them pile up: 1 MiB of them at most."""
    body = Block((), [Equation("mask", (), (Var(i, Type(Kind.MASK, (size,))),)) for i, size in enumerate(sizes)])
    assert engine._Party.replaceable(object.__new__(engine._Party), body) == small


@pytest.mark.parametrize("suite", ["masked", "beaver"])
@pytest.mark.parametrize("program", [chain, order], ids=lambda p: p.name)
def test_no_long_value_is_left_of_what_runs_in_pieces(
    program: Any, suite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "_LONG", 1 << 15)
    kept = Kept(program, suite, 40_000)
    assert any(part.swept for slot in kept.lowered.slots(kept.lowered.block) for part in slot.parts)
    assert kept.left(LONG) == set()


def test_at_the_end_everything_is_let_go() -> None:
    for party in Kept(chain, "masked", 3).parties:
        assert party.values == {}
        assert party.inputs == {}
