"""How what is opened travels: to whom it goes, in which frame, and as which bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mpc.errors import PeerError
from mpc.exchange import Array, Frame, type_bytes, type_words
from mpc.ir import Equation

__all__ = ["frame_of", "packing", "recipients", "unpacking"]

_WORDS = np.dtype(type_words)
_WHOLE = 56  # above so many bits whole words travel


def recipients(e: Equation, names: list[str]) -> list[int]:
    """The computing parties that a reveal goes to."""
    to = e.params["to"]
    return list(range(len(names))) if to == "everyone" else [i for i, name in enumerate(names) if name in to]


def frame_of(shape: tuple[int, ...], width: int) -> Frame:
    """An opening of `width` bits: whole words above 56 bits, else ⌈width/8⌉ bytes an element."""
    return Frame(type_words, shape) if width > _WHOLE else Frame(type_bytes, (*shape, (width + 7) // 8))


def packing(width: int) -> Callable[[Any], Array]:
    """Makes words into what is sent; a narrow opening into its low bytes only (rule 9)."""

    def whole(words: Any) -> Array:
        return np.asarray(words, _WORDS, "C")

    def narrow(words: Any) -> Array:
        return np.ascontiguousarray(whole(words)[..., None].view(np.uint8)[..., : (width + 7) // 8])

    return whole if width > _WHOLE else narrow


def unpacking(width: int, where: str) -> Callable[[Array], Any]:
    """The inverse of `packing`; a peer's word wider than the opening is refused with PeerError."""

    def checked(words: Any) -> Any:
        if words.size and int(words.max()) >> width:
            raise PeerError(f"a peer sent more than {width} bits for an opening of {width} ({where})")
        return words

    def narrow(octets: Array) -> Any:
        words = np.zeros((*octets.shape[:-1], 8), dtype=np.uint8)
        words[..., : octets.shape[-1]] = octets
        return checked(words.view(type_words)[..., 0])

    if width >= 64:
        return lambda words: words
    return checked if width > _WHOLE else narrow
