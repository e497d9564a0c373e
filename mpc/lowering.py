"""From what a program means to what each party does: a suite's rules, inlined; values in lazy forms.

Every secret value has forms, `mpc.forms`: a share, a wire, or four terms. `demand` has said beforehand which values are
opened, so that they are wires; everything else follows.

The passes, in order: demands of the rules → what is opened → forms and rules → numbers of all sharings → the text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import Any

from mpc.demand import Demands, Opened, choose
from mpc.errors import ProgramError
from mpc.expand import expand
from mpc.forms import RELABELLED, Forms
from mpc.handles import HandleSpec
from mpc.ir import Block, Equation, Kind, Type, Var
from mpc.numbering import drop_dead, number
from mpc.programs import FORMAT, InputSpec, Output, Program, renumber
from mpc.schedule import Slot, schedule
from mpc.suites import Suite, demands, find_suite, rule_block
from mpc.text import compact, digest, print_block
from mpc.tracing import Value

__all__ = ["Lowered", "Suite", "find_suite", "lower"]

_FLOAT = (Kind.PRIVATE, Kind.CLEAR, Kind.TABLE)


@dataclass
class Lowered:
    """A program in ring integers, ready to be checked, priced, dealt for and run. All of it is in `text`."""

    program: Program
    suite: str
    bits: int
    block: Block
    outputs_by_name: dict[str, Var]
    reveals: list[dict[str, Any]] = field(default_factory=list)
    sweep: bool = field(default=True, init=False, repr=False)  # else every array is drawn and computed whole, by itself
    _slots: dict[int, tuple[Block, list[Slot]]] = field(default_factory=dict, init=False, repr=False)

    def __repr__(self) -> str:
        return f"<Lowered {self.name} by {self.suite}: {self.digest[:12]}>"

    @property
    def name(self) -> str:
        """The program's name."""
        return self.program.name

    @property
    def parties(self) -> list[str]:
        """The computing parties, in order."""
        return self.program.parties

    @property
    def inputs(self) -> list[InputSpec]:
        """What the parties must bring."""
        return self.program.inputs

    @property
    def outputs(self) -> list[Output]:
        """What is revealed, to whom."""
        return self.program.outputs

    @property
    def keeps(self) -> list[HandleSpec]:
        """What is kept for later programs."""
        return [replace(spec, bits=self.bits) for spec in self.program.keeps]

    @property
    def handles(self) -> list[HandleSpec]:
        """What is taken of earlier programs."""
        return self.program.handles

    @cached_property
    def text(self) -> str:
        """The canonical text of the lowered program."""
        head = {
            "bits": self.bits,
            "outputs": {name: var.number for name, var in self.outputs_by_name.items()},
            "parties": self.parties,
            "source": self.program.digest,
            "suite": self.suite,
        }
        lines = [f"privity lowered {FORMAT}", *(f"{key} {compact(value)}" for key, value in head.items()), ""]
        return "\n".join([*lines, *print_block(self.block)]) + "\n"

    @cached_property
    def digest(self) -> str:
        """sha256 of the text, in hex."""
        return digest(self.text)

    def slots(self, block: Block) -> list[Slot]:
        """When the equations of one of its blocks run; worked out once for all runs in this process."""
        if id(block) not in self._slots:
            self._slots[id(block)] = block, schedule(block, sweep=self.sweep)
        return self._slots[id(block)][1]

    def check(self) -> None:
        """The mask check, `mpc.checker`. Raises LeakError with the source line."""
        from mpc.checker import check

        check(self)

    def cost(self) -> Any:
        """The exact cost, `mpc.pricing.Plan`."""
        from mpc.pricing import price

        return price(self)


class _Lowering(Forms):
    """The recording of the lowered program, equation by equation."""

    def __init__(self, program: Program, suite: Suite, bits: int, demands: Demands, opened: Opened) -> None:
        super().__init__(suite, bits, opened)
        self.program, self.demands = program, demands
        self.reveals: list[dict[str, Any]] = []
        self.times = 1  # of what is being lowered, inside loops

    # equations -------------------------------------------------------------------------------------------------------

    def block(self, block: Block) -> None:
        """Lower every equation of a surface block into the innermost frame."""
        for e in block.equations:
            self.where = e.where
            if e.op in _OWN:
                _OWN[e.op](self, e)
            elif e.outputs[0].type.kind is not Kind.SECRET:
                self.known(e)
            elif self.suite_rule(e) is not None:
                self.rule(e)
            else:
                self.linear(e)
            for var in e.outputs:
                if var in self.wires:  # in the program's order, so that a long chain is no deep recursion
                    self._made(var)

    def _made(self, var: Var) -> None:
        if var in self.opened.wires:
            self.pair(var)
        elif var in self.opened.wrapped:
            self.terms(var)
        else:
            self.share(var)

    def suite_rule(self, e: Equation) -> Block | None:
        """The traced rule behind an equation, if it needs one."""
        return rule_block(e, self.suite, self.bits)

    def known(self, e: Equation) -> None:
        """Values that somebody knows: consts, revealed numbers, an owner's own arithmetic."""
        kind = e.output.type.kind
        if e.op in RELABELLED:
            self.values[e.output] = self.values[e.inputs[0]]
            return
        inputs = [self.values[v] for v in e.inputs]
        if kind in _FLOAT:
            params = e.params
            if e.op == "real":
                t = e.inputs[0].type
                params = {"scale": t.scale, "unit": str(t.unit)}
            t = Type(kind, e.output.type.shape, owner=e.output.type.owner)
            used = tuple(self.use(v) for v in inputs)
            self.values[e.output] = self.record(e.op, used, (t,), params, e.where)[0]
        else:
            params = {k: v for k, v in e.params.items() if not (e.op == "const" and k == "scale")}
            self.values[e.output] = self.op(e.op, *inputs, **params)

    def input(self, e: Equation) -> None:
        """An owner's value: shared for nothing if only added up, sent as a masked wire if it goes into products."""
        (x,) = (self.values[v] for v in e.inputs)
        owner, shape = x.owner, list(x.shape)
        where = e.where

        def share() -> Value:
            return self.op("share", x, owner=owner, **e.params)

        def pair() -> tuple[Value, Value]:
            self.where = where
            lam = self.op("owner_mask", shape=shape, owner=owner)
            return self.op("send", x, lam, owner=owner, **e.params), lam

        wire = self.define(e.output, share, None)
        if self.suite.memoise and e.output in self.opened.opened:
            wire.make_pair, wire.wired = pair, True

    def reveal(self, e: Equation) -> None:
        """The only way out; engines add a fresh zero-share."""
        t = e.output.type
        params = {"to": e.params["to"], "name": e.params["name"]}
        self.values[e.output] = self.op("reveal", self.share(e.inputs[0]), **params)
        self.reveals.append({
            "name": e.params["name"], "to": e.params["to"], "shape": list(t.shape), "bits": t.scale,
            "unit": str(t.unit), "where": e.line, "count": t.size * self.times,
        })  # fmt: skip

    def kept(self, e: Equation) -> None:
        """What an earlier run has put away: a share, which is masked afresh if it is opened, or a revealed number."""
        held = e.params.get("bits", self.bits)
        if held != self.bits:
            raise ProgramError(
                f"the handle {e.params['name']!r} is shared over a ring of {held} bits, the program runs over one of "
                f"{self.bits}: keep it again by a program of {self.bits} bits",
                e.where,
            )
        named = {k: e.params[k] for k in ("name", "shape", "to") if k in e.params}
        if e.op == "shown":
            self.values[e.output] = self.op("shown", **named)
        else:
            self.define(e.output, lambda: self.op("kept", **named), None)

    def save(self, e: Equation) -> None:
        """Shares put away, from whichever form is there; nothing is opened for it."""
        p = e.params
        inputs = e.inputs[1:] if e.op == "checkpoint" else e.inputs
        chosen = [self.values[v] for v in e.inputs[: len(e.inputs) - len(inputs)]]
        forms = []
        for v in inputs:
            form, values = ("public", [self.values[v]]) if v in self.values else self._at_hand(v)
            forms.append(form)
            chosen += values
        params = {**{k: v for k, v in p.items() if k != "name"}, "names": p.get("names") or [p["name"]], "forms": forms}
        self.record(e.op, tuple(self.use(v) for v in chosen), (), params, e.where)

    def _at_hand(self, var: Var) -> tuple[str, list[Value]]:
        wire = self.wires[var]
        if wire.wired or (wire.share is None and wire.pair is not None):
            return "pair", list(self.pair(var))
        return "share", [self.share(var)]

    def rule(self, e: Equation) -> None:
        """A non-linear op: its rule, inlined when a form of its result is asked for."""
        where = e.where
        made: list[list[Value]] = []

        def results() -> list[Value]:
            if not made:
                taken = self.demands.terms.get(e, ())
                wrapped = [i in taken and len(self.terms(v)) > 2 for i, v in enumerate(e.inputs)]
                block = rule_block(e, self.suite, self.bits, wrapped)
                assert block is not None
                made.append(self._inline(block, e.inputs, where))
            return made[0]

        wire = self.define(e.output, lambda: results()[0], None)
        wire.make_terms = lambda: tuple(results()[1:])
        if e.op == "call":
            self.share(e.output)

    def _inline(self, block: Block, operands: tuple[Var, ...], where: str) -> list[Value]:
        known: dict[Var, Value] = {}
        surface = dict(zip(block.params, operands, strict=True))

        def value(v: Var) -> Value:
            return self.share(surface[v]) if v in surface else known[v]

        for e in block.equations:
            self.where = f"{where} via {e.where}" if e.where != where else where
            if e.op == "masked":
                v = e.inputs[0]
                memo = v in surface and self.suite.memoise
                known.update(zip(e.outputs, self.pair(surface[v]) if memo else self.fresh_pair(value(v)), strict=True))
            elif e.op == "terms":
                known.update(zip(e.outputs, self.terms(surface[e.inputs[0]]), strict=True))
            elif e.op == "masked_low":
                v = e.inputs[0]
                wired = v in surface and self.suite.memoise and surface[v] in self.opened.wires
                width = min(e.params["width"], self.bits)
                pair = self.pair(surface[v]) if wired else self.fresh_pair(value(v), width)
                known.update(zip(e.outputs, pair, strict=True))
            else:
                used = tuple(self.use(value(v)) for v in e.inputs)
                types = [v.type for v in e.outputs]  # as the rule was typed when it was traced, of operands like these
                if any(v.type != traced.type for v, traced in zip(used, e.inputs, strict=True)):
                    types = [self.type_of(e.op, e.params, [v.type for v in used], self.where)] * len(e.outputs)
                known.update(zip(e.outputs, self.record(e.op, used, types, e.params, self.where), strict=True))
        return [value(v) for v in block.results]

    # loops -----------------------------------------------------------------------------------------------------------

    def repeat(self, e: Equation) -> None:
        """A loop: its state travels as wires where the body or what follows needs them so, else as shares."""
        assert e.body is not None
        carry, body = e.params["carry"], e.body
        widths = [self._width(p, out) for p, out in zip(body.params[1:], e.outputs, strict=False)]
        start = [part for v, width in zip(e.inputs[:carry], widths, strict=True) for part in self._form(v, width)]
        where = e.where
        with self.frame() as frame:
            step = self.fresh(Type(Kind.CONST))
            self.values[body.params[0]] = self.wrap(step, frame)
            given = [self.fresh(Type(v.type.kind, v.type.shape)) for v in start]
            frame.block.params = (step, *given)
            rest = iter([self.wrap(v, frame) for v in given])
            for p, width in zip(body.params[1 : 1 + carry], widths, strict=True):
                self._bind(p, frame, tuple(islice(rest, width)))
            for p, outer in zip(body.params[1 + carry :], e.inputs[carry:], strict=True):
                self._alias(p, outer)
            self.times *= e.params["times"]
            self.block(body)
            self.times //= e.params["times"]
            self.where = where
            ends = [part for v, width in zip(body.results, widths, strict=True) for part in self._form(v, width)]
            ends = [self._cast(v, p.type.kind) for v, p in zip(ends, given, strict=True)]
            frame.block.results = tuple(self.use(v) for v in ends)
        frame.block.params = (*frame.block.params, *frame.lifted.values())
        used = (*[self.use(v) for v in start], *[self.use(self.wrap(v, self.frames[-1])) for v in frame.outer])
        types = [v.type for v in given]
        params = {**e.params, "carry": len(start)}
        after = iter(self.record("repeat", used, types, params, where, frame.block))
        for out, width in zip(e.outputs, widths, strict=True):
            self._bind(out, self.frames[-1], tuple(islice(after, width)))

    def _alias(self, inner: Var, outer: Var) -> None:
        """A loop-invariant value is the outer one, in whatever form the body asks for."""
        if outer in self.wires:
            wire = self.wires[outer]
            if inner in self.opened.opened:
                self.define(inner, lambda: self.share(outer), None)
            else:
                self.wires[inner] = wire
        else:
            self.values[inner] = self.values[outer]


_OWN: dict[str, Callable[[_Lowering, Equation], None]] = {
    "repeat": _Lowering.repeat,
    "share": _Lowering.input,
    "reveal": _Lowering.reveal,
    "kept": _Lowering.kept,
    "handle": _Lowering.kept,
    "shown": _Lowering.kept,
    "checkpoint": _Lowering.save,
    "keep": _Lowering.save,
}


def lower(program: Program, suite: Suite, bits: int = 64) -> Lowered:
    """Lower a program by a suite's rules over the ring of `bits`. LeakError if a rule does what shares cannot."""
    surface = expand(program.block)
    asked = demands(surface, suite, bits)
    opened = choose(surface, asked, len(program.parties))
    lowering = _Lowering(program, suite, bits, asked, opened)
    with lowering.recording():
        lowering.block(surface)
        outputs = {name: lowering.use(lowering.values[v]) for name, v in program.outputs_by_name.items()}
    block = lowering.frames[0].block
    drop_dead(block, set(outputs.values()))
    renamed = renumber(block)
    number(block)
    return Lowered(program, suite.name, bits, block, {n: renamed[v] for n, v in outputs.items()}, lowering.reveals)
