"""Programs: a function becomes data, the data becomes text, the text comes back the same."""

from __future__ import annotations

import difflib
import inspect
import json
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, update_wrapper
from typing import Any, cast

from mpc.errors import LeakError, MpcError, OverflowRefusal, ProgramError, UsageError
from mpc.ir import Block, Equation, Kind, Type, Var, walk
from mpc.params import check_params
from mpc.surface import Clear, Defaults, PerParty, Private, Public, Secret, SurfaceTrace, Table
from mpc.table import Schema, owned, schema_of
from mpc.text import compact, digest, parse_block, print_block, read_json
from mpc.tracing import Value
from mpc.types import lowered_type, surface_type

__all__ = ["FORMAT", "InputSpec", "Output", "Parameter", "Program", "ProgramFunction", "program"]

FORMAT = 1
_LADDER = [(30, 16), (24, 16), (20, 16), (17, 16), (14, 16), (13, 14), (13, 12), (10, 12), (10, 10), (7, 10)]


@dataclass(frozen=True)
class InputSpec:
    """One party's input: `columns` of a table, or None for an array of `shape`."""

    name: str
    owner: str
    shape: tuple[int, ...]
    columns: tuple[str, ...] | None


@dataclass(frozen=True)
class Output:
    """One named result: who may know it, and its shape."""

    name: str
    to: str | list[str]
    shape: tuple[int, ...]
    var: Var


@dataclass(frozen=True)
class Parameter:
    """One parameter of a program function. kind: `per_party`, `private` or `setting`."""

    name: str
    kind: str
    annotation: Any
    default: Any
    required: bool
    table: bool = False


@dataclass
class Program:
    """A traced program. Everything about it that parties must agree on is in `text`."""

    name: str
    parties: list[str]
    block: Block
    order: list[str]
    outputs_by_name: dict[str, Var]
    facts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"<Program {self.name} for {', '.join(self.parties)}: {self.digest[:12]}>"

    @cached_property
    def text(self) -> str:
        """The canonical text: what is shown, sent, parsed back and hashed."""
        head = {
            "facts": self.facts,
            "name": self.name,
            "notes": self.notes,
            "order": self.order,
            "outputs": {name: var.number for name, var in self.outputs_by_name.items()},
            "parties": self.parties,
        }
        lines = [f"privity program {FORMAT}", *(f"{key} {compact(value)}" for key, value in head.items()), ""]
        return "\n".join([*lines, *print_block(self.block)]) + "\n"

    @cached_property
    def digest(self) -> str:
        """sha256 of the text, in hex."""
        return digest(self.text)

    @property
    def inputs(self) -> list[InputSpec]:
        """What the parties must bring."""
        return [
            InputSpec(
                e.params["name"],
                e.params["owner"],
                tuple(e.params["shape"]),
                tuple(e.params["columns"]) if e.params["columns"] is not None else None,
            )
            for e in self.block.equations
            if e.op == "input"
        ]

    @cached_property
    def outputs(self) -> list[Output]:
        """The results that are revealed, in the program's order."""
        known: dict[Var, list[str]] = {}
        everyone = [*self.parties, "coordinator"]
        for e in self.block.equations:
            if e.op == "reveal":
                known[e.output] = everyone if e.params["to"] == "everyone" else e.params["to"]
            else:
                groups = [known[v] for v in e.inputs if v in known]
                for var in e.outputs:
                    known[var] = [p for p in everyone if all(p in g for g in groups)]
        return [
            Output(n, "everyone" if known[v] == everyone else known[v], v.type.shape, v)
            for n, v in self.outputs_by_name.items()
        ]

    @classmethod
    def parse(cls, text: str) -> Program:
        """The program that a text says. Every type is derived again; a text that claims others is refused."""
        head, lines = read_header(text, f"privity program {FORMAT}")
        block = parse_block(lines)
        by_number = {v.number: v for e in block.equations for v in e.outputs}
        try:
            outputs = {str(name): by_number[number] for name, number in head["outputs"].items()}
            program = cls(head["name"], head["parties"], block, head["order"], outputs, head["facts"], head["notes"])
        except (KeyError, TypeError, AttributeError) as error:
            raise ProgramError(f"the program text's head is not right: {error}") from None
        _check_head(program)
        try:
            canonical = program.text == text
        except (TypeError, ValueError):
            canonical = False
        if not canonical:
            raise ProgramError("the program text is not in canonical form")
        program.check()
        return program

    def check(self) -> None:
        """Derive every type again. Raises ProgramError (or one of its kinds) with the source line."""
        _check_block(self.block, surface_type)
        names = set(self.parties)
        if len(names) != len(self.parties) or len(names) < 2:
            raise UsageError(f"a program needs at least 2 parties of different names, not {len(self.parties)}")
        for spec in self.inputs:
            if spec.owner not in names:
                raise ProgramError(f"input {spec.name} belongs to {spec.owner}, who is no party")
        _check_names(self.block, [*self.parties, "coordinator"])
        for name, var in self.outputs_by_name.items():
            if var.type.kind not in (Kind.PUBLIC, Kind.CLEAR):
                raise ProgramError(f"result {name!r} is {var.type.kind}: reveal it first, mpc.reveal(x)")

    def lower(self, suite: Any = "masked", bits: int = 64) -> Any:
        """The same program in ring integers, by a suite's rules (a `Suite` or an installed name): `mpc.Lowered`."""
        from mpc.lowering import find_suite, lower

        return lower(self, find_suite(suite), bits)

    def plan(self, suite: Any = "masked") -> Any:
        """Its exact price under a suite, before anything runs: `mpc.Plan`."""
        return self.lower(suite).cost()

    cost = plan

    def plain(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Its meaning in the clear, with the same fixed-point arithmetic: the oracle of every test."""
        from mpc.plain import evaluate

        return evaluate(self, inputs)


def _check_head(program: Program) -> None:
    """The fields before the equations are of the kinds that a traced program's are."""
    lists: tuple[Any, ...] = (program.parties, program.order, program.notes)
    name, facts = cast("Any", program.name), cast("Any", program.facts)
    texts = all(isinstance(names, list) and all(isinstance(v, str) for v in names) for names in lists)
    if not (isinstance(name, str) and isinstance(facts, dict) and texts):
        raise ProgramError("the program text's head is not right")
    if sorted(program.order) != sorted([*program.outputs_by_name, *program.facts]):
        raise ProgramError("the program text's head names other results than it has")


def _check_names(block: Block, known: list[str]) -> None:
    """Recipients are parties, one of them computing; columns are those of their table."""
    columns: dict[Var, list[str] | None] = {}
    for e in walk(block):
        if e.op == "input":
            columns[e.output] = e.params["columns"]
        elif e.op in ("columns", "labels"):
            missing = [n for n in e.params["names"] if n not in (columns.get(e.inputs[0]) or ())]
            if missing or not e.params["names"]:
                raise ProgramError(f"{e.op}: the table has no column {', '.join(missing)}", e.where)
        elif e.op == "reveal" and e.params["to"] != "everyone":
            to = e.params["to"]
            if isinstance(to, str) or not set(to) <= set(known) or set(to) <= {"coordinator"}:
                raise ProgramError("reveal: its recipients are not parties of this program", e.where)


def read_header(text: str, first: str) -> tuple[dict[str, Any], list[str]]:
    """The JSON lines before the first empty line, and the lines after it."""
    head, _, rest = text.partition("\n\n")
    lines = head.split("\n")
    if lines[0] != first:
        raise ProgramError(f"this is no text of '{first}': it begins {lines[0][:40]!r}; the versions differ")
    try:
        fields = {key: read_json(value) for key, _, value in (line.partition(" ") for line in lines[1:])}
    except ValueError:
        raise ProgramError("the program text's head cannot be read") from None
    return fields, rest.removesuffix("\n").split("\n") if rest.strip() else []


Typing = Callable[[str, dict[str, Any], list[Type], str], Type]


def _check_block(block: Block, typing_: Typing) -> None:
    for e in block.equations:
        types = [v.type for v in e.inputs]
        check_params(e.op, e.params, e.where)
        if e.op == "repeat":
            _check_repeat(e, typing_)
        elif e.op == "call":
            _check_call(e)
        elif e.op in ("masked", "masked_low") and typing_ is lowered_type:
            kinds = [(v.type.kind, v.type.shape) for v in (*e.inputs, *e.outputs)]
            shape = e.inputs[0].type.shape
            if kinds != [(Kind.SHARE, shape), (Kind.PUBLIC, shape), (Kind.MASK, shape)]:
                raise ProgramError("masked gives the public and the mask of one share", e.where)
        else:
            try:
                expected = typing_(e.op, e.params, types, e.where)
            except (KeyError, IndexError, TypeError, ValueError, ArithmeticError) as error:
                if isinstance(error, MpcError):
                    raise
                raise ProgramError(f"{e.op} has the wrong operands or parameters: {error!r}", e.where) from None
            for var in e.outputs:
                if var.type != expected:
                    raise ProgramError(f"{e.op} gives {expected}, but the text claims {var.type}", e.where)


_NOT_IN_RULES = frozenset({"reveal", "share", "send", "owner_mask", "repeat", "call"})


def _check_call(e: Equation) -> None:
    """A rule that travels with the program: shares in, one share out, and no way to make anything known."""
    body = e.body
    if body is None or len(body.results) != 1 or len(e.outputs) != 1:
        raise ProgramError("call: the rule is missing or gives not one share", e.where)
    for inner in body.equations:
        if inner.op in _NOT_IN_RULES:
            raise LeakError(
                f"{inner.op} in a protocol rule; rules mask, deal and open, only programs {inner.op}", e.where
            )
    wanted = [(Kind.SHARE, v.type.shape) for v in (*e.inputs, *e.outputs)]
    if [(v.type.kind, v.type.shape) for v in (*body.params, *body.results)] != wanted:
        raise ProgramError("call: the rule's shares do not fit its operands or result", e.where)
    if any(v.type.kind is not Kind.SECRET for v in (*e.inputs, *e.outputs)):
        raise ProgramError("call: a rule takes and gives secrets", e.where)
    p = e.params
    if e.output.type != Type(Kind.SECRET, tuple(p["shape"]), p["scale"], lo=p["lo"], hi=p["hi"]):
        raise ProgramError("call: the result is not what its parameters say", e.where)
    _check_block(body, lowered_type)


def _check_repeat(e: Equation, typing_: Typing) -> None:
    if e.body is None:
        raise ProgramError("repeat: there is no body", e.where)
    n, last = e.params["carry"], float(e.params["times"] - 1)
    params, results = e.body.params, e.body.results
    given = [v.type for v in e.inputs]
    fits = len(params) == 1 + len(given) and len(results) == n == len(e.outputs)
    fits = fits and params[0].type == Type(Kind.CONST, (), lo=0.0, hi=last)
    if not fits or any(p.type != t for p, t in zip(params[1 + n :], given[n:], strict=True)):
        raise ProgramError("repeat: the body's parameters do not fit what it is given", e.where)
    for p, start, out, after in zip(params[1 : 1 + n], given[:n], results, e.outputs, strict=True):
        for t in (start, out.type):
            if (t.kind, t.shape, t.scale, t.unit) != (p.type.kind, p.type.shape, p.type.scale, p.type.unit):
                raise ProgramError("repeat: the state changes its shape or scale", e.where)
            if t.lo < p.type.lo or t.hi > p.type.hi or t.noise > p.type.noise:
                raise ProgramError("repeat: the state leaves its range", e.where)
        if after.type != p.type:
            raise ProgramError("repeat: its result has another type than its state", e.where)
    _check_block(e.body, typing_)


# --- from a function to a program ------------------------------------------------------------------------------------


class ProgramFunction:
    """A Python function under `@mpc.program`: its parameters say who brings what."""

    def __init__(self, function: Callable[..., Any]) -> None:
        update_wrapper(self, function)
        self.function = function
        self.name = function.__name__
        self.doc = inspect.getdoc(function) or ""

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
        inputs: Mapping[str, Mapping[str, Any]],
        parties: Sequence[str] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Program:
        """Run the function once on values without values and keep what it does.

        inputs: for each input parameter, the `Schema` (or the data itself, of which only the schema is looked at) of
        each party that brings it. parties: all computing parties, in the cluster's order; those that bring something
        unless given. settings: values of the plain parameters. An input that declares no range is taken to lie
        in the widest interval, of a fixed list, for which the program fits the ring; `notes` says which.
        Raises UsageError (unknown name, missing input), ProgramError, ShapeError, OverflowRefusal.
        """
        given = self._settings(settings or {})
        if parties is None:
            parties = list(dict.fromkeys(p for by in inputs.values() for p in by))
        schemas = {name: {p: _schema(v) for p, v in by.items()} for name, by in inputs.items()}
        self._check_inputs(schemas, parties)
        refusals: list[OverflowRefusal] = []
        for late in (True, False):
            for bound, scale in _LADDER:
                trace = SurfaceTrace(parties, Defaults(2.0**bound, scale, late))
                try:
                    return self._record(trace, schemas, given)
                except OverflowRefusal as refusal:
                    refusals.append(refusal)
                if not trace.defaulted:
                    break
        raise refusals[-1]

    def _record(
        self, trace: SurfaceTrace, inputs: Mapping[str, Mapping[str, Schema]], settings: dict[str, Any]
    ) -> Program:
        with trace.recording():
            arguments = {
                name: _argument(trace, p, inputs[name], trace.parties)
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
        known = {n: p for n, p in self.parameters.items() if p.kind != "setting"}
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
        value.schema = schema
        if not p.table:
            assert columns is not None
            trace.location = "-"  # no line of the program says this, and the caller's must not get into the text
            whole = value[columns]
            whole = whole.reshape(-1) if len(columns) == 1 else whole
            trace.location = ""
            return cast("Value", whole)
    return value


def _finish(name: str, trace: SurfaceTrace, result: Any) -> Program:
    named = result if isinstance(result, dict) else _named(result)
    outputs, facts = {}, {}
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
    if not any(e.op == "reveal" for e in walk(block)):
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
        if e.op in ("reveal", "input") or any(v in needed for v in e.outputs):
            if e.body is not None and e.op != "call":
                _drop_unused(e.body, set())
            needed.update(e.inputs)
            kept.append(e)
    block.equations = kept[::-1]


def renumber(block: Block, start: int = 0) -> dict[Var, Var]:
    """Number the variables of a block in the order of their definition; give old → new."""
    new: dict[Var, Var] = {}

    def fresh(old: Var) -> Var:
        new[old] = Var(start + len(new), old.type)
        return new[old]

    def visit(b: Block) -> None:
        b.params = tuple(fresh(v) for v in b.params)
        for i, e in enumerate(b.equations):
            body = e.body
            if body is not None and e.op == "call":
                body = Block(body.params, list(body.equations), body.results)  # rules are memoised: never change them
            inputs = tuple(new[v] for v in e.inputs)
            if body is not None:
                visit(body)
            b.equations[i] = Equation(e.op, inputs, tuple(fresh(v) for v in e.outputs), e.params, e.where, body)
        b.results = tuple(new[v] for v in b.results)

    visit(block)
    return new
