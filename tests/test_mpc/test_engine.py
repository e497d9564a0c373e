"""mpc/engine.py: any order of delivery, narrow words, peers that send nonsense, public numbers that agree."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from runs import RNG, dealt, drive, loops, narrow, prepared, products, quiet, same

import mpc
from mpc import engine
from mpc.engine import run_party
from mpc.errors import PeerError
from mpc.exchange import Exchange, Frame
from mpc.ir import Kind, Type, walk
from mpc.memory import Emulation, names_of, run_in_memory
from mpc.prg import Position, block
from mpc.testing import Deterministic, deterministic_entropy
from protocols import BEAVER, MASKED

# --- delivery


@pytest.mark.parametrize("program", [products, loops, narrow], ids=lambda p: p.name)
def test_a_hundred_delivery_orders_give_the_same(program: Any) -> None:
    inputs = {"x": {p: RNG.integers(0, 3, (2, 2)) for p in ("alice", "bob", "carol")}}
    lowered, owned = prepared(program, inputs, names_of(3), {})
    entropy = deterministic_entropy(3)
    first = run_in_memory(lowered, owned, entropy=entropy)
    for seed in range(100):
        rng = np.random.default_rng(seed)
        run = run_in_memory(lowered, owned, entropy=entropy, pick=lambda k, rng=rng: int(rng.integers(k)))
        assert run.transcripts == first.transcripts
        assert same(run.results_of, first.results_of)


def test_parties_learn_what_is_theirs_only() -> None:
    inputs = {"x": {p: np.ones((2, 2)) for p in ("alice", "bob", "carol")}}
    lowered, owned = prepared(products, inputs, names_of(3), {})
    known = {p: set(r) for p, r in run_in_memory(lowered, owned).results_of.items()}
    assert known == {"alice": {"all", "one", "two"}, "bob": {"all", "two"}, "carol": {"all"}}


def test_facts_of_a_program_are_results_of_everyone_in_their_place() -> None:
    @mpc.program
    def counted(x: mpc.Private) -> Any:
        return {"first": 3, "sum": mpc.reveal(mpc.share(x, range=(0, 9)), to="bob"), "last": "rows"}

    lowered, owned = prepared(counted, {"x": {"alice": 4.0}}, names_of(2), {})
    known = run_in_memory(lowered, owned).results_of
    assert list(known["bob"].items()) == [("first", 3), ("sum", 4), ("last", "rows")]
    assert list(known["alice"].items()) == [("first", 3), ("last", "rows")]


# --- zero-shares, rule 6


def test_each_step_of_a_loop_reveals_under_a_zero_share_of_its_own() -> None:
    """The secret is the same in both steps, and so is its share: only the zero-shares make the words differ."""

    @mpc.program
    def again(x: mpc.Private) -> Any:
        def step(i: Any, s: Any) -> Any:
            mpc.reveal(s, name="step")
            return s

        return mpc.reveal(mpc.repeat(3, step, mpc.share(x, range=(0, 9))))

    lowered, owned = prepared(again, {"x": {"alice": np.arange(4.0)}}, names_of(2), {})
    sent: list[bytes] = []

    def watch(p: int, request: Any) -> None:
        if p == 0 and isinstance(request, Exchange):
            sent.extend(a.tobytes() for arrays in request.arrays.values() for a in arrays)

    drive(lowered, owned, 2, watch)
    assert len(sent) == len(set(sent)) == 4


def test_of_two_the_first_adds_what_they_have_in_common_and_the_other_takes_it_away() -> None:
    """Every party of a run has to do as all others do, whatever release it runs."""
    lowered, _ = prepared(products, {"x": {p: np.ones((2, 2)) for p in names_of(3)}}, names_of(3), {})
    _, entropy = deterministic_entropy(3)
    at, t = Position(7, 3), Type(Kind.SHARE, (5,))
    shares = [engine._Party(lowered, i, {}, entropy[i], {}).zero_share(at, t) for i in range(3)]
    words = {(i, j): block(entropy[i].zeros[j], at, (5,)) for i in range(3) for j in range(i + 1, 3)}
    assert np.array_equal(shares[0], words[0, 1] + words[0, 2])
    assert np.array_equal(shares[1], words[1, 2] - words[0, 1])
    assert not sum(shares).any()


def test_the_zero_share_is_added_to_what_is_revealed_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    @mpc.program
    def both(x: mpc.Private) -> Any:
        a = mpc.share(x, range=(0, 99))
        mpc.keep(a, "later")
        return mpc.reveal(a)

    @mpc.program
    def taken(later: mpc.Secret) -> Any:
        return mpc.reveal(later)

    monkeypatch.setattr(
        engine._Party, "zero_share", lambda self, _, t: np.full(t.shape, 0 if self.me else 5 << 16, dtype=np.uint64)
    )
    run = mpc.emulate(both, {"x": {"alice": np.arange(4)}}, 2)
    assert run.results["result"].tolist() == [5, 6, 7, 8]
    run = mpc.emulate(taken, {"later": run.handles["later"]}, 2)
    assert run.results["result"].tolist() == [10, 11, 12, 13]


# --- narrow openings, rule 9


NARROW = {"x": {p: np.arange(6).reshape(2, 3) for p in names_of(2)}}


def test_narrow_openings_are_packed_and_reduced() -> None:
    lowered, owned = prepared(narrow, NARROW, names_of(2), {})
    frames: list[Frame] = []
    arrays: list[Any] = []

    def watch(p: int, request: Any) -> None:
        if isinstance(request, Exchange):
            frames.extend(f for fs in request.expect.values() for f in fs)
            arrays.extend(a for sent in request.arrays.values() for a in sent)

    results = drive(lowered, owned, 2, watch)
    shapes = Counter((f.dtype, f.shape) for f in frames)
    assert shapes[("|u1", (2, 3, 1))] == 2  # eight bits: a byte an element
    assert shapes[("<u8", (2, 3))] >= 2  # sixty bits: words
    assert Counter((a.dtype.str, a.shape) for a in arrays) == shapes
    wide = [a for a in arrays if a.dtype.str == "<u8" and int(a.max()) >> 60 == 0]
    assert len(wide) >= 2
    assert results[0]["result"].tolist() == (2 * np.arange(6).reshape(2, 3)).tolist()


def test_a_word_longer_than_the_opening_is_refused() -> None:
    lowered, owned = prepared(narrow, NARROW, names_of(2), {})

    def cheat(p: int, q: int, number: int, arrays: list[Any]) -> list[Any]:
        return [
            a | np.uint64(1 << 63) if p == 0 and a.dtype.str == "<u8" and int(a.max()) >> 60 == 0 else a for a in arrays
        ]

    with pytest.raises(PeerError, match="more than 60 bits for an opening of 60"):
        drive(lowered, owned, 2, lambda p, r: None, cheat)


def test_twin_that_does_not_reduce_sends_high_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What rule 9 forbids: the words of the share as they stand show more than the opening."""

    def part(self: Any, e: Any) -> Any:
        if e.op == "open":
            return lambda _: self.values[e.inputs[0].number], self.rest
        return true(self, e)

    true = engine._Party.part
    lowered, owned = prepared(narrow, NARROW, names_of(2), {})
    monkeypatch.setattr(engine._Party, "part", part)
    with pytest.raises(PeerError, match="more than 60 bits"):
        drive(lowered, owned, 2, lambda p, r: None)


CHEATS = [
    lambda a: a[..., :1],
    lambda a: a.reshape(-1),
    lambda a: a.astype(np.int64),
    lambda a: a.astype("<f8"),
    lambda a: a.astype(">u8"),
    lambda a: np.concatenate([a, a]),
]


@pytest.mark.parametrize("cheat", CHEATS)
def test_a_peers_wrong_shape_or_type_is_refused(cheat: Any) -> None:
    inputs = {"x": {p: np.ones((2, 2)) for p in names_of(3)}}
    lowered, owned = prepared(products, inputs, names_of(3), {})
    with pytest.raises(PeerError, match=r"party bob sent arrays of the wrong number, type or shape \(runs.py:\d+"):
        drive(
            lowered,
            owned,
            3,
            lambda p, r: None,
            lambda p, q, k, arrays: [cheat(a) for a in arrays] if p == 1 else arrays,
        )


@pytest.mark.parametrize("change", [lambda a: a[1:], lambda a: [*a, a[0]], lambda a: []])
def test_a_peers_wrong_number_of_arrays_is_refused(change: Any) -> None:
    inputs = {"x": {p: np.ones((2, 2)) for p in names_of(3)}}
    lowered, owned = prepared(products, inputs, names_of(3), {})
    with pytest.raises(PeerError, match="wrong number, type or shape"):
        drive(lowered, owned, 3, lambda p, r: None, lambda p, q, k, arrays: change(arrays) if p == 1 else arrays)


def test_a_dealers_wrong_shape_is_refused() -> None:
    inputs = {"x": {p: np.ones((2, 2)) for p in names_of(2)}}
    lowered, owned = prepared(products, inputs, names_of(2), {})
    party = run_party(lowered, 0, {"x": owned["x"]["alice"]}, deterministic_entropy(2)[1][0])
    request = next(party)
    while isinstance(request, Exchange):
        answer = {p: [np.zeros(f.shape, dtype=f.dtype) for f in fs] for p, fs in request.expect.items()}
        request = party.send(answer)
    with pytest.raises(PeerError, match="the dealer sent arrays of the wrong"):
        party.send([np.zeros((9, 9), dtype=np.uint64) for _ in request.expect])


# --- nothing shown


def test_requests_and_runs_show_no_data() -> None:
    inputs = {"x": {p: np.full((2, 2), 1.4711) for p in names_of(2)}}
    lowered, owned = prepared(products, inputs, names_of(2), {})
    texts: list[str] = [repr(lowered), repr(lowered.cost()), *(repr(c) for c in dealt(lowered, 2))]
    drive(lowered, owned, 2, lambda p, r: texts.append(repr(r)))
    run = run_in_memory(lowered, owned)
    words = {str(int(w)) for views in run.views.values() for a in views for w in np.asarray(a).ravel()}
    assert not any("array" in text for text in texts)
    assert not any(word in repr(run) for word in words if len(word) > 6)
    assert isinstance(run, Emulation)


def test_only_a_partys_own_inputs_are_read() -> None:
    lowered, _ = prepared(quiet, {"x": {p: np.ones(2) for p in names_of(2)}}, names_of(2), {})
    party = run_party(lowered, 1, {}, deterministic_entropy(2)[1][1])
    with pytest.raises(mpc.InputError, match="bob: input 'x' is missing"):
        next(party)
    wrong = run_party(lowered, 1, {"x": np.ones(3)}, deterministic_entropy(2)[1][1])
    with pytest.raises(mpc.InputError, match=r"has shape \(3,\), the program was made for \(2,\)"):
        next(wrong)


# --- public numbers, rule 10


def public_values(program: Any, inputs: Any, n: int, monkeypatch: pytest.MonkeyPatch) -> list[list[bytes]]:
    """For each party, every public or const value it computes, in order."""
    lowered, owned = prepared(program, inputs, names_of(n), {})
    seen: list[list[bytes]] = [[] for _ in range(n)]
    true = engine._Party.bound

    def bound(self: Any, e: Any, **more: Any) -> Any:
        act = true(self, e, **more)

        def noted(step: int) -> None:
            if act is not None:
                act(step)
            seen[self.me].extend(np.asarray(self.values[v.number]).tobytes() for v in e.outputs)

        return noted if e.outputs[0].type.kind in ("public", "const") else act

    monkeypatch.setattr(engine._Party, "bound", bound)
    run_in_memory(lowered, owned, entropy=deterministic_entropy(n))
    return seen


def test_public_numbers_are_equal_at_all_parties(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = {"x": {p: RNG.integers(0, 3, (2, 2)) / 2 for p in names_of(3)}}
    seen = public_values(loops, inputs, 3, monkeypatch)
    assert len(seen[0]) > 20
    assert seen[0] == seen[1] == seen[2]


def test_public_factors_are_integers_of_the_text() -> None:
    """Nothing that multiplies a share comes from a float at a party: all consts of a lowered program are integers."""
    inputs = {"x": {p: np.ones((2, 2)) for p in names_of(2)}}
    for suite in (MASKED, BEAVER):
        lowered, _ = prepared(loops, inputs, names_of(2), {}, suite)
        for e in walk(lowered.block):
            values = e.params.get("value", 0)
            assert all(type(v) is int for v in (values if isinstance(values, list) else [values]))
            assert not any(v.type.kind == "clear" for v in e.inputs if e.outputs[0].type.kind in ("share", "mask"))


def test_deterministic_entropy_repeats() -> None:
    assert Deterministic(1)(40) == Deterministic(1)(40) != Deterministic(2)(40)
    assert [Frame("<u8", (2, 3)).nbytes, Frame("|u1", (2, 3, 2)).nbytes] == [48, 12]
