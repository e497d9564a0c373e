"""mpc/engine.py, dealing.py, pricing.py: plan equals run, any order of delivery, no block twice, narrow words."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from traced import SUITES

import mpc
from mpc import engine
from mpc.dealing import Correction, run_dealer
from mpc.engine import run_party
from mpc.errors import PeerError
from mpc.exchange import Draw, Exchange, Frame
from mpc.ir import walk
from mpc.memory import Emulation, names_of, run_in_memory
from mpc.prg import Position, block
from mpc.testing import Deterministic, deterministic_entropy
from protocols import BEAVER, MASKED, catalog

RNG = np.random.default_rng(3)


@mpc.program
def products(x: mpc.PerParty[mpc.Private]) -> Any:
    a, b = (mpc.share(v, range=(-4, 4)) for v in (x[0], x[1]))
    rest = sum((mpc.share(v, range=(-4, 4)) for v in x[2:]), start=a * 0.5)
    return {
        "all": mpc.reveal(a * b + a @ b.T @ rest),
        "one": mpc.reveal(rest.sum(), to=x[0].owner),
        "two": mpc.reveal((a - b) * (a - b), to=[x[0].owner, x[1].owner, "coordinator"]),
    }


@mpc.program
def loops(x: mpc.PerParty[mpc.Private]) -> Any:
    A, v = mpc.share(x[0], range=(-2, 2)), mpc.share(x[1], range=(-2, 2))

    def step(i: Any, state: Any) -> Any:
        w, s = state
        inner = mpc.repeat(2, lambda j, t: mpc.assume_range(t + A[j] * w, -50, 50), v[i % 2])
        w = mpc.accept_rounding(mpc.assume_range(mpc.sigmoid(A[i % 2 : i % 2 + 1] @ w, scale=40) + w, -4, 4))
        return mpc.rescale(w, 20), mpc.rescale(mpc.assume_range(s + inner, -90, 90), 16)

    w, s = mpc.repeat(5, step, (np.zeros(2), v[0]))
    return {"w": mpc.reveal(w), "s": mpc.reveal(s, bits=8)}


@mpc.program
def quiet(x: mpc.PerParty[mpc.Private]) -> Any:
    return mpc.reveal(sum(mpc.share(v) for v in x))


@mpc.protocol(scale=lambda s: 0, range=lambda r: (0, 255))
def low_byte(x: Any) -> Any:
    r = mpc.mask(x.shape)
    c = mpc.open(x + r, width=8)
    d = mpc.open(x * 3 + mpc.mask(x.shape), width=60)
    return x + c * 0 + d * 0 + mpc.deal(r) * 0


@mpc.program
def narrow(x: mpc.PerParty[mpc.Private]) -> Any:
    return mpc.reveal(low_byte(mpc.share(x[0], scale=0, range=(0, 9))) + mpc.share(x[1], scale=0, range=(0, 9)))


TABLE = {"a": [1.0, 2, 3, 4], "b": [4.0, 1, 1, 2], "label": ["y", "n", "y", "n"]}


def cases() -> Iterator[Any]:
    for n in (2, 3, 5, 8):
        names = names_of(n)
        square = {"x": {p: RNG.integers(-16, 16, (2, 2)) / 8 for p in names}}
        whole = {"x": {p: RNG.integers(0, 9, (2, 3)) for p in names}}
        for program, inputs in ((products, square), (loops, square), (quiet, square), (narrow, whole)):
            yield pytest.param(program, inputs, names, {}, id=f"{program.name}-{n}")
        model = {"data": dict.fromkeys(names[:2], TABLE)}
        settings = {"label": "label", "steps": 3, "batch_size": 4}
        yield pytest.param(catalog["logistic-regression"], model, names, settings, id=f"logistic-{n}")
        numbers = {"values": {p: np.ones((3, 2)) for p in names}}
        for name in ("secure-sum", "mean"):
            yield pytest.param(catalog[name], numbers, names, {}, id=f"{name}-{n}")


CASES = list(cases())


def prepared(program: Any, inputs: Any, names: list[str], settings: Any, suite: mpc.Suite = MASKED) -> Any:
    owned = {k: {p: mpc.owned(v) for p, v in by.items()} for k, by in inputs.items()}
    return program.trace(owned, names, settings).lower(suite), owned


# --- plan and run


@pytest.mark.parametrize("suite", SUITES, ids=lambda s: s.name)
@pytest.mark.parametrize(("program", "inputs", "names", "settings"), CASES)
def test_the_plan_is_what_the_run_costs(program: Any, inputs: Any, names: Any, settings: Any, suite: Any) -> None:
    lowered, owned = prepared(program, inputs, names, settings, suite)
    lowered.check()
    plan = lowered.cost()
    run = run_in_memory(lowered, owned, entropy=deterministic_entropy(len(names)))
    assert plan.rounds == run.rounds
    assert plan.bytes_sent == run.bytes_sent
    assert plan.dealt_bytes == run.dealt_bytes
    meaning = lowered.program.plain(owned)
    assert list(run.results_of[names[0]]) == lowered.program.order
    for name, value in run.results.items():
        if isinstance(value, np.ndarray | float):
            assert np.allclose(value, meaning[name], rtol=0, atol=2**-7), name


def test_input_bytes_are_the_owners_sendings() -> None:
    """Products need masked wires, sums need no message."""
    for n in (2, 5):
        names = names_of(n)
        inputs = {"x": {p: np.ones((2, 2)) for p in names}}
        plan = prepared(products, inputs, names, {})[0].cost()
        assert [plan.input_bytes[p] for p in names[:2]] == [32 * (n - 1)] * 2
        assert sum(prepared(quiet, inputs, names, {})[0].cost().input_bytes.values()) == 0


def test_a_party_alone_with_its_reveal_pays_nothing() -> None:
    @mpc.program
    def program(x: mpc.PerParty[mpc.Private]) -> Any:
        return mpc.reveal(mpc.share(x[0]) + mpc.share(x[1]), to="alice")

    inputs = {"x": {"alice": 1.0, "bob": 2.0}}
    lowered, owned = prepared(program, inputs, names_of(3), {})
    assert lowered.cost().bytes_sent == {"alice": 0, "bob": 8, "carol": 8}
    assert run_in_memory(lowered, owned).bytes_sent == lowered.cost().bytes_sent


def test_by_line_adds_up() -> None:
    lowered, _ = prepared(products, {"x": {p: np.ones((2, 2)) for p in ("alice", "bob")}}, ["alice", "bob"], {})
    plan = lowered.cost()
    assert sum(line.get("dealt_bytes", 0) for line in plan.by_line.values()) == sum(plan.dealt_bytes.values())
    assert sum(line.get("rounds", 0) for line in plan.by_line.values()) == plan.rounds
    assert all(where.startswith("test_engine.py:") for where in plan.by_line)


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


def same(one: Any, two: Any) -> bool:
    return all(np.array_equal(one[p][k], v) for p, known in two.items() for k, v in known.items())


def test_parties_learn_what_is_theirs_only() -> None:
    inputs = {"x": {p: np.ones((2, 2)) for p in ("alice", "bob", "carol")}}
    lowered, owned = prepared(products, inputs, names_of(3), {})
    known = {p: set(r) for p, r in run_in_memory(lowered, owned).results_of.items()}
    assert known == {"alice": {"all", "one", "two"}, "bob": {"all", "two"}, "carol": {"all"}}


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


def dealt(lowered: Any, n: int) -> list[Correction]:
    return list(run_dealer(lowered, deterministic_entropy(n)[0]))


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


def test_draws_match_corrections() -> None:
    """Each party's draws expect exactly the corrections made for it."""
    inputs = {"x": {p: np.ones((2, 2)) for p in names_of(3)}}
    lowered, owned = prepared(loops, inputs, names_of(3), {})
    seen: list[tuple[int, Draw]] = []
    _drive(lowered, owned, 3, lambda p, r: seen.append((p, r)) if isinstance(r, Draw) else None)
    for p in range(3):
        wanted = [r for q, r in seen if q == p]
        given = [c for c in dealt(lowered, 3) if c.party == p]
        assert [(r.number, [f.shape for f in r.expect]) for r in wanted] == [
            (c.number, [a.shape for a in c.arrays]) for c in given
        ]


def test_dealing_depends_on_nothing_but_program_and_seeds() -> None:
    """Rule 5: the dealer works ahead, before and without any party."""
    one, two = ({"x": {p: np.full((2, 2), v) for p in names_of(3)}} for v in (0.0, 1.5))
    streams = []
    for inputs in (one, two):
        lowered, _ = prepared(loops, inputs, names_of(3), {})
        streams.append(hashlib.sha256(b"".join(a.tobytes() for c in dealt(lowered, 3) for a in c.arrays)).hexdigest())
    assert streams[0] == streams[1]


def test_a_sum_needs_no_dealing() -> None:
    lowered, _ = prepared(quiet, {"x": {p: np.ones(2) for p in names_of(2)}}, names_of(2), {})
    assert dealt(lowered, 2) == []


# --- narrow openings, rule 9


def _drive(lowered: Any, owned: Any, n: int, watch: Any, change: Any = lambda p, q, number, arrays: arrays) -> Any:
    """A driver of its own, in lock step: watch(party, request) sees all; change(from, to, number, arrays) may cheat."""
    dealer, entropy = deterministic_entropy(n)
    own = [{k: by[name] for k, by in owned.items() if name in by} for name in lowered.parties]
    runs = [run_party(lowered, i, own[i], entropy[i]) for i in range(n)]
    corrections = [[c.arrays for c in run_dealer(lowered, dealer) if c.party == p] for p in range(n)]
    results: dict[int, Any] = {}
    asked: dict[int, Any] = {}
    posted: dict[tuple[int, int], dict[int, Any]] = {}

    def resume(p: int, answer: Any) -> None:
        try:
            request = runs[p].send(answer)
        except StopIteration as stop:
            results[p] = stop.value
            asked.pop(p, None)
            return
        watch(p, request)
        asked[p] = request
        if isinstance(request, Exchange):
            for q, arrays in request.send.items():
                posted.setdefault((q, request.number), {})[p] = change(p, q, request.number, arrays)

    for p in range(n):
        resume(p, None)
    while asked:
        for p, request in list(asked.items()):
            if isinstance(request, Draw):
                resume(p, corrections[p].pop(0))
            elif posted.get((p, request.number), {}).keys() >= request.expect.keys():
                resume(p, posted.pop((p, request.number), {}))
    return results


NARROW = {"x": {p: np.arange(6).reshape(2, 3) for p in names_of(2)}}


def test_narrow_openings_are_packed_and_reduced() -> None:
    lowered, owned = prepared(narrow, NARROW, names_of(2), {})
    frames: list[Frame] = []
    arrays: list[Any] = []

    def watch(p: int, request: Any) -> None:
        if isinstance(request, Exchange):
            frames.extend(f for fs in request.expect.values() for f in fs)
            arrays.extend(a for sent in request.send.values() for a in sent)

    results = _drive(lowered, owned, 2, watch)
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
        _drive(lowered, owned, 2, lambda p, r: None, cheat)


def test_twin_that_does_not_reduce_sends_high_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What rule 9 forbids: the words of the share as they stand show more than the opening."""

    def part(self: Any, e: Any, iteration: int) -> Any:
        if e.op == "open":
            return self.values[e.inputs[0].number], self.others(), self.others()
        return true(self, e, iteration)

    true = engine._Party.part
    lowered, owned = prepared(narrow, NARROW, names_of(2), {})
    monkeypatch.setattr(engine._Party, "part", part)
    with pytest.raises(PeerError, match="more than 60 bits"):
        _drive(lowered, owned, 2, lambda p, r: None)


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
    with pytest.raises(
        PeerError, match=r"party bob sent arrays of the wrong number, type or shape \(test_engine.py:\d+"
    ):
        _drive(
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
        _drive(lowered, owned, 3, lambda p, r: None, lambda p, q, k, arrays: change(arrays) if p == 1 else arrays)


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
    _drive(lowered, owned, 2, lambda p, r: texts.append(repr(r)))
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
    true = engine._Party.local

    def local(self: Any, e: Any, iteration: int, dealt_: Any) -> None:
        true(self, e, iteration, dealt_)
        if e.outputs[0].type.kind in ("public", "const"):
            seen[self.me].extend(np.asarray(self.values[v.number]).tobytes() for v in e.outputs)

    monkeypatch.setattr(engine._Party, "local", local)
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
