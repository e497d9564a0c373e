"""Several processes of one key at an actor: told apart by key and incarnation, and never so many that others suffer."""

import socket
import time

import numpy as np
import pytest
from actors import Threads

import mpc
from parties import doorkeeper, keys, seats
from parties.cluster import COORDINATOR, SEATS
from parties.mesh import Gone, Mesh, Packet, Reached, Vacated
from parties.seats import Seats
from parties.version import VERSION
from parties.wire import Message, Type, decode, encode

DATA = {name: {"x": np.arange(3.0)} for name in ("alice", "bob")}


@mpc.program
def walk(x: mpc.PerParty[mpc.Private], steps: int = 2000):
    c = mpc.assume_range(mpc.share(x[0]) / 8, -1, 1)
    return mpc.reveal(mpc.repeat(steps, lambda i, s: mpc.assume_range(s * c, -4, 4), c))


def hello(incarnation, source=COORDINATOR):
    meta = {"name": "coordinator", "version": VERSION, "cluster": "", "control": 0, "knows": 0}
    return encode(Message(Type.HELLO, source, 0, meta=meta, incarnation=incarnation))


def test_each_process_of_a_key_has_a_seat_of_its_own():
    here = Seats()
    first, second = here.take("key", 1), here.take("key", 2)
    assert len({first, second, here.take("other", 1)}) == 3
    assert here.take("key", 1) == here.of("key", 1) == first
    assert here.of("key", 3) is None
    assert all(seat in SEATS for seat in (first, second))
    assert here.vacated() == []


def test_whoever_was_silent_for_longest_makes_room_but_for_those_at_work(monkeypatch):
    monkeypatch.setattr(seats, "_EACH", 3)
    held = []
    here = Seats(lambda: held)
    one, two, three = (here.take("key", number) for number in (1, 2, 3))
    stranger = here.take("other", 1)
    here.of("key", 1)
    held.append(two)
    here.take("key", 4)
    assert here.vacated() == [three]
    assert [here.taken(seat) for seat in (one, two, three, stranger)] == [True, True, False, True]
    assert here.of("key", 3) is None


@pytest.fixture
def pair():
    """A listener, a mesh with the coordinator's key that has reached it, and the listener's port."""
    alice, coordinator = Mesh(keys.fresh()), keys.fresh()
    port = alice.listen("tcp://127.0.0.1:*", {coordinator.public: COORDINATOR})
    caller = Mesh(coordinator)
    caller.dial(0, f"127.0.0.1:{port}", alice._keys.public)
    until(lambda found: Reached(0) in found, caller)
    yield alice, caller, port
    caller.close(0.0)
    alice.close(0.0)


def until(condition, mesh, seconds=10.0):
    found, end = [], time.monotonic() + seconds
    while not condition(found):
        assert time.monotonic() < end, found
        found += mesh.poll(0.01)
    return found


def test_the_listener_puts_the_seat_in_and_takes_it_out(pair):
    alice, caller, _ = pair
    for incarnation in (7, 8):
        assert caller.send(0, hello(incarnation))
    packets = until(lambda found: len(found) == 2, alice)
    assert len({p.peer for p in packets}) == 2
    for packet in packets:
        assert packet.peer in SEATS
        assert decode(packet.parts).src == packet.peer
        assert alice.send(packet.peer, encode(Message(Type.WELCOME, 0, packet.peer, meta=decode(packet.parts).meta)))
    for answer in until(lambda found: len(found) == 2, caller):
        assert decode(answer.parts).dst == COORDINATOR


@pytest.mark.parametrize(
    "parts", [[b"x"], hello(9, SEATS[0]), encode(Message(Type.BYE, COORDINATOR, 0, incarnation=9))]
)
def test_who_does_not_greet_first_has_no_seat(pair, parts):
    alice, caller, _ = pair
    assert caller.send(0, parts)
    assert caller.send(0, hello(7))
    (packet,) = until(lambda found: found, alice)
    assert decode(packet.parts).incarnation == 7


def test_a_seat_that_is_given_up_is_told(pair, monkeypatch):
    monkeypatch.setattr(seats, "_EACH", 2)
    alice, caller, _ = pair
    for incarnation in (7, 8, 9):
        assert caller.send(0, hello(incarnation))
    found = until(lambda found: sum(isinstance(h, Packet) for h in found) == 3, alice)
    assert [h.peer for h in found if isinstance(h, Vacated)] == [SEATS[0]]
    assert sorted(alice._routes) == [SEATS[1], SEATS[2]]


def test_a_key_holder_that_greets_as_a_thousand_processes_disturbs_no_run():
    with Threads(2, offers=DATA) as threads:
        pending = threads.session.start(walk)
        alice = threads.cluster.member(0)
        evil = Mesh(threads.pairs[COORDINATOR])
        try:
            evil.dial(0, alice.address, alice.public)
            until(lambda found: Reached(0) in found, evil)
            for incarnation in range(1, 1001):
                while not evil.send(0, hello(incarnation)):
                    evil.poll(0.001)
                evil.poll(0)
            assert pending.result().results["result"].shape == (3,)
            assert len(threads.bodies[0].mesh.seats._seats) <= seats._EACH
            assert len(threads.bodies[0]._actor._channels) <= seats._EACH + 4
        finally:
            evil.close(0.0)
        assert threads.session.run(walk, steps=10).rounds > 10


@pytest.mark.parametrize("counted", [True, False], ids=["counted", "the broken twin"])
def test_silent_connections_make_room_for_one_another(pair, monkeypatch, counted):
    monkeypatch.setattr(doorkeeper, "NAMELESS", 20 if counted else 10**6)
    _, _, port = pair
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(60)]
    end, cut = time.monotonic() + (5 if counted else 1), 0
    while time.monotonic() < end and cut < 40:
        cut = sum(ended(one) for one in idle)
        time.sleep(0.05)
    for one in idle:
        one.close()
    assert (cut >= 38) == counted


def ended(one):
    one.setblocking(False)
    try:
        while one.recv(100):
            continue
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def test_connections_of_one_key_make_room_for_one_another(pair, monkeypatch):
    monkeypatch.setattr(doorkeeper, "EACH", 2)
    alice, first, port = pair
    others = [Mesh(first._keys) for _ in range(2)]
    assert first.send(0, hello(7))
    until(lambda found: found, alice)
    try:
        for number, mesh in enumerate(others, 8):
            mesh.dial(0, f"127.0.0.1:{port}", alice._keys.public)
            until(lambda found: Reached(0) in found, mesh)
            assert mesh.send(0, hello(number))
            until(lambda found: found, alice)
        until(lambda found: Gone(0) in found, first)
    finally:
        for mesh in others:
            mesh.close(0.0)
