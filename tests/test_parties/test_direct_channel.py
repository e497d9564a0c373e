"""A channel above direct connections: whatever breaks, nothing is lost or repeated, and nobody is blamed for it."""

import random
import socket
import time

import pytest

from parties import channel as channels
from parties import meetings
from parties.channel import Channel, Delivered
from parties.happenings import Gone, Packet, Reached
from parties.wire import Message, Type


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
