"""One call for a whole computation in this process: its meaning (`simulate`), or the real protocol (`emulate`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any

import numpy as np

from mpc.errors import UsageError
from mpc.lowering import Suite
from mpc.memory import Emulation, names_of, run_in_memory
from mpc.prg import DealerEntropy, PartyEntropy
from mpc.programs import Program, ProgramFunction
from mpc.table import Schema, Table

__all__ = ["default_suite", "emulate", "owned", "simulate"]

Inputs = Mapping[str, Any]


def owned(data: Any, source: str = "table") -> Any:
    """An owner's data as a Table (a mapping of columns, or anything with `.columns`) or a float64 array."""
    if isinstance(data, Table):
        return data
    if isinstance(data, Mapping):
        return Table({str(k): _column(v) for k, v in data.items()}, source)
    if hasattr(data, "columns") and hasattr(data, "to_numpy"):
        return Table({str(c): _column(data[c]) for c in data.columns}, source)
    try:
        return np.asarray(data, dtype=np.float64)
    except (TypeError, ValueError):
        raise UsageError("an input is a number, a numeric array, a mapping of columns, or a data frame") from None


def _column(values: Any) -> Any:
    array = np.asarray(values)
    return array.astype(np.float64) if array.dtype.kind in "biuf" else [str(v) for v in array.tolist()]


def schema_of(data: Any) -> Schema:
    """The public face of an owner's data."""
    return data.schema() if isinstance(data, Table) else Schema(tuple(np.shape(data)))


def _prepare(
    program: ProgramFunction | Program, inputs: Inputs, parties: int | Sequence[str], settings: Mapping[str, Any]
) -> tuple[Program, dict[str, dict[str, Any]]]:
    names = names_of(parties)
    given: dict[str, dict[str, Any]] = {}
    for name, value in inputs.items():
        by = dict(zip(names, value, strict=False)) if isinstance(value, list | tuple) else value
        if not isinstance(by, Mapping):
            raise UsageError(f"input {name} says who brings it: {{'alice': data, …}}, or one value a party in a list")
        if len(value) > len(names):
            raise UsageError(f"input {name}: {len(value)} values for {len(names)} parties")
        given[name] = {p: owned(v, f"{name} of {p}") for p, v in by.items()}
    if isinstance(program, Program):
        return program, given
    schemas = {name: {p: schema_of(v) for p, v in by.items()} for name, by in given.items()}
    return program.trace(schemas, names, settings), given


def default_suite(name: str = "masked") -> Suite:
    """A suite by name, from the installed packages that announce one (entry points `privity.suites`)."""
    found = {point.name: point for point in entry_points(group="privity.suites")}
    if name not in found:
        listed = ", ".join(sorted(found)) or "none is installed"
        raise UsageError(f"there is no suite {name!r} ({listed}); pass suite=protocols.MASKED")
    suite = found[name].load()
    assert isinstance(suite, Suite)
    return suite


def simulate(
    program: ProgramFunction | Program, inputs: Inputs, parties: int | Sequence[str] = 3, **settings: Any
) -> dict[str, Any]:
    """The meaning of a program in the clear, with its fixed-point arithmetic: plaintext simulation, no protocol.

    inputs: {name: {party: data}} or {name: [data of the first party, …]}; data is a number, an array, a mapping of
    columns or a data frame. settings: of the program. Gives the results by name.
    """
    traced, given = _prepare(program, inputs, parties, settings)
    return traced.plain(given)


def emulate(
    program: ProgramFunction | Program,
    inputs: Inputs,
    parties: int | Sequence[str] = 3,
    *,
    suite: Suite | str = "masked",
    entropy: tuple[DealerEntropy, list[PartyEntropy]] | None = None,
    pick: Callable[[int], int] | None = None,
    **settings: Any,
) -> Emulation:
    """The real protocol with all parties and the dealer in this process.

    As `simulate`; also suite (an object or an installed name), entropy and pick (`mpc.memory.run_in_memory`). The mask
    check runs first. Gives results, rounds and bytes.
    """
    traced, given = _prepare(program, inputs, parties, settings)
    lowered = traced.lower(suite if isinstance(suite, Suite) else default_suite(suite))
    lowered.check()
    return run_in_memory(lowered, given, entropy=entropy, pick=pick)
