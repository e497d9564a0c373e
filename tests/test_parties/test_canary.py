"""Nothing that an actor hands to its mesh, says or writes holds a value of the data, in any encoding (rules 6 and 15).

The search is over plaintext, before encryption: over encrypted bytes it could not fail. Its twin runs the same protocol
with shares (x, 0), and is caught.
"""

import struct
from dataclasses import replace

import numpy as np
import pytest
from actors import Threads

import mpc
from mpc.testing import Deterministic
from parties.machinery import real
from parties.wire import HEADER
from protocols import suites

CANARY = 1234.5678
SCALES = range(63)


@mpc.program
def inner(x: mpc.PerParty):
    total = sum(mpc.share(v) for v in x)
    return mpc.reveal((total * mpc.share(x[0])).sum() / 1000)


def encodings(value):
    """The value as text, floats, and a ring integer at every scale, of both signs; short ones would occur by chance."""
    found = {repr(value).encode(), f"{value:.4f}".encode()}
    for order in "<>":
        found |= {struct.pack(f"{order}d", value), struct.pack(f"{order}f", value)}
        for scale in SCALES:
            for rounded in (int(value * 2**scale), round(value * 2**scale)):
                for signed in (rounded, -rounded):
                    word = (signed % 2**64).to_bytes(8, "little" if order == "<" else "big")
                    if 2**12 < abs(signed) < 2**63:
                        found.add(word)
    return found


def hits(blobs):
    return [e for e in encodings(CANARY) if any(e in blob for blob in blobs)]


def handed_over(machinery=None):
    rest = np.array([0.25, -3.5, 100.0])
    offers = {
        "alice": {"x": np.array([CANARY, 1.5, 2.0])},
        "bob": {"x": rest},
        "carol": {"x": rest},
    }
    with Threads(3, machinery, offers=offers) as cluster:
        run = cluster.session.run(inner)
    expected = float(np.dot(offers["alice"]["x"] + 2 * rest, offers["alice"]["x"])) / 1000
    assert run.results["result"] == pytest.approx(expected, rel=1e-3)
    assert len(cluster.seen) > 30
    said = [line.encode() for line in cluster.lines]
    return [part for _, _, (header, *rest) in cluster.seen for part in (without_chance(header), *rest)] + said


def without_chance(header):
    """A header without its two random numbers: before the zeros of a small number behind them, one in some thousand
    runs would look like a value."""
    assert len(header) == HEADER.size
    return header[:12] + b"\xff" * 24 + header[36:]


def test_the_search_finds_what_it_is_for():
    for blob in (b"row 3: 1234.5678", np.array([0.0, CANARY]).tobytes(), np.array([round(CANARY * 2**20)]).tobytes()):
        assert hits([b"x" + blob])
    assert not hits([bytes(100)])


def test_no_value_is_handed_to_the_mesh_or_said():
    assert hits(handed_over()) == []


def test_the_broken_twin_with_shares_x_and_0_is_caught():
    honest = real(suites)

    def zeros(_seed, _at, shape):
        return np.zeros(shape, dtype=np.uint64)

    twin = replace(
        honest,
        run_party=lambda lowered, me, inputs, e, *more: honest.run_party(
            lowered, me, inputs, replace(e, stream=zeros), *more
        ),
        run_dealer=lambda lowered, e: honest.run_dealer(lowered, replace(e, stream=zeros)),
    )
    assert hits(handed_over(twin))


def test_every_part_goes_through_the_tap():
    """What the search sees is all there is: headers of every type of message, from every actor, to every actor."""
    with Threads(2, offers={name: {"x": np.ones(2)} for name in ("alice", "bob")}) as cluster:
        cluster.session.run(inner)
    links = {(src, dst) for src, dst, _ in cluster.seen}
    assert len(links) == 12  # two parties, dealer and coordinator, both ways
    assert all(parts[0][:4] == b"PRVY" for _, _, parts in cluster.seen)


def test_test_entropy_is_no_part_of_a_session_on_hosts():
    from parties.machinery import insecure_label, randomness

    assert isinstance(randomness(insecure_label(3)), Deterministic)
    assert randomness(insecure_label(None)).__module__ == "secrets"
