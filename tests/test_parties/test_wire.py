import tracemalloc

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.exchange import Frame
from parties import wire
from parties.pieces import FRAME_COST, Joiner, split
from parties.values import pack_values, unpack_values
from parties.wire import BadMessage, Message, Type, decode, encode

SAMPLES = {str: "text", int: 7, bool: True, float: 0.5, list: [1, 2]}


def sample(kind, frames=()):
    meta = {key: SAMPLES[wanted] for key, wanted in wire.META[kind].items()}
    return Message(kind, 1, 0xFFFF, b"s" * 16, 41, meta, frames, 0, 2**63 - 1, 9, 8)


def raw(message):
    return [bytes(p) for p in encode(message)]


@pytest.mark.parametrize("kind", list(Type))
def test_every_type_comes_back(kind):
    message = sample(kind, (b"abc", b""))
    assert decode(raw(message)) == message


def test_the_header_is_68_bytes_little_endian():
    header = raw(sample(Type.DATA, (b"abc",)))[0]
    assert header.hex() == (
        "50525659" "01" "03" "0000" "0100" "ffff" + "73" * 16 + "ffffffffffffff7f" "0900000000000000" "0800000000000000"
        "29000000" "01000000" "0300000000000000"
    )  # fmt: skip


def test_contents_are_not_in_the_repr():
    assert "secret" not in repr(sample(Type.DATA, (b"secret",)))


@settings(max_examples=500)
@given(st.lists(st.binary(max_size=100), max_size=4))
def test_garbage_is_a_bad_message(parts):
    with pytest.raises(BadMessage):
        decode(parts)


@settings(max_examples=2000)
@given(st.sampled_from(list(Type)), st.data())
def test_a_changed_byte_is_refused_or_is_another_valid_message(kind, data):
    parts = raw(sample(kind, (b"abcdefgh",)))
    which = data.draw(st.integers(0, 1))
    at = data.draw(st.integers(0, len(parts[which]) - 1))
    changed = bytearray(parts[which])
    changed[at] ^= data.draw(st.integers(1, 255))
    parts[which] = bytes(changed)
    try:
        message = decode(parts)
    except BadMessage:
        return
    assert message != sample(kind, (b"abcdefgh",))
    assert raw(message)[0] == parts[0]


@pytest.mark.parametrize(
    "meta",
    [
        {},
        {"ask": 1},
        {"ask": 1, "name": 2},
        {"ask": True, "name": "x"},
        {"ask": 1.0, "name": "x"},
        {"ask": 1, "name": b"x"},
        {"ask": 1, "name": "x", "more": 1},
        [1, "x"],
        None,
        {"ask": 1, "name": msgpack.ExtType(5, b"x")},
        {"ask": 1, "name": msgpack.Timestamp(1)},
        {1: 1},
    ],
)
def test_meta_has_exactly_its_fields_and_types(meta):
    parts = raw(sample(Type.DESCRIBE))
    parts[1] = msgpack.packb(meta)
    with pytest.raises(BadMessage):
        decode(parts)


def test_long_meta_is_refused_on_both_ends():
    with pytest.raises(BadMessage, match="meta above"):
        encode(Message(Type.DESCRIBE, 0, 1, meta={"ask": 1, "name": "x" * 5000}))
    parts = raw(sample(Type.DESCRIBE))
    parts[1] = msgpack.packb({"ask": 1, "name": "x" * 5000})
    with pytest.raises(BadMessage, match="too long"):
        decode(parts)


@pytest.mark.parametrize(
    "bomb", [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x91" * 4000]
)
def test_msgpack_bombs_take_no_memory(bomb):
    tracemalloc.start()
    with pytest.raises(BadMessage):
        wire.unpack([bomb])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


# ------------------------------------------------------------------------------------------------- edges of messages


def test_a_bad_message_says_its_rule_and_whose_it_was():
    assert (str(BadMessage("rule", 3)), BadMessage("rule", 3).peer) == ("rule", 3)
    assert (str(BadMessage("rule")), BadMessage("rule").peer) == ("rule", None)


@pytest.mark.parametrize(("frames", "bytes_"), [((), 0), ((b"ab",), 2), ((b"ab", b"c"), 3), ((b"", b"ab", b"c"), 3)])
def test_the_payload_is_the_bytes_of_all_frames(frames, bytes_):
    assert Message(Type.DATA, 0, 1, frames=frames).payload == bytes_


def test_a_meta_of_exactly_the_limit_passes_on_both_ends():
    longest = "x" * (wire.META_LIMIT - len(msgpack.packb({"where": ""})) - 2)
    parts = encode(Message(Type.PROGRESS, 0, 1, meta={"where": longest}))
    assert len(parts[1]) == wire.META_LIMIT
    assert decode(parts).meta == {"where": longest}
    with pytest.raises(BadMessage, match="PROGRESS: meta above 4096 bytes"):
        encode(Message(Type.PROGRESS, 0, 1, meta={"where": longest + "x"}))
    with pytest.raises(BadMessage, match="meta too long"):
        decode([parts[0], msgpack.packb({"where": longest + "x"})])


def test_as_many_frames_as_may_be_and_no_more():
    assert len(decode(raw(sample(Type.DATA, (b"",) * wire.FRAMES_LIMIT))).frames) == wire.FRAMES_LIMIT
    with pytest.raises(BadMessage, match="wrong number of frames"):
        decode(raw(sample(Type.DATA, (b"",) * (wire.FRAMES_LIMIT + 1))))
    with pytest.raises(BadMessage, match="wrong number of frames"):
        decode([*raw(sample(Type.DATA, (b"",))), b""])


@pytest.mark.parametrize("flags", [2, 3, 0x8000, 0xFFFF])
def test_no_other_flag_than_more(flags):
    assert decode(raw(Message(Type.DATA, 0, 1, flags=wire.MORE))).flags == wire.MORE
    with pytest.raises(BadMessage, match="unknown flags"):
        decode(raw(Message(Type.DATA, 0, 1, flags=flags)))


@pytest.mark.parametrize(("at", "rule"), [(0, "wire version"), (4, "wire version"), (5, "unknown message type")])
def test_magic_version_and_type_each_count(at, rule):
    header, meta = raw(sample(Type.GO))
    with pytest.raises(BadMessage, match=rule):
        decode([header[:at] + b"\xee" + header[at + 1 :], meta])


def test_a_header_is_whole_and_something_follows():
    header, meta = raw(sample(Type.GO))
    for parts in ([header], [header[:-1], meta], [header + b"x", meta], [meta, header]):
        with pytest.raises(BadMessage, match="no header"):
            decode(parts)


@pytest.mark.parametrize("meta", [b"", b"\x81\xa1a\x01", b"\x80\x80", b"\xde\x00\x00"])
def test_no_meta_where_none_belongs(meta):
    with pytest.raises(BadMessage, match="meta where none belongs"):
        decode([raw(sample(Type.GO))[0], meta])


def test_one_unprintable_text_among_others_is_refused():
    parts = [raw(sample(Type.CLASSES))[0], msgpack.packb({"ask": 1, "name": "a\nb", "column": "c"})]
    with pytest.raises(BadMessage, match="unprintable"):
        decode(parts)


def test_a_meta_that_cannot_be_packed_again_is_no_form_of_its_own(monkeypatch):
    """Some versions of msgpack read deeper lists than they write."""
    parts = raw(sample(Type.SCHEMA))

    def too_deep(_document):
        raise ValueError("recursion limit exceeded")

    monkeypatch.setattr(wire.msgpack, "packb", too_deep)
    with pytest.raises(BadMessage, match="another form"):
        decode(parts)


# ------------------------------------------------------------------------------------------------ edges of documents


def test_a_document_of_exactly_the_limit_is_read():
    assert wire.unpack([b"\xa3abc", b"more"], 4) == "abc"
    for frames in ([], [b"\xa3abc"]):
        with pytest.raises(BadMessage, match="no document, or too long a one"):
            wire.unpack(frames, 3)


@pytest.mark.parametrize("document", [b"\x81\x01\x01", b"\xc1", b"\xa3ab", b"\xa1\xff", b"\x01\x01", b"\xd4\x05x", b""])
def test_what_is_no_document_is_called_so(document):
    with pytest.raises(BadMessage, match="not a document"):
        wire.unpack([document])


def test_an_empty_extension_is_refused_by_its_name():
    with pytest.raises(BadMessage, match="an extension type"):
        wire.unpack([b"\xc7\x00\x05"])


def test_how_many_entries_a_document_may_have():
    nils = b"\xc0" * (1 << 20)
    assert len(wire.unpack([b"\xdd" + (1 << 20).to_bytes(4, "big") + nils])) == 1 << 20
    with pytest.raises(BadMessage, match="not a document"):
        wire.unpack([b"\xdd" + ((1 << 20) + 1).to_bytes(4, "big") + nils + b"\xc0"])
    entries = {str(i): None for i in range(4096)}
    assert wire.unpack([wire.pack(entries)]) == entries
    with pytest.raises(BadMessage, match="not a document"):
        wire.unpack([wire.pack({**entries, "4096": None})])


# ------------------------------------------------------------------------------------------------------------ arrays


def words(*shape):
    return np.arange(np.prod(shape, dtype=int), dtype=np.uint64).reshape(shape)


@given(st.lists(st.lists(st.integers(0, 4), max_size=3), max_size=4), st.booleans())
def test_arrays_come_back_read_only(shapes, narrow):
    arrays = [words(*s).astype(np.uint8) if narrow else words(*s) for s in shapes]
    expect = [Frame(a.dtype.str, a.shape) for a in arrays]
    back = wire.unpack_arrays(wire.pack_arrays(arrays), expect)
    for a, b in zip(arrays, back, strict=True):
        assert np.array_equal(a, b)
        assert a.shape == b.shape
        assert not b.flags.writeable


@given(st.lists(st.integers(0, (1 << 64) - 1), min_size=1, max_size=5))
def test_single_words_come_back_as_integers(numbers):
    frames = wire.pack_words(numbers)
    assert frames == (b"".join(wire.pack_arrays([np.array(n, "<u8") for n in numbers])),)
    assert list(wire.unpack_words(frames, len(numbers))) == numbers
    assert wire.unpack_words(frames, len(numbers) + 1) is None
    assert wire.unpack_words((*frames, b""), len(numbers)) is None


def test_a_transposed_array_travels_in_its_own_order():
    a = words(3, 4).T
    (back,) = wire.unpack_arrays(wire.pack_arrays([a]), [Frame("<u8", (4, 3))])
    assert np.array_equal(a, back)


@pytest.mark.parametrize("expect", [[(3,)], [(2,), (2,)], [(4,), (0,)], [], [(2, 2), (1,)]])
def test_other_shapes_than_expected_are_refused(expect):
    with pytest.raises(BadMessage, match="other shapes"):
        wire.unpack_arrays(wire.pack_arrays([words(2), words(3)]), [Frame("<u8", s) for s in expect])


@pytest.mark.parametrize("dtype", ["<f8", ">u8", "O", "<u4"])
def test_no_other_dtype(dtype):
    with pytest.raises(BadMessage, match="another type"):
        wire.unpack_arrays([b"12345678"], [Frame(dtype, (1,))])
    with pytest.raises(BadMessage, match="another type"):
        wire.pack_arrays([np.zeros(1, dtype=dtype)])


def test_unaligned_bytes_become_an_aligned_array():
    (a,) = wire.unpack_arrays([memoryview(b"x" + words(2).tobytes())[1:]], [Frame("<u8", (2,))])
    assert a.flags.aligned
    assert a.tolist() == [0, 1]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("skip", [0, 1], ids=["aligned", "unaligned"])
def test_nobody_writes_to_what_came(kind, skip):
    whole = bytearray(skip) + words(2).tobytes()
    (a,) = wire.unpack_arrays([memoryview(kind(whole))[skip:]], [Frame("<u8", (2,))])
    assert not a.flags.writeable
    assert a.flags.aligned
    assert a.tolist() == [0, 1]


def test_small_arrays_are_copied_and_others_looked_at():
    small, large = np.zeros(4096, dtype=np.uint8), np.zeros(4097, dtype=np.uint8)
    frames = wire.pack_arrays([small, large])
    assert [type(f) for f in frames] == [bytes, memoryview]
    large[4096] = 7
    assert frames[1][4096] == 7


@pytest.mark.parametrize("a", [words(30, 40), words(30, 40).T, words(30, 40)[::-1, ::3]], ids=["", "turned", "cut"])
def test_a_long_array_travels_in_its_own_order(a):
    (frame,) = wire.pack_arrays([a])
    assert bytes(frame) == a.tobytes()
    assert len(frame) == a.nbytes
    (back,) = wire.unpack_arrays([frame], [Frame("<u8", a.shape)])
    assert np.array_equal(a, back)


@pytest.mark.parametrize("cuts", [(), (8,), (8, 16), (16,), (3, 5, 39), (0, 0), (40, 40)])
def test_two_arrays_come_joined_or_in_more_pieces_than_arrays(cuts):
    whole = words(2).tobytes() + words(3).tobytes()
    pieces = [whole[a:b] for a, b in zip((0, *cuts), (*cuts, len(whole)), strict=True)]
    expect = [Frame("<u8", (2,)), Frame("<u8", (3,))]
    if len(pieces) == 2 and len(pieces[0]) != 16:
        with pytest.raises(BadMessage, match="other shapes"):
            wire.unpack_arrays(pieces, expect)
        return
    assert [a.tolist() for a in wire.unpack_arrays(pieces, expect)] == [[0, 1], [0, 1, 2]]


def test_one_array_comes_in_two_pieces():
    whole = words(4).tobytes()
    (a,) = wire.unpack_arrays([whole[:5], whole[5:]], [Frame("<u8", (4,))])
    assert a.tolist() == [0, 1, 2, 3]


def test_another_type_is_named_before_another_shape():
    for expect in ([Frame("<f8", (2,))], [Frame("<u8", (1,)), Frame("<f8", (1,))]):
        with pytest.raises(BadMessage, match="another type"):
            wire.unpack_arrays([b"12345678"], expect)


@settings(max_examples=200)
@given(st.lists(st.integers(0, 90), min_size=1, max_size=5), st.integers(8, 64))
def test_split_and_joined(sizes, limit):
    arrays = [words(n) for n in sizes]
    message = Message(Type.DATA, 0, 1, step=3, frames=wire.pack_arrays(arrays))
    pieces = list(split(message, limit * 8))
    assert all(p.payload <= limit * 8 for p in pieces)
    joiner = Joiner()
    *first, last = [joiner.add(p) for p in pieces]
    assert first == [None] * len(first)
    back = wire.unpack_arrays(last.frames, [Frame("<u8", a.shape) for a in arrays])
    assert all(np.array_equal(a, b) for a, b in zip(arrays, back, strict=True))


def test_a_joined_message_has_a_limit_and_no_other_inside():
    piece = Message(Type.DATA, 0, 1, step=3, frames=(b"12345678",), flags=wire.MORE)
    joiner = Joiner(limit=2 * (8 + FRAME_COST))
    joiner.add(piece)
    with pytest.raises(BadMessage, match="inside another"):
        joiner.add(Message(Type.DATA, 0, 1, step=4))
    joiner.add(piece)
    with pytest.raises(BadMessage, match="too long"):
        joiner.add(piece)


# ----------------------------------------------------------------------------------------------------------- results


def test_results_come_back():
    results = {
        "coef": np.arange(6.0).reshape(2, 3),
        "n": 3,
        "classes": ["a", "b"],
        "x": 0.1,
        "none": None,
        "d": {"k": [True]},
    }
    back = unpack_values(
        [bytes(f) for f in pack_values({**results, "scalar": np.float64(2.5), "odd": np.array(["u"])})]
    )
    assert np.array_equal(back.pop("coef"), results.pop("coef"))
    assert back == {**results, "scalar": 2.5, "odd": ["u"]}


@pytest.mark.parametrize(
    "spec",
    [
        [1, "<f8", [3]],
        [2, "<f8", [1]],
        [0, "<f8", [1]],
        [1, "|O", [1]],
        [1, "<f8", [-1]],
        [1, "<f8"],
        "x",
        [1, "<f8", ["1"]],
    ],
)
def test_result_arrays_are_checked(spec):
    with pytest.raises(BadMessage):
        unpack_values([wire.pack({"r": {"array ": spec}}), bytes(8)])


@pytest.mark.parametrize("limit", [8, 24, 100, 1 << 20])
def test_results_that_came_in_pieces_are_whole_again(limit):
    values = {"a": np.arange(5.0), "b": [np.zeros((0, 3)), {"c": np.arange(12).reshape(3, 4)}], "d": np.array([True])}
    message = Message(Type.DONE, 0, 1, frames=pack_values(values))
    pieces = [f for m in split(Message(Type.DONE, 0, 1, frames=message.frames[1:]), limit) for f in m.frames]
    back = unpack_values([message.frames[0], *pieces])
    assert np.array_equal(back["a"], values["a"])
    assert back["b"][0].shape == (0, 3)
    assert np.array_equal(back["b"][1]["c"], values["b"][1]["c"])
    assert back["d"].tolist() == [True]
    with pytest.raises(BadMessage):
        unpack_values([message.frames[0], *pieces, b"more"])
