"""Ends of direct connections without ZeroMQ between: a test hands over their words, and says what time it is."""

import struct
import time

from parties.direct import at_home
from parties.happenings import Reached
from parties.meetings import Meetings

NOW = 100.0


class Ends:
    """Some that call (1, 2, 3) and one that is called (0), and the words that each has for whom."""

    def __init__(self, callers=(1,)):
        self.said = {at: [] for at in (0, *callers)}
        self.ends = {at: Meetings(f"key {at}", self.saying(at)) for at in self.said}
        assert self.ends[0].open("127.0.0.1", "digest", frozenset(callers))
        for at in callers:
            assert self.ends[at].open("*", "digest", frozenset({0}))
            self.ends[at].reached(0, "key 0")

    def saying(self, at):
        def say(to, word):
            self.said[at].append((to, word))
            return True

        return say

    def words(self, at):
        """What this end has said since the last time."""
        said, self.said[at] = self.said[at], []
        return said

    def tell(self, at):
        """Bring there what it has said."""
        for to, word in self.words(at):
            self.ends[to].heard(at, f"key {at}", word, "127.0.0.1")

    def until(self, condition, only=None):
        """Let all ends, or one only, deal with what happens at their sockets; what they have told."""
        told, end = {at: [] for at in self.ends}, time.monotonic() + 10.0
        while not condition(told):
            assert time.monotonic() < end, told
            for at in self.ends if only is None else (only,):
                told[at] += self.ends[at].happened()
        return told

    def meet(self, at=1, now=NOW):
        """Until the caller has a direct connection, and the listener one that nobody has used."""
        self.ends[at].turn(now)
        self.tell(at)
        self.tell(0)
        told = self.until(lambda _: 0 in self.ends[at].standing and at in self.ends[0]._met)
        assert told[at] == [Reached(0)]
        assert told[0] == []

    def files(self, at):
        """How many sockets it watches."""
        return len(self.ends[at]._selector.get_map())


def filled(end, peer):
    """Say more than its socket takes, while nobody reads; how many messages."""
    count = 0
    while not end._writing:
        assert end.send(end.standing[peer], [bytes(1_000_000)])
        count += 1
    return count


def so_far(e, when, at=1):
    """Bring a caller and the listener so far."""
    e.ends[at].turn(NOW)
    if when == "called":
        return
    e.tell(at)
    if when == "invited":
        return
    e.tell(0)
    if when == "connecting":
        e.until(lambda _: e.files(0) == 2)  # the port, and who has come
        return
    e.until(lambda _: 0 in e.ends[at].standing)
    if when == "met":
        return
    assert e.ends[at].send(e.ends[at].standing[0], [b"hello"])
    e.until(lambda told: told[0])


def read(word):
    mark, kind, number, port, secret = struct.unpack("<4scIH32s", word)
    assert mark == b"PRVM"
    return kind, number, port, secret


def has_unix():
    """Whether those on one host have Unix sockets here."""
    try:
        at_home("a probe", "*").close()
    except OSError:
        return False
    return True


class Gullible:
    """A broken twin of Opener: whatever comes is a message."""

    def __init__(self, _key=b""):
        self._room, self.unread = memoryview(bytearray(1000)), False

    def space(self):
        return self._room

    def message(self, count=0):
        return ([] if count < 100 else [b"x"]) if count else None
