"""The forms of secret values while a program is lowered: an additive share, a wire, or four terms.

A wire is the pair (Δ public, λ mask). What a truncation gives can be four terms (Δ, λ, q, v), which stand for
Δ − λ + q·v and serve an elementwise product as well as a pair. A linear op acts on each form alone: it stores how to
rebuild each from its operands' forms, so that a form is made only when somebody asks for it, and once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from mpc.demand import Opened, is_linear
from mpc.ir import Equation, Kind, Var
from mpc.kernels import STRUCTURAL
from mpc.rules import RuleTrace
from mpc.suites import Suite
from mpc.tracing import Frame, Value

__all__ = ["RELABELLED", "Forms", "Wire"]

RELABELLED = frozenset({"assume", "implied", "rounded", "unit", "settle"})  # the same integers under another type


class Wire:
    """One secret value: how its forms are made, and those that are."""

    def __init__(self, frame: Frame, share: Callable[[], Value], pair: Callable[[], tuple[Value, Value]]) -> None:
        self.frame = frame
        self.make_share, self.make_pair = share, pair
        self.make_terms: Callable[[], tuple[Value, ...]] | None = None
        self.share: Value | None = None
        self.pair: tuple[Value, Value] | None = None
        self.terms: tuple[Value, ...] | None = None
        self.wired = False


class Forms(RuleTrace):
    """The recording of a lowered program, with the forms of every surface value."""

    def __init__(self, suite: Suite, bits: int, opened: Opened) -> None:
        super().__init__(bits)
        self.suite, self.opened = suite, opened
        self.wires: dict[Var, Wire] = {}
        self.values: dict[Var, Value] = {}  # of what is not secret
        self.where = ""

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
        if wire.share is None:
            with self._inside(wire.frame, self.where):
                if wire.wired or wire.pair is not None:
                    delta, lam = self.pair(var)
                    wire.share = self.op("sub", delta, lam)
                else:
                    wire.share = wire.make_share()
        return wire.share

    def pair(self, var: Var) -> tuple[Value, Value]:
        """The masked wire of a secret value."""
        wire = self.wires[var]
        if wire.pair is None:
            with self._inside(wire.frame, self.where):
                wire.pair = wire.make_pair()
        return wire.pair

    def terms(self, var: Var) -> tuple[Value, ...]:
        """The pair of a secret value, or, if no rule needs that, the four terms that a truncation made it of."""
        wire = self.wires[var]
        if var not in self.opened.wrapped or wire.pair is not None:
            return self.pair(var)
        if wire.terms is None:
            assert wire.make_terms is not None
            with self._inside(wire.frame, self.where):
                wire.terms = wire.make_terms()
        return wire.terms

    def fresh_pair(self, share: Value, width: int | None = None) -> tuple[Value, Value]:
        """Open a share, or its low bits, under a mask of its own."""
        lam = self.op("mask", shape=list(share.shape))
        return self.op("open", self.op("add", share, lam), width=width or self.bits), lam

    def define(self, var: Var, share: Callable[[], Value], pair: Callable[[], tuple[Value, Value]] | None) -> Wire:
        """A secret value by how to make its forms; without `pair`, or if it was so decided, it is opened itself."""
        if pair is None or var in self.opened.opened:
            where = self.where

            def opened() -> tuple[Value, Value]:
                self.where = where
                return self.fresh_pair(self.share(var))

            pair = opened
        self.wires[var] = Wire(self.frames[-1], share, pair)
        return self.wires[var]

    # linear ops ------------------------------------------------------------------------------------------------------

    def linear(self, e: Equation) -> None:
        """A linear op acts on each form alone."""
        op = e.op
        secret = [v.type.kind is Kind.SECRET for v in e.inputs]
        params = e.params
        where = e.where

        def apply(form: Callable[[Var], Value | None], others: Callable[[Var], Value | None]) -> Value:
            self.where = where
            chosen = [form(v) if s else others(v) for v, s in zip(e.inputs, secret, strict=True)]
            if op in RELABELLED:
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

        def terms() -> tuple[Value, ...]:
            both = apply(lambda v: self.terms(v)[0], public), apply(lambda v: self.terms(v)[1], absent)
            wraps = {v: self.terms(v)[2:] for v, s in zip(e.inputs, secret, strict=True) if s}

            def wrap(v: Var) -> Value | None:
                return wraps[v][1] if wraps[v] else None

            if not any(wraps.values()):
                return both
            ((q, _),) = (w for w in wraps.values() if w)
            moved = apply(lambda _: q, absent) if op in STRUCTURAL else self._spread(q, e.output.type.shape)
            return (*both, moved, apply(wrap, absent))

        wire = self.define(e.output, lambda: apply(self.share, public), pair if is_linear(e) else None)
        wire.make_terms = terms

    def _apply(self, op: str, params: dict[str, Any], chosen: list[Value | None], shape: tuple[int, ...]) -> Value:
        present = [v for v in chosen if v is not None]
        if len(present) == len(chosen):
            return self.op(op, *present, **params)
        value = present[0]  # the mask of x ± (something known) is the mask of ±x
        if op == "sub" and chosen[0] is None:
            value = self.op("neg", value)
        return self._spread(value, shape)

    def _spread(self, value: Value, shape: tuple[int, ...]) -> Value:
        return value if value.shape == shape else self.op("broadcast", value, shape=list(shape))

    def _zeros(self, shape: tuple[int, ...]) -> Value:
        zero = self.op("const", value=0, shape=[])
        return self._cast(self.op("broadcast", zero, shape=list(shape)), Kind.MASK)

    def _cast(self, value: Value, kind: Kind) -> Value:
        return self.op("cast", value, kind=str(kind)) if value.type.kind is not kind else value

    def _known_pair(self, value: Value) -> tuple[Value, Value]:
        return self._cast(value, Kind.PUBLIC), self._zeros(value.shape)

    # the state of loops ----------------------------------------------------------------------------------------------

    @cached_property
    def _wired(self) -> frozenset[Var]:
        return self.opened.wires - self.opened.opened if self.suite.memoise else frozenset()

    def _width(self, p: Var, out: Var) -> int:
        """Of how many values a part of a loop's state is made: a share, a pair, or four terms."""
        if not self._wired.isdisjoint((p, out)):
            return 2
        return 1 if self.opened.wrapped.isdisjoint((p, out)) else 4

    def _form(self, var: Var, width: int) -> tuple[Value, ...]:
        """A value in the form of so many values; a pair as four terms is one that has not wrapped."""
        if width == 1:
            return (self.share(var),)
        form = self.pair(var) if width == 2 else self.terms(var)
        if len(form) == width:
            return form
        zeros = self._zeros(var.type.shape)
        return (*form, self._cast(self._spread(self.op("const", value=0, shape=[]), zeros.shape), Kind.PUBLIC), zeros)

    def _bind(self, var: Var, frame: Frame, form: tuple[Value, ...]) -> None:
        if len(form) == 2:
            delta, lam = form
            wire = self.define(var, _never, lambda: (delta, lam))
            wire.pair, wire.wired = (delta, lam), True
        elif len(form) == 1:
            wire = self.define(var, lambda: form[0], None)
        else:
            wire = self.define(var, lambda: self._unwrapped(form), None)
            wire.terms = form
        wire.frame = frame

    def _unwrapped(self, form: tuple[Value, ...]) -> Value:
        delta, lam, q, v = form
        return self.op("add", self.op("sub", delta, lam), self.op("mul", q, v))


def _never() -> Value:
    raise AssertionError("a wire's share is made from its pair")
