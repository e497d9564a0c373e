"""The typing rules of programs: what each op takes and gives. The tracer asks; a party that reads a text asks again.

Kind, shape, scale, unit, range and noise follow from the operands, and a value that could leave the ring is refused.
The rules of lowered programs are in `mpc.kinds`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from mpc.errors import LeakError, OverflowRefusal, ProgramError, ShapeError
from mpc.intervals import added_up, hull, minus, plus, times
from mpc.ir import Kind, Type
from mpc.kernels import LINEAR, shape_of
from mpc.known import KNOWN_ONLY, float_type
from mpc.series import check_series

__all__ = ["HEADROOM", "SIZED", "check_room", "held_params", "raw_bound", "reveal_bits", "surface_type"]

STATISTICAL = 20  # a reveal's ulp is 2^20 times what depends on masks (docs/rules.md, 8)
HEADROOM = 62  # |integer| < 2^62, so that truncation is exact
Params = dict[str, Any]


def raw_bound(t: Type) -> float:
    """The largest magnitude that the ring integer behind a value can have."""
    try:
        return math.ldexp(t.bound, t.scale) / float(abs(t.unit))
    except OverflowError:
        return math.inf


def surface_kind(op: str, types: list[Type], where: str) -> tuple[Kind, str]:
    """The join of the operands' kinds, and the owner if it is private."""
    kinds = {t.kind for t in types}
    if Kind.TABLE in kinds:
        raise ProgramError(
            f"{op}: a table has no arithmetic; take columns first, as t['age'] or t.drop('label')", where
        )
    known = {t.owner for t in types if t.kind in (Kind.PUBLIC, Kind.CLEAR) and t.owner}
    if known and (Kind.SECRET in kinds or len(known | {t.owner for t in types if t.kind is Kind.PRIVATE}) > 1):
        raise ProgramError(
            f"{op}: a value revealed to {', '.join(sorted(known))} alone meets one that others hold", where
        )
    if Kind.SECRET in kinds:
        if Kind.PRIVATE in kinds:
            raise ProgramError(f"{op}: a private value meets a secret one; share it first: mpc.share(x)", where)
        if Kind.CLEAR in kinds:
            raise ProgramError(
                f"{op}: a float computed from revealed numbers meets a secret; only numbers that are integers in every "
                "party's memory may multiply shares: use the revealed value itself, or do this after the last reveal",
                where,
            )
        return Kind.SECRET, ""
    if Kind.PRIVATE in kinds:
        owners = sorted({t.owner for t in types if t.kind is Kind.PRIVATE})
        if len(owners) > 1:
            raise ProgramError(f"{op}: private values of {' and '.join(owners)} meet; mpc.share() them first", where)
        return Kind.PRIVATE, owners[0]
    kind = next((k for k in (Kind.CLEAR, Kind.PUBLIC) if k in kinds), Kind.CONST)
    return kind, "".join(known)


def _noise_of_product(x: Type, y: Type) -> float:
    if not x.noise and not y.noise:
        return 0.0
    return x.bound * y.noise + y.bound * x.noise


def _same_meaning(op: str, types: list[Type], where: str) -> Type:
    first = types[0]
    if any((t.scale, t.unit) != (first.scale, first.unit) for t in types):
        raise ProgramError(f"{op}: operands of different scale or unit", where)
    return first


def _add(t: Type, types: list[Type], _: Params) -> Type:
    x, y = types
    lo, hi = plus((x.lo, x.hi), (y.lo, y.hi))
    return t.but(lo=lo, hi=hi, noise=x.noise + y.noise)


def _sub(t: Type, types: list[Type], _: Params) -> Type:
    x, y = types
    lo, hi = minus((x.lo, x.hi), (y.lo, y.hi))
    return t.but(lo=lo, hi=hi, noise=x.noise + y.noise)


def _mul(t: Type, types: list[Type], _: Params) -> Type:
    x, y = types
    lo, hi = times((x.lo, x.hi), (y.lo, y.hi))
    return t.but(scale=x.scale + y.scale, unit=x.unit * y.unit, lo=lo, hi=hi, noise=_noise_of_product(x, y))


def _matmul(t: Type, types: list[Type], params: Params) -> Type:
    x, _ = types
    one = _mul(t, types, params)
    n = x.shape[-1]
    lo, hi = added_up((one.lo, one.hi), n)
    return one.but(lo=lo, hi=hi, noise=one.noise * n)


def _sum(t: Type, types: list[Type], params: Params) -> Type:
    n = math.prod(types[0].shape[axis] for axis in params["axes"])
    lo, hi = added_up((types[0].lo, types[0].hi), n)
    return t.but(lo=lo, hi=hi, noise=types[0].noise * n)


def _join(t: Type, types: list[Type], _: Params) -> Type:
    return t.but(lo=min(x.lo for x in types), hi=max(x.hi for x in types), noise=max(x.noise for x in types))


def _unit(t: Type, types: list[Type], params: Params) -> Type:
    by = Fraction(params["by"])
    lo, hi = hull(t.lo * float(by), t.hi * float(by))
    return t.but(unit=t.unit * by, lo=lo, hi=hi, noise=t.noise * abs(float(by)))


def _settle(t: Type, _: list[Type], __: Params) -> Type:
    """The power of two in the unit goes over into the scale; the integers stay."""
    twos = _twos(t.unit.numerator) - _twos(t.unit.denominator)
    return t.but(unit=t.unit / Fraction(2) ** twos, scale=t.scale - twos)


def _twos(n: int) -> int:
    return (n & -n).bit_length() - 1


def _truncate(t: Type, types: list[Type], params: Params) -> Type:
    if not 1 <= params["by"] <= HEADROOM:
        raise ValueError(f"a truncation cuts 1 to {HEADROOM} bits, not {params['by']}")
    scale = t.scale - params["by"]
    ulp = math.ldexp(abs(float(t.unit)), -scale)
    return t.but(scale=scale, lo=t.lo - ulp, hi=t.hi + ulp)


def _unchanged(t: Type, _: list[Type], __: Params) -> Type:
    return t


_SURFACE: dict[str, Callable[[Type, list[Type], Params], Type]] = {
    "add": _add,
    "sub": _sub,
    "neg": lambda t, _, __: t.but(lo=-t.hi, hi=-t.lo),
    "mul": _mul,
    "matmul": _matmul,
    "sum": _sum,
    "shl": lambda t, _, p: t.but(scale=t.scale + p["by"]),
    "concatenate": _join,
    "unit": _unit,
    "settle": _settle,
    "truncate": _truncate,
    "assume": lambda t, _, p: t.but(lo=float(p["lo"]), hi=float(p["hi"])),
    "implied": lambda t, _, p: t.but(lo=float(p["lo"]), hi=float(p["hi"])),
    "rounded": lambda t, _, __: t.but(noise=0.0),
}


def _of_table(op: str, params: Params, types: list[Type], where: str) -> Type:
    (table,) = types
    if table.kind is not Kind.TABLE:
        raise ProgramError(f"{op} takes a table", where)
    shape = (table.shape[0], len(params["names"])) if op == "columns" else (table.shape[0],)
    top = float(max(len(params["classes"]) - 1, 0)) if op == "labels" else math.inf
    return Type(Kind.PRIVATE, shape, lo=0.0 if op == "labels" else -math.inf, hi=top, owner=table.owner)


def _const_type(params: Params) -> Type:
    value, scale = params["value"], params["scale"]
    integers = value if isinstance(value, list) else [value]
    _fits(params)
    lo, hi = (math.ldexp(end(integers, default=0), -scale) for end in (min, max))
    return Type(Kind.CONST, tuple(params["shape"]), scale, lo=lo, hi=hi)


def _fits(params: Params) -> None:
    if np.shape(params["value"]) != ((math.prod(params["shape"]),) if params["shape"] else ()):
        raise ValueError("as many values as the shape has elements")


def held_params(name: str, t: Type, **more: Any) -> Params:
    """What an equation says of a value that comes from an earlier run: everything of its type but kind and owner."""
    ends = {end: x if math.isfinite(x) else None for end, x in (("lo", t.lo), ("hi", t.hi))}
    return {"name": name, "shape": list(t.shape), "scale": t.scale, "unit": str(t.unit), **ends, **more}


def _held_type(op: str, params: Params) -> Type:
    """A share that was kept, or a number that was shown, to everyone or some."""
    lo, hi = (x if params[end] is None else float(params[end]) for end, x in (("lo", -math.inf), ("hi", math.inf)))
    if params["noise"] < 0 if op != "shown" else isinstance(params["to"], str) and params["to"] != "everyone":
        raise ValueError("noise is not negative, and a number was shown to everyone or to those listed")
    t = Type(Kind.SECRET, tuple(params["shape"]), params["scale"], Fraction(params["unit"]), lo, hi)
    if op != "shown":
        return t.but(noise=float(params["noise"]))
    return t.but(kind=Kind.PUBLIC, owner="" if params["to"] == "everyone" else "+".join(params["to"]))


def _source(op: str, params: Params, types: list[Type], where: str) -> Type | None:
    """The ops that make values out of parameters, or change their kind."""
    match op:
        case "const":
            return _const_type(params)
        case "number":
            _fits(params)
            flat = params["value"] if isinstance(params["value"], list) else [params["value"]]
            return Type(Kind.CLEAR, tuple(params["shape"]), lo=min(flat, default=0.0), hi=max(flat, default=0.0))
        case "permutation":
            return Type(Kind.CONST, (params["n"],), lo=0.0, hi=float(params["n"]))
        case "input":
            kind = Kind.TABLE if params["columns"] is not None else Kind.PRIVATE
            return Type(kind, tuple(params["shape"]), owner=params["owner"])
        case "kept" | "handle" | "shown":
            return _held_type(op, params)
        case "columns" | "labels":
            return _of_table(op, params, types, where)
        case "mod" | "div" if types[0].kind is Kind.CONST:
            if types[0].lo < 0 or params["by"] < 1:
                raise ProgramError(f"{op} of a step that may be negative has no meaning; add a multiple first", where)
            top = params["by"] - 1 if op == "mod" else types[0].hi // params["by"]
            return types[0].but(lo=0.0, hi=float(top))
    return _crossing(op, params, types, where)


def _crossing(op: str, params: Params, types: list[Type], where: str) -> Type | None:
    x = types[0]
    if op == "dynamic_slice":
        _stays_inside(params, types, where)
    expected = {"share": Kind.PRIVATE, "reveal": Kind.SECRET, "real": Kind.PUBLIC}.get(op)
    if expected is not None and x.kind is not expected:
        raise ProgramError(f"{op} takes a {expected} value, not a {x.kind} one", where)
    match op:
        case "share":
            return Type(Kind.SECRET, x.shape, params["scale"], lo=float(params["lo"]), hi=float(params["hi"]))
        case "reveal":
            if x.scale > reveal_bits(x, x.scale):
                raise LeakError(f"reveal of {x.scale} bits shows low bits that depend on masks: truncate first", where)
            known = "" if params["to"] == "everyone" else "+".join(params["to"])
            return x.but(kind=Kind.PUBLIC, noise=0.0, owner=known)
        case "real":
            return Type(Kind.CLEAR, x.shape, owner=x.owner)
        case "secret" if x.kind in (Kind.CONST, Kind.PUBLIC):
            return x.but(kind=Kind.SECRET)
        case "call":
            return Type(Kind.SECRET, tuple(params["shape"]), params["scale"], lo=params["lo"], hi=params["hi"])
    return _NON_LINEAR[op](params, types, where) if op in _NON_LINEAR else None


def _stays_inside(params: Params, types: list[Type], where: str) -> None:
    """A moving slice must begin at a whole public number, inside the axis at every step."""
    x, start = types
    last = x.shape[params["axis"]] - params["size"]
    if start.kind is not Kind.CONST or start.scale or start.unit != 1 or start.lo < 0 or start.hi > last:
        raise ShapeError(
            f"a slice of {params['size']} that begins at {start.lo:.6g} to {start.hi:.6g} may leave an axis of length "
            f"{x.shape[params['axis']]}; use whole steps and as many as there are rows, or i % n",
            where,
        )


def reveal_bits(x: Type, wanted: int) -> int:
    """How many fraction bits of x may be revealed: an ulp is 2^20 times the error that depends on masks (rule 8)."""
    if not x.noise:
        return wanted
    return math.floor(-math.log2(min(x.noise, 2.0**512) / float(abs(x.unit)))) - STATISTICAL


def _compared(params: Params, types: list[Type], where: str) -> Type:
    """[x < 0] or [x = 0] of a value that has, with its sign, no more than `width` bits."""
    (x,) = types
    if x.kind is not Kind.SECRET or x.unit < 0:
        raise ProgramError("a comparison takes a secret in a positive unit", where)
    if not 2 <= params["width"] <= 64 or raw_bound(x) >= 2.0 ** (params["width"] - 1):
        raise OverflowRefusal(f"a comparison of {params['width']} bits: the value has more", where)
    return Type(Kind.SECRET, x.shape, lo=0.0, hi=1.0)


def _below(params: Params, types: list[Type], where: str) -> Type:
    """[x < p] for every p: none of the differences has, with its sign, more than `width` bits."""
    (x,) = types
    if x.unit != 1 or not params["points"]:
        raise ProgramError("below takes a secret in its own unit and at least one point", where)
    far = max(abs(p) for p in params["points"])
    one = _compared({"width": params["width"]}, [x.but(lo=-x.bound - math.ldexp(far, -x.scale))], where)
    return one.but(shape=(*x.shape, len(params["points"])))


def _chosen(params: Params, types: list[Type], where: str) -> Type:
    """x where the condition is 0, y where it is 1: never outside the two."""
    c, x, y = types
    if {t.kind for t in types} != {Kind.SECRET} or c.scale or c.unit != 1 or c.lo < 0 or c.hi > 1:
        raise ProgramError("choose takes a secret 0 or 1 and two secrets", where)
    _same_meaning("choose", [x, y], where)
    shape = shape_of("choose", params, [t.shape for t in types], where)
    return x.but(shape=shape, lo=min(x.lo, y.lo), hi=max(x.hi, y.hi), noise=max(x.noise, y.noise))


def _sigmoid_type(params: Params, types: list[Type], where: str) -> Type:
    """A sine series of half period L is right for |u| ≤ `reach` and silently wrong beyond (rule 13)."""
    (x,) = types
    check_series(params, where)
    if x.bound > params["reach"]:
        raise OverflowRefusal(
            f"sigmoid: its argument may reach ±{x.bound:.6g}, and this series is right up to ±{params['reach']:.6g}; "
            "declare a smaller range where it is shared, or state it: mpc.assume_range(u, lo, hi)",
            where,
        )
    if x.unit != 1 or x.scale != params["scale"] or not 0 < x.scale + params["period"] <= 64:
        raise ProgramError("sigmoid: its argument must have unit 1 and a scale that leaves room for the period", where)
    gain = abs(params["gain"])
    noise = params["noise"] + gain * x.noise / 4  # the steepest slope of a sigmoid is 1/4
    margin = gain * params["error"] + 2 * math.ldexp(1, -params["p"] - params["q"])
    return Type(Kind.SECRET, x.shape, params["p"] + params["q"], lo=-margin, hi=gain + margin, noise=noise)


_NON_LINEAR = {"negative": _compared, "zero": _compared, "below": _below, "choose": _chosen, "sigmoid": _sigmoid_type}


def surface_type(op: str, params: Params, types: list[Type], where: str) -> Type:
    """The type of a surface op's result. Raises ProgramError, ShapeError or OverflowRefusal with the source line."""
    special = _source(op, params, types, where)
    if special is None:
        if op not in _SURFACE and op not in LINEAR and op not in KNOWN_ONLY:
            raise ProgramError(f"there is no op {op!r} in programs", where)
        kind, owner = surface_kind(op, types, where)
        if kind in (Kind.PRIVATE, Kind.CLEAR):
            return float_type(op, params, types, where, kind, owner)
        if op in KNOWN_ONLY:
            raise ProgramError(f"{op} of a {kind} value is not in the language yet", where)
        if op in ("add", "sub", "concatenate"):
            _same_meaning(op, types, where)
        first = types[0].but(kind=kind, owner=owner, shape=shape_of(op, params, [t.shape for t in types], where))
        special = _SURFACE.get(op, _unchanged)(first, types, params)
    if op in SIZED:
        check_room(op, types[0], where)
    if op == "share":
        check_room(op, special, where)
    return special


SIZED = frozenset({"truncate", "reveal"})
"""The ops that need the size of their operand to be right; all arithmetic before them is exact modulo the ring."""


def check_room(op: str, t: Type, where: str) -> None:
    """Refuse a secret value whose range leaves the ring."""
    if t.kind is Kind.SECRET and raw_bound(t) >= 2.0**HEADROOM:
        bits = "infinitely many" if math.isinf(raw_bound(t)) else f"2^{math.log2(raw_bound(t)):.1f}"
        raise OverflowRefusal(
            f"{op} could overflow: its value may reach ±{t.bound:.6g}, {bits} at {t.scale} fraction bits, and the ring "
            f"holds less than 2^{HEADROOM}; declare a smaller range, mpc.share(x, range=(lo, hi)), or state one, "
            "mpc.assume_range(x, lo, hi)",
            where,
        )
