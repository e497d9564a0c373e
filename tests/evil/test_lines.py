"""Words of peers that would reach a terminal or a journal; and numbers of the wire that may never change."""

import json
import tracemalloc

import pytest

from parties import escaping, pieces, wire
from parties.escaping import is_printable, safe_json
from parties.pieces import split
from parties.wire import BadMessage, Message, Type, decode, encode, line, printable, source

NUMBERS = {
    "HELLO": 1, "WELCOME": 2, "DATA": 3, "ACK": 4, "PING": 5, "ABORT": 7, "BYE": 8, "DESCRIBE": 16, "SCHEMA": 17,
    "CLASSES": 18, "LABELS": 19, "PREPARE": 20, "READY": 21, "REFUSED": 22, "START": 23, "PAIR": 24, "SEEDS": 25,
    "CORRECTION": 26, "DEALT": 27, "STOCKED": 28, "GO": 29, "PROGRESS": 30, "DONE": 31, "END": 32, "CREDIT": 33,
    "HELD": 34, "HOLDS": 35, "SAVED": 36, "COMMIT": 37, "DROP": 38, "ENDED": 39, "FORGET": 40,
}  # fmt: skip
STEERING = ["\x00", "\x07", "\n", "\x1b[2J", "\x7f", "\x9b", "\u200e", "\u200f", "\u2028", "\u202a", "\u202e", "\u2066",
            "\u2069", "\ud800", "\udfff", "\ufeff", "\xad", "\u200b", "\u061c", "\ufff9", "\U000e0041"]  # fmt: skip


def test_numbers_of_types_are_what_they_were():
    assert {kind.name: int(kind) for kind in Type} == NUMBERS


def test_limits_are_what_they_were():
    limits = (wire.META_LIMIT, wire.CHUNK, wire.FRAMES_LIMIT, wire.BODY_LIMIT, pieces.JOIN_LIMIT, pieces.SHORT_LIMIT)
    assert limits == (4096, 32 << 20, 4096, 4 << 20, 16 << 30, 64 << 20)
    assert (escaping.LINE_LIMIT, pieces.FRAME_COST, wire.MORE, wire.HEADER.size) == (1000, 64, 1, 68)
    assert (wire.MAGIC, wire.WIRE_VERSION) == (b"PRVY", 1)


def test_a_message_begins_without_numbers():
    m = Message(Type.GO, 1, 2)
    assert (m.session, m.step, m.meta, m.frames, m.flags, m.incarnation, m.seq, m.ack) == (
        bytes(16),
        0,
        {},
        (),
        0,
        0,
        0,
        0,
    )


@pytest.mark.parametrize("text", STEERING)
def test_what_steers_a_terminal_does_not_get_through(text):
    assert printable(f"a{text}b") == f"a{json.dumps(text[0])[1:-1]}{text[1:]}b"
    assert printable(printable(text)) == printable(text)
    assert json.loads(safe_json([text])) == [text]
    assert is_printable(safe_json([text])) > is_printable(text)
    parts = encode(Message(Type.PROGRESS, 1, 2, meta={"where": f"x{text}"}))
    assert decode(parts).meta["where"] == printable(f"x{text}")
    if text < "\ud800" or text > "\udfff":
        raw = f"x{text}".encode()
        parts[1] = b"\x81\xa5where" + bytes([0xA0 + len(raw)]) + raw
        with pytest.raises(BadMessage, match="unprintable characters in meta"):
            decode(parts)


@pytest.mark.parametrize(
    "text", ["", " ", "~", "größe", "\xa0", "数", "\U0001f600", "\u200d", "\u2027", "\u202f", "\ufefe"]
)
def test_other_words_do(text):
    assert printable(text) == text
    assert decode(encode(Message(Type.PROGRESS, 1, 2, meta={"where": text}))).meta["where"] == text


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("mean radius", "mean radius"), ("größe_2.b-c", "größe_2.b-c"), ("", '""'), ("a; b: no", '"a; b: no"'),
        ('a" by nobody', "\"a' by nobody\""), ("a\n", r'"a\n"'), ("x" * 200, "x" * 100), (" a", '" a"'),
    ],
)  # fmt: skip
def test_a_name_in_a_sentence_ends_where_it_ends(name, shown):
    assert escaping.quoted(name) == shown


def test_a_line_is_cut_by_bytes_and_between_characters():
    assert line("x" * 2000) == "x" * 1000
    assert line("ä" * 2000) == "ä" * 500
    assert line("x" + "ä" * 2000) == "x" + "ä" * 499
    assert line("abcdef", 3) == "abc"
    assert line("a\nb", 4) == "a\\nb"


def test_the_source_is_read_before_anything_else_is_looked_at():
    parts = encode(Message(Type.GO, 0xABCD, 0x1234))
    assert source(parts) == 0xABCD
    assert source(encode(Message(Type.GO, 7, 0xFFFF))) == 7
    assert source([]) == source([b""]) == source([parts[0][:-1]]) == source([b"x", parts[0]]) == -1
    assert source([parts[0]]) == 0xABCD


def test_a_message_of_exactly_the_limit_is_whole():
    m = Message(Type.DATA, 1, 2, frames=(bytes(10),))
    assert [x.payload for x in split(m, 10)] == [10]
    assert [x.flags for x in split(m, 10)] == [0]
    assert next(iter(split(m, 10))) is m
    assert [(x.payload, x.flags) for x in split(m, 9)] == [(9, 1), (1, 0)]
    full = Message(Type.DATA, 1, 2, frames=(b"",) * wire.FRAMES_LIMIT)
    assert next(iter(split(full))) is full
    assert len(list(split(Message(Type.DATA, 1, 2, frames=(b"",) * (wire.FRAMES_LIMIT + 1))))) == 2


def test_short_messages_may_not_be_long_in_pieces(monkeypatch):
    monkeypatch.setattr(pieces, "SHORT_LIMIT", 1000)

    def join(kind, size):
        joiner = pieces.Joiner()
        joiner.add(Message(kind, 1, 2, frames=(bytes(size),), flags=1))
        return joiner.add(Message(kind, 1, 2, frames=(b"",)))

    assert join(Type.DATA, 5000).payload == join(Type.DONE, 5000).payload == join(Type.CORRECTION, 5000).payload == 5000
    assert join(Type.PREPARE, 1000 - 2 * pieces.FRAME_COST).payload
    for kind in (Type.PREPARE, Type.HOLDS, Type.PAIR, Type.SEEDS):
        with pytest.raises(BadMessage, match="message too long"):
            join(kind, 1001 - 2 * pieces.FRAME_COST)


def test_a_document_of_exactly_the_limit_is_packed():
    assert len(wire.pack(bytes(wire.BODY_LIMIT - 5))) == wire.BODY_LIMIT
    with pytest.raises(BadMessage, match="document too long"):
        wire.pack(bytes(wire.BODY_LIMIT - 4))


def test_a_short_document_may_not_claim_a_long_list():
    tracemalloc.start()
    try:
        with pytest.raises(BadMessage, match="not a document"):
            wire.unpack([b"\xdd" + (1_000_000).to_bytes(4, "big")])
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
