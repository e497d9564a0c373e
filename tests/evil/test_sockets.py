"""The same over real sockets: a process with a legitimate key sends what it must not, and the next run is right."""

import time

import numpy as np
import pytest
from actors import Threads
from cases import CHANGES

import mpc
from parties.cluster import COORDINATOR, SEATS
from parties.mesh import Mesh, Reached
from parties.version import VERSION
from parties.wire import Message, Type, encode

LATE = {"keeps it back", "sends it a hundred times", "sends it twice"}
CHOSEN = [name for name in CHANGES if name not in LATE]


@mpc.program
def total(x: mpc.PerParty[mpc.Private]):
    return mpc.reveal(sum(mpc.share(v, range=(-8, 8)) for v in x).sum())


@pytest.fixture(scope="module")
def threads():
    with Threads(2, offers={name: {"x": np.ones(2)} for name in ("alice", "bob")}) as running:
        assert running.session.run(total).results["result"] == 4
        yield running


def evil(threads, seat, name):
    """A coordinator process of its own seat greets alice, and then changes the bytes of a question."""
    alice = threads.cluster.member(0)
    mesh = Mesh(threads.pairs[COORDINATOR])
    try:
        mesh.dial(0, alice.address, alice.public)
        end = time.monotonic() + 10
        while not any(isinstance(h, Reached) for h in mesh.poll(0.05)):
            assert time.monotonic() < end
        greeting = {"name": "coordinator", "version": VERSION, "cluster": threads.cluster.digest(), "control": 0}
        hello = Message(Type.HELLO, seat, 0, meta=greeting | {"knows": 0}, incarnation=seat)
        question = Message(Type.DESCRIBE, seat, 0, meta={"ask": 1, "name": "x"}, incarnation=seat, seq=1)
        for parts in ([bytes(p) for p in encode(hello)], *CHANGES[name]([bytes(p) for p in encode(question)])):
            while parts and not mesh.send(0, parts):
                mesh.poll(0.01)
        for _ in range(3):
            mesh.poll(0.01)
    finally:
        mesh.close(0.5)


def test_there_are_enough():
    assert len(CHOSEN) >= 20


@pytest.mark.parametrize("part", range(4))
def test_evil_coordinators_do_not_disturb_the_next_run(threads, part):
    for at in range(part, len(CHOSEN), 4):
        evil(threads, SEATS.start + at, CHOSEN[at])
    assert threads.session.run(total).results["result"] == 4
    assert all(thread.is_alive() for thread in threads._threads)
