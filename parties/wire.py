"""The bytes of a message: a fixed little-endian header, a small msgpack meta, raw array frames. Pure functions.

    magic 4 · version 1 · type 1 · flags 2 · src 2 · dst 2 · session 16 · incarnation 8 · seq 8 · ack 8 · step 4 ·
    nframes 4 · payload length 8                                                                       68 bytes

A peer's bytes are never trusted: the header is checked before anything else is looked at, meta is at most 4 KiB and has
exactly the fields of its type with exactly their types, arrays must be what the *program* expects at this step. Every
failure is one `BadMessage`, which says what kind of thing was wrong and never repeats content.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from operator import attrgetter
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from mpc.exchange import Array, Frame, Words
from parties.escaping import is_printable, line, printable

__all__ = [
    "CHUNK",
    "FIXED",
    "HEADER",
    "META",
    "NO_META",
    "NO_SESSION",
    "NUMBERS",
    "WITH_FRAMES",
    "BadMessage",
    "Message",
    "Type",
    "decode",
    "encode",
    "fixed_part",
    "line",
    "pack",
    "pack_arrays",
    "pack_words",
    "printable",
    "source",
    "unpack",
    "unpack_arrays",
    "unpack_words",
]

MAGIC = b"PRVY"
WIRE_VERSION = 1
HEADER = struct.Struct("<4sBBHHH16sQQQIIQ")
_FIXED = struct.Struct("<4sBBHHH16sQ")  # of it, what messages of one kind, session and incarnation have in common
FIXED = _FIXED.size
NUMBERS = struct.Struct("<QQIIQ")  # the rest: seq, ack, step, nframes, payload length
NO_META = b"\x80"
META_LIMIT = 4096
CHUNK = 32 << 20
FRAMES_LIMIT = 4096
BODY_LIMIT = 4 << 20
NO_SESSION = bytes(16)
MORE = 1  # flag: the frames go on in the next message

Buffer = bytes | memoryview


class BadMessage(Exception):
    """A message that is not what it must be; the text names the rule, never the content. `peer`: whose, if known."""

    def __init__(self, rule: str, peer: int | None = None) -> None:
        super().__init__(rule)
        self.peer = peer


class Type(IntEnum):
    """What a message is for. 1 to 15 belong to the channel, the others to the conversation of a run."""

    HELLO = 1
    WELCOME = 2
    DATA = 3
    ACK = 4
    PING = 5
    ABORT = 7
    BYE = 8
    DESCRIBE = 16
    SCHEMA = 17
    CLASSES = 18
    LABELS = 19
    PREPARE = 20
    READY = 21
    REFUSED = 22
    START = 23
    PAIR = 24
    SEEDS = 25
    CORRECTION = 26
    DEALT = 27
    STOCKED = 28
    GO = 29
    PROGRESS = 30
    DONE = 31
    END = 32
    CREDIT = 33
    HELD = 34
    HOLDS = 35
    SAVED = 36
    COMMIT = 37
    DROP = 38
    ENDED = 39
    FORGET = 40


META: dict[Type, dict[str, type]] = {
    Type.HELLO: {"name": str, "version": str, "cluster": str, "control": int, "knows": int},
    Type.WELCOME: {"name": str, "version": str, "cluster": str, "control": int, "knows": int},
    Type.DATA: {},
    Type.ACK: {},
    Type.PING: {"progress": int, "waiting": bool},
    Type.ABORT: {"origin": int, "kind": str, "reason": str, "round": int, "where": str, "final": bool},
    Type.BYE: {},
    Type.DESCRIBE: {"ask": int, "name": str},
    Type.SCHEMA: {"ask": int, "offered": bool, "table": bool, "shape": list},
    Type.CLASSES: {"ask": int, "name": str, "column": str},
    Type.LABELS: {"ask": int},
    Type.PREPARE: {
        "version": str,
        "format": int,
        "suite": str,
        "cluster": str,
        "insecure": str,
        "mode": str,
        "run": str,
        "attempt": int,
        "epoch": int,
        "material": str,
    },
    Type.READY: {"version": str, "source": str, "lowered": str, "agreed": str},
    Type.REFUSED: {"ask": int, "kind": str, "reason": str},
    Type.START: {"agreed": str},
    Type.PAIR: {},
    Type.SEEDS: {},
    Type.CORRECTION: {},
    Type.DEALT: {"count": int, "payload": int, "seconds": float},
    Type.STOCKED: {"complete": bool},
    Type.GO: {},
    Type.PROGRESS: {"where": str},
    Type.DONE: {},
    Type.END: {},
    Type.CREDIT: {},
    Type.HELD: {"ask": int, "run": str, "lowered": str, "task": str},
    Type.HOLDS: {"ask": int},
    Type.SAVED: {"epoch": int, "iteration": int, "reason": str},
    Type.COMMIT: {"epoch": int},
    Type.DROP: {"ask": int, "name": str},
    Type.ENDED: {"reason": str},
    Type.FORGET: {},
}

WITH_FRAMES = frozenset({
    Type.DATA, Type.SCHEMA, Type.LABELS, Type.PREPARE, Type.PAIR, Type.SEEDS, Type.CORRECTION, Type.DEALT, Type.DONE,
    Type.HOLDS,
})  # fmt: skip


@dataclass(slots=True)  # not frozen: one is made for each message, and that takes much longer
class Message:
    """One message. `src` and `dst` are actor numbers; `step` is the number of an exchange or a correction."""

    type: Type
    src: int
    dst: int
    session: bytes = NO_SESSION
    step: int = 0
    meta: dict[str, Any] = field(default_factory=dict)
    frames: tuple[Buffer, ...] = field(default=(), repr=False)
    flags: int = 0
    incarnation: int = 0
    seq: int = 0
    ack: int = 0

    @property
    def payload(self) -> int:
        """Bytes in the raw frames."""
        frames = self.frames
        return len(frames[0]) if len(frames) == 1 else sum(map(len, frames))


# ------------------------------------------------------------------------------------------------------- messages


def encode(message: Message, stamp: tuple[int, int, int, int, int] | None = None) -> list[Buffer]:
    """Header, meta and frames, ready to send. stamp: src, dst, incarnation, seq, ack instead of the message's own."""
    src, dst, incarnation, seq, ack = stamp or (
        message.src, message.dst, message.incarnation, message.seq, message.ack,
    )  # fmt: skip
    meta = bytes(msgpack.packb(_lines(message.meta))) if message.meta else NO_META
    if len(meta) > META_LIMIT:
        raise BadMessage(f"{message.type.name}: meta above {META_LIMIT} bytes")
    header = HEADER.pack(
        MAGIC,
        WIRE_VERSION,
        message.type,
        message.flags,
        src,
        dst,
        message.session,
        incarnation,
        seq,
        ack,
        message.step,
        len(message.frames),
        message.payload,
    )
    return [header, meta, *message.frames]


def fixed_part(m: Message) -> bytes:
    """The first FIXED bytes of its header."""
    return _FIXED.pack(MAGIC, WIRE_VERSION, m.type, m.flags, m.src, m.dst, m.session, m.incarnation)


def source(parts: Sequence[Buffer]) -> int:
    """Which actor a message says it is from, before anything else of it is looked at; −1 if it says nothing."""
    return int.from_bytes(parts[0][8:10], "little") if parts and len(parts[0]) == HEADER.size else -1


def decode(parts: Sequence[Buffer]) -> Message:
    """The message in these parts, or BadMessage."""
    if len(parts) < 2 or len(parts[0]) != HEADER.size:
        raise BadMessage("no header")
    (magic, version, kind, flags, src, dst, session, incarnation, seq, ack, step, nframes, length) = HEADER.unpack(
        parts[0]
    )
    if magic != MAGIC or version != WIRE_VERSION:
        raise BadMessage("another protocol or wire version")
    message_type = _TYPES.get(kind)
    if message_type is None:
        raise BadMessage("unknown message type")
    if flags & ~MORE:
        raise BadMessage("unknown flags")
    frames = tuple(parts[2:])
    if nframes != len(frames) or nframes > FRAMES_LIMIT:
        raise BadMessage("wrong number of frames")
    if length != (len(frames[0]) if nframes == 1 else sum(map(len, frames))):
        raise BadMessage("wrong payload length")
    meta = _meta(message_type, parts[1])
    return Message(message_type, src, dst, session, step, meta, frames, flags, incarnation, seq, ack)


_TYPES = {int(t): t for t in Type}


def _meta(kind: Type, raw: Buffer) -> dict[str, Any]:
    if len(raw) > META_LIMIT:
        raise BadMessage("meta too long")
    fields = META[kind]
    if not fields:
        if raw != NO_META:
            raise BadMessage("meta where none belongs")
        return {}
    meta = _unpack(raw)
    if type(meta) is not dict or meta.keys() != fields.keys():
        raise BadMessage("wrong meta fields")
    if any(type(meta[key]) is not wanted for key, wanted in fields.items()):
        raise BadMessage("wrong type of a meta field")
    if any(type(text) is str and not is_printable(text) for text in meta.values()):
        raise BadMessage("unprintable characters in meta")
    if not _canonical(meta, raw):
        raise BadMessage("meta in another form than its own")
    return meta


def _canonical(meta: dict[str, Any], raw: Buffer) -> bool:
    """Whether these are the bytes that `encode` makes: no key twice, no number longer than it must be."""
    try:
        return bytes(msgpack.packb(meta)) == raw
    except ValueError:  # nested deeper than may be packed
        return False


def _lines(meta: dict[str, Any]) -> dict[str, Any]:
    """The same, with every text printable: a file name or an error from elsewhere may hold anything."""
    return {key: printable(value) if type(value) is str else value for key, value in meta.items()}


# --------------------------------------------------------------------------------------------------------- arrays


def pack_words(words: Words) -> tuple[Buffer]:
    """Single words in one frame, little-endian."""
    return (struct.pack(f"<{len(words)}Q", *words),)


def unpack_words(frames: Sequence[Buffer], count: int) -> Words | None:
    """So many single words, if they came in one frame."""
    if len(frames) != 1 or len(frames[0]) != 8 * count:
        return None
    return struct.unpack(f"<{count}Q", frames[0])


def pack_arrays(arrays: Iterable[Array]) -> tuple[Buffer, ...]:
    """The arrays' bytes, little-endian, C order."""
    return tuple(map(_bytes, arrays))


def _bytes(array: Array) -> Buffer:
    if array.dtype not in (_WORDS, _OCTETS):
        raise BadMessage("an array of another type than words or bytes")
    if array.nbytes <= _SMALL:
        return array.tobytes()
    flat: NDArray[np.uint8] = array.ravel().view(np.uint8)
    return flat.data


_nbytes = attrgetter("nbytes")
_SMALL = 4096  # bytes that are sooner copied than looked at through a view
_WORDS, _OCTETS = np.dtype("<u8"), np.dtype("|u1")
_DTYPES = frozenset({"<u8", "|u1"})


def unpack_arrays(frames: Sequence[Buffer], expect: Sequence[Frame]) -> list[Array]:
    """The arrays that the program expects, read-only and without a copy where memory allows."""
    if list(map(len, frames)) != list(map(_nbytes, expect)):
        if any(f.dtype not in _DTYPES for f in expect):
            raise BadMessage("an array of another type than words or bytes")
        frames = list(_recut(frames, expect))
    return list(map(_array, frames, expect))


def _recut(frames: Sequence[Buffer], expect: Sequence[Frame]) -> Iterator[Buffer]:
    whole = len(frames) == 1 or len(frames) > len(expect)  # a long message, joined already, or in pieces
    if sum(len(f) for f in frames) != sum(f.nbytes for f in expect) or not whole:
        raise BadMessage("arrays of other shapes than the program expects here")
    joined = memoryview(frames[0] if len(frames) == 1 else b"".join(frames))
    at = 0
    for frame in expect:
        yield joined[at : at + frame.nbytes]
        at += frame.nbytes


def _array(raw: Buffer, frame: Frame) -> Array:
    if frame.dtype not in _DTYPES:
        raise BadMessage("an array of another type than words or bytes")
    array: Array = np.frombuffer(raw, frame.kind).reshape(frame.shape)
    if type(raw) is bytes:  # always in its place, and never written to
        return array
    flags = array.flags
    if not flags.aligned:
        array = array.copy()
        flags = array.flags
    if flags.writeable:
        flags.writeable = False
    return array


# ------------------------------------------------------------------------------------------------------- documents


def pack(document: Any) -> bytes:
    """A document for a raw frame: None, booleans, integers, floats, text, bytes, lists and string-keyed dicts."""
    raw = bytes(msgpack.packb(document))
    if len(raw) > BODY_LIMIT:
        raise BadMessage("document too long")
    return raw


def unpack(frames: Sequence[Buffer], limit: int = BODY_LIMIT) -> Any:
    """The document in the first of these frames, or BadMessage."""
    if not frames or len(frames[0]) > limit:
        raise BadMessage("no document, or too long a one")
    return _unpack(frames[0])


def _unpack(raw: Buffer) -> Any:
    """msgpack with small limits: its defaults let 7 MiB of input take 555 MiB."""
    size = len(raw)
    try:
        return msgpack.unpackb(
            raw,
            raw=False,
            strict_map_key=True,
            ext_hook=_no_ext,
            max_str_len=size,
            max_bin_len=size,
            max_array_len=min(size, 1 << 20),
            max_map_len=min(size, 4096),
            max_ext_len=0,
        )
    except (ValueError, TypeError, msgpack.exceptions.UnpackException, RecursionError):
        raise BadMessage("not a document") from None


def _no_ext(_code: int, _data: bytes) -> Any:
    raise BadMessage("an extension type")
