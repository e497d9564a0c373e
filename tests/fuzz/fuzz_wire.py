"""Whatever bytes arrive: a BadMessage, or a message that goes back to the same bytes. For parties/wire.

An input is a byte that chooses what is fed, then parts, each behind its length in two little-endian bytes; the last may
be cut off. `run.py` fuzzes with it, a normal test replays the corpus.
"""

from __future__ import annotations

import msgpack

from mpc.exchange import Frame
from parties import wire
from parties.pieces import Joiner
from parties.values import unpack_values
from parties.wire import BadMessage, Message, Type, decode, encode

EXPECT = (Frame("<u8", (2,)), Frame("|u1", (3, 1)))
SAMPLES = {str: "text", int: 7, bool: True, float: 0.5, list: [1, 2]}


def target(data: bytes) -> None:
    """Raise unless every bad input is a BadMessage."""
    kinds = (message, document, values, arrays, joined)
    try:
        kinds[data[0] % len(kinds) if data else 0](parts_of(data[1:]))
    except BadMessage as error:
        if error.args[0] not in wire_rules():
            raise


def parts_of(data: bytes) -> list[bytes]:
    parts = []
    while data:
        size = int.from_bytes(data[:2], "little")
        parts.append(data[2 : 2 + size])
        data = data[2 + size :]
    return parts


def data_of(kind: int, parts: list[bytes]) -> bytes:
    return bytes([kind]) + b"".join(len(p).to_bytes(2, "little") + p for p in parts)


def message(parts: list[bytes]) -> None:
    assert [bytes(p) for p in encode(decode(parts))] == parts


def document(parts: list[bytes]) -> None:
    wire.pack(wire.unpack(parts))


def values(parts: list[bytes]) -> None:
    unpack_values(parts)


def arrays(parts: list[bytes]) -> None:
    got = wire.unpack_arrays(parts, EXPECT)
    assert b"".join(bytes(f) for f in wire.pack_arrays(got)) == b"".join(parts)


def joined(parts: list[bytes]) -> None:
    """Each part is a piece: its first byte says whether more follow, and what it belongs to."""
    joiner = Joiner(1 << 12)
    sent: list[bytes] = []
    for part in parts:
        flags, step = (part[0] & wire.MORE, part[0] >> 6) if part else (0, 0)
        whole = joiner.add(Message(Type.DATA, 0, 1, step=step, frames=(part[1:],), flags=flags))
        sent.append(part[1:])
        if whole:
            assert b"".join(bytes(f) for f in whole.frames) == b"".join(sent)
            assert not whole.flags & wire.MORE
            sent = []


def wire_rules() -> set[str]:
    """Every text that a BadMessage of the wire may have: none has a place for content."""
    return {
        "no header",
        "another protocol or wire version",
        "unknown message type",
        "unknown flags",
        "wrong number of frames",
        "wrong payload length",
        "meta too long",
        "meta where none belongs",
        "wrong meta fields",
        "wrong type of a meta field",
        "unprintable characters in meta",
        "meta in another form than its own",
        "not a document",
        "an extension type",
        "no document, or too long a one",
        "document too long",
        "a message inside another one",
        "message too long",
        "arrays of other shapes than the program expects here",
        "an array of another type than words or bytes",
        "results that are no dictionary",
        "results nested too deep",
        "a result array of the wrong kind or size",
    }


def sample(kind: Type, frames: tuple[bytes, ...] = ()) -> Message:
    """A message of this type."""
    meta = {key: SAMPLES[wanted] for key, wanted in wire.META[kind].items()}
    return Message(kind, 1, 0xFFFF, b"s" * 16, 41, meta, frames, 0, 2**63 - 1, 9, 8)


def seeds() -> dict[str, bytes]:
    """The committed corpus: every message type, and what once was or could have been trouble."""
    made = {f"{kind.name.lower()}": data_of(0, _raw(sample(kind))) for kind in Type}
    made["frames"] = data_of(0, _raw(sample(Type.DATA, (b"abcdefgh", b""))))
    header = _raw(sample(Type.DESCRIBE))[0]
    nasty = {
        "meta-long-integer": b"\x82\xa3ask\xcd\x00\x07\xa4name\xa1x",
        "meta-key-twice": b"\x83\xa3ask\x07\xa4name\xa1x\xa3ask\x07",
        "meta-float32": b"\x82\xa3ask\xca\x3f\x00\x00\x00\xa4name\xa1x",
        "meta-timestamp": b"\x82\xa3ask\xd6\xff\x00\x00\x00\x01\xa4name\xa1x",
        "meta-empty-extension": b"\x82\xa3ask\xc7\x00\x05\xa4name\xa1x",
        "meta-escape": b"\x82\xa3ask\x07\xa4name\xa4\x1b[2J",
        "meta-deep": b"\x91" * 4000,
        "meta-surrogate": b"\x82\xa3ask\x07\xa4name\xa3\xed\xa0\x80",
    }
    made |= {name: data_of(0, [header, meta]) for name, meta in nasty.items()}
    bombs = {"array": b"\xdd", "map": b"\xdf", "bytes": b"\xc6", "text": b"\xdb", "extension": b"\xc9"}
    made |= {f"document-huge-{name}": data_of(1, [code + b"\xff" * 5]) for name, code in bombs.items()}
    made["document"] = data_of(1, [msgpack.packb({"a": [1, -1, 0.5, None, True, "x", b"y"]})])
    made["values"] = data_of(2, [msgpack.packb({"r": {"array ": [1, "<f8", [1]]}}), bytes(8)])
    made["values-deep"] = data_of(2, [b"\x81\xa1r" + b"\x91" * 490 + b"\xc0"])
    for name, shape in {"huge": [1 << 62, 0], "flat": [1] * 65, "wide": [(1 << 64) - 1, 0]}.items():
        made[f"values-{name}"] = data_of(
            2, [msgpack.packb({"r": {"array ": [1, "<f8", shape]}}), bytes(8 * (name == "flat"))]
        )
    made["arrays"] = data_of(3, [bytes(16), bytes(3)])
    made["arrays-recut"] = data_of(3, [bytes(7), bytes(9), bytes(3)])
    made["pieces"] = data_of(4, [b"\x01abc", b"\x01", b"\x00d"])
    made["pieces-mixed"] = data_of(4, [b"\x01abc", b"\x41x"])
    return made


def _raw(whole: Message) -> list[bytes]:
    return [bytes(p) for p in encode(whole)]
