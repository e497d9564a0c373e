"""What an engine asks of the world: an exchange with its peers, a draw from the dealer's corrections, a safe place.

The engine is a generator that yields these and is sent arrays back; whoever drives it (memory, a ZeroMQ actor, a test)
owns all input and output.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CHECKPOINT", "Array", "Draw", "Exchange", "Frame", "Owed", "Save", "Words", "whole"]

type_words = "<u8"
type_bytes = "|u1"
CHECKPOINT = "checkpoint"  # the name of a Save that a loop makes

Array = NDArray[np.uint64] | NDArray[np.uint8]
Words = Sequence[int]  # of frames that are a single word each, their integers
Owed = Mapping[int, Sequence[Array] | Words]


@dataclass(frozen=True, slots=True)
class Frame:
    """One array on the wire: its dtype (`<u8` words, or `|u1` packed narrow openings) and shape."""

    dtype: str
    shape: tuple[int, ...]
    nbytes: int = field(init=False, repr=False, compare=False)  # payload bytes
    kind: np.dtype[Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "nbytes", (8 if self.dtype == type_words else 1) * prod(self.shape))
        object.__setattr__(self, "kind", np.dtype(self.dtype))


@dataclass(slots=True)  # not frozen: one is made for each message, and that takes much longer
class Exchange:
    """One online round: arrays for each peer, and what each peer owes. The driver sends back `{peer: [arrays]}`.

    `number` counts from 1; a peer that is in neither dictionary takes no part in the round. `reveals`: the names of the
    results that this round makes known to somebody. sharing: whether all of it is input sharing. single: whether every
    frame is one word: then `send` has integers instead of arrays, and the answer may have them too.
    """

    number: int
    where: str
    send: dict[int, list[Any]] = field(repr=False)
    expect: dict[int, tuple[Frame, ...]]
    reveals: tuple[str, ...] = ()
    sharing: bool = False
    single: bool = False

    @property
    def arrays(self) -> dict[int, list[Array]]:
        """What is sent, as arrays in any case."""
        if not self.single:
            return self.send
        return {peer: [np.array(word, type_words) for word in words] for peer, words in self.send.items()}


@dataclass(slots=True)  # not frozen: one is made for each message, and that takes much longer
class Draw:
    """The next corrections that the dealer has for this party. The driver sends back `[arrays]`."""

    number: int
    where: str
    expect: tuple[Frame, ...]


@dataclass(frozen=True, slots=True)
class Save:
    """Arrays to put away safely, sealed: this party's additive shares, re-randomised, and numbers it was shown.

    A checkpoint has the name `CHECKPOINT`, the number of its loop (`site`: top-level loops of the program, from 0; a
    continued program goes on with the numbers of the first) and the step before which the state was (`iteration`).
    The first Save that a run makes at a site holds everything; later ones only what changes (`carry.0`, `carry.1`, …),
    so a checkpoint is the whole of that run's Saves at the site up to it: `whole`. What `mpc.keep` keeps has the name
    that the program gave, site −1, iteration 0 and one array, under that name; it counts once the run has ended well.
    Values are ring integers; None stands for a number that others were shown. The driver sends back None when they are
    safe. Never a masked pair: Δ and λ of one wire, or one λ of two runs, would open it.
    """

    name: str
    site: int
    iteration: int
    arrays: dict[str, Array | None] = field(repr=False)
    where: str


def whole(saves: Iterable[Save], site: int, iteration: int) -> dict[str, Array | None]:
    """One party's checkpoint, for `run_party(kept=…)`: the arrays of one run's Saves at a site, later over earlier.

    saves: in the order in which one run made them. Empty if there is no Save at this site and iteration.
    """
    found: dict[str, Array | None] = {}
    for save in saves:
        if save.name == CHECKPOINT and save.site == site and save.iteration <= iteration:
            found |= save.arrays
            if save.iteration == iteration:
                return found
    return {}
