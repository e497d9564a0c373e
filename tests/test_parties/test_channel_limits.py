"""One end of a channel at the edges of its limits: windows, acknowledgements, moments, what it counts and forgets."""

import pytest

from parties import channel as module
from parties.channel import Broken, Channel, Delivered, Joined, Left, Restarted, _Stored
from parties.wire import Message, Type, decode, encode

GREETING = {"name": "n", "version": "v", "cluster": "c", "control": 7}


class End:
    """Actor 1, of incarnation 100, up if it is greeted; its peer is actor 0, of incarnation 200."""

    def __init__(self, *, dials=False, prompt=True, greeted=True, now=0.0):
        self.channel = Channel(1, 0, 100, GREETING, dials=dials, prompt=prompt)
        self.kind = Type.WELCOME if dials else Type.HELLO
        if greeted:
            self.channel.connected(now)
            self.sent()
            self.greets(now=now)
            self.sent()
            self.events()

    def greets(self, incarnation=200, knows=0, ack=0, now=0.0):
        self.says(self.kind, 0, ack=ack, incarnation=incarnation, now=now, meta=GREETING | {"knows": knows})

    def says(self, kind, seq, *, ack=0, incarnation=200, now=0.0, **more):
        message = Message(kind, 0, 1, incarnation=incarnation, seq=seq, ack=ack, **more)
        self.channel.receive(encode(message), now)

    def send(self, *kinds, **more):
        for kind in kinds:
            self.channel.send(Message(kind, 1, 0, **more))

    def sent(self, most=1000):
        """What leaves now."""
        left = []
        self.channel.flush(lambda parts: len(left) < most and (left.append(decode(parts)) or True))
        return left

    def kinds_sent(self):
        return [m.type for m in self.sent()]

    def numbers_sent(self):
        return [m.seq for m in self.sent() if m.seq]

    def events(self):
        found = list(self.channel.events)
        self.channel.events.clear()
        return found


def test_limits_are_what_they_were():
    assert (module.WINDOW_MESSAGES, module.WINDOW_BYTES) == (64, 256 << 20)
    assert (module.ACK_MESSAGES, module.ACK_BYTES, module.ACK_SECONDS) == (16, 8 << 20, 0.05)
    assert (module.ANSWERS_BYTES, module.UNHEEDED_MESSAGES) == (64 << 20, 4096)
    assert (module.GAP_SECONDS, module.QUIET_SECONDS, module._QUIETEST_SECONDS, module._PAST) == (2.0, 3.0, 48.0, 16)


def test_contents_are_in_no_repr():
    message = Message(Type.PROGRESS, 0, 1, meta={"where": "secret"})
    assert "secret" not in repr(Delivered(message))
    assert "secret" not in repr(_Stored(1, 6, [b"secret"], 0))


# ---------------------------------------------------------------------------------------------------------- greetings


def test_a_greeting_says_whom_it_knows():
    end = End(dials=True, greeted=False)
    end.channel.connected(0.0)
    assert [(m.seq, m.meta) for m in end.sent()] == [(0, {**GREETING, "knows": 0})]
    end.greets()
    end.channel.connected(1.0)
    assert [(m.type, m.meta["knows"]) for m in end.sent()] == [(Type.HELLO, 200)]
    end = End(greeted=False)
    end.channel.connected(0.0)
    assert end.sent() == []
    end.greets()
    assert [(m.type, m.meta["knows"]) for m in end.sent()] == [(Type.WELCOME, 200)]


def test_two_greetings_that_cross_are_answered_once():
    end = End()
    end.greets()
    end.greets()
    assert end.kinds_sent() == [Type.WELCOME]
    assert end.events() == []


@pytest.mark.parametrize("dials", [True, False])
def test_a_greeting_before_the_connection_is_told_counts(dials, monkeypatch):
    end = End(dials=dials, greeted=False)
    end.send(Type.GO, Type.GO)
    monkeypatch.setattr(module, "WINDOW_BYTES", end.channel.unsent)
    assert repr(end.channel) == "<Channel 1-0 down, 0 flying, 2 waiting>"
    assert not end.channel.ready
    end.greets()
    assert end.events() == [Joined(7)]
    assert end.numbers_sent() == [1, 2]


def test_a_process_whose_number_is_1_is_heard_after_garbage():
    for dials in (True, False):
        end = End(dials=dials, greeted=False)
        end.channel.connected(0.0)
        end.channel.receive([b"garbage"], 0.0)
        assert [type(e) for e in end.events()] == [Broken]
        end.greets(incarnation=1)
        assert end.events() == [Joined(7)]
        end.says(Type.GO, 1, incarnation=1)
        assert [type(e) for e in end.events()] == [Delivered]


def test_after_garbage_nothing_of_that_process_is_heard():
    end = End()
    end.channel.receive([b"garbage"], 0.0)
    end.events()
    end.greets()
    end.says(Type.GO, 1)
    assert end.events() == []
    assert not end.channel.up


def test_the_last_words_of_sixteen_former_processes_are_known():
    end = End()
    for incarnation in range(201, 217):
        end.greets(incarnation)
    end.events()
    for former in range(200, 216):
        end.greets(former)
    assert end.events() == []
    end.greets(217)
    assert end.events() == [Restarted(), Joined(7)]
    end.greets(201)
    assert end.events() == []
    end.greets(200)
    assert end.events() == [Restarted(), Joined(7)]


def test_a_restart_told_by_an_answer_begins_anew_in_everything(monkeypatch):
    end = End(dials=True)
    end.send(Type.GO, Type.GO)
    assert end.numbers_sent() == [1, 2]
    end.says(Type.GO, 1, now=1.0)
    end.says(Type.DATA, 2, flags=1, frames=(b"12345678",), now=1.0)
    assert end.channel.deadline == 1.0 + module.ACK_SECONDS
    end.events()
    end.greets(201, now=1.0)
    assert end.events() == [Restarted(), Joined(7)]
    assert end.channel.deadline == 1.0 + module.QUIET_SECONDS  # nothing is owed to the new one
    end.channel.tick(2.0)
    assert end.sent() == []
    end.send(Type.GO, Type.GO)
    monkeypatch.setattr(module, "WINDOW_BYTES", end.channel.unsent)
    assert end.numbers_sent() == [1, 2]
    end.says(Type.DATA, 1, frames=(b"1",), incarnation=201)
    assert [type(e) for e in end.events()] == [Delivered]


# ------------------------------------------------------------------------------------------------------ what is ready


def test_what_is_ready_may_go():
    end = End(dials=True, greeted=False)
    assert not end.channel.ready
    end.send(Type.GO)
    assert not end.channel.ready
    end.channel.connected(0.0)
    assert end.channel.ready
    assert end.kinds_sent() == [Type.HELLO]
    assert not end.channel.ready
    end.greets()
    assert end.channel.ready
    assert end.numbers_sent() == [1]
    assert not end.channel.ready
    end.send(Type.GO)
    assert end.channel.ready
    end.channel.disconnected()
    assert not end.channel.ready


def test_a_full_window_is_not_ready():
    end = End()
    end.send(*[Type.GO] * (module.WINDOW_MESSAGES + 1))
    assert len(end.numbers_sent()) == module.WINDOW_MESSAGES
    assert not end.channel.ready
    assert end.channel.unacknowledged == module.WINDOW_MESSAGES + 1
    end.says(Type.ACK, 0, ack=1)
    assert end.channel.ready
    assert end.channel.unacknowledged == module.WINDOW_MESSAGES
    assert end.numbers_sent() == [module.WINDOW_MESSAGES + 1]


def test_not_yet_keeps_everything_behind_it():
    end = End()
    end.greets()
    end.send(Type.GO, Type.GO)
    assert end.sent(0) == []
    assert end.kinds_sent() == [Type.WELCOME, Type.GO, Type.GO]


def test_a_lost_connection_drops_what_has_no_number_and_forgets_the_time():
    end = End(dials=True)
    for seq in range(1, module.ACK_MESSAGES + 1):
        end.says(Type.GO, seq)
    end.says(Type.GO, 100)
    assert end.channel.ready
    end.says(Type.GO, module.ACK_MESSAGES)  # owed again
    end.channel.disconnected()
    assert not end.channel.ready
    assert end.channel.deadline is None


def test_nothing_is_acknowledged_without_a_connection():
    end = End()
    end.channel.disconnected()
    for seq in range(1, 2 * module.ACK_MESSAGES + 1):
        end.says(Type.GO, seq)
    assert len(end.events()) == 2 * module.ACK_MESSAGES
    assert not end.channel.ready
    end.greets()
    assert [(m.type, m.ack) for m in end.sent()] == [(Type.WELCOME, 2 * module.ACK_MESSAGES)]


# ------------------------------------------------------------------------------------------------------------ moments


def test_an_idle_channel_has_nothing_to_do():
    assert End().channel.deadline is None
    end = End(dials=True, now=10.0)
    assert end.channel.deadline == 13.0
    end.channel.tick(10.5)
    assert end.sent() == []


@pytest.mark.parametrize("prompt", [True, False])
def test_what_is_owed_is_paid_some_time_after_the_first(prompt):
    end = End(prompt=prompt, now=10.0)
    end.says(Type.GO, 1, now=10.0)
    end.says(Type.GO, 2, now=10.03)
    assert end.channel.deadline == (10.0 + module.ACK_SECONDS if prompt else None)
    end.channel.tick(10.04)
    assert end.sent() == []
    end.channel.tick(10.0 + 2 * module.ACK_SECONDS)
    assert [(m.type, m.ack) for m in end.sent()] == ([(Type.ACK, 2)] if prompt else [])
    assert end.channel.deadline is None
    end.says(Type.GO, 3, now=20.0)
    assert end.channel.deadline == (20.0 + module.ACK_SECONDS if prompt else None)


def test_an_acknowledgement_is_due_at_the_very_moment():
    end = End()
    end.says(Type.GO, 1)
    end.channel.tick(module.ACK_SECONDS)
    assert end.kinds_sent() == [Type.ACK]


def test_what_is_sent_acknowledges_as_well():
    end = End()
    end.says(Type.GO, 1)
    end.send(Type.GO)
    assert end.channel.deadline is None
    end.channel.tick(1.0)
    assert [(m.type, m.ack) for m in end.sent()] == [(Type.GO, 1)]


def test_a_greeting_acknowledges_as_well():
    end = End(dials=True)
    end.says(Type.GO, 1)
    end.channel.connected(1.0)
    assert [(m.type, m.ack) for m in end.sent()] == [(Type.HELLO, 1)]
    end.greets(now=1.0)
    assert end.channel.deadline == 1.0 + module.QUIET_SECONDS
    end.channel.tick(2.0)
    assert end.sent() == []


def test_bytes_that_were_acknowledged_count_no_more(monkeypatch):
    monkeypatch.setattr(module, "ACK_BYTES", 1000)
    end = End()
    end.says(Type.DATA, 1, frames=(bytes(999),))
    assert end.sent() == []
    end.send(Type.GO)
    assert end.kinds_sent() == [Type.GO]
    end.says(Type.DATA, 2, frames=(bytes(999),))
    assert end.sent() == []
    end.says(Type.DATA, 3, frames=(bytes(1),))
    assert end.kinds_sent() == [Type.ACK]


def test_a_gap_lasts_from_its_first_moment():
    end = End(now=10.0)
    end.says(Type.GO, 2, now=10.0)
    end.says(Type.GO, 3, now=11.0)
    assert end.channel.deadline == 12.0
    end.channel.tick(11.9)
    assert end.events() == []
    end.channel.tick(12.0)
    assert end.events() == [Broken("left out a message")]


@pytest.mark.parametrize("dials", [False, True])
def test_a_gap_before_the_greeting_is_nobodys_fault_however_long_it_takes(dials):
    end = End(dials=dials)
    end.channel.connected(1.0)
    end.says(Type.GO, 2, now=1.0)
    end.channel.tick(2.9 + module.GAP_SECONDS)
    assert end.events() == []
    end.greets(knows=100, now=6.0)
    end.says(Type.GO, 1, now=6.0)
    end.says(Type.GO, 2, now=6.0)
    assert [e.message.seq for e in end.events()] == [1, 2]


def test_whichever_of_three_comes_first_is_the_deadline():
    end = End(dials=True, now=10.0)
    end.says(Type.GO, 2, now=10.5)
    assert end.channel.deadline == 12.5  # the gap, before the silence
    end.says(Type.GO, 1, now=11.0)
    assert end.channel.deadline == 11.0 + module.ACK_SECONDS
    end.channel.tick(11.5)
    assert end.kinds_sent() == [Type.ACK]
    assert end.channel.deadline == 14.0  # the silence: the gap is filled
    end.says(Type.GO, 1, now=13.0)
    end.channel.disconnected()
    assert end.channel.deadline is None


def test_a_silence_is_broken_at_the_very_moment_and_then_at_growing_intervals():
    end, moments = End(dials=True, now=100.0), []
    for _ in range(7):
        moments.append(end.channel.deadline - 100.0)
        end.channel.tick(end.channel.deadline - 0.5)
        assert end.sent() == []
        end.channel.tick(end.channel.deadline)
        assert end.kinds_sent() == [Type.HELLO]
    assert moments == [3.0, 9.0, 21.0, 45.0, 93.0, 141.0, 189.0]


def test_whatever_is_heard_begins_the_patience_anew():
    end = End(dials=True)
    end.channel.tick(3.0)
    assert end.channel.deadline == 9.0
    end.says(Type.ACK, 0, now=4.0)
    assert end.channel.deadline == 7.0
    end.channel.tick(7.0)
    end.channel.connected(8.0)
    assert end.channel.deadline == 11.0
    listener = End()
    listener.says(Type.ACK, 0, now=4.0)
    assert listener.channel.deadline is None


def test_greetings_that_cannot_leave_are_one():
    end = End(dials=True)
    for _ in range(3):
        end.channel.tick(end.channel.deadline)
    assert end.kinds_sent() == [Type.HELLO]


# ------------------------------------------------------------------------------------- what the peer does not take


def asks(end, seq, ack=0):
    end.says(Type.CLASSES, seq, ack=ack, meta={"ask": seq, "name": "x", "column": "y"})


def answers(end, number):
    end.send(Type.LABELS, meta={"ask": number}, frames=(bytes(200),))


@pytest.fixture
def size():
    """Of one answer."""
    end = End()
    answers(end, 1)
    return end.channel.unsent


@pytest.mark.parametrize("flown", [True, False], ids=["on the wire", "waiting"])
def test_answers_that_are_not_taken_have_a_limit(flown, size, monkeypatch):
    monkeypatch.setattr(module, "ANSWERS_BYTES", 2 * size)
    end = End()
    for number in (1, 2):
        answers(end, number)
    end.send(*[Type.GO] * 5)
    if flown:
        end.sent()
    asks(end, 1)
    assert [type(e) for e in end.events()] == [Delivered]  # exactly as much as may be
    asks(end, 2, ack=2)
    answers(end, 3)
    answers(end, 4)
    asks(end, 3)
    assert [type(e) for e in end.events()] == [Delivered] * 2
    answers(end, 5)
    asks(end, 4)
    assert end.events() == [Broken("sent a malformed message (asks on and takes none of the answers)")]


@pytest.mark.parametrize("kind", [Type.SCHEMA, Type.LABELS, Type.HOLDS, Type.REFUSED])
def test_these_are_answers(kind, monkeypatch):
    monkeypatch.setattr(module, "ANSWERS_BYTES", 0)
    meta = {
        Type.SCHEMA: {"ask": 1, "offered": False, "table": False, "shape": []},
        Type.REFUSED: {"ask": 1, "kind": "", "reason": ""},
    }.get(kind, {"ask": 1})
    end = End()
    end.send(Type.GO, Type.DATA)
    end.says(Type.GO, 1)
    assert [type(e) for e in end.events()] == [Delivered]
    end.send(kind, meta=meta)
    end.says(Type.GO, 2)
    assert [type(e) for e in end.events()] == [Broken]


def test_answers_to_a_former_process_count_no_more(size, monkeypatch):
    monkeypatch.setattr(module, "ANSWERS_BYTES", size)
    end = End()
    for number in (1, 2):
        answers(end, number)
    end.greets(201)
    answers(end, 3)
    end.says(Type.GO, 1, incarnation=201)
    assert [type(e) for e in end.events()] == [Restarted, Joined, Delivered]


def test_several_that_wait_are_taken_by_one_acknowledgement():
    end = End(dials=True)
    end.send(*[Type.GO] * 5)
    assert end.numbers_sent() == [1, 2, 3, 4, 5]
    end.channel.connected(1.0)
    end.sent()
    end.greets(knows=100, ack=3)
    assert end.channel.unacknowledged == 2
    assert end.numbers_sent() == [4, 5]
    end.says(Type.ACK, 0, ack=5)
    assert end.channel.unacknowledged == 0
    end.says(Type.ACK, 0, ack=6)
    assert end.events() == [Broken("sent a malformed message (an acknowledgement of something never sent)")]


def test_what_another_process_has_received_takes_nothing():
    end = End(dials=True)
    end.send(Type.GO, Type.GO)
    end.sent()
    end.channel.connected(1.0)
    end.sent()
    end.greets(knows=99, ack=2)
    assert end.numbers_sent() == [1, 2]


def test_a_broken_channel_keeps_no_half_message():
    for kind in (Type.DATA, Type.HOLDS):
        end = End()
        end.says(kind, 1, meta={"ask": 1} if kind is Type.HOLDS else {}, flags=1, frames=(bytes(1000),))
        end.send(Type.GO)
        end.channel.receive([b"garbage"], 0.0)
        joiner = end.channel._joiner
        assert (joiner._head, joiner._frames, bytes(joiner._joined)) == (None, [], b"")
        assert end.channel.unsent == end.channel.unacknowledged == 0


def test_after_goodbye_nothing_of_that_process_is_heard_and_nothing_sent_to_it():
    end = End()
    end.says(Type.BYE, 1)
    assert end.events() == [Left()]
    end.says(Type.GO, 2)
    end.greets()
    end.channel.receive([b"garbage"], 0.0)
    assert end.events() == []
    end.send(Type.GO)
    assert end.channel.unacknowledged == 0
    assert [(m.type, m.ack) for m in end.sent()] == [(Type.ACK, 1)]
