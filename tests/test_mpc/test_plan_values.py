"""What a plan says of the secret values: scale, range, truncations and openings, counted by hand here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mpc
from protocols import BEAVER, MASKED


@mpc.program
def steps(x: mpc.Private, y: mpc.Private, times: int = 5):
    a, b = mpc.share(x, range=(-4, 4)), mpc.share(y, range=(-2, 2))

    def step(i: Any, s: Any) -> Any:
        return mpc.assume_range(mpc.rescale(s * b, 16), -8, 8)

    return mpc.reveal(mpc.repeat(times, step, a))


def planned(suite: Any, **settings: Any) -> Any:
    given = {"x": {"alice": np.zeros(3)}, "y": {"bob": np.zeros(3)}}
    return steps.trace(given, ["alice", "bob"], settings).plan(suite)


def test_scale_and_range_of_every_secret_value_in_order():
    values = planned(MASKED).values
    assert [(v["op"], v["scale"], v["shape"]) for v in values] == [
        ("share", 16, [3]), ("share", 16, [3]), ("mul", 32, [3]), ("truncate", 16, [3]), ("assume", 16, [3]),
        ("repeat", 16, [3]),
    ]  # fmt: skip
    ulp = 2.0**-16
    assert [(v["lo"], v["hi"]) for v in values] == [
        (-4, 4), (-2, 2), (-16, 16), (-16 - ulp, 16 + ulp), (-8, 8), (-8, 8),
    ]  # fmt: skip
    assert all(v["where"].startswith("test_plan_values.py:") for v in values)
    assert len({v["where"] for v in values}) == 3


@pytest.mark.parametrize(("suite", "opened"), [(MASKED, 1), (BEAVER, 3)], ids=["masked", "beaver"])
@pytest.mark.parametrize("times", [1, 5])
def test_truncations_and_openings_are_counted_by_element_and_step(suite, opened, times):
    """Masked: the product. Beaver: both factors and the product; y's is the same every step or not."""
    plan = planned(suite, times=times)
    assert plan.truncations == 3 * times
    assert plan.opened == 3 * opened * times
