"""Sealed records: whole messages come out, and what was changed, repeated, left out or moved does not."""

import itertools
import os
import struct

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from parties import sealing
from parties.sealing import MALFORMED, SECRET_BYTES, Opener, Sealer, Unsealed, keys_of

KEY = bytes(range(32))


def stream(sealer, *messages):
    """The records of some messages, in order."""
    records = []
    for parts in messages:
        short = sealer.short(parts)
        records += [short] if short else [bytes(record) for record in sealer.records(parts)]
    return records


def opened(opener, data, cuts=(1 << 20,), part=bytes):
    """All messages in these bytes, which come in pieces of these lengths; part: what is made of each."""
    found, view, sizes = [], memoryview(data), itertools.cycle(cuts)
    while view.nbytes:
        space = opener.space()
        count = min(len(space), next(sizes), len(view))
        space[:count] = view[:count]
        message, view = opener.message(count), view[count:]
        while message is not None:
            found.append([part(each) for each in message])
            message = opener.message()
    return found


sizes = st.sampled_from([0, 1, 7, 100, 5000, 16 << 10, (16 << 10) + 1, 128 << 10, 300_000])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(sizes, max_size=5), max_size=4), st.lists(st.integers(1, 200_000), min_size=1, max_size=5))
def test_messages_come_out_however_the_bytes_are_cut(shapes, cuts):
    messages = [[os.urandom(size) for size in shape] for shape in shapes]
    data = b"".join(stream(Sealer(KEY), *messages))
    cuts = cuts if len(data) < 3000 else [max(cut, 10_000) for cut in cuts]
    assert opened(Opener(KEY), data, cuts) == messages


def test_records_are_what_is_written_down_about_them():
    """Two ends that are wrong in the same way understand each other, and nobody else does them."""
    short, *long = stream(Sealer(KEY), [b"ab", b""], [bytes(140_000)])
    texts = [
        struct.pack("<3I", 2, 2, 0) + b"ab",
        struct.pack("<2I", 1, 140_000),
        bytes(128 << 10),
        bytes(140_000 - (128 << 10)),
    ]
    for count, (record, text) in enumerate(zip([short, *long], texts, strict=True), 1):
        sealed = AESGCM(KEY).encrypt(count.to_bytes(12, "little"), text, None)
        assert record == struct.pack("<I", len(text) + 16) + sealed


@pytest.mark.parametrize(("size", "records"), [(0, 1), (16 << 10, 1), ((16 << 10) + 1, 2)])
def test_a_short_message_is_one_record(size, records):
    sealed = stream(Sealer(KEY), [b"", bytes(size)])
    assert len(sealed) == records
    assert opened(Opener(KEY), b"".join(sealed)) == [[b"", bytes(size)]]


def pieces_of(records, cut):
    """Their bytes in pieces so long; cut = 0: each record but its last byte, and that."""
    if not cut:
        return [piece for record in records for piece in (record[:-1], record[-1:])]
    data = b"".join(records)
    return [data[start : start + cut] for start in range(0, len(data), cut)]


@pytest.mark.parametrize("cut", [0, 7000, 16_404, 100_000], ids=lambda cut: str(cut or "a byte less"))
def test_a_whole_record_always_has_space(cut):
    """However much has been read: who asks a socket for no bytes gets none, and takes that for its end."""
    opener = Opener(KEY)
    for piece in pieces_of(stream(Sealer(KEY), *[[bytes(16_376)]] * 40, [bytes(500_000)], [b"x"]), cut):
        space = opener.space()
        assert len(space) >= 4 + (128 << 10) + 16
        space[: len(piece)] = piece
        message = opener.message(len(piece))
        while message is not None:
            message = opener.message()
    assert not opener.unread


def test_it_is_known_whether_bytes_lie_here_that_no_message_has_been_made_of():
    opener, data = Opener(KEY), b"".join(stream(Sealer(KEY), [b"1"], [b"2"]))
    assert not opener.unread
    assert opened(opener, data[:-1]) == [[b"1"]]
    assert opener.unread
    assert opened(opener, data[-1:]) == [[b"2"]]
    assert not opener.unread


def test_arrays_of_long_messages_are_aligned_and_nobody_writes_to_them():
    """Wherever the parts before them end. All parts lie in one block of memory."""
    opener, data = Opener(KEY), b"".join(stream(Sealer(KEY), [b"x", bytes(13), bytes(400_000), b"", bytes(8)]))
    for start in range(0, len(data), 50_000):
        piece = data[start : start + 50_000]
        opener.space()[: len(piece)] = piece
        message = opener.message(len(piece))
    assert message is not None
    assert list(map(len, message)) == [1, 13, 400_000, 0, 8]
    assert all(part.readonly for part in message)
    assert all(np.frombuffer(part, np.uint64).flags.aligned for part in message[2:] if len(part))
    assert len({id(part.obj) for part in message}) == 2  # the long one's, and that of all others


@pytest.mark.parametrize("more", [0, 1])
def test_a_long_part_is_not_kept_by_a_short_one(more):
    """Short ones share a block, and long ones have one each."""
    data = b"".join(stream(Sealer(KEY), [bytes(8), bytes((256 << 10) - 1 + more), bytes(8)]))
    (message,) = opened(Opener(KEY), data, part=memoryview)
    assert len({id(part.obj) for part in message}) == 1 + more


@pytest.mark.parametrize("bit", range(0, 8 * 40, 3))
def test_a_changed_bit_opens_nothing(bit):
    (record,) = stream(Sealer(KEY), [b"head", b"eight bytes"])
    assert bit // 8 < len(record)
    changed = bytearray(record)
    changed[bit // 8] ^= 1 << bit % 8
    opener = Opener(KEY)
    try:
        assert opened(opener, changed) == []  # a length that is longer now waits for more
    except Unsealed:
        with pytest.raises(Unsealed):  # and nothing is heard of it again
            opener.message()


@pytest.mark.parametrize(
    "order", [[0, 0], [1], [1, 0], [0, 2], [0, 1, 1], [0, 1, 2, 0]], ids=lambda o: "-".join(map(str, o))
)
def test_repeated_left_out_or_moved_opens_nothing_more(order):
    records = stream(Sealer(KEY), *[[bytes([i])] for i in range(3)])
    opener, right = Opener(KEY), next((i for i, at in enumerate(order) if at != i), len(order))
    with pytest.raises(Unsealed):
        opened(opener, b"".join(records[i] for i in order))
    opener = Opener(KEY)
    assert opened(opener, b"".join(records[i] for i in order[:right])) == [[bytes([i])] for i in range(right)]


def test_pieces_of_a_long_message_cannot_change_places():
    records = stream(Sealer(KEY), [os.urandom(300_000)])
    records[1], records[2] = records[2], records[1]
    with pytest.raises(Unsealed):
        opened(Opener(KEY), b"".join(records))


def nonces_of(sealer, monkeypatch):
    """What (key, nonce) pairs a sealer used for some messages, long and short."""
    seen = []

    class Recorder:
        def encrypt(self, nonce, text, _about):
            seen.append(nonce)
            return bytes(len(text) + 16)

        def encrypt_into(self, nonce, _text, _about, _out):
            seen.append(nonce)

    monkeypatch.setattr(sealer, "cipher", Recorder())
    stream(sealer, *[[b"x"], [], [bytes(300_000), b"", bytes(20_000)]] * 3)
    return seen


def test_no_nonce_seals_two_records(monkeypatch):
    seen = nonces_of(Sealer(KEY), monkeypatch)
    assert len(seen) == len(set(seen)) == 3 * (1 + 1 + 1 + 3 + 1)


def test_the_broken_twin_that_does_not_count_would_be_found(monkeypatch):
    monkeypatch.setattr(sealing._Counted, "nonce", lambda _: bytes(12))
    seen = nonces_of(Sealer(KEY), monkeypatch)
    assert len(seen) != len(set(seen))


def test_records_are_not_counted_past_what_a_key_is_good_for():
    sealer = Sealer(KEY)
    sealer._count = (1 << 32) - 2
    stream(sealer, [b"1"], [b"2"])
    with pytest.raises(Unsealed, match="new connection"):
        stream(sealer, [b"3"])


def test_keys_depend_on_everything():
    args = ["caller", "listener", "digest", bytes(SECRET_BYTES) + bytes([1]) * SECRET_BYTES]
    variants = [args, ["caller2", *args[1:]], [args[0], "x", *args[2:]], [*args[:2], "other", args[3]]]
    for at in (0, SECRET_BYTES):
        secret = bytearray(args[3])
        secret[at] ^= 1
        variants.append([*args[:3], bytes(secret)])
    variants.append(["listener", "caller", *args[2:]])
    keys = [key for v in variants for key in keys_of(*v)]  # and names: who sees one knows no key
    assert len(set(keys)) == 3 * len(variants)
    assert all(len(key) == 32 for key in keys if isinstance(key, bytes))
    assert all(len(bytes.fromhex(name)) == 32 for name in keys[2::3])


def test_what_one_direction_seals_the_other_does_not_open():
    calls, listens, _ = keys_of("a", "b", "c", bytes(64))
    with pytest.raises(Unsealed):
        opened(Opener(listens), b"".join(stream(Sealer(calls), [b"x"])))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\0\0\0",
        struct.pack("<I", 5),
        struct.pack("<2I", 1, 4) + b"abc",
        struct.pack("<2I", 1, 2) + b"abc",
        struct.pack("<2I", 1, 33 << 20),
        struct.pack("<2I", 1, 20 << 10) + b"inside",
        struct.pack("<I5000I", 5000, *[1] * 5000) + bytes(5000),
    ],
    ids=["nothing", "short", "no lengths", "missing", "too much", "too long", "long inside", "too many parts"],
)
def test_a_head_that_nobody_writes_is_the_peers_fault(text):
    assert opened(Opener(KEY), Sealer(KEY).sealed(text)) == [[bytes(part) for part in MALFORMED]]


@pytest.mark.parametrize("more", [0, 1])
def test_a_message_may_be_so_long_and_no_longer(more):
    got = opened(Opener(KEY), Sealer(KEY).sealed(struct.pack("<3I", 2, 64 << 10, (32 << 20) + more)))
    assert got == ([[b""]] if more else [])


@pytest.mark.parametrize("count", [63, 64, 65])
def test_messages_of_many_parts_come_out(count):
    message = [bytes([number]) for number in range(count)]
    assert opened(Opener(KEY), b"".join(stream(Sealer(KEY), message))) == [message]


@pytest.mark.parametrize("more", [0, 1])
def test_a_message_may_have_so_many_parts_and_no_more(more):
    count = 4096 + 3 + more
    got = opened(Opener(KEY), Sealer(KEY).sealed(struct.pack(f"<I{count}I", count, *[0] * count)))
    assert got == ([[b""]] if more else [[b""] * count])


@pytest.mark.parametrize("length", [0, 15, 16, 19_999, 20_001, 128 << 10])
def test_a_changed_length_within_a_long_message_is_not_the_peers_fault(length):
    head, piece = stream(Sealer(KEY), [bytes(20_000)])
    changed = struct.pack("<I", length + 16) + (piece[4:] + bytes(128 << 10))[: length + 16]
    opener = Opener(KEY)
    assert opened(opener, head) == []
    opener.space()[: len(changed)] = changed
    with pytest.raises(Unsealed):
        opener.message(len(changed))  # and MALFORMED never comes


@pytest.mark.parametrize("size", [0, 1, 19_999, 20_001])
def test_a_record_of_another_length_than_belongs_there_is_the_peers_fault(size):
    sealer = Sealer(KEY)
    head = sealer.sealed(struct.pack("<2I", 1, 20_000))
    opener = Opener(KEY)
    assert opened(opener, head) == []
    longer = sealer.sealed(bytes(size))
    space = opener.space()
    space[: len(longer)] = longer
    assert opener.message(len(longer)) == MALFORMED
    with pytest.raises(Unsealed):
        opener.message()


@pytest.mark.parametrize("length", [0, 15, (128 << 10) + 17, 0xFFFFFFFF])
def test_a_length_that_no_record_has_is_not_waited_for(length):
    with pytest.raises(Unsealed, match="length"):
        opened(Opener(KEY), struct.pack("<I", length))
