"""Who brings what, and what may meet what: private, secret, revealed and float values, tables, settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest

import mpc
from protocols import BEAVER, MASKED

Function = Callable[..., Any]


def results(program: Any, inputs: Any, parties: int = 3, **settings: Any) -> dict[str, Any]:
    """The results, after making sure that both suites give what the plain meaning is."""
    plain = mpc.simulate(program, inputs, parties, **settings)
    for suite in (MASKED, BEAVER):
        run = mpc.emulate(program, inputs, parties, suite=suite, **settings)
        for name, value in plain.items():
            got = run.results[name]
            assert (
                got == value if isinstance(value, str | list | dict) else np.allclose(got, value, rtol=0, atol=2**-15)
            )
    return plain


def refused(program: Any, inputs: Any, error: type[Exception], text: str, parties: int = 3, **settings: Any) -> None:
    with pytest.raises(error, match=text):
        mpc.simulate(program, inputs, parties, **settings)


TWO = {"x": {"alice": [1.0, 2.0]}, "y": {"bob": [10.0, 20.0]}}


def two(function: Function) -> mpc.ProgramFunction:
    @mpc.program
    def program(x: mpc.Private, y: mpc.Private) -> Any:
        return function(x, y)

    return program


# --- private values


def test_private_arithmetic_is_the_owners_own_in_floats() -> None:
    def spread(x: Any, y: Any) -> Any:
        own = mpc.sqrt((x - x.mean()) ** 2) / 3 + mpc.maximum(x, 1.5) - mpc.clip(x, 0, 1) + mpc.nonzero(x - 1)
        return mpc.reveal(mpc.share(own) + mpc.share(y))

    x = np.array([1.0, 2.0])
    own = np.abs(x - 1.5) / 3 + np.maximum(x, 1.5) - np.clip(x, 0, 1) + np.array([1.0, 1.0])
    assert np.allclose(results(two(spread), TWO)["result"], own + np.array([10, 20]), atol=2**-14)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda x, y: mpc.share(x + y), "private values of alice and bob meet; mpc.share"),
        (lambda x, y: np.concatenate([x, y]), "private values of alice and bob meet"),
        (lambda x, y: x + mpc.share(y), "a private value meets a secret one; share it first"),
        (lambda x, y: mpc.reveal(x), "takes a secret"),
        (lambda x, y: mpc.share(mpc.share(x)), "shared already"),
        (lambda x, y: mpc.share(np.ones(2)), "takes a private value"),
        (lambda x, y: mpc.share(x, range=(2, 1)), "finite lo ≤ hi"),
        (lambda x, y: mpc.share(x, range=(0, np.inf)), "finite lo ≤ hi"),
        (lambda x, y: mpc.share(x, range=3), "pair of numbers"),
        (lambda x, y: x[y], "index"),
        (lambda x, y: mpc.sigmoid(x), "takes a secret"),
        (lambda x, y: mpc.assume_range(x, 0, 1), "takes a secret"),
    ],
)
def test_what_owners_values_cannot_do(function: Function, text: str) -> None:
    refused(two(lambda x, y: mpc.reveal(function(x, y))), TWO, mpc.ProgramError, rf"test_mixing.py:\d+: .*{text}")


@pytest.mark.parametrize("function", [lambda x: x, mpc.share, lambda x: x * 2])
def test_only_revealed_values_are_returned(function: Function) -> None:
    refused(two(lambda x, y: (mpc.reveal(mpc.share(y)), function(x))), TWO, mpc.ProgramError, "reveal")


def test_a_program_reveals_something() -> None:
    refused(two(lambda x, y: 3), TWO, mpc.ProgramError, "reveals nothing")


# --- revealed values


def test_revealed_values_multiply_secrets_and_go_on_as_floats() -> None:
    def program(x: Any, y: Any) -> Any:
        s, t = mpc.share(x, range=(-8, 8)), mpc.share(y, range=(-32, 32))
        k = mpc.reveal(s)
        return {
            "secret": mpc.reveal(t * k + k - 1),
            "public": k * k + 2,
            "ratio": 1 / k + mpc.sqrt(k) - k / 4,
            "owner": mpc.reveal(mpc.share(y / k, range=(-32, 32))),
            "fact": {"rows": len(x), "names": ["a", "b"]},
            "count": x.shape[0],
        }

    got = results(two(program), TWO)
    assert list(got) == ["secret", "public", "ratio", "owner", "fact", "count"]
    assert got["secret"].tolist() == [10.0, 41.0]
    assert got["public"].tolist() == [3.0, 6.0]
    assert np.allclose(got["ratio"], [1.75, 0.5 + 2**0.5 - 0.5])
    assert got["owner"].tolist() == [10.0, 10.0]
    assert got["fact"] == {"rows": 2, "names": ["a", "b"]}


def test_a_float_of_revealed_numbers_never_multiplies_shares() -> None:
    """Rule 10: floats differ between machines."""

    def program(x: Any, y: Any) -> Any:
        k = mpc.reveal(mpc.share(x))
        return mpc.reveal(mpc.share(y) * (k / 3 + mpc.sqrt(k)))

    refused(two(program), TWO, mpc.ProgramError, r"test_mixing.py:\d+: .*only numbers that are integers in every")


def test_each_recipient_learns_its_own() -> None:
    def program(x: Any, y: Any) -> Any:
        s = mpc.share(x) + mpc.share(y)
        alone = mpc.reveal(s, to="alice")
        return {"all": mpc.reveal(s), "a": alone, "twice": alone * 2, "bc": mpc.reveal(s, to=["carol", "bob"])}

    run = mpc.emulate(two(program), TWO, suite=MASKED)
    assert {p: set(known) for p, known in run.results_of.items()} == {
        "alice": {"all", "a", "twice"},
        "bob": {"all", "bc"},
        "carol": {"all", "bc"},
    }
    traced = two(program).trace(TWO, ["alice", "bob", "carol"])
    everyone = [(o.name, o.to) for o in traced.outputs]
    assert everyone == [("all", "everyone"), ("a", ["alice"]), ("twice", ["alice"]), ("bc", ["bob", "carol"])]


@pytest.mark.parametrize(
    ("function", "error", "text"),
    [
        (lambda s: mpc.reveal(s, to="dora"), mpc.UsageError, "no such party; there are alice, bob, carol"),
        (lambda s: mpc.reveal(s, to="coordinator"), mpc.UsageError, "at least one computing party"),
        (lambda s: mpc.reveal(s, to=[]), mpc.UsageError, "at least one computing party"),
        (lambda s: mpc.reveal(s * mpc.reveal(s, to="bob")), mpc.ProgramError, "revealed to bob alone"),
        (lambda s: mpc.reveal(s, to="bob") + mpc.reveal(s, to="alice"), mpc.ProgramError, "alone meets one"),
    ],
)
def test_recipients_are_checked(function: Function, error: type[Exception], text: str) -> None:
    refused(two(lambda x, y: function(mpc.share(x))), TWO, error, text)


def test_the_coordinator_learns_what_names_it() -> None:
    program = two(lambda x, y: mpc.reveal(mpc.share(x) + mpc.share(y), to=["coordinator", "bob"]))
    traced = program.trace(TWO, ["alice", "bob"])
    assert traced.outputs[0].to == ["bob", "coordinator"]
    assert traced.plan(MASKED).reveals[0]["to"] == ["bob", "coordinator"]
    assert traced.plan(MASKED).bytes_sent == {"alice": 16, "bob": 0}


# --- tables and settings


PEOPLE = {"t": {"alice": {"age": [30.0, 40.0], "city": ["b", "a"]}, "carol": {"age": [50.0], "city": ["c"]}}}


def test_tables_per_party() -> None:
    @mpc.program
    def program(t: mpc.PerParty[mpc.Table]) -> Any:
        assert [x.owner for x in t] == ["alice", "carol"]
        total = sum(mpc.share(x["age"]).sum() for x in t)
        matrix = mpc.concatenate([mpc.share(x[["age"]], range=(0, 150)) for x in t])
        label = mpc.share(t[0].labels("city", t[0].classes("city")), range=(0, 1), scale=0)
        rest = mpc.share(t[1].drop("city"))
        return {
            "mean": mpc.reveal(total / sum(len(x) for x in t)),
            "gram": mpc.reveal(matrix.T @ matrix),
            "label": mpc.reveal(label),
            "rest": mpc.reveal(rest),
            "columns": list(t[0].columns),
            "classes": t[0].classes("city"),
        }

    got = results(program, PEOPLE)
    assert got["mean"] == 40
    assert got["gram"].tolist() == [[5000]]
    assert got["label"].tolist() == [1, 0]
    assert got["columns"] == ["age", "city"]
    assert got["classes"] == ["a", "b"]


@pytest.mark.parametrize(
    ("function", "error", "text"),
    [
        (lambda t: mpc.share(t["agee"]), mpc.UsageError, "alice has no column 'agee'; its columns are age, city"),
        (lambda t: t + 1, mpc.ProgramError, "a table has no arithmetic"),
        (lambda t: 2 * t, mpc.ProgramError, "a table has no arithmetic"),
        (lambda t: mpc.share(t), mpc.InputError, "alice: .*row 1 .*'city' is text"),  # noqa: PLW0108
        (lambda t: mpc.share(t["age"], range=(0, 35)), mpc.InputError, r"alice: .*row 2 .*'age' is outside .* 0 to 35"),
    ],
)
def test_what_tables_cannot_do(function: Function, error: type[Exception], text: str) -> None:
    @mpc.program
    def program(t: mpc.PerParty[mpc.Table]) -> Any:
        return mpc.reveal(function(t[0]))

    refused(program, PEOPLE, error, text)


def test_values_outside_the_range_are_clipped_if_the_program_says_so() -> None:
    program = two(lambda x, y: mpc.reveal(mpc.share(x, range=(0, 1.5), clip=True) + mpc.share(y)))
    assert results(program, TWO)["result"].tolist() == [11.0, 21.5]


def test_a_refusal_tells_the_others_nothing() -> None:
    program = two(lambda x, y: mpc.reveal(mpc.share(x) + mpc.share(y, range=(0, 4711.5))))
    with pytest.raises(mpc.InputError) as caught:
        mpc.emulate(program, {"x": TWO["x"], "y": {"bob": [1.0, 987654321.0]}}, suite=MASKED)
    assert "input 'y', element (1,)" in str(caught.value)
    assert caught.value.public == "bob: input refused"
    assert "987654321" not in str(caught.value)


@mpc.program
def scaled(
    x: mpc.Private, by: float, power: int = 1, mode: Literal["up", "down"] = "up", note: str | None = None
) -> Any:
    return {"r": mpc.reveal(mpc.share(x) * (by if mode == "up" else 1 / by)) ** power, "note": note or ""}


def test_settings_are_typed() -> None:
    inputs = {"x": {"alice": [1.0]}}
    assert results(scaled, inputs, by=2)["r"] == 2
    assert results(scaled, inputs, by=2, power=2, mode="down", note="n") == {"r": 0.25, "note": "n"}
    refused(scaled, inputs, mpc.UsageError, "needs the setting 'by'")
    refused(scaled, inputs, mpc.UsageError, "no setting 'pover'; did you mean 'power'", by=1, pover=2)
    refused(scaled, inputs, mpc.UsageError, "power takes int, not 1.5", by=1, power=1.5)
    refused(scaled, inputs, mpc.UsageError, "power takes int, not True", by=1, power=True)
    refused(scaled, inputs, mpc.UsageError, "by takes float, not '3'", by="3")
    refused(scaled, inputs, mpc.UsageError, "mode is one of up, down", by=1, mode="left")


@pytest.mark.parametrize(
    ("inputs", "parties", "text"),
    [
        ({}, 3, "needs the input 'x': --input x=PARTY:FILE.csv"),
        ({"x": {"alice": 1.0}, "xs": {"bob": 1.0}}, 3, "no input 'xs'; did you mean 'x'"),
        ({"x": {"zoe": 1.0}}, 3, "'zoe', who is no party"),
        ({"x": {"alice": 1.0, "bob": 1.0}}, 3, "has one owner, not 2: alice, bob"),
        ({"x": {"alice": 1.0}}, 1, "at least 2 parties"),
        ({"x": {"alice": 1.0}}, ["alice", "alice"], "at least 2 parties of different names"),
        ({"x": [1.0, 2.0, 3.0, 4.0]}, 3, "4 values for 3 parties"),
        ({"x": 1.0}, 3, "says who brings it"),
        ({"x": {"alice": "word"}}, 3, "a number, a numeric array"),
    ],
)
def test_inputs_are_checked(inputs: Any, parties: Any, text: str) -> None:
    refused(scaled, inputs, mpc.UsageError, text, parties, by=1)


def test_programs_call_programs() -> None:
    @mpc.program
    def outer(x: mpc.Private, y: mpc.Private) -> Any:
        return {**scaled(x, by=3), "y": mpc.reveal(mpc.share(y))}

    assert results(outer, TWO)["r"].tolist() == [3, 6]


def test_variable_parameters_are_refused() -> None:
    @mpc.program
    def program(*x: mpc.Private) -> Any:
        return mpc.reveal(mpc.share(x[0]))

    with pytest.raises(mpc.ProgramError, match="name every parameter"):
        _ = program.parameters
