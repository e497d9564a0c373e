"""A program and its text: what is shown, sent, read back, checked again and hashed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from typing import Any, cast

from mpc.disclosures import Told
from mpc.errors import LeakError, MpcError, OverflowRefusal, ProgramError, UsageError
from mpc.handles import HandleSpec, Results, is_handle_name
from mpc.ir import Block, Equation, Kind, Type, Var, walk
from mpc.kinds import lowered_type
from mpc.params import check_params
from mpc.text import compact, digest, parse_block, print_block, read_json
from mpc.types import check_room, surface_type

__all__ = ["FORMAT", "RANGES_HOLD", "InputSpec", "Output", "Program", "read_header", "renumber"]

FORMAT = 1
RANGES_HOLD = "ranges hold"  # the result that `verified` adds: [every stated range was kept]


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
    continues: dict[str, int] | None = None  # the loop (`site`) and step (`iteration`) at which it goes on
    told: list[Told] = field(default_factory=list)  # while it was traced; no part of the text

    def __repr__(self) -> str:
        return f"<Program {self.name} for {', '.join(self.parties)}: {self.digest[:12]}>"

    @cached_property
    def text(self) -> str:
        """The canonical text: what is shown, sent, parsed back and hashed."""
        head = {
            **({"continues": self.continues} if self.continues else {}),
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

    @property
    def truncations(self) -> int:
        """How many elements it truncates, over all steps of loops."""
        return _truncated(self.block)

    @property
    def keeps(self) -> list[HandleSpec]:
        """What it keeps for later programs, if it runs over the ring of 64 bits."""
        kept = [e for e in self.block.equations if e.op == "keep"]
        return [HandleSpec.of(e.params["name"], e.inputs[0].type, self.parties) for e in kept]

    @property
    def handles(self) -> list[HandleSpec]:
        """What it takes of earlier programs, by the names of its parameters."""
        taken = [e for e in self.block.equations if e.op == "handle"]
        return [HandleSpec.of(e.params["name"], e.output.type, self.parties, e.params["bits"]) for e in taken]

    @cached_property
    def outputs(self) -> list[Output]:
        """The results that are revealed, in the program's order."""
        known: dict[Var, list[str]] = {}
        everyone = [*self.parties, "coordinator"]
        for e in self.block.equations:
            if e.op in ("reveal", "shown"):
                known[e.output] = everyone if e.params["to"] == "everyone" else e.params["to"]
            else:
                groups = [known[v] for v in e.inputs if v in known]
                for var in e.outputs:
                    known[var] = [p for p in everyone if all(p in g for g in groups)]
        named = [(name, self.outputs_by_name[name]) for name in self.order if name in self.outputs_by_name]
        return [Output(n, "everyone" if known[v] == everyone else known[v], v.type.shape, v) for n, v in named]

    @classmethod
    def parse(cls, text: str) -> Program:
        """The program that a text says. Every type is derived again; a text that claims others is refused."""
        head, lines = read_header(text, f"privity program {FORMAT}")
        block = parse_block(lines)
        by_number = {v.number: v for e in block.equations for v in e.outputs}
        try:
            outputs = {str(name): by_number[number] for name, number in head["outputs"].items()}
            program = cls(head["name"], head["parties"], block, head["order"], outputs, head["facts"], head["notes"])
            program.continues = head.get("continues")
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
        _check_saved(self)
        for name, var in self.outputs_by_name.items():
            if var.type.kind not in (Kind.PUBLIC, Kind.CLEAR):
                raise ProgramError(f"result {name!r} is {var.type.kind}: reveal it first, mpc.reveal(x)")

    def verified(self) -> Program:
        """The same program with every `assume_range` checked while it runs: `mpc.ranges.verified`."""
        from mpc.ranges import verified

        return self._asking(verified(self))

    def with_checkpoints(self, every: int) -> Program:
        """The same program, which puts its state away before every so many steps: `mpc.checkpoints`."""
        from mpc.checkpoints import with_checkpoints

        return self._asking(with_checkpoints(self, every))

    def _asking(self, made: Program) -> Program:
        """Made of this one: owners were asked for the same."""
        made.told = self.told
        return made

    def continued(self, site: int, iteration: int) -> Program:
        """The program that goes on from a checkpoint of this one, to the same results: `mpc.checkpoints`."""
        from mpc.checkpoints import continued

        return continued(self, site, iteration)

    def require(self, results: Mapping[str, Any]) -> None:
        """Raise OverflowRefusal if the bit says that a stated range was left: no result of such a run is given out."""
        if results.get(RANGES_HOLD, 1) == 1 or RANGES_HOLD not in self.outputs_by_name:
            return
        assumed = [e for e in walk(self.block) if e.op == "assume"]
        stated = [f"{e.params['lo']:g} to {e.params['hi']:g} at {e.line}" for e in assumed]
        raise OverflowRefusal(
            f"a stated range was left: one of {'; '.join(dict.fromkeys(stated))}; no result is given out. The usual "
            "cause is data larger than the program was written for: state a wider range there, or scale the inputs"
        )

    def lower(self, suite: Any = "masked", bits: int = 64) -> Any:
        """The same program in ring integers, by a suite's rules (a `Suite` or an installed name): `mpc.Lowered`."""
        from mpc.lowering import find_suite, lower

        return lower(self, find_suite(suite), bits)

    def plan(self, suite: Any = "masked") -> Any:
        """Its exact price under a suite, before anything runs: `mpc.Plan`."""
        return self.lower(suite).cost()

    cost = plan

    def plain(self, inputs: Mapping[str, Any], kept: Mapping[str, Any] | None = None) -> Results:
        """Its meaning in the clear, with the same fixed-point arithmetic: the oracle of every test.

        kept: the ring integers (not shares) of the handles that it takes, or of the checkpoint that it goes on from.
        """
        from mpc.plain import evaluate

        return evaluate(self, inputs, kept or {})


def _truncated(block: Block) -> int:
    found = 0
    for e in block.equations:
        if e.op == "truncate":
            found += e.output.type.size
        elif e.op == "repeat" and e.body is not None:
            found += e.params["times"] * _truncated(e.body)
    return found


def _check_head(program: Program) -> None:
    """The fields before the equations are of the kinds that a traced program's are."""
    lists: tuple[Any, ...] = (program.parties, program.order, program.notes)
    name, facts = cast("Any", program.name), cast("Any", program.facts)
    texts = all(isinstance(names, list) and all(isinstance(v, str) for v in names) for names in lists)
    if not (isinstance(name, str) and isinstance(facts, dict) and texts):
        raise ProgramError("the program text's head is not right")
    if sorted(program.order) != sorted([*program.outputs_by_name, *program.facts]):
        raise ProgramError("the program text's head names other results than it has")
    at = cast("Any", program.continues)
    known = isinstance(at, dict) and at.keys() == {"site", "iteration"}
    if at is not None and not (known and all(type(v) is int and v >= 0 for v in at.values())):
        raise ProgramError("the program text's head does not say where it goes on")


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
        elif e.op in ("reveal", "shown") and e.params["to"] != "everyone":
            to = e.params["to"]
            if isinstance(to, str) or not set(to) <= set(known) or set(to) <= {"coordinator"}:
                raise ProgramError(f"{e.op}: its recipients are not parties of this program", e.where)


def _check_saved(program: Program) -> None:
    """What is put away or taken up again stands at the top; checkpoints hold exactly what a continuation needs."""
    top = {id(e) for e in program.block.equations}
    inner = [e for e in walk(program.block) if id(e) not in top and e.op in ("kept", "shown", "handle", "keep")]
    if inner:
        raise ProgramError(f"{inner[0].op} belongs outside of loops", inner[0].where)
    for what, named in (("keep", program.keeps), ("handle", program.handles)):
        names = [spec.name for spec in named]
        wrong = [name for i, name in enumerate(names) if name in names[:i] or not is_handle_name(name)]
        if wrong:
            raise ProgramError(f"{what}: the name {wrong[0]!r} is there twice, or is none")
    if any(e.op == "checkpoint" for e in walk(program.block)):
        from mpc.checkpoints import check_checkpoints

        check_checkpoints(program)


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
        elif e.op in _WITHOUT_TYPING and typing_ is surface_type:
            _WITHOUT_TYPING[e.op](e)
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


_NOT_IN_RULES = frozenset({
    "reveal", "share", "send", "owner_mask", "repeat", "call", "checkpoint", "keep", "kept", "shown",
})  # fmt: skip


def _check_save(e: Equation) -> None:
    """Nothing comes of putting something away, and `keep` keeps one secret."""
    if e.outputs or (e.op == "keep" and [v.type.kind for v in e.inputs] != [Kind.SECRET]):
        raise ProgramError(f"{e.op} takes secrets and gives nothing", e.where)
    if e.op == "keep":
        check_room(e.op, e.inputs[0].type, e.where)


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


_WITHOUT_TYPING = {"call": _check_call, "checkpoint": _check_save, "keep": _check_save}


def _check_repeat(e: Equation, typing_: Typing) -> None:
    if e.body is None:
        raise ProgramError("repeat: there is no body", e.where)
    n, start = e.params["carry"], e.params.get("start")
    last = float((start or 0) + e.params["times"] - 1)
    params, results = e.body.params, e.body.results
    given = [v.type for v in e.inputs]
    fits = len(params) == 1 + len(given) and len(results) == n == len(e.outputs)
    fits = fits and params[0].type == Type(Kind.CONST, (), lo=0.0, hi=last)
    if start == 0 or not fits or any(p.type != t for p, t in zip(params[1 + n :], given[n:], strict=True)):
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


def renumber(block: Block, start: int = 0) -> dict[Var, Var]:
    """Number the variables of a block in the order of their definition; give old → new."""
    new: dict[Var, Var] = {}
    numbers = count(start)  # a rule that is called again has the same variables, which get other numbers

    def fresh(old: Var) -> Var:
        new[old] = Var(next(numbers), old.type)
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
