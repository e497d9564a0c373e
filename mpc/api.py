"""One call for a whole computation in this process: its meaning (`simulate`), or the real protocol (`emulate`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mpc.define import ProgramFunction
from mpc.errors import UsageError
from mpc.handles import Handle, Results
from mpc.lowering import Suite
from mpc.memory import Emulation, names_of, run_in_memory
from mpc.prg import DealerEntropy, PartyEntropy
from mpc.programs import Program
from mpc.table import owned

__all__ = ["emulate", "simulate"]

Inputs = Mapping[str, Any]


def _prepare(
    program: ProgramFunction | Program, inputs: Inputs, parties: int | Sequence[str], settings: Mapping[str, Any]
) -> tuple[Program, dict[str, dict[str, Any]], dict[str, Handle]]:
    names = names_of(parties)
    given: dict[str, dict[str, Any]] = {}
    handles = {name: value for name, value in inputs.items() if isinstance(value, Handle)}
    for name, value in inputs.items():
        if name in handles:
            continue
        by = dict(zip(names, value, strict=False)) if isinstance(value, list | tuple) else value
        if not isinstance(by, Mapping):
            raise UsageError(f"input {name} says who brings it: {{'alice': data, …}}, or one value a party in a list")
        if len(value) > len(names):
            raise UsageError(f"input {name}: {len(value)} values for {len(names)} parties")
        given[name] = {p: owned(v, f"{name} of {p}") for p, v in by.items()}
    if isinstance(program, Program):
        for wanted in program.handles:
            if wanted.name not in handles or not handles[wanted.name].spec.fits(wanted):
                raise UsageError(f"the program was made for another handle as {wanted.name}, or there is none")
        return program, given, handles
    return program.trace({**given, **handles}, names, settings), given, handles


def simulate(
    program: ProgramFunction | Program, inputs: Inputs, parties: int | Sequence[str] = 3, **settings: Any
) -> Results:
    """The meaning of a program in the clear, with its fixed-point arithmetic: plaintext simulation, no protocol.

    inputs: {name: {party: data}} or {name: [data of the first party, …]}; data is a number, an array, a mapping of
    columns or a data frame. A parameter annotated `mpc.Secret` takes what an earlier call has kept:

        trained = mpc.simulate(train, {"data": …})
        mpc.simulate(predict, {"rows": …, "model": trained.handles["model"]})

    settings: of the program. Gives the results by name, and `handles`.
    """
    traced, given, handles = _prepare(program, inputs, parties, settings)
    return traced.plain(given, {name: handle.whole() for name, handle in handles.items()})


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
    check runs first. verify_ranges: check every `assume_range` (`Program.verified`). Gives results, rounds and bytes,
    and in `handles` what was kept, of which each party holds a share.
    """
    traced, given, handles = _prepare(program, inputs, parties, settings)
    traced = traced.verified() if verify_ranges else traced
    lowered = traced.lower(suite)
    lowered.check()
    held = {p: {name: handle.shares[p] for name, handle in handles.items()} for p in traced.parties}
    return run_in_memory(lowered, given, entropy=entropy, pick=pick, kept=held)
