"""What is put away tells nobody anything: exactly, over Z_4 with all randomness enumerated; with twins that are caught.

The adversary has the dealer's seeds and one party's sealed files open before it. What is stored is a share, uniform
to everyone but its party; the shares of all parties together are the value itself, and no masked pair.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

import mpc
from mpc.engine import _Party
from mpc.errors import LeakError
from mpc.exchange import Save
from mpc.handles import HandleSpec
from mpc.ir import Kind, Type
from mpc.lowering import Lowered
from mpc.memory import run_in_memory
from mpc.prg import Position
from mpc.testing import deterministic_entropy, views
from protocols import BEAVER, MASKED

NAMES = ["alice", "bob"]
SUITES = pytest.mark.parametrize("suite", [MASKED, BEAVER], ids=["masked", "beaver"])
WORLDS = [(0, 0), (1, 3), (2, 2), (3, 1)]


@mpc.program
def climb(x: mpc.Private, y: mpc.Private) -> Any:
    """A state of which the dealer knows a part of every share, and a value that is a masked wire."""
    a, b = (mpc.share(v, scale=0, range=(-4, 4)) for v in (x, y))
    w = mpc.repeat(3, lambda i, s: mpc.assume_range(s + a, -20, 20), b)
    return mpc.reveal(mpc.assume_range(w * a, -1, 1), bits=0)


@mpc.program
def keeping(x: mpc.Private, y: mpc.Private) -> Any:
    a, b = (mpc.share(v, scale=0, range=(-4, 4)) for v in (x, y))
    mpc.keep(a, "a")
    mpc.keep(a + b, "ab")
    return mpc.reveal(mpc.assume_range(a * b, -1, 1), bits=0)


def lowered(program: Any, suite: Any, lanes: int) -> Lowered:
    shapes = {name: {p: np.zeros(lanes)} for name, p in (("x", "alice"), ("y", "bob"))}
    made: Lowered = program.trace(shapes, NAMES).with_checkpoints(1).lower(suite, 2)
    return made


def stored(party: str) -> Any:
    def seen(run: Any) -> list[Any]:
        return [a for save in run.saves[party] for a in save.arrays.values()]

    return seen


def apart(program: Any, suite: Any, party: str) -> bool:
    """Whether dealer and files of one party tell any two inputs apart."""

    @cache
    def lower(lanes: int) -> Lowered:
        return lowered(program, suite, lanes)

    found = [
        views(lower, {"x": {"alice": x}, "y": {"bob": y}}, ["dealer"], seen=stored(party), limit=1 << 26)
        for x, y in WORLDS
    ]
    return not all(np.array_equal(found[0], other) for other in found)


@pytest.mark.parametrize("program", [climb, keeping], ids=lambda p: p.name)
@pytest.mark.parametrize("party", NAMES)
def test_the_dealer_and_one_party_s_files_know_nothing(program, party):
    assert not apart(program, MASKED, party)


def without(self: Any, at: Position, t: Type) -> Any:
    return np.zeros(t.shape, dtype=np.uint64)


def once(self: Any, at: Position, t: Type, right: Any = _Party.zero_share) -> Any:
    return right(self, Position(at.number, 0), t)


def pairs(self: Any, e: Any, iteration: int, values: list[Any], entries: int, right: Any = _Party.held) -> Any:
    """Δ and the share of λ under one name, as it would be resumed without a new mask."""
    out = right(self, e, iteration, values, entries)
    rest = iter(values)
    for name, form in zip(e.params["names"][:entries], e.params["forms"], strict=False):
        delta = next(rest)
        if form == "pair":
            out |= {name: delta, f"{name}.mask": next(rest)}
    return out


@pytest.mark.parametrize(
    ("method", "twin", "programs"),
    [
        ("zero_share", without, [climb, keeping]),
        ("zero_share", once, [climb]),
        ("held", pairs, [climb, keeping]),
    ],
    ids=["no zero-share", "one zero-share for two checkpoints", "the masked pair"],
)
def test_twins_are_caught(monkeypatch, method, twin, programs):
    monkeypatch.setattr(_Party, method, twin)
    for program in programs:
        assert apart(program, MASKED, "alice")


@SUITES
@pytest.mark.parametrize("twin", [None, pairs], ids=["right", "the masked pair"])
def test_shares_add_up_to_the_value(monkeypatch, suite, twin):
    """Before step i the state is b + i·a; a masked pair, stored, does not add up to it."""
    if twin is not None:
        monkeypatch.setattr(_Party, "held", twin)
    a, b = np.array([1.0, 2, 3]), np.array([-1.0, 0, 4])
    given = {"x": {"alice": a}, "y": {"bob": b}}
    made = climb.trace({"x": {"alice": a}, "y": {"bob": b}}, NAMES).with_checkpoints(1).lower(suite)
    run = run_in_memory(made, given)
    sums = []
    for at in ((0, 1), (0, 2)):
        one, two = (run.checkpoint(*at)[p] for p in NAMES)
        sums.append([(one[name] + two[name]).view(np.int64).tolist() for name in ("carry.0", "value.0")])
    right = [[(b + i * a).tolist(), a.tolist()] for i in (1, 2)]
    assert (sums == right) is (twin is None or suite is BEAVER)  # beaver has no pairs to store


@SUITES
def test_nothing_that_is_stored_is_seen_twice(suite):
    """Two checkpoints of one run, and two attempts under other seeds, have no word in common."""
    given = {"x": {"alice": np.arange(4.0) - 2}, "y": {"bob": np.zeros(4)}}
    made = climb.trace(given, NAMES).with_checkpoints(1).lower(suite)
    words = []
    for seed in (1, 2, 3):
        run = run_in_memory(made, given, entropy=deterministic_entropy(2, seed))
        words += [a for p in NAMES for a in stored(p)(run)]
    assert len({int(w) for a in words for w in a}) == sum(a.size for a in words)
    runs = [run_in_memory(made, given, entropy=deterministic_entropy(2, 1)) for _ in range(2)]
    same = [np.array_equal(x, y) for x, y in zip(*(stored("bob")(r) for r in runs), strict=True)]
    assert all(same)  # a function of the seeds, so that a replay shows the same


@pytest.mark.parametrize("corrupted", [["alice"], ["bob"]])
def test_the_run_that_goes_on_shows_nothing_but_the_result(corrupted):
    """All views of the continuation, for all stored shares of the honest party with one result."""

    @cache
    def lower(lanes: int) -> Lowered:
        shapes = {name: {p: np.zeros(lanes)} for name, p in (("x", "alice"), ("y", "bob"))}
        rest: Lowered = climb.trace(shapes, NAMES).continued(0, 2).lower(MASKED, 2)
        return rest

    mine = {"carry.0": 1, "value.0": 3}
    seen: dict[int, Any] = {}
    for carry in range(4):
        for value in range(4):
            theirs = {"carry.0": carry, "value.0": value}
            kept = {p: mine if [p] == corrupted else theirs for p in NAMES}
            a, w = (3 + value) % 4, (1 + carry) % 4
            result = (w + a) * a % 4
            view = views(lower, {}, corrupted, kept=kept)
            assert np.array_equal(view, seen.setdefault(result, view))
    assert len(seen) > 1
    assert not np.array_equal(seen[0], seen[next(r for r in seen if r)])  # the view does hold the result


@mpc.protocol
def bare(x: Any) -> Any:
    return mpc.open(x) + x * 0


@mpc.protocol
def twice(x: Any) -> Any:
    r = mpc.mask(x.shape)
    return mpc.open(x + r) - mpc.open(x * 3 + r) + x * 2


@pytest.mark.parametrize("rule", [bare, twice], ids=lambda r: r.name)
def test_kept_shares_are_secrets_to_the_mask_check(rule):
    spec = HandleSpec.of("model", Type(Kind.SECRET, (2,), 16, lo=-1.0, hi=1.0), NAMES)

    @mpc.program
    def bad(model: mpc.Secret) -> Any:
        return mpc.reveal(rule(model))

    with pytest.raises(LeakError, match=r"no mask hides this value|a mask is used twice"):
        bad.trace({"model": spec}).lower().check()


@SUITES
def test_checkpoints_are_no_openings(suite):
    """What is opened, revealed and dealt is word for word what it was."""
    given = {"x": {"alice": np.zeros(2)}, "y": {"bob": np.zeros(2)}}
    before, after = climb.trace(given, NAMES), climb.trace(given, NAMES).with_checkpoints(1)
    one, two = (run_in_memory(p.lower(suite), given, entropy=deterministic_entropy(2)) for p in (before, after))
    assert one.transcripts == two.transcripts
    assert [type(s) for s in two.saves["alice"]] == [Save, Save]
