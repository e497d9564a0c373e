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


def knock(liveness, start, end, answer, step=0.1):
    """Knock whenever that is due; when, and when the peer counted as dead."""
    knocks, now = [], start
    while now <= end:
        for peer in liveness.doubtful(round(now, 1)):
            knocks.append(round(now, 1))
            if liveness.knocked(peer, round(now, 1), refused=answer(round(now, 1))):
                return knocks, round(now, 1)
        now += step
    return knocks, None


def test_a_port_that_refuses_for_a_second_after_a_missed_sign_is_a_death():
    knocks, dead = knock(heard(1), 0.0, 10.0, lambda _: True)
    assert knocks[0] == 0.8
    assert 1.8 <= dead <= 2.0


def test_whoever_was_never_heard_is_not_knocked_at():
    assert knock(heard(), 0.0, 60.0, lambda _: True) == ([], None)


def test_a_port_that_takes_knocks_is_knocked_at_rarely_and_is_no_death():
    knocks, dead = knock(heard(1), 0.0, 4.9, lambda _: False)
    assert dead is None
    assert knocks == pytest.approx([0.8, 1.8, 2.8, 3.8, 4.8])


def test_one_knock_that_is_taken_begins_the_second_again():
    _, dead = knock(heard(1), 0.0, 10.0, lambda now: now != 1.4)
    assert dead is None or dead > 3.3


def test_a_sign_of_life_ends_the_knocking_and_what_comes_late_is_ignored():
    liveness = heard(1)
    assert liveness.doubtful(1.0) == [1]
    assert liveness.doubtful(1.5) == []  # one knock at a time
    assert not liveness.knocked(1, 1.5, refused=True)
    liveness.heard(1, 1.6, Sign())
    assert not liveness.knocked(1, 2.0, refused=True)
    assert not liveness.knocked(1, 2.3, refused=True)
    assert liveness.doubtful(2.2) == []
    assert liveness.doubtful(2.5) == [1]


def test_a_peer_that_has_greeted_from_another_port_begins_anew():
    liveness = heard(1)
    assert knock(liveness, 0.0, 1.5, lambda _: True)[1] is None
    liveness.moved(1)
    _, dead = knock(liveness, 1.6, 10.0, lambda _: True)
    assert dead >= 2.6


def test_whoever_slept_itself_counts_no_refusals_from_before():
    liveness = heard(1)
    liveness.tick(0.0)
    knock(liveness, 0.0, 1.5, lambda _: True)
    assert liveness.tick(20.0) == []
    assert liveness.doubtful(20.1) == []
    _, dead = knock(liveness, 20.0, 30.0, lambda _: True)
    assert dead >= 21.8


# ------------------------------------------------------------------------------------------------ to the very moment


def counted(*refusals, at=10.0):
    """When the peer, heard at some time, counts as dead, if its port refuses at these moments after that."""
    liveness = heard(1, now=at)
    return [after for after in refusals if liveness.knocked(1, at + after, refused=True)]


@pytest.mark.parametrize(
    ("refusals", "dead"),
    [
        ((0.5, 1.5), []),  # the first was before anything was missed
        ((0.75, 1.75), []),
        ((1.0, 1.75), []),
        ((1.0, 2.0), [2.0]),
        ((1.0, 1.5, 2.0), [2.0]),
        ((1.0, 3.0), [3.0]),
        ((1.0, 2.0, 3.0, 4.0), [2.0]),  # whoever is dead has to be heard anew
    ],
)
def test_refusals_count_from_the_first_after_a_missed_sign(refusals, dead):
    assert counted(*refusals) == dead


def test_a_sign_is_missed_at_the_very_moment():
    liveness = heard(1)
    assert liveness.doubtful(0.79) == []
    assert liveness.doubtful(0.8) == [1]
    assert not liveness.knocked(1, 0.8, refused=True)
    assert liveness.knocked(1, 1.8, refused=True)


@pytest.mark.parametrize("refused", [True, False])
def test_a_knock_at_whoever_was_never_heard_says_nothing(refused):
    liveness = Liveness([1])
    for peer in (1, 9):
        for now in (0.0, 1.0, 2.0):
            assert not liveness.knocked(peer, now, refused=refused)
        assert not liveness.alive(peer)
    assert liveness.doubtful(9.0) == []


@pytest.mark.parametrize(("refused", "seconds"), [(True, 0.25), (False, 1.0)])
def test_the_next_knock_is_due_some_time_after_the_last(refused, seconds):
    liveness = heard(1, 2)
    assert liveness.doubtful(10.0) == [1, 2]
    for peer in (1, 2):
        assert not liveness.knocked(peer, 10.0, refused=refused)
    assert liveness.doubtful(10.0 + seconds - 0.01) == []
    assert liveness.doubtful(10.0 + seconds) == [1, 2]


def test_a_sign_of_life_puts_the_next_knock_off():
    liveness = heard(1, now=10.0)
    assert liveness.doubtful(10.5) == []
    liveness.heard(1, 10.5, Sign())
    assert liveness.doubtful(11.25) == []
    assert liveness.doubtful(11.5) == [1]


def test_whoever_has_greeted_anew_is_knocked_at_at_once_and_the_others_are_not():
    liveness = heard(1, 2, now=10.0)
    liveness.moved(1)
    liveness.moved(9)
    assert liveness.doubtful(10.1) == [1]
    assert not liveness.alive(9)
    assert liveness.tick(10.1) == []


def test_alive_is_whoever_was_heard():
    liveness = heard(1)
    assert [liveness.alive(peer) for peer in (1, 2, 9)] == [True, False, False]
    assert [liveness.sign(peer) for peer in (1, 2, 9)] == [Sign()] * 3
    assert Sign() == Sign(0, False)


def test_the_first_expectation_counts():
    liveness = Liveness([1], startup=3.0)
    liveness.expect(1, 0.0)
    liveness.expect(1, 2.0)
    liveness.expect(7, 1.0)
    assert listen(liveness, 0.0, 9.0) == [(3.0, Silent(1, 3.0)), (4.0, Silent(7, 3.0))]


def test_whoever_dies_soon_is_no_suspect_before():
    liveness = Liveness([1], dead=1.0)
    liveness.heard(1, 0.0, Sign())
    assert listen(liveness, 0.0, 9.0) == [(1.0, Silent(1, 1.0))]


def test_two_seconds_without_a_look_are_sleep():
    liveness = heard(1, 2, now=10.0)
    liveness.expect(3, 10.0)
    liveness.tick(10.0)
    assert liveness.tick(12.0) == []
    assert liveness.doubtful(12.75) == []
    assert liveness.doubtful(12.8) == [1, 2]
    assert liveness.tick(13.75) == []
    assert liveness.tick(15.5) == [Suspect(1), Suspect(2)]  # 1.75 s without a look are none
    assert listen(liveness, 15.75, 40.0) == [(17.0, Silent(1, 5.0)), (17.0, Silent(2, 5.0)), (32.0, Silent(3, 20.0))]


def test_a_sign_is_due_at_the_very_moment():
    liveness = heard()
    assert [now for now in (10.0, 10.25, 10.5, 10.5, 10.75, 11.5, 11.75) if liveness.due(now)] == [10.0, 10.5, 11.5]
