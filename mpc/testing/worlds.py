"""For tests: randomness that repeats, and randomness that is enumerated.

Neither can be chosen from a cluster file or the command line; a session that uses the deterministic one says so in what
the parties agree on (`insecure=`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpc.lowering import Lowered
from mpc.memory import Emulation, run_in_memory
from mpc.prg import DealerEntropy, Entropy, PartyEntropy, Position, fresh_entropy

__all__ = ["Deterministic", "deterministic_entropy", "views"]


class Deterministic:
    """An `Entropy` that repeats: SHA-256 of a seed and a counter. Insecure by construction."""

    def __init__(self, seed: int) -> None:
        self.seed, self._count = seed, 0

    def __call__(self, n: int) -> bytes:
        """The next n bytes."""
        out = b""
        while len(out) < n:
            out += hashlib.sha256(f"privity test entropy {self.seed} {self._count}".encode()).digest()
            self._count += 1
        return out[:n]


def deterministic_entropy(parties: int, seed: int = 0) -> tuple[DealerEntropy, list[PartyEntropy]]:
    """The same seeds for dealer and parties every time."""
    source: Entropy = Deterministic(seed)
    return fresh_entropy(parties, source)


_CHUNK = 1 << 17  # runs that are carried out together: their arrays stay in the cache

Seen = Callable[[Emulation], "list[NDArray[Any]]"]


@dataclass
class _Tape:
    """Stream blocks as digits of one counter: every combination of random ring elements occurs exactly once.

    `places` says which digit an element is. Elements of `fixed` streams are no digits: they are drawn once.
    """

    bits: int
    fixed: frozenset[bytes]
    draw: int
    lanes: int = 1
    first: int = 0
    places: dict[tuple[bytes, Position, int], int] = field(default_factory=dict)

    def __call__(self, seed: bytes, at: Position, shape: tuple[int, ...]) -> NDArray[np.uint64]:
        axis = shape.index(self.lanes)
        rest = (*shape[:axis], *shape[axis + 1 :])
        digits = [self.digit(seed, at, j) for j in range(prod(rest))]
        return np.moveaxis(np.stack(digits).reshape(*rest, self.lanes), -1, axis)

    def digit(self, seed: bytes, at: Position, j: int) -> NDArray[np.uint64]:
        """One element of a block in every run."""
        low = np.uint64((1 << self.bits) - 1)
        if seed in self.fixed:
            tag = b"|".join([seed, *(str(k).encode() for k in (at.number, at.iteration, j, self.draw))])
            drawn = np.frombuffer(hashlib.sha256(tag).digest(), dtype="<u8", count=1)
            return np.broadcast_to(drawn & low, self.lanes)
        place = self.places.setdefault((seed, at, j), len(self.places))
        count = np.arange(self.first, self.first + self.lanes, dtype=np.uint64)
        return np.right_shift(count, np.uint64(place * self.bits)) & low


def views(
    lower: Callable[[int], Lowered],
    inputs: Mapping[str, Mapping[str, int]],
    corrupted: list[str],
    *,
    held: int | None = None,
    seen: Seen | None = None,
    kept: Mapping[str, Mapping[str, int]] = MappingProxyType({}),
    limit: int = 1 << 24,
) -> NDArray[np.int64]:
    """The exact distribution of what corrupted parties receive and hold, over all randomness.

    lower(lanes): the program for inputs of shape (lanes,), over a small ring; it must act lane by lane. inputs: one
    ring integer for each input. Every lane runs the protocol with another choice of all random ring elements, and every
    choice is run once. The dealer is corrupted by the name "dealer".
    held: the number of a draw; then the streams that corrupted parties know take the values of this one draw, and only
    the others are enumerated (views are equal if they are equal for every draw). seen: what else of a run is seen.
    kept: {party: {name: share}}, what the program takes up of an earlier run, the same in every lane.
    Gives the views, one a row, in order, their columns packed into words: two inputs that the corrupted parties may not
    tell apart must give equal arrays. Raises OverflowError if more than `limit` runs would be needed.
    """
    one = lower(1)
    known = _known(corrupted, one.parties)
    tape = _Tape(one.bits, known if held is not None else frozenset(), held or 0)
    _run(one, inputs, tape, kept)
    runs = 1 << one.bits * len(tape.places)
    if runs > limit:
        raise OverflowError(f"{len(tape.places)} random elements of Z_{1 << one.bits}: {runs} runs are too many")
    tape.lanes = min(runs, _CHUNK)
    lowered = lower(tape.lanes)
    lowered.sweep = False  # a lane is a world here, and what is received is looked at whole
    parts = []
    for first in range(0, runs, tape.lanes):
        tape.first = first
        run = _run(lowered, inputs, tape, kept)
        received = [a for p in corrupted if p != "dealer" for a in run.views[p]] + (seen(run) if seen else [])
        columns = [c for a in received for c in np.moveaxis(a, a.shape.index(tape.lanes), -1).reshape(-1, tape.lanes)]
        columns += [tape.digit(*place) for place in tape.places if place[0] in known]
        parts.append(_packed(columns, one.bits, tape.lanes))
    words = np.concatenate(parts)
    return np.sort(words, axis=0) if words.shape[1] == 1 else words[np.lexsort(words.T[::-1])]


def _packed(columns: list[NDArray[Any]], bits: int, lanes: int) -> NDArray[np.int64]:
    """Columns of small numbers, as many to a word as it holds."""
    words = []
    for at in range(0, len(columns), 63 // bits):
        word = np.zeros(lanes, dtype=np.int64)
        for column in columns[at : at + 63 // bits]:
            word = (word << bits) | column.astype(np.int64)
        words.append(word)
    return np.stack(words or [np.zeros(lanes, dtype=np.int64)], axis=1)


def _run(
    lowered: Lowered,
    inputs: Mapping[str, Mapping[str, int]],
    tape: _Tape,
    kept: Mapping[str, Mapping[str, int]],
) -> Emulation:
    dealer, parties = deterministic_entropy(len(lowered.parties))
    entropy = (replace(dealer, stream=tape), [replace(p, stream=tape) for p in parties])
    given: dict[str, dict[str, Any]] = {
        name: {p: np.full(tape.lanes, float(v)) for p, v in by.items()} for name, by in inputs.items()
    }
    held = {p: {k: np.full(tape.lanes, v, dtype=np.uint64) for k, v in names.items()} for p, names in kept.items()}
    return run_in_memory(lowered, given, entropy=entropy, kept=held)


def _known(corrupted: list[str], names: list[str]) -> frozenset[bytes]:
    """The seeds that corrupted parties hold."""
    dealer, parties = deterministic_entropy(len(names))
    known: set[bytes] = set()
    for name in corrupted:
        if name == "dealer":
            known |= {*dealer.parties, *(s for row in dealer.owners for s in row)}
        else:
            p = parties[names.index(name)]
            known |= {p.dealer, *p.owners, *p.own, *p.pairs.values(), *p.zeros.values()}
    return frozenset(known)
