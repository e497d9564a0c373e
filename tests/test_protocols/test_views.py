"""What corrupted parties see, enumerated: every random ring element over Z_4 or Z_8 takes every value.

Two inputs that give corrupted parties the same own inputs and the same results must give *equal* distributions of
views, for every rule of both suites and every corrupted set, the dealer too. Each broken twin is one change to the
protocol, and the same comparison must then fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest

import mpc
from mpc import alone, engine, testing
from mpc.checker import check_openings
from mpc.ir import walk
from mpc.lowering import Lowered
from mpc.memory import Emulation
from mpc.testing import views
from protocols import BEAVER, MASKED, masked

NAMES = ["alice", "bob", "carol"]
OWNERS = {"x": "alice", "y": "bob"}
SUITES = {"masked": MASKED, "beaver": BEAVER}
Inputs = dict[str, int]


def shared(value: Any) -> Any:
    return mpc.share(value, range=(0, 7), scale=0)


@mpc.program
def times(x: mpc.Private, y: mpc.Private, to: str):
    return mpc.reveal(shared(x) * shared(y), to, bits=0)


@mpc.program
def matrix(x: mpc.Private, y: mpc.Private, to: str):
    left, right = shared(x).reshape(-1, 1, 1), shared(y).reshape(-1, 1, 1)
    return mpc.reveal((left @ right).reshape(-1), to, bits=0)


@mpc.program
def dot(x: mpc.Private, y: mpc.Private, to: str):
    """Vectors of two: (x, 1) · (y, x)."""
    left, right = mpc.stack([x, x * 0 + 1], axis=1), mpc.stack([y, y * 0 + 3], axis=1)
    return mpc.reveal((shared(left).reshape(-1, 1, 2) @ shared(right).reshape(-1, 2, 1)).reshape(-1), to, bits=0)


@mpc.program
def square(x: mpc.Private, y: mpc.Private, to: str):
    both = shared(x) + shared(y)
    return mpc.reveal(both * both, to, bits=0)


@mpc.program
def thrice(x: mpc.Private, y: mpc.Private, to: str):
    """Three products in one loop: the state is a wire, x is opened once."""
    factor = shared(x)
    return mpc.reveal(mpc.repeat(2, lambda _, w: mpc.assume_range(w * factor, 0, 7), shared(y)), to, bits=0)


@mpc.program
def halve(x: mpc.Private, y: mpc.Private, to: str):
    return mpc.reveal(mpc.rescale(shared(x), -1), to, bits=0)


@mpc.program
def half_times(x: mpc.Private, y: mpc.Private, to: str):
    """The product of a truncated value and a wire, truncated in its turn."""
    return mpc.reveal(mpc.rescale(mpc.rescale(shared(x), -1) * shared(y), -2), to, bits=0)


@mpc.program
def half_squared(x: mpc.Private, y: mpc.Private, to: str):
    """The product of two truncated values, which are one."""
    half = mpc.rescale(shared(x), -1)
    return mpc.reveal(mpc.rescale(half * half, -3), to, bits=0)


@mpc.program
def half_chain(x: mpc.Private, y: mpc.Private, to: str):
    """One step of a loop whose state is a truncated value."""
    factor, half = shared(y), mpc.rescale(shared(x), -1)

    def step(_: Any, z: Any) -> Any:
        return mpc.assume_range(mpc.rescale(z * factor, -2) * 0.5, 0, 7)

    return mpc.reveal(mpc.repeat(1, step, half), to, bits=0)


@mpc.program
def curve(x: mpc.Private, y: mpc.Private, to: str):
    """A sine series of one term on a ring that is one turn."""
    known = {"coefficients": [2], "cbits": 1, "p": 1, "q": 1, "half": 1, "shift": 0}
    return mpc.reveal(masked.sigmoid(shared(x), **known), to, bits=0)


@mpc.program
def total(x: mpc.Private, y: mpc.Private, to: str):
    return mpc.reveal(shared(x) + shared(y), to, bits=0)


MEANINGS: dict[Any, Callable[[int, int], int] | None] = {
    times: lambda x, y: x * y,
    matrix: lambda x, y: x * y,
    dot: lambda x, y: x * y + 3,
    square: lambda x, y: (x + y) ** 2,
    thrice: lambda x, y: x * x * y,
    total: lambda x, y: x + y,
    halve: None,  # its rounding depends on masks, openly: its result goes to somebody honest only
    curve: None,
}


@dataclass(frozen=True)
class Case:
    program: Any
    suite: str = "masked"
    bits: int = 2
    n: int = 2
    to: str = "everyone"

    def lower(self, lanes: int) -> Lowered:
        names = NAMES[: self.n]
        schemas = {name: {owner: mpc.Schema((lanes,))} for name, owner in OWNERS.items()}
        return self.program.trace(schemas, names, {"to": self.to}).lower(SUITES[self.suite], self.bits)

    def views(self, x: int, y: int, corrupted: list[str], **more: Any) -> Any:
        return views(self.lower, {"x": {"alice": x}, "y": {"bob": y}}, corrupted, **more)

    def shown(self, corrupted: list[str]) -> bool:
        return any(self.to in ("everyone", p) for p in corrupted)

    def worlds(self, corrupted: list[str]) -> list[list[tuple[int, int]]]:
        """Groups of (x, y) that the corrupted may not tell apart."""
        groups: dict[Any, list[tuple[int, int]]] = {}
        size = 1 << self.bits
        meaning = MEANINGS.get(self.program)
        for x, y in product(range(size), repeat=2):
            known: list[Any] = [v for v, owner in ((x, "alice"), (y, "bob")) if owner in corrupted]
            if self.shown(corrupted):
                assert meaning is not None
                known.append(meaning(x, y) % size)
            groups.setdefault(tuple(known), []).append((x, y))
        return [g for g in groups.values() if len(g) > 1]


def sets(n: int) -> Iterator[list[str]]:
    """Every corrupted set that the promise covers: all but one party, or the dealer alone."""
    names = NAMES[:n]
    for size in range(1, n):
        yield from (list(c) for c in combinations(names, size))
    yield ["dealer"]


def alike(case: Case, corrupted: list[str], groups: Any, **more: Any) -> bool:
    return all(
        np.array_equal(case.views(*first, corrupted, **more), case.views(*other, corrupted, **more))
        for first, *rest in groups
        for other in rest
    )


def few(groups: list[list[tuple[int, int]]], count: int) -> list[list[tuple[int, int]]]:
    """Some of the groups, a few worlds of each: the most different ones."""
    chosen = sorted(groups, key=len, reverse=True)[:count]
    return [[g[0], g[len(g) // 2], g[-1]] if len(g) > 2 else g for g in chosen]


# --- the protocols


EXACT = [p for p, meaning in MEANINGS.items() if meaning is not None]
ROUNDED = [p for p, meaning in MEANINGS.items() if meaning is None]


def ident(value: Any) -> str:
    return getattr(value, "name", str(value))


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("program", [times, matrix, total], ids=ident)
def test_two_parties_every_world_over_z4(program, suite):
    for corrupted, to in ((["alice"], "everyone"), (["alice"], "bob"), (["bob"], "everyone"), (["dealer"], "everyone")):
        case = Case(program, suite, to=to)
        groups = case.worlds(corrupted)
        assert groups or (program is total and to == "everyone")
        assert alike(case, corrupted, groups)


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("program", ROUNDED, ids=ident)
def test_truncation_and_series_over_z8(program, suite):
    case = Case(program, suite, 3, to="alice")
    for corrupted in (["bob"], ["dealer"]):
        groups = few(case.worlds(corrupted), 3)
        assert groups
        assert alike(case, corrupted, groups)


@pytest.mark.parametrize("program", [half_times, half_squared, half_chain], ids=ident)
def test_products_of_truncated_values_over_z8(program):
    """x is sent and truncated; the product of that is opened for its own truncation, under a mask of its own."""
    case = Case(program, "masked", 3, to="alice")
    assert sum(e.op == "open" for e in walk(case.lower(1).block)) == 1
    groups = few(case.worlds(["bob"]), 3)
    assert all(alike(case, ["bob"], groups, held=draw) for draw in range(1 if program is half_squared else 3))


@pytest.mark.parametrize("program", [times, matrix, square, total], ids=ident)
def test_masked_over_z8(program):
    case = Case(program, "masked", 3)
    for corrupted in sets(2):
        assert alike(case, corrupted, few(case.worlds(corrupted), 2))


def test_beaver_over_z8_all_16_million_choices():
    assert alike(Case(times, "beaver", 3), ["bob"], [[(1, 2), (5, 2)]])


@pytest.mark.parametrize("program", [times, matrix, total, *ROUNDED], ids=ident)
@pytest.mark.parametrize("suite", SUITES)
def test_over_z8_whatever_the_corrupted_draw(program, suite):
    case = Case(program, suite, 3, to="everyone" if program in EXACT else "alice")
    for corrupted in [["alice"], ["bob"], ["dealer"]] if program in EXACT else [["bob"], ["dealer"]]:
        groups = few(case.worlds(corrupted), 3)
        assert all(alike(case, corrupted, groups, held=draw) for draw in range(4))


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("program", [dot, square, thrice], ids=ident)
def test_vectors_memoised_wires_and_loops(program, suite):
    case = Case(program, suite)
    for corrupted in sets(2):
        groups = few(case.worlds(corrupted), 2)
        assert all(alike(case, corrupted, groups, held=draw) for draw in range(4))


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("program", [times, matrix, square, total, *ROUNDED], ids=ident)
def test_three_parties_every_corrupted_set(program, suite):
    for corrupted in sets(3):
        honest = next(p for p in NAMES if p not in corrupted)
        case = Case(program, suite, 3 if program is halve else 2, 3, "everyone" if program in EXACT else honest)
        groups = few(case.worlds(corrupted), 2)
        assert groups or set(corrupted) >= {"alice", "bob"} or program is total
        assert all(alike(case, corrupted, groups, held=draw) for draw in range(1 if program is halve else 3))


@pytest.mark.parametrize("suite", SUITES)
def test_a_result_goes_to_its_party_only(suite):
    """Who is not named learns nothing of the result: all worlds look the same."""
    case = Case(times, suite, to="alice")
    size = range(4)
    assert alike(case, ["bob"], [[(x, 2) for x in size], [(x, 3) for x in size]])
    assert not alike(case, ["alice"], [[(1, y) for y in size]])


def test_the_whole_distribution_is_compared():
    """Somebody who sees a result tells two results apart, and the enumeration says so."""
    for suite in SUITES:
        assert not alike(Case(times, suite), ["bob"], [[(1, 3), (2, 3)]])
        assert not alike(Case(total, suite), ["alice"], [[(1, 3), (1, 2)]])


# --- broken twins


def words_of_the_last_reveal(run: Emulation) -> list[Any]:
    """What a party that computes nothing, and is only shown the result, is sent by all."""
    return [run.views[p][-1] for p in run.views]


OUTSIDER = {"masked": [[(1, 2), (2, 1), (2, 3)]], "beaver": [[(1, 2), (2, 1), (2, 3)]]}


@pytest.mark.parametrize("suite", SUITES)
def test_dealer_and_result_party_need_the_zero_share(suite, monkeypatch):
    """Rule 6."""
    case = Case(times, suite)
    dealer = {"seen": words_of_the_last_reveal}
    assert alike(case, ["dealer"], OUTSIDER[suite], **dealer)
    without_zero_shares(monkeypatch)
    assert not alike(case, ["dealer"], OUTSIDER[suite], **dealer)


def without_zero_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine._Party, "zero_share", lambda self, at, t: np.zeros(t.shape, dtype=np.uint64))


def shares_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """An owner keeps its whole value: the others' shares are zero."""

    def share(self: Any, e: Any, at: Any) -> Any:
        mine = self.names[self.me] == e.params["owner"]
        return self.integers(e) if mine else np.zeros(e.output.type.shape, dtype=np.uint64)

    monkeypatch.setattr(alone, "SOURCES", {**alone.SOURCES, "share": share})


@mpc.program
def three(x: mpc.Private, y: mpc.Private, z: mpc.Private):
    return mpc.reveal(shared(x) + shared(y) + shared(z), bits=0)


def of_three(x: int, z: int, **more: Any) -> Any:
    def lower(lanes: int) -> Lowered:
        schemas = {n: {p: mpc.Schema((lanes,))} for n, p in zip("xyz", NAMES, strict=True)}
        return three.trace(schemas, NAMES).lower(MASKED, 2)

    return views(lower, {"x": {"alice": x}, "y": {"bob": 1}, "z": {"carol": z}}, ["bob"], **more)


def test_shares_x_0_are_seen_in_a_sum(monkeypatch):
    """Zero-shares at the reveal hide even these, so the twin lacks both; each alone is still safe here."""
    assert np.array_equal(of_three(1, 2), of_three(2, 1))
    with monkeypatch.context() as m:
        without_zero_shares(m)
        assert np.array_equal(of_three(1, 2), of_three(2, 1))
        shares_of_one(m)
        assert not np.array_equal(of_three(1, 2), of_three(2, 1))


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("program", [times, matrix], ids=ident)
def test_a_mask_one_bit_too_narrow(program, suite, monkeypatch):
    """63 bits of 64, here two of three."""
    digit = testing.worlds._Tape.digit
    case, groups = Case(program, suite, 3), [[(1, 2), (5, 2)]]
    assert alike(case, ["bob"], groups, held=0)
    monkeypatch.setattr(testing.worlds._Tape, "digit", lambda self, *place: digit(self, *place) & np.uint64(3))
    assert not alike(case, ["bob"], groups, held=0)


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("program", [times, matrix, halve, curve], ids=ident)
def test_constant_randomness(program, suite, monkeypatch):
    zeros = lambda self, seed, at, shape: np.zeros(shape, dtype=np.uint64)  # noqa: E731
    case = Case(program, suite, 3, to="alice")
    assert alike(case, ["bob"], [[(1, 2), (3, 2)]], held=0)
    monkeypatch.setattr(testing.worlds._Tape, "__call__", zeros)
    assert not alike(case, ["bob"], [[(1, 2), (3, 2)]])


@mpc.protocol
def one_mask_for_two(x: Any, y: Any) -> Any:
    """Beaver's rule with a single mask."""
    a = mpc.mask(x.shape)
    c = mpc.deal(a * a)
    d, e = mpc.open(x - a), mpc.open(y - a)
    return c + d * a + a * e + d * e


def test_a_mask_used_twice(monkeypatch):
    broken = mpc.Suite("broken", {**BEAVER.rules, "multiply": one_mask_for_two}, memoise=False)
    monkeypatch.setitem(SUITES, "broken", broken)
    case = Case(times, "broken", to="alice")
    assert not alike(case, ["bob"], [[(1, 2), (3, 2)]])
    assert alike(Case(times, "beaver", to="alice"), ["bob"], [[(1, 2), (3, 2)]])
    with pytest.raises(mpc.LeakError, match="used twice"):
        case.lower(1).check()


def product_under(fresh: bool) -> mpc.Rule:
    """x · y with x cut by one bit, opened as for a truncation: under a mask of its own, or under that of x."""

    @mpc.protocol(rounding=1)
    def rule(x: Any, y: Any) -> Any:
        r = mpc.mask(x.shape)
        c = mpc.open(x + 2 + r)
        delta, u, q, v = (c >> 1) - 1, mpc.deal(r >> 1), 1 - mpc.msb(c), mpc.deal(mpc.msb(r) << 2)
        dy, ly = mpc.masked(y)
        z = delta * (dy - ly) - u * dy + mpc.deal(u * ly) + q * (v * dy - mpc.deal(v * ly))
        s = mpc.mask(x.shape) if fresh else r
        return mpc.open(z + s) - s

    return rule


@mpc.program
def half_times_fresh(x: mpc.Private, y: mpc.Private, to: str):
    return mpc.reveal(product_under(fresh=True)(shared(x), shared(y)), to, bits=0)


@mpc.program
def half_times_reused(x: mpc.Private, y: mpc.Private, to: str):
    return mpc.reveal(product_under(fresh=False)(shared(x), shared(y)), to, bits=0)


def test_a_product_under_the_mask_of_its_truncated_operand():
    groups = [[(1, 3), (3, 3)]]
    right, broken = Case(half_times_fresh, bits=3, to="alice"), Case(half_times_reused, bits=3, to="alice")
    check_openings(right.lower(1).block)
    assert all(alike(right, ["bob"], groups, held=draw) for draw in range(3))
    with pytest.raises(mpc.LeakError, match="second time in the same value"):
        check_openings(broken.lower(1).block)
    assert not alike(broken, ["bob"], groups, held=0)


def renumbered(change: Callable[[list[Any]], None]) -> Callable[[Case, int], Lowered]:
    """A case lowered with some sharings at the stream positions of others."""

    def lower(case: Case, lanes: int) -> Lowered:
        lowered = ORIGINAL(case, lanes)
        change(list(walk(lowered.block)))
        return lowered

    return lower


ORIGINAL = Case.lower


def deal_at_the_masks_position(equations: list[Any]) -> None:
    first = next(e for e in equations if e.op in ("mask", "owner_mask"))
    for e in equations:
        if e.op == "deal":
            e.params["id"] = first.params["id"]


def one_position_for_two_owner_masks(equations: list[Any]) -> None:
    masks = [e for e in equations if e.op == "owner_mask"]
    sends = [e for e in equations if e.op == "send"]
    masks[1].params["id"] = sends[1].params["mask"] = masks[0].params["id"]


def test_a_block_that_serves_two_sharings(monkeypatch):
    """Rule 3: the share of a·b that is the block of a mask says what the opening hides."""
    case, groups = Case(times, "beaver", to="bob"), [[(1, 2), (1, 3)]]
    assert alike(case, ["alice"], groups)
    monkeypatch.setattr(Case, "lower", renumbered(deal_at_the_masks_position))
    assert not alike(case, ["alice"], groups)


@mpc.program
def two_of_alice(x: mpc.Private, y: mpc.Private, to: str):
    """x and 5 − x are alice's; both become wires."""
    first, second = shared(x), shared(5 - x)
    return mpc.reveal(first * second * shared(y), to, bits=0)


def test_two_inputs_under_one_mask(monkeypatch):
    case, groups = Case(two_of_alice, to="alice"), [[(1, 2), (2, 2)]]
    assert alike(case, ["bob"], groups, held=0)
    monkeypatch.setattr(Case, "lower", renumbered(one_position_for_two_owner_masks))
    assert not alike(case, ["bob"], groups, held=0)
