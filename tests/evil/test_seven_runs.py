"""The attack that began it: a dealer that was given another program makes an honest count say one party's exact value.

The program counts who is below 40. The dealer's has the same deals, under the same numbers and of the same shapes, but
each lane's mask is moved by a number of the attacker's: in one lane the count then compares with another limit, in all
others it never says yes. No party does anything else than it has agreed to, and seven runs are a binary search.
"""

from dataclasses import replace

import numpy as np
import pytest
from apart import unbound, uncompared
from hostile import ALICE, BOB, DEALER, NAMES, Hostile, Plot, Told

import mpc
import parties
from mpc import deal, masked_low, onehot
from mpc.errors import PeerError
from parties.terms import Binding
from protocols import compare

LIMIT = 40
AGES = {"alice": [33.0, 71.0, 52.0], "bob": [20.0, 90.0], "carol": [64.0, 5.0]}
DATA = {name: np.array(ages) for name, ages in AGES.items()}
VICTIM = (BOB, 1)
WIDTH = 8


@mpc.program
def count(x: mpc.PerParty[mpc.Private]):
    """How many are below the limit."""
    return {"count": mpc.reveal(sum((v < LIMIT).sum() for v in shared(x)))}


def shared(x):
    return [mpc.share(v, range=(0, 127), scale=0) for v in x]


@mpc.protocol(scale=lambda _: 0, range=lambda _: (0.0, 1.0))
def moved(x, width, by):
    """As `compare.negative`, of x + by: only what is dealt depends on it."""
    c, r = masked_low(x, width)
    r = r - np.array(by, dtype=object)
    return compare._sign(c, r, deal(onehot(r, width)), width)


def for_the_dealer(guess):
    """The count says whether the victim is below the guess."""

    @mpc.program
    def count(x: mpc.PerParty[mpc.Private]):
        total = 0
        for party, v in enumerate(shared(x)):
            by = [LIMIT - guess if (party, row) == VICTIM else LIMIT for row in range(v.shape[0])]
            total = total + moved(v - LIMIT, width=WIDTH, by=by).sum()
        return {"count": mpc.reveal(total)}

    return count.trace({"x": DATA}, NAMES).text


def searched(ask):
    """The largest number of 7 bits that the victim is not below; ask(guess): what the count says."""
    low, high = 0, 127
    for _ in range(7):
        middle = (low + high + 1) // 2
        low, high = (low, middle - 1) if ask(middle) else (middle, high)
    assert low == high
    return low


def asked_in_memory():
    """A coordinator and its parties, who are asked again and again."""
    usual = Told(count.trace({"x": DATA}, NAMES).text, Binding({"x": dict.fromkeys(NAMES, "x")}))
    plot = Plot(usual, [{"x": DATA[name]} for name in NAMES])
    runs = iter(range(1, 100))

    def ask(guess):
        plot.run({DEALER: replace(usual, text=for_the_dealer(guess))}, number=next(runs))
        return plot.told_coordinator.get(ALICE)

    return plot, ask


def test_the_twin_without_comparison_and_bound_seeds_gives_the_value_away_in_seven_runs(monkeypatch):
    uncompared(monkeypatch)
    unbound(monkeypatch)
    _, ask = asked_in_memory()
    stolen = searched(ask)
    print(f"bob's second age is {stolen}")
    assert stolen == AGES["bob"][1]


def test_seeds_that_are_bound_make_noise_of_it(monkeypatch):
    uncompared(monkeypatch)
    _, ask = asked_in_memory()
    assert any(ask(64) not in {0.0, 1.0} for _ in range(3))


def test_no_run_of_it_begins():
    plot, ask = asked_in_memory()
    assert ask(64) is None
    assert all("the dealer has another program (" in plot.lab.said[party][-1] for party in range(3))


class Teller(Hostile):
    """Of real processes: what the parties say, it hears."""

    deaf = False
    other = ""

    def begin(self, s, text, binding):
        told = {actor: Told(text, binding, s.id) for actor in s.actors}
        if self.other:
            told[DEALER] = replace(told[DEALER], text=self.other)
        yield from self.apart(s, told)


def test_real_processes_refuse_it_and_go_on():
    with parties.local(NAMES) as ps:
        brain = ps._liaison.brain
        brain.__class__ = Teller
        for other in ("", for_the_dealer(64), ""):
            brain.other = other
            if not other:
                assert ps.run(count, x=DATA).results == {"count": 3.0}
                continue
            with pytest.raises(
                PeerError, match=r"the dealer has another program \([0-9a-f]{12}\) than (alice|bob|carol) \("
            ):
                ps.run(count, x=DATA)
