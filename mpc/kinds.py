"""The typing rules of lowered programs: kinds alone, of which shape, and whether numbers or packed bits.

So the product of two shares, or a deal of something opened, is refused by typing. Programs are typed by `mpc.types`.
"""

from __future__ import annotations

from typing import Any

from mpc.errors import LeakError, ProgramError
from mpc.ir import Kind, Type
from mpc.kernels import LINEAR, shape_of

__all__ = ["byte_count", "lowered_type"]

Params = dict[str, Any]
C, P, M, D, S, PRIV = Kind.CONST, Kind.PUBLIC, Kind.MASK, Kind.DEALER, Kind.SHARE, Kind.PRIVATE
_ORDER = {C: 0, M: 1, P: 2, S: 3}


def _linear_kind(op: str, kinds: list[Kind], where: str) -> Kind:
    if D in kinds:
        if P in kinds or S in kinds:
            raise LeakError(f"{op}: what only the dealer knows meets an opened or shared value; deal() it first", where)
        return D
    if PRIV in kinds or not set(kinds) <= set(_ORDER):
        raise LeakError(f"{op} of {', '.join(kinds)}: not linear on shares", where)
    return S if {P, M} <= set(kinds) else max(kinds, key=lambda k: _ORDER[k])


def _product_kind(op: str, kinds: list[Kind], where: str) -> Kind:
    x, y = sorted(kinds, key=lambda k: {C: 0, P: 1, M: 2, D: 3, S: 4}.get(k, 9))
    table = {(C, C): C, (C, P): P, (C, M): M, (C, D): D, (C, S): S, (P, P): P, (P, M): S, (P, S): S}
    dealt = {(M, M): D, (M, D): D, (D, D): D}
    if (x, y) not in table | dealt:
        cure = "go through masked() or open()" if S in (x, y) else "deal() it first"
        raise LeakError(f"{op}: a {x} value times a {y} value has no meaning on shares; {cure}", where)
    return (table | dealt)[x, y]


def _unary_kind(op: str, kind: Kind, where: str) -> Kind:
    """Non-linear functions of one argument: of const, of what is public, or inside a deal of what the dealer knows."""
    result = {C: C, P: P, M: D, D: D}.get(kind)
    if result is None:
        raise LeakError(f"{op} of a share has no meaning; open it under a mask first: d, lam = masked(x)", where)
    return result


_FIXED = {
    **dict.fromkeys(("mask", "owner_mask"), M),
    **dict.fromkeys(("share", "kept"), S),
    **dict.fromkeys(("send", "open", "reveal", "shown"), P),
    **dict.fromkeys(("const", "permutation"), C),
}
_UNARY = frozenset({"shr", "msb", "mod", "div"})
_CASTS = {C: (P, M, S), P: (S,), M: (S,)}  # to where fewer know it, never back
_EXPECTS = {"open": {S}, "reveal": {S, M}, "deal": {D, M}, "share": {PRIV}, "send": {PRIV}}


def _cast_kind(before: Kind, after: Kind, where: str) -> Kind:
    if after not in {before, *_CASTS.get(before, ())}:
        raise LeakError(f"cast of a {before} value to {after}: that would make it known", where)
    return after


def lowered_type(op: str, params: Params, types: list[Type], where: str) -> Type:
    """The type of a lowered op's result. Raises LeakError for what shares cannot do, ShapeError for misfits."""
    kinds = [t.kind for t in types]
    if op in _EXPECTS and kinds[0] not in _EXPECTS[op]:
        raise LeakError(f"{op} of a {kinds[0]} value: it takes {' or '.join(sorted(_EXPECTS[op]))}", where)
    if op == "cast":
        return types[0].but(kind=_cast_kind(kinds[0], Kind(params["kind"]), where))
    if op in ("mask", "owner_mask"):
        return Type(M, tuple(params["shape"]), owner=params.get("owner", ""), bits=params.get("bits", 0))
    if op in ("deal", "open", "reveal", "share", "send"):
        return Type(M if op == "deal" else _FIXED[op], types[0].shape, bits=types[0].bits)
    if op in _SPECIAL:
        return _SPECIAL[op](params, types, where)
    if op in ("series", "waves"):
        return Type(_unary_kind(op, kinds[0], where), (len(params["odd"]), *types[0].shape))
    data = types[:1] if op in ("dynamic_slice", "take") else types
    bits = {t.bits for t in data} or {0}
    if len(bits) > 1:
        raise LeakError(f"{op}: a number of the ring meets packed bits; bit(x, i) makes a number of a bit", where)
    kind = _arithmetic_kind(op, kinds, [t.kind for t in data], where)
    return Type(kind, shape_of(op, params, [t.shape for t in types], where), bits=bits.pop())


def _arithmetic_kind(op: str, kinds: list[Kind], data: list[Kind], where: str) -> Kind:
    if op in _FIXED:
        return _FIXED[op]
    if op in _UNARY:
        return _unary_kind(op, kinds[0], where)
    if op in ("mul", "matmul"):
        return _product_kind(op, kinds, where)
    if op in LINEAR:
        return _linear_kind(op, data, where)
    raise ProgramError(f"there is no op {op!r}", where)


def byte_count(width: int) -> int:
    """Bytes of the magnitude of a signed number of `width` bits."""
    return (width + 6) // 8


def _onehot(params: Params, types: list[Type], where: str) -> Type:
    (x,) = types
    if x.bits or x.kind not in (M, D) or not 2 <= params["width"] <= 64:
        raise LeakError("onehot takes a mask of the ring, inside a deal", where)
    return Type(D, (*x.shape, byte_count(params["width"]), 4), bits=64)


def _look(params: Params, types: list[Type], where: str) -> Type:
    hot, c = types
    n = byte_count(params["width"])
    if params["what"] not in ("less", "equal"):
        raise ProgramError("look for less or equal", where)
    if hot.kind not in (S, M) or c.kind is not P or c.bits or (hot.shape, hot.bits) != ((*c.shape, n, 4), 64):
        raise LeakError("look takes dealt one-hot words and an opened number", where)
    return Type(S, c.shape, bits=2 * n - 1 if params["what"] == "less" else n)


def _bit(params: Params, types: list[Type], where: str) -> Type:
    (x,) = types
    if not 0 <= params["at"] < (x.bits or 64):
        raise ProgramError(f"there is no bit {params['at']}", where)
    return Type(_unary_kind("bit", x.kind, where), x.shape)


def _cross(_: Params, types: list[Type], where: str) -> Type:
    dx, lx, dy, ly = types
    right = dx.kind is dy.kind is P and {lx.kind, ly.kind} <= {M, S} and (dx.shape, dy.shape) == (lx.shape, ly.shape)
    if not right or any(t.bits for t in types):
        raise LeakError("cross takes two wires, each the opened number and the shares of its mask", where)
    return Type(S, shape_of("matmul", {}, [dx.shape, dy.shape], where))


_SPECIAL = {"onehot": _onehot, "look": _look, "bit": _bit, "cross": _cross}
