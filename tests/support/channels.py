"""Two ends of a channel and a wire between them that holds what was posted."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from parties.channel import Channel, Delivered, Joined
from parties.wire import Message, Type, decode, encode

GREETING = {"name": "n", "version": "v", "cluster": "c", "control": 7}


class Ends:
    """A caller (1) and a listener (0), and a wire between them that holds what was posted."""

    def __init__(self, prompt=True):
        self.now = 0.0
        self.caller = Channel(1, 0, 100, GREETING, dials=True, prompt=prompt)
        self.listener = Channel(0, 1, 200, GREETING, dials=False)
        self.wires = {self.caller: deque(), self.listener: deque()}

    def other(self, end):
        return self.listener if end is self.caller else self.caller

    def connect(self):
        for wire in self.wires.values():
            wire.clear()
        self.listener.connected(self.now)
        self.caller.connected(self.now)

    def disconnect(self):
        self.caller.disconnected()
        self.listener.disconnected()

    def flush(self, end):
        """What an end puts on the wire now."""
        before = len(self.wires[end])
        end.flush(lambda parts: self.wires[end].append(parts) or True)
        return [decode(p) for p in list(self.wires[end])[before:]]

    def pass_on(self, end):
        """The other end gets the oldest message."""
        self.other(end).receive(self.wires[end].popleft(), self.now)

    def settle(self):
        for _ in range(10_000):
            for end in self.wires:
                self.flush(end)
            ready = [end for end, wire in self.wires.items() if wire]
            if not ready:
                return
            self.pass_on(ready[0])
        raise AssertionError("they never stop talking")

    def wait(self, seconds):
        self.now += seconds
        for end in self.wires:
            if end.deadline is not None and end.deadline <= self.now:
                end.tick(self.now)


def data(step, end=None, frames=(b"12345678",)):
    return Message(Type.DATA, 0, 0, step=step, frames=frames)


def steps(end):
    """The steps of what was delivered; all events are taken away."""
    found = [e.message.step for e in end.events if isinstance(e, Delivered)]
    end.events.clear()
    return found


def kinds(end):
    found = [type(e) for e in end.events]
    end.events.clear()
    return found


def from_caller(ends, **changes):
    """A message as the caller would send it next, changed."""
    parts = ends.caller._stamped(Message(Type.DATA, 1, 0), ends.caller._sent + 1)
    return encode(replace(decode(parts), **changes))


def greeted():
    """Two ends that are up and have told it."""
    made = Ends()
    made.connect()
    made.settle()
    assert [type(e) for e in made.caller.events] == [type(e) for e in made.listener.events] == [Joined]
    assert made.caller.events.pop().control == 7
    made.listener.events.clear()
    return made
