"""Stored material serves the task that it was dealt for, once: what a coordinator gets that tries otherwise."""

import copy

import numpy as np
import pytest
from apart import unbound
from hostile import ALICE, BITS, BOB, CAROL, NAMES, Plot, Told, asked, text_of

from parties import records
from parties.home import AlreadyUsed
from parties.terms import Binding, in_words
from parties.wire import Type

SECRET = sum(bit << i for i, bit in enumerate(BITS))


def told(one_by_one):
    settings = {"one_by_one": one_by_one, "to": "everyone"}
    return Told(text_of(asked, settings), Binding({"flags": dict.fromkeys(NAMES, "flags")}, {}, in_words(settings)))


def stocked(usual):
    """A cluster with material for what all are told."""
    plot = Plot(usual).run({}, "deal", number=1)
    return plot, plot.lab.following.outcome.material


def left(plot):
    """How many messages with data have left a party."""
    return [plot.lab.sent[party, Type.DATA] for party in range(3)]


def last_words(plot):
    """Of every party, once none of them is in a run."""
    assert not any(plot.lab.bodies[party].brain.sessions for party in range(3))
    return [plot.lab.said[party][-1] for party in range(3)]


# --------------------------------------------------------------------------------- material dealt for another program


def for_another_program():
    """Everybody has agreed to show flags one by one, once; the material of it is kept, and used for a count."""
    plot, material = stocked(told(True))
    plot.base = told(False)
    return plot.run({}, "run", material)


def test_material_for_another_program_is_refused_by_every_party():
    plot = for_another_program()
    assert left(plot) == [0, 0, 0]
    refused = plot.refusals
    assert set(refused) == {0, 1, 2}
    for party, reason in refused.items():
        assert "dealt for other settings (" in reason, NAMES[party]
        assert 'one_by_one":true' in reason
        assert "privity deal makes some for this run's arguments" in reason


def test_the_twin_that_takes_it_gives_bobs_flags_away_unless_seeds_are_bound(monkeypatch):
    monkeypatch.setattr(records, "unlike", lambda task, stored: "")
    assert for_another_program().told_coordinator[ALICE] != SECRET
    unbound(monkeypatch)
    (seen,) = set(for_another_program().told_coordinator.values())
    print(f"instead of a count: bob's flags are {int(seen):b}")
    assert seen == SECRET


# ------------------------------------------------------------------------------------------------------------ replays


def opened(plot):
    """The bits that alice can put together from what all have sent of the first opening."""
    first = plot.lab.first
    shares = [first.get(link) for link in ((ALICE, BOB), (BOB, ALICE), (CAROL, ALICE))]
    return np.bitwise_xor.reduce([np.frombuffer(s, "u1") for s in shares]) & 1 if all(shares) else None


def replayed(restored):
    """A run on stored material; bob changes one flag; some parties are set back to before; the same material again.

    Returns the plot, and what alice can put together of the first opening in both runs.
    """
    plot, material = stocked(told(False))
    before = copy.deepcopy(plot.lab.homes)
    plot.run({}, "run", material, number=2)
    assert plot.told_coordinator[ALICE] == 4
    first = opened(plot)
    flags = np.array(BITS, float)[:, None]
    flags[1] = 1
    plot.lab.bodies[BOB].brain._store.offer("flags", flags)
    for party in restored:
        plot.lab.homes[party].__dict__.update(before[party].__dict__)
    plot.lab.first.clear()
    plot.lab.sent.clear()
    plot.run({}, "run", material, number=3)
    return plot, first, opened(plot)


@pytest.mark.parametrize("restored", [[], [ALICE], [ALICE, BOB]])
def test_material_that_any_party_has_used_serves_nobody(restored):
    plot, _, again = replayed(restored)
    assert left(plot) == [0, 0, 0]
    assert again is None
    refused = plot.refusals
    assert set(refused) == set(range(3)) - set(restored)
    assert all("as used; it is never used again" in reason for reason in refused.values())


def test_the_twin_whose_states_are_all_set_back_gives_the_changed_flag_away():
    """Nothing can notice that: SECURITY.md says so."""
    _, first, second = replayed([0, 1, 2])
    changed = (first ^ second).reshape(3, 6)
    print(f"bob's flags differ where this is 1: {changed[BOB]}")
    assert changed.tolist() == [[0] * 6, [0, 1, 0, 0, 0, 0], [0] * 6]


def test_the_ledger_refuses_it_too(monkeypatch):
    """Where the state of material was set back and the ledger was not."""
    plot, material = stocked(told(False))
    known = copy.deepcopy(plot.lab.homes[BOB].materials.known)
    plot.run({}, "run", material, number=2)
    plot.lab.homes[BOB].materials.known = known
    terms = plot.terms("run", bytes([3]) * 16, material, 3)
    home = plot.lab.homes[BOB]
    records.Begin(terms, "asked", "", {}, []).apply(home)
    with pytest.raises(AlreadyUsed, match="reserved before"):
        records.Take(terms).apply(home)
