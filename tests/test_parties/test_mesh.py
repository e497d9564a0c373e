"""Real sockets on loopback: who gets in, who does not, and what a flood costs."""

import os
import resource
import socket
import threading
import time

import pytest
import zmq

from mpc.errors import PeerError, UsageError
from parties import keys, mesh, sockets
from parties.envelope import enveloped, unfolded
from parties.mesh import Gone, Mesh, Packet, Reached
from parties.wire import FRAMES_LIMIT, BadMessage, decode

PARTS = [b"head", b"meta", b"payload"]


def until(condition, *meshes, seconds=10.0):
    """Poll the meshes until a condition on what happened holds."""
    happened = {m: [] for m in meshes}
    end = time.monotonic() + seconds
    while not condition(happened):
        assert time.monotonic() < end, happened
        for m in meshes:
            happened[m] += m.poll(0.01)
    return happened


@pytest.fixture
def make():
    made = []

    def new(pair=None, **more):
        made.append(Mesh(pair or keys.fresh(), **more))
        return made[-1]

    yield new
    for m in made:
        m.close(0.0)


def listening(make, allowed, **more):
    pair = keys.fresh()
    listener = make(pair, **more)
    return listener, pair.public, listener.listen("tcp://127.0.0.1:*", allowed)


def called(make, other=None):
    """A listener, a caller that has reached it, and how one more calls with its key. other: makes the caller."""
    pair = keys.fresh()
    listener, public, port = listening(make, {pair.public: 1})

    def call(mesh):
        mesh.dial(0, f"127.0.0.1:{port}", public)
        until(lambda h: Reached(0) in h[mesh], mesh)
        return mesh

    return listener, call((other or make)(pair)), lambda: call(make(pair))


def test_both_ways_and_identity_is_the_key(make):
    alice, bob = keys.fresh(), keys.fresh()
    tapped = []
    listener, public, port = listening(
        make, {alice.public: 4, bob.public: 5}, on_send=lambda to, parts: tapped.append((to, parts))
    )
    callers = {4: make(alice), 5: make(bob)}
    for caller in callers.values():
        caller.dial(0, f"127.0.0.1:{port}", public)
        until(lambda h, c=caller: Reached(0) in h[c], caller)
        assert caller.send(0, PARTS)
    got = until(lambda h: len(h[listener]) == 2, listener)[listener]
    assert sorted(p.peer for p in got) == [4, 5]
    assert all([bytes(x) for x in p.parts] == PARTS and p.fresh for p in got)
    for peer, caller in callers.items():
        assert listener.send(peer, [b"to", b"%d" % peer])
        (answer,) = until(lambda h, c=caller: h[c], caller)[caller]
        assert [bytes(x) for x in answer.parts] == [b"to", b"%d" % peer]
    assert tapped == [(4, [b"to", b"4"]), (5, [b"to", b"5"])]
    assert not listener.send(6, PARTS)


def stranger_gets_in(make, listener, public, port):
    stranger = make()
    stranger.dial(0, f"127.0.0.1:{port}", public)
    end = time.monotonic() + 1.5
    reached = False
    while time.monotonic() < end and not reached:
        reached = any(isinstance(h, Reached) for h in stranger.poll(0.02))
        listener.poll(0)
    return reached, stranger


def test_an_unknown_key_is_refused(make):
    listener, public, port = listening(make, {keys.fresh().public: 1})
    reached, stranger = stranger_gets_in(make, listener, public, port)
    assert not reached
    assert "does not know our key" in stranger.trouble(0)


def test_the_broken_twin_without_zap_lets_the_stranger_in(make, monkeypatch):
    """So the test above can fail: without ZAP, libzmq accepts any key."""

    class NoGate:
        def __init__(self, _context, allowed):
            self.allowed = allowed

        def close(self):
            """Nothing to close."""

    monkeypatch.setattr(mesh, "Gatekeeper", NoGate)
    original = zmq.Socket.setsockopt

    def forgetful(self, option, value):
        if option not in (zmq.ZAP_DOMAIN, zmq.ZAP_ENFORCE_DOMAIN):
            original(self, option, value)

    monkeypatch.setattr(zmq.Socket, "setsockopt", forgetful)
    listener, public, port = listening(make, {keys.fresh().public: 1})
    assert stranger_gets_in(make, listener, public, port)[0]


def test_without_curve_the_mesh_does_not_open(make, monkeypatch):
    monkeypatch.setitem(sockets._LISTENER, zmq.CURVE_SERVER, 0)
    with pytest.raises(PeerError, match="not protected"):
        listening(make, {})


def test_a_plain_client_is_never_heard(make):
    listener, _, port = listening(make, {keys.fresh().public: 1})
    context = zmq.Context()
    plain = context.socket(zmq.DEALER)
    plain.setsockopt(zmq.LINGER, 0)
    plain.connect(f"tcp://127.0.0.1:{port}")
    plain.send_multipart(PARTS)
    assert [h for _ in range(30) for h in listener.poll(0.01)] == []
    plain.close(0)
    context.term()


@pytest.mark.parametrize(
    "request_",
    [
        [b"1.0", b"1", b"privity", b"127.0.0.1", b"", b"NULL"],
        [b"1.0", b"1", b"privity", b"127.0.0.1", b"", b"PLAIN", b"u", b"p"],
        [b"1.0", b"1", b"other", b"127.0.0.1", b"", b"CURVE", None],
        [b"2.0", b"1", b"privity", b"127.0.0.1", b"", b"CURVE", None],
        [b"1.0", b"1", b"privity", b"127.0.0.1", b"", b"NULL", None],
        [b"1.0", b"1", b"privity", b"127.0.0.1", b"", b"CURVE", b"short"],
        [b"1.0"],
        [],
    ],
)
def test_the_gatekeeper_wants_curve_our_domain_and_a_known_key(request_):
    pair = keys.fresh()
    context = zmq.Context()
    gate = mesh.Gatekeeper(context, {pair.public})
    try:
        known = keys.unz85(pair.public)
        good = [b"1.0", b"1", b"privity", b"127.0.0.1", b"", b"CURVE", known]
        assert gate.answer(good)[2:5:2] == [b"200", pair.public.encode()]
        assert gate.answer([known if part is None else part for part in request_])[2] == b"400"
    finally:
        gate.close()
        context.term()


def test_a_wrong_server_key_is_named(make):
    pair = keys.fresh()
    _, _, port = listening(make, {pair.public: 1})
    caller = make(pair)
    caller.dial(0, f"127.0.0.1:{port}", keys.fresh().public)
    until(lambda _: "another key" in caller.trouble(0), caller)


def test_a_port_where_nobody_listens_is_named(make):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    caller = make()
    caller.dial(0, f"127.0.0.1:{port}", keys.fresh().public)
    until(lambda _: "nothing answers" in caller.trouble(0), caller)


def test_a_refused_peer_is_let_in_once_it_is_allowed(make, monkeypatch):
    monkeypatch.setattr(mesh, "_REDIAL_SECONDS", 0.1)
    pair = keys.fresh()
    listener, public, port = listening(make, {})
    caller = make(pair)
    caller.dial(0, f"127.0.0.1:{port}", public)
    until(lambda _: "does not know our key" in caller.trouble(0), caller)
    listener.allow({pair.public: 1})
    until(lambda h: Reached(0) in h[caller], caller)


def test_port_in_use(make):
    _, _, port = listening(make, {})
    with pytest.raises(PeerError, match=rf"127.0.0.1:{port}: port in use"):
        make().listen(f"tcp://127.0.0.1:{port}", {})


def test_an_address_of_another_host(make):
    with pytest.raises(UsageError, match="no such address"):
        make().listen("tcp://192.0.2.1:7001", {})


def test_both_ends_notice_that_the_other_is_gone(make):
    listener, caller, once_more = called(make, Mesh)
    caller.send(0, PARTS)
    until(lambda h: h[listener], listener)
    assert listener.send(1, [b"there"])
    caller.close(0.0)

    def probed(happened):
        listener.send(1, [b"probe"])
        return Gone(1) in happened[listener]

    until(probed, listener)
    again = once_more()
    again.send(0, PARTS)
    (packet,) = until(lambda h: h[listener], listener)[listener]
    assert isinstance(packet, Packet)
    assert packet.fresh
    listener.close(0.0)
    until(lambda h: Gone(0) in h[again], again)


def test_a_full_queue_is_not_yet_and_never_an_error(make):
    listener, caller, _ = called(make)
    caller.send(0, PARTS)
    until(lambda h: h[listener], listener)
    big, sent, refused = bytes(1 << 20), 0, 0
    end = time.monotonic() + 10
    while refused < 50:
        assert time.monotonic() < end
        if listener.send(1, [b"n", big]):
            sent, refused = sent + 1, 0
        else:
            refused += 1
            time.sleep(0.002)
    assert sent < 400
    got = until(lambda h: len(h[caller]) == sent, caller)
    assert all(len(p.parts[1]) == 1 << 20 for p in got[caller])


def test_garbage_on_the_port_costs_nothing_and_locks_nobody_out(make):
    pair = keys.fresh()
    listener, public, port = listening(make, {pair.public: 1})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    stop = threading.Event()
    made = []

    def flood():
        while not stop.is_set():
            with socket.socket() as s:
                s.settimeout(0.5)
                try:
                    s.connect(("127.0.0.1", port))
                    s.sendall(
                        os.urandom(200) if len(made) % 2 else b"\xff" + bytes(8) + b"\x7f" + bytes(54) + b"\xff" * 200
                    )
                except OSError:
                    continue
                made.append(1)

    threads = [threading.Thread(target=flood) for _ in range(4)]
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
    for t in threads:
        t.start()
    try:
        caller = make(pair)
        began = time.monotonic()
        caller.dial(0, f"127.0.0.1:{port}", public)
        until(lambda h: Reached(0) in h[caller], caller, seconds=5)
        assert time.monotonic() - began < 5
        caller.send(0, PARTS)
        got = until(lambda h: h[listener], listener)[listener]
        assert [p.peer for p in got] == [1]
        end = time.monotonic() + 1
        while time.monotonic() < end:
            assert listener.poll(0.02) == []
    finally:
        stop.set()
        for t in threads:
            t.join()
        for s in idle:
            s.close()
    assert len(made) > 50
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 64 * 1024


def test_a_message_above_the_limit_drops_the_connection_not_the_memory(make):
    listener, caller, _ = called(make)
    caller.send(0, [b"n", bytes(33 << 20)])
    until(lambda h: Gone(0) in h[caller], caller, listener)


def test_a_message_of_endless_parts_is_not_kept(make):
    """libzmq gives a message when all its parts are there; of what no message may have, only so much is looked at."""
    listener, caller, _ = called(make)
    assert caller.send(0, [b"x"] * 100_000)
    assert caller.send(0, [b"the next"])
    heard = until(lambda h: len([x for x in h[listener] if isinstance(x, Packet)]) == 2, listener)
    endless, following = (x for x in heard[listener] if isinstance(x, Packet))
    assert len(endless.parts) == FRAMES_LIMIT + 3
    with pytest.raises(BadMessage):
        decode(endless.parts)
    assert bytes(following.parts[0]) == b"the next"


def test_last_words_are_heard_before_the_end(make):
    listener, caller, _ = called(make, Mesh)
    assert caller.send(0, [b"first"])
    heard = until(lambda h: h[listener], listener)[listener]
    for number in range(40):
        assert caller.send(0, [b"%d" % number])
    caller.close(1.0)
    while listener.send(1, [b"probe"]):
        time.sleep(0.01)
    assert not listener.send(1, [b"and not after it"])
    heard += listener.poll(1.0)
    assert heard.pop() == Gone(1)
    assert [bytes(h.parts[0]) for h in heard] == [b"first", *(b"%d" % n for n in range(40))]
    assert [h.fresh for h in heard] == [True] + [False] * 40


def test_the_end_of_a_connection_is_told_before_the_first_word_of_the_next(make):
    listener, first, once_more = called(make, Mesh)
    assert first.send(0, [b"old"])
    until(lambda h: h[listener], listener)
    assert first.send(0, [b"last"])
    first.close(1.0)
    while listener.send(1, [b"probe"]):
        time.sleep(0.01)
    second = once_more()
    assert second.send(0, [b"new"])
    heard = until(lambda h: any(isinstance(x, Packet) and bytes(x.parts[0]) == b"new" for x in h[listener]), listener)
    said = [bytes(h.parts[0]) if isinstance(h, Packet) else h for h in heard[listener]]
    assert [word for word in said if word != Gone(1)] == [b"last", b"new"]
    assert said.index(b"last") < said.index(Gone(1))
    assert listener.send(1, [b"answer"])


def test_a_former_route_comes_back_when_its_successor_is_dead(make):
    mesh = make()
    assert mesh._route(1, b"new")
    assert mesh._route(1, b"left behind by an older connection, and read too late")
    assert not mesh._route(1, b"new")
    mesh._retire(1, mesh._routes.pop(1))
    assert mesh._route(1, b"new")
    assert mesh._routes[1] == b"new"


# ------------------------------------------------------------------------------------------- one part, one actor


SHAPES = [[b"h" * 68, b"\x80"], [b"", b""], [b"h" * 68, b"", b"x" * 8], [b"a"] * 64, [b"x" * 2048, b"y" * 2048]]


@pytest.mark.parametrize("parts", SHAPES, ids=len)
def test_a_small_message_travels_as_one_part(parts):
    (whole,) = enveloped(parts)
    assert [bytes(p) for p in unfolded(whole)] == parts


@pytest.mark.parametrize("parts", [[b"x"], [b"x" * 4096, b"y"], [b"a"] * 65], ids=len)
def test_other_messages_travel_as_they_are(parts):
    assert enveloped(parts) is parts
    assert [bytes(p) for p in sockets.parts_of([zmq.Frame(p) for p in parts])] == parts


@pytest.mark.parametrize("length", range(30))
def test_a_false_envelope_stays_what_it_is(length):
    (whole,) = enveloped([b"h" * 5, b"\x80", b"payload"])
    for wrong in (whole[:length], whole[:length] + b"\xff" + whole[length + 1 :], whole + bytes(length + 1)):
        parts = [bytes(p) for p in unfolded(wrong)]
        assert parts == [wrong] or b"".join(parts) == wrong[-len(b"".join(parts)) :]
        assert len(parts) <= 64


def test_whoever_is_awaited_is_heard_at_once_and_the_others_soon(make):
    alice, bob = keys.fresh(), keys.fresh()
    listener, public, port = listening(make, {alice.public: 4, bob.public: 5})
    callers = {4: make(alice), 5: make(bob)}
    for caller in callers.values():
        caller.dial(0, f"127.0.0.1:{port}", public)
        until(lambda h, c=caller: Reached(0) in h[c], caller)
        assert caller.send(0, PARTS)
    until(lambda h: len(h[listener]) == 2, listener)
    assert listener.send(4, [b"one", b"two"])
    heard = callers[4].poll(5.0, 0)  # by whichever way: the first look goes round all sockets
    while not heard:
        heard = callers[4].poll(5.0, 0)
    assert [[bytes(p) for p in h.parts] for h in heard] == [[b"one", b"two"]]
    assert callers[4].send(0, PARTS)
    found = []
    end = time.monotonic() + 10
    while len(found) < 1:
        assert time.monotonic() < end
        found += listener.poll(1.0, 5)  # bob is awaited, and alice speaks
    assert {h.peer for h in found} == {4}
    listener.wake()
    began = time.monotonic()
    for _ in range(3):
        listener.poll(5.0, 5)  # nobody speaks: it comes back all the same, to look after the rest
    assert time.monotonic() - began < 5.0
