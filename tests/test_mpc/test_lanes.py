"""mpc/lanes.py: long local work in pieces gives the same words, in results and on the wire, and less memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import mpc
from mpc import engine, lanes
from mpc.dealing import needed_for_dealing, run_dealer
from mpc.ir import Equation, Kind, Type, Var, walk
from mpc.lanes import parts
from mpc.memory import names_of, run_in_memory
from mpc.prg import Streams, block
from mpc.schedule import schedule
from mpc.testing import deterministic_entropy
from protocols import suites

RNG = np.random.default_rng(5)
N = 70_001  # no multiple of anything


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test can hold counts as long."""
    monkeypatch.setattr(lanes, "_LONG", 1 << 16)
    monkeypatch.setattr("mpc.schedule._EARLY", 0)


@mpc.program
def products(x: mpc.Private, y: mpc.Private) -> Any:
    a, b = mpc.share(x, range=(-8, 8)), mpc.share(y, range=(-8, 8))
    return mpc.reveal(a * b * a + 3 * b)


@mpc.program
def signs(x: mpc.Private, y: mpc.Private) -> Any:
    return mpc.reveal(mpc.share(x, range=(-8, 8)) < mpc.share(y, range=(-8, 8)))


@mpc.program
def curves(x: mpc.Private, y: mpc.Private) -> Any:
    return mpc.reveal(mpc.sigmoid(mpc.share(x, range=(-8, 8)) + mpc.share(y, range=(-8, 8))))


@mpc.program
def tables(x: mpc.Private, y: mpc.Private) -> Any:
    """Two axes, a row that is added to all of them, and a sum over what stays whole."""
    a, b = mpc.share(x, range=(-8, 8)).reshape((7, N // 7)), mpc.share(y, range=(-8, 8)).reshape((7, N // 7))
    c = a * b + a[:1]
    return mpc.reveal(c), mpc.reveal(mpc.rescale(c * c, -20).sum(axis=1))


@mpc.program
def loops(x: mpc.Private, y: mpc.Private) -> Any:
    a, b = mpc.share(x, range=(-1, 1)), mpc.share(y, range=(-1, 1))
    return mpc.reveal(mpc.repeat(3, lambda i, z: mpc.assume_range(z * b, -1, 1), a))


@mpc.program
def shown(x: mpc.Private, y: mpc.Private) -> Any:
    """A number that bob is not shown goes on as a public one of the others."""
    a = mpc.reveal(mpc.share(x, range=(-8, 8)) * mpc.share(y, range=(-8, 8)), to="alice")
    return mpc.reveal(mpc.share(y, range=(-8, 8)) * 2), a


PROGRAMS = [products, signs, curves, tables, loops, shown]


def made(program: Any, n: int, suite: str, size: int, *, sweep: bool) -> tuple[Any, dict[str, dict[str, Any]]]:
    size -= size % 7
    given = {"x": {"alice": RNG.uniform(-1, 1, size)}, "y": {"bob": RNG.uniform(-1, 1, size)}}
    lowered = program.trace(given, names_of(n)).lower(suites[suite])
    lowered.sweep = sweep
    return lowered, given


def slots_of(lowered: Any) -> list[Any]:
    blocks = [lowered.block, *(e.body for e in walk(lowered.block) if e.body is not None)]
    return [slot for b in blocks for slot in lowered.slots(b)]


@pytest.mark.parametrize("suite", ["masked", "beaver"])
@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.name)
def test_pieces_are_the_same_words(program: Any, n: int, suite: str) -> None:
    runs = []
    lowered, given = made(program, n, suite, N, sweep=True)
    for sweep in (True, False):
        lowered = program.trace(given, names_of(n)).lower(suites[suite])
        lowered.sweep = sweep
        runs.append(run_in_memory(lowered, given, entropy=deterministic_entropy(n)))
        assert any(part.swept for slot in slots_of(lowered) for part in slot.parts) == sweep
    first, second = runs
    assert first.transcripts == second.transcripts
    assert first.rounds == second.rounds == lowered.cost().rounds
    for name, value in second.results.items():
        assert np.array_equal(first.results[name], value)
    assert first.dealt_bytes == second.dealt_bytes == lowered.cost().dealt_bytes


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.name)
def test_what_depends_on_what_stays_in_order(program: Any) -> None:
    lowered, _ = made(program, 2, "masked", N, sweep=True)
    for block_ in [lowered.block, *(e.body for e in walk(lowered.block) if e.body is not None)]:
        whole = [e for slot in schedule(block_, sweep=False) for e in slot.local]
        cut = [e for slot in schedule(block_) for e in slot.local]
        assert {id(e) for e in whole} == {id(e) for e in cut}
        assert len(whole) == len(cut)
        seen = set(block_.params)
        for slot in schedule(block_):
            for e in slot.local:
                assert seen.issuperset(v for v in e.inputs if v in {w for o in slot.local for w in o.outputs})
                seen |= set(e.outputs)


def test_only_what_is_read_elsewhere_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison's one-hot words are twenty times its input; none of them is there at once."""
    lowered, given = made(signs, 2, "masked", N, sweep=True)
    longest = max(v.type.size for e in walk(lowered.block) for v in e.outputs)
    assert longest > 10 * N
    asked: list[int] = []
    original = engine._Party.draw

    def draw(self: Any, d: Any, step: int) -> Any:
        asked.append(max(f.nbytes for f in d.expect) // 8)
        return (yield from original(self, d, step))

    monkeypatch.setattr(engine._Party, "draw", draw)
    run_in_memory(lowered, given)
    assert max(asked) <= 1 << 17
    asked.clear()
    lowered, given = made(signs, 2, "masked", N, sweep=False)
    run_in_memory(lowered, given)
    assert max(asked) == longest


def test_the_plan_knows_that_pieces_are_small() -> None:
    whole, cut = (made(signs, 2, "masked", 10 * N, sweep=True)[0] for _ in range(2))
    whole.sweep = False
    memory = [max(x.cost().peak_memory_bytes.values()) for x in (whole, cut)]
    assert memory[1] < memory[0]


def test_a_stream_that_knows_whole_sharings_only_gives_the_same() -> None:
    lowered, given = made(signs, 2, "masked", N, sweep=True)
    dealer, parties = deterministic_entropy(2)
    plain = run_in_memory(lowered, given, entropy=(dealer, parties))
    other = (replace(dealer, stream=block), [replace(p, stream=block) for p in parties])
    assert isinstance(parties[0].stream, Streams)
    assert run_in_memory(lowered, given, entropy=other).transcripts == plain.transcripts


def test_short_masks_are_made_before_the_first_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    late, early = made(signs, 2, "masked", N, sweep=True)[0], made(signs, 2, "masked", N, sweep=True)[0]
    assert late.slots(late.block)[1].deals
    monkeypatch.setattr("mpc.schedule._EARLY", 1 << 30)
    assert not any(slot.deals for slot in early.slots(early.block)[1:])


def test_short_work_is_not_cut() -> None:
    lowered, _ = made(signs, 2, "masked", 700, sweep=True)
    assert not any(part.swept for slot in slots_of(lowered) for part in slot.parts)
    assert parts([]) == []


def test_a_twin_that_forgets_where_a_piece_starts_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every piece under the mask words of the first: what rule 3 forbids; the transcript is another one."""
    lowered, given = made(products, 2, "masked", N, sweep=True)
    right = run_in_memory(lowered, given, entropy=deterministic_entropy(2)).transcripts
    original = lanes.piece_of
    twin = lambda stream, seed, at, t, part, number, _start: original(stream, seed, at, t, part, number, 0)  # noqa: E731
    for module in ("alone", "dealing"):
        monkeypatch.setattr(f"mpc.{module}.piece_of", twin)
    assert run_in_memory(lowered, given, entropy=deterministic_entropy(2)).transcripts != right


def test_of_two_results_the_dealer_may_need_one_alone() -> None:
    """Cosines are summed over what was cut, so they are whole for the dealer; nobody deals the sines."""

    def cosines(x: Any) -> Any:
        d, lam = mpc.masked(x)
        _, cos = mpc.waves(lam, odd=range(1, 2, 2), bits=20, shift=40)
        return d * 0 + mpc.deal(cos.sum(axis=1))

    @mpc.program
    def summed(x: mpc.Private, y: mpc.Private) -> Any:
        return mpc.reveal(mpc.protocol(cosines)(mpc.share(x, range=(-8, 8)) + mpc.share(y, range=(-8, 8))))

    runs = []
    for sweep in (True, False):
        lowered, _ = made(summed, 2, "masked", N, sweep=sweep)
        assert any(part.swept for slot in slots_of(lowered) for part in slot.parts) == sweep
        waves = next(e for e in walk(lowered.block) if e.op == "waves")
        assert [v in needed_for_dealing(lowered.block) for v in waves.outputs] == [False, True]
        runs.append(list(run_dealer(lowered, deterministic_entropy(2)[0])))
    for one, two in zip(*runs, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one.arrays, two.arrays, strict=True))


def test_what_is_the_same_in_every_piece_is_made_in_each() -> None:
    """A pass forgets what its last piece gave, and a loop comes back to it: a value made once would not be there."""
    lowered, _ = made(signs, 2, "masked", 7, sweep=True)
    party = engine._Party(lowered, 0, {}, deterministic_entropy(2)[1][0], {})
    one, other = (Var(10**6 + i, Type(Kind.CONST, ())) for i in range(2))
    assert party.bound(Equation("const", (), (one,), {"value": 3, "shape": []})) is None
    made_of_it = Equation("neg", (one,), (other,), {})
    act = party.bound(made_of_it, again=True)
    assert act is not None
    assert other.number not in party.values
    act(0)
    assert int(party.values[other.number]) == 2**64 - 3
    assert party.bound(made_of_it) is None, "and once, where nobody forgets it"
