"""Products of truncated values: what they cost, and that they are exact about the wrap. Views: `test_views.py`."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import mpc
from mpc import engine
from mpc.ir import walk
from mpc.memory import run_in_memory
from mpc.rules import Rule
from protocols import BEAVER, MASKED, masked

NAMES = ["alice", "bob", "carol", "dave", "erin"]
TOP = 2**62
LIMIT = float(np.nextafter(2.0**62, 0))


def shared(value: Any) -> Any:
    return mpc.share(value, range=(-4, 4), scale=16)


def cut(value: Any, bits: int = 16) -> Any:
    return mpc.rescale(value, bits)


def shown(value: Any) -> Any:
    return mpc.reveal(value, bits=value.type.scale)


def traced(function: Any, n: int = 2, **shapes: tuple[int, ...]) -> tuple[mpc.Program, Any]:
    """A program of private arrays, x alice's and all others bob's, and its inputs."""
    function.__annotations__ = dict.fromkeys(inspect.signature(function).parameters, mpc.Private)
    rng = np.random.default_rng(17)
    given = {
        name: {"alice" if name == "x" else "bob": rng.integers(-512, 513, shape) / 256}
        for name, shape in shapes.items()
    }
    return mpc.program(function).trace(given, NAMES[:n]), given


def run(function: Any, n: int = 2, within: float = 2.0**-8, **shapes: tuple[int, ...]) -> Any:
    """The plan of a program, held to a run and its result to the meaning of the program."""
    program, given = traced(function, n, **shapes)
    lowered = program.lower(MASKED)
    lowered.check()
    plan = lowered.cost()
    done = run_in_memory(lowered, given)
    assert (done.rounds, done.bytes_sent, done.dealt_bytes) == (plan.rounds, plan.bytes_sent, plan.dealt_bytes)
    for name, value in program.plain(given).items():
        np.testing.assert_allclose(done.results[name], value, rtol=0, atol=within)
    return plan


def counts(plan: Any) -> tuple[int, int, int]:
    """Rounds, words opened, words dealt to all together."""
    return plan.rounds, plan.opened, sum(plan.dealt_bytes.values()) // 8


# --- what it costs


@pytest.mark.parametrize("times", [1, 10, 1000])
def test_a_chain_of_truncated_products_takes_one_round_a_step(times):
    """A round, a word opened and four dealt: two for the product, two for its truncation."""

    def chain(x, y):
        factor = shared(y)

        def step(_, z):
            return mpc.assume_range(cut(z * factor), -4, 4)

        return shown(mpc.repeat(times, step, shared(x)))

    program, _ = traced(chain, x=(), y=())
    assert counts(program.plan(MASKED)) == (times + 2, times, 4 * times)


def test_a_chain_written_out_takes_one_round_a_product():
    def program(x, y):
        z, factor = shared(x), shared(y)
        for _ in range(4):
            z = mpc.assume_range(cut(z * factor), -4, 4)
        return shown(z)

    assert counts(run(program, x=(3,), y=(3,))) == (1 + 4 + 1, 4 * 3, 3 * (3 + 3 * 4))


def test_two_truncated_operands_take_four_dealt_words():
    def program(x, y):
        return shown(cut(shared(x), 12) * cut(shared(y), 12))

    assert counts(run(program, x=(5,), y=(5,))) == (2, 0, 5 * (2 + 2 + 4))


LANEWISE = [
    lambda t, _: t,
    lambda t, _: t + 1,
    lambda t, _: 3 - t,
    lambda t, _: -t,
    lambda t, _: 3 * t,
    lambda t, _: t * np.array([1.0, 2.0, -1.0, 0.5]),
    lambda t, _: t / 4,
    lambda t, _: t[::-1],
    lambda t, _: t[1:],
    lambda t, _: t.reshape(2, 2),
    lambda t, _: t.reshape(2, 2).T,
    lambda t, y: t + y,
    lambda t, y: y - t,
    lambda t, y: t - 2 * y[0],
    lambda t, _: mpc.assume_range(t, -4, 4) + 1,
]


@pytest.mark.parametrize("use", LANEWISE)
def test_what_is_done_lane_by_lane_needs_no_opening(use):
    """x and y are sent; their product is opened for its truncation; nothing is for the square of what is made of it."""

    def program(x, y):
        a, b = shared(x), shared(y)
        value = use(cut(a * b), b)
        return shown((value * value).sum())

    assert counts(run(program, x=(4,), y=(4,)))[:2] == (3, 4)


@pytest.mark.parametrize("use", [lambda t, _: t.sum(), lambda t, _: mpc.concatenate([t, t]), lambda t, s: t + s])
def test_what_mixes_wraps_is_opened(use):
    """A sum over lanes, and one of two truncated values: q would be another one for each summand."""

    def program(x, y):
        a, b = shared(x), shared(y)
        value = use(cut(a * b), cut(a * a))
        return shown((value * value).sum())

    rounds, opened, _ = counts(run(program, x=(4,), y=(4,)))
    assert rounds == 4
    assert opened > 4


def test_a_matrix_product_opens_its_operand_and_then_its_pair_is_used_everywhere():
    """t @ t needs the wire; t · y then is dealt one word an element, as for any two wires."""

    def program(x, y):
        t = cut(shared(x), 12)
        return shown((t @ t).sum() + (t * shared(y)).sum())

    assert counts(run(program, x=(3, 3), y=(3, 3))) == (3, 9, 9 * (2 + 1 + 1))


def test_an_operand_that_is_spread_is_opened():
    """One word opened, rather than another one dealt for each of 100 elements."""

    def program(x, y):
        return shown(cut(shared(x), 12) * shared(y))

    assert counts(run(program, x=(), y=(100,))) == (3, 1, 2 + 100)


def test_it_is_opened_where_a_sum_is_needed_anyway():
    """(t + y) @ … opens t + y, once; its elementwise product takes that, and y goes nowhere as a wire."""

    def program(x, y):
        total = cut(shared(x), 12) + shared(y)
        return shown((total @ total).sum() + (total * total).sum())

    assert counts(run(program, x=(3, 3), y=(3, 3)))[:2] == (3, 9)


def test_a_loop_from_a_public_number_whose_state_is_multiplied_by_itself_and_used_afterwards():
    def program(x, y):
        factor = shared(x) / 4

        def step(_, state):
            z, total = state
            grown = mpc.assume_range(cut(z * z), -4, 4)
            return mpc.assume_range(cut(grown * factor), -4, 4), mpc.assume_range(total + z, -400, 400)

        z, total = mpc.repeat(6, step, (mpc.constant(np.ones(3), 16), mpc.constant(np.zeros(3), 16)))
        return {"product": shown(z * shared(y)), "total": shown(total)}

    assert counts(run(program, x=(3,), y=(3,)))[:2] == (1 + 12 + 1, 6 * 6)


def test_a_loop_in_a_loop():
    def program(x, y):
        factor = shared(y)

        def inner(_, z):
            return mpc.assume_range(cut(z * factor / 2), -4, 4)

        def outer(_, z):
            return mpc.assume_range(1 - mpc.repeat(2, inner, z), -4, 4)

        return shown(mpc.repeat(3, outer, shared(x)))

    assert counts(run(program, x=(3,), y=(3,)))[:2] == (1 + 6 + 1, 6 * 3)


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_any_number_of_parties(n):
    def program(x, y):
        z, factor = shared(x), shared(y)
        for _ in range(4):
            z = mpc.assume_range(1 - cut(z * factor) * cut(z * z) / 16, -4, 4)
            z = cut(z)
        return shown(z)

    run(program, n, x=(200,), y=(200,))


def test_the_textbook_suite_stays_as_it_is():
    def program(x, y):
        return shown(cut(shared(x) * shared(y)) * shared(y))

    lowered, _ = traced(program, x=(3,), y=(3,))
    assert sum(e.op == "open" for e in walk(lowered.lower(BEAVER).block)) == 5


# --- the wrap


@mpc.program
def products(high: mpc.Private, low: mpc.Private, other: mpc.Private, by: int) -> Any:
    """z = high · 2^31 + low cut by `by` bits: times another number, the same plus one times minus it, and squared."""
    upper = mpc.share(high, range=(-(2.0**31), 2.0**31), scale=0)
    z = upper * 2**31 + mpc.share(low, range=(0, 2.0**31), scale=0)
    t = mpc.rescale(mpc.assume_range(z, -LIMIT, LIMIT), -by)
    y = mpc.share(other, range=(-8, 8), scale=0)
    found = {"times": t * y, "moved": (t + mpc.constant(2.0**by, -by)) * -y}
    if by > 31:
        found["square"] = t * t
    return {name: mpc.reveal(mpc.assume_range(v, -LIMIT * 2.0**-v.type.scale, LIMIT * 2.0**-v.type.scale),
                             bits=v.type.scale) for name, v in found.items()}  # fmt: skip


def operands(count: int) -> np.ndarray:
    """The ends of the range, both sides of every power of two, and random values of every magnitude."""
    rng = np.random.default_rng(62)
    near = {s * 2**k + d for k in range(62) for s in (1, -1) for d in (-1, 0, 1)}
    edges = [-TOP, -TOP + 1, TOP - 1, TOP - 2, 0, *(z for z in near if -TOP <= z < TOP)]
    random = rng.integers(-TOP, TOP, count, dtype=np.int64) >> rng.integers(0, 62, count)
    return np.concatenate([np.array(edges, dtype=np.int64), random])


@pytest.mark.parametrize("by", [4, 5, 16, 31, 32, 40, 61, 62])
@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_products_are_exact_about_the_wrap(n, by, monkeypatch):
    """Each is the product of the floor, or of one more; the same one in all products of a value."""
    monkeypatch.setattr(engine, "decode", lambda ring, value, scale, unit: ring.signed(value))
    z = operands(10_000)
    y = np.random.default_rng(3).integers(-7, 8, z.shape)
    given = {
        "high": {"alice": (z >> 31).astype(float)},
        "low": {"bob": (z & (2**31 - 1)).astype(float)},
        "other": {"bob": y.astype(float)},
    }
    found = mpc.emulate(products, given, NAMES[:n], suite=MASKED, by=by).results
    floor = z >> by
    up = found["times"] != floor * y
    assert np.array_equal(found["times"], (floor + up) * y)
    assert np.array_equal(found["moved"][y != 0], ((floor + up + 1) * -y)[y != 0])
    if by > 31:
        assert np.all((found["square"] == floor**2) | (found["square"] == (floor + 1) ** 2))
        assert np.array_equal(found["square"][y != 0], ((floor + up) ** 2)[y != 0])
    assert 0.2 < np.mean(up[y != 0]) < 0.8


def test_the_twin_without_the_wrap_is_wrong():
    """A truncation that calls its result a wire, (c ≫ by) and λ ≫ by: wrong where the ring wrapped around."""

    @mpc.protocol(rounding=1)
    def truncate(x: Any, by: int) -> Any:
        exact = MASKED.rules["truncate"].function(x, by=by)
        return exact._replace(q=exact.q * 0)

    broken = mpc.Suite("broken", {**MASKED.rules, "truncate": truncate}, memoise=True)

    def program(x, y):
        return shown(cut(shared(x) * shared(y)) * shared(y))

    traced_program, given = traced(program, x=(400,), y=(400,))
    right = traced_program.plain(given)["result"]
    off = [np.abs(mpc.emulate(traced_program, given, NAMES[:2], suite=s).results["result"] - right) > 0.1
           for s in (MASKED, broken)]  # fmt: skip
    assert not off[0].any()
    assert off[1].mean() > 0.2


@pytest.mark.parametrize("rule", [masked.truncate, masked.multiply, masked.matmul], ids=lambda rule: rule.name)
def test_a_rules_text_does_not_depend_on_who_has_it_traced(rule: Any) -> None:
    """Every party traces rules from a process of its own, and all must come to the same digest."""
    texts = []
    for file in ("party.py", "coordinator.py"):
        shapes, params = ([(2,)], {"by": 3}) if rule.name == "truncate" else ([(2, 2), (2, 2)], {})
        call = compile("again.block(shapes, params, 64)", file, "eval")
        again = Rule(rule.function, rounding=1)
        block = eval(call, {"again": again, "shapes": shapes, "params": params})
        texts.append([e.where for e in block.equations])
    assert texts[0] == texts[1]
    assert {where.partition(":")[0] for where in texts[0]} == {"masked.py"}
