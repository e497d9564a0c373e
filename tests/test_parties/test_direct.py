"""Two parties meet over ZeroMQ and have a direct connection then, or, where that cannot be, go on as they were."""

import contextlib
import os
import random
import socket
import threading
import time

import pytest

from parties import channel as channels
from parties import direct as directs
from parties import keys, meetings
from parties.channel import Channel, Delivered
from parties.happenings import Gone, Packet, Reached
from parties.mesh import Mesh
from parties.sealing import MALFORMED, Opener, Sealer
from parties.wire import Message, Type


class Pair:
    """Bob (1) calls alice (0), and what has happened at either. answers: whether alice can meet at all."""

    def __init__(self, answers=True, taps=(None, None)):
        pairs = [keys.fresh(), keys.fresh()]
        self.meshes = [Mesh(pair, tap) for pair, tap in zip(pairs, taps, strict=True)]
        self.happened = [[], []]
        alice, bob = self.meshes
        self.port = alice.listen("tcp://127.0.0.1:*", {pairs[1].public: 1})
        if answers:
            alice.meet("127.0.0.1", "digest", frozenset({1}))
        bob.meet("*", "digest", frozenset({0}))
        bob.dial(0, f"127.0.0.1:{self.port}", pairs[0].public)

    def turn(self):
        for mesh, happened in zip(self.meshes, self.happened, strict=True):
            happened.extend(mesh.poll(0.002))

    def until(self, condition, seconds=10.0):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.happened
            self.turn()

    def turns(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.turn()

    def direct(self, at):
        return self.meshes[at]._meetings.standing.get(1 - at)

    def meet(self):
        """Until both send directly: the caller, once it knows; the listener, once the caller has used it."""
        self.until(lambda: self.direct(1))
        assert self.meshes[1].send(0, [b"hello"])
        self.until(lambda: self.direct(0))
        self.until(lambda: Packet(1, [b"hello"], True) in self.happened[0])
        return self

    def packets(self, at):
        return [[bytes(part) for part in h.parts] for h in self.happened[at] if isinstance(h, Packet)]

    def close(self):
        for mesh in self.meshes:
            mesh.close(0.0)


@pytest.fixture
def pair():
    made = []

    def make(**more):
        made.append(Pair(**more))
        return made[-1]

    yield make
    for p in made:
        p.close()


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
def test_what_a_socket_did_not_take_is_written_before_this_thread_computes(pair, when):
    """Whoever reads gets all of a long message, though its sender is not asked again."""
    p, big = pair().meet(), [bytes(20_000_000)]
    alice, bob = p.meshes
    if when == "received":
        assert bob.send(0, [b"x"])
        assert alice.send(1, big)  # bob does not read
        assert p.direct(0).pending
        p.direct(0).wait(5.0)
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


# -------------------------------------------------------------------------------------------------- who gets in


class Gullible:
    """A broken twin of Opener: whatever comes is a message."""

    def __init__(self, _key=b""):
        self._room, self._count = memoryview(bytearray(1000)), 0

    def space(self):
        return self._room

    def taken(self, count):
        self._count = count

    def message(self):
        count, self._count = self._count, 0
        return ([] if count < 100 else [b"x"]) if count else None


def stranger_first(p, monkeypatch):
    """Somebody reaches alice's open port before bob does; the port of whom she takes for bob, and the stranger."""
    strangers, original = [], meetings.call

    def late(host, port):
        strangers.append(socket.create_connection((host, port)))
        strangers[0].sendall(Sealer(bytes(32)).sealed(bytes(4)))
        p.turns(0.05)
        return original(host, port)

    monkeypatch.setattr(meetings, "call", late)
    p.until(lambda: strangers)
    end = time.monotonic() + 2.0
    while time.monotonic() < end and not p.meshes[0]._meetings._met:
        p.turn()
    met = p.meshes[0]._meetings._met
    return met[1].socket.getpeername()[1] if met else None, strangers[0]


def test_a_stranger_at_the_port_is_not_taken_for_the_caller(pair, monkeypatch):
    p = pair()
    whom, stranger = stranger_first(p, monkeypatch)
    assert whom is not None
    assert whom != stranger.getsockname()[1]
    stranger.settimeout(5.0)
    with contextlib.suppress(ConnectionResetError):  # closed, with what it had sent unread or read
        assert stranger.recv(1) == b""
    stranger.close()


def test_the_broken_twin_that_opens_anything_takes_the_stranger(pair, monkeypatch):
    monkeypatch.setattr(meetings, "Opener", Gullible)
    p = pair()
    whom, stranger = stranger_first(p, monkeypatch)
    assert whom == stranger.getsockname()[1]
    stranger.close()


def test_many_strangers_do_not_keep_the_caller_out_nor_files_open(pair, monkeypatch):
    strangers, original = [], meetings.call

    def late(host, port):
        strangers.extend(socket.create_connection((host, port)) for _ in range(12))
        p.turns(0.05)
        invited = p.meshes[0]._meetings._invited[1]
        assert 0 < len(invited.comers) <= 8
        return original(host, port)

    monkeypatch.setattr(meetings, "call", late)
    p = pair()
    p.meet()
    assert p.meshes[0]._meetings._invited == {}
    for stranger in strangers:
        stranger.close()


def test_a_caller_that_calls_again_and_again_and_uses_nothing_keeps_one_file_open(pair):
    p, unused, files = pair(), [], set()
    for _ in range(4):
        p.until(lambda: p.direct(1))
        p.turns(0.02)
        files.add(len(p.meshes[0]._meetings._selector.get_map()))
        unused.append(p.meshes[1]._meetings.standing.pop(0))
        p.meshes[1]._meetings._wishes[0].at = 0.0
    assert files == {1}
    for direct in unused:
        direct.close()


# ------------------------------------------------------------------------------------- when it cannot be, or ends


def test_where_the_port_cannot_be_reached_zeromq_carries_on(pair, monkeypatch):
    asked = []

    def walled(host, port):
        asked.append((host, port))
        return directs.call(host, 1)

    monkeypatch.setattr(meetings, "call", walled)
    monkeypatch.setattr(meetings, "_FIRST_AGAIN", 0.05)
    p = pair()
    p.until(lambda: len(asked) >= 3)  # at growing intervals
    assert not p.direct(1)
    assert p.meshes[1].send(0, [b"x"])
    p.until(lambda: p.packets(0) == [[b"x"]])
    assert {host.removeprefix("::ffff:") for host, _ in asked} == {"127.0.0.1"}


def test_where_the_other_end_does_not_answer_zeromq_carries_on(pair, monkeypatch):
    monkeypatch.setattr(meetings, "_PATIENCE", 0.1)
    p = pair(answers=False)
    p.until(lambda: p.meshes[1]._meetings._wishes and p.meshes[1]._meetings._wishes[0].pause > meetings._FIRST_AGAIN)
    assert p.meshes[1].send(0, [b"x"])
    p.until(lambda: p.packets(0) == [[b"x"]])


def test_where_no_port_can_be_opened_zeromq_carries_on(pair, monkeypatch):
    def full(_host):
        raise OSError("no more files")

    monkeypatch.setattr(meetings, "beside", full)
    p = pair()
    p.until(lambda: p.meshes[1]._meetings._wishes and p.meshes[1]._meetings._wishes[0].pause > meetings._FIRST_AGAIN)
    assert p.meshes[1].send(0, [b"x"])
    p.until(lambda: p.packets(0) == [[b"x"]])


@pytest.mark.parametrize("first", [0, 1], ids=["at the caller", "at the listener"])
def test_a_socket_that_does_not_settle_ends_nobody(pair, monkeypatch, first):
    original, asked = directs._settle, []

    def stubborn(connection):
        asked.append(connection)
        if len(asked) > first:
            raise OSError("as when the other end is gone already, or the system does not know an option")
        original(connection)

    monkeypatch.setattr(directs, "_settle", stubborn)
    p = pair()
    p.until(lambda: len(asked) > first and p.meshes[1]._meetings._calls == {})
    assert not p.direct(1)
    assert asked[-1].fileno() == -1
    assert p.meshes[1].send(0, [b"x"])
    p.until(lambda: p.packets(0) == [[b"x"]])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "*"])
def test_a_listener_on_all_interfaces_is_reached_where_zeromq_reaches_it(host):
    with directs.beside(host) as listener:
        directs.call("127.0.0.1", listener.getsockname()[1]).close()
        listener.settimeout(1.0)
        listener.accept()[0].close()


@pytest.mark.parametrize("at", [0, 1], ids=["listener", "caller"])
@pytest.mark.parametrize("how", ["read", "written"])
def test_one_that_breaks_while_it_is_awaited_is_told_once(pair, at, how):
    p = pair().meet()
    p.turns(0.02)
    p.direct(1 - at).socket.shutdown(socket.SHUT_RDWR)
    p.direct(at).wait(5.0)
    if how == "written":
        p.direct(at).socket.shutdown(socket.SHUT_WR)
        assert not p.meshes[at].send(1 - at, [b"x"])
    found = []
    for _ in range(3):
        found += p.meshes[at].poll(0.05, awaited=1 - at)
    assert [h for h in found if isinstance(h, Gone)] == [Gone(1 - at)]


@pytest.mark.parametrize("at", [0, 1], ids=["listener", "caller"])
@pytest.mark.parametrize("waiting", [False, True], ids=["nothing waits", "something waits"])
def test_last_words_are_read_when_nothing_more_can_be_written(pair, at, waiting):
    p = pair().meet()
    p.turns(0.02)
    p.happened[:] = [], []
    while not p.direct(at).pending and p.meshes[at].send(1 - at, [bytes(1_000_000)]) and waiting:
        pass
    assert p.meshes[1 - at].send(at, [b"last words"])
    p.direct(1 - at).wait(1.0)
    p.direct(1 - at).close()  # with something unread: the other end cannot write any more
    p.direct(at).wait(1.0)
    if not waiting:
        assert not p.meshes[at].send(1 - at, [b"x"])
    for _ in range(5):
        p.happened[at] += p.meshes[at].poll(0.01)
    assert p.happened[at][:2] == [Packet(1 - at, [b"last words"]), Gone(1 - at)]


@pytest.mark.parametrize("who", [0, 1], ids=["listener", "caller"])
def test_one_that_breaks_is_told_at_both_ends_and_made_again(pair, monkeypatch, who):
    monkeypatch.setattr(meetings, "_FIRST_AGAIN", 0.2)
    p = pair().meet()
    p.happened[:] = [], []
    broken = p.direct(who)
    broken.socket.shutdown(socket.SHUT_RDWR)
    p.until(lambda: Gone(1) in p.happened[0] or any(isinstance(h, Packet) for h in p.happened[0]))
    p.until(lambda: p.happened[1][:2] == [Gone(0), Reached(0)])
    assert p.meshes[1].send(0, [b"over zeromq"])
    p.until(lambda: Packet(1, [b"over zeromq"], True) in p.happened[0])
    assert p.meshes[0].send(1, [b"too"])
    p.until(lambda: [b"too"] in p.packets(1))
    p.until(lambda: p.direct(1))
    assert p.direct(1) is not broken


def test_what_was_not_sealed_for_this_place_ends_it_and_nobody_is_blamed(pair):
    p = pair().meet()
    p.happened[:] = [], []
    p.direct(1).socket.send(Sealer(bytes(32)).sealed(b"\1\0\0\0\0\0\0\0"))
    p.until(lambda: p.happened[0] == [Gone(1)])
    p.until(lambda: p.happened[1][:2] == [Gone(0), Reached(0)])


def test_a_false_message_of_the_peers_is_handed_up_to_be_judged(pair):
    p = pair().meet()
    p.direct(1).socket.send(p.direct(1)._sealer.sealed(b"no head"))
    p.until(lambda: [bytes(x) for x in MALFORMED] in p.packets(0))


def test_it_ends_with_the_zeromq_connection(pair):
    p = pair().meet()
    p.meshes[1].dial(0, f"127.0.0.1:{p.port}", p.meshes[1]._dialled[0].public)
    assert not p.direct(1)
    p.until(lambda: Reached(0) in p.happened[1][2:])
    assert p.meshes[1].send(0, [b"again"])
    p.until(lambda: Packet(1, [b"again"], True) in p.happened[0])
    assert not p.direct(0)


def test_words_that_nobody_asked_for_change_nothing(pair):
    p = pair().meet()
    standing = [p.direct(0), p.direct(1)]
    word = meetings._WORD
    for mark in (
        word.pack(meetings.MARK, b"H", 77, 1, bytes(32)),
        word.pack(meetings.MARK, b"?", 0, 0, bytes(32)),
        meetings.MARK + b"short",
    ):
        for at in (0, 1):
            assert p.meshes[at]._word(1 - at, mark)
    p.turns(0.1)
    assert [p.direct(0), p.direct(1)] == standing
    assert len(p.packets(0)) == 1


def test_no_secret_of_it_is_in_a_repr():
    calling = meetings._Calling(1, b"s" * 32, 0.0)
    invited = meetings._Invited(None, (b"s" * 32, b"t" * 32), 0.0)
    assert "ss" not in repr((calling, invited, Opener(b"s" * 32)))


# ------------------------------------------------------------------------------- under a channel, whatever breaks


class Channels:
    """A channel at either end of a pair, and what has come out of it."""

    def __init__(self, pair):
        hello = {"name": "x", "version": "1", "cluster": "c", "control": 0}
        self.pair = pair
        self.channels = [Channel(at, 1 - at, 10 + at, hello, dials=at == 1) for at in (0, 1)]
        self.got, self.sent = [[], []], [0, 0]

    def send(self, size):
        for at, channel in enumerate(self.channels):
            if channel.up and self.sent[at] < TOTAL:
                self.sent[at] += 1
                frame = bytes([self.sent[at] % 256]) * size
                channel.send(Message(Type.DATA, at, 1 - at, bytes(16), self.sent[at], frames=(frame,)))

    def turn(self):
        for at, channel in enumerate(self.channels):
            for happening in self.pair.meshes[at].poll(0.001):
                self.transport(channel, happening, time.monotonic())
            channel.tick(time.monotonic())
            self.got[at] += [e.message for e in channel.events if isinstance(e, Delivered)]
            channel.events.clear()
            channel.flush(lambda parts, at=at: self.pair.meshes[at].send(1 - at, parts))

    @staticmethod
    def transport(channel, happening, now):
        if isinstance(happening, Gone):
            channel.disconnected()
            return
        if isinstance(happening, Reached) or happening.fresh:
            channel.connected(now)
        if isinstance(happening, Packet):
            channel.receive(happening.parts, now)


TOTAL = 400


@pytest.mark.parametrize("seed", range(4))
def test_a_channel_above_it_loses_and_repeats_nothing(pair, monkeypatch, seed):
    monkeypatch.setattr(meetings, "_FIRST_AGAIN", 0.01)
    monkeypatch.setattr(meetings, "_LAST_AGAIN", 0.02)
    rng, p = random.Random(seed), pair()
    c, broken, end = Channels(p), 0, time.monotonic() + 60
    while any(len(got) < TOTAL for got in c.got):
        assert time.monotonic() < end, (c.channels, broken)
        c.send(rng.choice([1, 100, 5000, 200_000]))
        standing = [d for d in (p.direct(0), p.direct(1)) if d is not None]
        if standing and rng.random() < 0.03:
            broken += 1
            rng.choice(standing).socket.shutdown(rng.choice([socket.SHUT_RDWR, socket.SHUT_RD, socket.SHUT_WR]))
        c.turn()
    assert broken >= 3
    for got in c.got:
        assert [m.step for m in got] == list(range(1, TOTAL + 1))
        assert all(set(m.frames[0]) == {m.step % 256} for m in got)


def test_whoever_sends_on_between_the_last_word_and_the_greeting_and_computes_then_is_not_blamed(pair, monkeypatch):
    monkeypatch.setattr(channels, "GAP_SECONDS", 0.2)
    p = pair()
    c = Channels(p)
    while not (p.direct(0) and p.direct(1) and all(channel.up for channel in c.channels)):
        c.turn()

    def say(step):
        c.channels[0].send(Message(Type.DATA, 0, 1, bytes(16), step, frames=(b"x",)))
        c.channels[0].flush(lambda parts: p.meshes[0].send(1, parts))

    def only(at):
        for happening in p.meshes[at].poll(0.01):
            c.transport(c.channels[at], happening, time.monotonic())
        c.channels[at].tick(time.monotonic())

    with monkeypatch.context() as patch:
        patch.setattr(p.direct(0), "send", lambda _: None)
        say(1)  # goes down with the connection
    broken = p.direct(1)
    with monkeypatch.context() as patch:
        patch.setattr(broken, "close", lambda: None)  # as where the network does not say so either
        p.meshes[1]._meetings._ended(broken)
    while p.direct(0):
        only(0)  # hears that bob has left
    end = time.monotonic() + 0.5
    only(1)
    c.channels[1].flush(lambda parts: p.meshes[1].send(0, parts))  # greets
    say(2)
    while time.monotonic() < end:
        only(1)
    broken.close()
    assert not any(isinstance(e, channels.Broken) for e in c.channels[1].events)
    while len(c.got[1]) < 2:
        assert time.monotonic() < end + 5
        c.turn()
    assert [m.step for m in c.got[1]] == [1, 2]
