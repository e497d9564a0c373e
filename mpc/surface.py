"""The values of programs, tables, secrets and what is known, and the recording of a program.

Known numbers become consts here, and an operand that is too wide for what is done with it loses fraction bits, as late
as the ring allows. `arithmetic` says how values combine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeVar, cast

import numpy as np

from mpc.disclosures import Told
from mpc.errors import LeakError, OverflowRefusal, ProgramError, UsageError
from mpc.folding import folded
from mpc.indexing import Index
from mpc.ir import Kind, Type, Var
from mpc.place import here, written
from mpc.table import Schema
from mpc.text import compact
from mpc.tracing import Frame, Trace, Value, current_trace
from mpc.types import HEADROOM, SIZED, check_room, raw_bound, surface_type

__all__ = ["FRACTION_BITS", "Clear", "PerParty", "Private", "Public", "Secret", "SurfaceTrace", "Table"]

OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {}  # filled by `arithmetic` and `comparing`
_ANEW = frozenset({"input", "share", "reveal"})  # said twice, they are meant twice
STATED = frozenset({"assume", "implied"})  # a range from outside the operands' own
_COMPARISONS = frozenset({"lt", "le", "gt", "ge", "eq", "ne"})
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

    @property
    def declared(self) -> dict[str, tuple[float, float]]:
        """The ranges that the schema declares for columns of this table: public."""
        known = cast("SurfaceTrace", self.trace).declared
        return {name: known[name] for name in self.columns if name in known}

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
        if any(name in self.declared for name in names):
            ends = [self.declared.get(name, (None, None)) for name in names]
            matrix = self.trace.emit("within", [matrix], {"lo": [lo for lo, _ in ends], "hi": [hi for _, hi in ends]})
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

    def __init__(
        self,
        parties: Sequence[str],
        defaults: Defaults,
        declared: Mapping[str, tuple[float, float]] | None = None,
        deep: Mapping[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.parties = list(parties)
        self.declared = declared or {}  # ranges of columns, by their names
        self.defaults = defaults
        self.defaulted = False
        self.notes: list[str] = []
        self.told: list[Told] = []  # what owners were asked for
        self.wide: dict[int, tuple[str, str]] = {}  # values that may leave the ring: by which op, at which line
        self.made: dict[int, tuple[str, list[Value], dict[str, Any]]] = {}  # by which op, of what
        self.deep = deep or {}  # values that lose so many bits whenever they must lose some
        self.cuts: dict[int, set[int]] = {}  # by how many bits a value was truncated so far
        self.fitted: dict[int, tuple[int, int]] = {}  # of those cut to make room: the least cut, the most there may be

    def emit(self, op: str, inputs: Sequence[Value], params: dict[str, Any] | None = None) -> Value:
        """As `Trace.emit`; a value that leaves the ring is refused at the line where it first did."""
        if op == "truncate" and inputs[0].frame in self.frames[:-1]:
            with self.inside(inputs[0].frame):  # once outside of the loop, and shared with whoever cuts it there
                return self.emit(op, inputs, params)
        if op in SIZED:
            self.fits(op, inputs[0])
        if op == "sum" and params and inputs[0].type.kind is Kind.SECRET:
            count = math.prod(inputs[0].shape[axis] for axis in params["axes"])
            excess = room(max(raw_bound(inputs[0].type), 1.0), float(max(count, 1)))
            inputs = [fit(excess, inputs[0], op) if excess > 0 else inputs[0]]
        key = (op, *(self.use(v).number for v in inputs), compact(params or {}))
        if key in self.frames[-1].known and op not in _ANEW:
            return self.frames[-1].known[key]
        simpler = folded(self, op, list(inputs), params or {})
        if simpler is not None:
            self.frames[-1].known[key] = simpler
            return simpler
        value = self.frames[-1].known[key] = super().emit(op, inputs, params)
        self.made[value.var.number] = op, list(inputs), params or {}
        if op == "truncate" and params:
            self.cuts.setdefault(inputs[0].var.number, set()).add(params["by"])
        if value.type.kind is Kind.SECRET and op not in STATED and raw_bound(value.type) >= 2.0**HEADROOM:
            known = [self.wide[v.var.number] for v in inputs if v.var.number in self.wide]
            self.wide[value.var.number] = known[0] if known else (op, here())
        return value

    def fits(self, op: str, x: Value) -> None:
        """Refuse a value that may leave the ring, at the line where it first did."""
        first, where = self.wide.get(x.var.number, (op, here()))
        check_room(first, x.type, where)

    def place(self) -> str:
        """The author's line, and what is written there."""
        return written()

    def common_cut(self, x: Value, by: int) -> int:
        """The bits that x loses where it must lose `by` at least: as many as elsewhere, if it keeps FRACTION_BITS."""
        number, most = x.var.number, x.type.scale - FRACTION_BITS
        known = {*self.cuts.get(number, ()), self.deep.get(number, by)}
        cut = min((c for c in known if by <= c <= most), default=by)
        self.fitted[number] = min(cut, self.fitted.get(number, (cut, most))[0]), most
        return cut

    def deeper(self) -> dict[int, int]:
        """Values that were cut to make room, and deeper elsewhere: by how much, so that one cut would serve all."""
        found = {}
        for number, (least, most) in self.fitted.items():
            deepest = max((c for c in self.cuts.get(number, ()) if c <= most), default=least)
            if deepest > least:
                found[number] = deepest
        return found

    def type_of(self, op: str, params: dict[str, Any], types: list[Type], where: str) -> Type:
        """The surface typing rules."""
        return surface_type(op, params, types, where)

    def wrap(self, var: Var, frame: Frame) -> Value:
        """A value of the class of its kind."""
        return _CLASSES[var.type.kind](var, frame)

    def binary(self, op: str, x: Any, y: Any) -> Any:
        """Arithmetic on any mix of traced values and plain numbers."""
        if op in _COMPARISONS:
            return OPERATIONS[op](x, y)
        values = [v for v in (x, y) if isinstance(v, Value)]
        if any(isinstance(v, Table) for v in values):
            surface_type(op, {}, [v.type for v in values], here())
        if any(isinstance(v, Private | Clear) for v in values):
            if any(isinstance(v, Secret) for v in values):
                surface_type(op, {}, [v.type for v in values], here())
            return self.emit(op, [as_real(x), as_real(y)])
        return OPERATIONS[op](x, y)


# --- numbers that are known while tracing ---------------------------------------------------------------------------


def plain_number(c: Any) -> Any:
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
    return constant_of(whole(values, scale), scale)


def constant_of(integers: Any, scale: int) -> Any:
    """Whole numbers, at a scale, as a const of the program."""
    value = integers.ravel().tolist() if integers.shape else integers.item()
    params = {"value": value, "shape": list(integers.shape), "scale": scale}
    return current_trace().emit("const", [], params)


def whole(values: Any, scale: int) -> Any:
    """Numbers times 2^scale, rounded to the nearest whole ones, of halves to the even one: exactly, of any size."""
    array = np.asarray(values)
    if array.dtype.kind == "f":
        scaled = np.ldexp(array, scale)  # a float keeps all its bits
        if np.all(np.abs(scaled) < 2.0**HEADROOM):
            return np.rint(scaled).astype(np.int64)
    rounded = [round(Fraction(v) * Fraction(2) ** scale) for v in array.ravel().tolist()]
    exact = np.empty(len(rounded), dtype=object)
    exact[:] = rounded
    return exact.reshape(array.shape)


def bits_for(values: Any, most: int = 40) -> int:
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
    array = np.asarray(plain_number(x), dtype=np.float64)
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


def fit(excess: float, x: Value, op: str) -> Value:
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
    return truncate(x, surface().common_cut(x, by))


def room(*bounds: float) -> float:
    """By how many bits a product of these bounds exceeds the ring."""
    if 0.0 in bounds:
        return -math.inf
    return math.fsum(math.log2(b) for b in bounds) - HEADROOM + 0.01


def surface() -> SurfaceTrace:
    """The program being traced."""
    trace = current_trace()
    if not isinstance(trace, SurfaceTrace):
        raise LeakError("share, reveal and ranges belong in programs; a protocol rule uses mask, deal and open", here())
    return trace
