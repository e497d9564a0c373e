"""Messages as sealed records, for a direct connection. Keys and bytes; no socket, no clock.

Each direction of each connection has a key of its own, made of secrets that both ends drew for this connection alone
and told each other inside CURVE. A record is sealed with AES-256-GCM under a counter that both ends keep and nobody
sends, so one nonce never seals two texts, and a record that is changed, repeated, left out or moved does not open:

    length 4 · sealed text and tag                                                                   little-endian
    a short message: one record, of  how many parts 4 · their lengths 4 each · the parts
    a long message: a record of how many and their lengths, then each part in records of 128 KiB and one of the rest

What has to be sent again goes over another connection, under other keys. Source: the record layer of TLS 1.3 (RFC 8446,
section 5), whose nonces count in the same way.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from parties.wire import CHUNK, FRAMES_LIMIT, Buffer

__all__ = ["MALFORMED", "SECRET_BYTES", "Opener", "Sealer", "Unsealed", "keys_of"]

SECRET_BYTES = 32
MALFORMED: list[Buffer] = [b""]  # what no channel takes: whoever sealed it has to answer for it
_RECORD = 128 << 10  # the text of one stays in a core's cache while it is sealed and sent
_SHORT = 16 << 10
_TAG = 16
_MOST_BYTES = CHUNK + (64 << 10)
_MOST_PARTS = FRAMES_LIMIT + 3
_MOST_RECORDS = 1 << 32
_ALIGNED = 64
_OWN = 256 << 10  # bytes from which on a part is a block of its own
_COUNT = struct.Struct("<I")
_HEADS = [struct.Struct(f"<I{count}I") for count in range(64)]


class Unsealed(Exception):
    """Bytes that the other end did not send like this, or not here: the connection is not to be trusted any more."""


def keys_of(caller: str, listener: str, cluster: str, secrets: bytes) -> tuple[bytes, bytes, str]:
    """The keys of a connection: what its caller seals with, and what its listener does; 32 bytes each.

    And a name for it that may be seen by anybody: it says as little about the keys as one key about the other.

    caller, listener: their public CURVE keys. cluster: the digest of the cluster file. secrets: what the caller and
    then the listener drew.
    """
    about = f"privity direct 1\0{caller}\0{listener}\0{cluster}".encode()
    derived = HKDF(SHA256(), 96, None, about).derive(secrets)
    return derived[:32], derived[32:64], derived[64:].hex()


class _Counted:
    """A cipher and how many records it has sealed or opened: the number is the nonce, and none comes twice."""

    def __init__(self, key: bytes) -> None:
        self.cipher = AESGCM(key)
        self._count = 0

    def nonce(self) -> bytes:
        self._count += 1
        if self._count > _MOST_RECORDS:
            raise Unsealed("so many records that a new connection is due")
        return self._count.to_bytes(12, "little")


class Sealer(_Counted):
    """What one end sends."""

    def __init__(self, key: bytes) -> None:
        super().__init__(key)
        self._room = memoryview(bytearray(_COUNT.size + _RECORD + _TAG))
        # lengths of parts, how a record of theirs begins, their head, whether that is short
        self._before: tuple[list[int], bytes, bytes, bool] = ([], _COUNT.pack(_COUNT.size + _TAG), _head([]), True)

    def short(self, parts: Sequence[Buffer]) -> bytes:
        """A short message as its one record, to be sent before anything else is sealed; nothing for a long one."""
        lengths = list(map(len, parts))
        if lengths != self._before[0]:
            head, size = _head(lengths), sum(lengths)
            self._before = lengths, _COUNT.pack(len(head) + size + _TAG), head, size <= _SHORT
        _, start, head, short = self._before
        return start + self.cipher.encrypt(self.nonce(), b"".join((head, *parts)), None) if short else b""

    def records(self, parts: Sequence[Buffer]) -> Iterator[Buffer]:
        """A long message in records, sealed as they are asked for; each is to be sent before the next is asked for."""
        yield self.sealed(_head(list(map(len, parts))))
        for part in parts:
            view = memoryview(part)
            for start in range(0, len(view), _RECORD):
                yield self._into_room(view[start : start + _RECORD])

    def sealed(self, text: bytes) -> bytes:
        """One record."""
        return _COUNT.pack(len(text) + _TAG) + self.cipher.encrypt(self.nonce(), text, None)

    def _into_room(self, text: memoryview) -> memoryview:
        end = _COUNT.size + len(text) + _TAG
        _COUNT.pack_into(self._room, 0, len(text) + _TAG)
        self.cipher.encrypt_into(self.nonce(), text, None, self._room[_COUNT.size : end])
        return self._room[:end]


class Opener(_Counted):
    """What the other end sent: bytes go into `space`, and `message` is told how many and gives whole messages.

    unread: whether bytes lie here that no message has been made of: perhaps another one, whole.
    """

    def __init__(self, key: bytes) -> None:
        super().__init__(key)
        self._bytes = memoryview(bytearray(2 * (_COUNT.size + _RECORD + _TAG)))
        self._from = self._to = 0
        self.unread = False
        self._parts: list[memoryview] = []  # of a long message that is under way
        self._filled = 0  # of the part that comes
        self._before: tuple[bytes, int, list[slice]] = (b"", -1, [])  # a short one: head, length, parts
        self._at = 0  # which part that is
        self._shut = ""

    def space(self) -> memoryview:
        """Where the next bytes go; never empty."""
        if self._from == self._to:
            self._from = self._to = 0
            return self._bytes
        if len(self._bytes) - self._to < len(self._bytes) // 2:
            rest = self._to - self._from
            self._bytes[:rest] = bytes(self._bytes[self._from : self._to])
            self._from, self._to = 0, rest
        return self._bytes[self._to :]

    def message(self, count: int = 0) -> list[Buffer] | None:
        """The parts of the next whole message, MALFORMED if it is none; None if more bytes are needed. Raises Unsealed.

        count: how many bytes have come. Arrays of long messages are filled in place, as their records come.
        """
        self._to += count
        message = None
        while message is None:
            if self._shut:
                raise Unsealed(self._shut)
            self.unread = self._from != self._to
            start = self._from + _COUNT.size
            if self._to < start:
                return None
            (length,) = _COUNT.unpack_from(self._bytes, self._from)
            if not _TAG <= length <= _RECORD + _TAG:
                raise self._shutting("a record of a length that none has")
            end = start + length
            if self._to < end:
                return None
            self._from, record = end, self._bytes[start:end]
            message = self._into_part(record) if self._parts else self._first(record)
        self.unread = self._from != self._to
        return message

    def _first(self, sealed: memoryview) -> list[Buffer] | None:
        try:
            text = self.cipher.decrypt(self.nonce(), sealed, None)
        except InvalidTag:
            raise self._shutting("a record that was not sealed for this place") from None
        head, whole, parts = self._before
        if len(text) == whole and text.startswith(head):  # as long in each part as the one before
            return list(map(text.__getitem__, parts))
        lengths = _lengths(text)
        if lengths is None:
            return MALFORMED
        if sum(lengths) > _SHORT:
            self._parts = _rooms(lengths)
            self._at = self._filled = 0
            self._skip_empty()
            return None
        at = _COUNT.size * (1 + len(lengths))
        ends = list(accumulate(lengths, initial=at))
        parts = list(map(slice, ends, ends[1:]))
        self._before = text[:at], len(text), parts
        return [text[part] for part in parts]

    def _into_part(self, sealed: memoryview) -> list[Buffer] | None:
        part, size = self._parts[self._at], len(sealed) - _TAG
        right = size == min(_RECORD, len(part) - self._filled)
        room = part[self._filled : self._filled + size] if right else memoryview(bytearray(size))
        try:
            self.cipher.decrypt_into(self.nonce(), sealed, None, room)
        except InvalidTag:
            raise self._shutting("a record that was not sealed for this place") from None
        if not right:  # only now: anybody on the way may have written this length, but sealed it is by the peer alone
            self._shut = "a record of another length than belongs here"
            return MALFORMED
        self._filled += size
        self._skip_empty()
        if self._at < len(self._parts):
            return None
        whole: list[Buffer] = [part.toreadonly() for part in self._parts]
        self._parts = []
        return whole

    def _skip_empty(self) -> None:
        """On to the next part that is not full."""
        while self._at < len(self._parts) and self._filled == len(self._parts[self._at]):
            self._at, self._filled = self._at + 1, 0

    def _shutting(self, why: str) -> Unsealed:
        self._shut = why
        return Unsealed(why)


def _head(lengths: Sequence[int]) -> bytes:
    count = len(lengths)
    if count < len(_HEADS):
        return _HEADS[count].pack(count, *lengths)
    return struct.pack(f"<I{count}I", count, *lengths)


def _lengths(text: bytes) -> list[int] | None:
    """How long the parts of a message are; None for a head that no end of this kind writes."""
    if len(text) < _COUNT.size:
        return None
    (count,) = _COUNT.unpack_from(text)
    end = _COUNT.size * (1 + count)
    if count > _MOST_PARTS or len(text) < end:
        return None
    head = _HEADS[count] if count < len(_HEADS) else struct.Struct(f"<I{count}I")
    lengths = list(head.unpack_from(text)[1:])
    total = sum(lengths)
    inside = total if total <= _SHORT else 0
    return lengths if total <= _MOST_BYTES and len(text) == end + inside else None


def _rooms(lengths: Sequence[int]) -> list[memoryview]:
    """Room for the parts of a long message: short ones in one block, as many would leave no room for large arrays.

    Each begins where any array may.
    """
    padded = [-(-length // _ALIGNED) * _ALIGNED if length < _OWN else 0 for length in lengths]
    starts, block = accumulate(padded, initial=0), _room(sum(padded))
    return [
        block[start : start + length] if length < _OWN else _room(length)
        for start, length in zip(starts, lengths, strict=False)
    ]


def _room(length: int) -> memoryview:
    return np.empty(length, np.uint8).data  # not filled with zeros first: that takes as long as opening it
