"""One call for a whole computation in this process: its meaning (`simulate`), or the real protocol (`emulate`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mpc.define import ProgramFunction
from mpc.errors import UsageError
from mpc.lowering import Suite
from mpc.memory import Emulation, names_of, run_in_memory
from mpc.prg import DealerEntropy, PartyEntropy
from mpc.programs import Program
from mpc.table import owned

__all__ = ["emulate", "simulate"]

Inputs = Mapping[str, Any]


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
    return program.trace(given, names, settings), given


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
    verify_ranges: bool = False,
    **settings: Any,
) -> Emulation:
    """The real protocol with all parties and the dealer in this process.

    As `simulate`; also suite (an object or an installed name), entropy and pick (`mpc.memory.run_in_memory`). The mask
    check runs first. verify_ranges: check every `assume_range` (`Program.verified`). Gives results, rounds and bytes.
    """
    traced, given = _prepare(program, inputs, parties, settings)
    traced = traced.verified() if verify_ranges else traced
    lowered = traced.lower(suite)
    lowered.check()
    return run_in_memory(lowered, given, entropy=entropy, pick=pick)
