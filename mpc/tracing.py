"""Recording what a function does: frames, traced values, and numpy's manners.

One tracing class serves both levels. A `Value` stands for a variable of the program being recorded; arithmetic on it
goes to its `Trace`, which knows the level's rules. Values of an outer frame that a loop body uses become parameters of
the body by themselves.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod
from typing import Any, ClassVar

import numpy as np

from mpc.errors import ProgramError, SecretError, ShapeError
from mpc.ir import Block, Equation, Type, Var
from mpc.place import here

__all__ = ["FUNCTIONS", "UFUNCS", "Frame", "Trace", "Value", "axes_of", "current_trace"]

_CURRENT: ContextVar[Trace | None] = ContextVar("trace", default=None)
Params = dict[str, Any]


def current_trace() -> Trace:
    """The trace under way; an error that names the cure if a function of the language is called outside one."""
    trace = _CURRENT.get()
    if trace is None:
        raise ProgramError("called outside a program: put it in a function under @mpc.program and run that", here())
    return trace


class Frame:
    """One block under construction."""

    def __init__(self) -> None:
        self.block = Block()
        self.lifted: dict[int, Var] = {}  # outer variable → parameter of this block
        self.outer: list[Var] = []  # the outer variables, in the order of their parameters
        self.known: dict[Any, Value] = {}  # what has been computed here, so that the same is computed once
        self.steps: dict[Any, Any] = {}  # i % n and i // n, so that both ends of a slice speak of one value

    def lift(self, var: Var, fresh: Callable[[Type], Var]) -> Var:
        """The parameter of this block that stands for an outer variable."""
        if var.number not in self.lifted:
            self.lifted[var.number] = fresh(var.type)
            self.outer.append(var)
        return self.lifted[var.number]


class Trace(ABC):
    """A recording: numbers variables, types equations, keeps the stack of frames."""

    level: ClassVar[str]

    def __init__(self) -> None:
        self._next = 0
        self.location = ""  # the source line of what follows, where it is not the caller's
        self.frames = [Frame()]

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Make this the trace that the language's functions write to."""
        token = _CURRENT.set(self)
        try:
            yield
        finally:
            _CURRENT.reset(token)

    @contextmanager
    def frame(self) -> Iterator[Frame]:
        """A nested block."""
        self.frames.append(Frame())
        try:
            yield self.frames[-1]
        finally:
            self.frames.pop()

    @contextmanager
    def inside(self, frame: Frame) -> Iterator[None]:
        """Write to an outer block for a while."""
        frames = self.frames
        self.frames = frames[: frames.index(frame) + 1]
        try:
            yield
        finally:
            self.frames = frames

    def fresh(self, t: Type) -> Var:
        """A new variable."""
        self._next += 1
        return Var(self._next - 1, t)

    @abstractmethod
    def type_of(self, op: str, params: Params, types: list[Type], where: str) -> Type:
        """The typing rule of this level."""

    @abstractmethod
    def binary(self, op: str, x: Any, y: Any) -> Any:
        """Arithmetic with this level's conversions; one of x, y is a Value."""

    @abstractmethod
    def wrap(self, var: Var, frame: Frame) -> Value:
        """The Value for a variable."""

    def place(self) -> str:
        """What an equation that is recorded now has as its `where`."""
        return here()

    def use(self, value: Value) -> Var:
        """The variable by which the innermost frame knows a value."""
        if value.frame not in self.frames:
            raise ProgramError(
                "a value is used after its loop body or program has ended: return it from the body instead", here()
            )
        var = value.var
        for frame in self.frames[self.frames.index(value.frame) + 1 :]:
            var = frame.lift(var, self.fresh)
        return var

    def emit(self, op: str, inputs: Sequence[Value], params: Params | None = None) -> Value:
        """Record one equation and give its result."""
        where, params = self.location or self.place(), params or {}
        used = tuple(self.use(v) for v in inputs)
        t = self.type_of(op, params, [v.type for v in used], where)
        return self.record(op, used, (t,), params, where)[0]

    def record(
        self,
        op: str,
        used: tuple[Var, ...],
        types: Sequence[Type],
        params: Params,
        where: str,
        body: Block | None = None,
    ) -> list[Value]:
        """Append an equation whose types are known."""
        outputs = tuple(self.fresh(t) for t in types)
        self.frames[-1].block.equations.append(Equation(op, used, outputs, params, where, body))
        return [self.wrap(v, self.frames[-1]) for v in outputs]


def _refuse(what: str, cure: str) -> Callable[..., Any]:
    def refused(self: Value, *_: object, **__: object) -> Any:
        raise SecretError(
            f"{what} of a {self.var.type.kind} value is not known while the program is traced; {cure}", here()
        )

    return refused


class Value:
    """A value of the program being traced. It has a shape and no value; repr never shows more than its type."""

    __slots__ = ("frame", "var")
    __array_priority__ = 1000

    def __init__(self, var: Var, frame: Frame) -> None:
        self.var = var
        self.frame = frame

    def __repr__(self) -> str:
        t = self.var.type
        held = f", owner={t.owner}" if t.owner else ""
        return f"<{t.kind} shape={t.shape} scale={t.scale}{held}>"

    def __reduce__(self) -> str:
        raise SecretError("a traced value is never serialised; return it from the program", here())

    @property
    def type(self) -> Type:
        """Kind, shape, scale, unit, range."""
        return self.var.type

    @property
    def shape(self) -> tuple[int, ...]:
        """As in numpy."""
        return self.var.type.shape

    @property
    def ndim(self) -> int:
        """As in numpy."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """As in numpy."""
        return prod(self.shape)

    @property
    def owner(self) -> str:
        """The one party that knows a private value."""
        return self.var.type.owner

    @property
    def trace(self) -> Trace:
        """The recording it belongs to."""
        return current_trace()

    def __len__(self) -> int:
        if not self.shape:
            raise ShapeError("len() of a scalar", here())
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    __bool__ = _refuse("the truth (bool)", "a Python `if` cannot branch on it: use mpc.where(condition, a, b)")
    __float__ = _refuse("the number (float)", "reveal it with mpc.reveal(x) and read it from the results")
    __int__ = _refuse("the number (int)", "reveal it with mpc.reveal(x) and read it from the results")
    __index__ = _refuse("the number (index)", "shapes and indices must be public settings")
    __complex__ = _refuse("the number (complex)", "reveal it with mpc.reveal(x)")
    __array__ = _refuse("the array (np.asarray)", "use mpc's or numpy's functions on it directly")
    __hash__ = object.__hash__

    def __lt__(self, y: Any) -> Any:
        return self.trace.binary("lt", self, y)

    def __le__(self, y: Any) -> Any:
        return self.trace.binary("le", self, y)

    def __gt__(self, y: Any) -> Any:
        return self.trace.binary("gt", self, y)

    def __ge__(self, y: Any) -> Any:
        return self.trace.binary("ge", self, y)

    def __eq__(self, y: object) -> Any:
        return self.trace.binary("eq", self, y)

    def __ne__(self, y: object) -> Any:
        return self.trace.binary("ne", self, y)

    def __add__(self, y: Any) -> Any:
        return self.trace.binary("add", self, y)

    def __radd__(self, y: Any) -> Any:
        return self.trace.binary("add", y, self)

    def __sub__(self, y: Any) -> Any:
        return self.trace.binary("sub", self, y)

    def __rsub__(self, y: Any) -> Any:
        return self.trace.binary("sub", y, self)

    def __mul__(self, y: Any) -> Any:
        return self.trace.binary("mul", self, y)

    def __rmul__(self, y: Any) -> Any:
        return self.trace.binary("mul", y, self)

    def __matmul__(self, y: Any) -> Any:
        return self.trace.binary("matmul", self, y)

    def __rmatmul__(self, y: Any) -> Any:
        return self.trace.binary("matmul", y, self)

    def __truediv__(self, y: Any) -> Any:
        return self.trace.binary("div", self, y)

    def __rtruediv__(self, y: Any) -> Any:
        return self.trace.binary("div", y, self)

    def __neg__(self) -> Any:
        return self.trace.emit("neg", [self])

    def __pos__(self) -> Any:
        return self

    def __abs__(self) -> Any:
        return UFUNCS[np.absolute](self)

    def __pow__(self, n: Any) -> Any:
        if not isinstance(n, int) or n < 1:
            raise ProgramError("only positive whole powers of a traced value, as x ** 3", here())
        half = self ** (n // 2) if n > 1 else None
        square = half * half if half is not None else self
        return square if n == 1 or n % 2 == 0 else square * self

    def __lshift__(self, by: int) -> Any:
        return self.trace.emit("shl", [self], {"by": operator.index(by)})

    def __rshift__(self, by: int) -> Any:
        return self.trace.emit("shr", [self], {"by": operator.index(by)})

    def reshape(self, *shape: Any) -> Any:
        """As `numpy.reshape`; one length may be −1."""
        wanted = shape[0] if len(shape) == 1 and isinstance(shape[0], Sequence) else shape
        known = prod(n for n in wanted if n != -1)
        full = [self.size // known if n == -1 and known else n for n in wanted]
        if prod(full) != self.size or any(n < 0 for n in full):
            raise ShapeError(f"cannot reshape {self.shape} into {tuple(wanted)}", here())
        return self if tuple(full) == self.shape else self.trace.emit("reshape", [self], {"shape": full})

    def ravel(self) -> Any:
        """One dimension."""
        return self.reshape(-1)

    def transpose(self, *axes: Any) -> Any:
        """As `numpy.transpose`."""
        order = axes[0] if len(axes) == 1 and isinstance(axes[0], Sequence) else axes
        full = [_axis(a, self.ndim) for a in order] if order else list(range(self.ndim))[::-1]
        if sorted(full) != list(range(self.ndim)):
            raise ShapeError(f"transpose axes {tuple(order)} do not fit shape {self.shape}", here())
        return self.trace.emit("transpose", [self], {"axes": full}) if full != sorted(full) else self

    @property
    def T(self) -> Any:  # noqa: N802 - numpy's name
        """The transpose."""
        return self.transpose()

    def sum(self, axis: Any = None, keepdims: bool = False) -> Any:
        """As `numpy.sum`."""
        axes = axes_of(axis, self.ndim)
        return self.trace.emit("sum", [self], {"axes": axes, "keepdims": bool(keepdims)}) if axes else self

    def mean(self, axis: Any = None, keepdims: bool = False) -> Any:
        """As `numpy.mean`; of nothing, a ProgramError."""
        count = prod(self.shape[a] for a in axes_of(axis, self.ndim))
        if not count:
            raise ProgramError(f"mean of no elements: shape {self.shape}", here())
        return self.sum(axis, keepdims) / count

    def dot(self, y: Any) -> Any:
        """Matrix product."""
        return self @ y

    def __getitem__(self, key: Any) -> Any:
        return FUNCTIONS[operator.getitem](self, key)

    def __array_ufunc__(self, ufunc: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        op = UFUNCS.get(ufunc)
        if op is None or method != "__call__" or kwargs:
            raise ProgramError(
                f"numpy.{ufunc.__name__} of a traced value is not in the language; see mpc's functions", here()
            )
        return op(*args)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        ours = FUNCTIONS.get(function)
        if ours is None:
            raise ProgramError(f"numpy.{function.__name__} of a traced value is not in the language", here())
        return ours(*args, **kwargs)


def _binary(op: str) -> Callable[[Any, Any], Any]:
    return lambda x, y: current_trace().binary(op, x, y)


UFUNCS: dict[Any, Callable[..., Any]] = {
    np.add: _binary("add"),
    np.subtract: _binary("sub"),
    np.multiply: _binary("mul"),
    np.true_divide: _binary("div"),
    np.matmul: _binary("matmul"),
    np.negative: operator.neg,
    np.positive: operator.pos,
    np.square: lambda x: x * x,
    np.less: _binary("lt"),
    np.less_equal: _binary("le"),
    np.greater: _binary("gt"),
    np.greater_equal: _binary("ge"),
    np.equal: _binary("eq"),
    np.not_equal: _binary("ne"),
}
FUNCTIONS: dict[Any, Callable[..., Any]] = {}  # numpy's, and Python's own indexing (`mpc.indexing`)


def _axis(axis: Any, ndim: int) -> int:
    a = operator.index(axis)
    if not -ndim <= a < ndim:
        raise ShapeError(f"axis {a} is out of bounds for {ndim} dimensions", here())
    return a % ndim


def axes_of(axis: Any, ndim: int) -> list[int]:
    """numpy's `axis=` as a sorted list."""
    if axis is None:
        return list(range(ndim))
    return sorted({_axis(a, ndim) for a in (axis if isinstance(axis, Sequence) else [axis])})
