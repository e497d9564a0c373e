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
