"""Secure sum and mean: exact, one round, whatever the number of parties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mpc
from mpc.memory import names_of
from protocols import catalog, suites

SUM, MEAN = catalog["secure-sum"], catalog["mean"]
INTEGERS = st.integers(-(2**40), 2**40)


@pytest.mark.parametrize("suite", suites.values(), ids=suites)
@pytest.mark.parametrize("n", range(2, 9))
def test_a_sum_of_integers_is_exact(n, suite):
    values = np.random.default_rng(n).integers(-(2**40), 2**40, (n, 50), endpoint=True)
    run = mpc.emulate(SUM, {"values": list(values)}, n, suite=suite)
    np.testing.assert_array_equal(run.results["sum"], values.sum(axis=0))
    assert run.rounds == 1
    assert run.bytes_sent == dict.fromkeys(names_of(n), 8 * 50 * (n - 1))
    assert not any(run.dealt_bytes.values())
    for known in run.results_of.values():
        np.testing.assert_array_equal(known["sum"], run.results["sum"])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(INTEGERS, min_size=3, max_size=3), min_size=2, max_size=5))
def test_any_integers(rows):
    run = mpc.emulate(SUM, {"values": [np.array(r) for r in rows]}, len(rows))
    assert run.results["sum"].tolist() == [float(sum(column)) for column in zip(*rows, strict=True)]


def test_a_scalar_and_a_matrix():
    assert mpc.emulate(SUM, {"values": [1, 2, -5]}, 3).results == {"sum": -2.0}
    grids = [np.arange(6).reshape(2, 3) * k for k in (1, 10)]
    np.testing.assert_array_equal(mpc.emulate(SUM, {"values": grids}, 2).results["sum"], sum(grids))


def test_a_table_of_one_column_is_its_column():
    tables = [{"pay": ["10", "20.5"]}, {"pay": ["1", "-2"]}]
    np.testing.assert_array_equal(mpc.emulate(SUM, {"values": tables}, 2).results["sum"], [11, 18.5])


def test_fractions_are_rounded_where_they_are_shared():
    values = np.random.default_rng(1).uniform(-1e3, 1e3, (3, 200))
    run = mpc.emulate(SUM, {"values": list(values)}, 3, limit=1e3)
    assert np.max(np.abs(run.results["sum"] - values.sum(axis=0))) <= 3 * 2.0**-17
    np.testing.assert_array_equal(run.results["sum"], mpc.simulate(SUM, {"values": list(values)}, 3, limit=1e3)["sum"])


def test_the_mean_over_all_rows_of_all_parties():
    rng = np.random.default_rng(2)
    tables = [rng.integers(-1000, 1000, (rows, 4)) for rows in (3, 10, 1)]
    run = mpc.emulate(MEAN, {"values": tables}, 3)
    np.testing.assert_allclose(run.results["mean"], np.concatenate(tables).mean(axis=0), rtol=0, atol=2.0**-16)
    assert run.results["rows"] == 14
    assert run.rounds == 1
    assert run.bytes_sent == dict.fromkeys(names_of(3), 8 * 4 * 2)


def test_the_mean_of_a_column_is_a_number():
    run = mpc.emulate(MEAN, {"values": [np.array([1.0, 2.0]), np.array([6.0])]}, 2)
    assert run.results == {"mean": 3.0, "rows": 3}


def test_who_brings_nothing_still_computes():
    run = mpc.emulate(SUM, {"values": {"alice": [1.0], "carol": [2.0]}}, 3)
    assert run.results_of["bob"]["sum"] == pytest.approx([3.0])


def test_refusals():
    with pytest.raises(mpc.ShapeError, match=r"same shape; here alice \(2,\), bob \(3,\)"):
        mpc.emulate(SUM, {"values": [np.zeros(2), np.zeros(3)]}, 2)
    with pytest.raises(mpc.UsageError, match="no party has a row"):
        mpc.emulate(MEAN, {"values": [np.zeros((0, 2)), np.zeros((0, 2))]}, 2)
    with pytest.raises(mpc.UsageError, match="only alice brings data"):
        mpc.emulate(SUM, {"values": {"alice": [1.0]}}, 2)
    with pytest.raises(
        mpc.InputError, match=r"bob: input 'values', element \(1,\) is outside the declared range"
    ) as caught:
        mpc.emulate(SUM, {"values": [[1, 2], [1, 2**41]]}, 2)
    assert caught.value.public == "bob: input refused"
    assert str(2**41) not in str(caught.value)
