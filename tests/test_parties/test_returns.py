"""Brains on a simulated network: an actor that was lost, or is another process now, and is there again."""

import pytest
from actors import Held, Net

from parties import dealer
from parties.attempt import Attempt, Stage
from parties.cluster import COORDINATOR, DEALER
from parties.dealer import DealerBrain
from parties.events import RESTARTED, Down, Up
from parties.stocking import Stocking
from parties.wire import Type, decode

SUM = float(3 * (3 * 4 // 2 + 1))


def restarted_late(net, peer, until):
    """A run in which carol sees only in the middle that an actor is another process than in the run before."""
    net.begin()
    while not until(net.attempt(2)):
        net.step()
    net.event(2, Down(peer, RESTARTED))
    net.event(2, Up(peer))
    net.settle()
    net.pass_time(0.3)


def prepared(attempt):
    return attempt is not None and attempt.stage is Stage.READY


def dealt_to(attempt):
    return attempt is not None and bool(attempt.corrections) and not attempt.dealt


def keyless(attempt):
    return attempt is not None and attempt.stage is Stage.STOCKING


@pytest.mark.parametrize(("peer", "when"), [(0, prepared), (DEALER, prepared), (DEALER, keyless)])
def test_a_restart_before_the_run_that_shows_only_now_stops_nothing(peer, when):
    net = Net(3)
    restarted_late(net, peer, when)
    assert net.outcome.results["sum"] == SUM


def lost_offer(pick=None):
    """Carol's key went to the process that alice was before, and what carol sends then reaches the one she is now."""
    net = Net(3, pick=pick)
    net.begin()
    while not keyless(net.attempt(2)):
        net.step()
    sent = net.links[2, 0]
    assert [decode(parts).type for parts in sent] == [Type.PAIR]
    sent.clear()
    net.event(2, Down(0, RESTARTED))
    net.event(2, Up(0))
    net.settle()
    net.pass_time(0.3)
    return net


def test_what_went_to_the_process_before_is_sent_again():
    assert lost_offer().outcome.results["sum"] == SUM


def test_the_twin_that_sends_nothing_again(monkeypatch):
    monkeypatch.setattr(Stocking, "down", lambda *_: iter(()))
    assert lost_offer().outcome is None


def begun_without(peer):
    """A run in which the dealer still takes bob for lost, as after a cut that the coordinator sees mended already."""
    net = Net(3)
    net.event(DEALER, Down(peer, "died (no sign of life for 5 s)"))
    net.begin()
    net.settle()
    return net


def test_the_dealer_waits_for_whom_the_coordinator_has_seen_again():
    net = begun_without(1)
    assert net.outcome is None
    assert not any(m.type is Type.SEEDS for m in net.log)
    net.event(DEALER, Up(1))
    net.settle()
    assert net.outcome.results["sum"] == SUM


def test_whom_the_dealer_does_not_see_again_it_names():
    net = begun_without(1)
    net.pass_time(5.1)
    net.pass_time(0.5)
    assert net.verdict.sentence.startswith("run stopped: party bob died (no sign of life for 5 s)")
    assert net.verdict.sentence.count("reported by dealer") == 1


def test_the_twin_that_accuses_at_once_stops_a_run_that_could_have_gone_on(monkeypatch):
    start = DealerBrain._start

    def hasty(self, deal):
        yield from start(self, deal)
        if deal.begins_by is not None:
            yield from self._never_back(deal)

    monkeypatch.setattr(DealerBrain, "_start", hasty)
    net = begun_without(1)
    net.pass_time(0.3)
    assert net.verdict is not None


def test_a_restart_in_the_run_stops_it(monkeypatch):
    monkeypatch.setattr(dealer, "_TOGETHER", 1)
    net = Net(3)
    restarted_late(net, DEALER, dealt_to)
    assert net.verdict.sentence.startswith("run stopped: the dealer restarted")


def test_the_twin_that_takes_every_restart_for_one_in_the_run(monkeypatch):
    monkeypatch.setattr(Attempt, "heard_from", lambda _self, _actor: True)
    net = Net(3)
    restarted_late(net, DEALER, prepared)
    assert net.outcome is None


def cut_off(until):
    """A run in which nothing of the coordinator, which lives, reaches the dealer, for longer than anybody waits."""
    net = Net(3)
    net.begin()
    while until not in net.types():
        assert net.step()
    net.links[COORDINATOR, DEALER] = Held()
    if until == "SEEDS":
        net.event(DEALER, Down(1, "died"))
    for _ in range(13):
        net.pass_time(30.0)
    assert net.verdict is not None or until == "SEEDS"
    return net


@pytest.mark.parametrize("until", ["START", "SEEDS"])
def test_a_dealer_that_hears_nothing_of_a_run_gives_it_up(until):
    net = cut_off(until)
    assert not net.brains[DEALER].sessions
    assert net.brains[DEALER].deadline is None
    said = " ".join(net.said.get(DEALER, []))
    assert ("the coordinator has neither begun nor ended what it prepared" in said) is (until == "START")


@pytest.mark.parametrize("until", ["START", "SEEDS"])
def test_the_twin_that_waits_for_ever(monkeypatch, until):
    monkeypatch.setattr(DealerBrain, "_wait", lambda *_: None)
    assert cut_off(until).brains[DEALER].sessions


def test_a_run_that_goes_on_for_longer_than_that_is_not_given_up():
    net = Net(3)
    net.begin()
    while "SEEDS" not in net.types():
        assert net.step()
    assert net.brains[DEALER].deadline is None
