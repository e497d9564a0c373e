"""The product of two wires: the same sum whoever does which rows, and fewer products where masks are there before."""

import numpy as np
import pytest

import mpc
from mpc import crossing, native
from mpc.crossing import Crossing
from mpc.errors import LeakError
from mpc.ir import Kind, Type, walk
from mpc.kernels import KERNELS, shape_of
from mpc.kinds import lowered_type
from mpc.ring import Ring
from mpc.rules import RuleTrace
from protocols.masked import SUITE

LARGE = [((40, 8), (8, 16)), ((41, 8), (8, 17))]
SHAPES = [
    *LARGE, ((8,), (8,)), ((5, 8), (8,)), ((8,), (8, 5)), ((1, 8), (8, 16)), ((2, 5, 8), (2, 8, 3)), ((5, 8), (8, 3)),
]  # fmt: skip


def of(ring, me, n, shapes):
    return Crossing(ring, me, n, shape_of("matmul", {}, list(shapes)), crossing.divided(*shapes))


def words(rng, ring, shape):
    return ring.reduce(rng.integers(0, 2**64, shape, dtype=np.uint64))


@pytest.fixture
def small(monkeypatch):
    """Rows are divided in small matrices already."""
    monkeypatch.setattr(crossing, "_LARGE", 1 << 10)


@pytest.mark.parametrize("bits", [64, 40])
@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("early", [True, False])
def test_shares_add_up_to_the_product_without_its_masks(small, shapes, n, bits, early):
    ring, rng = Ring(bits), np.random.default_rng(n)
    dx, dy = (words(rng, ring, shape) for shape in shapes)
    lx, ly = ([words(rng, ring, shape) for _ in range(n)] for shape in shapes)
    total = np.uint64(0)
    for me in range(n):
        one = of(ring, me, n, shapes)
        before = one.before(lx[me], ly[me]) if early else None
        total = ring.add(total, one.share(dx, lx[me], dy, ly[me], before))
    masks = [ring.reduce(np.add.reduce(shares)) for shares in (lx, ly)]
    assert np.array_equal(total, KERNELS["cross"](ring, {}, dx, masks[0], dy, masks[1]))


class Counted(Ring):
    """A ring that counts the multiplications of its matrix products."""

    done = 0

    def matmul(self, x, y):
        self.done += x.shape[0] * x.shape[1] * y.shape[1]
        return super().matmul(x, y)


@pytest.mark.parametrize("n", [2, 4])
def test_each_party_does_its_own_rows_with_one_product(small, n):
    """2 − 1/n products at each of n parties, once the masks' own product is there; without it, two."""
    x, y = (40, 8), (8, 16)
    zeros = [np.zeros(shape, np.uint64) for shape in (x, x, y, y)]
    one, done = 40 * 8 * 16, []
    for me in range(n):
        ring = Counted(64)
        both = of(ring, me, n, (x, y))
        before = both.before(zeros[0], zeros[2])
        assert ring.done == one // n
        ring.done = 0
        both.share(*zeros, before)
        done.append(ring.done)
        ring.done = 0
        both.share(*zeros)
        assert ring.done == 2 * one
    assert done == [2 * one - one // n] * n


@mpc.program
def matrices(x: mpc.PerParty[mpc.Private]):
    a, b = (mpc.share(v, range=(-4, 4)) for v in x)
    first = mpc.rescale(a @ b, 16)
    return mpc.reveal(mpc.repeat(2, lambda _, s: mpc.assume_range(mpc.rescale(s @ b, 16) / 64, -4, 4), first))


@pytest.mark.parametrize("n", [2, 3])
def test_a_program_has_the_same_result_however_rows_are_divided(monkeypatch, n):
    rng = np.random.default_rng(1)
    names = ["alice", "bob", "carol"][:n]
    data = {"x": {p: rng.uniform(-0.4, 0.4, (16, 16)) for p in names[:2]}}
    whole = mpc.emulate(matrices, data, names)
    monkeypatch.setattr(crossing, "_LARGE", 1 << 8)
    divided = mpc.emulate(matrices, data, names)
    a, b = data["x"].values()
    expected = a @ b @ b @ b / 64**2
    for run in (whole, divided):
        assert np.abs(run.results["result"] - expected).max() < 2**-12
        assert run.rounds == whole.rounds


def test_only_two_wires_cross():
    def of(kinds, shapes=((2, 3), (2, 3), (3, 4), (3, 4))):
        return [Type(kind, shape) for kind, shape in zip(kinds, shapes, strict=True)]

    public, share, mask = Kind.PUBLIC, Kind.SHARE, Kind.MASK
    t = lowered_type("cross", {}, of((public, mask, public, share)), "x.py:1")
    assert (t.kind, t.shape) == (share, (2, 4))
    for first, second in ((share, mask), (public, public), (public, Kind.DEALER)):
        for kinds in ((first, second, public, mask), (public, mask, first, second)):
            with pytest.raises(LeakError, match="cross takes two wires"):
                lowered_type("cross", {}, of(kinds), "x.py:1")
    with pytest.raises(LeakError, match="cross takes two wires"):
        lowered_type("cross", {}, of((public, mask) * 2, ((2, 3), (3, 2), (3, 4), (3, 4))), "x.py:1")


def test_a_large_product_is_worth_the_compiled_kernels():
    names = ["alice", "bob"]
    given = {"x": {p: mpc.owned(np.zeros((16, 16))) for p in names}}
    block = matrices.trace(given, names, {}).lower(SUITE).block
    crossed = sum(e.op == "cross" for e in walk(block))
    assert crossed == 2
    assert native.effort(block) >= (1 + 2) * 3 * 16**3


@pytest.mark.parametrize(
    ("x", "y", "divided"),
    [
        ((1024, 64), (64, 64), True),
        ((1023, 64), (64, 64), False),  # fewer than 2^22 multiplications
        ((1024, 256), (256, 16), True),
        ((1025, 273), (273, 15), False),  # a pass over a row of x is a fifteenth of its product
        ((1024, 8192), (8192,), False),
        ((1, 1024, 64), (64, 64), False),
        ((1024, 64), (1, 64, 64), False),
    ],
)
def test_large_matrices_only_are_divided_and_the_lowered_program_says_so(x, y, divided):
    assert crossing.divided(x, y) is divided
    trace = RuleTrace(64)
    wires = [Type(kind, shape) for shape in (x, y) for kind in (Kind.PUBLIC, Kind.MASK)]
    with trace.recording():
        mpc.cross(*[trace.wrap(trace.fresh(t), trace.frames[0]) for t in wires])
    (e,) = trace.frames[0].block.equations
    assert e.params == {"divided": divided}


def test_every_row_is_somebodys_own():
    for n in (2, 3, 7, 50):
        own = [range(41)[Crossing(Ring(64), me, n, (41, 16), divided=True)._own] for me in range(n)]
        assert sorted(row for part in own for row in part) == list(range(41))
        assert max(map(len, own)) - min(map(len, own)) <= 1
