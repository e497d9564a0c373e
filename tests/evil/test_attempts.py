"""All attempts at a run have one program: what one program has put away is never taken for another's."""

import numpy as np
from hostile import BOB, COORDINATOR, NAMES, Plot, Told

import mpc
from parties.records import Recall
from parties.terms import Binding

AGES = [33.0, 71.0, 52.0]
RUN = "1a" * 16
ZEROS = {name: np.zeros(3) for name in NAMES}
OFFERS = [{"x": np.array(AGES) if party == BOB else np.zeros(3)} for party in range(3)]


def looped(start, shown):
    """A program whose loop keeps its state as it is, with a checkpoint before each step."""

    @mpc.program
    def looped(x: mpc.PerParty[mpc.Private]):
        ages = sum(mpc.share(v, range=(0, 127), scale=0) for v in x)
        same = mpc.repeat(3, lambda _, s: mpc.assume_range(s + 0 * ages, 0, 999), start(ages))
        return {"shown": mpc.reveal(shown(same))}

    return looped.trace({"x": ZEROS}, NAMES).with_checkpoints(1)


def total_everywhere(ages):
    return mpc.concatenate([ages.sum().reshape((1,))] * 3)


SUMS_FIRST = looped(total_everywhere, lambda s: s)  # shows the sum, three times
SUMS_LAST = looped(lambda ages: ages, lambda s: s.sum())  # shows the sum, once


def attempts():
    """A run that shows the sum, broken off; another that shows it too, until a checkpoint; then the first goes on."""
    plot = Plot(Told(SUMS_FIRST.text, Binding({"x": dict.fromkeys(NAMES, "x")})), OFFERS)
    brain = plot.lab.bodies[COORDINATOR].brain
    brain.breaks = True
    plot.run({}, number=1, run=RUN)
    plot.base = Told(SUMS_LAST.text, plot.base.binding)
    second = plot.run({}, number=2, run=RUN, attempt=2).refusals
    brain.breaks = False
    epoch = (2 << 32) + 1
    step = next(iter(plot.lab.homes[BOB].checkpoints.kept.values()))[0].iteration
    plot.base = Told(SUMS_FIRST.continued(0, step).text, Binding())
    plot.run({}, number=3, run=RUN, attempt=3, epoch=epoch)
    return plot, second


def test_each_of_them_shows_the_sum_alone():
    for program in (SUMS_FIRST, SUMS_LAST):
        seen = Plot(Told(program.text, Binding()), OFFERS).run({}).told_coordinator[BOB]
        assert set(np.ravel(seen)) == {sum(AGES)}


def test_an_attempt_with_another_program_is_refused():
    plot, second = attempts()
    words = "was given another program or suite than run 1a1a1a1a1a began with"
    assert second == dict.fromkeys(range(3), words)
    assert plot.told_coordinator == {}
    assert set(plot.refusals) == {0, 1, 2}
    assert all("no checkpoint of epoch" in why for why in plot.refusals.values())


def test_the_twin_that_takes_it_shows_every_age(monkeypatch):
    monkeypatch.setattr(Recall, "_stored", lambda self, home: home.runs.get(self.terms.run))
    seen = attempts()[0].told_coordinator[BOB]
    print(f"bob's ages are {seen}")
    assert list(seen) == AGES
