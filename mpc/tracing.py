"""Recording what a function does: frames, traced values, and numpy's manners.

One tracing class serves both levels. A `Value` stands for a variable of the program being recorded; arithmetic on it
goes to its `Trace`, which knows the level's rules. Values of an outer frame that a loop body uses become parameters of
the body by themselves.
"""

from __future__ import annotations

import operator
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from math import prod
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

import numpy as np

from mpc.errors import ProgramError, SecretError, ShapeError
from mpc.ir import Block, Equation, Kind, Type, Var

__all__ = ["Frame", "Trace", "Value", "current_trace", "here", "source_line", "written"]

_HOME = str(Path(__file__).parent)
_CURRENT: ContextVar[Trace | None] = ContextVar("trace", default=None)
Params = dict[str, Any]


def here() -> str:
    """The source line that is being traced, as `train.py:17`: the innermost frame outside this package."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename.startswith(_HOME):
        if frame.f_back is None:
            return ""
        frame = frame.f_back
    return source_line(frame.f_code.co_filename, frame.f_lineno)


def source_line(path: str, number: int) -> str:
    """A place in a file, as it stands in programs: `train.py:17`."""
    return f"{_file(path)}:{number}"


def written() -> str:
    """`here`, and what the author wrote there: `train.py:17 (multiply)`."""
    frame, inner = sys._getframe(1), sys._getframe(0)
    while frame.f_code.co_filename.startswith(_HOME):
        if frame.f_back is None:
            return ""
        frame, inner = frame.f_back, frame
    word = _word(inner.f_code.co_name, inner)
    return f"{_file(frame.f_code.co_filename)}:{frame.f_lineno}" + (f" ({word})" if word else "")


def _word(name: str, frame: FrameType) -> str:
    """The word for a function of the language that was called: its name, an operator's in numpy's words."""
    if name in _BEHIND:
        called = frame.f_locals[_BEHIND[name]]
        name = str(getattr(called, "name", None) or getattr(called, "__name__", ""))
    base = name.strip("_")
    base = base.removeprefix("r") if name.startswith("__r") and base != "rshift" else base
    return (_OPERATORS.get(base, base) if name.startswith("__") else base) if base.isidentifier() else ""


_BEHIND = {"__array_ufunc__": "ufunc", "__array_function__": "function", "__call__": "self"}
_OPERATORS = {
    "sub": "subtract", "mul": "multiply", "truediv": "divide", "neg": "negate", "abs": "absolute", "pow": "power",
    "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal", "ne": "not_equal",
    "getitem": "index",
}  # fmt: skip


@cache
def _file(path: str) -> str:
    return Path(path).name.replace(" ", "_")


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
        return index(self, key)

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
FUNCTIONS: dict[Any, Callable[..., Any]] = {}


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


def _expand(key: Any, shape: tuple[int, ...]) -> list[Any]:
    parts = list(key) if isinstance(key, tuple) else [key]
    taken = sum(1 for p in parts if p is not None and p is not Ellipsis)
    if taken > len(shape):
        raise ShapeError(f"{taken} indices for shape {shape}", here())
    fill = [slice(None)] * (len(shape) - taken)
    dots = [i for i, p in enumerate(parts) if p is Ellipsis]
    at = dots[0] if dots else len(parts)
    return parts[:at] + fill + [p for p in parts[at:] if p is not Ellipsis]


def index(x: Value, key: Any) -> Any:
    """numpy's basic indexing, one-dimensional index arrays, and slices that start at a public step index."""
    parts = _expand(key, x.shape)
    _unlike_numpy(parts)
    used = [p for p in parts if p is not None]
    static = [_static(p, n) for p, n in zip(used, x.shape, strict=True)]
    if any(s != [0, n, 1] for s, n in zip(static, x.shape, strict=True)):
        x = x.trace.emit("slice", [x], {"parts": static})
    for axis, part in enumerate(used):
        if isinstance(part, Value) or (isinstance(part, slice) and _moving(part)):
            x = _moved(x, axis, part)
        elif not isinstance(part, slice | int | np.integer):
            x = _taken(x, axis, np.asarray(part))
    lengths = iter(x.shape)
    kept = [(1 if p is None else next(lengths), p) for p in parts]
    scalar = (int, np.integer, Value)
    return x.reshape([n for n, p in kept if not isinstance(p, scalar)])


def _unlike_numpy(parts: list[Any]) -> None:
    """Refuse what numpy would read in another way: two index arrays, or an array and a number with a slice between."""
    listed = [p for p in parts if p is not None and not isinstance(p, int | np.integer | slice | Value)]
    if any(isinstance(p, bool) for p in parts) or len(listed) > 1:
        raise ShapeError("one index array at a time, and no single truth value: x[rows][:, columns]", here())
    advanced = [i for i, p in enumerate(parts) if p is not None and not isinstance(p, slice)]
    if listed and advanced and advanced[-1] - advanced[0] >= len(advanced):
        raise ShapeError("an index array beside a number needs them next to each other: x[rows][:, :, 0]", here())


def _static(part: Any, length: int) -> list[int | None]:
    if isinstance(part, int | np.integer):
        at = operator.index(part)
        if not -length <= at < length:
            raise ShapeError(f"index {at} is out of bounds for an axis of length {length}", here())
        return [at % length, at % length + 1, 1]
    if isinstance(part, slice) and not _moving(part):
        start, stop, step = part.indices(length)
        return [start, stop if stop >= 0 else None, step]
    return [0, length, 1]


def _moving(part: slice) -> bool:
    return any(isinstance(p, Value) for p in (part.start, part.stop))


def _moved(x: Value, axis: int, part: Any) -> Value:
    """The part of an axis that begins at a traced public number."""
    start, size = (part.start, distance(part.start, part.stop)) if isinstance(part, slice) else (part, 1)
    if not isinstance(start, Value) or start.type.kind is not Kind.CONST or start.shape:
        raise SecretError("an index must be public: a number, a slice, or the loop's step index", here())
    if isinstance(part, slice) and (part.step not in (None, 1) or not 0 < size <= x.shape[axis]):
        raise ShapeError(f"a moving slice needs step 1 and a length of 1 to {x.shape[axis]}, not {size}", here())
    return x.trace.emit("dynamic_slice", [x, start], {"axis": axis, "size": size})


def _taken(x: Value, axis: int, chosen: Any) -> Value:
    """The rows that an array of integers or booleans names."""
    if chosen.dtype == bool and chosen.shape == x.shape[axis : axis + 1]:
        chosen = np.flatnonzero(chosen)
    if chosen.dtype.kind not in "iu" or chosen.ndim != 1:
        raise ShapeError("an index array must be one-dimensional: integers, or one truth value a row", here())
    n = x.shape[axis]
    if chosen.size and not (-n <= chosen.min() and chosen.max() < n):
        raise ShapeError(f"an index is out of bounds for an axis of length {n}", here())
    listed = [int(i) % n for i in chosen]
    order = x.trace.emit("const", [], {"value": listed, "shape": [len(listed)], "scale": 0})
    return x.trace.emit("take", [x, order], {"axis": axis})


class Index(Value):
    """A public integer known to all and to the dealer: the step of a loop, and what is computed from it.

    `linear` is its value as Σ coefficient · variable + offset, so that the length of X[i*b:(i+1)*b] is known.
    """

    __slots__ = ("linear",)

    def __init__(self, var: Var, frame: Frame, linear: tuple[dict[int, int], int] | None = None) -> None:
        super().__init__(var, frame)
        self.linear = linear if linear is not None else ({var.number: 1}, 0)

    def _with(self, op: str, x: Any, y: Any) -> Any:
        if not all(isinstance(v, int | Index) for v in (x, y)) or (
            op == "mul" and isinstance(x, Index) and isinstance(y, Index)
        ):
            return self.trace.binary(op, x, y)
        (cx, ox), (cy, oy) = ((v.linear if isinstance(v, Index) else ({}, v)) for v in (x, y))
        if op == "mul":
            factor, coefs, offset = (oy, cx, ox) if not cy else (ox, cy, oy)
            linear = ({v: c * factor for v, c in coefs.items()}, offset * factor)
        else:
            sign = 1 if op == "add" else -1
            linear = ({v: cx.get(v, 0) + sign * cy.get(v, 0) for v in cx | cy}, ox + sign * oy)
        result = self.trace.binary(op, x, y)
        return Index(result.var, result.frame, linear)

    def __add__(self, y: Any) -> Any:
        return self._with("add", self, y)

    def __radd__(self, y: Any) -> Any:
        return self._with("add", y, self)

    def __sub__(self, y: Any) -> Any:
        return self._with("sub", self, y)

    def __rsub__(self, y: Any) -> Any:
        return self._with("sub", y, self)

    def __mul__(self, y: Any) -> Any:
        return self._with("mul", self, y)

    def __rmul__(self, y: Any) -> Any:
        return self._with("mul", y, self)

    def _stepped(self, op: str, by: int) -> Any:
        coefs, offset = self.linear
        steps = self.trace.frames[-1].steps
        key = (op, by, offset, *sorted((v, c) for v, c in coefs.items() if c))
        if key not in steps:
            value = self.trace.emit(op, [self], {"by": by})
            steps[key] = Index(value.var, value.frame)
        return steps[key]

    def __mod__(self, n: int) -> Any:
        return self._stepped("mod", operator.index(n))

    def __floordiv__(self, n: int) -> Any:
        return self._stepped("div", operator.index(n))


def distance(start: Any, stop: Any) -> int:
    """stop − start of a moving slice, which must be a plain number."""
    start = 0 if start is None else start
    if stop is None:
        raise ShapeError("a moving slice needs an end, as X[i*b:(i+1)*b]", here())
    (a, x), (b, y) = ((v.linear if isinstance(v, Index) else ({}, operator.index(v))) for v in (start, stop))
    if any(a.get(v, 0) != b.get(v, 0) for v in a | b):
        raise ShapeError("the length of a slice must not depend on the step: X[i*b:(i+1)*b] has length b", here())
    return y - x
