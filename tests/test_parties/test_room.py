"""How much an enrolled actor can make another one hold: what the program lets it send, and answers that it takes."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from traced import shared

from parties import channel
from parties.channel import Broken, Channel, Delivered, Joined
from parties.cluster import DEALER
from parties.coordinator import CoordinatorBrain
from parties.dealer import DealerBrain
from parties.party import PartyBrain
from parties.pieces import FRAME_COST, JOIN_LIMIT, SHORT_LIMIT, Joiner, split
from parties.session import most_bytes
from parties.values import pack_values
from parties.wire import FRAMES_LIMIT, MORE, BadMessage, Message, Type

GREETING = {"name": "x", "version": "1", "cluster": "c", "control": 1}
SESSION = b"s" * 16


def piece(size, kind=Type.DATA, more=True, src=1):
    return Message(kind, src, 0, SESSION, 3, frames=(bytes(size),), flags=MORE if more else 0)


@pytest.mark.parametrize("kind", [Type.DATA, Type.CORRECTION, Type.DONE, Type.HOLDS])
def test_a_message_is_as_long_as_its_room_and_no_longer(kind):
    joiner = Joiner(room=lambda _: 100)
    assert joiner.add(piece(60, kind)) is None
    assert joiner.add(piece(40, kind, more=False)).payload == 100
    joiner.add(piece(60, kind))
    with pytest.raises(BadMessage, match="too long"):
        joiner.add(piece(41, kind, more=False))


@pytest.mark.parametrize("kind", [Type.DATA, Type.HOLDS])
def test_each_message_has_its_whole_room_again(kind):
    joiner = Joiner(limit=100 + 2 * FRAME_COST, room=lambda _: 100)
    for _ in range(3):
        assert joiner.add(piece(60, kind)) is None
        assert joiner.add(piece(40, kind, more=False)).payload == 100


def test_frames_count_beside_their_bytes():
    joiner = Joiner(limit=100 + 2 * FRAME_COST - 1)
    joiner.add(piece(60))
    with pytest.raises(BadMessage, match="too long"):
        joiner.add(piece(40, more=False))


@pytest.mark.parametrize("change", [{"type": Type.CORRECTION}, {"session": b"o" * 16}, {"step": 4}])
def test_a_piece_of_another_message_is_refused(change):
    joiner = Joiner()
    joiner.add(piece(10))
    with pytest.raises(BadMessage, match="inside another"):
        joiner.add(replace(piece(10), **change))


@pytest.mark.parametrize(
    ("frames", "limit", "pieces"),
    [
        ((b"12345", b"67890", b"abcde"), 10, [(b"12345", b"67890"), (b"abcde",)]),
        ((b"a", b"", b"bc"), 1, [(b"a", b""), (b"b",), (b"c",)]),
        ((b"123", b"4567"), 4, [(b"123",), (b"4567",)]),
        ((b"1234567",), 3, [(b"123",), (b"456",), (b"7",)]),
    ],
)
def test_pieces_are_filled_to_the_limit(frames, limit, pieces):
    made = list(split(Message(Type.DATA, 1, 0, SESSION, 3, frames=frames), limit))
    assert [tuple(bytes(f) for f in m.frames) for m in made] == pieces
    assert [m.flags for m in made] == [MORE] * (len(pieces) - 1) + [0]
    assert {(m.src, m.dst, m.session, m.step) for m in made} == {(1, 0, SESSION, 3)}


def test_a_piece_has_no_more_frames_than_a_message_may_have():
    made = list(split(Message(Type.DATA, 1, 0, frames=(b"",) * (2 * FRAMES_LIMIT + 1))))
    assert [len(m.frames) for m in made] == [FRAMES_LIMIT, FRAMES_LIMIT, 1]


def test_the_room_is_that_of_the_first_piece():
    asked = []
    joiner = Joiner(room=lambda m: asked.append(m.step) or 100)
    for _ in range(2):
        joiner.add(piece(10))
        joiner.add(piece(10))
        joiner.add(piece(10, more=False))
    assert asked == [3, 3]


def test_what_nobody_wants_any_more_is_dropped_and_the_next_message_comes():
    joiner = Joiner(room=lambda m: None if m.session == SESSION else 100)
    for _ in range(50):
        assert joiner.add(piece(1 << 20)) is None
        assert not joiner._frames
        assert not joiner._joined
    assert joiner.add(piece(10, more=False)) is None
    whole = [joiner.add(m) for m in split(Message(Type.DATA, 1, 0, b"o" * 16, frames=(b"12345678",)), 3)]
    assert whole[-1].frames == (b"12345678",)


# ------------------------------------------------------------------------------------------------- what brains say


def test_a_party_has_room_for_what_the_program_sends_it():
    attempt = SimpleNamespace(room=lambda m: {Type.DATA: 48, Type.CORRECTION: 16}[m.type])
    brain = SimpleNamespace(sessions={SESSION: SimpleNamespace(attempt=attempt)})
    assert PartyBrain.room(brain, piece(1)) == 48
    assert PartyBrain.room(brain, piece(1, Type.CORRECTION, src=DEALER)) == 16
    assert PartyBrain.room(brain, piece(1, Type.PREPARE)) == SHORT_LIMIT
    brain.sessions.clear()
    assert PartyBrain.room(brain, piece(1)) is None


def test_a_coordinator_has_room_for_the_results_of_a_run_it_follows():
    brain = SimpleNamespace(sessions={SESSION: SimpleNamespace(room=77)})
    assert CoordinatorBrain.room(brain, piece(1, Type.DONE)) == 77
    assert CoordinatorBrain.room(brain, piece(1, Type.HOLDS)) == SHORT_LIMIT
    brain.sessions.clear()
    assert CoordinatorBrain.room(brain, piece(1, Type.DONE)) is None
    assert DealerBrain.room(brain, piece(1)) == SHORT_LIMIT


def test_results_fit_into_their_room():
    program = shared(lambda x: x * 2, (500, 2000))
    frames = pack_values({"results": {"result": np.ones((500, 2000))}, "measures": {}})
    assert 8_000_000 < sum(len(f) for f in frames) <= most_bytes(program) < 16_000_000


# --------------------------------------------------------------------------------------------------------- channels


class Two:
    """Both ends of a channel, the first of which never says what it has received."""

    def __init__(self, room=lambda _: JOIN_LIMIT, *, mute=True):
        self.evil = Channel(1, 0, 100, GREETING, dials=True)
        self.honest = Channel(0, 1, 200, GREETING, dials=False, room=room)
        self.evil.connected(0.0)
        self.carry(mute=False)
        self.mute = mute

    def carry(self, mute=None):
        mute = self.mute if mute is None else mute
        for _ in range(4):
            self.evil.flush(lambda parts: self.honest.receive(parts, 0.0) or True)
            self.honest.flush(lambda parts: True if mute else self.evil.receive(parts, 0.0) or True)

    def events(self):
        found = [e for e in self.honest.events if not isinstance(e, Joined)]
        self.honest.events.clear()
        return found


@pytest.mark.parametrize(("room", "kept"), [(lambda _: 300, 300), (lambda _: JOIN_LIMIT, 1000)], ids=["", "twin"])
def test_an_insider_who_sends_more_than_the_program_is_cut_short(room, kept):
    two = Two(room)
    for number in range(10):
        two.evil.send(piece(100, more=number < 9))
        two.carry()
        held = sum(len(f) for f in two.honest._joiner._frames)
        assert held <= kept
    last = two.events()
    assert isinstance(last[-1], Broken if kept == 300 else Delivered)


@pytest.mark.parametrize("mute", [True, False])
def test_who_asks_on_and_takes_no_answer_is_cut_off(mute, monkeypatch):
    monkeypatch.setattr(channel, "ANSWERS_BYTES", 1000)
    two, most = Two(mute=mute), 0
    for number in range(40):
        two.evil.send(Message(Type.CLASSES, 1, 0, meta={"ask": number, "name": "x", "column": "y"}))
        two.carry()
        for event in two.events():
            if isinstance(event, Broken):
                assert mute
                assert "takes none of the answers" in event.reason
                assert most < 1000 + 400
                return
            two.honest.send(Message(Type.LABELS, 0, 1, meta={"ask": number}, frames=(bytes(200),)))
        most = max(most, two.honest._answers)
        two.carry()
        if not mute:
            two.evil.tick(number + 1.0)
            two.evil.events.clear()
    assert not mute


def test_what_a_program_sends_is_no_answer(monkeypatch):
    monkeypatch.setattr(channel, "ANSWERS_BYTES", 1000)
    two = Two()
    for number in range(20):
        two.honest.send(Message(Type.DONE, 0, 1, SESSION, number, frames=(bytes(200),)))
        two.evil.send(Message(Type.CLASSES, 1, 0, meta={"ask": number, "name": "x", "column": "y"}))
        two.carry()
    assert all(isinstance(e, Delivered) for e in two.events())
