"""Rounds of more than two: what all owe goes on at once, what some owe waits for the rest; nobody is blamed for it."""

import random
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from actors import Net, make_cluster, running, script_text, scripted

from mpc.exchange import Exchange, Frame
from parties.actor import Actor
from parties.channel import Channel
from parties.control import Alive
from parties.events import Arrived, Swap, Tick
from parties.happenings import Packet
from parties.liveness import Sign
from parties.wire import Message, Type, decode, encode

ME, PEERS = 0, (1, 2)
SESSION = b"s" * 16


class Wire:
    """A mesh of two peers. inbox: what `poll` brings; soon: what `at_once` brings of each."""

    def __init__(self):
        self.inbox, self.soon, self.sent, self.asked = [], {1: [], 2: []}, [], []

    def poll(self, _seconds, awaited=-1):  # noqa: ARG002 - nothing is waited for
        return self.inbox.pop(0) if self.inbox else []

    def at_once(self, peer):
        self.asked.append(peer)
        return self.soon[peer].pop(0) if self.soon[peer] else None

    def send(self, peer, parts):
        m = decode([bytes(p) for p in parts])
        self.sent.append((peer, m))
        return True


class Swapper:
    """A brain that begins rounds with two at each tick, and goes on while both answer."""

    me, deadline, pumping, awaited, sign = ME, None, False, 1, Sign(0, waiting=True)

    def __init__(self):
        self.told, self.sends = [], True

    def room(self, _m):
        return 1 << 20

    def handle(self, event):
        if isinstance(event, Arrived):
            self.told.append((event.message.src, event.message.step))
        if isinstance(event, Tick):
            self.deadline, step = None, 1

            def answered(came):
                nonlocal step
                self.told.append({peer: bytes(frame) for peer, (frame,) in came.items()})
                step += 1
                return (step, self.round_of(step), PEERS) if len(came) == 2 else None

            yield Swap(Type.DATA, SESSION, 1, self.round_of(1), PEERS, answered)

    def round_of(self, step):
        return {peer: (b"to %d in %d" % (peer, step),) for peer in PEERS} if self.sends else {}


class Three:
    """An actor that is up with two peers, whose channels are at the far ends."""

    def __init__(self):
        cluster, _ = make_cluster(3)
        self.now, self.wire, self.brain = 0.0, Wire(), Swapper()
        told = [Alive(peer) for peer in PEERS]
        watch = SimpleNamespace(port=7, sign=None, news=lambda: [told.pop()] if told else [], joined=lambda *_: None)
        self.actor = Actor(self.wire, self.brain, cluster, 100, watch, clock=lambda: self.now)
        self.far = {}
        for peer in PEERS:
            hello = {"name": cluster.name(peer), "version": "v", "cluster": cluster.digest(), "control": 7}
            self.far[peer] = far = Channel(peer, ME, 200 + peer, hello, dials=True)
            far.connected(0.0)
            self.wire.inbox.append([Packet(peer, parts, True) for parts in self.posted(peer)])
            self.step()
            for to, m in self.wire.sent:
                if m.type is Type.WELCOME and to == peer:
                    far.receive(encode(m), 0.0)
        self.wire.sent.clear()

    def posted(self, peer):
        out = []
        self.far[peer].flush(lambda parts: out.append([bytes(p) for p in parts]) or True)
        return out

    def say(self, peer, *steps):
        """Packets of a peer with these steps."""
        for step in steps:
            self.far[peer].send(Message(Type.DATA, peer, ME, SESSION, step, {}, (b"of %d in %d" % (peer, step),)))
        return [Packet(peer, parts) for parts in self.posted(peer)]

    def step(self):
        self.actor.step(0.25)

    def begin(self):
        self.brain.deadline = self.now
        self.step()


@pytest.fixture
def three():
    return Three()


def came(step):
    return {peer: b"of %d in %d" % (peer, step) for peer in PEERS}


def test_what_both_owe_goes_straight_to_whoever_waits(three):
    three.wire.soon = {peer: three.say(peer, 1, 2, 3) for peer in PEERS}
    three.begin()
    assert three.brain.told == [came(1), came(2), came(3)]
    said = [(to, m.step, bytes(m.frames[0])) for to, m in three.wire.sent if m.type is Type.DATA]
    assert said == [(to, step, b"to %d in %d" % (to, step)) for step in (1, 2, 3, 4) for to in PEERS]


def test_what_comes_up_to_the_first_that_does_not_is_handed_over_alone(three):
    three.wire.soon = {1: three.say(1, 1, 2), 2: three.say(2, 1)}
    three.begin()
    assert three.brain.told == [came(1), {1: b"of 1 in 2"}]
    assert three.wire.asked == [1, 2, 1, 2]


def test_whoever_comes_after_one_who_does_not_is_not_looked_for(three):
    three.wire.soon = {1: [], 2: three.say(2, 1)}
    three.begin()
    assert three.brain.told == []
    assert three.wire.asked == [1]


def test_what_is_not_owed_is_told_after_what_was_and_in_its_turn(three):
    three.wire.soon = {1: three.say(1, 1), 2: three.say(2, 9)}
    three.wire.inbox = [[], three.say(2, 10)]
    three.begin()
    three.step()
    assert three.brain.told == [{1: b"of 1 in 1"}, (2, 9), (2, 10)]


def test_nothing_is_looked_for_while_anything_waits_for_its_turn(three):
    """It came before, and may be what is owed."""
    three.wire.soon = {peer: three.say(peer, 1) for peer in PEERS}
    three.actor._untold.append(three.say(2, 2)[0])
    three.actor.perform(three.brain.handle(Tick()))
    assert three.wire.asked == []


def test_nothing_is_looked_for_of_one_whose_channel_has_something_to_say(three):
    three.step()
    three.actor._until = three.now + 1.0
    (first,) = three.say(2, 9)
    three.actor._received(three.actor._channels[2], first)
    three.wire.soon = {1: three.say(1, 1), 2: three.say(2, 1)}
    three.actor.perform(three.brain.handle(Tick()))
    assert three.wire.asked == [1]
    assert three.brain.told == [{1: b"of 1 in 1"}]


def test_whoever_is_sent_nothing_is_told_all_the_same_that_much_has_come(three):
    """Else it would soon send no more, until this one looks round."""
    three.wire.soon = {peer: three.say(peer, *range(1, 41)) for peer in PEERS}
    three.brain.sends = False
    three.begin()
    assert three.brain.told == [came(step) for step in range(1, 41)]
    assert [to for to, m in three.wire.sent if m.type is Type.ACK] == [1, 2, 1, 2]


def test_no_more_than_one_round_of_what_has_come_is_held(three):
    """And nothing of it while the next one is looked for."""
    held, owed, look = [], three.actor._owed, three.wire.at_once

    def watched(*given):
        frames = owed(*given)
        if frames is None:
            return None
        array = np.frombuffer(bytes(frames[0]), np.uint8).view(Watched)
        held.append(weakref.ref(array))
        return (array,)

    def looked(peer):
        assert sum(ref() is not None for ref in held) == (peer == PEERS[1])
        return look(peer)

    three.actor._owed, three.wire.at_once = watched, looked
    three.wire.soon = {peer: three.say(peer, 1, 2, 3) for peer in PEERS}
    three.begin()
    assert len(held) == 6


class Watched(np.ndarray):
    """An array of which it can be told whether it still is."""


# ----------------------------------------------------------------------------------------------------------- brains


@pytest.mark.parametrize("n", [3, 4])
def test_a_run_is_the_same_whether_all_of_what_is_owed_comes_at_once_or_some_or_nothing(n, monkeypatch):
    """However much of a round is here already, and from whom."""
    handed, swap = set(), Net._swap

    def watched(net, actor, s):
        answered = s.answered

        def counted(those):
            handed.add((len(those), len(s.owed)))
            return answered(those)

        s.answered = counted
        swap(net, actor, s)

    monkeypatch.setattr(Net, "_swap", watched)
    for seed in range(20):
        dice = random.Random(seed)
        net = Net(n, pick=lambda k, dice=dice: dice.randrange(k) if dice.random() < 0.5 else k - 1)
        net.begin(script_text(20, n))
        net.settle()
        assert net.outcome.results["sum"] == 20 * (1 + sum(range(1, n + 1)))
    all_of_some = {(owed, owed) for owed in range(1, n)}  # the others had come by and by
    some_of_all = {(some, n - 1) for some in range(1, n - 1)}
    assert handed >= all_of_some | some_of_all


@pytest.mark.parametrize("frames", [(), (b"1234", b"123"), (b"1234567",), (b"12345678" * 2,)])
@pytest.mark.parametrize("liar", [1, 2])
@pytest.mark.parametrize("at_once", [0, 1])
def test_what_is_not_what_the_program_expects_is_its_senders_fault(frames, liar, at_once, monkeypatch):
    """Not that of the one whose message came before or after it."""

    def two(lowered, me, inputs, entropy, kept=()):
        word, rest = Frame("<u8", (1,)), [i for i in range(3) if i != me]
        for number in (1, 2):
            yield Exchange(number, "-", {p: [np.ones(1, np.uint64)] for p in rest}, dict.fromkeys(rest, (word,)))
        return {"sum": 3.0}

    net = Net(3, machinery=scripted(two), pick=lambda k: at_once * (k - 1))
    sent = net._send

    def lies(actor, s):
        if actor == liar and s.to == 0 and s.type is Type.DATA and s.step == 2:
            s.frames = frames
        sent(actor, s)

    monkeypatch.setattr(net, "_send", lies)
    net.begin(script_text(2, 3))
    net.settle()
    reports = [m.meta for m in net.log if m.type is Type.ABORT and m.src == 0]
    assert [r["origin"] for r in reports][:1] == [liar]
    assert "sent a bad message" in reports[0]["reason"]


def swapping(monkeypatch):
    """Three of which alice runs; her part of the run."""
    net = running(3, monkeypatch)
    (part,) = net.brains[0].sessions.values()
    return net, part


def test_what_has_come_by_an_event_is_not_sent_for_again_and_the_rest_is_looked_for(monkeypatch):
    _, part = swapping(monkeypatch)
    request = part.attempt.request
    assert (request.number, list(request.expect)) == (1, [1, 2])
    data = Message(Type.DATA, 1, 0, SESSION, 1, frames=(b"12345678",))
    (swap,) = part.arrived(data)
    assert (swap.step, swap.parts, swap.owed) == (1, {}, [2])


def test_part_of_a_round_is_no_progress(monkeypatch):
    """Who sends its part does not lengthen the time that others have for theirs."""
    net, part = swapping(monkeypatch)
    before, net.now = part.attempt.deadline, net.now + 1.0
    list(part.arrived(Message(Type.DATA, 1, 0, SESSION, 1, frames=(b"12345678",))))
    assert part.attempt.deadline == before
    list(part.arrived(Message(Type.DATA, 2, 0, SESSION, 1, frames=(b"12345678",))))
    assert part.attempt.deadline > before


def test_who_only_sends_or_only_receives_takes_its_part():
    """As where one party shares its input: the others owe it nothing."""

    def shared(lowered, me, inputs, entropy, kept=()):
        word, total = Frame("<u8", (1,)), 0
        for number, owner in ((1, 0), (2, 1), (3, 2)):
            mine = {p: [inputs["x"][:1].astype(np.uint64)] for p in range(3) if p != me} if me == owner else {}
            got = yield Exchange(number, "-", mine, {} if me == owner else {owner: (word,)})
            total += int(inputs["x"][0]) if me == owner else int(got[owner][0][0])
        return {"sum": float(total)}

    for seed in range(10):
        net = Net(3, machinery=scripted(shared), pick=random.Random(seed).randrange)
        net.begin(script_text(3, 3))
        net.settle()
        assert net.outcome.results["sum"] == 6.0
