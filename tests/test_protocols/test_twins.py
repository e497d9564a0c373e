"""The kit's own instruments: many runs side by side, samples that are alike or not, and twins that must be told."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

import mpc
from mpc.errors import LeakError
from mpc.ir import walk
from mpc.memory import names_of, run_in_memory
from mpc.testing import VerificationError, deterministic_entropy, verify
from mpc.testing.alike import SURE, deviation
from mpc.testing.many import look, side_by_side
from mpc.testing.twins import broken_masks, refused, undealt, unmasked

DRAWS = 32
X = np.array([-3.0, 0.5, 1, 40])


def one_of_each(x: mpc.Private) -> Any:
    """Comparison, truncation, a series, a loop, a matrix product, shapes of all kinds."""
    v = mpc.share(x, range=(-64, 64), scale=10)
    square = v.reshape(2, 2)
    state = mpc.repeat(2, lambda _, s: mpc.rescale(mpc.bounded(s @ square, -64, 64), 10), square)
    waves = mpc.sigmoid(mpc.bounded(v / 8, -8, 8), scale=20)
    parts = mpc.concatenate([mpc.where(v > 1, v, -1), state.ravel(), v[::-1] * square[0].sum()])
    return mpc.reveal(parts), mpc.reveal(mpc.accept_rounding(waves), bits=12, name="waves")


def lowered(n: int, suite: str = "masked") -> mpc.Lowered:
    found: mpc.Lowered = mpc.program(one_of_each).trace({"x": {"alice": X / 64}}, names_of(n), {}).lower(suite)
    return found


def run(low: mpc.Lowered, change: Any = None, *, seed: int = 0, masks: bool = True) -> Any:
    entropy = deterministic_entropy(len(low.parties), seed)
    given = {"x": {"alice": mpc.owned(X / 64)}}
    return run_in_memory(low, given, entropy=entropy if masks else unmasked(entropy), change=change)


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("suite", ["masked", "beaver"])
def test_draws_side_by_side_are_so_many_runs(n: int, suite: str) -> None:
    one = lowered(n, suite)
    one.sweep = False
    single, seen = look(one, run)
    many, all_seen = look(side_by_side(one, DRAWS), run)
    assert many.rounds == single.rounds
    assert many.bytes_sent == {p: DRAWS * b for p, b in single.bytes_sent.items()}
    assert many.dealt_bytes == {p: DRAWS * b for p, b in single.dealt_bytes.items()}
    for name, shown in seen.revealed.items():
        gap = (all_seen.revealed[name] - shown).astype(np.int64)
        assert gap.shape == (DRAWS, *shown.shape)
        assert np.abs(gap).max() <= 256  # four units of the 10 bits in the loop, at the 16 of the reveal
    for rows, row in zip(all_seen.opened + all_seen.received, seen.opened + seen.received, strict=True):
        assert np.array_equal(rows[0], row), "the first draw is the single run, word for word"
        assert row.size < 2 or len({r.tobytes() for r in rows}) > DRAWS / 2, "and others have randomness of their own"


@mpc.program
def product(x: mpc.PerParty[mpc.Private]) -> Any:
    a, b = (mpc.share(v, range=(-4, 4)) for v in x)
    return mpc.reveal(a @ b)


@pytest.mark.parametrize("suite", ["masked", "beaver"])
@pytest.mark.parametrize(
    "shapes",
    [((2, 3), (3, 4)), ((2, 3), (3,)), ((3,), (3,)), ((3,), (3, 2)), ((2, 2, 3), (3, 2)), ((2, 3), (2, 3, 2))],
)
def test_products_of_every_shape_run_side_by_side(shapes: Any, suite: str) -> None:
    rng = np.random.default_rng(5)
    given = {"x": {p: mpc.owned(rng.uniform(-4, 4, s)) for p, s in zip(names_of(2), shapes, strict=True)}}
    low = product.trace(given, names_of(2), {}).lower(suite)
    expected = np.matmul(*given["x"].values())
    for draws in (1, 16):
        wide = side_by_side(low, draws)
        _, seen = look(wide, lambda lo, **more: run_in_memory(lo, given, entropy=deterministic_entropy(2), **more))
        (shown,) = seen.revealed.values()
        assert shown.shape == (draws, *expected.shape)
        assert np.abs(shown.astype(np.int64) * 2.0**-16 - expected).max() < 2**-12


def test_opened_values_are_what_parties_open() -> None:
    """With every mask zero the sum of an input's opened shares is the input."""
    low = mpc.program(squared).trace({"x": {"alice": X}}, names_of(3), {}).lower("beaver")
    _, seen = look(low, lambda lo, **others: run(lo, masks=False, **others))
    first = seen.opened[0].astype(np.int64)
    assert np.array_equal(first, np.round(X / 64 * 1024))


def squared(x: mpc.Private) -> Any:
    v = mpc.share(x, range=(-64, 64), scale=10)
    return mpc.reveal(v * v)


def test_samples_alike_and_not() -> None:
    rng = np.random.default_rng(7)
    first, then = (rng.integers(0, 256, (128, 300), dtype=np.uint8) for _ in "ab")
    assert deviation(first, then) < SURE
    assert deviation(first, then[:, :-1]) == np.inf
    one = then.copy()
    one[:, 200] = 3  # one byte of 300 always the same
    assert deviation(first, one) > SURE
    pair = then.copy()
    pair[:, 11] = pair[:, 10]  # each uniform, equal to its neighbour
    assert deviation(first, pair) > SURE


def test_every_kind_of_broken_mask_is_made_and_refused() -> None:
    for suite in ("masked", "beaver"):
        low = lowered(2, suite)
        before = low.text
        found = refused(low)
        assert found.keys() == {
            "an opening without a mask", "twice a mask", "eight bits of a mask", "one mask for all elements",
            "a mask of another opening",
        }  # fmt: skip
        assert {name for name, _, _ in broken_masks(low.block)} == found.keys()
        low.check()
        assert mpc.Lowered(low.program, low.suite, low.bits, low.block, low.outputs_by_name).text == before


def test_without_deals_nothing_comes_from_the_dealer() -> None:
    low = lowered(2)
    bare = mpc.Lowered(low.program, low.suite, low.bits, undealt(low.block), low.outputs_by_name)
    assert any(e.op == "deal" for e in walk(low.block))
    assert not any(e.op == "deal" for e in walk(bare.block))
    assert not any(run(bare).dealt_bytes.values())


BLIND = [
    ("mpc.testing.twins", "check_openings", lambda _: None, "the mask check accepts an opening without a mask"),
    ("mpc.testing.verify", "deviation", lambda *_: 0.0, "with every mask zero the views look alike"),
    ("mpc.testing.verify", "undealt", lambda block: block, "with nothing dealt the results are the same"),
    ("mpc.engine", "_Party.zero_share", lambda _, __, t: np.zeros(t.shape, dtype=np.uint64), "without a zero-share"),
]


@pytest.mark.parametrize(("module", "what", "instead", "found"), BLIND, ids=[b[3] for b in BLIND])
def test_a_kit_that_sees_no_twin_says_so(
    monkeypatch: pytest.MonkeyPatch, module: str, what: str, instead: Any, found: str
) -> None:
    *owners, name = what.split(".")
    owner = importlib.import_module(module)
    monkeypatch.setattr(getattr(owner, owners[0]) if owners else owner, name, instead)
    with pytest.raises(VerificationError, match=found):
        verify(mpc.program(squared), inputs={"x": {"alice": X}}, parties=(2,), tolerance=2.0**-9)


def test_a_result_that_is_wrong_in_some_draws_is_found() -> None:
    @mpc.protocol
    def wrong(x: Any, y: Any) -> Any:
        """One more than x · y where the mask is negative: in half of all runs."""
        a, b = mpc.mask(x.shape), mpc.mask(y.shape)
        c = mpc.deal(a * b)
        d, e = mpc.open(x - a), mpc.open(y - b)
        return c + d * b + a * e + d * e + mpc.deal(mpc.msb(a)) * 4096

    suite = mpc.Suite("wrong", {**mpc.lowering.find_suite("beaver").rules, "multiply": wrong}, memoise=False)
    with pytest.raises(VerificationError, match=r"results of 128 draws differ|not that of plain"):
        verify(mpc.program(squared), inputs={"x": {"alice": X}}, suite=suite, parties=(2,), tolerance=2.0**-9)


def test_inputs_that_hide_a_leak_are_refused_by_name() -> None:
    same = {"x": {"alice": X}}
    with pytest.raises(VerificationError, match="give inputs that differ"):
        verify(mpc.program(squared), inputs=same, other=same, parties=(2,), tolerance=2.0**-9)


def test_a_broken_block_is_refused_with_its_line() -> None:
    name, where, twin = next(broken_masks(lowered(2).block))
    assert name == "an opening without a mask"
    assert where.startswith("test_twins.py:")
    with pytest.raises(LeakError):
        mpc.checker.check_openings(twin)
