"""Secrets kept by one program and taken by the next: the same number, masked afresh, known to nobody in between."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest

import mpc
from mpc.errors import InputError, OverflowRefusal, ProgramError, UsageError
from mpc.handles import Handle, HandleSpec
from mpc.memory import names_of, run_in_memory
from mpc.ranges import RANGES_HOLD
from protocols import BEAVER, MASKED

SUITES = pytest.mark.parametrize("suite", [MASKED, BEAVER], ids=["masked", "beaver"])
X = np.array([[1.0, 2.0], [0.5, -1.0], [2.0, 0.25]])
Y = np.array([1.0, -2.0, 0.5])
ROWS = np.array([[1.0, 1.0], [0.0, -2.0]])
DATA: Any = {"X": {"alice": X}, "y": {"bob": Y}}


@mpc.program
def train(X: mpc.Private, y: mpc.Private) -> Any:
    A, b = mpc.share(X, range=(-4, 4)), mpc.share(y, range=(-4, 4))
    mpc.keep(A.T @ b, "model")
    mpc.keep(b / 3, "third")


@mpc.program
def predict(rows: mpc.Private, model: mpc.Secret) -> Any:
    return mpc.reveal(mpc.share(rows, range=(-4, 4)) @ model)


@mpc.program
def more(model: mpc.Secret, third: mpc.Secret) -> Any:
    mpc.keep(mpc.rescale(model + 1, 16), "model")
    return {"sum": mpc.reveal(third.sum(), to="bob")}


def names(n: int) -> list[str]:
    return names_of(n)


@SUITES
@pytest.mark.parametrize("n", [2, 3, 5])
def test_train_today_predict_tomorrow(n, suite):
    trained = mpc.emulate(train, DATA, n, suite=suite)
    assert trained.results == {}
    model = trained.handles["model"]
    assert set(model.shares) == set(names(n))
    found = mpc.emulate(predict, {"rows": {"alice": ROWS}, "model": model}, n, suite=suite)
    np.testing.assert_allclose(found.results["result"], ROWS @ (X.T @ Y), rtol=0, atol=2.0**-14)
    third = trained.handles["third"]
    assert third.spec.unit == "1/3"
    again = mpc.emulate(more, {"model": model, "third": third}, n, suite=suite)
    assert again.results["sum"] == pytest.approx(Y.sum() / 3, abs=2.0**-12)
    found = mpc.emulate(predict, {"rows": {"bob": ROWS}, "model": again.handles["model"]}, n, suite=suite)
    np.testing.assert_allclose(found.results["result"], ROWS @ (X.T @ Y + 1), rtol=0, atol=2.0**-13)


def test_simulation_has_handles_too():
    trained = mpc.simulate(train, DATA, 2)
    assert trained == {}
    found = mpc.simulate(predict, {"rows": {"alice": ROWS}, "model": trained.handles["model"]}, 2)
    np.testing.assert_allclose(found["result"], ROWS @ (X.T @ Y), rtol=0, atol=2.0**-14)
    kept = mpc.emulate(train, DATA, 2).handles["model"]
    np.testing.assert_array_equal(kept.whole(), trained.handles["model"].whole())
    again = mpc.simulate(predict, {"rows": {"alice": ROWS}, "model": kept}, 2)
    np.testing.assert_array_equal(again["result"], found["result"])


@SUITES
def test_keeping_costs_nothing_and_opens_nothing(suite):
    @mpc.program
    def fit(X: mpc.Private, y: mpc.Private, keeping: bool = False) -> Any:
        A, b = mpc.share(X, range=(-4, 4)), mpc.share(y, range=(-4, 4))
        w = A.T @ b
        if keeping:
            mpc.keep(w, "model")
            mpc.keep(A, "rows")
        return mpc.reveal(w)

    one, two = (fit.trace(DATA, names(2), {"keeping": k}).plan(suite) for k in (False, True))
    assert (one.rounds, one.bytes_sent, one.dealt_bytes) == (two.rounds, two.bytes_sent, two.dealt_bytes)
    assert [k["name"] for k in two.keeps] == ["model", "rows"]
    assert one.keeps == one.handles == []


def test_what_is_kept_and_taken_is_in_text_and_plan():
    program = train.trace(DATA, names(2))
    assert [(k.name, k.shape, k.scale, k.unit) for k in program.keeps] == [
        ("model", (2,), 32, "1"),
        ("third", (3,), 16, "1/3"),
    ]
    assert program.outputs == []
    assert mpc.Program.parse(program.text).keeps == program.keeps
    spec = program.keeps[0]
    taking = predict.trace({"rows": {"alice": mpc.Schema((2, 2))}, "model": spec}, names(2))
    assert [h.fits(spec) for h in taking.handles] == [True]
    assert [h.name for h in taking.handles] == ["model"]
    assert mpc.Program.parse(taking.text).text == taking.text
    taking.lower().check()
    assert taking.plan().handles == [spec.fields()]
    assert HandleSpec.parse(json.loads(json.dumps(spec.fields()))) == spec
    assert predict.trace({"rows": {"alice": mpc.Schema((2, 2))}, "model": spec}).parties == names(2)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../evil"},
        {"name": 3},
        {"unit": "0/0"},
        {"unit": "2/4"},
        {"shape": 2},
        {"shape": ["x"]},
        {"lo": "low"},
        {"more": 1},
        {"parties": None},
    ],
)
def test_a_spec_that_is_none_is_refused(change):
    spec = train.trace(DATA, names(2)).keeps[0]
    with pytest.raises(UsageError, match="does not describe"):
        HandleSpec.parse({**spec.fields(), **change})


def test_masks_of_another_program_and_shares_of_another_keeping():
    """Two runs on the same data keep shares that have nothing in common."""
    one, two = (mpc.emulate(train, DATA, 3).handles["model"] for _ in range(2))
    np.testing.assert_array_equal(one.whole(), two.whole())
    assert not any(np.any(one.shares[p] == two.shares[p]) for p in names(3))


def test_a_handle_shows_nothing():
    model = mpc.emulate(train, DATA, 2).handles["model"]
    assert "shares" not in repr(model)
    with pytest.raises(TypeError, match="never serialised"):
        pickle.dumps(model)


def test_who_may_take_it():
    trained = mpc.emulate(train, DATA, 2).handles
    rows = {"alice": ROWS}
    for inputs, parties, text in (
        ({"rows": rows, "model": trained["model"]}, 3, "held by alice, bob, and the program is for alice, bob, carol"),
        ({"rows": rows}, 2, "model of predict is a handle, which an earlier program has kept, not nothing"),
        ({"rows": rows, "model": rows}, 2, "not a party's data"),
        ({"rows": trained["model"], "model": trained["model"]}, 2, "rows of predict is no handle"),
        ({"rows": rows, "model": trained["model"], "other": trained["model"]}, 2, "no input 'other'"),
    ):
        with pytest.raises(UsageError, match=text):
            mpc.emulate(predict, inputs, parties)
    program = predict.trace({"rows": {"alice": mpc.Schema((2, 2))}, "model": trained["model"]}, names(2))
    assert mpc.emulate(program, {"rows": rows, "model": trained["model"]}, 2).rounds > 0
    for wrong in ({"model": trained["third"]}, {}):
        with pytest.raises(UsageError, match="made for another handle"):
            mpc.emulate(program, {"rows": rows, **wrong}, 2)
    with pytest.raises(InputError, match="nothing is kept under the name 'model'"):
        run_in_memory(program.lower(), {"rows": {"alice": mpc.owned(ROWS)}})


def test_a_handle_of_another_ring_is_refused():
    spec = train.trace(DATA, names(2)).keeps[0]
    assert [k.bits for k in train.trace(DATA, names(2)).lower(MASKED, 32).keeps] == [32, 32]
    small = HandleSpec.parse({**spec.fields(), "bits": 32})
    program = predict.trace({"rows": {"alice": mpc.Schema((2, 2))}, "model": small}, names(2))
    with pytest.raises(ProgramError, match="'model' is shared over a ring of 32 bits, the program runs over one of 64"):
        program.lower()
    with pytest.raises(UsageError, match="32 bits"):
        mpc.simulate(program, {"rows": {"alice": ROWS}, "model": Handle.known(small, np.zeros(2, dtype=np.uint64))}, 2)


def test_what_cannot_be_kept():
    def kept(body: Any) -> Any:
        @mpc.program
        def bad(X: mpc.Private) -> Any:
            body(mpc.share(X, range=(-4, 4)))

        return bad.trace({"X": {"alice": X}}, names(2))

    def in_a_loop(x: Any) -> None:
        def step(i: Any, s: Any) -> Any:
            mpc.keep(s, "s")
            return s

        mpc.repeat(2, step, x)

    def too_wide(x: Any) -> None:
        mpc.keep(mpc.assume_range(x, -(2.0**50), 2.0**50), "y")

    for body, text in (
        (lambda x: mpc.keep(1.0, "one"), "takes a secret"),
        (lambda x: mpc.keep(x, "a/b"), "letters, digits"),
        (lambda x: mpc.keep(x, ""), "letters, digits"),
        (lambda x: mpc.keep(x, 3), "letters, digits"),
        (lambda x: (mpc.keep(x, "x"), mpc.keep(x, "x")), "'x' is there twice"),
        (in_a_loop, "keep in a loop"),
    ):
        with pytest.raises(ProgramError, match=text):
            kept(body)
    with pytest.raises(OverflowRefusal, match="could overflow"):
        kept(too_wide)


@SUITES
def test_nothing_is_kept_where_a_range_was_left(suite):
    @mpc.program
    def stated(X: mpc.Private, bound: float = 100.0) -> Any:
        a = mpc.share(X, range=(-4, 4))
        mpc.keep(mpc.assume_range(a * a, 0, bound), "square")
        return {}

    good = mpc.emulate(stated, {"X": {"alice": X}}, 2, suite=suite, verify_ranges=True)
    assert good.results == {RANGES_HOLD: True}
    assert good.handles["square"].spec.hi == 100.0
    np.testing.assert_allclose(np.ldexp(good.handles["square"].whole().view(np.int64), -32), X * X)
    with pytest.raises(OverflowRefusal):
        mpc.emulate(stated, {"X": {"alice": X}}, 2, suite=suite, verify_ranges=True, bound=1.0)


@SUITES
@pytest.mark.parametrize("early", [False, True])
def test_keeping_and_taking_across_a_break(suite, early):
    @mpc.program
    def on(X: mpc.Private, model: mpc.Secret) -> Any:
        A = mpc.share(X, range=(-4, 4))
        if early:
            mpc.keep(model * 2, "double")
        w = mpc.repeat(5, lambda i, s: mpc.rescale(mpc.assume_range(A @ (A.T @ s) * 0.125, -64, 64), 16), np.ones(3))
        mpc.keep(w, "w")
        if not early:
            mpc.keep(model * 2, "double")
        return {"sum": mpc.reveal(w)}

    model = mpc.emulate(train, DATA, 2).handles["model"]
    given = {"X": {"alice": mpc.owned(X)}}
    made = on.trace({**given, "model": model}, names(2)).with_checkpoints(2)
    held = {p: {"model": model.shares[p]} for p in names(2)}
    full = run_in_memory(made.lower(suite), given, kept=held)
    broken = run_in_memory(made.lower(suite), given, kept=held, stop=(0, 4))
    assert broken.handles == {}
    rest = made.continued(0, 4)
    both = {p: {**held[p], **arrays} for p, arrays in broken.checkpoint(0, 4).items()}
    found = run_in_memory(rest.lower(suite), given, kept=both)
    np.testing.assert_allclose(found.results["sum"], full.results["sum"], rtol=0, atol=2.0**-10)
    assert rest.keeps == made.keeps
    np.testing.assert_array_equal(found.handles["double"].whole(), full.handles["double"].whole())
