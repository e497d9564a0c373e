"""Signs of life and the control plane, without threads, sockets and time."""

from types import SimpleNamespace

import pytest

from parties.cluster import COORDINATOR, DEALER
from parties.control import Alarm, Alive, Control, Lost
from parties.limits import Limits
from parties.liveness import Liveness, Sign, Silent, Suspect, Well
from parties.mesh import Gone, Packet, Reached
from parties.watch import Watch
from parties.wire import BadMessage, Message, Type, decode, encode

LIMITS = Limits()


def ping(src, dst=0, incarnation=7, progress=1, waiting=False):
    return Message(Type.PING, src, dst, meta={"progress": progress, "waiting": waiting}, incarnation=incarnation)


def silence(liveness, start, end, step=0.5):
    """What is found in a span of time in which nothing is heard."""
    found, now = [], start
    while now <= end:
        found += [(round(now, 1), f) for f in liveness.tick(now)]
        now += step
    return found


def test_a_peer_that_was_heard_is_suspect_after_two_seconds_and_dead_after_five():
    liveness = Liveness([1, 2])
    assert liveness.heard(1, 0.0, Sign()) == []
    assert silence(liveness, 0.0, 30.0) == [(2.0, Suspect(1)), (5.0, Silent(1, 5.0))]


def test_a_suspect_that_is_heard_again_is_well():
    liveness = Liveness([1])
    liveness.heard(1, 0.0, Sign())
    silence(liveness, 0.0, 3.0)
    assert liveness.heard(1, 3.0, Sign(5, waiting=True)) == [Well(1)]
    assert liveness.sign(1) == Sign(5, waiting=True)
    assert silence(liveness, 3.5, 7.5)[-1] == (5.0, Suspect(1))


def test_whoever_slept_itself_gives_the_others_the_time_again():
    liveness = Liveness([1])
    liveness.heard(1, 0.0, Sign())
    liveness.tick(0.0)
    assert liveness.tick(20.0) == []
    assert silence(liveness, 20.5, 26.0) == [(22.0, Suspect(1)), (25.0, Silent(1, 5.0))]


def test_an_expected_first_sign_is_missed_after_the_time_for_starting():
    liveness = Liveness([1, 2])
    liveness.expect(1, 0.0)
    assert silence(liveness, 0.0, 60.0) == [(20.0, Silent(1, 20.0))]
    liveness.expect(2, 60.0)
    liveness.heard(2, 61.0, Sign())
    assert silence(liveness, 61.0, 90.0) == [(63.0, Suspect(2)), (66.0, Silent(2, 5.0))]


def test_a_coordinator_that_dies_before_its_first_sign_is_missed():
    control = Control(0, [1, COORDINATOR], 9, LIMITS)
    for peer in (1, COORDINATOR):
        control.joined(peer, 0.0)
    lost = [news for half in range(100) for news in control.turn(half / 2)[1]]
    assert [news.peer for news in lost] == [COORDINATOR]


def test_signs_go_out_twice_a_second_and_say_nothing_to_the_dealer():
    control = Control(0, [1, DEALER], 9, LIMITS)
    control.sign = Sign(41, waiting=True)
    signs, _ = control.turn(0.0)
    assert {m.dst: (m.meta["progress"], m.meta["waiting"]) for m in signs} == {1: (41, True), DEALER: (0, False)}
    assert {m.incarnation for m in signs} == {9}
    assert [len(control.turn(t)[0]) for t in (0.2, 0.4, 0.6)] == [0, 0, 2]


def test_whoever_is_reached_or_first_heard_is_given_a_sign_at_once_and_once():
    sent = []
    mesh = SimpleNamespace(send=lambda peer, parts: sent.append((peer, decode(parts).meta["progress"])))
    cluster = SimpleNamespace(actors=lambda: [0, 1, 2, DEALER])
    watch = Watch(mesh, 0, 0, cluster, 9, lambda: None, LIMITS)
    watch.sign = Sign(41)
    for happening in (Reached(1), Reached(DEALER), Packet(2, encode(ping(2))), Packet(2, encode(ping(2))), Gone(2)):
        watch._happened(happening)
    assert sent == [(1, 41), (DEALER, 0), (2, 41)]
    assert watch.news() == [Alive(2)]


def test_the_first_sign_of_each_process_is_news():
    control = Control(0, [1], 9, LIMITS)
    assert control.take(1, ping(1), 0.0) == [Alive(1)]
    assert control.take(1, ping(1, progress=3), 0.5) == []
    assert control.heard(1) == Sign(3)
    assert control.take(1, ping(1, incarnation=8), 1.0) == [Alive(1)]


def test_goodbye_ends_the_waiting_for_signs_of_that_process_only():
    control = Control(0, [1], 9, LIMITS)
    control.take(1, ping(1), 0.0)
    control.take(1, Message(Type.BYE, 1, 0, incarnation=6), 0.1)
    assert [n for half in range(1, 20) for n in control.turn(half / 2)[1]] != []
    control.take(1, ping(1), 20.0)
    control.take(1, Message(Type.BYE, 1, 0, incarnation=7), 20.1)
    assert [n for half in range(41, 80) for n in control.turn(half / 2)[1]] == []


def test_a_refusing_port_is_told_once_and_only_of_whoever_was_heard():
    control = Control(0, [1, 2], 9, LIMITS)
    control.take(1, ping(1), 0.0)
    told = []
    for tenth in range(50):
        for peer in control.doubtful(tenth / 10):
            told += control.knocked(peer, tenth / 10, refused=True)
    assert told == [Lost(1, "died (its port refuses connections)")]
    assert control.take(1, ping(1, incarnation=8), 6.0) == [Alive(1)]  # another process, which may be knocked at again


def test_only_the_coordinator_gives_verdicts():
    control = Control(0, [1, COORDINATOR], 9, LIMITS)
    meta = {"origin": 1, "kind": "dead", "reason": "r", "round": 0, "where": "", "final": True}
    verdict = Message(Type.ABORT, COORDINATOR, 0, meta=meta)
    assert control.take(COORDINATOR, verdict, 0.0) == [Alarm(verdict)]
    assert control.take(1, Message(Type.ABORT, 1, 0, meta=meta), 0.0) == []


@pytest.mark.parametrize(
    "parts", [[b"x"], encode(ping(2)), encode(ping(1, dst=3)), encode(Message(Type.DATA, 1, 0, incarnation=7))]
)
def test_what_does_not_belong_there_loses_the_peer(parts):
    (news,) = Control(0, [1, 2], 9, LIMITS).receive(1, parts, 0.0)
    assert isinstance(news, Lost)
    assert "malformed" in news.reason


def test_what_was_decoded_elsewhere_is_refused_as_well():
    with pytest.raises(BadMessage):
        Control(0, [1, 2], 9, LIMITS).take(1, ping(2), 0.0)


def test_a_greeting_from_another_port_makes_refusals_of_the_last_one_nothing():
    control = Control(0, [1], 9, LIMITS)
    control.take(1, ping(1), 0.0)
    assert control.knocked(1, 1.0, refused=True) == []
    control.joined(1, 1.5)
    assert control.knocked(1, 2.0, refused=True) == []
    assert control.knocked(1, 3.0, refused=True) == [Lost(1, "died (its port refuses connections)")]


def test_a_seat_that_refuses_or_leaves_is_given_no_more_signs():
    seat = 0xE001
    control = Control(0, [1], 9, LIMITS)
    for incarnation, end in ((7, "knock"), (8, "bye")):
        assert control.take(seat, ping(seat, incarnation=incarnation), 0.0) == [Alive(seat)]
        assert [m.dst for m in control.farewell()] == [1, seat]
        if end == "knock":
            control.knocked(seat, 1.0, refused=True)
            assert control.knocked(seat, 2.0, refused=True) != []
        else:
            assert control.take(seat, Message(Type.BYE, seat, 0, incarnation=incarnation), 1.0) == []
        assert [m.dst for m in control.farewell()] == [1]


def test_garbage_is_told_again_of_the_next_process_only():
    control = Control(0, [1], 9, LIMITS)
    for incarnation in (7, 8):
        assert control.receive(1, encode(ping(1, incarnation=incarnation)), 0.0) == [Alive(1)]
        assert len(control.receive(1, [b"x"], 0.0)) == 1
        assert control.receive(1, [b"x"], 0.0) == []
        assert control.receive(1, encode(ping(1, incarnation=incarnation, progress=5)), 0.0) == []
        assert control.heard(1) == Sign(1)


def test_each_of_two_that_die_together_is_lost_with_the_time_of_its_silence():
    control = Control(0, [1, 2], 9, LIMITS)
    for peer in (1, 2):
        control.take(peer, ping(peer), 0.0)
    told = [news for half in range(12) for news in control.turn(half / 2)[1]]
    assert told == [Lost(peer, "died (no sign of life for 5 s)") for peer in (1, 2)]
