"""The language of programs: fixed-point arithmetic on secret, private and public numbers, at the level people write.

Scales and units are kept by the language: a product adds scales, an addition aligns them, a factor that is no integer
is carried as an exact fraction (the unit) until something needs it multiplied out. Values are truncated as late as the
ring allows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeVar, cast

import numpy as np

from mpc.errors import LeakError, OverflowRefusal, ProgramError, SecretError, ShapeError, UsageError
from mpc.ir import Kind, Type, Var
from mpc.table import Schema
from mpc.tracing import FUNCTIONS, Frame, Index, Trace, Value, current_trace, here
from mpc.types import HEADROOM, SIZED, check_room, raw_bound, reveal_bits, surface_type

__all__ = ["FRACTION_BITS", "Clear", "PerParty", "Private", "Public", "Secret", "SurfaceTrace", "Table"]

FRACTION_BITS = 16  # of inputs and of reveals, unless the program says otherwise
_LEAST_BITS = 8  # no value is truncated to fewer fraction bits to make it fit


class Secret(Value):
    """A number or array that nobody knows; the parties hold shares of it."""

    __slots__ = ()

    def __truediv__(self, y: Any) -> Any:
        return self.trace.binary("div", self, y)


class Public(Value):
    """A revealed number or array."""

    __slots__ = ()


class Clear(Value):
    """Float arithmetic on revealed numbers, done by everyone who knows them."""

    __slots__ = ()


class Private(Value):
    """A number or array that only its owner knows; arithmetic on it is the owner's own, in float64."""

    __slots__ = ()


class Table(Value):
    """An owner's rows with named columns: `t["age"]`, `t[["age", "bmi"]]`, `t.drop("label")`, `len(t)`, `t.columns`."""

    __slots__ = ("schema",)
    schema: Schema

    @property
    def columns(self) -> tuple[str, ...]:
        """The column names: public."""
        return self.schema.columns or ()

    def classes(self, column: str) -> list[str]:
        """The distinct values of a label column, as sorted text: public, and listed as such."""
        self._known([column])
        return self.schema.classes(column)

    def labels(self, column: str, classes: Sequence[str]) -> Private:
        """The index of each row's label in `classes`, shape (rows,)."""
        self._known([column])
        params = {"names": [column], "classes": list(classes)}
        return self.trace.emit("labels", [self], params)  # type: ignore[return-value]

    def drop(self, *names: str) -> Private:
        """All columns but these, shape (rows, columns)."""
        self._known(names)
        return cast("Private", self[[c for c in self.columns if c not in names]])

    def __getitem__(self, key: Any) -> Any:
        names = [key] if isinstance(key, str) else list(key)
        self._known(names)
        matrix = self.trace.emit("columns", [self], {"names": names})
        return matrix.reshape(-1) if isinstance(key, str) else matrix

    def _known(self, names: Sequence[str]) -> None:
        for name in names:
            if name not in self.columns:
                raise UsageError(f"{self.owner} has no column {name!r}; its columns are {', '.join(self.columns)}")


_T = TypeVar("_T")


class PerParty(tuple[_T, ...]):
    """One value from each party that brought the name, in the cluster's order."""

    __slots__ = ()


_CLASSES: dict[Kind, type[Value]] = {
    Kind.SECRET: Secret,
    Kind.PUBLIC: Public,
    Kind.PRIVATE: Private,
    Kind.CLEAR: Clear,
    Kind.TABLE: Table,
    Kind.CONST: Index,
}


@dataclass
class Defaults:
    """What an input that states no range is taken to be: |x| ≤ bound at `scale` fraction bits.

    `late`: operands are not truncated to make room. A product that leaves the ring is then refused only where its size
    matters, so that a range stated after it counts. Tried first.
    """

    bound: float = 2.0**30
    scale: int = FRACTION_BITS
    late: bool = False


class SurfaceTrace(Trace):
    """The recording of a program."""

    level = "surface"

    def __init__(self, parties: Sequence[str], defaults: Defaults) -> None:
        super().__init__()
        self.parties = list(parties)
        self.defaults = defaults
        self.defaulted = False
        self.notes: list[str] = []
        self.wide: dict[int, tuple[str, str]] = {}  # values that may leave the ring: by which op, at which line

    def emit(self, op: str, inputs: Sequence[Value], params: dict[str, Any] | None = None) -> Value:
        """As `Trace.emit`; a value that leaves the ring is refused at the line where it first did."""
        if op in SIZED and inputs[0].var.number in self.wide:
            first, where = self.wide[inputs[0].var.number]
            check_room(first, inputs[0].type, where)
        if op == "sum" and params and inputs[0].type.kind is Kind.SECRET:
            count = math.prod(inputs[0].shape[axis] for axis in params["axes"])
            excess = _room(max(raw_bound(inputs[0].type), 1.0), float(max(count, 1)))
            inputs = [_fit(excess, inputs[0], op) if excess > 0 else inputs[0]]
        value = super().emit(op, inputs, params)
        if value.type.kind is Kind.SECRET and op != "assume" and raw_bound(value.type) >= 2.0**HEADROOM:
            known = [self.wide[v.var.number] for v in inputs if v.var.number in self.wide]
            self.wide[value.var.number] = known[0] if known else (op, here())
        return value

    def type_of(self, op: str, params: dict[str, Any], types: list[Type], where: str) -> Type:
        """The surface typing rules."""
        return surface_type(op, params, types, where)

    def wrap(self, var: Var, frame: Frame) -> Value:
        """A value of the class of its kind."""
        return _CLASSES[var.type.kind](var, frame)

    def binary(self, op: str, x: Any, y: Any) -> Any:
        """Arithmetic on any mix of traced values and plain numbers."""
        values = [v for v in (x, y) if isinstance(v, Value)]
        if any(isinstance(v, Table) for v in values):
            surface_type(op, {}, [v.type for v in values], here())
        if any(isinstance(v, Private | Clear) for v in values):
            if any(isinstance(v, Secret) for v in values):
                surface_type(op, {}, [v.type for v in values], here())
            return self.emit(op, [as_real(x), as_real(y)])
        return _OPERATIONS[op](x, y)


# --- numbers that are known while tracing ---------------------------------------------------------------------------


def _plain(c: Any) -> Any:
    """A plain number or array as float64 or Python integers; anything else is refused."""
    if isinstance(c, Fraction | int) and not isinstance(c, bool):
        return c
    array = np.asarray(c)
    if array.dtype.kind not in "biuf":
        raise ProgramError(f"{type(c).__name__} is no number or numeric array", here())
    if not np.all(np.isfinite(array)):
        raise ProgramError("a public number is NaN or infinite", here())
    if array.ndim == 0:
        number = array.item()
        return int(number) if float(number).is_integer() else number
    return array.astype(np.float64) if array.dtype.kind == "f" else array.astype(np.int64)


def literal(values: Any, scale: int) -> Any:
    """A public number or array as a const of the program, rounded to `scale` fraction bits."""
    array = np.asarray(values, dtype=object)
    rounded = [round(Fraction(v) * Fraction(2) ** scale) for v in array.ravel().tolist()]
    shape = list(array.shape)
    value: Any = rounded if shape else rounded[0]
    return current_trace().emit("const", [], {"value": value, "shape": shape, "scale": scale})


def _bits_for(values: Any, most: int = 40) -> int:
    """Fraction bits that hold a public number: none for integers, all if dyadic, else some 20 significant ones."""
    array = np.abs(np.asarray(values, dtype=np.float64)).ravel()
    for bits in range(FRACTION_BITS + 1):
        scaled = np.ldexp(array, bits)
        if np.all(scaled == np.round(scaled)):
            return bits
    top = float(array.max())
    return min(most, max(FRACTION_BITS, FRACTION_BITS + 4 - math.frexp(top)[1]))


def as_real(x: Any) -> Value:
    """A value for float arithmetic: private and clear as they are, revealed and plain numbers as floats."""
    if isinstance(x, Private | Clear):
        return x
    if isinstance(x, Public):
        return current_trace().emit("real", [x])
    if isinstance(x, Value):
        surface_type("add", {}, [x.type, Type(Kind.PRIVATE, x.shape)], here())
        raise ProgramError("the step index has no float arithmetic", here())
    array = np.asarray(_plain(x), dtype=np.float64)
    listed = array.ravel().tolist() if array.shape else float(array)
    return current_trace().emit("number", [], {"value": listed, "shape": list(array.shape)})


# --- scales and units ------------------------------------------------------------------------------------------------


def truncate(x: Value, by: int) -> Value:
    """Drop `by` fraction bits: to the floor or one unit above it, exact about the wrap."""
    if by <= 0:
        return x
    if x.type.kind is Kind.CONST:
        raise OverflowRefusal("a public number has more bits than the ring has room for", here())
    while by > HEADROOM:  # a rule cuts 62 bits at most
        x, by = current_trace().emit("truncate", [x], {"by": HEADROOM}), by - HEADROOM
    return current_trace().emit("truncate", [x], {"by": by})


def _fit(excess: float, x: Value, op: str) -> Value:
    """x with its scale lowered by the excess bits, if it may be."""
    by = math.ceil(excess)
    if surface().defaults.late:
        return x
    if x.type.kind is not Kind.SECRET or x.type.scale - by < _LEAST_BITS:
        t = x.type
        raise OverflowRefusal(
            f"{op} could overflow: an operand of ±{t.bound:.6g} at {t.scale} fraction bits is {by} bits too wide for "
            f"the ring's 2^{HEADROOM}; declare a smaller range, mpc.share(x, range=(lo, hi)), or state one, "
            "mpc.assume_range(x, lo, hi)",
            here(),
        )
    return truncate(x, by)


def _room(*bounds: float) -> float:
    """By how many bits a product of these bounds exceeds the ring."""
    if 0.0 in bounds:
        return -math.inf
    return sum(math.log2(b) for b in bounds) - HEADROOM + 0.01


def multiply_out(x: Value) -> Value:
    """The same number with unit 1: the unit, rounded to 20 significant bits if there is room, is multiplied in."""
    if x.type.unit == 1:
        return x
    x = current_trace().emit("settle", [x])
    unit = x.type.unit
    if unit == 1:
        return x
    bits = 0
    if unit.denominator > 1 or abs(unit.numerator) >= 1 << 20:  # a float such as 0.1 is 52 bits over a power of two
        best = 20 - math.floor(math.log2(abs(unit)))
        spare = math.floor(-_room(max(raw_bound(x.type), 1.0), float(abs(unit))))
        if spare < best - 10:
            x = _fit(best - 10 - spare, x, "multiplying by a fraction")
        bits = min(best, max(spare, best - 10))
    plain = current_trace().emit("unit", [x], {"by": str(1 / unit)})
    return product("mul", plain, literal(unit, bits))


def shift_up(x: Value, by: int) -> Value:
    """More fraction bits, same number."""
    return current_trace().emit("shl", [x], {"by": by}) if by else x


def _aligned(x: Value, y: Value, op: str) -> tuple[Value, Value]:
    if x.type.unit != y.type.unit:
        x, y = multiply_out(x), multiply_out(y)
    for _ in range(2):
        scale = max(x.type.scale, y.type.scale)
        bound = max(raw_bound(v.type.but(scale=scale)) for v in (x, y)) * 2
        excess = _room(max(bound, 1.0)) if math.isfinite(bound) else 0.0
        if excess > 0:
            x, y = (_fit(excess, v, op) if v.type.scale == scale and excess > 0 else v for v in (x, y))
    scale = max(x.type.scale, y.type.scale)
    return shift_up(x, scale - x.type.scale), shift_up(y, scale - y.type.scale)


def _term(c: Any, like: Value) -> Value:
    """A plain number as a const that can be added to `like`: in its unit, with at least its scale if that is exact."""
    number = _plain(c)
    t = like.type
    if isinstance(number, np.ndarray):
        scaled = [Fraction(v) / t.unit for v in number.ravel().tolist()]
        inner: Any = np.array(scaled, dtype=object).reshape(number.shape)
    else:
        inner = Fraction(number) / t.unit
    bits = max(t.scale, min(FRACTION_BITS, _bits_for(np.asarray(inner, dtype=np.float64))), 0)
    value = literal(inner, bits)
    return value if t.unit == 1 else current_trace().emit("unit", [value], {"by": str(t.unit)})


def _sum_like(op: str) -> Callable[[Any, Any], Any]:
    def apply(x: Any, y: Any) -> Any:
        if not isinstance(x, Value):
            if op == "add" and isinstance(x, int | float) and x == 0:
                return y  # where Python's sum() starts
            x = _term(x, y)
        elif not isinstance(y, Value):
            if isinstance(y, int | float) and y == 0:
                return x
            y = _term(y, x)
        x, y = _aligned(x, y, op)
        return current_trace().emit(op, [x, y])

    return apply


def product(op: str, x: Value, y: Value) -> Value:
    """Elementwise or matrix product of traced values; an operand is truncated first if the product would not fit."""
    if op == "matmul":
        surface_type(op, {}, [x.type.but(lo=0.0, hi=0.0), y.type.but(lo=0.0, hi=0.0)], here())
    count = x.shape[-1] if op == "matmul" else 1
    for _ in range(3):
        excess = _room(raw_bound(x.type), raw_bound(y.type), float(max(count, 1)))
        if excess <= 0 or not math.isfinite(excess):
            break
        if y.type.kind is not Kind.SECRET or (x.type.kind is Kind.SECRET and x.type.scale >= y.type.scale):
            x = _fit(
                min(excess, max(1.0, x.type.scale - FRACTION_BITS)) if x.type.scale > FRACTION_BITS else excess, x, op
            )
        else:
            y = _fit(
                min(excess, max(1.0, y.type.scale - FRACTION_BITS)) if y.type.scale > FRACTION_BITS else excess, y, op
            )
    return current_trace().emit(op, [x, y])


def _mul(x: Any, y: Any) -> Any:
    if isinstance(x, Value) and isinstance(y, Value):
        return product("mul", x, y)
    value, c = (x, _plain(y)) if isinstance(x, Value) else (y, _plain(x))
    if isinstance(c, np.ndarray):
        return product("mul", value, literal(c, _bits_for(c) if c.size else 0))
    if c == 1:
        return value
    if isinstance(c, int) and abs(c) < 1 << 32:
        return product("mul", value, literal(c, 0))
    return current_trace().emit("unit", [value], {"by": str(Fraction(c))})


def _matmul(x: Any, y: Any) -> Any:
    def value(v: Any) -> Value:
        c = v if isinstance(v, Value) else _plain(v)
        return c if isinstance(c, Value) else literal(c, _bits_for(c) if np.size(c) else 0)

    return product("matmul", value(x), value(y))


def _div(x: Any, y: Any) -> Any:
    if isinstance(y, Secret):
        raise SecretError("division by a secret is not in the language yet; divide after mpc.reveal", here())
    if isinstance(y, Public):
        return current_trace().emit("div", [as_real(x), as_real(y)])
    if isinstance(y, Value):
        raise ProgramError("division by the step index is not in the language; use a public table", here())
    c = _plain(y)
    if np.any(np.asarray(c) == 0):
        raise ProgramError("division by zero", here())
    if isinstance(c, np.ndarray):
        return _mul(x, 1.0 / c)
    return current_trace().emit("unit", [x], {"by": str(1 / Fraction(c))}) if c != 1 else x


_OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "add": _sum_like("add"),
    "sub": _sum_like("sub"),
    "mul": _mul,
    "matmul": _matmul,
    "div": _div,
}


# --- functions of the language ---------------------------------------------------------------------------------------


def surface() -> SurfaceTrace:
    """The program being traced."""
    trace = current_trace()
    if not isinstance(trace, SurfaceTrace):
        raise LeakError("share, reveal and ranges belong in programs; a protocol rule uses mask, deal and open", here())
    return trace


def share(x: Any, *, range: tuple[float, float] | None = None, scale: int | None = None, clip: bool = False) -> Secret:  # noqa: A002
    """Secret-share an owner's private array.

    x: `Private` of any shape, or a `Table` (all its columns). range: the declared (lo, hi); the owner refuses a value
    outside it with row and column, or clips it if `clip`. Without one the program's default is taken and listed.
    scale: fraction bits, 16 unless declared. Cost: nothing if the value is only added up (the other shares come from
    pairwise streams); 8 bytes an element from the owner to each party, 1 round, if it goes into products.
    """
    trace = surface()
    if isinstance(x, Table):
        x = x[list(x.columns)]
    if isinstance(x, Secret):
        raise ProgramError("mpc.share of a secret: it is shared already", here())
    if not isinstance(x, Private):
        raise ProgramError("mpc.share takes a private value: an input of the program, or its columns", here())
    if range is None:
        trace.defaulted = True
        lo, hi = -trace.defaults.bound, trace.defaults.bound
    else:
        lo, hi = _interval(range)
    bits = trace.defaults.scale if scale is None and range is None else FRACTION_BITS if scale is None else scale
    params = {"scale": bits, "lo": lo, "hi": hi, "clip": clip}
    value = trace.emit("share", [x], params)
    assert isinstance(value, Secret)
    return value


def _interval(bounds: Sequence[float]) -> tuple[float, float]:
    try:
        lo, hi = (float(b) for b in bounds)
    except (TypeError, ValueError):
        raise ProgramError("a range is a pair of numbers: range=(lo, hi)", here()) from None
    if not (math.isfinite(lo) and math.isfinite(hi) and lo <= hi):
        raise ProgramError("a range needs finite lo ≤ hi", here())
    return lo, hi


def reveal(x: Any, to: str | Sequence[str] = "everyone", *, bits: int | None = None, name: str = "") -> Public:
    """Make a secret known: to every computing party, or to the parties named (and `"coordinator"` beside them).

    name: under which plans and journals list it; by default the name of the program's result.
    bits: fraction bits that are revealed, 16 unless stated; the rest is truncated first. A value with an error that
    depends on masks is revealed 2^20 times coarser than that error, or refused (page 7, rule 8).
    Cost: one round, 8 bytes an element to each recipient, and a truncation before it if the value has more bits.
    """
    trace = surface()
    if not isinstance(x, Secret):
        kind = x.type.kind if isinstance(x, Value) else "plain"
        raise ProgramError(f"mpc.reveal takes a secret; a {kind} value is no secret, or not shared yet", here())
    wanted = FRACTION_BITS if bits is None else bits
    noise = x.type.noise / float(abs(x.type.unit))
    allowed = reveal_bits(x.type, wanted)
    if allowed < (min(4, wanted) if bits is None else wanted):
        raise LeakError(
            f"mpc.reveal of {wanted} bits: an error of about 2^{math.log2(noise):.0f} in this value depends on masks, "
            f"and low bits of it would identify inputs; reveal at most {allowed} bits, reveal something coarser, or "
            "state that it may be seen: mpc.accept_rounding(x)",
            here(),
        )
    shown = truncate(x, x.type.scale - min(wanted, allowed))
    value = trace.emit("reveal", [shown], {"to": _recipients(to, trace.parties), "name": name})
    assert isinstance(value, Public)
    return value


def _recipients(to: str | Sequence[str], parties: list[str]) -> str | list[str]:
    if to == "everyone":
        return "everyone"
    names = [to] if isinstance(to, str) else list(to)
    for name in names:
        if name not in parties and name != "coordinator":
            raise UsageError(f"reveal to {name!r}: no such party; there are {', '.join(parties)} and coordinator")
    if set(names) <= {"coordinator"}:
        raise UsageError(
            "a reveal goes to at least one computing party; the coordinator may be named beside it",
        )
    order = [*parties, "coordinator"]
    return sorted(set(names), key=order.index)


def assume_range(x: Secret, lo: float, hi: float) -> Secret:
    """State that lo ≤ x ≤ hi where the language cannot derive it. Not checked; listed in every plan."""
    low, high = _interval((lo, hi))
    value = surface().emit("assume", [_secret(x)], {"lo": low, "hi": high})
    assert isinstance(value, Secret)
    return value


def accept_rounding(x: Secret) -> Secret:
    """State that the part of x that depends on masks may be seen by those who learn x. Listed in every plan."""
    value = surface().emit("rounded", [_secret(x)])
    assert isinstance(value, Secret)
    return value


def rescale(x: Secret, scale: int) -> Secret:
    """The same number at `scale` fraction bits: more by a shift (free), fewer by an exact truncation."""
    x = _secret(multiply_out(_secret(x)))
    by = x.type.scale - scale
    value = truncate(x, by) if by > 0 else shift_up(x, -by)
    return _secret(value)


def constant(value: Any, scale: int) -> Any:
    """A public number or array at exactly `scale` fraction bits, where the program wants to choose."""
    return literal(_plain(value), scale)


def secret(x: Any) -> Secret:
    """A known number as a secret-shared one (the first party holds it): a loop's start, a padding row."""
    surface()
    value = x if isinstance(x, Value) else literal(_plain(x), _bits_for(_plain(x)))
    if isinstance(value, Secret):
        return value
    result = current_trace().emit("secret", [value])
    assert isinstance(result, Secret)
    return result


def _secret(x: Any) -> Secret:
    if not isinstance(x, Secret):
        raise ProgramError("this takes a secret value: mpc.share(x) first", here())
    return x


def sqrt(x: Any) -> Any:
    """Square root of what is known: private or revealed values. Of a secret it is not in the language yet."""
    if isinstance(x, Secret):
        raise SecretError("the square root of a secret is not in the language yet", here())
    return current_trace().emit("sqrt", [as_real(x)])


def maximum(x: Any, y: Any) -> Any:
    """The larger of two known values, elementwise. Of secrets it is not in the language yet."""
    if isinstance(x, Secret) or isinstance(y, Secret):
        raise SecretError("the maximum of secrets is not in the language yet", here())
    return current_trace().emit("maximum", [as_real(x), as_real(y)])


def nonzero(x: Any) -> Any:
    """Known values with 1 in the place of 0: a divisor for columns that do not vary."""
    if isinstance(x, Secret):
        raise SecretError("nonzero of a secret is not in the language yet", here())
    return current_trace().emit("nonzero", [as_real(x)])


def clip(x: Any, lo: float, hi: float) -> Any:
    """Values of an owner, or revealed ones, limited to [lo, hi]."""
    if isinstance(x, Secret):
        raise SecretError("clip of a secret is not in the language yet; clip before sharing", here())
    return current_trace().emit("clip", [as_real(x)], {"lo": float(lo), "hi": float(hi)})


def permute(x: Any, seed: int = 0) -> Any:
    """The rows of x in a fixed public order that depends on the seed and their number alone."""
    order = current_trace().emit("permutation", [], {"seed": seed, "n": len(x)})
    return current_trace().emit("take", [x, order], {"axis": 0})


def where(condition: Any, a: Any, b: Any) -> Any:
    """As `numpy.where`, for a public condition."""
    if isinstance(condition, Value):
        raise SecretError("mpc.where on a secret or revealed condition is not in the language yet", here())
    chosen = np.asarray(condition, dtype=bool).astype(np.int64)
    return a * chosen + b * (1 - chosen)


def concatenate(parts: Sequence[Any], axis: int = 0) -> Any:
    """As `numpy.concatenate`; plain arrays among the parts become public constants."""
    values = list(parts)
    traced = [v for v in values if isinstance(v, Value)]
    if not traced:
        return np.concatenate(values, axis=axis)
    if any(isinstance(v, Private | Clear) for v in traced):
        values = [as_real(v) for v in values]
    else:
        values = [v if isinstance(v, Value) else _term(v, traced[0]) for v in values]
        if len({v.type.unit for v in values}) > 1:
            values = [multiply_out(v) for v in values]
        scale = max(v.type.scale for v in values)
        excess = _room(max(1.0, *(raw_bound(v.type.but(scale=scale)) for v in values)))
        if 0 < excess < math.inf:
            most = scale - math.ceil(excess)
            values = [_fit(v.type.scale - most, v, "concatenate") if v.type.scale > most else v for v in values]
        scale = max(v.type.scale for v in values)
        values = [shift_up(v, scale - v.type.scale) for v in values]
    ndim = values[0].ndim
    if len({v.ndim for v in values}) != 1 or not -ndim <= axis < ndim:
        raise ShapeError(f"concatenate of shapes {', '.join(str(v.shape) for v in values)} along axis {axis}", here())
    if len(values) == 1:
        return values[0]
    return current_trace().emit("concatenate", values, {"axis": axis % ndim})


def stack(parts: Sequence[Any], axis: int = 0) -> Any:
    """As `numpy.stack`."""
    values = [v if isinstance(v, Value) else np.asarray(v) for v in parts]
    ndim = values[0].ndim + 1
    at = axis % ndim
    return concatenate([v.reshape([*v.shape[:at], 1, *v.shape[at:]]) for v in values], at)


def _method(name: str) -> Callable[..., Any]:
    def function(x: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(x, Value):
            return getattr(x, name)(*args, **kwargs)
        if name == "sum" and isinstance(x, list | tuple) and any(isinstance(v, Value) for v in x):
            return total(x) if not args and not kwargs else getattr(stack(x), name)(*args, **kwargs)
        return getattr(np, name)(x, *args, **kwargs)

    function.__name__ = name
    function.__doc__ = f"As `numpy.{name}`."
    return function


def total(parts: Sequence[Any]) -> Any:
    """The sum of a list of values."""
    result: Any = 0
    for part in parts:
        result = result + part
    return result


sum_ = _method("sum")
mean = _method("mean")
reshape = _method("reshape")
transpose = _method("transpose")


def matmul(x: Any, y: Any) -> Any:
    """As `numpy.matmul`."""
    return x @ y


def broadcast_to(x: Value, shape: Sequence[int]) -> Any:
    """As `numpy.broadcast_to`."""
    return x.trace.emit("broadcast", [x], {"shape": list(shape)}) if tuple(shape) != x.shape else x


FUNCTIONS.update(
    {
        np.sum: sum_,
        np.mean: mean,
        np.reshape: reshape,
        np.transpose: transpose,
        np.ravel: lambda x: x.ravel(),
        np.concatenate: concatenate,
        np.stack: stack,
        np.vstack: lambda parts: concatenate([p if p.ndim > 1 else p.reshape(1, -1) for p in parts], 0),
        np.hstack: lambda parts: concatenate(parts, 1 if parts[0].ndim > 1 else 0),
        np.dot: matmul,
        np.where: where,
        np.broadcast_to: broadcast_to,
        np.shape: lambda x: x.shape,
        np.ndim: lambda x: x.ndim,
        np.size: lambda x: x.size,
    }
)
