"""What needs no processes: read the local files' schemas, trace, lower, price and check, in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpc import Lowered, Plan, Program, ProgramFunction
from mpc.errors import InputError
from mpc.table import Schema
from parties.data import read_csv
from parties.target import blaming

__all__ = ["Compiled", "compile_program", "local_schemas"]


@dataclass(frozen=True)
class Compiled:
    """A program before and after lowering, and its price."""

    program: Program
    lowered: Lowered
    plan: Plan


def local_schemas(inputs: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, Schema]]:
    """The public face of every file. Raises InputError with the owner's name."""
    return {name: {party: _schema(party, path) for party, path in files.items()} for name, files in inputs.items()}


def _schema(party: str, path: str) -> Schema:
    try:
        return read_csv(Path(path)).schema()
    except InputError as refused:
        raise refused.of(party) from None


def compile_program(
    function: ProgramFunction,
    schemas: Mapping[str, Mapping[str, Schema]],
    parties: Sequence[str],
    settings: Mapping[str, Any],
    suite: Any,
    *,
    check: bool = True,
    verify_ranges: bool = False,
) -> Compiled:
    """Trace, lower, price and check. Raises what they raise; a bug in the person's own code is named by its line.

    check: False lets a program that leaks pass, to be shown and never to be run. verify_ranges: `Program.verified`.
    """
    with blaming(function.function.__code__.co_filename):
        program = function.trace(schemas, list(parties), dict(settings))
    if verify_ranges:
        program = program.verified()
    lowered = program.lower(suite)
    if check:
        lowered.check()
    return Compiled(program, lowered, lowered.cost())
