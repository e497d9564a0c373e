"""Small programs for the tests of the language: one Python function, run on arrays and on secrets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from hypothesis import settings

import mpc
from mpc.memory import names_of
from protocols import BEAVER, MASKED

SUITES = (MASKED, BEAVER)
some = settings(max_examples=30, deadline=None, derandomize=True)


def trace(function: Any, inputs: Mapping[str, Mapping[str, Any]], parties: int = 2, **given: Any) -> mpc.Program:
    """The program of a function for inputs of these shapes."""
    program = function if isinstance(function, mpc.ProgramFunction) else mpc.program(function)
    schemas = {name: {p: mpc.Schema(np.shape(v)) for p, v in by.items()} for name, by in inputs.items()}
    return program.trace(schemas, names_of(parties), given)


def shared(function: Callable[..., Any], *shapes: tuple[int, ...], lo: float = -8, hi: float = 8) -> mpc.Program:
    """function of secrets of these shapes (alice's, bob's, alice's, …), revealed."""

    @mpc.program
    def program(x: mpc.PerParty[mpc.Private], y: mpc.PerParty[mpc.Private], z: mpc.PerParty[mpc.Private]) -> Any:
        values = [mpc.share(v, range=(lo, hi)) for v in (x[0], y[0], z[0])]
        return mpc.reveal(function(*values[: len(shapes)]))

    full = [*shapes, *[()] * (3 - len(shapes))]
    owners = ("alice", "bob", "alice")
    inputs = {n: {o: mpc.Schema(s)} for n, o, s in zip("xyz", owners, full, strict=True)}
    return program.trace(inputs, ["alice", "bob"], {})


def given(*arrays: Any) -> dict[str, dict[str, Any]]:
    """The inputs of a `shared` program."""
    full = [*arrays, *[0.0] * (3 - len(arrays))]
    owners = ("alice", "bob", "alice")
    return {n: {o: np.asarray(a, dtype=float)} for n, o, a in zip("xyz", owners, full, strict=True)}


def agrees(function: Callable[..., Any], *arrays: Any, within: float = 0.0) -> None:
    """A function of numpy arrays means the same on secrets: in the clear, and run by either suite."""
    expected = np.asarray(function(*[np.asarray(a, dtype=float) for a in arrays]))
    program = shared(function, *[np.shape(a) for a in arrays])
    assert mpc.Program.parse(program.text).text == program.text
    found = [mpc.simulate(program, given(*arrays))]
    found += [mpc.emulate(program, given(*arrays), suite=suite).results for suite in SUITES]
    for results in found:
        value = np.asarray(results["result"])
        assert value.shape == expected.shape
        np.testing.assert_allclose(value, expected, rtol=0, atol=within)
