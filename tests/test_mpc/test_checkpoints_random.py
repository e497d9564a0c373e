"""Programs at random, with loops, reveals, owners' values and handles, go on to the same results at the same price."""

from __future__ import annotations

import numpy as np
import pytest
from made import GIVEN, traced

import mpc
from mpc.memory import run_in_memory
from protocols import BEAVER, MASKED


@pytest.mark.parametrize("seed", range(12))
def test_random_programs_go_on(seed):
    suite = (MASKED, BEAVER)[seed % 2]
    program = traced(seed)
    made = program.with_checkpoints(1 + seed % 3)
    assert mpc.Program.parse(made.text).text == made.text
    before, lowered = program.lower(suite).cost(), made.lower(suite)
    lowered.check()
    plan = lowered.cost()
    assert (plan.bytes_sent, plan.dealt_bytes) == (before.bytes_sent, before.dealt_bytes)
    assert plan.rounds >= before.rounds  # more only where a loop waits for what stands before it
    full = run_in_memory(lowered, GIVEN)
    assert (full.rounds, full.bytes_sent) == (plan.rounds, plan.bytes_sent)
    for at in full.checkpoints:
        broken = run_in_memory(lowered, GIVEN, stop=at)
        rest = made.continued(*at)
        going = rest.lower(suite)
        going.check()
        found = run_in_memory(going, GIVEN, kept=broken.checkpoint(*at))
        assert found.checkpoints == [later for later in full.checkpoints if later > at]
        assert rest.keeps == made.keeps
        for party, results in full.results_of.items():
            assert found.results_of[party].keys() == results.keys()
            for name, value in results.items():
                np.testing.assert_allclose(found.results[name], value, rtol=0, atol=2.0**-6)
