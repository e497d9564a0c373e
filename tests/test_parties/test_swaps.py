"""A message that is owed in return and comes at once goes straight to whoever waits; all others go the usual way."""

import gc
import random
import weakref
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
from actors import Net, make_cluster, script_text, scripted

from mpc.errors import MpcError, PeerError
from mpc.exchange import Exchange, Frame
from parties.actor import Actor
from parties.attempt import Stage
from parties.channel import Channel
from parties.cluster import COORDINATOR
from parties.control import Alive
from parties.events import Arrived, Send, Swap, Tick
from parties.happenings import Gone, Packet
from parties.liveness import Sign
from parties.wire import Message, Type, decode, encode

ME, PEER = 0, 1
SESSION = b"s" * 16
ABORT = {"origin": 1, "kind": "k", "reason": "r", "round": 1, "where": "", "final": False}


class Wire:
    """A mesh of one peer. inbox: what `poll` brings, a list a call; soon: what `at_once` brings."""

    def __init__(self):
        self.inbox, self.soon, self.sent, self.asked = [], [], [], 0

    def poll(self, _seconds, awaited=-1):  # noqa: ARG002 - there is one peer
        return self.inbox.pop(0) if self.inbox else []

    def at_once(self, peer):
        assert peer == PEER
        self.asked += 1
        return self.soon.pop(0) if self.soon else None

    def send(self, _peer, parts):
        self.sent.append(decode([bytes(p) for p in parts]))
        return True


class Swapper:
    """A brain that answers data with a swap of the next step, for as long as what is owed comes at once."""

    me, deadline, pumping, awaited, sign = ME, None, False, PEER, Sign(0, waiting=True)

    def __init__(self):
        self.told, self.frames = [], (b"87654321",)

    def room(self, _m):
        return 1 << 20

    def handle(self, event):
        self.told.append(event)
        if isinstance(event, Tick):
            self.deadline = None
        if isinstance(event, Tick) or (isinstance(event, Arrived) and event.message.type is Type.DATA):

            def answered(came):
                assert {peer: tuple(map(bytes, frames)) for peer, frames in came.items()} == {PEER: self.frames}
                self.told.append(next(steps))
                return self.told[-1] + 1, {PEER: (b"12345678",)}, (PEER,)

            first = event.message.step + 1 if isinstance(event, Arrived) else 1
            steps = count(first)
            yield Swap(Type.DATA, SESSION, first, {PEER: (b"12345678",)}, (PEER,), answered)

    @property
    def steps(self):
        """What came, in order: a step of its own if it came at once, in brackets if by an event."""
        return [[e.message.step] if isinstance(e, Arrived) else e for e in self.told if isinstance(e, (int, Arrived))]


class Pair:
    """An actor that is up with one peer, whose channel is at the far end."""

    def __init__(self):
        cluster, _ = make_cluster(2)
        self.now, self.wire, self.brain = 0.0, Wire(), Swapper()
        told = [Alive(PEER)]
        watch = SimpleNamespace(port=7, sign=None, news=lambda: [told.pop()] if told else [], joined=lambda *_: None)
        self.actor = Actor(self.wire, self.brain, cluster, 100, watch, clock=lambda: self.now)
        hello = {"name": cluster.name(PEER), "version": "v", "cluster": cluster.digest(), "control": 7}
        self.far = Channel(PEER, ME, 200, hello, dials=True)
        self.connect()
        self.step()

    def connect(self):
        self.far.connected(self.now)
        (hello,) = self.posted()
        self.wire.inbox.append([Packet(PEER, hello, True)])
        self.step()
        for m in self.wire.sent:
            if m.type is Type.WELCOME:
                self.far.receive(encode(m), self.now)

    def posted(self):
        out = []
        self.far.flush(lambda parts: out.append([bytes(p) for p in parts]) or True)
        return out

    def say(self, *steps, kind=Type.DATA, session=SESSION):
        """Packets with these steps, as the peer sends them."""
        for step in steps:
            frames = self.brain.frames if kind is Type.DATA else ()
            meta = {} if kind is Type.DATA else ABORT
            self.far.send(Message(kind, PEER, ME, session, step, meta, frames))
        return [Packet(PEER, parts) for parts in self.posted()]

    def step(self):
        self.actor.step(0.25)


@pytest.fixture
def pair():
    return Pair()


def sent_steps(pair):
    return [m.step for m in pair.wire.sent if m.type is Type.DATA]


def test_what_is_owed_goes_straight_to_whoever_waits(pair):
    first, *rest = pair.say(1, 2, 3, 4)
    pair.wire.inbox, pair.wire.soon = [[first]], rest
    pair.step()
    assert pair.brain.steps == [[1], 2, 3, 4]
    assert sent_steps(pair) == [2, 3, 4, 5]


def test_a_message_that_is_not_owed_is_told_after_the_brain_is_done_and_before_the_next(pair):
    first, other, after = pair.say(1, 7, 8)
    pair.wire.inbox, pair.wire.soon = [[first], [after]], [other]
    pair.step()
    assert pair.brain.steps == [[1], [7]]
    pair.step()
    assert pair.brain.steps == [[1], [7], [8]]


@pytest.mark.parametrize("what", [{"session": b"t" * 16}, {"kind": Type.ABORT}])
def test_neither_is_one_of_another_session_or_type(pair, what):
    (first,) = pair.say(1)
    (other,) = pair.say(2, **what)
    pair.wire.inbox, pair.wire.soon = [[first]], [other]
    pair.step()
    assert pair.brain.steps == [[1], [2]]


def test_what_is_owed_may_be_another_kind_of_message_than_the_one_before(pair):
    """It is looked at whole then, and handed over all the same, once."""
    (first,) = pair.say(1)
    pair.brain.frames = (b"8765", b"4321")
    pair.wire.inbox, pair.wire.soon = [[first]], pair.say(2, 3)
    pair.step()
    assert pair.brain.steps == [[1], 2, 3]


def test_what_is_not_owed_is_told_though_no_message_of_its_sender_began_this(pair):
    """A deadline did, or what another actor said: nobody is going through that channel just now."""
    (other,) = pair.say(7)
    pair.brain.deadline, pair.wire.soon = pair.now, [other]
    pair.step()
    assert pair.brain.steps == [[7]]


def test_what_is_owed_is_a_new_connections_first_word_if_it_comes_over_one(pair):
    first, owed = pair.say(1, 2)
    owed.fresh = True
    pair.wire.inbox, pair.wire.soon = [[first]], [owed]
    pair.step()
    assert pair.brain.steps == [[1], 2]
    assert not pair.actor._channels[PEER].up


def test_nothing_overtakes_what_came_before_it(pair):
    """Two messages come together: the second one is told before any that comes later is looked for."""
    first, second, third = pair.say(1, 2, 3)
    pair.wire.inbox, pair.wire.soon = [[first, second]], [third]
    pair.step()
    assert pair.brain.steps == [[1], [2], 3]


def test_all_else_is_looked_at_after_a_few_milliseconds(pair):
    packets = pair.say(*range(1, 12))
    pair.wire.inbox, pair.wire.soon = [[packets[0]]], packets[1:]
    looked = pair.wire.at_once

    def slow(peer):
        pair.now += 0.002
        return looked(peer)

    pair.wire.at_once = slow
    pair.step()
    assert pair.brain.steps == [[1], 2, 3, 4, 5, 6]
    assert pair.wire.asked == 5


def test_a_new_connection_in_the_middle_of_a_swap_loses_nothing(pair):
    """Its greeting comes instead of what is owed; it is answered in the same step, and what was lost comes again."""
    first, lost = pair.say(1, 2)
    assert lost
    pair.far.disconnected()
    pair.far.connected(pair.now)
    (hello,) = pair.posted()
    pair.wire.inbox, pair.wire.soon = [[first]], [Packet(PEER, hello, True)]
    before = len(pair.wire.sent)
    pair.step()
    answers = pair.wire.sent[before:]
    assert [m.type for m in answers] == [Type.DATA, Type.WELCOME, Type.DATA]
    for m in answers[1:]:
        pair.far.receive(encode(m), pair.now)
    again = [Packet(PEER, parts) for parts in pair.posted()]
    pair.wire.inbox = [again]
    pair.step()
    assert pair.brain.steps == [[1], [2]]


def test_a_break_is_told_after_what_came_at_once(pair):
    first, second = pair.say(1, 2)
    pair.wire.inbox, pair.wire.soon = [[first], [Gone(PEER)]], [second]
    pair.step()
    pair.step()
    assert pair.brain.steps == [[1], 2]
    assert not pair.actor._channels[PEER].up


def test_while_a_channel_has_something_to_say_no_more_is_looked_for(pair):
    """What is owed may be among it: it is told in its turn."""
    first, owed, later = pair.say(1, 2, 3)
    pair.step()
    pair.actor._received(pair.actor._channels[PEER], first)
    pair.actor._received(pair.actor._channels[PEER], owed)
    pair.actor._until = pair.now + 1.0
    pair.wire.soon = [later]
    pair.actor._digest(PEER, pair.actor._channels[PEER])
    assert pair.brain.steps == [[1], [2], 3]


# ----------------------------------------------------------------------------------------------------------- brains


def one_to_one(lowered, me, inputs, entropy, kept=()):
    """Round 1 among all; round 2 of the first and the last party alone."""
    program, n, word = lowered.program, len(lowered.program.parties), Frame("<u8", (1,))
    total = inputs["x"][:1].astype(np.uint64)
    for number, those in ((1, range(n)), (2, (0, n - 1))):
        peers = [i for i in those if i != me] if me in those else []
        if peers:
            got = yield Exchange(number, program.where, {p: [total] for p in peers}, dict.fromkeys(peers, (word,)))
            total = total + sum(a[0] for a in got.values())
    return {"sum": float(total[0])}


@pytest.mark.parametrize("seed", range(20))
def test_a_run_is_the_same_whether_what_is_owed_comes_at_once_or_not(seed, monkeypatch):
    came = []
    back = Net._back

    net = Net(2, pick=random.Random(seed).randrange)
    monkeypatch.setattr(Net, "_back", lambda net, *swap: came.append(back(net, *swap)) or came[-1])
    net.begin(script_text(20, 2))
    net.settle()
    assert net.outcome.results["sum"] == 20 * (1 + 2 + 1)
    assert 0 < sum(m is not None for m in came) < len(came) <= 40


def test_bad_data_that_comes_at_once_is_its_senders():
    """The message that set a party going was another one's: that one is not blamed."""
    net = Net(3, machinery=scripted(one_to_one), pick=lambda k: 0)
    net.begin(script_text(2, 3))
    held = {(1, 1): [], (2, 2): []}  # bob's data of round 1 and carol's of round 2 do not reach alice yet

    def step():
        for (src, number), those in held.items():
            link = net.links.get((src, 0))
            first = decode([bytes(p) for p in link[0]]) if link else None
            if first is not None and first.type is Type.DATA and first.step == number:
                those.append(link.popleft())
        return net.step()

    while step():
        pass
    (bobs,) = held[1, 1]
    bad = Message(Type.DATA, 2, 0, SESSION, 2, frames=(b"x" * 800,))
    net.links.clear()
    net.inject(bad)
    net.pick = lambda k: k - 1
    net.event(0, Arrived(decode([bytes(p) for p in bobs])))
    abort = next(m for m in reversed(net.log) if m.type is Type.ABORT and m.src == 0)
    assert abort.dst == COORDINATOR
    assert abort.meta["origin"] == 2
    assert "party carol sent a bad message (more data than the program lets it send)" in abort.meta["reason"]


ENDS = {
    "results": (None, "sum"),
    "a wrong program": (MpcError("the program is wrong"), "alice: the program is wrong"),
    "bad shares": (PeerError("party bob sent nonsense"), "alice: party bob sent nonsense"),
    "a fault of ours": (ValueError("it could hold data"), "alice: ValueError at"),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("pick", [lambda k: 0, lambda k: k - 1], ids=["in its turn", "at once"])
def test_whatever_ends_an_engine_ends_it_in_the_middle_of_a_swap_too(pick, end):
    error, expected = ENDS[end]

    def three(lowered, me, inputs, entropy, kept=()):
        word = Frame("<u8", (1,))
        for number in (1, 2, 3):
            yield Exchange(number, "-", {1 - me: [np.ones(1, np.uint64)]}, {1 - me: (word,)})
        if error is not None and me == 0:
            raise error
        return {"sum": 3.0}

    net = Net(2, machinery=scripted(three), pick=pick)
    net.begin(script_text(3, 2))
    net.settle()
    if error is None:
        assert net.outcome.results[expected] == 3.0
    else:
        aborts = [m for m in net.log if m.type is Type.ABORT and m.src == 0]
        assert expected in aborts[0].meta["reason"]
        assert "could hold" not in repr(aborts)


@pytest.mark.parametrize("frames", [(), (b"1234", b"123"), (b"1234567",), (b"12345678" * 2,)])
@pytest.mark.parametrize("at", [1, 2, 3])
def test_what_is_not_what_the_program_expects_is_its_senders_fault(frames, at, monkeypatch):
    """However far two parties have come from swap to swap, and whether it is asked for at once or not."""

    def three(lowered, me, inputs, entropy, kept=()):
        word = Frame("<u8", (1,))
        for number in (1, 2, 3):
            yield Exchange(number, "-", {1 - me: [np.ones(1, np.uint64)]}, {1 - me: (word,)})
        return {"sum": 3.0}

    for pick in (lambda k: 0, lambda k: k - 1):
        net = Net(2, machinery=scripted(three), pick=pick)
        sent = net._send

        def lies(actor, s, sent=sent):
            if actor == 1 and s.type is Type.DATA and s.step == at:
                s = Send(s.to, s.type, s.session, s.step, s.meta, frames)
            sent(actor, s)

        monkeypatch.setattr(net, "_send", lies)
        net.begin(script_text(3, 2))
        net.settle()
        reports = [m.meta for m in net.log if m.type is Type.ABORT and m.src == 0]
        assert [r["origin"] for r in reports][:1] == [1]
        assert "party bob sent a bad message" in reports[0]["reason"]


class Watched(np.ndarray):
    """An array of which it can be told whether it still is."""


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("pick", [lambda k: 0, lambda k: k - 1], ids=["in its turn", "at once"])
def test_what_is_sent_and_what_an_engine_held_is_let_go_of_at_once(pick, fails):
    """Without the garbage collector, which counts objects and not their bytes."""
    held, most = [], []

    def eight(lowered, me, inputs, entropy, kept=()):
        word = Frame("<u8", (1,))
        secret = np.zeros(1000, np.uint64).view(Watched)
        held.append(weakref.ref(secret))
        for number in range(1, 9):
            array = np.ones(1, np.uint64).view(Watched)
            held.append(weakref.ref(array))
            send = {1 - me: [array]}
            del array
            yield Exchange(number, "-", send, {1 - me: (word,)})
            del send
            most.append(sum(ref() is not None for ref in held))
        if fails and me == 0:
            raise ValueError("it could hold data")
        return {"sum": float(secret.sum())}

    gc.collect()
    gc.disable()
    try:
        net = Net(2, machinery=scripted(eight), pick=pick)
        net.begin(script_text(8, 2))
        net.settle()
        assert max(most) <= 4
        assert not any(ref() is not None for ref in held)
    finally:
        gc.enable()


def test_what_is_here_already_is_not_waited_for(monkeypatch):
    """Nor is anything while another run is on, which would wait too."""
    for sessions, parked in ((1, False), (1, True), (2, False)):
        net = Net(2, pick=lambda k: 0)
        net.begin(script_text(3, 2))
        monkeypatch.setattr(net, "_back", lambda *_: None)
        party = net.brains[0]
        while net.attempt(0) is None or net.attempt(0).stage is not Stage.RUNNING:
            assert net.step()
        (running,) = party.sessions.values()
        request = Exchange(2, "-", {1: [np.zeros(1, np.uint64)]}, {1: (Frame("<u8", (1,)),)})
        running.attempt.request = request
        if parked:
            running.attempt._parked[1][2] = (b"12345678",)
        if sessions == 2:
            party.sessions[b"t" * 16] = running
        (begun,) = running._share(request)
        if sessions == 1:
            assert begun.owed == ([] if parked else [1])
        else:
            assert begun == Send(1, Type.DATA, SESSION, 2, frames=begun.frames)


def test_the_time_of_input_sharing_ends_with_what_came_at_once():
    def shares(lowered, me, inputs, entropy, kept=()):
        word = Frame("<u8", (1,))
        yield Exchange(
            1, lowered.program.where, {1 - me: [inputs["x"][:1].astype(np.uint64)]}, {1 - me: (word,)}, sharing=True
        )
        return {"sum": 1.0}

    for seed in range(20):
        net = Net(2, machinery=scripted(shares), pick=random.Random(seed).randrange)
        net.begin(script_text(1, 2))
        attempts = [None, None]
        while net.step():
            for i in range(2):
                attempts[i] = net.attempt(i) or attempts[i]
        ended = [a.shared for a in attempts if a is not None]
        assert len(ended) == 2
        assert None not in ended
