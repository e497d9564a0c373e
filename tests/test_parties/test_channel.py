from dataclasses import replace

import pytest

from parties.link import Link
from parties.wire import BadMessage, Message, Type

HELLO = {"name": "n", "version": "v", "cluster": "c"}


@pytest.fixture
def ends():
    return Link(0, 1, 100), Link(1, 0, 200)


def greet(caller, listener):
    listener.accept(caller.stamp(Message(Type.HELLO, caller.me, caller.peer, meta=HELLO)))
    caller.accept(listener.stamp(Message(Type.WELCOME, listener.me, listener.peer, meta=HELLO)))


def data(link):
    return link.stamp(Message(Type.DATA, link.me, link.peer))


def test_numbers_and_acknowledgements(ends):
    a, b = ends
    greet(a, b)
    for expected in (2, 3, 4):
        message = data(a)
        assert (message.seq, message.ack, message.incarnation) == (expected, 1, 100)
        assert b.accept(message) == message
    assert data(b).ack == 4


def test_what_was_not_sent_keeps_no_number(ends):
    a, b = ends
    greet(a, b)
    data(a)
    a.unstamp()
    assert b.accept(data(a))


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"seq": 1}, "out of order"),
        ({"seq": 3}, "out of order"),
        ({"seq": 0}, "out of order"),
        ({"incarnation": 101}, "another incarnation"),
        ({"src": 2}, "another actor's name"),
        ({"dst": 2}, "another actor's name"),
        ({"ack": 2}, "never sent"),
        ({"type": Type.HELLO}, "second greeting"),
        ({"type": Type.HELLO, "seq": 1}, "second greeting"),
    ],
)
def test_only_the_next_message_of_the_same_peer(ends, change, rule):
    a, b = ends
    greet(a, b)
    with pytest.raises(BadMessage, match=rule):
        b.accept(replace(data(a), **change))


def test_nothing_before_the_greeting_and_all_anew_after_a_reset(ends):
    a, b = ends
    with pytest.raises(BadMessage, match="before the greeting"):
        b.accept(data(a))
    a.reset()
    b.reset()
    greet(a, b)
    old = data(a)
    a.reset()
    b.reset()
    with pytest.raises(BadMessage, match="before the greeting"):
        b.accept(old)
    greet(a, b)
    assert b.accept(data(a))
