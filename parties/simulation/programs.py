"""Small programs with everything that matters in them, traced and lowered once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import mpc
from mpc.programs import Program
from mpc.table import owned
from parties.machinery import Machinery, real
from parties.simulation.faults import call

__all__ = ["PROGRAMS", "Case", "Library"]


@mpc.program
def total(x: mpc.PerParty[mpc.Private]) -> Any:
    """A secure sum: everybody's shares, one reveal to all and one to the first party."""
    shares = [mpc.share(v, range=(-8, 8)) for v in x]
    return {"sum": mpc.reveal(sum(shares)), "first": mpc.reveal(shares[0] + shares[1], to=x[0].owner)}


@mpc.program
def product(x: mpc.PerParty[mpc.Private]) -> Any:
    """Two multiplications, a truncation, something revealed on the way."""
    a, b = mpc.share(x[0], range=(-8, 8)), mpc.share(x[1], range=(-8, 8))
    half = mpc.reveal((a + b).sum(), bits=8)
    return {"half": half, "dot": mpc.reveal(mpc.rescale(a * b, 16) @ (a - b))}


@mpc.program
def loop(x: mpc.PerParty[mpc.Private]) -> Any:
    """Four steps of something that multiplies, and of what was revealed before it, afterwards."""
    a, b = mpc.share(x[0], range=(-2, 2)), mpc.share(x[1], range=(-2, 2))
    m = mpc.reveal(a.sum(), bits=8)
    w = mpc.repeat(4, lambda i, s: mpc.rescale(mpc.assume_range(s * a * 0.5 + b, -8, 8), 16), b)
    return {"m": m, "w": mpc.reveal(w + m)}


PROGRAMS: dict[str, tuple[Any, int]] = {
    "sum": (total, 0),
    "product": (product, 0),
    "loop": (loop, 1),
    "loop2": (loop, 2),
    "stocked": (product, 0),  # with material that is dealt beforehand
}
UNITS = 2.0**-10  # what some truncations at 16 fraction bits may add up to here


class _Lowered:
    """A lowered program that is checked and priced once."""

    def __init__(self, lowered: Any) -> None:
        self.real = lowered
        lowered.check()
        self._plan = lowered.cost()
        self.digest = lowered.digest
        self.reveals = self._plan.reveals
        self.name = lowered.program.name

    def check(self) -> None:
        """Done."""

    def cost(self) -> Any:
        """The plan."""
        return self._plan


class _Program:
    """A program that is parsed, checked and lowered once."""

    def __init__(self, program: Program) -> None:
        self.real = program
        self._lowered: dict[str, _Lowered] = {}
        self._continued: dict[tuple[int, int], _Program] = {}
        self.text, self.digest, self.name = program.text, program.digest, program.name
        self.inputs, self.outputs, self.parties = program.inputs, program.outputs, program.parties
        self.facts = program.facts
        self.handles, self.keeps = list(program.handles), list(program.keeps)

    def check(self) -> None:
        """Done."""

    def lower(self, suite: Any) -> _Lowered:
        """As `Program.lower`."""
        if suite.name not in self._lowered:
            self._lowered[suite.name] = _Lowered(self.real.lower(suite))
        return self._lowered[suite.name]

    def continued(self, site: int, iteration: int) -> _Program:
        """As `Program.continued`."""
        if (site, iteration) not in self._continued:
            self._continued[site, iteration] = _Program(self.real.continued(site, iteration))
        return self._continued[site, iteration]


@dataclass(frozen=True)
class Case:
    """A program, what each party brings, and what is to come out."""

    program: _Program
    inputs: list[dict[str, Any]]
    expected: Mapping[str, Any]

    def right(self, results: Mapping[str, Any]) -> bool:
        """Whether these are the results, up to units of truncation; some may be missing."""
        return bool(results) and all(
            np.allclose(value, self.expected[name], rtol=0, atol=UNITS) for name, value in results.items()
        )


class Library:
    """Programs and machinery that remember what they have compiled. suites: the rules, by name."""

    def __init__(self, suites: Mapping[str, Any]) -> None:
        self.suites = suites
        self._real = real(suites)
        self._parsed: dict[str, _Program] = {}
        self._cases: dict[tuple[str, int, int], Case] = {}

    def case(self, name: str, parties: int, variant: int = 0) -> Case:
        """One of `PROGRAMS` for so many parties. variant: other inputs of the same shapes."""
        key = (name, parties, variant)
        if key not in self._cases:
            function, every = PROGRAMS[name]
            names = [call(i) for i in range(parties)]
            given = {"x": {p: owned(_values(i, variant)) for i, p in enumerate(names)}}
            program = function.trace(given, names, {})
            expected = program.plain(given)
            program = program.with_checkpoints(every) if every else program
            own = [{"x": _values(i, variant)} for i in range(parties)]
            self._cases[key] = Case(self.parse(program.text), own, expected)
        return self._cases[key]

    def parse(self, text: str) -> _Program:
        """As `Program.parse`, once a text."""
        if text not in self._parsed:
            self._parsed[text] = _Program(Program.parse(text))
        return self._parsed[text]

    def machinery(self) -> Machinery:
        """For actors that share this library."""
        return Machinery(self.suites, self.parse, self._run_party, self._run_dealer)

    def _run_party(self, lowered: Any, me: int, inputs: Any, entropy: Any, kept: Any) -> Any:
        return self._real.run_party(lowered.real, me, inputs, entropy, kept)

    def _run_dealer(self, lowered: Any, entropy: Any) -> Any:
        return self._real.run_dealer(lowered.real, entropy)


def _values(party: int, variant: int) -> Any:
    return np.array([1.0, 0.5, -1.25]) * (1 - 0.75 * variant) + 0.125 * party
