"""mpc/stepping.py: all steps of a loop on single words as one function say and give what they do one by one."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from loops import exchanged, nested, two
from runs import drive, prepared, same

import mpc
from mpc import alone, engine
from mpc.engine import _Party, run_party
from mpc.errors import PeerError
from mpc.exchange import Draw, Exchange
from mpc.memory import names_of
from mpc.prg import Position, block, fresh_entropy
from mpc.testing import deterministic_entropy
from protocols import BEAVER, MASKED


@mpc.program
def chained(x: mpc.PerParty[mpc.Private]) -> Any:
    """A public constant, a sum, a negative; what a step makes of outside values alone."""
    a, b = two(x)
    return mpc.reveal(mpc.repeat(70, lambda i, z: mpc.assume_range(mpc.rescale(0.25 - z * b, 16), -2, 2), a))


@mpc.program
def counted(x: mpc.PerParty[mpc.Private]) -> Any:
    """A step that reads its number."""
    a, b = two(x)
    return mpc.reveal(mpc.repeat(9, lambda i, z: mpc.assume_range(mpc.rescale(z * b, 16) + i, -90, 90), a))


@mpc.program
def several(x: mpc.PerParty[mpc.Private]) -> Any:
    """Three products a step, each with a mask of its own; one value that a step passes on without reading it."""
    a, b = two(x)
    outside = a - b

    def step(_: Any, state: Any) -> Any:
        p, q, _passed = state
        products = [mpc.assume_range(mpc.rescale(u * v, 16), -2, 2) for u, v in ((p, q), (p, b), (q, q))]
        return products[0], mpc.assume_range(products[1] + products[2], -2, 2), outside

    p, q, passed = mpc.repeat(9, step, (a, b, b))
    return {"p": mpc.reveal(p), "q": mpc.reveal(q), "passed": mpc.reveal(passed)}


@mpc.program
def local(x: mpc.PerParty[mpc.Private]) -> Any:
    """Steps without a round."""
    a, b = two(x)
    return mpc.reveal(mpc.repeat(5, lambda _, z: mpc.assume_range(z + b, -90, 90), a))


@mpc.program
def compared(x: mpc.PerParty[mpc.Private]) -> Any:
    """A comparison opens bits, so a step is more than single words of 64 bits."""
    a, b = two(x)
    return mpc.reveal(mpc.repeat(3, lambda _, z: mpc.assume_range(mpc.where(z < b, b, z), -2, 2), a))


@mpc.program
def long(x: mpc.PerParty[mpc.Private]) -> Any:
    """Arrays of two."""
    a, b = (mpc.share(v, range=(-1.5, 1.5)) for v in x[:2])
    return mpc.reveal(mpc.repeat(3, lambda _, z: mpc.assume_range(mpc.rescale(z * b, 16), -2, 2), a))


def numbers(n: int, shape: tuple[int, ...] = ()) -> Any:
    return {"x": {p: np.full(shape, 1.25 - i / 4) for i, p in enumerate(names_of(n))}}


def said(program: Any, n: int, suite: mpc.Suite = MASKED, shape: tuple[int, ...] = ()) -> tuple[Any, Any]:
    """The results of a run, and all that was asked for, word by word."""
    asked: list[Any] = []

    def watch(p: int, r: Any) -> None:
        if isinstance(r, Exchange):
            sent = {q: [(a.dtype, a.shape, a.tobytes()) for a in arrays] for q, arrays in r.arrays.items()}
            asked.append((p, "exchange", r.number, r.where, sent, r.expect, r.reveals, r.sharing))
        elif isinstance(r, Draw):
            asked.append((p, "draw", r.number, r.where, r.expect))

    lowered, owned = prepared(program, numbers(n, shape), names_of(n), {}, suite)
    results = drive(lowered, owned, n, watch)
    return results, [[a for a in asked if a[0] == p] for p in range(n)]


@pytest.fixture
def straight(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Which loops have become one function, in the order in which parties met them."""
    met: list[bool] = []
    really = _Party.straightened

    def straightened(self: _Party, e: Any) -> bool:
        met.append(really(self, e))
        return met[-1]

    monkeypatch.setattr(_Party, "straightened", straightened)
    return met


@pytest.mark.parametrize("suite", [MASKED, BEAVER], ids=["masked", "beaver"])
@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("program", [chained, exchanged, counted, nested, several, local], ids=lambda p: p.name)
def test_all_steps_together_say_what_they_say_one_by_one(
    program: Any, n: int, suite: mpc.Suite, straight: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    together = said(program, n, suite)
    assert any(straight)
    monkeypatch.setattr(_Party, "straightened", lambda _self, _e: False)
    one_by_one = said(program, n, suite)
    assert together[1] == one_by_one[1]
    assert same(together[0], one_by_one[0])


@mpc.protocol(scale=lambda s: s, range=lambda r: r)
def again(x: Any) -> Any:
    """The same, after an opening under a mask."""
    r = mpc.mask(x.shape)
    return mpc.open(x + r) - mpc.deal(r)


@mpc.program
def begun(x: mpc.PerParty[mpc.Private]) -> Any:
    """A loop in the first slot, where masks that are drawn once are drawn before the data."""
    a, b = (mpc.share(v, scale=0, range=(0, 9)) for v in x[:2])
    return mpc.reveal(mpc.repeat(6, lambda _, z: mpc.assume_range(again(z) + 1, 0, 99), a + b))


@pytest.mark.parametrize("program", [chained, begun], ids=lambda p: p.name)
def test_with_a_stream_that_makes_one_block_at_a_time_every_step_has_its_own_masks(
    program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then nothing is made ahead, and a loop stays as it is written."""
    expected = said(program, 2)
    drawn: list[tuple[int, bytes, Position]] = []

    def noted(p: int, seed: bytes, at: Position, shape: tuple[int, ...]) -> Any:
        drawn.append((p, seed, at))
        return block(seed, at, shape)

    dealer, entropy = deterministic_entropy(2)
    streams = [partial(noted, p) for p in range(2)]
    one_by_one = (
        replace(dealer, stream=block),
        [replace(e, stream=stream) for e, stream in zip(entropy, streams, strict=True)],
    )
    monkeypatch.setattr("runs.deterministic_entropy", lambda _n: one_by_one)
    found = said(program, 2)
    assert [[a for a in asked if a[1] == "exchange"] for asked in found[1]] == [
        [a for a in asked if a[1] == "exchange"] for asked in expected[1]
    ]
    assert same(found[0], expected[0])
    inside = [one for one in drawn if one[2].iteration]
    assert len(inside) == len(set(inside)) > 6


@pytest.mark.parametrize(("program", "shape"), [(compared, ()), (long, (2,))], ids=["bits", "arrays"])
def test_a_step_on_anything_else_is_done_equation_by_equation(
    program: Any, shape: tuple[int, ...], straight: list[bool]
) -> None:
    said(program, 2, shape=shape)
    assert straight
    assert not any(straight)


def test_twin_in_which_every_party_adds_what_all_know_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right, _ = said(chained, 2)
    monkeypatch.setattr(alone.Alone, "not_mine", lambda _self, _e: [])
    wrong, _ = said(chained, 2)
    assert not same(right, wrong)


@pytest.mark.parametrize(
    "bad",
    [
        lambda arrays: [],
        lambda arrays: [*arrays, *arrays],
        lambda arrays: [a.reshape(1) for a in arrays],
        lambda arrays: [a.view(np.int64) for a in arrays],
    ],
    ids=["nothing", "twice", "another shape", "another type"],
)
def test_what_a_peer_sends_of_another_form_is_its_error(bad: Any, straight: list[bool]) -> None:
    lowered, owned = prepared(chained, numbers(2), names_of(2), {})

    def change(p: int, _q: int, number: int, arrays: Any) -> Any:
        return bad(arrays) if p == 1 and number == 5 else arrays

    with pytest.raises(PeerError, match="party bob sent arrays of the wrong number, type or shape"):
        drive(lowered, owned, 2, lambda _p, _r: None, change)
    assert any(straight)


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("program", [chained, exchanged, several], ids=lambda p: p.name)
def test_a_driver_may_answer_with_integers(program: Any, n: int, straight: list[bool]) -> None:
    """As that of the parties does: the words of a message are nothing else before they are an array."""
    expected, _ = said(program, n)
    single: set[int] = set()
    lowered, owned = prepared(program, numbers(n), names_of(n), {})

    def watch(_: int, r: Any) -> None:
        if isinstance(r, Exchange) and r.single:
            single.add(r.number)

    def change(_p: int, _q: int, number: int, arrays: Any) -> Any:
        return tuple(a.item() for a in arrays) if number in single else arrays

    assert same(drive(lowered, owned, n, watch, change), expected)
    assert len(single) >= 9
    last = max(single)
    with pytest.raises(PeerError, match="wrong number, type or shape"):
        drive(lowered, owned, n, watch, lambda p, q, k, arrays: change(p, q, k, arrays) * (1 + (k == last)))


def test_the_source_holds_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []
    really = engine.stepped.__globals__["compiled"]
    monkeypatch.setitem(engine.stepped.__globals__, "compiled", lambda text: texts.append(text) or really(text))
    first, _ = said(chained, 2)
    lowered, owned = prepared(chained, {"x": {"alice": 0.5, "bob": 0.75}}, names_of(2), {})
    second = drive(lowered, owned, 2, lambda _p, _r: None)
    assert not same(first, second)
    assert len(texts) == 4
    assert texts[:2] == texts[2:]


def test_whoever_closes_it_in_the_middle_lets_go_of_everything() -> None:
    lowered, owned = prepared(chained, numbers(2), names_of(2), {})
    entropy = fresh_entropy(2)[1][0]
    run = run_party(lowered, 0, {"x": owned["x"]["alice"]}, entropy)
    party = weakref.ref(run.gi_frame.f_locals["party"])
    asked = run.send(None)
    while not (isinstance(asked, Exchange) and asked.number == 5):
        answered = [np.zeros(f.shape, f.kind) for f in asked.expect] if isinstance(asked, Draw) else {
            peer: [np.zeros(f.shape, f.kind) for f in frames] for peer, frames in asked.expect.items()
        }  # fmt: skip
        asked = run.send(answered)
    held = party()
    assert held is not None
    assert held.straight
    run.close()
    assert not held.straight
    assert not held.values
    del held, run, asked
    gc.collect()
    assert party() is None
