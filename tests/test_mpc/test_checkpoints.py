"""Checkpoints of loops and the programs that go on from them: the same results at the same price, wherever it broke."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mpc
from mpc.errors import InputError, ProgramError, UsageError
from mpc.exchange import CHECKPOINT, whole
from mpc.ir import walk
from mpc.memory import names_of, run_in_memory
from mpc.ring import RING64
from mpc.table import owned
from mpc.testing import deterministic_entropy
from protocols import BEAVER, MASKED

SUITES = pytest.mark.parametrize("suite", [MASKED, BEAVER], ids=["masked", "beaver"])
UNITS = 2.0**-11  # what some twenty truncations at 16 fraction bits may add up to here


@mpc.program
def descent(x: mpc.PerParty[mpc.Private], steps: int = 7) -> Any:
    """Reveals before the loop, to all and to one; slices by the step; products of what came before, afterwards."""
    A, v = mpc.share(x[0], range=(-2, 2)), mpc.share(x[1], range=(-2, 2))
    m = mpc.reveal(A.sum(), bits=4)
    q = mpc.reveal(v.sum(), to=x[0].owner)

    def step(i: Any, s: Any) -> Any:
        return mpc.rescale(mpc.assume_range((A.T @ (A @ s)) * 0.125 + v[i % 2] + m, -8, 8), 16)

    w = mpc.repeat(steps, step, v)
    return {"w": mpc.reveal(w), "m": m, "q": q, "cube": mpc.reveal(v * v * v), "z": mpc.reveal(w * v), "rows": 2}


@mpc.program
def chain(x: mpc.PerParty[mpc.Private]) -> Any:
    """Three loops: the second goes on from the first, the third has nothing to do with either."""
    a, b = mpc.share(x[0], range=(-2, 2)), mpc.share(x[1], range=(-2, 2))
    one = mpc.repeat(5, lambda i, s: mpc.rescale(mpc.assume_range(s @ a * 0.5 + b[0], -4, 4), 16), a)
    two = mpc.repeat(4, lambda i, s: (s[1], mpc.assume_range(s[0] + one, -40, 40)), (one, a))
    three = mpc.repeat(3, lambda i, s: mpc.rescale(mpc.assume_range(s * b, -4, 4), 16), b)
    return {"r": mpc.reveal(two[0] + two[1]), "s": mpc.reveal(three * one[0])}


@mpc.program
def nested(x: mpc.PerParty[mpc.Private]) -> Any:
    """A loop in a loop, from public numbers; only the outer one makes checkpoints."""
    a, b = mpc.share(x[0], range=(-2, 2)), mpc.share(x[1], range=(-2, 2))

    def outer(i: Any, state: Any) -> Any:
        w, t = state
        inner = mpc.repeat(2, lambda j, s: mpc.rescale(mpc.assume_range(a[j] * s + i, -16, 16), 16), w)
        return inner, mpc.assume_range(t + w, -99, 99)

    w, t = mpc.repeat(6, outer, (np.ones(2), np.zeros(2)))
    return {"w": mpc.reveal(w), "t": mpc.reveal(t * b)}


@mpc.program
def owners(x: mpc.PerParty[mpc.Private]) -> Any:
    """An owner's own arithmetic before and after the loop, on its data and on what was revealed to it."""
    a, b = mpc.share(x[0], range=(-2, 2)), mpc.share(x[1], range=(-2, 2))
    mean = mpc.reveal(a.mean(), to=x[1].owner)
    centred = mpc.within(x[1] - mean, -8, 8)
    w = mpc.repeat(4, lambda i, s: mpc.assume_range(s + a @ b, -64, 64), b)
    return {"w": mpc.reveal(w * mpc.share(centred)), "twice": mean * 2, "mean": mean}


PROGRAMS = pytest.mark.parametrize("function", [descent, chain, nested, owners], ids=lambda f: f.name)


def inputs(n: int) -> Any:
    rest = {p: np.zeros(2) for p in names_of(n)[2:]}
    given = {"alice": np.array([[1.0, 0.5], [0.25, -1.0]]), "bob": np.array([0.5, 1.0]), **rest}
    return {"x": {p: owned(v) for p, v in given.items()}}


def traced(function: Any, n: int = 2, **settings: Any) -> mpc.Program:
    return function.trace(inputs(n), names_of(n), settings)


def close(found: Any, wanted: Any, within: float = UNITS) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert np.shape(found[name]) == np.shape(value)
        np.testing.assert_allclose(found[name], value, rtol=0, atol=within)


def counts(lowered: Any) -> Any:
    plan = lowered.cost()
    return plan.rounds, plan.bytes_sent, plan.input_bytes, plan.dealt_bytes, plan.reveals, plan.opened


@SUITES
@PROGRAMS
@pytest.mark.parametrize("n", [2, 3, 5])
def test_it_goes_on_from_every_checkpoint_to_the_same_results(function, n, suite):
    program = traced(function, n)
    made = program.with_checkpoints(2)
    lowered = made.lower(suite)
    lowered.check()
    full = run_in_memory(lowered, inputs(n))
    close(full.results, program.plain(inputs(n)))
    assert full.checkpoints
    for site, iteration in full.checkpoints:
        broken = run_in_memory(lowered, inputs(n), stop=(site, iteration))
        assert not broken.results
        rest = made.continued(site, iteration).lower(suite)
        rest.check()
        went_on = run_in_memory(rest, inputs(n), kept=broken.checkpoint(site, iteration))
        for party, results in full.results_of.items():
            close(went_on.results_of[party], results)
        plan = rest.cost()
        assert (went_on.rounds, went_on.bytes_sent) == (plan.rounds, plan.bytes_sent)
        assert went_on.checkpoints == [at for at in full.checkpoints if at > (site, iteration)]


@SUITES
@PROGRAMS
def test_checkpoints_cost_nothing(function, suite):
    program = traced(function, 3)
    before, after = program.lower(suite), program.with_checkpoints(2).lower(suite)
    assert counts(before) == counts(after)
    one = run_in_memory(before, inputs(3), entropy=deterministic_entropy(3))
    two = run_in_memory(after, inputs(3), entropy=deterministic_entropy(3))
    assert (one.rounds, one.bytes_sent, one.dealt_bytes) == (two.rounds, two.bytes_sent, two.dealt_bytes)
    close(two.results, one.results, 0.0)


@SUITES
@PROGRAMS
def test_the_program_that_goes_on_means_the_same_in_the_clear(function, suite):
    """All parties' shares added up are the state, not a masked pair: in the clear it goes on from there."""
    made = traced(function).with_checkpoints(2)
    run = run_in_memory(made.lower(suite), inputs(2))
    for at in run.checkpoints:
        shares = run.checkpoint(*at)
        together = {}
        for name, mine in shares["alice"].items():
            theirs = shares["bob"][name]
            together[name] = RING64.add(mine, theirs) if "public" not in name else mine if mine is not None else theirs
        close(made.continued(*at).plain(inputs(2), together), run.results)


@SUITES
def test_it_breaks_again_and_goes_on_again(suite):
    made = traced(descent, 3, steps=9).with_checkpoints(2)
    wanted = made.plain(inputs(3))
    kept, program, seen = {}, made, []
    for at in ((0, 2), (0, 4), (0, 8)):
        broken = run_in_memory(program.lower(suite), inputs(3), kept=kept, stop=at)
        kept, program = broken.checkpoint(*at), program.continued(*at)
        seen.append(broken.checkpoints)
    close(run_in_memory(program.lower(suite), inputs(3), kept=kept).results, wanted, 2 * UNITS)
    assert seen == [[(0, 2)], [(0, 4)], [(0, 6), (0, 8)]]


@SUITES
@PROGRAMS
def test_ranges_are_verified_across_a_break(function, suite):
    program = traced(function)
    made = program.verified().with_checkpoints(2)
    assert program.with_checkpoints(2).verified().text == made.text
    wanted = run_in_memory(made.lower(suite), inputs(2))
    for at in wanted.checkpoints:
        broken = run_in_memory(made.lower(suite), inputs(2), stop=at)
        rest = made.continued(*at).lower(suite)
        close(run_in_memory(rest, inputs(2), kept=broken.checkpoint(*at)).results, wanted.results)


@PROGRAMS
def test_texts(function):
    program = traced(function)
    made = program.with_checkpoints(2)
    assert made.digest != program.digest
    assert made.with_checkpoints(1000).text == program.text  # no step is a multiple of 1000
    assert made.with_checkpoints(3).text == program.with_checkpoints(3).text
    for at in run_in_memory(made.lower(MASKED), inputs(2)).checkpoints:
        rest = made.continued(*at)
        assert rest.text == mpc.Program.parse(made.text).continued(*at).text == mpc.Program.parse(rest.text).text
        assert rest.text == program.continued(*at).with_checkpoints(2).text
        assert (rest.order, rest.facts, rest.notes, rest.name) == (
            program.order,
            program.facts,
            program.notes,
            made.name,
        )
        shown = [(o.name, o.to) for o in program.outputs]
        assert [(o.name, o.to) for o in rest.outputs] == shown


def test_what_was_revealed_before_is_not_revealed_again():
    made = traced(descent).with_checkpoints(2)
    rest = made.continued(0, 4)
    assert [r["name"] for r in made.plan().reveals] == ["m", "q", "w", "cube", "z"]
    assert [r["name"] for r in rest.plan().reveals] == ["w", "cube", "z"]
    run = run_in_memory(made.lower(), inputs(2), stop=(0, 4))
    kept = run.checkpoint(0, 4)
    assert kept["alice"]["public.1"] is not None
    assert kept["bob"]["public.1"] is None
    assert run_in_memory(rest.lower(), inputs(2), kept=kept).results_of["bob"].keys() == {"m", "w", "cube", "z", "rows"}


def test_a_checkpoint_holds_no_more_than_is_needed():
    made = traced(descent).with_checkpoints(2)
    (saved, _, _), (again, _, _) = run_in_memory(made.lower(), inputs(2)).saves.values()
    assert saved.arrays.keys() == again.arrays.keys() == {"carry.0", "value.0", "value.1", "public.0", "public.1"}
    first, second, third = run_in_memory(made.lower(), inputs(2)).saves["alice"]
    assert [(s.name, s.site, s.iteration) for s in (first, second, third)] == [(CHECKPOINT, 0, i) for i in (2, 4, 6)]
    assert set(second.arrays) == set(third.arrays) == {"carry.0"}
    assert "array" not in repr(first)
    together = whole([first, second, third], 0, 4)
    assert together["carry.0"] is second.arrays["carry.0"]
    assert together["value.0"] is first.arrays["value.0"]
    assert whole([first, second, third], 0, 5) == {} == whole([first], 1, 2)


def test_owners_bring_only_what_is_needed_again():
    """Alice's matrix is shared and in the checkpoint; Bob computes with his anew."""
    made = traced(owners).with_checkpoints(2)
    rest = made.continued(0, 2)
    assert [spec.owner for spec in made.inputs] == ["alice", "bob"]
    assert [spec.owner for spec in rest.inputs] == ["bob"]
    assert {e.op for e in rest.block.equations} >= {"within", "real", "shown", "kept", "input"}
    kept = run_in_memory(made.lower(), inputs(2), stop=(0, 2)).checkpoint(0, 2)
    only = {"x": {"bob": inputs(2)["x"]["bob"]}}
    close(run_in_memory(rest.lower(), only, kept=kept).results, made.plain(inputs(2)))


def test_a_transpose_is_not_put_away_beside_its_matrix():
    rest = traced(descent).continued(0, 3)
    assert sum(e.op == "kept" and e.params["shape"] == [2, 2] for e in rest.block.equations) == 1


def test_where_there_is_no_checkpoint():
    made = traced(descent).with_checkpoints(3)
    for at in ((0, 0), (0, 2), (0, 7), (0, 9), (1, 3), (-1, 3)):
        with pytest.raises(ProgramError, match=r"has no loop|makes no checkpoint"):
            made.continued(*at)
    with pytest.raises(ProgramError, match="makes no checkpoint before step 3"):
        made.continued(0, 3).continued(0, 3)
    for every in (0, -1, 1.5, True):
        with pytest.raises(UsageError, match="every 1, 2"):
            made.with_checkpoints(every)


def test_a_program_without_loops_has_no_checkpoints():
    @mpc.program
    def total(x: mpc.PerParty[mpc.Private]) -> Any:
        return mpc.reveal(sum(mpc.share(v).sum() for v in x))

    program = traced(total)
    assert program.with_checkpoints(1).text == program.text


def test_numbers_of_loops_stay():
    made = traced(chain).with_checkpoints(2)
    rest = made.continued(1, 2)
    assert rest.continues == {"site": 1, "iteration": 2}
    assert [e.params["site"] for e in walk(rest.block) if e.op == "checkpoint"] == [2]
    assert sum(e.op == "repeat" for e in rest.block.equations) == 2
    with pytest.raises(ProgramError, match="has no loop 0; it has 1, 2"):
        rest.continued(0, 2)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"every":2', '"every":0'),
        ('"site":0', '"site":1'),
        ('"after":4', '"after":2'),
        ('"carry":1,"every"', '"carry":0,"every"'),
        ('"carry.0","value.0"', '"carry.0","value.9"'),
        ('"start":4', '"start":0'),
        ('"start":4', '"start":3'),
        ('continues {"iteration":4,"site":0}', 'continues {"iteration":-4,"site":0}'),
        ('continues {"iteration":4,"site":0}', 'continues {"iteration":4}'),
        ('continues {"iteration":4,"site":0}', "continues []"),
        ('"unit":"1"} : secret', '"unit":"0/0"} : secret'),
        ('"noise":0.0', '"noise":-1.0'),
        ('"to":["alice"]', '"to":"alice"'),
        ('"to":["alice"]', '"to":["mallory"]'),
        ('"hi":2.0,"lo":-2.0,"name":"value.0"', '"hi":null,"lo":-2.0,"name":"value.0"'),
    ],
)
def test_texts_that_claim_something_else_are_refused(old, new):
    text = traced(descent).with_checkpoints(2).continued(0, 4).text
    assert old in text
    with pytest.raises(ProgramError):
        mpc.Program.parse(text.replace(old, new, 1))


def test_nothing_is_taken_up_inside_a_loop():
    text = traced(nested).text
    line = next(line for line in text.splitlines() if "matmul" in line or "dynamic_slice" in line)
    inner = line[: len(line) - len(line.lstrip())] + (
        '%999 = kept() {"hi":1.0,"lo":0.0,"name":"x","noise":0.0,"scale":0,"shape":[],"unit":"1"} '
        ": secret[] in 0.0..1.0 @ -"
    )
    with pytest.raises(ProgramError, match="outside of loops"):
        mpc.Program.parse(text.replace(line, f"{inner}\n{line}"))


def test_a_checkpoint_that_does_not_fit_is_refused():
    made = traced(descent).with_checkpoints(2)
    kept = run_in_memory(made.lower(), inputs(2), stop=(0, 4)).checkpoint(0, 4)
    rest = made.continued(0, 4).lower()
    for change in ({"carry.0": kept["alice"]["carry.0"][:1]}, {"value.0": None}, {"public.1": None}):
        with pytest.raises(InputError, match=r"alice: (nothing is kept|what is kept as)") as refused:
            run_in_memory(rest, inputs(2), kept={**kept, "alice": {**kept["alice"], **change}})
        assert refused.value.public == "alice: input refused"
