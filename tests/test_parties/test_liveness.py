"""Signs of life, on a clock of the test."""

import pytest

from parties.liveness import Liveness, Sign, Silent, Suspect, Well


def heard(*peers, now=0.0):
    liveness = Liveness([1, 2, 3])
    for peer in peers:
        liveness.heard(peer, now, Sign())
    return liveness


def listen(liveness, start, end, step=0.25):
    """What is found while time passes and somebody looks."""
    found, now = [], start
    while now <= end:
        found += [(now, f) for f in liveness.tick(now)]
        now += step
    return found


def test_two_seconds_make_a_suspect_and_five_a_dead_one():
    assert listen(heard(1), 0.0, 10.0) == [(2.0, Suspect(1)), (5.0, Silent(1, 5.0))]


def test_a_suspect_that_is_heard_is_well():
    liveness = heard(1)
    assert [f for _, f in listen(liveness, 0.0, 3.0)] == [Suspect(1)]
    assert liveness.heard(1, 3.0, Sign()) == [Well(1)]
    assert liveness.heard(1, 3.1, Sign()) == []
    assert listen(liveness, 3.25, 4.75) == []


def test_whoever_was_never_heard_cannot_die():
    assert listen(heard(), 0.0, 60.0) == []


def test_a_dead_one_that_comes_back_can_die_again():
    liveness = heard(1)
    listen(liveness, 0.0, 6.0)
    assert not liveness.alive(1)
    liveness.heard(1, 6.0, Sign())
    assert liveness.alive(1)
    assert listen(liveness, 6.25, 12.0)[-1] == (11.0, Silent(1, 5.0))


def test_a_process_that_was_stopped_itself_accuses_nobody():
    liveness = heard(1, 2)
    listen(liveness, 0.0, 1.0)
    assert liveness.tick(21.0) == []  # twenty seconds in which nobody looked
    assert listen(liveness, 21.25, 25.75) == [(23.0, Suspect(1)), (23.0, Suspect(2))]


def test_the_broken_twin_that_does_not_know_it_slept_accuses_everybody():
    liveness = heard(1, 2)
    listen(liveness, 0.0, 1.0)
    liveness._looked = None
    assert {f.peer for f in liveness.tick(21.0)} == {1, 2}


def test_one_that_left_is_not_missed():
    liveness = heard(1, 2)
    liveness.forget(1)
    assert {f.peer for _, f in listen(liveness, 0.0, 10.0)} == {2}


def test_signs_are_due_every_half_second():
    liveness = heard()
    assert [now / 10 for now in range(31) if liveness.due(now / 10)] == pytest.approx(
        [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    )


def test_the_last_sign_counts():
    liveness = heard(1)
    liveness.heard(1, 1.0, Sign(41, True))
    assert liveness.sign(1) == Sign(41, True)
    assert liveness.sign(2) == Sign()
