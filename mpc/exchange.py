"""What an engine asks of the world: an exchange with its peers, or a draw from the dealer's corrections.

The engine is a generator that yields these and is sent arrays back; whoever drives it (memory, a ZeroMQ actor, a test)
owns all input and output.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Draw", "Exchange", "Frame", "Save"]

type_words = "<u8"
type_bytes = "|u1"

Array = NDArray[np.uint64] | NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Frame:
    """One array on the wire: its dtype (`<u8` words, or `|u1` packed narrow openings) and shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Payload bytes."""
        count = 8 if self.dtype == type_words else 1
        for n in self.shape:
            count *= n
        return count


@dataclass(frozen=True, slots=True)
class Exchange:
    """One online round: arrays for each peer, and what each peer owes. The driver sends back `{peer: [arrays]}`.

    `number` counts from 1; a peer that is in neither dictionary takes no part in the round. `reveals`: the names of the
    results that this round makes known to somebody.
    """

    number: int
    where: str
    send: dict[int, list[Array]] = field(repr=False)
    expect: dict[int, tuple[Frame, ...]]
    reveals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Draw:
    """The next corrections that the dealer has for this party. The driver sends back `[arrays]`."""

    number: int
    where: str
    expect: tuple[Frame, ...]


@dataclass(frozen=True, slots=True)
class Save:
    """Shares that this party keeps: a checkpoint of a loop, or a handle for a later program. The driver sends back None.

    They are additive shares, re-randomised; None stands for a public value that this party was not shown. name:
    `checkpoint`, or the handle's name. site, iteration: which loop, and before which of its steps.
    """

    name: str
    site: int
    iteration: int
    arrays: dict[str, Array | None] = field(repr=False)
    where: str
