"""mpc/pricing.py: the plan is what the run costs, to the byte, for every program, suite and number of parties."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from runs import CASES, prepared, products, quiet
from traced import SUITES

import mpc
from mpc.ir import Kind
from mpc.memory import names_of, run_in_memory
from mpc.pricing import AHEAD, BASE_MEMORY
from mpc.schedule import schedule
from mpc.testing import deterministic_entropy

# --- plan and run


@pytest.mark.parametrize("suite", SUITES, ids=lambda s: s.name)
@pytest.mark.parametrize(("program", "inputs", "names", "settings"), CASES)
def test_the_plan_is_what_the_run_costs(program: Any, inputs: Any, names: Any, settings: Any, suite: Any) -> None:
    lowered, owned = prepared(program, inputs, names, settings, suite)
    lowered.check()
    plan = lowered.cost()
    run = run_in_memory(lowered, owned, entropy=deterministic_entropy(len(names)))
    assert plan.rounds == run.rounds
    assert plan.bytes_sent == run.bytes_sent
    assert plan.dealt_bytes == run.dealt_bytes
    meaning = lowered.program.plain(owned)
    assert list(run.results_of[names[0]]) == lowered.program.order
    for name, value in run.results.items():
        if isinstance(value, np.ndarray | float):
            assert np.allclose(value, meaning[name], rtol=0, atol=2**-7), name


def test_input_bytes_are_the_owners_sendings() -> None:
    """Products need masked wires, sums need no message."""
    for n in (2, 5):
        names = names_of(n)
        inputs = {"x": {p: np.ones((2, 2)) for p in names}}
        plan = prepared(products, inputs, names, {})[0].cost()
        assert [plan.input_bytes[p] for p in names[:2]] == [32 * (n - 1)] * 2
        assert sum(prepared(quiet, inputs, names, {})[0].cost().input_bytes.values()) == 0


def test_a_party_alone_with_its_reveal_pays_nothing() -> None:
    @mpc.program
    def program(x: mpc.PerParty[mpc.Private]) -> Any:
        return mpc.reveal(mpc.share(x[0]) + mpc.share(x[1]), to="alice")

    inputs = {"x": {"alice": 1.0, "bob": 2.0}}
    lowered, owned = prepared(program, inputs, names_of(3), {})
    assert lowered.cost().bytes_sent == {"alice": 0, "bob": 8, "carol": 8}
    assert run_in_memory(lowered, owned).bytes_sent == lowered.cost().bytes_sent


def test_by_line_adds_up() -> None:
    lowered, _ = prepared(products, {"x": {p: np.ones((2, 2)) for p in ("alice", "bob")}}, ["alice", "bob"], {})
    plan = lowered.cost()
    assert sum(line.get("dealt_bytes", 0) for line in plan.by_line.values()) == sum(plan.dealt_bytes.values())
    assert sum(line.get("rounds", 0) for line in plan.by_line.values()) == plan.rounds
    assert all(where.startswith("runs.py:") for where in plan.by_line)


def test_what_is_written_twice_is_computed_once() -> None:
    @mpc.program
    def twice(x: mpc.Private) -> Any:
        z = mpc.share(x, range=(-1, 1))
        return mpc.reveal(z[3:5] * z[3:5] + (z[3:5] * z[3:5] + z[3:5]) + mpc.relu(z[3:5]) + mpc.relu(z[3:5]))

    @mpc.program
    def once(x: mpc.Private) -> Any:
        z = mpc.share(x, range=(-1, 1))[3:5]
        square, above = z * z, mpc.relu(z)
        return mpc.reveal(square + (square + z) + above + above)

    plans = [p.trace({"x": {"alice": np.ones(6)}}, ["alice", "bob"]).plan("masked") for p in (twice, once)]
    assert plans[0].bytes_sent == plans[1].bytes_sent
    assert plans[0].dealt_bytes == plans[1].dealt_bytes


def test_what_is_shared_twice_is_shared_twice() -> None:
    @mpc.program
    def both(x: mpc.Private) -> Any:
        return mpc.reveal(mpc.share(x) + mpc.share(x))

    text = both.trace({"x": {"alice": np.ones(2)}}, ["alice", "bob"]).text
    assert text.count(" = share(") == 2


def test_memory_is_that_of_what_lives_at_once() -> None:
    """A chain of local steps holds a few values, however long; views keep what they look at."""

    def peak(steps: int, view: bool) -> int:
        @mpc.program
        def chain(x: mpc.Private) -> Any:
            y = total = mpc.share(x, range=(-1, 1))
            for k in range(steps):
                y = mpc.bounded(y + np.full(5_000, 1.0 + k), -99, 99)
                total = total + y[:1] if view else y
            return mpc.reveal(total[:1])

        plan = chain.trace({"x": {"alice": mpc.Schema((5_000,))}}, ["alice", "bob"]).plan("masked")
        return max(plan.peak_memory_bytes.values())

    assert peak(40, view=False) == peak(4, view=False)
    assert peak(40, view=True) - peak(4, view=True) < 3 * 8 * 5_000


def test_spent_values_are_forgotten_where_they_were_read_last() -> None:
    @mpc.program
    def program(x: mpc.Private) -> Any:
        return mpc.reveal(mpc.sqrt(mpc.share(x, range=(0, 64))))

    lowered, _ = prepared(program, {"x": {"alice": np.ones(3)}}, ["alice", "bob"], {})
    for slot in schedule(lowered.block):
        for i, e in enumerate(slot.local):
            after = (*slot.local[i + 1 :], *slot.exchange, *slot.loops)
            dealer = [o for o in after if o.op == "deal" or o.outputs[0].type.kind is Kind.DEALER]
            later = {v for other in after if other not in dealer and other.op != "send" for v in other.inputs}
            assert not later & set(slot.party.after.get(e, ()))
            assert not {v for other in dealer for v in other.inputs} & set(slot.dealer.after.get(e, ()))
    spent = [v for slot in schedule(lowered.block) for side in (slot.party, slot.dealer) for v in side.after.values()]
    assert sum(map(len, spent)) > 0.8 * sum(len(e.outputs) for e in lowered.block.equations)


def test_what_may_be_dealt_ahead_is_in_the_plan() -> None:
    @mpc.program
    def compared(x: mpc.Private) -> Any:
        return mpc.reveal((mpc.share(x, range=(0, 9)) > 4).sum())

    for elements in (10, 10**5, 10**7):
        plan = compared.trace({"x": {"alice": mpc.Schema((elements,))}}, ["alice", "bob"]).plan("masked")
        floor = {p: BASE_MEMORY + min(AHEAD, dealt) for p, dealt in plan.dealt_bytes.items()}
        assert all(plan.peak_memory_bytes[p] > least for p, least in floor.items())
        assert (max(plan.dealt_bytes.values()) > AHEAD) is (elements == 10**7)
