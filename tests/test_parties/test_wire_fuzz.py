"""Mutated bytes by the million, made and decoded in bulk: a BadMessage, or a message that goes back to the same bytes.

`tests/fuzz/` has the same properties as a target for a coverage-guided fuzzer; its corpus is replayed here.
"""

from __future__ import annotations

import re
import struct
import subprocess
import sys
import traceback
import tracemalloc
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import fuzz_wire
import msgpack
import numpy as np
import pytest
from fuzz_wire import sample
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.exchange import Frame
from parties import wire
from parties.pieces import FRAME_COST, Joiner, split
from parties.values import unpack_values
from parties.wire import BadMessage, Message, Type, decode, encode

SEED = 20_261
CORPUS = Path(__file__).resolve().parents[1] / "fuzz" / "corpus" / "wire"
CANARY = "kanarienvogel"
FRAMES = (b"abcdefgh", b"")
RULES = fuzz_wire.wire_rules()
PLACES = re.findall(r"\d*[a-zA-Z]", wire.HEADER.format)
ENDS = [struct.calcsize("<" + "".join(PLACES[: i + 1])) for i in range(len(PLACES))]
TALKING = [kind for kind in Type if wire.META[kind]]


def raw(message: Message) -> list[bytes]:
    return [bytes(p) for p in encode(message)]


def packed(meta: object) -> bytes:
    return bytes(msgpack.packb(meta))


class Count:
    """What became of the inputs."""

    def __init__(self) -> None:
        self.refused = self.taken = 0

    @property
    def all(self) -> int:
        return self.refused + self.taken

    def feed(self, inputs: Iterable[list[bytes]]) -> None:
        """Decode each; anything else than the two ways out ends the test."""
        texts = set()
        for parts in inputs:
            try:
                message = decode(parts)
            except BadMessage as error:
                texts.add(error.args)
                self.refused += 1
                continue
            assert encode(message) == parts
            self.taken += 1
        assert {text for (text,) in texts} <= RULES


# --- headers


def every_byte(kind: Type) -> np.ndarray:
    """Each byte at each of its other values: every type, every flag, every bit."""
    header = np.frombuffer(raw(sample(kind, FRAMES))[0], dtype=np.uint8)
    rows = np.tile(header, (header.size, 255, 1))
    at = np.arange(header.size)
    rows[at, :, at] ^= np.arange(1, 256, dtype=np.uint8)
    return rows.reshape(-1, header.size)


def several_bytes(kind: Type, count: int, rng: np.random.Generator) -> np.ndarray:
    """Two to eight bytes changed at once."""
    header = np.frombuffer(raw(sample(kind, FRAMES))[0], dtype=np.uint8)
    rows = np.tile(header, (count, 1))
    for k in range(8):
        chosen = np.flatnonzero(rng.integers(2, 9, count) > k)
        rows[chosen, rng.integers(0, header.size, chosen.size)] ^= rng.integers(0, 256, chosen.size, dtype=np.uint8)
    return rows


def odd_numbers(kind: Type) -> Iterator[bytes]:
    """Every field at the edges of what it can hold, two fields at a time with the two lengths."""
    header = raw(sample(kind, FRAMES))[0]
    for start, end in zip([0, *ENDS], ENDS, strict=False):
        edges = {e for k in range(0, 8 * (end - start) + 1, 4) for e in ((1 << k) - 1, 1 << k, (1 << k) + 1)}
        for value in sorted(e % (1 << 8 * (end - start)) for e in edges):
            for length in (8, 0, 9, 2**63, 2**64 - 1):
                changed = bytearray(header)
                changed[start:end] = value.to_bytes(end - start, "little")
                changed[-8:] = length.to_bytes(8, "little") if length != 8 else changed[-8:]
                yield bytes(changed)


def other_lengths(kind: Type) -> Iterator[list[bytes]]:
    """Cut off anywhere, too long, parts missing, in another order or too many."""
    header, meta, *frames = raw(sample(kind, FRAMES))
    for size in range(2 * len(header)):
        yield [(header * 2)[:size], meta, *frames]
    yield from ([], [header], [meta], [header, meta], [meta, header, *frames], [header, meta, b"abcdefgh"])
    yield from ([header, meta, *frames, b""], [header, meta, b"", b"abcdefgh"], [header, *frames], [header, b""])
    yield [header, meta, *[b""] * 5000]


def rows_of(headers: np.ndarray, rest: list[bytes]) -> Iterator[list[bytes]]:
    whole, size = headers.tobytes(), headers.shape[1]
    return ([whole[i : i + size], *rest] for i in range(0, len(whole), size))


def test_mutated_headers():
    count, rng = Count(), np.random.default_rng(SEED)
    for kind in Type:
        rest = raw(sample(kind, FRAMES))[1:]
        count.feed(rows_of(every_byte(kind), rest))
        count.feed(rows_of(several_bytes(kind, 6_000, rng), rest))
        count.feed([header, *rest] for header in odd_numbers(kind))
        count.feed(other_lengths(kind))
    assert count.all >= 600_000
    assert min(count.refused, count.taken) >= 100_000


# --- metas


def meta_of(kind: Type) -> dict[str, object]:
    samples = {str: CANARY, int: 70_000, bool: True, float: 0.5, list: [1, [2, "x"]]}
    return {key: samples[wanted] for key, wanted in wire.META[kind].items()}


VALUES = [
    *(None, True, False, 0, 1, -1, 127, 128, 2**31, 2**63, 2**64 - 1, -(2**63), 0.0, -0.0, 0.5, float("nan")),
    *(float("inf"), "", CANARY, "\0", "x" * 5000, b"", b"x", [], [[]], {}, {"a": 1}, [{"a": [1]}], list(range(2000))),
    *(msgpack.Timestamp(1), msgpack.Timestamp(-1, 1), msgpack.ExtType(5, b""), msgpack.ExtType(5, b"x" * 100)),
]
TOKENS = [
    *(bytes([code]) for code in range(256)),
    *(bytes([code]) + b"\xff" * n for code in range(0xC4, 0xE0) for n in (1, 2, 4, 8)),
    *(bytes([code]) + b"\x00" * n for code in range(0xC4, 0xE0) for n in (1, 2, 4, 8)),
    *(
        b"\x91" * 600,
        b"\x81\xa1a" * 200,
        b"\x81" * 600,
        b"\xa4name",
        b"\xa3ask",
        b"\xa3\xed\xa0\x80",
        b"\xa1\xff",
        b"\xc1",
    ),
]


def other_bytes(kind: Type) -> Iterator[bytes]:
    """Each byte at each value; cut off anywhere; followed by more."""
    meta = packed(meta_of(kind))
    for at in range(len(meta)):
        yield from (meta[:at] + bytes([meta[at] ^ x]) + meta[at + 1 :] for x in range(1, 256))
        yield meta[:at]
        yield meta + meta[:at]


def other_values(kind: Type) -> Iterator[bytes]:
    """Fields of other types, more, missing, twice, in other forms; keys that are no text."""
    meta = meta_of(kind)
    for key in meta:
        yield from (packed({**meta, key: value}) for value in VALUES)
        yield packed({k: v for k, v in meta.items() if k != key})
        for value in VALUES:
            pairs = [*meta.items(), (key, value)]
            yield bytes([0x80 + len(pairs)]) + b"".join(packed(k) + packed(v) for k, v in pairs)
    yield from (packed({**meta, extra: 1}) for extra in ("", "more", CANARY, "x" * 4000, b"ask"))
    yield from (packed({**meta, number: 1}) for number in (0, None, 0.5, True))
    yield packed(list(meta.items()))
    yield b"\xde" + len(meta).to_bytes(2, "big") + packed(meta)[1:]
    yield b"\xdf" + len(meta).to_bytes(4, "big") + packed(meta)[1:]
    yield packed(meta).replace(b"\xce\x00\x01\x11\x70", b"\xcf\x00\x00\x00\x00\x00\x01\x11\x70")
    yield packed(meta).replace(bytes([0xA0 + len(CANARY)]), b"\xd9" + bytes([len(CANARY)]))


def spliced(kind: Type, count: int, rng: np.random.Generator) -> Iterator[bytes]:
    """Pieces of the grammar with huge lengths, deep nests and odd types, anywhere in the meta or instead of a part."""
    meta = packed(meta_of(kind))
    chosen = rng.integers(0, len(TOKENS), (count, 2))
    places = np.sort(rng.integers(0, len(meta) + 1, (count, 2)), axis=1)
    both = rng.integers(0, 2, count)
    for (first, second), (start, end), more in zip(chosen.tolist(), places.tolist(), both.tolist(), strict=True):
        yield meta[:start] + TOKENS[first] + (TOKENS[second] if more else b"") + meta[end:]


def metas(kind: Type, rng: np.random.Generator) -> Iterator[list[bytes]]:
    header = raw(sample(kind))[0]
    for made in (other_bytes(kind), other_values(kind), spliced(kind, 20_000, rng)):
        yield from ([header, meta] for meta in made)


def test_mutated_metas():
    count, rng = Count(), np.random.default_rng(SEED)
    for kind in TALKING:
        count.feed(metas(kind, rng))
    for kind in set(Type) - set(TALKING):
        header = raw(sample(kind))[0]
        count.feed([header, token] for token in TOKENS)
    assert count.all >= 400_000
    assert min(count.refused, count.taken) >= 10_000


def test_a_decoder_that_takes_other_forms_or_repeats_content_is_found(monkeypatch):
    """Broken twins of the two assertions."""
    inputs = [[raw(sample(Type.DESCRIBE))[0], meta] for meta in other_values(Type.DESCRIBE)]
    Count().feed(inputs)
    with monkeypatch.context() as m:
        m.setattr(wire, "_canonical", lambda meta, raw: True)
        with pytest.raises(AssertionError):
            Count().feed(inputs)

    def repeats(text: bytes) -> object:
        raise BadMessage(f"not a document: {text!r}")

    monkeypatch.setattr(wire, "_unpack", repeats)
    with pytest.raises(AssertionError):
        Count().feed(inputs)


# --- memory and words


NASTY = [
    *(
        code + b"\xff" * 8
        for code in (b"\xdc", b"\xdd", b"\xde", b"\xdf", b"\xc4", b"\xc5", b"\xc6", b"\xd9", b"\xda", b"\xdb")
    ),
    *(code + b"\xff" * 8 for code in (b"\xc7", b"\xc8", b"\xc9", b"\xd4", b"\xd8")),
    *(code * 4090 for code in (b"\x90", b"\x91", b"\x9f", b"\x81", b"\x8f", b"\xc0", b"\xdd", b"\xdf")),
    b"\xdc\x0f\xf0" + b"\x90" * 4080,
    b"\xdc\x0f\xf0" + b"\x80" * 4080,
    b"\xdd\x00\x00\x0f\xf0" + b"\xcb" + bytes(4070),
    b"\xde\x05\x00" + b"".join(b"\xa2" + i.to_bytes(2, "big") for i in range(1280)),
]


@pytest.mark.parametrize("meta", NASTY, ids=lambda m: m[:3].hex())
def test_nasty_metas_take_little_memory(meta):
    """A field's content and a whole meta; documents too, whose limit is four MiB."""
    inputs = [[raw(sample(kind))[0], text] for kind in TALKING for text in (meta, packed(meta_of(kind))[:-9] + meta)]
    tracemalloc.start()
    try:
        for parts in inputs:
            with pytest.raises(BadMessage):
                decode(parts)
        with pytest.raises(BadMessage):
            unpack_values([meta])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 19


@pytest.mark.parametrize("kind", TALKING)
def test_no_content_in_what_is_said(kind):
    """Neither in the text of the error nor in what a traceback would print."""
    header = raw(sample(kind))[0]
    for meta in (
        *other_values(kind),
        packed({CANARY: CANARY}),
        packed(CANARY) + b"\xff",
        b"\xad" + CANARY[:-1].encode() + b"\xff",
    ):
        try:
            decode([header, meta])
        except BadMessage as error:
            said = "".join(traceback.format_exception(error)) + repr(error)
            assert CANARY[:8] not in said


def test_empty_pieces_without_end_are_refused():
    """They have no bytes, and a list of a billion of them has."""
    joiner = Joiner(1 << 20)
    piece = Message(Type.DATA, 0, 1, frames=(b"",) * 4096, flags=wire.MORE)
    with pytest.raises(BadMessage, match="too long"):
        for _ in range(10):
            joiner.add(piece)


# --- splitting, joining, arrays: properties


SIZES = st.lists(st.integers(0, 60), max_size=12)


@settings(max_examples=300, deadline=None)
@given(SIZES, st.integers(1, 64), st.integers(2, 5))
def test_pieces_are_messages_and_become_the_whole_again(sizes, limit, most):
    frames = tuple(bytes([i % 251]) * n for i, n in enumerate(sizes))
    message = Message(Type.DATA, 0, 1, b"s" * 16, 3, frames=frames)
    with pytest.MonkeyPatch.context() as m:
        m.setattr(wire, "FRAMES_LIMIT", most)
        m.setattr("parties.pieces.FRAMES_LIMIT", most)
        pieces = list(split(message, limit))
        assert [decode(raw(p)) for p in pieces] == pieces
    assert all(p.payload <= limit and len(p.frames) <= most for p in pieces)
    assert [p.flags for p in pieces] == [wire.MORE] * (len(pieces) - 1) + [0]
    joiner = Joiner()
    *nothing, whole = [joiner.add(p) for p in pieces]
    assert nothing == [None] * (len(pieces) - 1)
    assert b"".join(whole.frames) == b"".join(frames)
    assert (whole.type, whole.session, whole.step, whole.flags) == (Type.DATA, b"s" * 16, 3, 0)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.integers(0, 9)), max_size=20), st.integers(64, 400))
def test_a_joiner_mixes_nothing_and_keeps_its_limit(pieces, limit):
    """Against the plain account: a list of what has come since the last whole message."""
    joiner, open_ = Joiner(limit), []
    for step, more, size in pieces:
        piece = Message(Type.DATA, 0, 1, step=step, frames=(b"x" * size,), flags=wire.MORE if more else 0)
        another = bool(open_) and open_[0].step != step
        joined = [*open_, piece]
        long = (more or open_) and sum(p.payload + FRAME_COST for p in joined) > limit
        if another or long:
            with pytest.raises(BadMessage):
                joiner.add(piece)
            return
        whole = joiner.add(piece)
        assert (whole is None) == more
        assert more or b"".join(whole.frames) == b"".join(f for p in joined for f in p.frames)
        open_ = joined if more else []


SHAPES = st.lists(st.tuples(st.sampled_from(["<u8", "|u1"]), st.lists(st.integers(0, 3), max_size=3)), max_size=4)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=6), SHAPES)
def test_any_frames_are_the_arrays_expected_or_refused(frames, shapes):
    expect = [Frame(dtype, tuple(shape)) for dtype, shape in shapes]
    try:
        arrays = wire.unpack_arrays(frames, expect)
    except BadMessage:
        arrays = None
    if arrays is None:
        assert [len(f) for f in frames] != [e.nbytes for e in expect]
        return
    assert [(a.dtype.str, a.shape) for a in arrays] == [(e.dtype, e.shape) for e in expect]
    assert b"".join(bytes(f) for f in wire.pack_arrays(arrays)) == b"".join(frames)
    assert not any(a.flags.writeable for a in arrays)


@settings(max_examples=300, deadline=None)
@given(SHAPES, st.lists(st.integers(0, 200), max_size=8), st.integers(0, 255))
def test_arrays_cut_anywhere_come_back(shapes, cuts, fill):
    expect = [Frame(dtype, tuple(shape)) for dtype, shape in shapes]
    whole = bytes((fill + i) % 256 for i in range(sum(e.nbytes for e in expect)))
    places = sorted({min(c, len(whole)) for c in cuts} | {0, len(whole)})
    frames = [whole[a:b] for a, b in pairwise(places)]
    if len(frames) <= len(expect):
        return
    assert b"".join(bytes(f) for f in wire.pack_arrays(wire.unpack_arrays(frames, expect))) == whole


# --- the corpus


INPUTS = {**{p.name: p.read_bytes() for p in CORPUS.iterdir()}, **{f"{n}-now": d for n, d in fuzz_wire.seeds().items()}}


@pytest.mark.parametrize("name", sorted(INPUTS))
def test_the_corpus_and_todays_seeds(name):
    fuzz_wire.target(INPUTS[name])


def test_a_missing_fuzzer_is_named_with_the_cure():
    run = Path(fuzz_wire.__file__).with_name("run.py")
    code = "import runpy, sys; sys.modules['atheris'] = None; runpy.run_path(sys.argv[0], run_name='__main__')"
    code = code.replace("; runpy", f"; sys.argv = [{str(run)!r}, 'wire']; runpy")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "pip install atheris" in done.stderr
