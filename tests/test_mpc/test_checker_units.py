"""mpc/checker.py on results that depend on masks by a unit or more, whatever their rule states."""

from __future__ import annotations

from typing import Any

import pytest
from traced import shared

import mpc
from mpc.errors import LeakError
from protocols import MASKED


@pytest.mark.parametrize(("units", "rounding", "refused"), [(1, 0, True), (1, 1, False), (2, 1, True), (2, 2, True)])
def test_whatever_rounding_is_stated_one_unit_may_depend_on_masks(units: int, rounding: int, refused: bool) -> None:
    def turns(x: Any) -> Any:
        return x + units * mpc.deal(mpc.msb(mpc.mask(())))

    lowered = shared(mpc.protocol(turns, rounding=rounding), ()).lower(MASKED)
    if refused:
        with pytest.raises(LeakError, match="depends on its masks"):
            lowered.check()
    else:
        lowered.check()
