"""Two meshes of two parties on loopback that come to have a direct connection."""

import time

from parties import keys
from parties.happenings import Packet
from parties.mesh import Mesh


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
