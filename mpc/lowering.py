"""From what a program means to what each party does: a suite's rules, inlined; secret values as wires with lazy forms.

Every secret value has up to two forms: an additive share, or the pair (Δ public, λ mask). A linear op stores how to
rebuild either from its operands' forms, so that a form is made only when a rule asks for it, and once. `demand` has
said beforehand which values are opened; everything else follows.

The passes, in order: demands of the rules → what is opened → forms and rules → numbers of all sharings → the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from mpc.demand import Opened, choose, is_linear
from mpc.errors import ProgramError
from mpc.expand import expand
from mpc.handles import HandleSpec
from mpc.ir import Block, Equation, Kind, Type, Var
from mpc.numbering import drop_dead, number
from mpc.programs import FORMAT, InputSpec, Output, Program, renumber
from mpc.rules import RuleTrace
from mpc.schedule import Slot, schedule
from mpc.suites import Suite, demands, find_suite, rule_block
from mpc.text import compact, digest, print_block
from mpc.tracing import Frame, Value

__all__ = ["Lowered", "Suite", "find_suite", "lower"]

_FLOAT = (Kind.PRIVATE, Kind.CLEAR, Kind.TABLE)
_RELABELLED = frozenset({"assume", "implied", "rounded", "unit", "settle"})  # the same integers under another type


@dataclass
class Lowered:
    """A program in ring integers, ready to be checked, priced, dealt for and run. All of it is in `text`."""

    program: Program
    suite: str
    bits: int
    block: Block
    outputs_by_name: dict[str, Var]
    reveals: list[dict[str, Any]] = field(default_factory=list)
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
            self._slots[id(block)] = block, schedule(block)
        return self._slots[id(block)][1]

    def check(self) -> None:
        """The mask check, `mpc.checker`. Raises LeakError with the source line."""
        from mpc.checker import check

        check(self)

    def cost(self) -> Any:
        """The exact cost, `mpc.pricing.Plan`."""
        from mpc.pricing import price

        return price(self)


class _Wire:
    """One secret value during lowering."""

    def __init__(self, frame: Frame, share: Callable[[], Value], pair: Callable[[], tuple[Value, Value]]) -> None:
        self.frame = frame
        self._make_share, self._make_pair = share, pair
        self._share: Value | None = None
        self._pair: tuple[Value, Value] | None = None
        self.wired = False


class _Lowering(RuleTrace):
    """The recording of the lowered program, with the forms of every surface value."""

    def __init__(self, program: Program, suite: Suite, bits: int, opened: Opened) -> None:
        super().__init__(bits)
        self.program, self.suite, self.opened = program, suite, opened
        self.wires: dict[Var, _Wire] = {}
        self.values: dict[Var, Value] = {}
        self.where = ""
        self.reveals: list[dict[str, Any]] = []

    # forms -----------------------------------------------------------------------------------------------------------

    @contextmanager
    def _inside(self, frame: Frame, where: str) -> Iterator[None]:
        before, self.where = self.where, where
        try:
            with self.inside(frame):
                yield
        finally:
            self.where = before

    def op(self, name: str, /, *inputs: Value, **params: Any) -> Value:
        """Emit one lowered equation at the surface equation's source line."""
        used = tuple(self.use(v) for v in inputs)
        t = self.type_of(name, params, [v.type for v in used], self.where)
        return self.record(name, used, (t,), params, self.where)[0]

    def share(self, var: Var) -> Value:
        """The additive share of a secret value."""
        wire = self.wires[var]
        if wire._share is None:
            with self._inside(wire.frame, self.where):
                if wire.wired or wire._pair is not None:
                    delta, lam = self.pair(var)
                    wire._share = self.op("sub", delta, lam)
                else:
                    wire._share = wire._make_share()
        return wire._share

    def pair(self, var: Var) -> tuple[Value, Value]:
        """The masked wire of a secret value."""
        wire = self.wires[var]
        if wire._pair is None:
            with self._inside(wire.frame, self.where):
                wire._pair = wire._make_pair()
        return wire._pair

    def fresh_pair(self, share: Value, width: int | None = None) -> tuple[Value, Value]:
        """Open a share, or its low bits, under a mask of its own."""
        lam = self.op("mask", shape=list(share.shape))
        return self.op("open", self.op("add", share, lam), width=width or self.bits), lam

    def define(self, var: Var, share: Callable[[], Value], pair: Callable[[], tuple[Value, Value]] | None) -> _Wire:
        """A secret value by how to make its forms; without `pair`, or if it was so decided, it is opened itself."""
        if pair is None or var in self.opened.opened:
            where = self.where

            def opened() -> tuple[Value, Value]:
                self.where = where
                return self.fresh_pair(self.share(var))

            pair = opened
        self.wires[var] = _Wire(self.frames[-1], share, pair)
        return self.wires[var]

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
                    (self.pair if var in self.opened.wires else self.share)(var)

    def suite_rule(self, e: Equation) -> Block | None:
        """The traced rule behind an equation, if it needs one."""
        return rule_block(e, self.suite, self.bits)

    def known(self, e: Equation) -> None:
        """Values that somebody knows: consts, revealed numbers, an owner's own arithmetic."""
        kind = e.output.type.kind
        if e.op in _RELABELLED:
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
            wire._make_pair, wire.wired = pair, True

    def reveal(self, e: Equation) -> None:
        """The only way out; engines add a fresh zero-share."""
        t = e.output.type
        params = {"to": e.params["to"], "name": e.params["name"]}
        self.values[e.output] = self.op("reveal", self.share(e.inputs[0]), **params)
        self.reveals.append({
            "name": e.params["name"], "to": e.params["to"], "shape": list(t.shape), "bits": t.scale,
            "unit": str(t.unit), "where": e.line,
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
        if wire.wired or (wire._share is None and wire._pair is not None):
            return "pair", list(self.pair(var))
        return "share", [self.share(var)]

    def rule(self, e: Equation) -> None:
        """A non-linear op: its rule, inlined when its share is asked for."""
        block = self.suite_rule(e)
        assert block is not None
        where = e.where
        self.define(e.output, lambda: self._inline(block, e.inputs, where), None)
        if e.op == "call":
            self.share(e.output)

    def _inline(self, block: Block, operands: tuple[Var, ...], where: str) -> Value:
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
        return value(block.results[0])

    def linear(self, e: Equation) -> None:
        """A linear op acts on each form alone."""
        op = e.op
        secret = [v.type.kind is Kind.SECRET for v in e.inputs]
        params = e.params
        where = e.where

        def apply(form: Callable[[Var], Value], others: Callable[[Var], Value | None]) -> Value:
            self.where = where
            chosen = [form(v) if s else others(v) for v, s in zip(e.inputs, secret, strict=True)]
            if op in _RELABELLED:
                assert chosen[0] is not None
                return chosen[0]
            return self._apply(op, params, chosen, e.output.type.shape)

        if op == "secret":
            source = self.values[e.inputs[0]]
            self.define(e.output, lambda: self._cast(source, Kind.SHARE), lambda: self._known_pair(source))
            return

        def public(v: Var) -> Value:
            return self.values[v]

        def absent(v: Var) -> Value | None:
            keeps = op in ("mul", "matmul", "dynamic_slice", "take")
            return self.values[v] if keeps else self._zeros(v.type.shape) if op == "concatenate" else None

        def pair() -> tuple[Value, Value]:
            return apply(lambda v: self.pair(v)[0], public), apply(lambda v: self.pair(v)[1], absent)

        self.define(e.output, lambda: apply(self.share, public), pair if is_linear(e) else None)

    def _apply(self, op: str, params: dict[str, Any], chosen: list[Value | None], shape: tuple[int, ...]) -> Value:
        present = [v for v in chosen if v is not None]
        if len(present) == len(chosen):
            return self.op(op, *present, **params)
        value = present[0]  # the mask of x ± (something known) is the mask of ±x
        if op == "sub" and chosen[0] is None:
            value = self.op("neg", value)
        return value if value.shape == shape else self.op("broadcast", value, shape=list(shape))

    def _zeros(self, shape: tuple[int, ...]) -> Value:
        zero = self.op("const", value=0, shape=[])
        return self._cast(self.op("broadcast", zero, shape=list(shape)), Kind.MASK)

    def _cast(self, value: Value, kind: Kind) -> Value:
        return self.op("cast", value, kind=str(kind)) if value.type.kind is not kind else value

    def _known_pair(self, value: Value) -> tuple[Value, Value]:
        return self._cast(value, Kind.PUBLIC), self._zeros(value.shape)

    # loops -----------------------------------------------------------------------------------------------------------

    def repeat(self, e: Equation) -> None:
        """A loop: its state travels as wires where the body or what follows needs them so, else as shares."""
        assert e.body is not None
        carry, body = e.params["carry"], e.body
        paired = [p in self._wired or out in self._wired for p, out in zip(body.params[1:], e.outputs, strict=False)]
        start: list[Value] = []
        for v, as_pair in zip(e.inputs[:carry], paired, strict=True):
            start.extend(self.pair(v) if as_pair else (self.share(v),))
        where = e.where
        with self.frame() as frame:
            step = self.fresh(Type(Kind.CONST))
            self.values[body.params[0]] = self.wrap(step, frame)
            given = [self.fresh(Type(v.type.kind, v.type.shape)) for v in start]
            frame.block.params = (step, *given)
            rest = iter([self.wrap(v, frame) for v in given])
            for p, as_pair in zip(body.params[1 : 1 + carry], paired, strict=True):
                self._bind(p, frame, (next(rest), next(rest)) if as_pair else next(rest))
            for p, outer in zip(body.params[1 + carry :], e.inputs[carry:], strict=True):
                self._alias(p, outer)
            self.block(body)
            self.where = where
            ends: list[Value] = []
            for v, as_pair in zip(body.results, paired, strict=True):
                ends.extend(self.pair(v) if as_pair else (self.share(v),))
            ends = [self._cast(v, p.type.kind) for v, p in zip(ends, given, strict=True)]
            frame.block.results = tuple(self.use(v) for v in ends)
        frame.block.params = (*frame.block.params, *frame.lifted.values())
        used = (*[self.use(v) for v in start], *[self.use(self.wrap(v, self.frames[-1])) for v in frame.outer])
        types = [v.type for v in given]
        params = {**e.params, "carry": len(start)}
        after = iter(self.record("repeat", used, types, params, where, frame.block))
        for out, as_pair in zip(e.outputs, paired, strict=True):
            self._bind(out, self.frames[-1], (next(after), next(after)) if as_pair else next(after))

    @cached_property
    def _wired(self) -> frozenset[Var]:
        return self.opened.wires - self.opened.opened if self.suite.memoise else frozenset()

    def _bind(self, var: Var, frame: Frame, form: Value | tuple[Value, Value]) -> None:
        if isinstance(form, tuple):
            wire = self.define(var, _never, lambda: form)
            wire._pair, wire.wired = form, True
        else:
            self.define(var, lambda: form, None)
        self.wires[var].frame = frame

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


def _never() -> Value:
    raise AssertionError("a wire's share is made from its pair")


def lower(program: Program, suite: Suite, bits: int = 64) -> Lowered:
    """Lower a program by a suite's rules over the ring of `bits`. LeakError if a rule does what shares cannot."""
    surface = expand(program.block)
    opened = choose(surface, demands(surface, suite, bits), len(program.parties))
    lowering = _Lowering(program, suite, bits, opened)
    with lowering.recording():
        lowering.block(surface)
        outputs = {name: lowering.use(lowering.values[v]) for name, v in program.outputs_by_name.items()}
    block = lowering.frames[0].block
    drop_dead(block, set(outputs.values()))
    renamed = renumber(block)
    number(block)
    return Lowered(program, suite.name, bits, block, {n: renamed[v] for n, v in outputs.items()}, lowering.reveals)
