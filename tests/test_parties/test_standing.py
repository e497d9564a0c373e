"""How direct connections that stand are used, how they end, and what is left then: nothing."""

import socket
from types import SimpleNamespace

import pytest
from ends import NOW, filled, so_far

from parties import standing
from parties.happenings import Gone, Packet, Reached


def test_the_listener_uses_it_when_the_caller_has(ends):
    e = ends()
    e.meet()
    listening, calling = e.ends[0], e.ends[1]
    assert calling.send(calling.standing[0], [b"hello"])
    told = e.until(lambda told: told[0])
    assert told[0] == [Packet(1, [b"hello"], True)]
    assert listening._met == {}
    assert calling.send(calling.standing[0], [b"more"])
    assert listening.send(listening.standing[1], [b"back"])
    told = e.until(lambda told: told[0] and told[1])
    assert told == {0: [Packet(1, [b"more"])], 1: [Packet(0, [b"back"])]}


def test_there_is_nothing_left_to_do_when_all_that_is_whole_has_been_told(ends):
    """Half a message is waited for at the socket, not by looking again and again."""
    e = ends()
    so_far(e, "standing")
    listening, direct = e.ends[0], e.ends[1].standing[0]
    data = b"".join(direct._sealer.short([bytes([number])]) for number in range(150))
    direct.socket.sendall(data[:-1])
    told = e.until(lambda told: len(told[0]) == 149, only=0)
    assert told[0] == [Packet(1, [bytes([number])]) for number in range(149)]
    assert listening.standing[1].unread
    assert listening.idle
    direct.socket.sendall(data[-1:])
    told = e.until(lambda told: told[0], only=0)
    assert told[0] == [Packet(1, [bytes([149])])]
    assert listening.idle


def test_of_whoever_says_much_so_much_is_read_before_all_others_have_their_turn(ends):
    e = ends(1, 2)
    listening = e.ends[0]
    for at in (1, 2):
        so_far(e, "standing", at)
    for at in (1, 2):
        direct = e.ends[at].standing[0]
        direct.socket.sendall(b"".join(direct._sealer.short([b"x"]) for _ in range(200)))
        listening.standing[at].wait(5.0)
    told = listening.happened()
    assert [h.peer for h in told].count(1) == [h.peer for h in told].count(2) == 128
    assert not listening.idle
    assert [len(listening.happened()) for _ in range(3)] == [2 * 64, 2 * 8, 0]  # the sockets have nothing more to say
    assert listening.idle


def awaiting(e, monkeypatch, while_asleep):
    """The listener awaits the caller for three ticks, then 20 ms; the message, and what the listener did meanwhile."""
    so_far(e, "standing")
    direct, now, did = e.ends[0].standing[1], iter(range(100)), []

    def wait(seconds):
        did.append(seconds)
        while_asleep()

    with monkeypatch.context() as patch:
        patch.setattr(standing, "time", SimpleNamespace(monotonic=lambda: next(now)))
        patch.setattr(standing, "os", SimpleNamespace(sched_yield=lambda: did.append("another's turn")))
        patch.setattr(direct, "wait", wait)
        return e.ends[0].awaited(direct, 3, 0.02), did


def test_who_is_awaited_is_asked_again_and_again_and_then_waited_for(ends, monkeypatch):
    packet, did = awaiting(ends(), monkeypatch, lambda: None)
    assert packet is None
    assert did == ["another's turn"] * 2 + [0.02]


def test_what_comes_while_it_is_waited_for_is_found(ends, monkeypatch):
    e = ends()
    one = e.ends[1]

    def send():
        assert one.send(one.standing[0], [b"x"])

    packet, did = awaiting(e, monkeypatch, send)
    assert packet == Packet(1, [b"x"])
    assert did[-1] == 0.02


@pytest.mark.parametrize("when", ["before", "while asleep"])
def test_who_is_gone_is_not_waited_for(ends, monkeypatch, when):
    e = ends()
    so_far(e, "standing")
    listening, direct, waited = e.ends[0], e.ends[0].standing[1], []

    def leave(seconds=0.0):
        waited.append(seconds)
        e.ends[1].drop(0)

    if when == "before":
        leave()
        direct.wait(5.0)
    monkeypatch.setattr(direct, "wait", leave)
    assert listening.awaited(direct, 0.0, 0.02) is None
    assert waited == [0.0 if when == "before" else 0.02]
    assert listening.happened() == [Gone(1)]


def test_a_key_that_has_sealed_as_much_as_it_may_ends_the_connection(ends):
    """Nothing is wrong with the socket, so nothing else would."""
    e = ends()
    so_far(e, "standing")
    one = e.ends[1]
    one.standing[0]._sealer._count = 1 << 32
    assert not one.send(one.standing[0], [b"x"])
    assert one.happened() == [Gone(0), Reached(0)]
    assert e.files(1) == 0
    e.until(lambda told: told[0] == [Gone(1)], only=0)


def read_meanwhile(e, monkeypatch):
    """Whenever the caller waits for its socket, the listener reads; no time passes. What the listener is told."""
    original, told = e.ends[1]._look, []

    def look(seconds):
        told.extend(e.ends[0].happened())
        return original(seconds)

    monkeypatch.setattr(e.ends[1], "_look", look)
    monkeypatch.setattr(standing, "time", SimpleNamespace(monotonic=lambda: NOW))
    return told


@pytest.mark.parametrize("when", ["sent", "told"])
def test_as_long_as_bytes_move_all_of_a_message_is_written_before_anything_else(ends, monkeypatch, when):
    e = ends()
    so_far(e, "standing")
    one, big = e.ends[1], [bytes(20_000_000)]
    if when == "told":
        assert one.send(one.standing[0], big)
        assert one._writing
        assert e.ends[0].send(e.ends[0].standing[1], [b"x"])
        one.standing[0].wait(5.0)
    told = read_meanwhile(e, monkeypatch)
    if when == "told":
        assert one.happened() == [Packet(0, [b"x"])]
    else:
        assert one.send(one.standing[0], big)
    assert not one._writing
    assert not one.standing[0].pending
    told += e.until(lambda now: told or now[0], only=0)[0]
    assert [len(h.parts[0]) for h in told] == [20_000_000]


def test_whoever_takes_a_little_now_and_then_does_not_hold_the_other(ends, monkeypatch):
    e = ends()
    so_far(e, "standing")
    one, now, looks = e.ends[1], iter(range(1000)), []
    monkeypatch.setattr(standing, "time", SimpleNamespace(monotonic=lambda: next(now) / 16))
    monkeypatch.setattr(one, "_look", lambda seconds: looks.append(seconds) or True)
    assert one.send(one.standing[0], [bytes(30_000_000)])
    assert one._writing
    assert looks == [0.02] * 3  # after 1/16, 2/16 and 3/16 of at most 1/4 second


@pytest.mark.parametrize("when", ["sent", "told"])
def test_whoever_looks_round_again_in_a_moment_has_the_rest_written_then(ends, monkeypatch, when):
    """As the dealer, which deals on: it waits for no byte to move, and no more is taken: so it knows what waits."""
    e = ends()
    so_far(e, "standing")
    one = e.ends[1]
    one.finishing = False
    with monkeypatch.context() as patch:
        patch.setattr(one, "_go_on_writing", lambda _: pytest.fail("waits for bytes to move"))
        assert one.send(one.standing[0], [bytes(30_000_000)])
        assert not one.send(one.standing[0], [b"next"])
        assert one._writing
        if when == "told":
            assert e.ends[0].send(e.ends[0].standing[1], [b"x"])
            one.standing[0].wait(5.0)
            assert one.happened() == [Packet(0, [b"x"])]
        told = e.until(lambda told: told[0])
        assert [len(h.parts[0]) for h in told[0]] == [30_000_000]
        assert one.quiet
        assert one.send(one.standing[0], [b"next"])
    assert e.until(lambda told: told[0], only=0)[0] == [Packet(1, [b"next"])]


def test_whoever_closes_calls_nobody_any_more(ends):
    """Though the other end is gone when the last words are to be written: there may be no socket left to call with."""
    e = ends()
    so_far(e, "standing")
    filled(e.ends[1], 0)
    e.ends[0].drop(1)
    e.words(1)
    e.ends[1].close(0.2)
    assert e.words(1) == []
    assert e.ends[1].standing == {}


@pytest.mark.parametrize("used", [False, True], ids=["unused", "used"])
def test_a_new_connection_takes_the_place_of_an_earlier_one(ends, used):
    e = ends()
    e.meet()
    listening, calling = e.ends[0], e.ends[1]
    if used:
        assert calling.send(calling.standing[0], [b"hello"])
        e.until(lambda told: told[0])
    earlier = calling.standing.pop(0)
    calling._selector.unregister(earlier.socket)
    calling._wishes[0].at = 0.0
    e.meet()
    assert calling.send(calling.standing[0], [b"again"])
    told = e.until(lambda told: told[0])
    assert told[0] == [Packet(1, [b"again"], True)]
    assert e.files(0) == 1
    earlier.wait(5.0)
    assert earlier.socket.recv(1) == b""
    earlier.close()
    assert listening.standing[1].socket.getpeername() == calling.standing[0].socket.getsockname()


@pytest.mark.parametrize("at", [0, 1], ids=["listener", "caller"])
@pytest.mark.parametrize("when", ["called", "invited", "connecting", "met", "standing", "writing", "reading"])
def test_when_the_zeromq_connection_is_no_more_nothing_is_left(ends, at, when):
    e = ends()
    so_far(e, when)
    one, other = e.ends[at], e.ends[1 - at]
    direct = one.standing.get(1 - at) or one._met.get(1 - at)
    if when == "writing":
        filled(one, 1 - at)
    if when == "reading":
        for number in (b"1", b"2"):
            assert other.send(other.standing[at], [number])
        direct.wait(5.0)
        assert one.read(direct) == Packet(1 - at, [b"1"])
        assert not one.idle
    one.drop(1 - at)
    assert e.files(at) == 0
    assert not any((one._wishes, one._calls, one._invited, one._met, one.standing, one._writing, one._unread))
    assert one.idle
    assert direct is None or direct.socket.fileno() == -1
    e.words(at)
    one.turn(NOW + 10)
    assert one.happened() == []
    assert e.words(at) == []


@pytest.mark.parametrize("linger", [0.0, 5.0])
def test_what_waits_is_written_when_it_closes_if_there_is_time(ends, linger):
    e = ends()
    so_far(e, "standing")
    sent = filled(e.ends[1], 0)
    e.until(
        lambda told: len(told[0]) == sent - 1, only=0
    )  # of the last a part is here, and there is room for all of it
    e.ends[1].close(linger)
    told = e.until(lambda told: Gone(1) in told[0], only=0)
    assert len(told[0]) == (2 if linger else 1)


def test_what_breaks_before_anybody_has_used_it_is_told_by_the_caller_alone(ends):
    e = ends()
    e.meet()
    e.ends[1].standing[0].socket.shutdown(socket.SHUT_RDWR)
    told = e.until(lambda told: told[1] and not e.ends[0]._met)
    assert told == {0: [], 1: [Gone(0), Reached(0)]}
    assert e.files(0) == e.files(1) == 0
    assert e.ends[1]._wishes[0].at == NOW + 1.0


def test_closing_closes_everything(ends):
    e = ends(1, 2, 3)
    e.meet(1)
    assert e.ends[1].send(e.ends[1].standing[0], [b"hello"])
    e.until(lambda told: told[0])
    e.meet(2)
    e.ends[3].turn(NOW)
    e.tell(3)
    listening = e.ends[0]
    sockets = [listening.standing[1].socket, listening._met[2].socket, listening._invited[3].listeners[0]]
    for end in (listening, e.ends[3]):
        end.close(0.0)
        assert end._selector.get_map() is None
    assert [s.fileno() for s in sockets] == [-1] * 3
    assert not any((listening.standing, listening._met, listening._invited, e.ends[3]._calls))
