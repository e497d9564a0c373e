"""mpc/dealing.py: streams that never meet, corrections in program order, nothing that depends on data."""

from __future__ import annotations

import gc
import hashlib
import weakref
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from runs import RNG, dealt, drive, loops, narrow, prepared, products, quiet, same
from traced import SUITES

import mpc
from mpc import alone, engine
from mpc.dealing import Correction, needed_for_dealing
from mpc.exchange import Draw
from mpc.ir import Block, Equation, Kind, Type, Var, walk
from mpc.memory import names_of, run_in_memory
from mpc.prg import Position, block
from mpc.schedule import receiver
from mpc.testing import deterministic_entropy

# --- streams, rules 2 and 3


Use = tuple[bytes, Position]


def uses(lowered: Any, owned: Any, n: int, stream: Any = block) -> dict[str, list[Use]]:
    """Every stream block that dealer and parties read, in order."""
    dealer, parties = deterministic_entropy(n)
    read: dict[str, list[Use]] = {name: [] for name in ("dealer", *lowered.parties)}

    def hook(name: str) -> Any:
        def read_block(seed: bytes, at: Position, shape: tuple[int, ...]) -> Any:
            read[name].append((seed, at))
            return stream(seed, at, shape)

        return read_block

    entropy = (
        replace(dealer, stream=hook("dealer")),
        [replace(p, stream=hook(name)) for name, p in zip(lowered.parties, parties, strict=True)],
    )
    run_in_memory(lowered, owned, entropy=entropy)
    return read


def sharings(lowered: Any) -> set[Position]:
    """The places of all sharings of a run: number and iteration."""
    found: list[Position] = []

    def go(b: Any, iteration: int) -> None:
        for e in b.equations:
            if "id" in e.params:
                found.append(Position(e.params["id"], iteration))
            if e.op == "repeat":
                for i in range(e.params["times"]):
                    go(e.body, iteration * e.params["times"] + i)

    go(lowered.block, 0)
    assert len(found) == len(set(found)), "a place serves two sharings"
    return set(found)


@pytest.mark.parametrize("program", [products, loops, narrow, quiet], ids=lambda p: p.name)
@pytest.mark.parametrize("n", [2, 3])
def test_no_block_serves_two_sharings(program: Any, n: int) -> None:
    inputs = {"x": {p: RNG.integers(0, 3, (2, 2)) for p in names_of(n)}}
    for suite in SUITES:
        lowered, owned = prepared(program, inputs, names_of(n), {}, suite)
        places = sharings(lowered)
        for who, read in uses(lowered, owned, n).items():
            assert {at for _, at in read} <= places
            if who != "dealer":  # an owner reads its own stream as party and as owner; nothing else is read twice
                twice = [use for use, count in Counter(read).items() if count > 1]
                assert not twice or all(seed in _owners(n) for seed, _ in twice)


def _owners(n: int) -> set[bytes]:
    dealer, _ = deterministic_entropy(n)
    return {s for row in dealer.owners for s in row}


def test_twin_that_numbers_by_iteration_alone_is_caught() -> None:
    inputs = {"x": {p: RNG.integers(0, 3, (2, 2)) for p in names_of(2)}}
    lowered, _ = prepared(loops, inputs, names_of(2), {})
    for e in walk(lowered.block):
        if "id" in e.params:
            e.params = {**e.params, "id": 1}
    with pytest.raises(AssertionError, match="two sharings"):
        sharings(lowered)


def test_results_of_different_masks_are_one_result() -> None:
    inputs = {"x": {p: np.full((2, 2), 1.5) for p in names_of(3)}}
    lowered, owned = prepared(products, inputs, names_of(3), {})
    runs = [run_in_memory(lowered, owned, entropy=deterministic_entropy(3, s)) for s in range(5)]
    assert len({tuple(r.transcripts.values()) for r in runs}) == 5
    assert all(same(r.results_of, runs[0].results_of) for r in runs)


# --- dealing


@pytest.mark.parametrize("n", [2, 3, 5])
def test_corrections_go_to_party_id_mod_n_in_order(n: int) -> None:
    inputs = {"x": {p: np.ones((2, 2)) for p in names_of(n)}}
    lowered, _ = prepared(loops, inputs, names_of(n), {})
    expected: Counter[int] = Counter()

    def go(b: Any, times: int) -> None:
        for e in b.equations:
            if e.op == "deal":
                expected[e.params["id"] % n] += times * e.output.type.size
            if e.op == "repeat":
                go(e.body, times * e.params["times"])

    go(lowered.block, 1)
    corrections = dealt(lowered, n)
    words: Counter[int] = Counter()
    for c in corrections:
        words[c.party] += sum(a.size for a in c.arrays)
        assert all(a.dtype.str == "<u8" for a in c.arrays)
    assert words == expected
    for p in range(n):
        assert [c.number for c in corrections if c.party == p] == list(
            range(1, 1 + sum(c.party == p for c in corrections))
        )


def test_draws_take_all_that_is_dealt() -> None:
    inputs = {"x": {p: np.ones((2, 2)) for p in names_of(3)}}
    lowered, owned = prepared(loops, inputs, names_of(3), {})
    seen: list[tuple[int, Draw]] = []
    drive(lowered, owned, 3, lambda p, r: seen.append((p, r)) if isinstance(r, Draw) else None)
    for p in range(3):
        wanted = [r for q, r in seen if q == p]
        given = [c for c in dealt(lowered, 3) if c.party == p]
        assert [r.number for r in wanted] == list(range(1, len(wanted) + 1))
        assert [c.number for c in given] == list(range(1, len(given) + 1))
        assert sum(f.nbytes for r in wanted for f in r.expect) == sum(a.nbytes for c in given for a in c.arrays)


@mpc.program
def chained(x: mpc.PerParty[mpc.Private], times: int = 130) -> Any:
    a, b = (mpc.share(v, range=(-2, 2)) for v in (x[0], x[1]))

    def step(i: Any, z: Any) -> Any:
        z = mpc.assume_range(mpc.rescale(z * b, 16), -100, 100)
        return mpc.assume_range(mpc.rescale(z * a, 16), -100, 100)

    return mpc.reveal(mpc.repeat(times, step, a))


@pytest.mark.parametrize(("n", "size", "most"), [(2, 1, 2048), (3, 1, 2048), (2, 300, 1 << 16)])
def test_a_loop_draws_its_few_corrections_for_many_steps(
    n: int, size: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many steps at a time or one: the same words are drawn, and every message is the same."""
    names = names_of(n)
    given = {"x": {p: np.full(size, 1.0 + i / 4096) for i, p in enumerate(names)}}
    lowered, owned = prepared(chained, given, names, {})
    asked: dict[bool, list[list[int]]] = {}
    sent: dict[bool, list[Any]] = {}
    results = []
    for at_once in (True, False):
        with monkeypatch.context() as patch:
            if not at_once:
                patch.setattr(engine._Party, "supply", lambda _self, _body: None)
            draws: list[list[int]] = [[] for _ in names]
            messages: list[Any] = []

            def watch(p: int, r: Any, draws: Any = draws, messages: Any = messages) -> None:
                if isinstance(r, Draw):
                    draws[p].append(sum(f.nbytes for f in r.expect))
                else:
                    messages.append((p, r.number, {q: [a.tobytes() for a in arrays] for q, arrays in r.arrays.items()}))

            results.append(drive(lowered, owned, n, watch))
            asked[at_once], sent[at_once] = draws, sorted(messages, key=lambda m: m[:2])
    assert same(results[0], results[1])
    assert sent[True] == sent[False]
    for many, few in zip(asked[True], asked[False], strict=True):
        assert sum(many) == sum(few)
        assert len(few) >= 130
        assert len(many) <= 3
    longest = [words for draws in asked[True] for words in draws]
    assert max(longest) <= 8 * most


@pytest.mark.parametrize("shape", [(), (1,)], ids=["all steps one function", "step by step"])
@pytest.mark.parametrize("broken", [False, True])
def test_what_was_made_and_drawn_ahead_is_let_go_of_when_a_run_is_closed(
    broken: bool, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without waiting for the collector; the broken twin keeps it."""
    kept: list[weakref.ref[Any]] = []

    def watched(kind: Any) -> Any:
        class Watched(kind):  # type: ignore[misc]
            def __init__(self, *given: Any) -> None:
                super().__init__(*given)
                kept.append(weakref.ref(self))

        return Watched

    monkeypatch.setattr(engine, "Supply", watched(engine.Supply))
    monkeypatch.setattr(alone, "Ahead", watched(alone.Ahead))
    if broken:
        monkeypatch.setattr(engine._Party, "release", lambda _self: None)
    names = names_of(2)
    lowered, owned = prepared(chained, {"x": {p: np.ones(shape) for p in names}}, names, {})
    gc.disable()
    try:
        run = engine.run_party(lowered, 0, {"x": owned["x"]["alice"]}, deterministic_entropy(2)[1][0])
        next(run)
        run.close()
        del run
        assert len(kept) == 4  # of the program, masks of a step before and in the loop; of the loop, what is dealt
        assert [ref() is not None for ref in kept] == [broken] * 4
    finally:
        gc.enable()


@pytest.mark.parametrize(("numbers", "steps"), [(4096, 4), (8192, 2), (8193, 1)])
def test_half_a_mebibyte_is_drawn_at_a_time_and_more_only_for_one_step(numbers: int, steps: int) -> None:
    """Each party is dealt four values a step."""
    names = names_of(2)
    given = {"x": {p: np.ones(numbers) for p in names}}
    lowered, owned = prepared(chained, given, names, {"times": 6})
    drawn: list[list[int]] = [[], []]
    drive(lowered, owned, 2, lambda p, r: drawn[p].append(r.expect[0].shape[0]) if isinstance(r, Draw) else None)
    whole, rest = divmod(6, steps)
    expected = [steps] * whole + [rest] * bool(rest) if steps > 1 else [numbers] * 6
    assert drawn == [expected, expected]


@mpc.protocol(scale=lambda s: s, range=lambda r: r)
def thrice(x: Any) -> Any:
    """Two values dealt for each of x, and a mask more than is opened needs."""
    r, q = mpc.mask(x.shape), mpc.mask(x.shape)
    c = mpc.open(x + r + q)
    return c - mpc.deal(r) - mpc.deal(q)


@mpc.program
def uneven(x: mpc.PerParty[mpc.Private], steps: int = 300) -> Any:
    """A step in which one party is dealt single words, and another arrays."""
    a, b = (mpc.share(v, scale=0, range=(0, 9)) for v in x[:2])
    state = mpc.share(x[0], scale=0, range=(0, 9)).sum(), a + b
    few, many = mpc.repeat(steps, lambda _, s: (thrice(s[0]), thrice(s[1])), state)
    return {"few": mpc.reveal(few), "many": mpc.reveal(many.sum())}


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("numbers", [1000, 40_000])
def test_nobody_draws_for_more_steps_than_whoever_is_dealt_most(n: int, numbers: int) -> None:
    """The dealer stands still when it is so far ahead of one as it may be, and then another would wait for ever."""
    names = names_of(n)
    lowered, owned = prepared(uneven, {"x": {p: np.ones(numbers) for p in names}}, names, {"steps": 70})
    deals = [e for e in walk(lowered.block) if e.op == "deal"]
    most = max(sum(e.output.type.size for e in deals if receiver(e, n) == p) for p in range(n))
    asked: list[list[Any]] = [[] for _ in names]
    drive(lowered, owned, n, lambda p, r: asked[p].append(r.expect) if isinstance(r, Draw) else None)
    at_once = (1 << 16) // most
    assert any(asked)
    for draws in asked:
        if at_once > 1:
            assert not draws or max(frames[0].shape[0] for frames in draws) == min(70, at_once)
        else:
            assert len(draws) % 70 == 0


def test_dealing_depends_on_nothing_but_program_and_seeds() -> None:
    """Rule 5: the dealer works ahead, before and without any party."""
    one, two = ({"x": {p: np.full((2, 2), v) for p in names_of(3)}} for v in (0.0, 1.5))
    streams = []
    for inputs in (one, two):
        lowered, _ = prepared(loops, inputs, names_of(3), {})
        streams.append(hashlib.sha256(b"".join(a.tobytes() for c in dealt(lowered, 3) for a in c.arrays)).hexdigest())
    assert streams[0] == streams[1]


def test_a_correction_shows_none_of_its_words() -> None:
    assert repr(Correction(1, 2, [np.arange(3)])) == "Correction(party=1, number=2)"


def test_what_is_dealt_for_a_loop_goes_through_it() -> None:
    """A value that only a later step deals is needed from its start on; one that nobody deals is not."""
    state, fixed, idle = (Var(i, Type(Kind.MASK)) for i in range(3))
    step, inner, same, other, doubled = (Var(10 + i, Type(Kind.MASK)) for i in range(5))
    out, rest, dealt, last = (Var(20 + i, Type(Kind.MASK)) for i in range(4))
    body = Block(
        (step, inner, other, same),
        [Equation("add", (inner, same), (doubled,))],
        (doubled, other),
    )
    loop = Equation("repeat", (state, idle, fixed), (out, rest), {"times": 3, "carry": 2}, "", body)
    top = Block((state, idle, fixed), [loop, Equation("neg", (out,), (last,)), Equation("deal", (last,), (dealt,))], ())
    assert needed_for_dealing(top) == {last, out, state, inner, doubled, same, fixed}
    assert needed_for_dealing(Block((), [Equation("neg", (last,), (out,))], ())) == set()


def test_a_sum_needs_no_dealing() -> None:
    lowered, _ = prepared(quiet, {"x": {p: np.ones(2) for p in names_of(2)}}, names_of(2), {})
    assert dealt(lowered, 2) == []
