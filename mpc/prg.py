"""Randomness: AES-128-CTR streams, and the two views of who shares a seed with whom.

Every mask, dealt value, input share and zero-share is numbered once, in the lowered program. A stream position is
(seed, number, iteration): the counter block starts at `number · 2^96 + iteration · 2^48`, so no two sharings ever meet
in one block (docs/rules.md, 3), and dealer and parties agree on positions without talking.

Source: NIST SP 800-38A (CTR mode). Seeds come from `secrets`; nothing here is seeded by less than 16 bytes.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Any, NamedTuple

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CTR, ECB
from numpy.typing import NDArray

__all__ = [
    "SEED_BYTES", "Ahead", "DealerEntropy", "Entropy", "PartyEntropy", "Position", "Streams", "block", "fresh_entropy",
    "steps_of",
]  # fmt: skip

SEED_BYTES = 16
Words = NDArray[np.uint64]
Entropy = Callable[[int], bytes]  # asked for n bytes, gives n bytes; `secrets.token_bytes` but in tests


class Position(NamedTuple):
    """The place of one sharing in every stream: its number in the lowered program and the flat iteration index.

    start: from which of its words on, where a long one is made in pieces.
    """

    number: int
    iteration: int
    start: int = 0


Stream = Callable[[bytes, "Position", tuple[int, ...]], Words]  # `block`, but where a test enumerates all randomness


def block(seed: bytes, at: Position, shape: tuple[int, ...]) -> Words:
    """Uniform 64-bit words of `shape`, a function of the seed and the position alone."""
    return _long(Cipher(AES128(seed), CTR(_counter(at).to_bytes(16, "big"))).encryptor(), at.start % 2, shape)


def _long(encryptor: CipherContext, skip: int, shape: tuple[int, ...]) -> Words:
    """Words from a stream that stands at their block; `skip` of them are not wanted."""
    size = prod(shape)
    words = np.empty(skip + size + 2, dtype="<u8")  # the cipher wants room for a block more
    out, length = words.data.cast("B"), 8 * (skip + size)
    for start in range(0, length, len(_ZEROS)):
        encryptor.update_into(_ZEROS[: length - start], out[start:])
    return words[skip : skip + size].reshape(shape)


_ZEROS = memoryview(bytes(1 << 20))
_FEW = 4096  # words that are made from their counters with a kept context, which costs less than a new one
_SINGLE = 32  # words whose counters are made one by one
_STEPS, _AT_ONCE = 256, 1 << 13  # steps of a loop, and words, for which small sharings are made at once


def _counter(at: Position) -> int:
    number, iteration, start = at
    if number >= 1 << 32 or iteration >= 1 << 48 or start >= 1 << 48:
        raise OverflowError(f"stream position out of range: number {number}, iteration {iteration}, word {start}")
    return (number << 96) | (iteration << 48) | (start // 2)


def _counters(numbers: Any, steps: Words, offsets: Words) -> NDArray[Any]:
    """The counter blocks of many steps, by step. numbers: those of the sharings, times 2^32; steps: a column."""
    counters = np.empty((len(steps), len(offsets), 2), dtype=">u8")
    counters[..., 0] = numbers | steps >> np.uint64(16)
    counters[..., 1] = steps << np.uint64(48) | offsets
    return counters


class Streams:
    """`block`, sooner for few words: the cipher of each seed is set up once. Holds key material as long as it lives."""

    def __init__(self) -> None:
        self._ciphers: dict[bytes, CipherContext] = {}
        self._counting: dict[bytes, CipherContext] = {}

    def __repr__(self) -> str:
        return f"<Streams of {len(self._ciphers)} seeds>"

    def __call__(self, seed: bytes, at: Position, shape: tuple[int, ...]) -> Words:
        """What `block` gives."""
        size = prod(shape)
        if size > _FEW or at.start:
            return self._block(seed, at, shape)
        cipher = self._cipher(seed)
        first, blocks = _counter(at), (size + 1) // 2
        if size <= _SINGLE:
            counters: Any = b"".join([(first + i).to_bytes(16, "big") for i in range(blocks)])
        else:
            pairs = np.empty((blocks, 2), dtype=">u8")
            pairs[:, 0] = first >> 64
            pairs[:, 1] = np.arange(blocks, dtype=np.uint64) + np.uint64(first & ((1 << 64) - 1))
            counters = pairs.data.cast("B")
        return np.frombuffer(cipher.update(counters), dtype="<u8", count=size).reshape(shape)

    def of_steps(self, seed: bytes, at: Position, count: int, shape: tuple[int, ...]) -> Words:
        """What `block` gives for one sharing in so many steps, of which `at` is the first; by step."""
        size = prod(shape)
        if not 0 < size <= _FEW:
            return _each(self, seed, at, count, shape)
        _counter(Position(at.number, at.iteration + count - 1))  # in range
        steps = np.arange(at.iteration, at.iteration + count, dtype=np.uint64)[:, None]
        counters = _counters(np.uint64(at.number << 32), steps, np.arange((size + 1) // 2, dtype=np.uint64))
        words = np.frombuffer(self._cipher(seed).update(counters.data.cast("B")), dtype="<u8")
        return words.reshape(count, -1)[:, :size].reshape(count, *shape)

    def _cipher(self, seed: bytes) -> CipherContext:
        cipher = self._ciphers.get(seed)
        if cipher is None:
            cipher = self._ciphers[seed] = Cipher(AES128(seed), ECB()).encryptor()  # noqa: S305 - of counters: CTR
        return cipher

    def _block(self, seed: bytes, at: Position, shape: tuple[int, ...]) -> Words:
        counter = _counter(at).to_bytes(16, "big")
        encryptor = self._counting.get(seed)
        if encryptor is None:
            encryptor = self._counting[seed] = Cipher(AES128(seed), CTR(counter)).encryptor()
        encryptor.reset_nonce(counter)
        return _long(encryptor, at.start % 2, shape)


def steps_of(stream: Stream, seed: bytes, at: Position, count: int, shape: tuple[int, ...]) -> Words:
    """The words of one sharing in so many steps, of which `at` is the first; by step."""
    return (stream.of_steps if isinstance(stream, Streams) else partial(_each, stream))(seed, at, count, shape)


def _each(stream: Stream, seed: bytes, at: Position, count: int, shape: tuple[int, ...]) -> Words:
    return np.stack([stream(seed, Position(at.number, at.iteration + i), shape) for i in range(count)])


class Ahead:
    """The words of a few short sharings from one seed: what `block` gives for each, made for many steps at once.

    places: number and shape of each, not all of them empty. finish: what is done to the words of each. looped: whether
    other steps follow. `words`: for each place those of all steps that were made, by step. Holds key material as long
    as it lives.
    """

    def __init__(
        self, seed: bytes, places: Sequence[tuple[int, tuple[int, ...]]], finish: Sequence[Callable[[Any], Any]],
        looped: bool,
    ) -> None:  # fmt: skip
        self._cipher = Cipher(AES128(seed), ECB()).encryptor()  # noqa: S305 - of counters: CTR
        sizes = [prod(shape) for _, shape in places]
        blocks = [(size + 1) // 2 for size in sizes]
        numbers = np.array([_counter(Position(number, 0)) >> 64 for number, _ in places], dtype=np.uint64)
        self._numbers = np.repeat(numbers, blocks)
        self._offsets = np.concatenate([np.arange(count) for count in blocks]).astype(np.uint64)
        starts = [2 * sum(blocks[:i]) for i in range(len(blocks))]
        self._parts = [
            (slice(start, start + size), shape, done)
            for start, size, (_, shape), done in zip(starts, sizes, places, finish, strict=True)
        ]
        self._steps = max(1, min(_STEPS, _AT_ONCE // (2 * sum(blocks)))) if looped else 1
        self._made = range(0)
        self.words: list[Words] = []

    def __repr__(self) -> str:
        return f"<Ahead of {len(self._parts)} sharings>"

    def at(self, step: int) -> int:
        """The index of a step in `words`, which hold it from now on."""
        if step not in self._made:
            self._make(step)
        return step - self._made.start

    def each(self, first: int) -> Iterator[tuple[int, ...]]:
        """The words of a step, from this one on step after step: of sharings of single words, as integers."""
        while True:
            here = self.at(first)
            yield from zip(*[words[here:].tolist() for words in self.words], strict=True)
            first = self._made.stop

    def _make(self, first: int) -> None:
        _counter(Position(0, first + self._steps - 1))  # in range
        self._made = range(first, first + self._steps)
        steps = np.arange(self._made.start, self._made.stop, dtype=np.uint64)[:, None]
        counters = _counters(self._numbers, steps, self._offsets)
        words = np.frombuffer(self._cipher.update(counters.data.cast("B")), dtype="<u8").reshape(self._steps, -1)
        self.words = [done(words[:, part]).reshape(self._steps, *shape) for part, shape, done in self._parts]


@dataclass(frozen=True)
class PartyEntropy:
    """What one party holds. Never printed; every field is key material.

    dealer: shared with the dealer: this party's blocks of masks and dealt values.
    owners[o]: shared with the dealer and input party o: this party's block of o's own masks.
    own[i]: the same seeds seen from the owner: party i's block of *this* party's masks.
    pairs[j]: shared with party j alone, never with the dealer: input shares.
    zeros[j]: shared with party j alone, never with the dealer: zero-shares at reveals.
    """

    dealer: bytes = field(repr=False)
    owners: tuple[bytes, ...] = field(repr=False)
    own: tuple[bytes, ...] = field(repr=False)
    pairs: dict[int, bytes] = field(repr=False)
    zeros: dict[int, bytes] = field(repr=False)
    stream: Stream = field(repr=False, default_factory=Streams)

    def __reduce__(self) -> str:
        raise TypeError("key material is never serialised")


@dataclass(frozen=True)
class DealerEntropy:
    """What the dealer holds: one seed a party, and one a (owner, party) for masks that their owner knows."""

    parties: tuple[bytes, ...] = field(repr=False)
    owners: tuple[tuple[bytes, ...], ...] = field(repr=False)
    stream: Stream = field(repr=False, default_factory=Streams)

    @classmethod
    def fresh(cls, n: int, entropy: Entropy = secrets.token_bytes) -> DealerEntropy:
        """New seeds for n parties."""
        return cls(
            tuple(entropy(SEED_BYTES) for _ in range(n)),
            tuple(tuple(entropy(SEED_BYTES) for _ in range(n)) for _ in range(n)),
        )

    def derived(self, derive: Callable[[bytes], bytes]) -> DealerEntropy:
        """What is drawn from where the seeds that are sent are only what keys are derived from."""
        owners = tuple(tuple(map(derive, row)) for row in self.owners)
        return DealerEntropy(tuple(map(derive, self.parties)), owners, self.stream)

    def seeds_for(self, party: int) -> list[bytes]:
        """The 2n + 1 seeds that the dealer sends to one party, once: dealer, owners[0..n), own[0..n)."""
        return [self.parties[party], *(row[party] for row in self.owners), *self.owners[party]]

    def __reduce__(self) -> str:
        raise TypeError("key material is never serialised")


def party_entropy(seeds: list[bytes], pairs: dict[int, bytes], zeros: dict[int, bytes]) -> PartyEntropy:
    """A party's view from the dealer's list (`DealerEntropy.seeds_for`) and the seeds agreed with each peer."""
    n = (len(seeds) - 1) // 2
    if len(seeds) != 2 * n + 1 or any(len(s) != SEED_BYTES for s in (*seeds, *pairs.values(), *zeros.values())):
        raise ValueError("seeds of the wrong number or length")
    return PartyEntropy(seeds[0], tuple(seeds[1 : n + 1]), tuple(seeds[n + 1 :]), pairs, zeros)


def fresh_entropy(n: int, entropy: Entropy = secrets.token_bytes) -> tuple[DealerEntropy, list[PartyEntropy]]:
    """Seeds for a whole run in one process: the dealer's and each party's."""
    dealer = DealerEntropy.fresh(n, entropy)
    pair: dict[tuple[int, int, str], bytes] = {
        (i, j, use): entropy(SEED_BYTES) for i in range(n) for j in range(i + 1, n) for use in ("input", "zero")
    }
    parties = [
        party_entropy(
            dealer.seeds_for(i),
            {j: pair[min(i, j), max(i, j), "input"] for j in range(n) if j != i},
            {j: pair[min(i, j), max(i, j), "zero"] for j in range(n) if j != i},
        )
        for i in range(n)
    ]
    return dealer, parties
