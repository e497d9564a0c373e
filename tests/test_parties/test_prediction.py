"""Header prediction: a message like the one before is taken at one look, and nothing else changes by it."""

from __future__ import annotations

import pytest
from channels import Ends, data, from_caller, greeted
from hypothesis import example, given, settings
from hypothesis import strategies as st

from parties import channel as module
from parties.channel import Broken, Delivered
from parties.pieces import split
from parties.wire import CHUNK, MORE, NO_SESSION, Message, Type, encode


@pytest.fixture
def ends():
    return greeted()


CHANGE = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"seq": st.integers(0, 6)}),
    st.fixed_dictionaries({"ack": st.integers(0, 3)}),
    st.fixed_dictionaries({"step": st.integers(0, 9)}),
    st.fixed_dictionaries({"type": st.sampled_from([Type.DATA, Type.GO, Type.PAIR, Type.BYE, Type.ACK])}),
    st.fixed_dictionaries({"session": st.binary(min_size=16, max_size=16)}),
    st.fixed_dictionaries({"frames": st.sampled_from([(), (b"",), (b"1", b"22"), (b"12345678",)])}),
    st.fixed_dictionaries({"flags": st.sampled_from([0, 1])}),
    st.fixed_dictionaries({"src": st.integers(0, 2)}),
    st.fixed_dictionaries({"incarnation": st.sampled_from([99, 100, 200])}),
)
CHANGES = st.builds(lambda one, two: one | two, CHANGE, CHANGE)
DAMAGE = st.one_of(
    st.just(lambda parts: parts),
    st.just(lambda _: []),
    st.just(lambda parts: parts[:1]),
    st.just(lambda parts: [*parts, b"more"]),
    st.just(lambda parts: parts[:-1]),
    st.just(lambda parts: [parts[0], b"\x81", *parts[2:]]),
    st.just(lambda parts: [parts[0][:-1], *parts[1:]]),
    st.just(lambda parts: [parts[0][:56] + b"\2" + parts[0][57:], *parts[1:]]),  # two frames, it says
    st.builds(lambda at, bit: lambda parts: _flipped(parts, at, bit), st.integers(0, 67), st.integers(0, 7)),
)


def _flipped(parts, at, bit):
    header = bytearray(parts[0])
    header[at] ^= 1 << bit
    return [bytes(header), *parts[1:]]


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.lists(st.tuples(CHANGES, DAMAGE), max_size=8), st.integers(0, 2))
def test_a_message_that_follows_another_is_taken_as_if_it_were_looked_at_whole(told, answers):
    """Header prediction changes nothing: one end that never uses it says, acknowledges and knows the same.

    Nor does asking for a message of one kind, session and step first.
    """
    told_by = []
    for way in ("looks", "predicts", "asks"):
        ends = Ends()
        if way == "looks":
            ends.listener._predicted = lambda _parts, _now: False
        ends.connect()
        ends.settle()
        for number in range(answers):
            ends.listener.send(data(number))
            ends.flush(ends.listener)
        ends.listener.receive(from_caller(ends), 0.0)
        usual = {"ack": answers, "frames": (b"12345678",)}
        for count, (changes, damage) in enumerate(told, 2):
            parts = damage(from_caller(ends, **{"seq": count, **usual, **changes}))
            asks = way == "asks" and bool(ends.listener.events)
            frame = ends.listener.returned(parts, 0.0, Type.DATA, NO_SESSION, 0) if asks else None
            if frame is None:
                ends.listener.receive(parts, 0.0)
            else:
                m = Message(Type.DATA, 1, 0, NO_SESSION, 0, frames=(frame,), incarnation=100, seq=count, ack=answers)
                ends.listener.events.append(Delivered(m))
        said = [(e, getattr(e, "message", None)) for e in ends.listener.events]
        told_by.append((said, [(m.type, m.ack) for m in ends.flush(ends.listener)], repr(ends.listener)))
    assert told_by[0] == told_by[1] == told_by[2]


@pytest.mark.parametrize("other", [{"kind": Type.PAIR}, {"session": b"t" * 16}, {"step": 3}])
def test_what_is_asked_for_is_taken_once_and_nothing_else_is(ends, other):
    ends.listener.receive(from_caller(ends, seq=1, step=1, frames=(b"12345678",)), 0.0)
    ends.listener.events.clear()
    parts, before = from_caller(ends, seq=2, step=2, frames=(b"87654321",)), repr(vars(ends.listener))
    asked = {"kind": Type.DATA, "session": NO_SESSION, "step": 2}
    assert ends.listener.returned(parts, 1.0, **asked | other) is None
    assert repr(vars(ends.listener)) == before
    assert ends.listener.returned(parts, 1.0, **asked) == b"87654321"
    assert ends.listener._received == 2
    assert ends.listener.returned(parts, 1.0, **asked) is None
    assert not ends.listener.events


def test_what_acknowledges_more_than_was_sent_is_not_taken_as_asked_for(ends):
    ends.listener.receive(from_caller(ends, seq=1, frames=(b"12345678",)), 0.0)
    ends.listener.events.clear()
    parts = from_caller(ends, seq=2, ack=1, frames=(b"12345678",))
    assert ends.listener.returned(parts, 0.0, Type.DATA, NO_SESSION, 0) is None
    ends.listener.receive(parts, 0.0)
    assert list(ends.listener.events) == [
        Broken("sent a malformed message (an acknowledgement of something never sent)")
    ]  # fmt: skip


SCHEMA = {"ask": 1, "offered": False, "table": False, "shape": []}


@pytest.mark.parametrize("predicts", [True, False])
@pytest.mark.parametrize("sent", ["flying", "waiting", "nothing"])
def test_whoever_says_the_like_on_and_on_and_takes_nothing_is_found_out(ends, monkeypatch, sent, predicts):
    monkeypatch.setattr(module, "UNHEEDED_MESSAGES", 5)
    if not predicts:
        ends.listener._predicted = lambda _parts, _now: False
    if sent != "nothing":
        ends.listener.send(data(1))
    if sent == "flying":
        ends.flush(ends.listener)
    for seq in range(1, 9):
        ends.listener.receive(from_caller(ends, seq=seq, ack=0, frames=(b"12345678",)), 0.0)
    broken = [e for e in ends.listener.events if isinstance(e, Broken)]
    taken = sum(isinstance(e, Delivered) for e in ends.listener.events)
    found_out = [Broken("sent a malformed message (talks on and takes nothing of what it is sent)")]
    assert (taken, broken) == ((8, []) if sent == "nothing" else (5, found_out))


@pytest.mark.parametrize("predicts", [True, False])
@pytest.mark.parametrize("most", [0, 1 << 20])
def test_whoever_says_the_like_and_takes_no_answers_is_found_out(ends, monkeypatch, most, predicts):
    if not predicts:
        ends.listener._predicted = lambda _parts, _now: False
    ends.listener.receive(from_caller(ends, seq=1, frames=(b"12345678",)), 0.0)
    monkeypatch.setattr(module, "ANSWERS_BYTES", most)
    ends.listener.send(Message(Type.SCHEMA, 0, 1, meta=SCHEMA, frames=(b"\x90",)))
    ends.listener.receive(from_caller(ends, seq=2, ack=0, frames=(b"12345678",)), 0.0)
    last = ends.listener.events[-1]
    assert (
        isinstance(last, Delivered)
        if most
        else last == Broken("sent a malformed message (asks on and takes none of the answers)")
    )


def test_frames_are_refused_after_the_same_message_without_them(ends):
    for seq, frames in enumerate([(), (b"12345678",)], 1):
        ends.listener.receive(from_caller(ends, type=Type.GO, seq=seq, frames=frames), 0.0)
    delivered, broken = ends.listener.events
    assert delivered.message.frames == ()
    assert broken == Broken("sent a malformed message (frames where none belong)")


KINDS = [(Type.DATA, {}), (Type.PAIR, {}), (Type.CREDIT, {}), (Type.HOLDS, {"ask": 1}), (Type.COMMIT, {"epoch": 2})]
FRAMES = st.sampled_from([(), (b"",), (b"12345678",), (b"1", b"22")])
LONG = [(KINDS[0], b"s" * 16, 1, (frame,), 0, 0) for frame in (b"1", bytes(CHUNK), bytes(CHUNK + 1), b"2")]


@example(LONG)
@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(KINDS), st.sampled_from([b"s" * 16, b"t" * 16]), st.integers(0, 2**32 - 1), FRAMES,
            st.sampled_from([0, 0, 0, MORE]), st.integers(0, 3),
        ),
        max_size=8,
    )
)  # fmt: skip
def test_a_message_that_is_like_the_one_before_is_stamped_as_if_it_were_not(said):
    """As `encode` would have it, numbered in order, and kept with its size."""
    end = greeted().caller
    for (kind, meta), session, step, frames, flags, received in said:
        m = Message(kind, 1, 0, session, step, meta, frames, flags)
        end._received += received
        end._owed = 5
        end._queue.clear()
        answers, sent = end._answers, end._sent
        end.send(m)
        expected = [
            encode(piece, (1, 0, 100, sent + 1 + at, end._received)) for at, piece in enumerate(split(m))
        ]  # fmt: skip
        assert [[bytes(p) for p in s.parts] for s in end._queue] == [[bytes(p) for p in parts] for parts in expected]
        assert [s.seq for s in end._queue] == [sent + 1 + at for at in range(len(expected))]
        assert [s.size for s in end._queue] == [sum(map(len, parts)) for parts in expected]
        assert sum(s.answer for s in end._queue) == end._answers - answers
        assert (end._answers > answers) == (kind is Type.HOLDS)
        assert end._owed == 0
