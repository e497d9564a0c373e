"""From a Python function to a program: who brings what, what the settings are, what it returns."""

from __future__ import annotations

import difflib
import inspect
import json
import math
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, update_wrapper
from typing import Any, cast

from mpc.disclosures import Told
from mpc.errors import OverflowRefusal, ProgramError, UsageError
from mpc.handles import Handle, HandleSpec
from mpc.ir import Block, Var, walk
from mpc.numbering import tells, trim
from mpc.programs import RANGES_HOLD, Program, renumber
from mpc.surface import Clear, Defaults, PerParty, Private, Public, Secret, SurfaceTrace, Table
from mpc.table import Schema, owned, schema_of
from mpc.text import compact
from mpc.tracing import Value
from mpc.types import held_params, surface_type

__all__ = ["Parameter", "ProgramFunction", "program"]

_RETRACED = 4  # how often at most a program is traced once more
_LADDER = [(30, 16), (24, 16), (20, 16), (17, 16), (14, 16), (13, 14), (13, 12), (10, 12), (10, 10), (7, 10)]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a program function. kind: `per_party`, `private`, `secret` (a handle) or `setting`."""

    name: str
    kind: str
    annotation: Any
    default: Any
    required: bool
    table: bool = False


class ProgramFunction:
    """A Python function under `@mpc.program`: its parameters say who brings what."""

    def __init__(self, function: Callable[..., Any]) -> None:
        update_wrapper(self, function)
        self.function = function
        self.name = function.__name__
        self.doc = inspect.getdoc(function) or ""
        self.declared: dict[str, tuple[float, float]] = {}

    def declaring(self, ranges: Mapping[str, tuple[float, float]]) -> ProgramFunction:
        """The same program where columns of these names lie in these ranges, which their owners check: a schema.

        What is computed from such a column has its range from there on, and so has what is shared without one.
        """
        bound = ProgramFunction(self.function)
        bound.declared = {str(name): (float(lo), float(hi)) for name, (lo, hi) in ranges.items()}
        return bound

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """What the function takes, by name."""
        try:
            hints = typing.get_type_hints(self.function)
        except (NameError, TypeError):
            hints = dict(self.function.__annotations__)
        found = {}
        for p in inspect.signature(self.function).parameters.values():
            if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
                raise ProgramError(f"program {self.name}: *{p.name} is not possible; name every parameter")
            found[p.name] = _parameter(p, hints.get(p.name, p.empty))
        return found

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Inside another program: the same computation as a part of it."""
        return self.function(*args, **kwargs)

    def trace(
        self,
        inputs: Mapping[str, Mapping[str, Any] | Handle | HandleSpec],
        parties: Sequence[str] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Program:
        """Run the function once on values without values and keep what it does.

        inputs: for each input parameter, the `Schema` (or the data itself, of which only the schema is looked at) of
        each party that brings it; for one annotated `mpc.Secret`, the handle or its `HandleSpec`. parties: all
        computing parties, in the cluster's order; those that bring or hold something unless given. settings: values of
        the plain parameters. An input that declares no range is taken to lie in the widest interval, of a fixed list,
        for which the program fits the ring; `notes` says which.
        Raises UsageError (unknown name, missing input), ProgramError, ShapeError, OverflowRefusal.
        """
        given = self._settings(settings or {})
        taken = {name: v.spec if isinstance(v, Handle) else v for name, v in inputs.items()}
        handles = {name: v for name, v in taken.items() if isinstance(v, HandleSpec)}
        by_name = {name: v for name, v in taken.items() if not isinstance(v, HandleSpec)}
        if parties is None:
            named = [by.parties if isinstance(by, HandleSpec) else by for by in taken.values()]
            parties = list(dict.fromkeys(p for group in named for p in group))
        schemas = {name: {p: _schema(v) for p, v in by.items()} for name, by in by_name.items()}
        self._check_handles(handles, schemas, parties)
        self._check_inputs(schemas, parties)
        self._check_declared(schemas)
        refusals: list[OverflowRefusal] = []
        for late in (True, False):
            for bound, scale in _LADDER:
                trace = SurfaceTrace(parties, Defaults(2.0**bound, scale, late), self.declared)
                try:
                    made = self._record(trace, schemas, handles, given)
                    return self._sharing_cuts(made, trace, (schemas, handles, given))
                except OverflowRefusal as refusal:
                    refusals.append(refusal)
                if not trace.defaulted:
                    break
        raise refusals[-1]

    def _check_handles(
        self, handles: Mapping[str, HandleSpec], inputs: Mapping[str, Any], parties: Sequence[str]
    ) -> None:
        wanted = [n for n, p in self.parameters.items() if p.kind == "secret"]
        for name in handles:
            if name not in self.parameters:
                raise UsageError(
                    f"program {self.name} has no input {name!r} (its handles: {', '.join(wanted) or 'none'})"
                )
            if name not in wanted:
                raise UsageError(f"{name} of {self.name} is no handle: annotate the parameter mpc.Secret")
        for name in wanted:
            if name not in handles:
                what = "a party's data" if name in inputs else "nothing"
                raise UsageError(f"{name} of {self.name} is a handle, which an earlier program has kept, not {what}")
            if list(handles[name].parties) != list(parties):
                raise UsageError(
                    f"the handle {name} is held by {', '.join(handles[name].parties)}, and the program is for "
                    f"{', '.join(parties)}: the same parties in the same order must run it"
                )

    def _check_declared(self, inputs: Mapping[str, Mapping[str, Schema]]) -> None:
        known = sorted({c for by in inputs.values() for s in by.values() for c in s.columns or ()})
        for name, (lo, hi) in self.declared.items():
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise UsageError(f"a range is declared for the column {name!r}, which no input has{hint}")
            if not -math.inf < lo <= hi < math.inf:
                raise UsageError(f"the declared range of column {name!r} needs finite lo ≤ hi, not {lo:g} and {hi:g}")

    def _record(
        self,
        trace: SurfaceTrace,
        inputs: Mapping[str, Mapping[str, Schema]],
        handles: Mapping[str, HandleSpec],
        settings: dict[str, Any],
    ) -> Program:
        with trace.recording():
            arguments = {
                name: _argument(trace, p, inputs[name], trace.parties)
                if p.kind != "secret"
                else _handle(trace, name, handles[name])
                for name, p in self.parameters.items()
                if p.kind != "setting"
            }
            result = self.function(**arguments, **settings)
        if trace.defaulted:
            bound, scale = trace.defaults.bound, trace.defaults.scale
            trace.notes.append(
                f"inputs that declare no range are taken to lie in ±{bound:.0f}, at {scale} fraction bits; "
                "a value outside is refused at its owner"
            )
        return _finish(self.name, trace, result)

    def _sharing_cuts(self, made: Program, trace: SurfaceTrace, given: tuple[Any, Any, Any]) -> Program:
        """The program with one truncation for all uses of a value, where that makes fewer.

        It is traced again with a value cut deeper from its first use on, for one value after the other in the
        program's order: what comes later has other numbers then. Every range is derived anew.
        """
        deep: dict[int, int] = {}
        for _ in range(_RETRACED):
            left = {number: by for number, by in trace.deeper().items() if number not in deep}
            if not left:
                break
            first = min(left)
            deep[first] = left[first]
            again = SurfaceTrace(trace.parties, trace.defaults, self.declared, deep)
            try:
                other = self._record(again, *given)
            except OverflowRefusal:
                other = made
            if other.truncations < made.truncations:
                made, trace = other, again
            else:
                deep[first] = 0
        return made

    def _settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        known = {n: p for n, p in self.parameters.items() if p.kind == "setting"}
        for name in given:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                listed = ", ".join(known) or "none"
                raise UsageError(f"program {self.name} has no setting {name!r}{hint} (its settings: {listed})")
        missing = [n for n, p in known.items() if p.required and n not in given]
        if missing:
            raise UsageError(f"program {self.name} needs the setting {missing[0]!r}: --set {missing[0]}=…")
        return {n: _typed(p, given[n]) for n, p in known.items() if n in given}

    def _check_inputs(self, inputs: Mapping[str, Mapping[str, Schema]], parties: Sequence[str]) -> None:
        known = {n: p for n, p in self.parameters.items() if p.kind not in ("setting", "secret")}
        if len(set(parties)) != len(parties) or len(parties) < 2:
            raise UsageError(
                f"at least 2 parties of different names are needed, not {len(parties)}: {', '.join(parties)}"
            )
        for name, by_party in inputs.items():
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise UsageError(f"program {self.name} has no input {name!r}{hint} (its inputs: {', '.join(known)})")
            for party in by_party:
                if party not in parties:
                    raise UsageError(f"input {name} names {party!r}, who is no party; there are {', '.join(parties)}")
        for name, p in known.items():
            owners = list(inputs.get(name, {}))
            if not owners:
                raise UsageError(f"program {self.name} needs the input {name!r}: --input {name}=PARTY:FILE.csv")
            if p.kind == "private" and len(owners) > 1:
                raise UsageError(f"input {name!r} of {self.name} has one owner, not {len(owners)}: {', '.join(owners)}")


def _schema(value: Any) -> Schema:
    return value if isinstance(value, Schema) else schema_of(owned(value))


def program(function: Callable[..., Any]) -> ProgramFunction:
    """Make a function a program: inputs in, reveals out. See `ProgramFunction.trace`."""
    return ProgramFunction(function)


def _parameter(p: inspect.Parameter, hint: Any) -> Parameter:
    empty = inspect.Parameter.empty
    origin = typing.get_origin(hint) or hint
    if origin is PerParty:
        inner = (*typing.get_args(hint), None)[0]
        return Parameter(p.name, "per_party", hint, None, True, inner is Table)
    if origin in (Private, Table):
        return Parameter(p.name, "private", hint, None, True, origin is Table)
    if origin is Secret:
        return Parameter(p.name, "secret", hint, None, True)
    if hint is empty and p.default is empty:
        return Parameter(p.name, "per_party", hint, None, True)
    default = None if p.default is empty else p.default
    return Parameter(p.name, "setting", hint, default, p.default is empty)


def _typed(p: Parameter, value: Any) -> Any:
    """A setting's value as its annotation wants it; without one, as its default's type."""
    wanted = p.annotation if p.annotation is not inspect.Parameter.empty else type(p.default)
    choices = typing.get_args(wanted) if typing.get_origin(wanted) is typing.Literal else ()
    if choices:
        if value not in choices:
            raise UsageError(f"setting {p.name} is one of {', '.join(map(str, choices))}, not {value!r}")
        return value
    plain = [t for t in (typing.get_args(wanted) or (wanted,)) if t in (int, float, str, bool, list, dict, type(None))]
    if not plain:
        return value
    if value is None and type(None) in plain:
        return None
    if float in plain and isinstance(value, int) and not isinstance(value, bool):
        return float(value) if int not in plain else value
    if any(type(value) is t for t in plain):
        return value
    if str in plain and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    names = " or ".join(t.__name__ for t in plain if t is not type(None))
    raise UsageError(f"setting {p.name} takes {names}, not {value!r}")


def _argument(trace: SurfaceTrace, p: Parameter, given: Mapping[str, Schema], parties: Sequence[str]) -> Any:
    owners = [name for name in parties if name in given]
    values = [_input(trace, p, owner, given[owner]) for owner in owners]
    return PerParty(values) if p.kind == "per_party" else values[0]


def _input(trace: SurfaceTrace, p: Parameter, owner: str, schema: Schema) -> Value:
    columns = list(schema.columns) if schema.columns is not None else None
    if p.table and columns is None:
        raise UsageError(f"input {p.name} of {owner} must be a table with named columns (a CSV file with a header)")
    params = {"name": p.name, "owner": owner, "shape": list(schema.shape), "columns": columns}
    where = "-"
    t = surface_type("input", params, [], where)
    (value,) = trace.record("input", (), (t,), params, "")
    if isinstance(value, Table):
        value.schema = replace(schema, classes=_noted(trace, p.name, owner, schema.classes))
        if not p.table:
            assert columns is not None
            trace.location = "-"  # no line of the program says this, and the caller's must not get into the text
            whole = value[columns]
            whole = whole.reshape(-1) if len(columns) == 1 else whole
            trace.location = ""
            return cast("Value", whole)
    return value


def _noted(trace: SurfaceTrace, name: str, owner: str, ask: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    """Asks an owner for the values of a column, and keeps in mind what it has told."""

    def classes(column: str) -> list[str]:
        found = ask(column)
        trace.told.append(Told(name, owner, column, len(found)))
        return found

    return classes


def _handle(trace: SurfaceTrace, name: str, spec: HandleSpec) -> Value:
    """A secret that an earlier program has kept."""
    params = held_params(name, spec.type, noise=spec.noise, bits=spec.bits)
    t = surface_type("handle", params, [], "-")
    return trace.record("handle", (), (t,), params, "")[0]


def _finish(name: str, trace: SurfaceTrace, result: Any) -> Program:
    keeps = any(e.op == "keep" for e in trace.frames[0].block.equations)
    named = result if isinstance(result, dict) else {} if result is None and keeps else _named(result)
    outputs, facts = {}, {}
    if RANGES_HOLD in named:
        raise ProgramError(f"program {name} returns {RANGES_HOLD!r}, the name of what --verify-ranges adds: rename it")
    for key, value in named.items():
        if isinstance(value, Value):
            if not isinstance(value, Public | Clear):
                what = "mpc.reveal(x) first" if isinstance(value, Secret) else "share and reveal it first"
                raise ProgramError(f"program {name} returns {key!r}, which is {value.type.kind}: {what}")
            outputs[str(key)] = value.var
        else:
            facts[str(key)] = _fact(name, key, value)
    block = trace.frames[0].block
    for key, var in outputs.items():
        for e in block.equations:
            if e.op == "reveal" and e.output is var and not e.params["name"]:
                e.params["name"] = key
    for i, e in enumerate(e for e in walk(block) if e.op == "reveal"):
        e.params["name"] = e.params["name"] or f"reveal_{i}"
    if not keeps and not any(e.op == "reveal" for e in walk(block)):
        raise ProgramError(f"program {name} reveals nothing; return mpc.reveal(x) of what is to be known")
    _drop_unused(block, set(outputs.values()))
    renamed = renumber(block)
    program_ = Program(
        name,
        trace.parties,
        block,
        [str(k) for k in named],
        {k: renamed[v] for k, v in outputs.items()},
        facts,
        trace.notes,
        told=trace.told,
    )
    program_.check()
    return program_


def _named(result: Any) -> dict[str, Any]:
    if isinstance(result, tuple | list):
        return {f"result_{i}": v for i, v in enumerate(result)}
    return {"result": result}


def _fact(name: str, key: Any, value: Any) -> Any:
    try:
        return json.loads(compact(value.tolist() if hasattr(value, "tolist") else value))
    except (TypeError, ValueError):
        raise ProgramError(
            f"program {name} returns {key!r} of type {type(value).__name__}; return revealed values and plain facts"
        ) from None


def _drop_unused(block: Block, needed: set[Var]) -> None:
    kept = []
    needed |= set(block.results)
    for e in reversed(block.equations):
        if e.op in ("reveal", "input", "handle", "keep") or tells(e) or any(v in needed for v in e.outputs):
            if e.body is not None and e.op != "call":
                _drop_unused(e.body, set())
                trim(e)
            needed.update(e.inputs)
            kept.append(e)
    block.equations = kept[::-1]
