"""The security rules (docs/rules.md) that views and counts do not show, each with its broken twin."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import mpc
from mpc import alone, dealing, engine, memory
from mpc.dealing import run_dealer
from mpc.engine import run_party
from mpc.exchange import Draw, Exchange
from mpc.ir import Block, Equation, Kind, walk
from mpc.lowering import Lowered
from mpc.memory import run_in_memory
from mpc.prg import Position, block
from mpc.ring import RING64, total
from mpc.testing import deterministic_entropy
from mpc.trig import cos_turns, sin_turns, sine_series
from protocols import BEAVER, MASKED, catalog, suites

PARTIES = ["alice", "bob", "carol"]
Stream = Callable[[bytes, Position, tuple[int, ...]], Any]


@mpc.program
def training(X: mpc.Private, y: mpc.Private):
    """A bit of everything: wires, a loop with a matrix, a truncation, a sigmoid, an input that is only summed."""
    matrix, target = mpc.share(X, range=(-4, 4), scale=8), mpc.share(y, range=(0, 1), scale=8)

    def step(_, w):
        p = mpc.sigmoid(mpc.assume_range(matrix @ w, -16, 16), scale=20)
        moved = mpc.rescale(w, 16) - mpc.rescale(matrix.T @ (p - target), 16) / 8
        return mpc.accept_rounding(mpc.assume_range(mpc.rescale(moved, 16), -8, 8))

    w = mpc.repeat(3, step, mpc.constant(np.zeros(2), 16))
    return mpc.reveal(w), mpc.reveal((matrix * matrix).sum() + target.sum(), bits=12)


def data(seed: int) -> dict[str, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return {"X": {"alice": rng.uniform(-4, 4, (5, 2))}, "y": {"bob": rng.integers(0, 2, 5).astype(float)}}


def lowered(suite: Any = MASKED, n: int = 3) -> Lowered:
    return training.trace(data(0), PARTIES[:n]).lower(suite)


# --- rule 2: one mask, one value


def openings(program: Lowered, inputs: Any, monkeypatch: pytest.MonkeyPatch) -> dict[Any, set[bytes]]:
    """Every (mask, iteration) of a run, and all public values that were opened under it."""
    found: dict[Any, set[bytes]] = defaultdict(set)
    made = {v: e for e in walk(program.block) for v in e.outputs}
    opened = [e.inputs[0] for e in walk(program.block) if e.op == "open"]
    pads = {v: [m for m in made[v].inputs if m.type.kind is Kind.MASK] for v in opened}
    original = engine._Party.exchange

    def exchange(self: Any, fixed: Any, iteration: int) -> Any:
        yield from original(self, fixed, iteration)
        for e in fixed.equations:
            ids = [e.params["mask"]] if e.op == "send" else [made[v].params["id"] for v in pads.get(e.inputs[0], [])]
            for number in ids if e.op in ("open", "send") else []:
                found[number, iteration].add(np.asarray(self.values[e.output.number]).tobytes())

    with monkeypatch.context() as m:
        m.setattr(engine._Party, "exchange", exchange)
        run_in_memory(program, inputs, entropy=deterministic_entropy(len(program.parties)))
    return found


@pytest.mark.parametrize("suite", suites.values(), ids=suites)
def test_rule_2_a_mask_has_one_delta(suite, monkeypatch):
    found = openings(lowered(suite), data(1), monkeypatch)
    assert len(found) > 8
    assert {len(deltas) for deltas in found.values()} == {1}
    assert len({i for _, i in found}) == 3  # each iteration has masks of its own


def test_rule_2_the_twin_opens_two_values_under_one_mask(monkeypatch):
    program = lowered()
    inside = next(e.body for e in program.block.equations if e.op == "repeat")
    masks = [e for e in inside.equations if e.op == "mask"]
    assert len(masks) > 1
    masks[1].params["id"] = masks[0].params["id"]
    found = openings(program, data(1), monkeypatch)
    assert 2 in {len(deltas) for deltas in found.values()}


def blocks(top: Block) -> list[Block]:
    inner = [e.body for e in top.equations if e.body is not None]
    return [top, *(b for i in inner for b in blocks(i))]


@pytest.mark.parametrize("suite", suites.values(), ids=suites)
def test_rule_2_what_is_opened_in_a_loop_is_not_visible_outside(suite):
    """Every variable is used in the block that defines it, or handed on as a parameter or result of the loop."""
    for b in blocks(lowered(suite).block):
        own = {*b.params, *(v for e in b.equations for v in e.outputs)}
        assert all(v in own for e in b.equations for v in e.inputs)
        assert all(v in own for v in b.results)


def test_rule_2_a_wire_that_a_loop_and_what_follows_share_is_opened_before_it():
    """z: once, outside; the state: in each of the two steps, under a mask of the step."""

    @mpc.program
    def program(x: mpc.Private, y: mpc.Private):
        z = mpc.share(x, range=(-1, 1), scale=0) * mpc.share(y, range=(-1, 1), scale=0)
        inside = mpc.repeat(2, lambda i, w: mpc.assume_range(w * z, -8, 8), mpc.constant(np.ones(3), 0))
        return mpc.reveal(inside + z * z, bits=0)

    given = {"x": {"alice": np.array([1.0, 0, -1])}, "y": {"bob": np.array([1.0, 1, 1])}}
    program = program.trace(given, PARTIES[:2]).lower(MASKED)
    program.check()
    outside, inside = ([e for e in b.equations if e.op == "open"] for b in blocks(program.block))
    assert (len(outside), len(inside)) == (1, 1)
    np.testing.assert_array_equal(run_in_memory(program, given).results["result"], [2, 0, 2])


def test_two_attempts_mask_anew():
    """The same run again, with another input: no word of the two transcripts is equal to the other's."""
    first, second = (run_in_memory(lowered(), data(seed)) for seed in (1, 2))
    for party in PARTIES:
        one, other = (np.concatenate([a.ravel() for a in run.views[party]]) for run in (first, second))
        assert len(np.intersect1d(one, other)) == 0


# --- rule 3: a block serves one sharing


def uses(program: Lowered, monkeypatch: pytest.MonkeyPatch) -> dict[tuple[bytes, Position], set[tuple[str, int]]]:
    """Every block of every stream, and the sharings (the equation that asked) that it serves."""
    found: dict[tuple[bytes, Position], set[tuple[str, int]]] = defaultdict(set)
    asking: list[tuple[str, int]] = [("", -1)]

    def noted(original: Any, at: int) -> Any:
        def call(*args: Any) -> Any:
            e = args[at]
            asking.append((_sharing(e), e.outputs[0].number))
            try:
                return original(*args)
            finally:
                asking.pop()

        return call

    def noted_part(self: Any, e: Equation) -> Any:
        made, to = part(self, e)
        return noted(lambda _, step: made(step), 0).__get__(e), to

    part = engine._Party.part

    def stream(seed: bytes, at: Position, shape: tuple[int, ...]) -> Any:
        found[seed, at].add(asking[-1])
        return block(seed, at, shape)

    dealer, parties = deterministic_entropy(len(program.parties))
    with monkeypatch.context() as m:
        m.setattr(alone, "SOURCES", {k: noted(v, 1) for k, v in alone.SOURCES.items()})
        m.setattr(engine._Party, "part", noted_part)
        for name in ("ahead", "sourced"):
            m.setattr(engine._Party, name, noted(getattr(engine._Party, name), 1))
        for name in ("mask", "correction"):  # of one step, or of many at once
            m.setattr(dealing._Dealer, name, noted(getattr(dealing._Dealer, name), 1))
        entropy = (replace(dealer, stream=stream), [replace(p, stream=stream) for p in parties])
        run_in_memory(program, data(1), entropy=entropy)
    return found


def _sharing(e: Equation) -> str:
    return "mask" if e.op in ("mask", "owner_mask", "send") else e.op


@pytest.mark.parametrize("suite", suites.values(), ids=suites)
def test_rule_3_no_block_serves_two_sharings(suite, monkeypatch):
    program = lowered(suite)
    owner_masks = {e.inputs[1].number: e.output.number for e in walk(program.block) if e.op == "send"}
    found = uses(program, monkeypatch)
    assert len(found) > 50
    assert len({block(seed, at, (2,)).tobytes() for seed, at in found}) == len(found)  # positions differ in their words
    for served in found.values():
        assert len({(kind, owner_masks.get(number, number)) for kind, number in served}) == 1


def test_rule_3_the_twin_is_seen(monkeypatch):
    program = lowered()
    masks = [e for e in walk(program.block) if e.op == "mask"]
    deal = next(e for e in walk(program.block) if e.op == "deal")
    deal.params["id"] = masks[0].params["id"]
    assert any(len(served) > 1 for served in uses(program, monkeypatch).values())


def test_rule_3_an_owners_mask_comes_from_streams_for_it_alone():
    dealer, parties = deterministic_entropy(3)
    general = set(dealer.parties)
    for owner, row in enumerate(dealer.owners):
        assert not general & set(row)
        assert parties[owner].own == row
    seeds = [s for row in dealer.owners for s in row] + list(dealer.parties)
    assert len(set(seeds)) == len(seeds)


# --- rule 5: the dealer sees nothing


def test_rule_5_the_dealer_is_sent_nothing():
    """Its program is a plain iterator: there is no way to send it anything, and it depends on no input."""
    for suite in suites.values():
        program = lowered(suite)
        corrections = run_dealer(program, deterministic_entropy(3)[0])
        assert iter(corrections) is corrections
        first, second = (list(run_dealer(program, deterministic_entropy(3)[0])) for _ in range(2))
        assert [(c.party, c.number) for c in first] == [(c.party, c.number) for c in second]
        assert all(
            np.array_equal(a, b)
            for c, d in zip(first, second, strict=True)
            for a, b in zip(c.arrays, d.arrays, strict=True)
        )


def requests(program: Lowered, inputs: Any) -> list[list[str]]:
    """What each party asks for, in order: of peers and of the dealer, in shapes and never in values."""
    asked: list[list[str]] = [[] for _ in program.parties]
    original = engine.run_party

    def recorded(at: int) -> Any:
        own = {name: by[program.parties[at]] for name, by in inputs.items() if program.parties[at] in by}
        run = original(program, at, own, deterministic_entropy(len(program.parties))[1][at])
        answer = yield from note(run, asked[at])
        return answer

    def note(run: Any, log: list[str]) -> Any:
        answer: Any = None
        while True:
            try:
                request = run.send(answer)
            except StopIteration as stop:
                return stop.value
            log.append(repr(request if isinstance(request, Draw) else (request.number, request.where, request.expect)))
            answer = yield request

    kept, memory.run_party = memory.run_party, lambda _, at, *__: recorded(at)
    try:
        run_in_memory(program, inputs, entropy=deterministic_entropy(len(program.parties)))
    finally:
        memory.run_party = kept
    return asked


def test_rule_5_what_is_asked_of_the_dealer_does_not_depend_on_the_data():
    """Requests for corrections carry a number, a source line and shapes, and are the same for all inputs."""
    program = lowered()
    first, second = requests(program, data(1)), requests(program, data(2))
    assert first == second
    assert any("Draw" in line for line in first[0])


def test_rule_5_the_twin_asks_one_time_more_when_its_values_are_zero(monkeypatch):
    original = engine._Party.draw

    def draw(self: Any, *args: Any) -> Any:
        own = self.inputs.get("y")
        self.draws += int(own is not None and not np.any(own))
        return (yield from original(self, *args))

    monkeypatch.setattr(engine._Party, "draw", draw)
    ones, zeros = data(1), data(1)
    ones["y"]["bob"], zeros["y"]["bob"] = np.ones(5), np.zeros(5)
    assert requests(lowered(), ones) != requests(lowered(), zeros)


# --- rule 6: a zero-share at every reveal


@pytest.mark.parametrize("suite", suites.values(), ids=suites)
def test_rule_6_zero_shares_sum_to_zero_are_new_each_time_and_unknown_to_the_dealer(suite):
    program = lowered(suite)
    dealer, parties = deterministic_entropy(3)
    runs = [engine._Party(program, i, {}, p, {}) for i, p in enumerate(parties)]
    reveals = [e for e in walk(program.block) if e.op == "reveal"]
    seen = set()
    for e in reveals:
        at = Position(e.params["id"], 0)
        parts = [run.zero_share(at, e.output.type) for run in runs]
        assert not np.any(total(RING64, parts))
        assert all(np.all(p != 0) for p in parts)
        seen.add(parts[0].tobytes())
    assert len(seen) == len(reveals) == 2
    alone = engine._Party(program, 0, {}, replace(parties[0], pairs={}, dealer=b"", owners=(), own=()), {})
    assert seen == {alone.zero_share(Position(e.params["id"], 0), e.output.type).tobytes() for e in reveals}
    known = {*dealer.parties, *(s for row in dealer.owners for s in row)}
    assert not known & {s for p in parties for s in (*p.zeros.values(), *p.pairs.values())}


def test_rule_6_a_result_party_and_the_dealer_recover_an_input_without_it(monkeypatch):
    """The experiment: the words of a revealed product, with all that the dealer knows, give the input back."""

    @mpc.program
    def program(x: mpc.Private, y: mpc.Private):
        a, b = mpc.share(x, range=(-(2**20), 2**20), scale=0), mpc.share(y, range=(-(2**20), 2**20), scale=0)
        return mpc.reveal(a * b, bits=0)

    def recovered() -> int:
        """Party 1's word is −Δx·[λy] − [λx]·Δy + [λxλy]; two such products under known shares give Δx and Δy."""
        secret = np.random.default_rng(4).integers(-(2**20), 2**20, (200, 2))
        hits = 0
        given = {"x": {"alice": secret[:, 0].astype(float)}, "y": {"bob": secret[:, 1].astype(float)}}
        lowered = program.trace(given, PARTIES[:2]).lower(MASKED)
        dealer, parties = deterministic_entropy(2)
        run = run_in_memory(lowered, given, entropy=(dealer, parties))
        words = run.views["alice"][-1]
        lx, ly = (
            [block(s, Position(e.params["id"], 0), (200,)) for s in dealer.owners[i]]
            for i, e in enumerate(e for e in walk(lowered.block) if e.op == "owner_mask")
        )
        (deal,) = (e for e in walk(lowered.block) if e.op == "deal")
        party = deal.params["id"] % 2
        other = block(dealer.parties[1 - party], Position(deal.params["id"], 0), (200,))
        product = sum(lx[1:], start=lx[0]) * sum(ly[1:], start=ly[0])
        mine = product - other if party == 1 else other
        # what is left is linear in Δx and Δy, so a guess of the inputs is confirmed or refuted
        for i in range(200):
            dx = np.uint64(int(secret[i, 0]) % 2**64) + lx[0][i] + lx[1][i]
            dy = np.uint64(int(secret[i, 1]) % 2**64) + ly[0][i] + ly[1][i]
            hits += int(words[i] == mine[i] - dx * ly[1][i] - lx[1][i] * dy)
        return hits

    with np.errstate(over="ignore"):
        assert recovered() == 0
        monkeypatch.setattr(engine._Party, "zero_share", lambda self, at, t: np.zeros(t.shape, dtype=np.uint64))
        assert recovered() == 200


# --- rule 7: ranges are not taken from data


def test_rule_7_the_program_does_not_depend_on_values():
    texts = {training.trace(data(seed), PARTIES).text for seed in range(5)}
    assert len(texts) == 1
    for name, given in (
        (
            "secure-sum",
            lambda s: {"values": dict(zip(PARTIES, np.random.default_rng(s).normal(0, s, (3, 4)), strict=True))},
        ),
        ("mean", lambda s: {"values": dict(zip(PARTIES, np.random.default_rng(s).normal(0, s, (3, 4)), strict=True))}),
    ):
        assert len({catalog[name].trace(given(seed), PARTIES).text for seed in (1, 1000)}) == 1


def test_rule_7_logistic_regression_knows_classes_rows_and_columns_only():
    def given(scale: float) -> Any:
        rng = np.random.default_rng(int(scale))
        return {
            "data": {
                p: {"a": rng.normal(0, scale, 4), "b": rng.normal(scale, 1, 4), "ill": [0, 1, 1, 0]} for p in PARTIES
            }
        }

    texts = {catalog["logistic-regression"].trace(given(s), PARTIES, {"label": "ill"}).text for s in (1.0, 50.0, 1e6)}
    assert len(texts) == 1


def test_rule_7_the_twin_takes_a_range_from_data():
    @mpc.program
    def program(x: mpc.Private, top: float):
        return mpc.reveal(mpc.share(x, range=(-top, top)))

    texts = set()
    for seed in (1, 2):
        x = np.random.default_rng(seed).normal(size=3)
        texts.add(program.trace({"x": {"bob": x}}, PARTIES, {"top": float(np.max(np.abs(x)))}).text)
    assert len(texts) == 2


@pytest.mark.parametrize("how", [mpc.emulate, mpc.simulate])
def test_rule_7_only_the_owner_hears_row_and_column(how):
    tables = {"alice": {"a": [1.0, 2.0]}, "bob": {"a": [3.0, 31337.0]}}

    @mpc.program
    def program(t: mpc.PerParty[mpc.Table]):
        return mpc.reveal(sum(mpc.share(x["a"], range=(0, 100)).sum() for x in t))

    with pytest.raises(mpc.InputError) as caught:
        how(program, {"t": tables}, 2)
    assert str(caught.value).startswith("bob: t of bob: row 2 (line 3), column 'a' is outside the declared range")
    assert caught.value.public == "bob: input refused"
    assert "31337" not in str(caught.value)
    assert caught.value.__suppress_context__


# --- rule 8: no low bits of what is approximate


@mpc.program
def chance(u: mpc.Private, bits: int = 0, accept: bool = False):
    p = mpc.sigmoid(mpc.share(u, range=(-8, 8)))
    return mpc.reveal(mpc.accept_rounding(p) if accept else p, bits=bits or None)


def test_rule_8_a_revealed_sigmoid_is_2_to_20_times_coarser_than_its_noise():
    given = {"u": {"alice": np.linspace(-8, 8, 2000)}}

    def off_by_more_than_a_unit(bits: int) -> float:
        """How many elements two runs show more than one unit apart."""
        program = chance.trace(given, PARTIES, {"bits": bits, "accept": True}).lower(MASKED)
        one, two = (run_in_memory(program, given, entropy=deterministic_entropy(3, s)).results for s in (1, 2))
        return float(np.mean(np.abs(one["result"] - two["result"]) > 1.5 * 2.0**-bits))

    with pytest.raises(mpc.LeakError, match="depends on masks"):
        chance.trace(given, PARTIES, {"bits": 16})
    (reveal,) = chance.trace(given, PARTIES).lower(MASKED).cost().reveals
    assert 4 <= reveal["bits"] < 16
    assert off_by_more_than_a_unit(reveal["bits"]) == 0
    assert off_by_more_than_a_unit(40) > 0.9  # the twin: its low bits are the masks'


# --- rule 10: public numbers that multiply shares


def test_rule_10_sine_vectors():
    """Integers, equal on every machine; a few of them by hand, all of them by their digest."""
    angles = np.arange(1 << 16, dtype=np.uint64) << np.uint64(48)
    sine, cosine = sin_turns(angles, 30), cos_turns(angles, 30)
    quarter = 1 << 14
    assert sine.view(np.int64)[[0, quarter, 2 * quarter, 3 * quarter]].tolist() == [0, 1 << 30, 0, -(1 << 30)]
    assert np.max(np.abs(cosine.view(np.int64) - np.roll(sine.view(np.int64), -quarter))) <= 1
    assert hashlib.sha256(sine.astype("<u8").tobytes()).hexdigest() == SINES
    assert (
        hashlib.sha256(repr([sine_series(half, half, bits=50) for half in (8, 16, 32)]).encode()).hexdigest() == SERIES
    )


SINES = "fac7abc6e7f736cff9923dd8df0c04526489cbb898834e459e45bae20c8c7b0f"
SERIES = "26cfefe8bb7c196b227c1f760c06bedd902c942a193afb49325f93e96ee59b26"


@pytest.mark.parametrize("suite", suites.values(), ids=suites)
def test_rule_10_public_values_are_equal_at_all_parties(suite, monkeypatch):
    publics = public_values(lowered(suite), monkeypatch)
    assert len(publics[0]) > 30
    assert publics[0] == publics[1] == publics[2]


def public_values(program: Lowered, monkeypatch: pytest.MonkeyPatch) -> list[list[bytes]]:
    seen: list[list[bytes]] = [[], [], []]
    bound, exchange = engine._Party.bound, engine._Party.exchange

    def note(self: Any, equations: Iterable[Equation]) -> None:
        for v in (v for e in equations for v in e.outputs if v.type.kind in (Kind.PUBLIC, Kind.CONST)):
            if v.number in self.values:
                seen[self.me].append(np.asarray(self.values[v.number]).tobytes())

    def noted_bound(self: Any, e: Equation, **more: Any) -> Any:
        act = bound(self, e, **more)

        def noted(step: int) -> None:
            if act is not None:
                act(step)
            note(self, [e])

        return noted

    def noted_exchange(self: Any, fixed: Any, iteration: int) -> Any:
        yield from exchange(self, fixed, iteration)
        note(self, fixed.equations)

    with monkeypatch.context() as m:
        m.setattr(engine._Party, "bound", noted_bound)
        m.setattr(engine._Party, "exchange", noted_exchange)
        run_in_memory(program, data(1), entropy=deterministic_entropy(3))
    return seen


def test_rule_10_the_twin_one_unit_at_one_party_gives_garbage(monkeypatch):
    """A public factor that is one off at one party: its shares no longer fit together."""
    program = lowered()
    right = run_in_memory(program, data(1), entropy=deterministic_entropy(3)).results["result_0"]
    original = engine._Party.public

    def public(self: Any, e: Equation) -> None:
        original(self, e)
        if e.op == "series" and self.me == 1:
            first = e.outputs[0].number
            self.values[first] = self.values[first] + np.uint64(1)

    monkeypatch.setattr(engine._Party, "public", public)
    publics = public_values(program, monkeypatch)
    assert publics[0] == publics[2] != publics[1]
    wrong = run_in_memory(program, data(1), entropy=deterministic_entropy(3)).results["result_0"]
    assert np.max(np.abs(wrong - right)) > 1


# --- what a party's engine is: no input or output of its own


def test_the_engine_yields_requests_only():
    run = run_party(lowered(), 1, {"y": data(0)["y"]["bob"]}, deterministic_entropy(3)[1][1])
    assert isinstance(next(run), Exchange | Draw)


def test_beaver_and_masked_reveal_the_same_list():
    assert lowered(MASKED).cost().reveals == lowered(BEAVER).cost().reveals
