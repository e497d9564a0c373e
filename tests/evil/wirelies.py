"""What may be done to the bytes of one message on its way: `CHANGES[name](parts)` gives the messages that go out."""

import struct

import msgpack

from parties.wire import HEADER, META_LIMIT

FIELDS = ["magic", "version", "type", "flags", "src", "dst", "session", "incarnation", "seq", "ack", "step", "frames",
          "length"]  # fmt: skip


def _header(parts, **changes):
    values = list(HEADER.unpack(parts[0]))
    for name, change in changes.items():
        at = FIELDS.index(name)
        values[at] = change(values[at]) if callable(change) else change
    return HEADER.pack(*values)


def _changed(**changes):
    return lambda parts: [[_header(parts, **changes), *parts[1:]]]


def _meta(make):
    return lambda parts: [[parts[0], make(parts[1]), *parts[2:]]]


def _other_types(raw):
    return msgpack.packb({key: [value] for key, value in msgpack.unpackb(raw).items()} or {"x": 1})


def _flipped(at):
    def change(parts):
        whole = [bytearray(p) for p in parts]
        whole[0][at] ^= 0x41
        return [[bytes(p) for p in whole]]

    return change


def _steered(raw):
    fields = msgpack.unpackb(raw)
    return msgpack.packb({k: "\x1b[2J\x07" if type(v) is str else v for k, v in fields.items()} or {"\x1b": 1})


CHANGES = {
    "flips a bit of the magic": _flipped(1),
    "flips a bit of the version": _flipped(4),
    "flips a bit of the type": _flipped(5),
    "sets unknown flags": _changed(flags=0x8000),
    "says that more follows": _changed(flags=1),
    "speaks for carol": _changed(src=2),
    "speaks for the coordinator": _changed(src=0xFFFF),
    "names another addressee": _changed(dst=2),
    "names another session": _changed(session=b"o" * 16),
    "names no session": _changed(session=bytes(16)),
    "names another incarnation": _changed(incarnation=lambda i: i + 77),
    "names incarnation 0": _changed(incarnation=0),
    "leaves out the number": _changed(seq=lambda s: 0 if s else 1),
    "numbers far ahead": _changed(seq=lambda s: s + 1000),
    "numbers up to 2^64 − 1": _changed(seq=2**64 - 1),
    "acknowledges what was never sent": _changed(ack=2**40),
    "names a step near 2^32": _changed(step=2**32 - 1),
    "names the step before": _changed(step=lambda s: max(s - 1, 0)),
    "counts a frame too many": _changed(frames=lambda n: n + 1),
    "counts 2^32 − 1 frames": _changed(frames=2**32 - 1),
    "counts a byte too many": _changed(length=lambda n: n + 1),
    "counts 2^63 bytes": _changed(length=2**63),
    "cuts the header": lambda parts: [[parts[0][:-1], *parts[1:]]],
    "cuts the meta": _meta(lambda raw: raw[:-1]),
    "leaves out the meta": lambda parts: [parts[:1]],
    "sends nothing": lambda _parts: [[]],
    "sends an empty part": lambda _parts: [[b""]],
    "adds a frame": lambda parts: [[*parts, b"more"]],
    "has one frame less": lambda parts: [parts[:-1]],
    "adds a field to the meta": _meta(lambda raw: msgpack.packb(msgpack.unpackb(raw) | {"more": 1})),
    "changes the types of the meta": _meta(_other_types),
    "puts escape sequences into the meta": _meta(_steered),
    "sends a meta of 4097 bytes": _meta(lambda _raw: bytes(META_LIMIT + 1)),
    "sends a meta 4000 lists deep": _meta(lambda _raw: b"\x91" * 4000),
    "sends a meta that claims 2^32 entries": _meta(lambda _raw: b"\xdf" + b"\xff" * 4),
    "sends an extension type": _meta(lambda _raw: b"\x81\xa1x\xd4\x01\x00"),
    "sends text that is no text": _meta(lambda _raw: b"\x81\xa1x\xa2\xff\xfe"),
    "sends garbage": lambda _parts: [[bytes(range(68)), b"\x80"]],
    "sends it twice": lambda parts: [parts, parts],
    "sends it a hundred times": lambda parts: [parts] * 100,
    "keeps it back": lambda _parts: [],
    "sends frames of the same size and other content": lambda parts: [
        [*parts[:2], *(bytes(b ^ 0x55 for b in f) for f in parts[2:])]
    ],
    "sends frames without content": lambda parts: [[_header(parts, frames=lambda n: n + 3000), *parts, *[b""] * 3000]],
}
assert struct.calcsize(HEADER.format) == 68
