"""What the masked suite costs, in exact numbers: words opened by each party to each peer, words sent by owners, rounds.

Each sentence of the promise is one test. Counts are for two parties; `test_more_parties` multiplies them.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import mpc
from mpc.ir import Block, Equation
from protocols import BEAVER, MASKED
from protocols.learning.gradient import Steps, gradient_steps

NAMES = ["alice", "bob", "carol", "dave", "erin"]
SMALL = (-8.0, 8.0)


def shared(value: Any) -> Any:
    return mpc.share(value, range=SMALL, scale=8)


def program_of(function: Any) -> Any:
    """A function of private arrays as a program."""
    function.__annotations__ = dict.fromkeys(inspect.signature(function).parameters, mpc.Private)
    return mpc.program(function)


def shown(value: Any) -> Any:
    """Revealed as it stands: one word an element and one round, no truncation."""
    return mpc.reveal(value, bits=value.type.scale)


@dataclass(frozen=True)
class Cost:
    rounds: int
    opened: int  # words, by each party to each peer, without what is revealed
    sent: dict[str, int]  # input words, by their owner to each peer
    dealt: int  # words, to all parties together


def equations(block: Block, times: int = 1) -> list[tuple[Equation, int]]:
    found = [(e, times) for e in block.equations]
    for e in block.equations:
        if e.op == "repeat":
            assert e.body is not None
            found += equations(e.body, times * e.params["times"])
    return found


def opened_in(lowered: mpc.Lowered) -> list[tuple[int, int]]:
    """Elements and times of every opening."""
    return [(e.output.type.size, times) for e, times in equations(lowered.block) if e.op == "open"]


def cost(function: Any, n: int = 2, suite: mpc.Suite = MASKED, **shapes: tuple[int, ...]) -> Cost:
    """The price of a program, held to a run; the first input is alice's, the second bob's, the third alice's again."""
    owners = dict(zip(shapes, ["alice", "bob", "alice", "bob"], strict=False))
    rng = np.random.default_rng(5)
    given = {name: {owners[name]: rng.uniform(-1, 1, shape)} for name, shape in shapes.items()}
    traced = program_of(function).trace(given, NAMES[:n])
    lowered = traced.lower(suite)
    lowered.check()
    plan = lowered.cost()
    run = mpc.emulate(traced, given, NAMES[:n], suite=suite)
    assert (run.rounds, run.bytes_sent, run.dealt_bytes) == (plan.rounds, plan.bytes_sent, plan.dealt_bytes)
    plain = traced.plain(given)
    for name, value in plain.items():
        ulp = 2.0 ** -min(r["bits"] for r in plan.reveals)
        np.testing.assert_allclose(run.results[name], value, rtol=0, atol=1.001 * ulp)
    revealed = 8 * (n - 1) * sum(int(np.prod(r["shape"])) for r in plan.reveals)
    words = {p: b - plan.input_bytes[p] - revealed for p, b in plan.bytes_sent.items()}
    (each,) = set(words.values())
    assert each % (8 * (n - 1)) == 0
    opened = each // (8 * (n - 1))
    assert opened == sum(size * times for size, times in opened_in(lowered))
    sent = {p: b // (8 * (n - 1)) for p, b in plan.input_bytes.items() if b}
    return Cost(plan.rounds, opened, sent, sum(plan.dealt_bytes.values()) // 8)


# --- an operand is opened once


def test_product_of_inputs_opens_nothing_but_the_inputs():
    """Two n-vectors: each owner sends its wire, n words; the product itself is local; one round more for the reveal."""
    assert cost(lambda x, y: shown(shared(x) * shared(y)), x=(7,), y=(7,)) == Cost(2, 0, {"alice": 7, "bob": 7}, 7)


def test_product_of_two_vectors_costs_its_own_opening():
    """n words a party and one round, once its result goes on into a product."""

    def program(x, y):
        z = shared(x) * shared(y)
        return shown(z * z)

    assert cost(program, x=(7,), y=(7,)) == Cost(3, 7, {"alice": 7, "bob": 7}, 14)


def test_product_with_truncation_where_the_wire_is_masked_anyway():
    """n words, one round: the truncation rides in the opening that the product's other use needs."""

    def program(x, y):
        z = shared(x) * shared(y)
        return shown(mpc.rescale(z, 8)), shown(z * 3 + z * z)

    without = cost(lambda x, y: shown((z := shared(x) * shared(y)) * 3 + z * z), x=(7,), y=(7,))
    assert without == Cost(3, 7, {"alice": 7, "bob": 7}, 14)
    assert cost(program, x=(7,), y=(7,)) == Cost(3, 7, {"alice": 7, "bob": 7}, 28)


def test_a_matrix_times_a_vector_opens_a_vector():
    """A (1000×100) @ b: 1,000 words beyond the openings of A and b themselves."""

    def program(A, b):
        z = mpc.share(A, range=(-1, 1), scale=8) @ mpc.share(b, range=(-1, 1), scale=8)
        return shown((z * z).sum())

    assert cost(program, A=(1000, 100), b=(100,)) == Cost(3, 1000, {"alice": 100_000, "bob": 100}, 2000)


@pytest.mark.parametrize(
    "use",
    [
        lambda x: x[2:5],
        lambda x: x.T,
        lambda x: x.reshape(3, 4),
        lambda x: mpc.concatenate([x, x]),
        lambda x: 3 * x,
        lambda x: x / 4,
        lambda x: x * np.array([1.0, 2.0, -1.0]),
        lambda x: x + 1,
        lambda x: x - x[0],
        lambda x: x.sum(axis=0),
        lambda x: -x[::-1],
        lambda x: mpc.stack([x, x]).mean(axis=0),
    ],
)
def test_linear_operations_keep_the_wire(use):
    """x is opened once for x·x, and every linear function of it is a wire for nothing."""
    opened = {"alice": 12}

    def program(x):
        z = shared(x)
        other = use(z)
        return shown((z * z).sum() + (other * other).sum())

    assert cost(program, x=(4, 3)) == Cost(2, 0, opened, 12 + size_of(use))


def size_of(use: Any) -> int:
    sizes = []
    probe = program_of(lambda x: sizes.append(use(shared(x)).size) or shown(shared(x)))
    probe.trace({"x": {"alice": np.zeros((4, 3))}}, NAMES[:2])
    return sizes[0]


def test_linear_functions_of_products_keep_the_wire():
    """As above where the value is nobody's input: 12 words once, whatever its slices meet."""

    def program(x, y):
        z = shared(x) * shared(y)
        return shown((z * z).sum() + (z[:2] * z[2:]).sum() + (z.T @ z).sum() + (mpc.concatenate([z, z]) * 2).sum())

    assert cost(program, x=(4, 3), y=(4, 3)).opened == 12


def test_a_sum_of_wires_is_a_wire():
    def program(x, y):
        a, b = shared(x), shared(y)
        return shown(a * a + b * b + (a + b) * (a + b) + (a - 2 * b) * a)

    assert cost(program, x=(5,), y=(5,)) == Cost(2, 0, {"alice": 5, "bob": 5}, 20)


# --- inputs


def test_summed_only_inputs_cost_no_message():
    """One round for the reveal, and nothing else."""
    assert cost(lambda x, y: shown(shared(x) + 2 * shared(y)[::-1]), x=(50,), y=(50,)) == Cost(1, 0, {}, 0)


def test_an_input_for_products_is_sent_by_its_owner_as_a_wire():
    """4 words by alice, none by bob; nobody opens anything for it."""

    def program(x, y):
        a = shared(x)
        return shown(a * a + shared(y))

    assert cost(program, x=(4,), y=(4,)) == Cost(2, 0, {"alice": 4}, 4)


def test_one_slice_of_a_long_vector_does_not_mask_the_whole():
    def program(x):
        z = shared(x)
        part = z[3:5]
        return shown(part * part), shown(z.sum())

    assert cost(program, x=(1000,)) == Cost(2, 2, {}, 2)


def test_many_slices_of_a_long_vector_mask_it_once():
    def program(x):
        z = shared(x)
        parts = [z[i : i + 6] for i in range(5)]
        return shown(sum((part * part).sum() for part in parts))

    assert cost(program, x=(10,)) == Cost(2, 0, {"alice": 10}, 30)


# --- rounds


def test_independent_openings_share_one_round():
    def program(x, y):
        a, b = shared(x), shared(y)
        first, second, third = a * b, a * a, b[:2] * 3 * a[:2]
        return shown((first * first).sum() + (second * second).sum() + (third * third).sum())

    assert cost(program, x=(3,), y=(3,)) == Cost(3, 3 + 3 + 2, {"alice": 3, "bob": 3}, 2 * 8)


def test_three_truncations_of_one_value_cost_one_opening():
    def program(x, y):
        z = shared(x) * shared(y)
        return tuple(shown(mpc.rescale(z, bits)) for bits in (10, 8, 6))

    assert cost(program, x=(6,), y=(6,)) == Cost(3, 6, {"alice": 6, "bob": 6}, 6 + 3 * 12)


@pytest.mark.parametrize("swapped", [False, True])
def test_the_order_of_lines_does_not_matter(swapped):
    def program(x, y):
        a, b = shared(x), shared(y)
        terms = [(a + b) * (a + b), a * b]
        return shown(sum(terms[::-1] if swapped else terms))

    assert cost(program, x=(4,), y=(4,)) == Cost(2, 0, {"alice": 4, "bob": 4}, 8)


@pytest.mark.parametrize("swapped", [False, True])
def test_the_order_of_lines_does_not_matter_for_computed_values(swapped):
    def program(x, y):
        a, b = shared(x) * shared(y), shared(x) * shared(x)
        terms = [(a + b) * (a + b), a * b]
        return shown(sum(terms[::-1] if swapped else terms))

    assert cost(program, x=(4,), y=(4,)).opened == 8


# --- loops


def whole(value: Any) -> Any:
    """Integers: products keep the other operand's scale."""
    return mpc.share(value, range=SMALL, scale=0)


def wide(value: Any) -> Any:
    return mpc.assume_range(value, -(2.0**40), 2.0**40)


def test_a_matrix_in_a_loop_is_opened_once_outside():
    """6 steps: 2 rounds and 2 + 3 words each (v, and rows @ v); X, its slices and its transpose for nothing."""

    def program(X, w):
        matrix = whole(X)

        def step(i, v):
            rows = matrix[(i % 4) * 2 : (i % 4) * 2 + 2]
            return wide(rows.T @ (rows @ v))

        return shown(mpc.repeat(6, step, shared(w)))

    assert cost(program, X=(8, 3), w=(3,)) == Cost(1 + 6 * 2 + 1, 6 * 5, {"alice": 24}, 6 * 5)


def test_a_centred_matrix_is_hoisted():
    """(X − mu) @ v: X and mu are sent once; 3 words and one round a step."""

    def program(X, w, mu):
        matrix, centre = whole(X), whole(mu)
        return shown(mpc.repeat(6, lambda _, v: wide((matrix - centre) @ v), shared(w)))

    assert cost(program, X=(3, 3), w=(3,), mu=(3,)) == Cost(1 + 6 + 1, 18, {"alice": 9 + 3}, 18)


def test_a_state_that_is_only_added_stays_a_share():
    """One round for the input, none for five steps: nothing of them is an operand."""

    def program(X, w):
        products = whole(X) * whole(w)
        return shown(mpc.repeat(5, lambda _, total: wide(total + products), mpc.constant(np.zeros(3), 0)))

    assert cost(program, X=(3,), w=(3,)) == Cost(2, 0, {"alice": 3, "bob": 3}, 3)


def test_a_public_initial_state_is_free():
    """The pair (w0, 0): no word and no round before the first step."""

    def program(X):
        matrix = whole(X)
        return shown(mpc.repeat(2, lambda _, w: wide(matrix @ w), mpc.constant(np.ones(3), 8)))

    assert cost(program, X=(3, 3)) == Cost(1 + 2 + 1, 2 * 3, {"alice": 9}, 2 * 3)


def regression(n_rows: int, d: int, steps: int, batch: int) -> Any:
    def program(X, y):
        data, labels = mpc.share(X, range=(-16, 16), scale=10), mpc.share(y, range=(0, 1), scale=0)
        schedule = Steps(steps, 0.5, 0.0, batch, 1.0 / n_rows)
        return mpc.reveal(gradient_steps(data, labels, np.ones(d), schedule, 100.0)[0])

    return program


def plan_of(function: Any, n: int = 2, suite: mpc.Suite = MASKED, **shapes: tuple[int, ...]) -> Any:
    schemas = {name: {p: mpc.Schema(s)} for (name, s), p in zip(shapes.items(), NAMES, strict=False)}
    lowered = program_of(function).trace(schemas, NAMES[:n]).lower(suite)
    return lowered, lowered.cost()


def test_a_gradient_step():
    """3 rounds and 2·batch + d words a step, no truncation of anything that is not open already."""
    for rows, d, batch in ((455, 30, 455), (60, 5, 20)):
        prices = [plan_of(regression(rows, d, steps, batch), X=(rows, d), y=(rows,))[1] for steps in (10, 11)]
        assert prices[1].rounds - prices[0].rounds == 3
        assert {prices[1].bytes_sent[p] - prices[0].bytes_sent[p] for p in NAMES[:2]} == {8 * (2 * batch + d)}


def test_breast_cancer_100_steps():
    """302 rounds, 940 words a step: 2·455 + 30."""
    lowered, plan = plan_of(regression(455, 30, 100, 455), X=(455, 30), y=(455,))
    assert plan.rounds == 302
    inside = [size for size, times in opened_in(lowered) if times == 100]
    assert sorted(inside) == [30, 455, 455]
    assert sum(inside) == 940


def test_the_size_of_a_program_does_not_depend_on_its_steps():
    texts = [plan_of(regression(455, 30, steps, 64), X=(455, 30), y=(455,))[0].text for steps in (5, 5000)]
    assert len(texts[0].splitlines()) == len(texts[1].splitlines())


# --- beaver, for comparison


def test_beaver_opens_both_operands_of_every_product():
    assert cost(lambda x, y: shown(shared(x) * shared(y)), suite=BEAVER, x=(7,), y=(7,)) == Cost(2, 14, {}, 7)


def test_beaver_opens_a_matrix_in_every_product():
    def program(A, b):
        z = shared(A) @ shared(b)
        return shown((z * z).sum())

    found = cost(program, suite=BEAVER, A=(50, 10), b=(10,))
    assert found == Cost(3, 500 + 10 + 100, {}, 50 + 50)


# --- more parties


@pytest.mark.parametrize("n", [3, 5])
def test_more_parties(n):
    """Bytes by each sender times n − 1; rounds, words a peer and dealt words stay as they are."""

    def program(x, y):
        z = shared(x) * shared(y)
        return shown(z * z + z)

    for suite in (MASKED, BEAVER):
        two, more = cost(program, suite=suite, x=(6,), y=(6,)), cost(program, n, suite, x=(6,), y=(6,))
        assert two == more
