"""One end of a channel, or of the control plane, against a peer that means harm; no cluster around it."""

import pytest

from parties import channel as module
from parties.channel import Broken, Channel, Delivered
from parties.control import Alive, Control, Lost
from parties.limits import Limits
from parties.wire import Message, Type, decode, encode

GREETING = {"name": "n", "version": "v", "cluster": "c", "control": 7}
PING = {"progress": 1, "waiting": False}
WINDOW = module.WINDOW_MESSAGES


def end(*, dials=False):
    """Actor 1, up, of incarnation 100; its peer is actor 0, of incarnation 200."""
    made = Channel(1, 0, 100, GREETING, dials=dials)
    made.connected(0.0)
    drain(made)
    greets(made, dials=dials)
    drain(made)
    made.events.clear()
    return made


def greets(channel, *, dials, incarnation=200, knows=0):
    kind = Type.WELCOME if dials else Type.HELLO
    says(channel, kind, 0, meta=GREETING | {"knows": knows}, incarnation=incarnation)


def says(channel, kind, seq, *, ack=0, incarnation=200, **more):
    channel.receive(encode(Message(kind, 0, 1, incarnation=incarnation, seq=seq, ack=ack, **more)), 0.0)


def drain(channel):
    sent = []
    channel.flush(lambda parts: sent.append(decode(parts)) or True)
    return sent


def kinds(channel):
    return [type(e) for e in channel.events]


def test_acknowledgements_that_cannot_leave_are_one():
    channel = end()
    for seq in range(1, 1001):
        says(channel, Type.GO, seq)
    assert len(channel._unnumbered) == 1
    assert [m.ack for m in drain(channel)] == [1000 - 1000 % module.ACK_MESSAGES]
    for _ in range(100):
        says(channel, Type.GO, 1)  # heard before: it is acknowledged again, for the first word may have been lost
    assert [m.type for m in drain(channel)] == [Type.ACK]


def test_an_acknowledgement_does_not_replace_a_greeting():
    channel = end()
    greets(channel, dials=False)
    for seq in range(1, 2 * module.ACK_MESSAGES + 1):
        says(channel, Type.GO, seq)
    assert [m.type for m in drain(channel)] == [Type.WELCOME, Type.ACK]


def test_an_answer_that_was_not_asked_for_has_nothing_sent_again():
    channel = end(dials=True)
    for _ in range(3):
        channel.send(Message(Type.GO, 1, 0))
    assert [m.seq for m in drain(channel)] == [1, 2, 3]
    greets(channel, dials=True, knows=100)
    assert drain(channel) == []
    channel.connected(1.0)
    assert [m.type for m in drain(channel)] == [Type.HELLO]
    greets(channel, dials=True, knows=100)
    assert [m.seq for m in drain(channel)] == [1, 2, 3]


def test_whoever_talks_on_and_takes_nothing_is_given_up(monkeypatch):
    monkeypatch.setattr(module, "UNHEEDED_MESSAGES", 10)
    channel = end()
    for seq in range(1, 21):
        says(channel, Type.GO, seq)
    assert kinds(channel) == [Delivered] * 20  # nothing waits for an acknowledgement
    channel.events.clear()
    channel.send(Message(Type.GO, 1, 0))
    channel.send(Message(Type.GO, 1, 0))
    drain(channel)
    for seq in range(21, 31):
        says(channel, Type.GO, seq)
    says(channel, Type.GO, 31, ack=1)  # one of two: it goes on
    for seq in range(32, 41):
        says(channel, Type.GO, seq)
    assert kinds(channel) == [Delivered] * 20
    says(channel, Type.GO, 41)
    assert channel.events.pop() == Broken("sent a malformed message (talks on and takes nothing of what it is sent)")


@pytest.mark.parametrize("kind", [Type.GO, Type.ABORT, Type.CREDIT, Type.PROGRESS, Type.COMMIT])
def test_frames_where_none_belong(kind):
    meta = {
        Type.ABORT: {"origin": 0, "kind": "", "reason": "", "round": 0, "where": "", "final": False},
        Type.PROGRESS: {"where": ""},
        Type.COMMIT: {"epoch": 1},
    }.get(kind, {})
    channel = end()
    says(channel, kind, 1, meta=meta, frames=(b"x",))
    assert list(channel.events) == [Broken("sent a malformed message (frames where none belong)")]


def test_a_broken_channel_says_so_once_and_keeps_nothing():
    channel = end()
    says(channel, Type.DATA, 1, flags=1, frames=(bytes(1000),))
    channel.send(Message(Type.GO, 1, 0))
    for _ in range(100):
        channel.receive([b"garbage"], 0.0)
    assert kinds(channel) == [Broken]
    assert channel._joiner._frames == []
    assert channel.unacknowledged == 0
    assert not channel.ready


def control():
    return Control(1, [0, 2, 0xFFFF], 100, Limits())


def sign(incarnation=200, **more):
    return encode(Message(Type.PING, 0, 1, meta=PING, incarnation=incarnation, **more))


def test_garbage_on_the_control_plane_is_told_once_and_that_process_is_not_heard_again():
    c = control()
    assert c.receive(0, sign(), 0.0) == [Alive(0)]
    assert c.receive(0, [b"x"], 0.0) == [Lost(0, "sent a malformed message (no header)")]
    assert [c.receive(0, [b"x"], 0.0) for _ in range(100)] == [[]] * 100
    assert c.receive(0, sign(), 0.0) == []
    assert c.receive(0, sign(201), 0.0) == [Alive(0)]
    assert len(c.receive(0, [b"x"], 0.0)) == 1


def test_garbage_before_the_first_sign_of_life_is_told_once():
    c = control()
    assert len(c.receive(0, [b"x"], 0.0)) == 1
    assert c.receive(0, [b"x"], 0.0) == []
    assert c.receive(2, [b"x"], 0.0) == [Lost(2, "sent a malformed message (no header)")]
    assert c.receive(0, sign(), 0.0) == [Alive(0)]


def test_signs_of_life_have_no_frames():
    (lost,) = control().receive(0, sign(frames=(b"x",)), 0.0)
    assert lost.reason.endswith("(what does not belong on a control connection)")


# ------------------------------------------------------------------------------------------- edges that mutants found


def test_the_window_of_bytes_is_exact(monkeypatch):
    channel = end()
    for _ in range(4):
        channel.send(Message(Type.DATA, 1, 0, frames=(bytes(100),)))
    size = channel.unsent // 4
    monkeypatch.setattr(module, "WINDOW_BYTES", 2 * size)
    assert [m.seq for m in drain(channel)] == [1, 2]
    says(channel, Type.GO, 1, ack=1)
    assert [m.seq for m in drain(channel)] == [3]
    monkeypatch.setattr(module, "WINDOW_BYTES", 3 * size - 1)
    assert drain(channel) == []


def test_whichever_comes_first_is_the_deadline():
    channel = end()
    channel.receive(encode(Message(Type.GO, 0, 1, incarnation=200, seq=1)), 0.0)
    channel.tick(1.0)
    drain(channel)
    assert channel.deadline is None
    channel.receive(encode(Message(Type.GO, 0, 1, incarnation=200, seq=3)), 10.0)
    assert channel.deadline == 10.0 + module.GAP_SECONDS
    channel.receive(encode(Message(Type.GO, 0, 1, incarnation=200, seq=1)), 11.0)
    assert channel.deadline == 11.0 + module.ACK_SECONDS
    channel.tick(11.5)
    channel.receive(encode(Message(Type.GO, 0, 1, incarnation=200, seq=1)), 11.99)
    assert channel.deadline == 10.0 + module.GAP_SECONDS


def test_a_lost_connection_takes_back_what_flew_and_sends_nothing():
    channel = end(dials=True)
    channel.send(Message(Type.GO, 1, 0))
    drain(channel)
    assert channel.unsent == 0
    channel.disconnected()
    assert channel.unsent > 0
    assert not channel.up
    channel.send(Message(Type.GO, 1, 0))
    assert drain(channel) == []
    assert repr(channel) == "<Channel 1-0 down, 0 flying, 2 waiting>"
    channel.connected(1.0)
    greets(channel, dials=True, knows=100)
    drain(channel)
    assert repr(channel) == "<Channel 1-0 up, 2 flying, 0 waiting>"


def test_whoever_greets_again_sends_again():
    channel = end(dials=True)
    channel.send(Message(Type.GO, 1, 0))
    drain(channel)
    channel.tick(module.QUIET_SECONDS)
    assert [m.type for m in drain(channel)] == [Type.HELLO]
    greets(channel, dials=True, knows=100)
    assert [m.seq for m in drain(channel)] == [1]


def test_many_bytes_are_acknowledged_at_once(monkeypatch):
    monkeypatch.setattr(module, "ACK_BYTES", 1000)
    channel = end()
    says(channel, Type.DATA, 1, frames=(bytes(500),))
    assert drain(channel) == []
    says(channel, Type.DATA, 2, frames=(bytes(500),))
    assert [m.ack for m in drain(channel)] == [2]


def test_an_empty_seat_of_a_coordinator_is_given_no_more_signs():
    c, seat = control(), 0xE001
    sign = encode(Message(Type.PING, seat, 1, meta=PING, incarnation=7))
    assert c.receive(seat, sign, 0.0) == [Alive(seat)]
    assert seat in {m.dst for m in c.turn(0.1)[0]}
    for second in range(1, 7):
        c.turn(float(second))
    assert seat not in {m.dst for m in c.turn(7.0)[0]}


def test_what_flew_on_a_lost_connection_is_not_counted_on_the_next(monkeypatch):
    channel = end(dials=True)
    for _ in range(2):
        channel.send(Message(Type.DATA, 1, 0, frames=(bytes(100),)))
    monkeypatch.setattr(module, "WINDOW_BYTES", channel.unsent)
    for _ in range(3):
        assert [m.seq for m in drain(channel)] == [1, 2]
        channel.connected(1.0)
        drain(channel)
        greets(channel, dials=True, knows=100)


def test_a_greeting_ends_a_gap():
    channel = end()
    says(channel, Type.GO, 2)
    assert channel.deadline == module.GAP_SECONDS
    greets(channel, dials=False)
    assert channel.deadline is None


def test_all_seats_that_are_empty_are_forgotten():
    c, seats = control(), (0xE001, 0xE002)
    for seat in seats:
        assert c.receive(seat, encode(Message(Type.PING, seat, 1, meta=PING, incarnation=7)), 0.0) == [Alive(seat)]
    for second in range(1, 7):
        c.turn(float(second))
    assert not {*seats} & {m.dst for m in c.turn(7.0)[0]}
    assert not {*seats} & {*c._theirs}


def test_a_process_whose_number_is_1_is_heard_after_garbage():
    c = control()
    assert len(c.receive(0, [b"x"], 0.0)) == 1
    assert c.receive(0, sign(1), 0.0) == [Alive(0)]


def test_last_words_are_one_piece():
    assert {(m.flags, m.incarnation) for m in control().farewell()} == {(0, 100)}


def test_on_a_fresh_connection_nothing_goes_before_the_greetings():
    channel = end(dials=True)
    channel.connected(1.0)
    assert not channel.up
    channel.send(Message(Type.GO, 1, 0))
    assert [m.type for m in drain(channel)] == [Type.HELLO]


def test_a_broken_channel_is_down_and_nothing_flies():
    channel = end()
    channel.send(Message(Type.GO, 1, 0))
    drain(channel)
    channel.receive([b"garbage"], 0.0)
    assert repr(channel) == "<Channel 1-0 down, 0 flying, 0 waiting>"
    assert channel.deadline is None
