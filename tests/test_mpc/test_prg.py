"""mpc/prg.py: the standard's vectors, positions that never meet, seeds that only the right two hold, no key printed."""

from __future__ import annotations

import copy
import json
import pickle
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CTR, ECB
from hypothesis import given
from hypothesis import strategies as st

from mpc import prg
from mpc.prg import Ahead, DealerEntropy, PartyEntropy, Position, block, fresh_entropy, party_entropy

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "vectors" / "prg.json").read_text(encoding="utf-8"))
SEED = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")  # the key of NIST SP 800-38A, F.5.1
M = np.uint64(2**64 - 1)
positions = st.builds(Position, st.integers(0, 2**32 - 1), st.integers(0, 2**48 - 1), st.just(0))
sizes = st.integers(0, 70)


def counters(seed: bytes, words: prg.Words) -> list[int]:
    """The counter blocks that a stream was made from: AES is a permutation, so they can be read back."""
    data = words.astype("<u8").tobytes()
    data = data[: len(data) // 16 * 16]
    plain = Cipher(AES128(seed), ECB()).decryptor().update(data)
    return [int.from_bytes(plain[i : i + 16], "big") for i in range(0, len(plain), 16)]


class Counting:
    """Deterministic entropy whose every answer is new."""

    def __init__(self) -> None:
        self.given: list[bytes] = []

    def __call__(self, n: int) -> bytes:
        self.given.append((len(self.given) + 1).to_bytes(2, "big") * (n // 2))
        return self.given[-1]


# --- the standard


def test_nist_ctr_vector() -> None:
    """SP 800-38A F.5.1: the library's CTR is the standard's, and counts as a big-endian 128-bit number."""
    start = bytes.fromhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
    plain = bytes.fromhex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51")
    cipher = bytes.fromhex("874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff")
    assert Cipher(AES128(SEED), CTR(start)).encryptor().update(plain) == cipher
    stream = np.frombuffer(bytes(x ^ y for x, y in zip(plain, cipher, strict=True)), dtype="<u8")
    first = int.from_bytes(start, "big")
    assert counters(SEED, stream) == [first, first + 1]


def test_first_block_is_aes_of_zero() -> None:
    """The AES-128 known answer for key 0 and plaintext 0 (AESAVS)."""
    assert block(bytes(16), Position(0, 0), (2,)).astype("<u8").tobytes().hex() == "66e94bd4ef8a2c3b884cfa59ca342b2e"


def test_committed_vectors() -> None:
    seed = bytes.fromhex(VECTORS["seed"])
    for case in VECTORS["cases"]:
        got = block(seed, Position(case["number"], case["iteration"]), (5,))
        assert [f"{int(w):#018x}" for w in got] == case["words"]


# --- positions


@given(positions, sizes)
def test_counter_is_number_then_iteration_then_block(at: Position, size: int) -> None:
    start = (at.number << 96) + (at.iteration << 48)
    assert counters(SEED, block(SEED, at, (size,))) == [start + i for i in range(size // 2)]


def overlap(stream: Any, one: Position, two: Position, size: int) -> bool:
    """Whether two sharings were made from a common AES block."""
    first, second = (set(counters(SEED, stream(SEED, at, (size,)))) for at in (one, two))
    return bool(first & second)


@given(positions, positions, sizes)
def test_no_block_serves_two_sharings(one: Position, two: Position, size: int) -> None:
    assert overlap(block, one, two, size) == (one == two and size > 1)


@given(positions, sizes)
def test_neighbours_do_not_meet(at: Position, size: int) -> None:
    neighbours = [at, Position((at.number + 1) % 2**32, at.iteration), Position(at.number, (at.iteration + 1) % 2**48)]
    for one, two in pairwise([*neighbours, at]):
        assert not overlap(block, one, two, size)


def test_twin_whose_blocks_meet_is_caught() -> None:
    def twin(seed: bytes, at: Position, shape: tuple[int, ...]) -> prg.Words:
        return block(seed, Position(at.number, 0), (at.iteration * 2 + shape[0],))[at.iteration * 2 :]

    assert overlap(twin, Position(3, 4), Position(3, 5), 8)
    assert not overlap(block, Position(3, 4), Position(3, 5), 8)


def test_shape_only_folds_the_stream() -> None:
    at = Position(9, 2)
    flat = block(SEED, at, (24,))
    assert np.array_equal(block(SEED, at, (2, 3, 4)), flat.reshape(2, 3, 4))
    assert np.array_equal(block(SEED, at, (7,)), flat[:7])
    assert block(SEED, at, ()).shape == ()
    assert block(SEED, at, (0, 5)).shape == (0, 5)
    assert flat.dtype == np.uint64
    assert not np.array_equal(block(bytes(16), at, (24,)), flat)


@pytest.mark.parametrize("at", [Position(1 << 32, 0), Position(0, 1 << 48), Position(-1, 0), Position(1, -1)])
def test_positions_outside_the_stream_are_refused(at: Position) -> None:
    with pytest.raises(OverflowError):
        block(SEED, at, (1,))


@pytest.mark.parametrize("at", [Position(1 << 32, 0), Position(0, 1 << 48), Position(0, 0, 1 << 48)])
def test_the_ends_of_the_stream_are_named(at: Position) -> None:
    last = Position(*(max(x - 1, 0) for x in at))
    for stream in (block, prg.Streams()):
        with pytest.raises(OverflowError, match=r"stream position out of range: number \d+, iteration \d+, word \d+"):
            stream(SEED, at, (3,))
        assert stream(SEED, last, (3,)).shape == (3,)
    assert prg._counter(last) == (last.number << 96) + (last.iteration << 48) + last.start // 2


def test_a_position_begins_at_its_first_word() -> None:
    assert Position(3, 4) == Position(3, 4, 0)
    assert prg.SEED_BYTES == 16


@pytest.mark.parametrize("length", [0, 8, 15, 17, 32])
def test_seeds_of_another_length_are_refused(length: int) -> None:
    with pytest.raises(ValueError, match="key size"):
        block(bytes(length), Position(0, 0), (1,))


def test_words_look_uniform() -> None:
    ones = np.unpackbits(block(SEED, Position(5, 5), (1 << 14,)).view(np.uint8)).reshape(-1, 64).mean(axis=0)
    assert np.all(np.abs(ones - 0.5) < 6 * 0.5 / 2**7)


# --- who holds which seed


@pytest.mark.parametrize("n", [2, 3, 5])
def test_dealer_and_parties_hold_the_same_seeds(n: int) -> None:
    dealer, parties = fresh_entropy(n, Counting())
    for i, party in enumerate(parties):
        assert party.dealer == dealer.parties[i]
        assert party.owners == tuple(dealer.owners[o][i] for o in range(n))
        assert party.own == dealer.owners[i]
        assert len(dealer.seeds_for(i)) == 2 * n + 1
        for j in set(range(n)) - {i}:
            assert parties[j].own[i] == party.owners[j]
            assert parties[j].pairs[i] == party.pairs[j]
            assert parties[j].zeros[i] == party.zeros[j]
        assert set(party.pairs) == set(party.zeros) == set(range(n)) - {i}


def between(parties: list[PartyEntropy]) -> Counter[bytes]:
    """Seeds agreed among the parties, each counted once a holder."""
    return Counter(s for p in parties for s in (*p.pairs.values(), *p.zeros.values()))


def separate(dealer: DealerEntropy, parties: list[PartyEntropy]) -> bool:
    """Rules 3 and 6: one seed, one purpose, and the dealer holds none of those that two parties agreed."""
    dealt = [*dealer.parties, *(s for row in dealer.owners for s in row)]
    agreed = between(parties)
    return len(set(dealt)) == len(dealt) and set(agreed.values()) <= {2} and not set(dealt) & set(agreed)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_every_seed_has_one_purpose(n: int) -> None:
    entropy = Counting()
    dealer, parties = fresh_entropy(n, entropy)
    assert separate(dealer, parties)
    assert len(between(parties)) == n * (n - 1)
    assert len(entropy.given) == n + n * n + n * (n - 1)


def test_twins_with_shared_seeds_are_caught() -> None:
    dealer, parties = fresh_entropy(3, Counting())
    zeros_of_pairs = [party_entropy(dealer.seeds_for(i), p.pairs, p.pairs) for i, p in enumerate(parties)]
    assert not separate(dealer, zeros_of_pairs)
    known = dict.fromkeys(range(3), dealer.parties[0])
    assert not separate(dealer, [party_entropy(dealer.seeds_for(i), known, p.zeros) for i, p in enumerate(parties)])
    assert not separate(*fresh_entropy(3, bytes))


def test_fresh_seeds_differ_from_run_to_run() -> None:
    one, two = DealerEntropy.fresh(3), DealerEntropy.fresh(3)
    assert not {*one.parties, *one.owners[0]} & {*two.parties, *two.owners[0]}
    assert all(len(s) == prg.SEED_BYTES for s in one.seeds_for(2))


@pytest.mark.parametrize(
    ("seeds", "pairs"),
    [([b"x" * 16] * 4, {}), ([b"x" * 16] * 5 + [b"x" * 8] * 2, {}), ([b"x" * 16] * 5, {1: b"x" * 8}), ([], {})],
)
def test_seeds_of_wrong_number_or_length_are_refused(seeds: list[bytes], pairs: dict[int, bytes]) -> None:
    with pytest.raises(ValueError, match="wrong number or length") as caught:
        party_entropy(seeds, pairs, {})
    assert "x" * 8 not in str(caught.value)


# --- nothing printed, nothing pickled


def shows(thing: object, seeds: list[bytes]) -> bool:
    """Whether a text form of a thing holds any seed, as bytes, hex or numbers."""
    texts = [repr(thing), str(thing), f"{thing}", f"{[thing]}"]
    forms = [f for s in seeds for f in (repr(s)[2:-1], s.hex(), str(int.from_bytes(s, "big")), ", ".join(map(str, s)))]
    return any(form in text for text in texts for form in forms)


def test_reprs_hold_no_key() -> None:
    entropy = Counting()
    dealer, parties = fresh_entropy(3, entropy)
    for thing in (dealer, *parties):
        assert not shows(thing, entropy.given)
    assert {repr(thing) for thing in (dealer, *parties)} == {"DealerEntropy()", "PartyEntropy()"}


def test_twin_that_prints_its_key_is_caught() -> None:
    @dataclass(frozen=True)
    class Twin:
        dealer: bytes

    entropy = Counting()
    assert shows(Twin(entropy(16)), entropy.given)


@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy, pickle.dumps])
def test_key_material_is_neither_copied_nor_pickled(copier: Any) -> None:
    dealer, parties = fresh_entropy(2)
    for thing in (dealer, *parties):
        with pytest.raises(TypeError, match="never serialised"):
            copier(thing)


# --- streams: the same words, sooner


@given(st.binary(min_size=16, max_size=16), positions, st.sampled_from([0, 1, 2, 31, 32, 33, 34, 569, 4096, 4097]))
def test_streams_give_the_words_of_block(seed: bytes, at: Position, size: int) -> None:
    streams = prg.Streams()
    for shape in ((size,), (1, size)):
        assert np.array_equal(streams(seed, at, shape), block(seed, at, shape))
        assert np.array_equal(streams(bytes(16), at, shape), block(bytes(16), at, shape))


def test_few_words_are_made_from_counters_and_many_as_a_stream() -> None:
    streams = prg.Streams()
    streams(SEED, Position(1, 0), (4096,))
    assert (list(streams._ciphers), list(streams._counting)) == ([SEED], [])
    streams = prg.Streams()
    streams(SEED, Position(1, 0), (4097,))
    streams(SEED, Position(1, 0, 2), (1,))
    assert (list(streams._ciphers), list(streams._counting)) == ([], [SEED])


def test_streams_refuse_the_same_positions_and_show_no_seed() -> None:
    streams = prg.Streams()
    for size in (1, 100, 10_000):
        with pytest.raises(OverflowError, match="out of range"):
            streams(SEED, Position(1 << 32, 0), (size,))
    streams(SEED, Position(1, 0), (1,))
    assert repr(streams) == "<Streams of 1 seeds>"


def test_a_long_block_is_one_stream() -> None:
    """Its pieces go on where the one before ended."""
    at, size = Position(3, 5), 3 * (1 << 17) + 5
    whole = block(SEED, at, (size,))
    start = (3 << 96) | (5 << 48)
    assert counters(SEED, whole)[:: 1 << 15] == list(range(start, start + size // 2, 1 << 15))


@pytest.mark.parametrize("looped", [False, True])
def test_what_is_made_ahead_is_the_same_stream(looped: bool) -> None:
    """Any step, in any order, beyond 2^16 too, where a step reaches the other half of the counter."""
    places = [(3, ()), (0, (5,)), (1 << 20, (2, 3)), (7, (1,))]
    ahead = Ahead(SEED, places, [lambda x: x, lambda x: x, lambda x: x & np.uint64(7), lambda x: x], looped)
    for step in (0, 1, 2, 63, 64, 255, 256, 257, 3, 1 << 16, (1 << 16) - 1, (1 << 40) + 5):
        at = ahead.at(step)
        for (number, shape), words, mask in zip(places, ahead.words, (M, M, np.uint64(7), M), strict=True):
            assert np.array_equal(words[at, ...], block(SEED, Position(number, step), shape) & mask)
            assert words[at, ...].shape == shape


def test_how_many_steps_are_made_ahead() -> None:
    """Few enough that their words are few; at least one, and one where no other follows."""

    def made(size: int, count: int, *, looped: bool = True) -> int:
        ahead = Ahead(SEED, [(i, (size,)) for i in range(count)], [lambda x: x] * count, looped)
        assert ahead.at(5) == 0
        return len(ahead.words[0])

    assert [made(1, 1), made(2, 1), made(32, 1), made(1, 16)] == [256] * 4
    assert [made(33, 1), made(64, 2), made(8192, 1), made(8193, 1), made(9999, 2)] == [240, 64, 1, 1, 1]
    assert [made(1, 1, looped=False), made(64, 2, looped=False)] == [1, 1]


def test_the_last_steps_of_the_stream_are_made_ahead_too() -> None:
    last = (1 << 48) - 1
    ahead = Ahead(SEED, [(3, (5,))], [lambda x: x], looped=True)
    assert ahead.at(last - 255) == 0
    assert [ahead.at(last - 255 + i) for i in (1, 254, 255)] == [1, 254, 255]
    assert np.array_equal(ahead.words[0][255], block(SEED, Position(3, last), (5,)))
    with pytest.raises(OverflowError, match="out of range"):
        Ahead(SEED, [(3, (5,))], [lambda x: x], looped=True).at(last - 254)


def test_only_steps_that_were_not_made_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    original = Ahead._make
    monkeypatch.setattr(Ahead, "_make", lambda self, step: made.append(step) or original(self, step))  # type: ignore[func-returns-value]
    ahead = Ahead(SEED, [(3, (5,))], [lambda x: x], looped=True)
    assert [ahead.at(step) for step in (0, 255, 256, 256, 511, 257, 255, 254)] == [0, 255, 0, 0, 255, 1, 0, 0]
    assert made == [0, 256, 255, 254]


def test_steps_beyond_the_stream_are_refused() -> None:
    with pytest.raises(OverflowError):
        Ahead(SEED, [(0, ())], [lambda x: x], looped=False).at(1 << 48)
    assert "Ahead of 1 sharings" in repr(Ahead(SEED, [(0, ())], [lambda x: x], looped=False))


@given(positions, st.integers(0, 5000), st.integers(0, 70))
def test_a_block_can_be_made_in_pieces(at: Position, start: int, size: int) -> None:
    whole = block(SEED, at, (start + size,))
    piece = at._replace(start=start)
    assert np.array_equal(block(SEED, piece, (size,)), whole[start:])
    assert np.array_equal(prg.Streams()(SEED, piece, (size,)), whole[start:])
