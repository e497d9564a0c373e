"""What an engine does before anything is asked of it: what streams alone say, and nothing that data has a part in."""

from dataclasses import replace

import numpy as np
import pytest
from runs import prepared, same

import mpc
from mpc.engine import run_party
from mpc.errors import InputError
from mpc.exchange import Draw
from mpc.ir import walk
from mpc.memory import run_in_memory
from mpc.prg import Streams, block
from mpc.testing import deterministic_entropy

NAMES = ["alice", "bob"]
DATA = {"x": {p: np.linspace(-1, 1, 50) + i for i, p in enumerate(NAMES)}}


@mpc.program
def mixed(x: mpc.PerParty[mpc.Private]):
    a, b = (mpc.share(v, range=(-2, 2)) for v in x)
    c = mpc.repeat(2, lambda _, s: mpc.rescale(mpc.assume_range(s * a, -2, 2), 16), b)
    return mpc.reveal((a * c).sum())


def engine(drawn, me=0, program=mixed):
    """An engine without inputs: whatever reads data before the first request fails."""
    lowered, _ = prepared(program, DATA, NAMES, {})

    def stream(seed, at, shape):
        drawn.append((at.number, at.iteration))
        return block(seed, at, shape)

    entropy = replace(deterministic_entropy(2)[1][me], stream=stream)
    return lowered, run_party(lowered, me, {}, entropy)


def without_data(run):
    request = next(run)
    while isinstance(request, Draw):
        request = run.send([np.zeros(f.shape, f.dtype) for f in request.expect])


def sources(equations, me):
    """The numbers of the blocks that a party draws for these."""
    ops = [e for e in equations if e.op in ("mask", "owner_mask", "deal")]
    return {e.params["id"] for e in ops if not (e.op == "deal" and e.params["id"] % 2 == me)}


@pytest.mark.parametrize("me", [0, 1])
def test_masks_are_there_before_data_is_asked_for(me):
    drawn = []
    lowered, run = engine(drawn, me)
    first = sources(lowered.slots(lowered.block)[0].local, me)
    assert sources(walk(lowered.block), me) - first, "the loop has masks of its own"
    assert len(first) > 2
    once = {e.params["id"] for e in lowered.block.equations if e.op == "reveal"}
    assert set(drawn) == {(number, 0) for number in first | once}
    with pytest.raises(InputError, match=r"input .x. is missing"):
        without_data(run)


def test_masks_that_would_fill_memory_wait(monkeypatch):
    drawn = []
    engine(drawn)
    monkeypatch.setattr("mpc.schedule._EARLY", 0)
    monkeypatch.setattr("mpc.alone._BETWEEN", 0)
    few = []
    lowered, _ = engine(few)
    assert {number for number, _ in few} == sources(lowered.slots(lowered.block)[0].local, 0)
    assert len(few) < len(drawn)


@mpc.program
def added(x: mpc.PerParty[mpc.Private]):
    return mpc.reveal(sum(mpc.share(v, range=(-2, 2)) for v in x))


def test_what_parties_draw_with_each_other_is_there_too_as_far_as_it_has_room(monkeypatch):
    """Of two inputs of 50 words and one reveal: a share of each, and the zero-share."""
    drawn = []
    engine(drawn, program=added)
    assert len(drawn) == 3
    monkeypatch.setattr("mpc.alone._BETWEEN", 50)
    few = []
    engine(few, program=added)
    assert few == drawn[:1]


@pytest.mark.parametrize("program", [mixed, added], ids=lambda p: p.name)
def test_the_same_words_travel(monkeypatch, program):
    """As from an engine that makes nothing early, the twin."""
    lowered, owned = prepared(program, DATA, NAMES, {})
    early = run_in_memory(lowered, owned, entropy=deterministic_entropy(2))
    monkeypatch.setattr("mpc.alone.Alone.early", property(lambda _: False, lambda _, value: None), raising=False)
    monkeypatch.setattr("mpc.alone._BETWEEN", 0)
    late = run_in_memory(lowered, owned, entropy=deterministic_entropy(2))
    assert early.transcripts == late.transcripts
    assert same(early.results_of, late.results_of)


def test_small_masks_are_drawn_when_their_step_comes():
    """Those are made for many steps at once by `prg.Ahead`, not one by one."""
    lowered, _ = prepared(mixed, {"x": {p: np.ones(3) for p in NAMES}}, NAMES, {})
    entropy = deterministic_entropy(2)[1][0]
    calls = []

    class Counting(Streams):
        def __call__(self, seed, at, shape):
            calls.append(at.number)
            return super().__call__(seed, at, shape)

    run_party(lowered, 0, {}, replace(entropy, stream=Counting()))
    assert calls == [e.params["id"] for e in lowered.block.equations if e.op == "reveal"]


@pytest.mark.parametrize("size", [50, 1000, 2000])
def test_masks_of_any_length_above_a_few_are_drawn_before_the_data(size):
    lowered, _ = prepared(mixed, {"x": {p: np.ones(size) for p in NAMES}}, NAMES, {})
    run = run_party(lowered, 0, {}, deterministic_entropy(2)[1][0])
    assert "send" in {e.op for e in run.gi_frame.f_locals["party"].before}
    run.close()


def test_whoever_closes_an_engine_that_was_never_started_has_let_go_of_everything():
    _, run = engine([])
    party = run.gi_frame.f_locals["party"]
    assert party.values
    assert party.before
    run.close()
    assert party.values == party.before == party.inputs == {}
    entropy = party.entropy
    keys = [entropy.dealer, *entropy.owners, *entropy.own, *entropy.pairs.values(), *entropy.zeros.values()]
    assert keys == [b""]
