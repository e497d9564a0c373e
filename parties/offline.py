"""What needs no processes: read the local files' schemas, trace, lower, price and check, in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from mpc import Lowered, Plan, Program, ProgramFunction
from mpc.errors import InputError, UsageError
from mpc.handles import HandleSpec
from mpc.table import Schema
from parties.data import read_csv
from parties.declared import Declared
from parties.home import LOCAL, Home, actor_directory, state_root
from parties.records import spec_of
from parties.target import blaming

__all__ = ["Compiled", "compile_program", "holders_of", "local_schemas", "local_secrets"]

_T = TypeVar("_T")


@dataclass(frozen=True)
class Compiled:
    """A program before and after lowering, and its price."""

    program: Program
    lowered: Lowered
    plan: Plan


def local_schemas(inputs: Mapping[str, Mapping[str, str]], declared: Declared) -> dict[str, dict[str, Schema]]:
    """The public face of every file. Raises InputError with the owner's name."""
    return {
        name: {party: _schema(party, name, path, declared) for party, path in files.items()}
        for name, files in inputs.items()
    }


def local_secrets(kept: Mapping[str, str], parties: Sequence[str], state: Path | None) -> dict[str, HandleSpec]:
    """What local parties keep under these names, for the parameters that take them. Raises UsageError."""
    specs: dict[str, HandleSpec] = {}
    for parameter, name in kept.items():
        for party in parties:
            with Home.open(actor_directory(party, state), party, create=False) as home:
                found = spec_of(home.handles.get(name))
            if specs.setdefault(parameter, found) != found:
                raise UsageError(f"the parties keep different secrets under the name {name!r}: drop it, keep it anew")
    return specs


def holders_of(kept: Mapping[str, str], state: Path | None) -> list[str]:
    """Who holds the secrets kept under these names by local runs, in their order; nobody if there are none."""
    for name in kept.values():
        for ledger in sorted(((state or state_root()) / LOCAL).glob("*/ledger.sqlite")):
            with Home.open(ledger.parent, ledger.parent.name, create=False) as home:
                for handle in home.handles.all():
                    if handle.name == name:
                        return list(handle.parties)
    return []


def _schema(party: str, name: str, path: str, declared: Declared) -> Schema:
    def named(do: Callable[[], _T]) -> _T:
        try:
            return do()
        except InputError as refused:
            raise refused.of(party) from None

    table = named(lambda: read_csv(Path(path)))
    schema = declared.shown(name, table)
    return replace(schema, classes=lambda column: named(lambda: schema.classes(column)))


def compile_program(
    function: ProgramFunction,
    schemas: Mapping[str, Any],
    parties: Sequence[str],
    settings: Mapping[str, Any],
    suite: Any,
    *,
    check: bool = True,
    verify_ranges: bool = False,
    checkpoint_every: int = 0,
) -> Compiled:
    """Trace, lower, price and check. Raises what they raise; a bug in the person's own code is named by its line.

    schemas: those of inputs by party, and the specs of kept secrets. check: False lets a program that leaks pass, to be
    shown and never to be run. verify_ranges: `Program.verified`. checkpoint_every: `Program.with_checkpoints`.
    """
    with blaming(function.function.__code__.co_filename):
        program = function.trace(schemas, list(parties), dict(settings))
    if verify_ranges:
        program = program.verified()
    if checkpoint_every:
        program = program.with_checkpoints(checkpoint_every)
    lowered = program.lower(suite)
    if check:
        lowered.check()
    return Compiled(program, lowered, lowered.cost())
