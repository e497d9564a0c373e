"""The language of protocol rules: ring integers, masks, deals and openings.

A rule is an ordinary function of shares, `@mpc.protocol`. It is traced into a block of lowered equations when a program
that uses it is lowered, so what a party runs, checks and prices is always data. Rules may `mask`, `deal`, `open` and
take `masked` wires; they cannot `reveal`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import Any, ClassVar, NamedTuple, overload

import numpy as np

from mpc.crossing import divided
from mpc.errors import LeakError, ProgramError
from mpc.ir import Block, Kind, Type, Var
from mpc.kinds import lowered_type
from mpc.place import here, source_line
from mpc.surface import Secret, SurfaceTrace
from mpc.tracing import Frame, Trace, Value, current_trace

__all__ = [
    "Rule", "RuleTrace", "Wrapped", "deal", "mask", "masked", "msb", "open", "protocol", "series", "terms", "waves",
]  # fmt: skip


class Lowered(Value):
    """A value inside a rule: a ring integer or array of a kind."""

    __slots__ = ()

    @property
    def bits(self) -> int:
        """The width of the ring."""
        trace = current_trace()
        assert isinstance(trace, RuleTrace)
        return trace.bits


class RuleTrace(Trace):
    """The recording of a rule over a ring of `bits`."""

    level: ClassVar[str] = "lowered"

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits
        self.wrapped: frozenset[Var] = frozenset()  # operands that are there as four terms
        self.taken: set[Var] = set()  # what was asked for as terms

    def type_of(self, op: str, params: dict[str, Any], types: list[Type], where: str) -> Type:
        """The lowered typing rules."""
        return lowered_type(op, params, types, where)

    def wrap(self, var: Var, frame: Frame) -> Value:
        """A lowered value."""
        return Lowered(var, frame)

    def binary(self, op: str, x: Any, y: Any) -> Any:
        """Ring arithmetic; plain integers become consts."""
        if op == "div":
            raise ProgramError("there is no division in the ring", here())
        return self.emit(op, [self._value(x), self._value(y)])

    def _value(self, x: Any) -> Value:
        if isinstance(x, Value):
            return x
        array = np.asarray(x, dtype=object)
        whole = [operator.index(v) % (1 << self.bits) for v in array.ravel().tolist()]
        shape = list(array.shape)
        return self.emit("const", [], {"value": whole if shape else whole[0], "shape": shape})


def _rule() -> RuleTrace:
    trace = current_trace()
    if isinstance(trace, RuleTrace):
        return trace
    raise LeakError(
        "mask, deal, open and masked belong in a protocol rule: put them in a function under @mpc.protocol", here()
    )


def mask(shape: Sequence[int] | int = (), bits: int = 0) -> Any:
    """A fresh uniform mask: the sum of the parties' own pseudorandom blocks; the dealer knows it, each party its block.

    bits: if given, words of so many bits that add up by exclusive or. Costs nothing to send.
    """
    full = [shape] if isinstance(shape, int) else list(shape)
    return _rule().emit("mask", [], {"shape": full, **({"bits": bits} if bits else {})})


def deal(x: Any) -> Any:
    """Shares of a function of masks, which the dealer evaluates in the clear. One correction of 8 bytes an element."""
    return _rule().emit("deal", [x])


def open(x: Any, width: int | None = None) -> Any:  # noqa: A001 - the field's word
    """Make a masked share public among the computing parties: one round, 8 bytes an element to each peer.

    width: open only x modulo 2^width; each party reduces its share first and sends ⌈width/8⌉ bytes an element.
    """
    trace = _rule()
    most = x.type.bits or trace.bits
    bits = most if width is None else operator.index(width)
    if not 1 <= bits <= most:
        raise ProgramError(f"open of {bits} bits in a domain of {most}", here())
    return trace.emit("open", [x], {"width": bits})


def masked(x: Any) -> tuple[Any, Any]:
    """The wire (Δ, λ) of a shared value: Δ = x + λ public, λ a mask of its own. One opening at most per value."""
    trace = _rule()
    used = trace.use(x)
    if used.type.kind is not Kind.SHARE:
        raise LeakError(f"masked of a {used.type.kind} value: it takes a share", here())
    types = (Type(Kind.PUBLIC, used.type.shape), Type(Kind.MASK, used.type.shape))
    delta, lam = trace.record("masked", (used,), types, {}, here())
    return delta, lam


class Wrapped(NamedTuple):
    """A value as delta − lam + q·v: a wire up to a wrap of the ring, which the public q, 0 or 1, says to put right.

    What a truncation returns: the masks, lam and v, are dealt, so the value is known to a product without an opening.
    """

    delta: Any
    lam: Any
    q: Any
    v: Any

    @property
    def share(self) -> Any:
        """The value as a share."""
        return self.delta - self.lam + self.q * self.v


def terms(x: Any) -> tuple[tuple[Any, Any], list[tuple[Any, Any]]]:
    """A shared value as its wire (Δ, λ) and no more, or, where a truncation made it so, as (Δ, λ) and one wrap (q, v).

    Nothing is opened for a value that is there as `Wrapped`. For rules that are sums over their operands' terms, lane
    by lane: a q cannot leave a sum over lanes.
    """
    trace = _rule()
    used = trace.use(x)
    trace.taken.add(used)
    if used not in trace.wrapped:
        return masked(x), []
    types = tuple(Type(kind, used.type.shape) for kind in (Kind.PUBLIC, Kind.MASK) * 2)
    delta, lam, q, v = trace.record("terms", (used,), types, {}, here())
    return (delta, lam), [(q, v)]


def masked_low(x: Any, width: int) -> tuple[Any, Any]:
    """(c, r), c = x + r public modulo 2^width at least: the value's own wire if it has one, else ⌈width/8⌉ bytes."""
    trace = _rule()
    used = trace.use(x)
    if used.type.kind is not Kind.SHARE:
        raise LeakError(f"masked_low of a {used.type.kind} value: it takes a share", here())
    types = (Type(Kind.PUBLIC, used.type.shape), Type(Kind.MASK, used.type.shape))
    delta, lam = trace.record("masked_low", (used,), types, {"width": width}, here())
    return delta, lam


def onehot(r: Any, width: int) -> Any:
    """For each byte of a mask's low width − 1 bits, 256 bits of which one is set: packed words, for a deal."""
    return _rule().emit("onehot", [r], {"width": width})


def look(hot: Any, c: Any, width: int, what: str) -> Any:
    """Shares of [r_j = c_j] for each byte j, or of [r_j > c_j] and, from byte 1 on, [r_j = c_j]: packed bits; local."""
    return _rule().emit("look", [hot, c], {"width": width, "what": what})


def cross(dx: Any, lx: Any, dy: Any, ly: Any) -> Any:
    """Δx@Δy − Δx@λy − λx@Δy of two wires: x @ y but for λx@λy; local, in 2 − 1/n products of n parties."""
    return _rule().emit("cross", [dx, lx, dy, ly], {"divided": divided(dx.shape, dy.shape)})


def bit(x: Any, at: int) -> Any:
    """One bit of a public value, or of a mask inside a deal, as a number of the ring."""
    return _rule().emit("bit", [x], {"at": at})


def msb(x: Any) -> Any:
    """The most significant bit of a public value, or of a mask inside a deal."""
    return _rule().emit("msb", [x])


def series(
    x: Any, *, odd: Sequence[int], coefficients: Sequence[int], cbits: int, bits: int, shift: int
) -> tuple[Any, Any]:
    """b_j sin(k_j x) and b_j cos(k_j x) of a public angle, x · 2^shift of the ring, at `bits`; new first axis j."""
    params = {"odd": list(odd), "coefficients": list(coefficients), "cbits": cbits, "bits": bits, "shift": shift}
    return _two("series", x, params)


def waves(x: Any, *, odd: Sequence[int], bits: int, shift: int) -> tuple[Any, Any]:
    """sin(k_j x) and cos(k_j x) of a mask, for a deal, at `bits`, new first axis j."""
    return _two("waves", x, {"odd": list(odd), "bits": bits, "shift": shift})


def _two(op: str, x: Any, params: dict[str, Any]) -> tuple[Any, Any]:
    trace, where = _rule(), here()
    used = trace.use(x)
    t = trace.type_of(op, params, [used.type], where)
    first, second = trace.record(op, (used,), (t, t), params, where)
    return first, second


class Rule:
    """A protocol rule: a Python function of shares that returns one share, and how to trace it into a block."""

    def __init__(self, function: Callable[..., Any], scale: Any = None, range_: Any = None, rounding: int = 0) -> None:
        update_wrapper(self, function)
        self.function = function
        self._scale, self._range, self._rounding = scale, range_, rounding
        self._blocks: dict[Any, tuple[Block, frozenset[int]]] = {}

    @property
    def name(self) -> str:
        """The function's name."""
        return self.function.__name__

    @property
    def line(self) -> str:
        """Where the function begins."""
        code = self.function.__code__
        return source_line(code.co_filename, code.co_firstlineno)

    def block(
        self, shapes: Sequence[tuple[int, ...]], params: dict[str, Any], bits: int, wrapped: Sequence[bool] = ()
    ) -> Block:
        """The rule on shares of these shapes, as lowered equations whose parameters are the shares. Memoised.

        wrapped: for each share, whether it is there as four terms. Results: a share, then the terms of it, if the rule
        knows them.
        """
        return self._traced(shapes, params, bits, tuple(wrapped))[0]

    def taken(self, shapes: Sequence[tuple[int, ...]], params: dict[str, Any], bits: int) -> frozenset[int]:
        """Which operands the rule takes as terms."""
        return self._traced(shapes, params, bits, ())[1]

    def _traced(self, shapes: Any, params: dict[str, Any], bits: int, wrapped: Any) -> tuple[Block, frozenset[int]]:
        key = (tuple(shapes), repr(sorted(params.items())), bits, wrapped if any(wrapped) else ())
        if key not in self._blocks:
            self._blocks[key] = self._trace(shapes, params, bits, wrapped)
        return self._blocks[key]

    def _trace(self, shapes: Any, params: dict[str, Any], bits: int, wrapped: Any) -> tuple[Block, frozenset[int]]:
        trace = RuleTrace(bits)
        frame = trace.frames[0]
        operands = tuple(trace.fresh(Type(Kind.SHARE, tuple(s))) for s in shapes)
        frame.block.params = operands
        trace.wrapped = frozenset(v for v, is_wrapped in zip(operands, wrapped, strict=False) if is_wrapped)
        with trace.recording():
            result = self.function(*(trace.wrap(v, frame) for v in operands), **params)
            trace.location = self.line  # not the line of whoever has the rule traced: it would be another at each party
            known = tuple(result) if isinstance(result, Wrapped) else ()
            share = self._share(trace, result.share if isinstance(result, Wrapped) else result)
            frame.block.results = (share, *(trace.use(v) for v in known))
        return frame.block, frozenset(i for i, v in enumerate(operands) if v in trace.taken)

    def _share(self, trace: RuleTrace, result: Any) -> Var:
        if not isinstance(result, Value):
            raise ProgramError(f"rule {self.name} returns {type(result).__name__}, not a share", here())
        var = trace.use(result)
        if var.type.kind is Kind.DEALER:
            raise LeakError(f"rule {self.name} returns what only the dealer knows; deal() it", here())
        if var.type.kind is not Kind.SHARE:
            var = trace.record("cast", (var,), (var.type.but(kind=Kind.SHARE),), {"kind": "share"}, self.line)[0].var
        return var

    def __call__(self, *args: Any, **params: Any) -> Any:
        """In a rule: the same rule inlined. In a program: a secret, computed by this rule under any suite."""
        trace = current_trace()
        if isinstance(trace, RuleTrace):
            result = self.function(*args, **params)
            return result.share if isinstance(result, Wrapped) else result
        assert isinstance(trace, SurfaceTrace)
        return self._call(trace, args, params)

    def _call(self, trace: SurfaceTrace, args: tuple[Any, ...], params: dict[str, Any]) -> Secret:
        for x in args:
            if not isinstance(x, Secret):
                raise ProgramError(f"{self.name} takes secret values: mpc.share(x) first", here())
        types = [x.type for x in args]
        rule = self.block([t.shape for t in types], params, 64)
        block = Block(rule.params, rule.equations, rule.results[:1])
        scale = self._scale(*[t.scale for t in types]) if self._scale else sum(t.scale for t in types)
        if self._range:
            lo, hi = self._range(*[(t.lo, t.hi) for t in types])
        else:
            hi = 2.0 ** (61 - scale)
            lo = -hi
            trace.notes.append(f"{here()}: {self.name} states no range; its result is taken to lie in ±2^{61 - scale}")
        where = trace.place()
        t = Type(Kind.SECRET, block.results[0].type.shape, scale, lo=float(lo), hi=float(hi))
        known = {
            "rule": self.name, "shape": list(t.shape), "scale": scale, "lo": t.lo, "hi": t.hi,
            "rounding": self._rounding,
        }  # fmt: skip
        value = trace.record("call", tuple(trace.use(x) for x in args), (t,), known, where, block)[0]
        assert isinstance(value, Secret)
        return value


@overload
def protocol(function: Callable[..., Any]) -> Rule: ...


@overload
def protocol(
    function: None = None,
    *,
    scale: Any = None,
    range: Any = None,
    rounding: int = 0,
) -> Callable[[Callable[..., Any]], Rule]: ...


@overload
def protocol(
    function: Callable[..., Any],
    *,
    scale: Any = None,
    range: Any = None,
    rounding: int = 0,
) -> Rule: ...


def protocol(
    function: Callable[..., Any] | None = None,
    *,
    scale: Any = None,
    range: Any = None,  # noqa: A002 - the language's word
    rounding: int = 0,
) -> Any:
    """Make a function of shares a protocol rule.

    A suite uses rules for `multiply`, `matmul`, `truncate` and `sigmoid`. A program may call one as a function of
    secrets; then scale(*operand scales) gives the fraction bits of the result (their sum unless stated) and
    range(*operand (lo, hi)) its range. rounding: by how many units its result may depend on masks: 0, or 1 for a
    truncation; more is refused by the check, and what is stated is listed in the plan.
    """
    if function is None:
        return lambda f: Rule(f, scale, range, rounding)
    return Rule(function, scale, range, rounding)
