"""What two parties say over a direct connection: all of it, in order, read at once, and by nobody else."""

import os
import socket
import sys
import threading
import time

import pytest

from parties import standing
from parties.direct import Direct, Ended, at_home, beside, call, call_at_home
from parties.happenings import Packet, Reached
from parties.mesh import Mesh
from parties.sealing import Opener, Sealer


@pytest.fixture
def silent_zeromq(monkeypatch):
    """Make ZeroMQ refuse: what is sent then goes directly or not at all."""

    def silence():
        monkeypatch.setattr(Mesh, "_over_zeromq", lambda *_: False)

    return silence


def test_they_meet_and_what_they_say_goes_directly(pair, silent_zeromq):
    p = pair().meet()
    assert p.happened[1].count(Reached(0)) == 2  # over ZeroMQ, then directly
    silent_zeromq()
    for at, parts in ((0, [b"to", b"bob"]), (1, [b"to", b"alice", bytes(300_000)])):
        assert p.meshes[at].send(1 - at, parts)
        p.until(lambda at=at, parts=parts: parts in p.packets(1 - at))
    assert [h for h in p.happened[0] if isinstance(h, Packet) and h.fresh] == [Packet(1, [b"hello"], True)]


def test_what_is_awaited_is_read_directly(pair):
    p = pair().meet()
    assert p.meshes[1].send(0, [b"x"])
    found = []
    while not found:
        found = p.meshes[0].poll(0.25, awaited=1)
    assert found == [Packet(1, [b"x"])]
    began = time.monotonic()
    while time.monotonic() < began + 0.1:
        assert p.meshes[0].poll(0.25, awaited=1) == []


def test_what_came_together_with_what_was_awaited_is_found_as_well(pair):
    p, found = pair().meet(), []
    for number in (b"1", b"2", b"3"):
        assert p.meshes[1].send(0, [number])
    while not found:
        found = p.meshes[0].poll(0.25, awaited=1)
    assert found == [Packet(1, [b"1"])]
    assert p.meshes[0].poll(5.0) == [Packet(1, [b"2"]), Packet(1, [b"3"])]


def test_all_others_are_looked_at_every_20_ms_however_long_was_waited_for(pair):
    p = pair().meet()
    assert p.meshes[1].send(0, [b"x"])
    assert p.meshes[0].poll(5.0) == [Packet(1, [b"x"])]
    assert p.meshes[0]._around <= time.monotonic() + 0.02


def test_more_small_messages_than_are_read_at_once_all_come(pair):
    p = pair().meet()
    for number in range(200):
        assert p.meshes[1].send(0, [bytes([number])])
    p.until(lambda: len(p.packets(0)) == 201)
    assert p.packets(0)[1:] == [[bytes([number])] for number in range(200)]


def test_both_send_more_than_sockets_hold(pair):
    p = pair().meet()
    big = [os.urandom(20_000_000) for _ in range(2)]
    for at in (0, 1):
        for number in (b"1", b"2"):
            assert p.meshes[at].send(1 - at, [number, big[at]])
    assert any(p.direct(at).pending for at in (0, 1))
    p.until(lambda: len(p.packets(0)) == 3 and len(p.packets(1)) == 2)
    assert p.packets(0)[1:] == [[b"1", big[1]], [b"2", big[1]]]
    assert p.packets(1) == [[b"1", big[0]], [b"2", big[0]]]
    assert not any(p.direct(at).pending for at in (0, 1))


@pytest.mark.parametrize("when", ["sent", "received"])
def test_what_a_socket_did_not_take_is_written_before_this_thread_computes(pair, monkeypatch, when):
    """Whoever reads gets all of a long message, though its sender is not asked again."""
    p, big = pair().meet(), [bytes(20_000_000)]
    alice, bob = p.meshes
    if when == "received":
        assert alice.send(1, big)  # bob does not read
        assert p.direct(0).pending
        assert bob.send(0, [b"x"])
        p.direct(0).wait(5.0)
    monkeypatch.setattr(standing, "_STILL", 5.0)  # however long it takes until the reader gets a core
    monkeypatch.setattr(standing, "_MOST_WRITING", 10.0)
    got, reading = [], threading.Event()

    def read():
        while not got and not reading.is_set():
            got.extend(h for h in bob.poll(0.01) if isinstance(h, Packet))

    reader = threading.Thread(target=read)
    reader.start()
    found = alice.poll(1.0) if when == "received" else alice.send(1, big)
    assert found
    assert not p.direct(0).pending
    reader.join(5.0)
    reading.set()
    assert [len(h.parts[0]) for h in got] == [20_000_000]


def test_what_waits_for_whoever_reads_nothing_does_not_grow_without_end(pair):
    p, sent = pair().meet(), 0
    while p.meshes[1].send(0, [bytes(100_000)]):
        sent += 1
        assert sent < 1000
    p.until(lambda: len(p.packets(0)) == 1 + sent)
    assert p.meshes[1].send(0, [b"again"])
    p.until(lambda: p.packets(0)[-1] == [b"again"])


def test_every_message_is_shown_to_the_tap_before_it_is_sealed(pair):
    told = []
    p = pair(taps=(None, lambda to, parts: told.append((to, [bytes(x) for x in parts])))).meet()
    p.meshes[1].send(0, [b"canary"])
    assert told == [(0, [b"hello"]), (0, [b"canary"])]


def carried(p, monkeypatch):
    """The bytes of two messages on their way."""
    sent = []

    class Listening:
        def send(self, data):
            sent.append(bytes(data))
            return len(data)

    with monkeypatch.context() as patch:
        patch.setattr(p.direct(1), "socket", Listening())
        p.direct(1).send([b"head", b"canary bird"])
        p.direct(1).send([b"head", b"canary bird" * 5000])
    return b"".join(sent)


def test_nothing_is_readable_on_the_way(pair, monkeypatch):
    assert b"canary" not in carried(pair().meet(), monkeypatch)


def test_the_broken_twin_that_does_not_seal_would_be_found(pair, monkeypatch):
    p = pair().meet()
    monkeypatch.setattr(p.direct(1)._sealer, "records", iter)
    assert b"canary" in carried(p, monkeypatch)


# ------------------------------------------------------------------------------------- one connection, and no mesh


@pytest.fixture
def ends(way):
    """Both ends of a connection."""
    here = "127.0.0.1"
    with beside(here) if way == "port" else at_home("a test", here) as listener:
        caller = call(here, listener.getsockname()[1]) if way == "port" else call_at_home("a test", here)
        listener.settimeout(5.0)
        listening, _ = listener.accept()
    listening.setblocking(False)
    keys = bytes(32), bytes([1]) * 32
    sockets = caller, listening
    made = [Direct(at, sockets[at], Sealer(keys[at]), Opener(keys[1 - at])) for at in (0, 1)]
    yield made
    for end in made:
        end.close()


def test_so_much_waits_and_no_more(ends):
    """What the socket does not take waits; when 64 messages have not had their turn, it is full."""
    sender, _ = ends
    while not sender.pending:
        sender.send([bytes(1_000_000)])
    waiting = 0
    while not sender.full:
        sender.send([b"x"])
        waiting += 1
    assert waiting == 64


def test_what_waits_is_sent_when_the_socket_takes_more_and_each_message_is_whole(ends):
    sender, reader = ends
    sizes = [0, 1, 16_384, 3_000_000, 5, 300_000, 0, 9_000_000]
    for size in sizes:
        sender.send([bytes([size % 251]) * size])
    got = []
    while len(got) < len(sizes):
        sender.push()
        message = reader.receive()
        if message is not None:
            got += [bytes(part) for part in message]
    assert not sender.pending
    assert got == [bytes([size % 251]) * size for size in sizes]


def test_the_end_of_the_other_end_is_told(ends):
    sender, reader = ends
    sender.send([b"last"])
    sender.close()
    reader.wait(5.0)
    assert reader.receive() == [b"last"]
    reader.wait(5.0)
    with pytest.raises(Ended, match="closed"):
        reader.receive()


def test_waiting_lasts_as_long_as_is_said(ends, monkeypatch):
    asked = []

    class Poll:
        def poll(self, milliseconds):
            asked.append(milliseconds)

    monkeypatch.setattr(ends[0], "_poll", Poll())
    ends[0].wait(0.25)
    assert asked == [250.0]


def test_a_socket_sends_at_once_and_notices_who_is_gone_without_a_word(ends, way):
    """A message does not wait for others to fill a packet; silence of 20 s ends it, asked every 5 s.

    On one host no packet is lost, and who is gone has closed it; the kernel keeps as much for whoever computes.
    """
    tcp = socket.IPPROTO_TCP
    if way != "port":
        assert [end.socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) for end in ends] == [8 << 20] * 2
        return
    for end in ends:
        assert end.socket.getsockopt(tcp, socket.TCP_NODELAY)
        assert end.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        if sys.platform == "linux":
            options = socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_USER_TIMEOUT
            assert [end.socket.getsockopt(tcp, option) for option in options] == [5, 5, 20_000]
