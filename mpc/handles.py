"""Secrets that outlive a run: kept by one program, taken by a later one, known to nobody in between.

A handle is an additive share at every party, over the ring of the program that kept it. Kept shares are re-randomised
by keys between the parties, and masked afresh in every program that takes them (docs/rules.md, 14).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpc.errors import ProgramError, UsageError
from mpc.ir import Kind, Type
from mpc.params import check_params
from mpc.ring import Ring

__all__ = ["Handle", "HandleSpec", "Results", "is_handle_name"]

Words = NDArray[np.uint64]


def is_handle_name(name: object) -> bool:
    """Whether a secret may be kept under this name: letters, digits, `_`, `-` and `.`, at most 64 of them."""
    return isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name, re.ASCII) is not None


@dataclass(frozen=True)
class HandleSpec:
    """The public face of a kept secret: who holds it, and what its integers mean (as `mpc.ir.Type`).

    name: that of `mpc.keep`, or of the parameter that takes it. lo, hi: None where the range has no end. bits: of the
    ring that its shares add up in.
    """

    name: str
    parties: tuple[str, ...]
    shape: tuple[int, ...]
    scale: int
    unit: str
    lo: float | None
    hi: float | None
    noise: float
    bits: int = 64

    @classmethod
    def of(cls, name: str, t: Type, parties: list[str], bits: int = 64) -> HandleSpec:
        """Of a secret of this type."""
        lo, hi = (x if math.isfinite(x) else None for x in (t.lo, t.hi))
        return cls(name, tuple(parties), t.shape, t.scale, str(t.unit), lo, hi, t.noise, bits)

    @property
    def type(self) -> Type:
        """The type of the secret."""
        lo, hi = -math.inf if self.lo is None else self.lo, math.inf if self.hi is None else self.hi
        return Type(Kind.SECRET, self.shape, self.scale, Fraction(self.unit), lo, hi, self.noise)

    def fields(self) -> dict[str, Any]:
        """All of it in plain numbers, texts and lists, for a file."""
        plain = asdict(self)
        return {**plain, "parties": list(self.parties), "shape": list(self.shape)}

    @classmethod
    def parse(cls, fields: Mapping[str, Any]) -> HandleSpec:
        """The inverse of `fields`. Raises UsageError for anything else."""
        try:
            check_params("handle", {k: v for k, v in fields.items() if k != "parties"}, "")
            parties, shape = tuple(map(str, fields["parties"])), tuple(fields["shape"])
            spec = cls(**{**fields, "parties": parties, "shape": shape})
            same = spec == cls.of(spec.name, spec.type, list(parties), spec.bits) and is_handle_name(spec.name)
        except (TypeError, ValueError, KeyError, ArithmeticError, ProgramError):
            raise UsageError("this does not describe a kept secret") from None
        if not same:
            raise UsageError("this does not describe a kept secret")
        return spec

    def fits(self, wanted: HandleSpec) -> bool:
        """Whether a program that was made for `wanted` may take it: all is equal but the name."""
        return replace(self, name="") == replace(wanted, name="")


@dataclass(frozen=True)
class Handle:
    """A kept secret with the shares of all parties: in one process only, for `mpc.emulate` and `mpc.simulate`."""

    spec: HandleSpec
    shares: Mapping[str, Words] = field(repr=False)

    def whole(self) -> Words:
        """The ring integers of the secret."""
        ring = Ring(self.spec.bits)
        total = np.zeros(self.spec.shape, dtype=np.uint64)
        for share in self.shares.values():
            total = ring.add(total, share)
        return total

    @classmethod
    def known(cls, spec: HandleSpec, value: Words) -> Handle:
        """Of a known number: the first party holds it, the others hold zeros. For plaintext simulation."""
        nothing = {p: np.zeros(spec.shape, dtype=np.uint64) for p in spec.parties[1:]}
        return cls(spec, {spec.parties[0]: value, **nothing})

    def __reduce__(self) -> str:
        raise TypeError("a handle holds the shares of a secret and is never serialised; parties keep theirs sealed")


class Results(dict[str, Any]):
    """The results of a program by name, and beside them what it kept."""

    def __init__(self, results: Mapping[str, Any], handles: Mapping[str, Handle]) -> None:
        super().__init__(results)
        self.handles = dict(handles)
