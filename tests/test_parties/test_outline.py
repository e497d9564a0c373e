"""Actors whose cluster files differ: who, and in which field, said at both ends within a moment."""

from collections import deque
from dataclasses import replace

import pytest
from served import Served

from parties import cluster as clusters
from parties import keys
from parties.channel import Channel, Differs, Joined, Restarted
from parties.cluster import Cluster, Member
from parties.outline import difference, outline, same
from parties.wire import META_LIMIT, Message, Type, encode

KEYS = {name: keys.fresh().public for name in ("alice", "bob", "carol", "dealer", "coordinator", "other")}


def member(name, **more):
    return replace(Member(name, f"{name}.example:7000", KEYS[name]), **more)


CLUSTER = Cluster((member("alice"), member("bob")), member("dealer"), Member("coordinator", "", KEYS["coordinator"]))
DIFFERENT = [
    (replace(CLUSTER, parties=CLUSTER.parties[::-1]), "lists the parties as bob, alice, this one as alice, bob"),
    (replace(CLUSTER, parties=(member("alice"), member("bob", address="b:1"))), "has another address of bob"),
    (replace(CLUSTER, parties=(member("alice", public=KEYS["other"]), member("bob"))), "has another public of alice"),
    (replace(CLUSTER, dealer=member("dealer", control="d:1")), "has another control of the dealer"),
    (replace(CLUSTER, receives=False), "has another 'receives' of the coordinator"),
    (replace(CLUSTER, coordinator=Member("boss", "", KEYS["coordinator"])), "has another name of the coordinator"),
    (replace(CLUSTER, parties=(*CLUSTER.parties, member("carol"))), "has a party carol, which this one has not"),
    (replace(CLUSTER, parties=(member("alice"), member("carol"))), "has no party bob, has a party carol"),
]


@pytest.mark.parametrize(("other", "words"), DIFFERENT, ids=[words for _, words in DIFFERENT])
def test_the_field_is_named(other, words):
    assert not same(outline(CLUSTER), outline(other))
    assert difference(CLUSTER, outline(other)).startswith(words)


def test_equal_files_are_the_same_and_many_differences_are_not_all_listed():
    assert same(outline(CLUSTER), outline(clusters.parse(clusters.write(CLUSTER))))
    moved = replace(
        CLUSTER,
        parties=tuple(replace(p, address=f"x:{i + 1}", control=f"x:{i + 5}") for i, p in enumerate(CLUSTER.parties)),
    )
    assert difference(CLUSTER, outline(moved)).endswith(", differs in 1 more")


@pytest.mark.parametrize(
    "text", ["", "x", "d:", "d:;;", "d:=", "d:receives=a;coordinator=b;dealer=c;EVIL \x1b[2J=d", "d:alice=1"]
)
def test_what_is_no_outline_has_another_form(text):
    assert difference(CLUSTER, text) == "has another form"


def test_the_largest_cluster_fits_into_a_greeting():
    many = tuple(Member(f"p{i:031}", f"{'h' * 60}:{i + 1}", keys.fresh().public) for i in range(64))
    largest = replace(CLUSTER, parties=many)
    hello = {
        "name": many[0].name,
        "version": "10.10.10",
        "cluster": outline(largest),
        "control": 65535,
        "knows": 1 << 62,
    }
    assert len(encode(Message(Type.HELLO, 0, 1, meta=hello))[1]) < META_LIMIT


# --------------------------------------------------------------------------------------------------------- channels


class End:
    def __init__(self, me, peer, incarnation, cluster, *, dials):
        hello = {"name": "x", "version": "v", "cluster": outline(cluster), "control": 7}
        self.channel = Channel(me, peer, incarnation, hello, dials=dials)
        self.out = deque()

    def flush(self):
        self.channel.flush(lambda parts: self.out.append(parts) or True)

    def said(self):
        events = list(self.channel.events)
        self.channel.events.clear()
        return events


def talk(one, other):
    for _ in range(4):
        for a, b in ((one, other), (other, one)):
            a.flush()
            while a.out:
                b.channel.receive(a.out.popleft(), 0.0)


def test_both_ends_hear_it_once_and_nothing_else():
    other = DIFFERENT[0][0]
    caller, listener = End(1, 0, 11, CLUSTER, dials=True), End(1, 0, 22, other, dials=False)  # each says it is number 1
    for _ in range(3):
        caller.channel.connected(0.0)
        listener.channel.connected(0.0)
        talk(caller, listener)
    assert caller.said() == [Differs(outline(other))]
    assert listener.said() == [Differs(outline(CLUSTER))]
    assert not caller.channel.up
    assert not listener.channel.up


def test_a_process_with_the_right_file_is_welcome_afterwards_and_one_with_another_is_not():
    caller, listener = End(1, 0, 11, CLUSTER, dials=True), End(0, 1, 22, DIFFERENT[1][0], dials=False)
    caller.channel.connected(0.0)
    talk(caller, listener)
    assert [type(e) for e in caller.said()] == [Differs]
    right = End(0, 1, 33, CLUSTER, dials=False)
    caller.channel.connected(0.0)
    talk(caller, right)
    assert [type(e) for e in caller.said()] == [Restarted, Joined]
    wrong = End(0, 1, 44, DIFFERENT[1][0], dials=False)
    caller.channel.connected(0.0)
    talk(caller, wrong)
    assert [type(e) for e in caller.said()] == [Restarted, Differs]


# ------------------------------------------------------------------------------------------- with real processes


def test_parties_in_another_order_are_named_at_once_at_both_ends(tmp_path):
    with Served(tmp_path, {name: {"x": "v\n1\n2\n"} for name in ("alice", "bob", "carol")}) as world:
        world.serve("alice")
        world.serve("bob")
        file, text = world.file, world.file.read_text()
        world.file = tmp_path / "other.toml"
        order = [world.cluster.parties[i] for i in (0, 2, 1)]
        world.file.write_text(clusters.write(replace(world.cluster, parties=tuple(order))))
        world.serve("carol")
        world.file = file
        world.serve("dealer")
        run = world.run("mean", offer="x", parameter="values")
        assert run.wait() == 4
        assert run.sentence == (
            "party carol cannot take part: its cluster file lists the parties as alice, carol, bob, this one as "
            "alice, bob, carol; copy one file to every host, and start again whoever has read another one"
        )
        world.running["carol"].says(
            "carol: the coordinator is not listened to: its cluster file lists the parties as alice, bob, carol, this "
            "one as alice, carol, bob; copy one file to every host, and start again whoever has read another one"
        )
        world.running["dealer"].says("dealer: party carol is not listened to: its cluster file lists")
        world.running.pop("carol").process.kill()
        assert text == file.read_text()
        world.serve("carol")
        again = world.run("mean", offer="x", parameter="values")
        assert again.wait() == 0, again.err
        assert world.close() == [0] * 4
