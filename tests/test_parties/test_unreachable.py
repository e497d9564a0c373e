"""Who cannot be reached is named within seconds, with host and port, by the end that calls, for the true reason."""

import socket
import threading
import time
from dataclasses import replace

import pytest
import zmq
from actors import Net, Threads
from delay import Slow
from dropping import Dropping

import mpc
from mpc.errors import PeerError
from parties import keys, names, sockets
from parties.cluster import COORDINATOR, DEALER
from parties.events import Arrived, Down
from parties.home import Home
from parties.knock import Door, knock
from parties.mesh import Mesh, Reached
from parties.session import Session
from parties.troubles import DROPPED, HANGS, REFUSED, UNCALLED, apart, control, plain, unreachable
from parties.wire import Message, Type

LOST = "party carol died (no sign of life for 5 s)"


@mpc.program
def total(x: mpc.PerParty[mpc.Private]):
    return mpc.reveal(sum(mpc.share(v).sum() for v in x))


@pytest.fixture
def make():
    made = []

    def mesh(pair=None):
        made.append(Mesh(pair or keys.fresh()))
        return made[-1]

    yield mesh
    for one in made:
        one.close(0.0)


def poll(condition, *meshes, seconds=10.0):
    """How long it took until a condition on what happened held."""
    began, happened = time.monotonic(), []
    while not condition(happened):
        assert time.monotonic() < began + seconds, happened
        for mesh in meshes:
            happened += mesh.poll(0.01)
    return time.monotonic() - began


# --------------------------------------------------------------------------------------------------- what a port does


def test_a_full_queue_drops_and_says_nothing():
    with Dropping() as dropping:
        assert knock(dropping.address, 0.2).door is Door.SILENT


def test_a_name_that_is_none_is_told_apart():
    found = knock("no-such-host.invalid:7000")
    assert (found.door, bool(found.detail)) == (Door.NO_NAME, True)


def test_where_packets_are_dropped_is_known_within_seconds(make):
    caller = make()
    with Dropping() as dropping:
        caller.dial(0, dropping.address, keys.fresh().public)
        assert not plain(caller.trouble(0))
        assert poll(lambda _: caller.trouble(0) == DROPPED, caller) < 5


def test_a_port_that_takes_connections_and_does_not_greet_has_no_wrong_key(make, monkeypatch):
    monkeypatch.setitem(sockets._COMMON, zmq.HANDSHAKE_IVL, 500)
    monkeypatch.setattr("parties.calls.HANDSHAKE_SECONDS", 0.5)
    caller = make()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        caller.dial(0, f"127.0.0.1:{silent.getsockname()[1]}", keys.fresh().public)
        poll(lambda _: caller.trouble(0) == HANGS, caller)


def test_a_way_of_600_ms_there_and_back_is_no_wrong_key(make):
    pair, other = keys.fresh(), keys.fresh()
    listener, caller = make(pair), make(other)
    port = listener.listen("tcp://127.0.0.2:*", {other.public: 1})
    with Slow(port, "127.0.0.2", 0.3):
        caller.dial(0, f"127.0.0.1:{port}", pair.public)
        wrong = []

        def stands(happened):
            wrong.append(caller.trouble(0))
            return Reached(0) in happened

        poll(stands, caller, listener)
        assert not any("key" in trouble for trouble in wrong)
        assert 1.0 < caller.took(0) < 9.0


def test_one_name_that_is_not_answered_holds_up_no_other_call(make, monkeypatch):
    answered = threading.Event()

    def slow(host):
        if host == "slow.example":
            answered.wait(20)
        return ["127.0.0.1"]

    monkeypatch.setattr(names, "look_up", slow)
    monkeypatch.setattr(names, "_SLOW_SECONDS", 0.5)
    pair, other = keys.fresh(), keys.fresh()
    listener, caller = make(pair), make(other)
    port = listener.listen("tcp://127.0.0.1:*", {other.public: 1})
    caller.dial(0, f"slow.example:{port}", pair.public)
    caller.dial(1, f"quick.example:{port}", pair.public)
    try:
        poll(lambda happened: Reached(1) in happened, caller, listener)
        poll(lambda _: plain(caller.trouble(0)), caller, listener)
        assert caller.trouble(0).startswith("this host's name server does not say where slow.example is")
    finally:
        answered.set()
    caller.dial(1, f"127.0.0.1:{port}", pair.public)  # frees the key's only route
    poll(lambda happened: Reached(0) in happened, caller, listener)


def test_an_unknown_name_is_named(make):
    caller = make()
    caller.dial(0, "no-such-host.invalid:7000", keys.fresh().public)
    poll(lambda _: caller.trouble(0).startswith("the name no-such-host.invalid is not known here ("), caller)


def test_the_next_address_of_a_name_is_tried(make, monkeypatch):
    monkeypatch.setattr(names, "look_up", lambda _host: ["127.0.0.3", "127.0.0.1"])
    pair, other = keys.fresh(), keys.fresh()
    listener, caller = make(pair), make(other)
    port = listener.listen("tcp://127.0.0.1:*", {other.public: 1})
    caller.dial(0, f"both.example:{port}", pair.public)
    poll(lambda happened: Reached(0) in happened, caller, listener)


# ------------------------------------------------------------------------------------------------------ what is said


def test_what_is_said_of_who_cannot_be_reached():
    member = replace(Net(2).cluster.parties[0], address="a.example:7001")
    assert unreachable(member, DROPPED) == (
        "at a.example:7001: nothing answers at this address: packets are dropped on the way, or its host is off; let "
        "port 7001 through its firewall, or correct the address"
    )
    fixed = replace(member, control="a.example:7101")
    assert unreachable(fixed, REFUSED) == (
        "at a.example:7001: nothing answers at this address: the connection is refused; start it, or let ports 7001 "
        "and 7101 (control) through its firewall, or correct the address"
    )
    assert "or its host is off" not in unreachable(fixed, DROPPED, lives=True)
    signs = control(member, "a.example:40123", DROPPED)
    assert signs == (
        "at its control port a.example:40123, while a.example:7001 answers: packets are dropped on the way; let port "
        "40123 through its firewall, or correct the address; which port it is, control = 'host:port' in the cluster "
        "file says"
    )
    assert unreachable(fixed, signs) == signs


def session(threads, tmp_path, **places):
    """A coordinator whose cluster file says other places of alice."""
    first = threads.cluster.parties[0]
    cluster = replace(threads.cluster, parties=(replace(first, **places), *threads.cluster.parties[1:]))
    home = Home.open(tmp_path / "elsewhere", "coordinator")
    return Session(cluster, threads.pairs[COORDINATOR], threads.session._machinery, home=home)


@pytest.mark.parametrize("place", ["address", "control"])
def test_a_dropped_port_is_named_within_seconds(tmp_path, place):
    with Threads(2) as threads, Dropping() as dropping, session(threads, tmp_path, **{place: dropping.address}) as ps:
        began = time.monotonic()
        with pytest.raises(PeerError) as error:
            ps.describe("x")
        assert time.monotonic() - began < 12
    first = threads.cluster.parties[0]
    where = {
        "address": unreachable(replace(first, address=dropping.address), DROPPED),
        "control": control(replace(first, control=dropping.address), dropping.address, DROPPED),
    }
    assert str(error.value) == f"party alice cannot be reached from here {where[place]}"


def unpaired(trouble, lost=()):
    """A net in which bob and carol cannot exchange keys, and each says why."""
    net = Net(3)
    for party, words in trouble.items():
        around = net.brains[party].around
        net.brains[party].around = replace(around, trouble=lambda peer, words=words: words.get(peer, ""))
    for party, peer in lost:
        net.event(party, Down(peer, "died (no sign of life for 5 s)"))
    net.begin()
    while net.step():
        for link in ((2, 1), (1, 2)):
            if link in net.links:
                net.links[link].clear()
    return net


def test_who_calls_in_vain_says_why_within_seconds_and_who_waits_for_a_call_does_not_speak_first():
    net = unpaired({1: {2: UNCALLED}, 2: {1: DROPPED}})
    net.pass_time(4.9)
    assert net.verdict is None
    net.pass_time(0.2)
    net.pass_time(0.3)
    where = unreachable(net.cluster.parties[1], DROPPED)
    assert net.verdict.sentence.startswith(
        f"run stopped: carol cannot reach party bob {where}; reported by carol; resume with"
    )


@pytest.mark.parametrize(("lost", "until"), [((), 20.0), (((1, 2),), 7.0)])
def test_a_call_that_never_comes_is_told_with_the_address(lost, until):
    net = unpaired({1: {2: UNCALLED}}, lost)
    net.dead.add(2)
    while net.now < until - 0.1:
        assert net.verdict is None
        net.pass_time(0.5)
    net.pass_time(0.5)
    net.pass_time(0.5)
    said = (
        "bob has heard nothing from party carol since the start (it has not called 127.0.0.1:7002: see what it says of"
    )
    assert said in net.verdict.sentence


def reported(reason, silence):
    """What becomes of bob's word about carol, whom the coordinator has heard so many seconds ago."""
    net = Net(3)
    net.coordinator._silence = {1: 0.1, 2: silence}.get
    net.begin()
    meta = {"origin": 2, "kind": "dead", "reason": reason, "round": 0, "where": "", "final": False}
    net.event(COORDINATOR, Arrived(Message(Type.ABORT, 1, COORDINATOR, b"s" * 16, meta=meta)))
    net.pass_time(0.3)
    return net.verdict.sentence.removeprefix("run stopped: ").partition("; reported by bob; resume with")[0]


def test_of_two_that_do_not_hear_each_other_while_the_coordinator_hears_both_none_died():
    between = "packets between them are dropped (carol calls port 7002 and its control port of bob)"
    assert reported(LOST, 0.4) == f"bob hears no more of party carol, and the coordinator hears both: {between}"
    assert reported(f"bob cannot reach party carol at x: {DROPPED}", 0.4) == (
        "bob cannot reach party carol at x: nothing answers at this address: packets are dropped on the way; both "
        "answer the coordinator"
    )


@pytest.mark.parametrize(("reason", "silence"), [(LOST, 4.6), ("party carol restarted", 0.4)])
def test_who_died_or_restarted_is_named_as_before(reason, silence):
    assert reported(reason, silence) == reason


def test_the_dealer_is_called_by_everybody():
    cluster = replace(Net(2).cluster, dealer=replace(Net(2).cluster.dealer, control="127.0.0.1:7100"))
    for reporter, origin in ((DEALER, 1), (1, DEALER)):
        said = apart(cluster, reporter, origin, LOST)
        assert said.endswith("are dropped (bob calls ports 7000 and 7100 (control) of dealer)")
