"""mpc/magnitudes.py: the size of data as a public power of two, and what it tells of whom."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import mpc
from mpc.memory import names_of, run_in_memory
from mpc.testing import verify
from mpc.testing.many import look
from protocols import suites

EXPONENTS = [
    (0.0, -1080), (1.0, 0), (math.nextafter(1.0, 2.0), 4), (16.0, 4), (17.0, 8), (-16.5, 8), (0.0625, -4), (1e-12, -36),
    (1e12, 40), (5e-324, -1072), (1.7976931348623157e308, 1024), (-1.7976931348623157e308, 1024), (2.0**1023, 1024),
]  # fmt: skip


@mpc.program
def size(x: mpc.Private) -> Any:
    return mpc.magnitude(x)


@mpc.program
def sizes(data: mpc.PerParty[mpc.Private]) -> Any:
    e = mpc.magnitude(data, axis=0)
    shared = [mpc.share(mpc.ldexp(x, -e), range=(-1, 1), scale=40) for x in data]
    total = mpc.reveal(mpc.concatenate(shared).sum(axis=0), bits=40)
    return {"e": e, "total": mpc.ldexp(total, e)}


@mpc.program
def of_each(data: mpc.PerParty[mpc.Private]) -> Any:
    """The twin: each owner's own exponents are revealed."""
    own = [mpc.reveal(mpc.share(mpc.exponent(x, axis=0) / 4, range=(-270, 256), scale=0), bits=0) for x in data]
    return {f"e{i}": 4 * e for i, e in enumerate(own)}


@pytest.mark.parametrize(("value", "e"), EXPONENTS)
def test_the_exponent_is_the_least_multiple_of_four_that_bounds_the_value(value: float, e: int) -> None:
    for given in (value, np.array([0.0, value, value / 3])):
        run = mpc.emulate(size, {"x": {"alice": given}}, 2)
        assert run.results == mpc.simulate(size, {"x": {"alice": given}}) == {"result": float(e)}
        assert (run.rounds, run.bytes_sent) == (1, {"alice": 8, "bob": 8})
    assert math.ldexp(abs(value), -e) <= 1
    assert not value or math.ldexp(abs(value), -e) > 2.0**-4


def test_of_nothing_it_is_that_of_zeros() -> None:
    assert mpc.emulate(size, {"x": {"alice": np.zeros((0, 3))}}).results == {"result": -1080.0}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_with_its_place(bad: float) -> None:
    table = {"a": [1.0, 2.0], "b": [3.0, bad]}

    @mpc.program
    def of_table(t: mpc.Table) -> Any:
        return mpc.magnitude(t[["a", "b"]], axis=0)

    with pytest.raises(mpc.InputError, match=r"row 2 .* column 'b'"):
        mpc.emulate(of_table, {"t": {"alice": table}})
    with pytest.raises(mpc.InputError, match=r"input 'x', element \(1,\) is not finite"):
        mpc.emulate(size, {"x": {"bob": np.array([1.0, bad])}})


@pytest.mark.parametrize("suite", suites.values(), ids=suites)
@pytest.mark.parametrize(
    ("n", "rounds", "most"), [(2, (6, 5), (70, 70)), (3, (9, 8), (216, 216)), (5, (12, 11), (672, 736))]
)
def test_one_exponent_for_each_column_of_all_owners(
    n: int, suite: Any, rounds: tuple[int, int], most: tuple[int, int]
) -> None:
    rng = np.random.default_rng(n)
    data = [rng.normal(size=(3, 2)) * [1e-9 * 10.0**i, 1e12] for i in range(n)]
    run = mpc.emulate(sizes, {"data": data}, n, suite=suite)
    top = np.max(np.abs(np.concatenate(data)), axis=0)
    np.testing.assert_array_equal(run.results["e"], 4 * np.ceil(np.log2(top) / 4))
    np.testing.assert_allclose(run.results["total"], np.concatenate(data).sum(axis=0), rtol=1e-9)
    plain = mpc.simulate(sizes, {"data": data}, n)
    for name, value in plain.items():
        np.testing.assert_array_equal(run.results[name], value)
    plan = sizes.trace({"data": dict(zip(names_of(n), data, strict=True))}).plan(suite)
    assert (run.rounds, run.bytes_sent, run.dealt_bytes) == (plan.rounds, plan.bytes_sent, plan.dealt_bytes)
    at = list(suites).index(suite.name)
    assert (run.rounds, max(run.bytes_sent.values())) == (rounds[at], most[at])


def test_text_and_plan_are_those_of_every_unit() -> None:
    small, large = ({"data": {p: np.full((2, 2), s) for p in ("alice", "bob")}} for s in (1e-300, 1e300))
    assert sizes.trace(small).text == sizes.trace(large).text


def test_declared_ranges_reveal_nothing() -> None:
    @mpc.program
    def of_table(data: mpc.PerParty[mpc.Table]) -> Any:
        return mpc.magnitude([t[["a", "b", "c"]] for t in data], axis=0)

    table = {"a": [150.0], "b": [3.0], "c": [1e-7]}
    given = {"data": {"alice": table, "bob": table}}
    some = of_table.declaring({"a": (0, 200), "c": (-1e-6, 0.0)})
    (shown,) = some.trace(given).lower().reveals
    assert (shown["name"], shown["shape"]) == ("magnitude of b", [1])
    (shown,) = of_table.trace(given).lower().reveals
    assert shown["name"] == "magnitude of a, b, c"
    everything = of_table.declaring({"a": (0, 200), "b": (0, 1e-300), "c": (-1e-6, 0.0)})
    with pytest.raises(mpc.ProgramError, match="reveals nothing"):
        everything.trace(given)
    table["c"] = [-1e-7]
    np.testing.assert_array_equal(mpc.emulate(some, given).results["result"], [8.0, 4.0, -16.0])

    @mpc.program
    def within(x: mpc.Private) -> Any:
        e = mpc.magnitude(mpc.within(x, -3, 20))
        return {"e": e, "x": mpc.reveal(mpc.share(x, range=(-3, 20)))}

    traced = within.trace({"x": {"alice": np.zeros(2)}}, ["alice", "bob"])
    assert [shown["name"] for shown in traced.lower().reveals] == ["x"]
    assert mpc.emulate(within, {"x": {"alice": np.zeros(2)}}).results["e"] == 8.0


def test_powers_of_two_are_multiplied_exactly() -> None:
    @mpc.program
    def there_and_back(x: mpc.Private) -> Any:
        e = mpc.magnitude(x)
        return {"x": mpc.ldexp(mpc.reveal(mpc.share(mpc.ldexp(x, -e), range=(-1, 1), scale=60), bits=60), e)}

    for value in (0.1, -3e-310, 1.5e308, 5e-324, 0.0):
        assert mpc.emulate(there_and_back, {"x": {"alice": value}}).results["x"] == value

    @mpc.program
    def half(x: mpc.Private) -> Any:
        return mpc.reveal(mpc.share(mpc.ldexp(x, 0.5), range=(-9, 9)))

    with pytest.raises(mpc.InputError, match="whole numbers e, and one is not"):
        mpc.emulate(half, {"x": {"alice": 1.0}})


@mpc.program
def largest(data: mpc.PerParty[mpc.Private]) -> Any:
    return {"e": mpc.magnitude(list(data), axis=0)}


def _revealed(program: Any, data: list[Any], suite: str) -> dict[str, list[int]]:
    """Every number that a run makes known, by the name of its reveal."""
    given = {"data": dict(zip(names_of(len(data)), data, strict=True))}
    lowered = program.trace(given).lower(suite)
    _, seen = look(lowered, lambda low, **others: run_in_memory(low, given, **others))
    return {name: words.ravel().tolist() for name, words in seen.revealed.items()}


@pytest.mark.parametrize("suite", suites)
def test_only_the_largest_exponent_of_the_owners_is_seen(suite: str) -> None:
    """Whoever has the largest values: all that is revealed is the same. The twin tells a third party who it is."""
    one, two = np.array([[3e-7, 5.0], [1e-9, 2.0]]), np.array([[100.0, -1e-20], [3.0, 0.0]])
    third = np.zeros((1, 2))
    known = [_revealed(largest, data, suite) for data in ([one, two, third], [two, one, third], [two, two, third])]
    assert known[0] == known[1] == {"magnitude of data": [2, 1]}
    assert known[2] == {"magnitude of data": [2, (1 << 64) - 16]}
    told = [_revealed(of_each, data, suite) for data in ([one, two, third], [two, one, third])]
    assert told[0] != told[1]
    assert [2 in v for v in told[0].values()] == [False, True, False], "all see that bob has the largest values"


def test_views_are_independent_of_what_no_maximum_tells() -> None:
    one, two = np.array([[3e-7, 5.0], [1e-9, 2.0]]), np.array([[100.0, -1e-20], [3.0, 0.0]])
    for suite in suites:
        verify(
            largest, suite=suite, parties=(2,), inputs={"data": {"alice": one, "bob": two}},
            other={"data": {"alice": two, "bob": one}}, cost={"rounds": 5 if suite == "masked" else 4},
        )  # fmt: skip
    verify(
        largest, parties=(3, 5), inputs={"data": {"alice": one, "bob": two, "carol": one}},
        other={"data": {"alice": two / 8, "bob": one, "carol": two}},
    )  # fmt: skip


def test_refusals_of_what_is_no_private_value() -> None:
    def refused(make: Any, error: type[Exception], words: str) -> None:
        with pytest.raises(error, match=words):
            mpc.program(make).trace({"x": {"alice": np.zeros((2, 2))}}, ["alice", "bob"])

    def secret(x: mpc.Private) -> Any:
        return mpc.magnitude(mpc.share(x))

    def known(x: mpc.Private) -> Any:
        return mpc.ldexp(mpc.share(x), 3)

    def number(x: mpc.Private) -> Any:
        return mpc.magnitude([x, 3.0])

    def rows(x: mpc.Private) -> Any:
        return mpc.magnitude([x, x[:, :1]], axis=0)

    def of_secret(x: mpc.Private) -> Any:
        return mpc.exponent(mpc.share(x))

    refused(secret, mpc.SecretError, "before they are shared")
    refused(known, mpc.SecretError, "before they are shared, or after they are revealed")
    refused(of_secret, mpc.SecretError, "before it is shared")
    refused(number, mpc.ProgramError, "takes private values")
    refused(rows, mpc.ShapeError, r"axis 0 and shapes \(2, 2\), \(2, 1\)")
