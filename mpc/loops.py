"""`repeat`: a body traced once, whatever the number of steps.

The body is traced until the type of its state stands still: scales grow to what the body makes of them, ranges must be
stated where they cannot be derived. Equations that do not depend on the step or the state move out of the loop.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from mpc.arithmetic import multiply_out, shift_up
from mpc.errors import OverflowRefusal, ProgramError, ShapeError
from mpc.indexing import Index
from mpc.ir import Block, Equation, Kind, Type, Var
from mpc.language import secret
from mpc.place import here
from mpc.surface import FRACTION_BITS, Clear, Private, Secret, SurfaceTrace, surface, truncate
from mpc.tracing import Frame, Value

__all__ = ["repeat"]

_TRIES = 6
_IMPURE = frozenset({"reveal", "input"})


def repeat(times: int, body: Callable[..., Any], init: Any, *invariant: Any, **public: Any) -> Any:
    """Run `body(i, state) -> state` `times` times and give the last state.

    times: a public number ≥ 0. i: the step, a public number that all parties and the dealer know. state: a value, or a
    tuple, list or dict of values, of the same shapes every step. Values that the body captures, and `invariant` ones
    passed after the state, are the same every step; a matrix that is multiplied in the body is opened once, outside.
    The body is Python that runs a few times while tracing, never once per step. A program of 5 steps and one of 5,000
    have the same size. Cost: `times` × the rounds and openings of one step.
    """
    trace = surface()
    count = operator.index(times)
    if count < 0:
        raise ProgramError(f"repeat of {count} steps", here())
    names, values = _flatten(init)
    state: list[Value] = [_carried(v) for v in values]
    if count == 0:
        return _rebuild(init, names, state)

    def traced(types: list[Type], fixed: bool) -> tuple[Frame, list[Value]]:
        with trace.frame() as frame:
            step = trace.fresh(Type(Kind.CONST, (), lo=0.0, hi=float(count - 1)))
            params = [trace.fresh(t) for t in types]
            frame.block.params = (step, *params)
            given = _rebuild(init, names, [trace.wrap(p, frame) for p in params])
            _, out = _flatten(body(Index(step, frame), given, *invariant, **public))
            if len(out) != len(types):
                raise ShapeError(f"the loop's body takes {len(types)} values and returns {len(out)}", here())
            results = [_settle(_carried(v), t, fixed) for v, t in zip(out, types, strict=True)]
            frame.block.results = tuple(trace.use(v) for v in results)
            return frame, results

    frame, state = _settled(traced, state)
    block = frame.block
    block.params = (*block.params, *frame.lifted.values())
    outer = _hoist(trace, block, frame)
    used = (*[trace.use(v) for v in state], *outer)
    types = [v.type for v in block.params[1 : 1 + len(state)]]
    where = trace.place()
    results = trace.record("repeat", used, types, {"times": count, "carry": len(state)}, where, block)
    return _rebuild(init, names, results)


_Traced = Callable[[list[Type], bool], tuple[Frame, list[Value]]]


def _settled(traced: _Traced, state: list[Value]) -> tuple[Frame, list[Value]]:
    """The last body, and the initial state at the types that stood still.

    First the scale may grow to what the body makes of it; where that has no end, each step cuts it back.
    """
    try:
        return _converge(traced, state, fixed=False)
    except OverflowRefusal:
        return _converge(traced, state, fixed=True)


def _converge(traced: _Traced, state: list[Value], *, fixed: bool) -> tuple[Frame, list[Value]]:
    types = [v.type.but(scale=max(v.type.scale, FRACTION_BITS) if fixed else v.type.scale) for v in state]
    previous, wider = types, types
    for _ in range(_TRIES):
        frame, results = traced(types, fixed)
        wider = [_join(t, r.type) for t, r in zip(types, results, strict=True)]
        if wider == types:
            return frame, [shift_up(v, t.scale - v.type.scale) for v, t in zip(state, types, strict=True)]
        previous, types = types, wider
    grew = next(i for i, (t, w) in enumerate(zip(previous, wider, strict=True)) if t != w)
    ranged = wider[grew].bound > previous[grew].bound
    what, cure = ("range", "assume_range(w, lo, hi)") if ranged else ("noise", "accept_rounding(w)")
    raise OverflowRefusal(
        f"the {what} of the loop's state (value {grew}) grows with every step and cannot be derived; state it: "
        f"return mpc.{cure} from the body",
        here(),
    )


def _join(t: Type, out: Type) -> Type:
    return t.but(
        scale=max(t.scale, out.scale), lo=min(t.lo, out.lo), hi=max(t.hi, out.hi), noise=max(t.noise, out.noise)
    )


def _settle(value: Value, t: Type, fixed: bool) -> Value:
    """The body's result as it enters the next step, with no fewer fraction bits than the state has."""
    if value.shape != t.shape:
        raise ShapeError(f"the loop's state has shape {t.shape} and comes back with {value.shape}", here())
    if value.type.scale > t.scale and fixed:
        return truncate(value, value.type.scale - t.scale)
    return shift_up(value, max(0, t.scale - value.type.scale))


def _carried(value: Any) -> Value:
    if isinstance(value, Private | Clear):
        raise ProgramError("a loop's state is secret or public, never an owner's private value; share it first", here())
    return multiply_out(value if isinstance(value, Secret) else secret(value))


def _flatten(state: Any) -> tuple[Any, list[Any]]:
    if isinstance(state, dict):
        return list(state), list(state.values())
    if isinstance(state, tuple | list):
        return len(state), list(state)
    return None, [state]


def _rebuild(like: Any, names: Any, values: list[Any]) -> Any:
    if isinstance(like, dict):
        return dict(zip(names, values, strict=True))
    if isinstance(like, tuple | list):
        return type(like)(values)
    return values[0]


def _hoist(trace: SurfaceTrace, block: Block, frame: Frame) -> list[Var]:
    """Move loop-invariant equations in front of the loop; give the outer variables of the body's extra parameters."""
    carried = set(block.params[: len(block.params) - len(frame.lifted)])
    outside = {inner: outer for outer, inner in zip(frame.outer, frame.lifted.values(), strict=True)}
    consts: dict[Var, Equation] = {}
    stay: list[Equation] = []
    new: dict[Var, Var] = {}
    for equation in block.equations:
        free = all(v in outside or v in new or v in consts for v in equation.inputs)
        if equation.op in ("const", "number") and not equation.inputs:
            consts[equation.output] = equation
            stay.append(equation)
        elif free and equation.op not in _IMPURE and equation.body is None and not carried & set(equation.inputs):
            new[equation.output] = _moved(trace, equation, outside, new, consts)
        else:
            stay.append(equation)
    block.equations = stay
    needed = {v for e in stay for v in e.inputs} | set(block.results)
    block.equations = [e for e in stay if e.op not in ("const", "number") or e.output in needed]
    # A moved value keeps its variable as the body's parameter; outside it has one of its own.
    kept = [(inner, outer) for inner, outer in {**outside, **new}.items() if inner in needed]
    block.params = (*[p for p in block.params if p in carried], *(inner for inner, _ in kept))
    return [outer for _, outer in kept]


def _moved(
    trace: SurfaceTrace, equation: Equation, outside: dict[Var, Var], new: dict[Var, Var], consts: dict[Var, Equation]
) -> Var:
    target = trace.frames[-1].block.equations
    inputs = []
    for v in equation.inputs:
        if v in consts:
            copy = trace.fresh(v.type)
            source = consts[v]
            target.append(Equation(source.op, (), (copy,), source.params, source.where))
            inputs.append(copy)
        else:
            inputs.append(outside[v] if v in outside else new[v])
    output = trace.fresh(equation.output.type)
    target.append(Equation(equation.op, tuple(inputs), (output,), equation.params, equation.where))
    return output
