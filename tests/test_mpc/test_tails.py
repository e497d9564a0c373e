"""mpc/tails.py: p-values as scipy's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

import mpc
from mpc.tails import chi_square_tail, student_tail

FREEDOMS = (0.5, 1, 2, 3, 5, 10, 87.25, 1000, 1e6)


@pytest.mark.parametrize("freedom", FREEDOMS)
def test_tails_are_scipys(freedom: float) -> None:
    x = np.concatenate([np.linspace(0, 5 * freedom, 40), [1e-9, freedom, freedom + 1, freedom + 2, 1e4]])
    np.testing.assert_allclose(chi_square_tail(x, freedom), stats.chi2.sf(x, freedom), rtol=1e-9, atol=1e-9)
    t = np.concatenate([np.linspace(-40, 40, 41), [0, 1e-9, 1, 1e4]])
    np.testing.assert_allclose(student_tail(t, freedom), 2 * stats.t.sf(np.abs(t), freedom), rtol=2e-9, atol=1e-300)


def test_at_the_ends() -> None:
    assert student_tail(np.inf, 3) == chi_square_tail(np.inf, 3) == 0
    assert student_tail(0.0, 3) == chi_square_tail(-1.0, 3) == 1
    assert np.isnan(
        [student_tail(1.0, 0), student_tail(np.nan, 2), chi_square_tail(1.0, 0), chi_square_tail(np.nan, 1)]
    ).all()


def test_of_what_is_revealed_and_of_nothing_secret() -> None:
    @mpc.program
    def known(x: mpc.Private) -> Any:
        t = mpc.reveal(mpc.share(x, range=(-64, 64)))
        return {"t": t, "p": mpc.student_tail(t, 5), "q": mpc.chi_square_tail(t * t, 2.5)}

    @mpc.program
    def secret(x: mpc.Private) -> Any:
        return mpc.student_tail(mpc.share(x), 5)

    x = np.array([1.5, -2.0])
    got = mpc.emulate(known, {"x": {"alice": x}}).results
    np.testing.assert_allclose(got["p"], 2 * stats.t.sf(np.abs(x), 5))
    np.testing.assert_allclose(got["q"], stats.chi2.sf(x * x, 2.5))
    assert mpc.simulate(known, {"x": {"alice": x}})["p"] == pytest.approx(got["p"])
    with pytest.raises(mpc.SecretError, match="reveal the statistic"):
        mpc.emulate(secret, {"x": {"alice": x}})
