"""For tests: randomness that repeats, and randomness that is enumerated.

Neither can be chosen from a cluster file or the command line; a session that uses the deterministic one says so in what
the parties agree on (`insecure=`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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


@dataclass
class _Tape:
    """Stream blocks as digits of one counter: every combination of random ring elements occurs exactly once."""

    base: int
    places: dict[tuple[bytes, Position], int]
    lanes: int

    def __call__(self, seed: bytes, at: Position, shape: tuple[int, ...]) -> NDArray[np.uint64]:
        place = self.places.setdefault((seed, at), len(self.places))
        digits = np.arange(self.lanes, dtype=np.uint64) // np.uint64(self.base**place) % np.uint64(self.base)
        return digits.reshape(shape)


def views(
    lower: Callable[[int], Lowered],
    inputs: Mapping[str, Mapping[str, int]],
    corrupted: list[str],
    *,
    limit: int = 1 << 24,
) -> NDArray[np.int64]:
    """The exact distribution of what corrupted parties receive and hold, over all randomness.

    lower(lanes): the program for inputs of shape (lanes,), over a small ring; it must act elementwise. inputs: one ring
    integer for each input. Every lane runs the protocol with another choice of all random ring elements, and every
    choice is run once. The dealer is corrupted by the name "dealer".
    Gives the views, one a row (sorted), columns in the order of arrival: two inputs that the corrupted parties may not
    tell apart must give equal arrays. Raises OverflowError if more than `limit` lanes would be needed.
    """
    first = _Tape(2, {}, 1)
    _run(lower(1), inputs, 1, first)
    base = 1 << lower(1).bits
    lanes = base ** len(first.places)
    if lanes > limit:
        raise OverflowError(f"{len(first.places)} random elements of Z_{base}: {lanes} runs are too many to enumerate")
    tape = _Tape(base, {}, lanes)
    run, entropy = _run(lower(lanes), inputs, lanes, tape)
    columns = [np.asarray(a).reshape(lanes, -1) for p in corrupted if p != "dealer" for a in run.views[p]]
    columns += [tape(seed, at, (lanes, 1)) for seed, at in tape.places if _held(seed, corrupted, run, entropy)]
    joined = np.concatenate(columns, axis=1).astype(np.int64)
    return joined[np.lexsort(joined.T[::-1])]


def _run(
    lowered: Lowered, inputs: Mapping[str, Mapping[str, int]], lanes: int, tape: _Tape
) -> tuple[Emulation, tuple[DealerEntropy, list[PartyEntropy]]]:
    dealer, parties = deterministic_entropy(len(lowered.parties))
    entropy = (replace(dealer, stream=tape), [replace(p, stream=tape) for p in parties])
    given: dict[str, dict[str, Any]] = {
        name: {p: np.full(lanes, float(v)) for p, v in by.items()} for name, by in inputs.items()
    }
    return run_in_memory(lowered, given, entropy=entropy), entropy


def _held(seed: bytes, corrupted: list[str], run: Emulation, entropy: tuple[DealerEntropy, list[PartyEntropy]]) -> bool:
    """Whether a corrupted party knows the stream of a seed."""
    dealer, parties = entropy
    names = list(run.results_of)
    known: set[bytes] = set()
    for name in corrupted:
        if name == "dealer":
            known |= {*dealer.parties, *(s for row in dealer.owners for s in row)}
        else:
            p = parties[names.index(name)]
            known |= {p.dealer, *p.owners, *p.own, *p.pairs.values(), *p.zeros.values()}
    return seed in known
