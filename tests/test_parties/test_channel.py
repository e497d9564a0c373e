"""The reliable channel: each of its rules, and two ends with everything between them that goes wrong."""

from __future__ import annotations

from collections import deque

import pytest
from channels import GREETING, Ends, data, from_caller, greeted, kinds, steps
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from parties import channel as module
from parties.channel import Broken, Channel, Delivered, Joined, Left, Restarted
from parties.wire import BadMessage, Message, Type


@pytest.fixture
def ends():
    return greeted()


# -------------------------------------------------------------------------------------------------- order and numbers


def test_nothing_leaves_before_the_greetings():
    ends = Ends()
    ends.caller.send(data(1))
    ends.listener.send(data(2))
    assert ends.flush(ends.caller) == ends.flush(ends.listener) == []
    ends.connect()
    assert [m.type for m in ends.flush(ends.caller)] == [Type.HELLO]
    assert ends.flush(ends.listener) == []
    ends.settle()
    assert steps(ends.listener) == [1]
    assert steps(ends.caller) == [2]


def test_messages_are_numbered_from_one_in_each_direction(ends):
    for step in (1, 2, 3):
        ends.caller.send(data(step))
    assert [(m.seq, m.incarnation) for m in ends.flush(ends.caller)] == [(1, 100), (2, 100), (3, 100)]
    ends.settle()
    ends.listener.send(data(4))
    assert [(m.seq, m.ack, m.incarnation) for m in ends.flush(ends.listener)] == [(1, 3, 200)]


def test_what_comes_twice_is_dropped(ends):
    ends.caller.send(data(1))
    ends.flush(ends.caller)
    parts = ends.wires[ends.caller][0]
    ends.listener.receive(parts, 0.0)
    ends.listener.receive(parts, 0.0)
    assert steps(ends.listener) == [1]


def test_what_leaves_a_gap_is_dropped_and_a_gap_that_lasts_breaks(ends):
    for step in (1, 2):
        ends.caller.send(data(step))
    ends.flush(ends.caller)
    first, second = ends.wires[ends.caller]
    ends.listener.receive(second, 0.0)
    assert not ends.listener.events
    ends.listener.tick(module.GAP_SECONDS - 0.1)
    assert not ends.listener.events
    ends.listener.tick(module.GAP_SECONDS)
    assert ends.listener.events.popleft() == Broken("left out a message")
    ends.listener.receive(first, 0.0)
    assert not ends.listener.events


def test_a_gap_that_is_filled_is_forgiven(ends):
    for step in (1, 2):
        ends.caller.send(data(step))
    ends.flush(ends.caller)
    first, second = ends.wires[ends.caller]
    ends.listener.receive(second, 0.0)
    ends.listener.receive(first, 0.0)
    ends.listener.receive(second, 0.0)
    ends.listener.tick(10.0)
    assert steps(ends.listener) == [1, 2]


# ---------------------------------------------------------------------------------------------------- lost connections


def test_after_a_reset_the_stored_bytes_go_again_and_nothing_else(ends):
    for step in range(1, 6):
        ends.caller.send(data(step))
    ends.flush(ends.caller)
    before = [b"".join(p) for p in ends.wires[ends.caller]]
    for _ in range(2):
        ends.pass_on(ends.caller)
    ends.disconnect()
    ends.connect()
    assert [m.type for m in ends.flush(ends.caller)] == [Type.HELLO]
    ends.pass_on(ends.caller)
    ends.flush(ends.listener)
    ends.pass_on(ends.listener)
    ends.flush(ends.caller)
    assert [b"".join(p) for p in ends.wires[ends.caller]] == before[2:]
    ends.settle()
    assert steps(ends.listener) == [1, 2, 3, 4, 5]
    assert Joined not in kinds(ends.listener)


def test_not_yet_is_no_loss(ends):
    ends.caller.send(data(1))
    ends.caller.flush(lambda _: False)
    assert ends.caller.ready
    assert ends.caller.unacknowledged == 1
    ends.settle()
    assert steps(ends.listener) == [1]


def test_what_is_acknowledged_is_forgotten(ends):
    ends.caller.send(data(1))
    ends.settle()
    assert ends.caller.unacknowledged == 1
    ends.wait(module.ACK_SECONDS)
    ends.settle()
    assert ends.caller.unacknowledged == 0


def test_whoever_dialled_greets_again_after_a_silence_at_growing_intervals(ends):
    times = []
    for tenth in range(1, 400):
        ends.now = tenth / 10
        ends.caller.tick(ends.now)
        if ends.flush(ends.caller):
            times.append(ends.now)
    assert times == [3.0, 9.0, 21.0]
    ends.listener.tick(100.0)
    assert ends.flush(ends.listener) == []


def test_a_greeting_that_was_answered_on_a_dead_connection_is_made_up_for():
    ends = Ends()
    ends.connect()
    ends.flush(ends.caller)
    ends.pass_on(ends.caller)
    ends.flush(ends.listener)
    ends.wires[ends.listener].clear()  # the welcome went nowhere
    ends.caller.send(data(1))
    ends.listener.send(data(2))
    ends.settle()
    assert steps(ends.listener) == []
    ends.wait(module.QUIET_SECONDS)
    ends.settle()
    assert steps(ends.listener) == [1]
    assert steps(ends.caller) == [2]


# ----------------------------------------------------------------------------------------------------- other processes


def test_another_incarnation_is_a_restart_and_numbers_begin_again(ends):
    ends.listener.send(data(1))
    ends.settle()
    ends.caller = Channel(1, 0, 101, GREETING, dials=True)
    ends.wires = {ends.caller: deque(), ends.listener: deque()}
    ends.connect()
    ends.settle()
    assert kinds(ends.listener) == [Restarted, Joined]
    ends.listener.send(data(2))
    assert [m.seq for m in ends.flush(ends.listener)] == [1]
    ends.settle()
    assert steps(ends.caller) == [2]


def test_what_was_meant_for_a_former_process_never_reaches_the_next(ends):
    ends.listener.send(data(1))
    ends.disconnect()
    ends.caller = Channel(1, 0, 101, GREETING, dials=True)
    ends.wires = {ends.caller: deque(), ends.listener: deque()}
    ends.connect()
    ends.settle()
    assert steps(ends.caller) == []


def test_last_words_of_a_former_process_are_no_restart(ends):
    hello = ends.caller._stamped(Message(Type.HELLO, 1, 0, meta={**GREETING, "knows": 0}), 0)
    word = from_caller(ends)
    ends.caller = Channel(1, 0, 101, GREETING, dials=True)
    ends.wires = {ends.caller: deque(), ends.listener: deque()}
    ends.connect()
    ends.settle()
    kinds(ends.listener)
    for parts in (hello, word):
        ends.listener.receive(parts, 0.0)
    assert not ends.listener.events
    ends.caller.send(data(5))
    ends.settle()
    assert steps(ends.listener) == [5]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"src": 2}, "another actor's name"),
        ({"dst": 2}, "another actor's name"),
        ({"seq": 0}, "a number where none belongs"),
        ({"type": Type.ACK}, "a number where none belongs"),
        ({"ack": 1}, "an acknowledgement of something never sent"),
        ({"type": Type.WELCOME, "seq": 0, "meta": {**GREETING, "knows": 0}}, "a greeting from the wrong side"),
        ({"type": Type.HELLO, "seq": 0, "incarnation": 0, "meta": {**GREETING, "knows": 0}}, "without an incarnation"),
    ],
)
def test_what_no_peer_may_send_breaks_the_channel(ends, changes, reason):
    ends.listener.receive(from_caller(ends, **changes), 0.0)
    (event,) = ends.listener.events
    assert isinstance(event, Broken)
    assert reason in event.reason
    ends.listener.send(data(1))
    assert ends.flush(ends.listener) == []
    assert ends.listener.unacknowledged == 0


def test_garbage_breaks_it_once(ends):
    for _ in range(3):
        ends.listener.receive([b"garbage", b""], 0.0)
    (event,) = ends.listener.events
    assert "malformed" in event.reason


def test_a_new_process_is_heard_again_after_a_broken_one(ends):
    ends.listener.receive([b"garbage"], 0.0)
    kinds(ends.listener)
    ends.caller = Channel(1, 0, 101, GREETING, dials=True)
    ends.wires = {ends.caller: deque(), ends.listener: deque()}
    ends.connect()
    ends.caller.send(data(1))
    ends.settle()
    assert kinds(ends.listener) == [Restarted, Joined, Delivered]


def test_goodbye_is_the_last_word_and_acknowledged_at_once(ends):
    ends.caller.send(data(1))
    ends.caller.send(Message(Type.BYE, 1, 0))
    ends.settle()
    assert kinds(ends.listener) == [Delivered, Left]
    assert ends.caller.unacknowledged == 0
    ends.listener.send(data(2))
    assert ends.flush(ends.listener) == []


# ------------------------------------------------------------------------------------------------- windows and memory


def test_a_window_of_messages(ends):
    for step in range(200):
        ends.caller.send(data(step))
    assert len(ends.flush(ends.caller)) == module.WINDOW_MESSAGES
    assert ends.flush(ends.caller) == []
    ends.settle()
    assert steps(ends.listener) == list(range(200))


def test_a_window_of_bytes_in_which_one_message_always_fits(ends, monkeypatch):
    monkeypatch.setattr(module, "WINDOW_BYTES", 1000)
    for step in range(3):
        ends.caller.send(data(step, frames=(bytes(2000),)))
    assert len(ends.flush(ends.caller)) == 1
    for _ in range(3):
        ends.settle()
        ends.wait(module.ACK_SECONDS)
    assert steps(ends.listener) == [0, 1, 2]


def test_long_messages_go_in_pieces_and_arrive_whole(ends, monkeypatch):
    monkeypatch.setattr("parties.channel.split", lambda m: __import__("parties.pieces").pieces.split(m, 100))
    ends.caller.send(data(1, frames=(bytes(range(250)), b"x")))
    assert len(ends.flush(ends.caller)) == 3
    ends.settle()
    (event,) = ends.listener.events
    assert b"".join(event.message.frames) == bytes(range(250)) + b"x"


def test_acknowledgements_come_after_so_many_messages_or_so_much_time(ends):
    for step in range(module.ACK_MESSAGES):
        ends.caller.send(data(step))
    ends.flush(ends.caller)
    for _ in range(module.ACK_MESSAGES - 1):
        ends.pass_on(ends.caller)
    assert ends.flush(ends.listener) == []
    assert ends.listener.deadline == module.ACK_SECONDS
    ends.pass_on(ends.caller)
    assert [m.type for m in ends.flush(ends.listener)] == [Type.ACK]
    assert ends.listener.deadline is None


def test_an_acknowledgement_counts_the_message_that_brings_it_about(ends):
    for step in range(module.ACK_MESSAGES):
        ends.caller.send(data(step))
    ends.settle()
    assert ends.caller.unacknowledged == 0


def test_time_alone_acknowledges_nothing_to_a_dealer():
    ends = Ends(prompt=False)
    ends.connect()
    ends.settle()
    ends.listener.send(data(1))
    ends.settle()
    ends.now = 1.0
    ends.caller.tick(1.0)
    assert ends.flush(ends.caller) == []
    for step in range(module.ACK_MESSAGES):
        ends.listener.send(data(step))
    ends.flush(ends.listener)
    while ends.wires[ends.listener]:
        ends.pass_on(ends.listener)
    assert [m.type for m in ends.flush(ends.caller)] == [Type.ACK]


def test_a_meta_that_is_too_long_is_refused_and_takes_no_number(ends):
    with pytest.raises(BadMessage, match="meta above"):
        ends.caller.send(Message(Type.PROGRESS, 1, 0, meta={"where": "x" * 5000}))
    ends.caller.send(data(1))
    ends.settle()
    assert steps(ends.listener) == [1]


# ----------------------------------------------------------------------------- everything that can happen, in any order


class Anything(RuleBasedStateMachine):
    """Two ends. What is sent to a process arrives there once and in order, or that process is gone."""

    def __init__(self):
        super().__init__()
        self.ends = Ends()
        self.incarnation = 300
        self.sent = {self.ends.caller: [], self.ends.listener: []}
        self.got = {self.ends.caller: [], self.ends.listener: []}
        self.source = {self.ends.caller: self.sent[self.ends.listener], self.ends.listener: self.sent[self.ends.caller]}
        self.count = 0
        self.standing = False
        self.left = deque()  # what a broken connection left behind: it may still be read

    def end(self, which):
        return self.ends.caller if which else self.ends.listener

    def listen(self):
        for end in list(self.got):
            while end.events:
                match end.events.popleft():
                    case Delivered(message):
                        self.got[end].append(message.step)
                    case Joined():
                        self.source[end] = self.sent[self.ends.other(end)]
                    case Restarted():
                        other = self.ends.other(end)
                        self.sent[end] = self.source[other] = []
                        self.got[end], self.source[end] = [], self.sent[other]
                    case Broken(reason):
                        raise AssertionError(reason)

    @rule(which=st.booleans(), many=st.integers(1, 40))
    def send(self, which, many):
        end = self.end(which)
        for _ in range(many):
            self.count += 1
            end.send(data(self.count))
            self.sent[end].append(self.count)

    @precondition(lambda self: self.standing)
    @rule(which=st.booleans(), many=st.integers(1, 30))
    def travel(self, which, many):
        end = self.end(which)
        self.ends.flush(end)
        for _ in range(min(many, len(self.ends.wires[end]))):
            self.ends.pass_on(end)

    @precondition(lambda self: self.standing)
    @rule(which=st.booleans(), place=st.integers(0, 100))
    def twice(self, which, place):
        end = self.end(which)
        wire = self.ends.wires[end]
        if wire:
            self.ends.other(end).receive(wire[place % len(wire)] if place % 2 else wire[0], self.ends.now)

    @rule(seconds=st.sampled_from([0.01, 0.06, 1.0, 4.0]))
    def time(self, seconds):
        if any(e._gap_since is not None for e in self.got):  # a gap may not last: the transport is in order
            return
        self.ends.wait(seconds)

    @precondition(lambda self: not self.standing)
    @rule()
    def connect(self):
        self.ends.connect()
        self.standing = True

    @precondition(lambda self: self.standing)
    @rule(kept=st.booleans(), only_one_notices=st.booleans())
    def reset(self, kept, only_one_notices):
        for end, wire in self.ends.wires.items():
            if kept:
                self.left.extend((self.ends.other(end), parts) for parts in wire)
            wire.clear()
        self.ends.caller.disconnected()
        if not only_one_notices:
            self.ends.listener.disconnected()
        self.standing = False

    @precondition(lambda self: self.left)
    @rule(many=st.integers(1, 20))
    def left_over(self, many):
        for _ in range(min(many, len(self.left))):
            end, parts = self.left.popleft()
            if end in self.got:
                end.receive(parts, self.ends.now)

    @rule(which=st.booleans())
    def restart(self, which):
        old = self.end(which)
        self.incarnation += 1
        self.reset(False, False)
        fresh = Channel(old.me, old.peer, self.incarnation, GREETING, dials=old.dials)
        if which:
            self.ends.caller = fresh
        else:
            self.ends.listener = fresh
        self.ends.wires = {self.ends.caller: deque(), self.ends.listener: deque()}
        for book in (self.sent, self.got):
            del book[old]
            book[fresh] = []
        del self.source[old]  # the other end goes on with what the old one has sent until it hears of the new one
        other = self.ends.other(fresh)
        self.source[fresh] = self.sent[other]
        if other._theirs is None:  # it has not heard of the old one, and there is no restart for it
            self.source[other] = self.sent[fresh]

    @invariant()
    def in_order_and_once(self):
        self.listen()
        for end, got in self.got.items():
            assert got == self.source[end][: len(got)]

    @invariant()
    def bounded(self):
        for end in self.got:
            assert len(end._flying) <= module.WINDOW_MESSAGES

    def teardown(self):
        self.listen()
        self.left.clear()
        self.ends.disconnect()
        self.ends.connect()
        for _ in range(12):
            self.ends.settle()
            self.listen()
            self.ends.wait(module.ACK_SECONDS)
        for end, got in self.got.items():
            assert got == self.sent[self.ends.other(end)]
            assert end.unacknowledged == 0


TestAnything = Anything.TestCase
TestAnything.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
