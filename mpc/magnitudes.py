"""The size of data, as a public power of two: what brings columns of any unit to a common size before they are shared.

An owner's values enter as x·2^-e, e a multiple of 4 with |x| ≤ 2^e for all owners together. It follows from declared
ranges, or the parties find it: a secure maximum of small numbers. No shape, width or scale depends on it, so that text,
plan and digest are the same for data of every size.
"""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

import numpy as np

from mpc.arrays import concatenate
from mpc.errors import ProgramError, SecretError, ShapeError
from mpc.fixed import STEP, exponents
from mpc.known import EXPONENTS, bounds
from mpc.language import known_maximum, reveal, share
from mpc.ordering import maximum
from mpc.place import here
from mpc.surface import Private, Secret, as_real, surface
from mpc.tracing import Value, axes_of, current_trace

__all__ = ["exponent", "ldexp", "magnitude", "rint"]


def exponent(x: Any, axis: Any = None) -> Any:
    """The least multiple e of 4 with |x| ≤ 2^e, of known values, over an axis (of all, if None).

    Of zeros, and of nothing, it is −1080. x: private, of which e is its owner's own, or revealed. Exact for every
    double; one that is not finite is refused.
    """
    if isinstance(x, Secret):
        raise SecretError("mpc.exponent is of known values; of a private one, before it is shared", here())
    x = as_real(x)
    return current_trace().emit("exponent", [x], {"axes": axes_of(axis, x.ndim)})


def ldexp(x: Any, e: Any) -> Any:
    """x·2^e of known values, elementwise, e whole: exact unless it leaves the doubles. Shapes broadcast."""
    if isinstance(x, Secret) or isinstance(e, Secret):
        raise SecretError("mpc.ldexp is of known values: before they are shared, or after they are revealed", here())
    return current_trace().emit("ldexp", [as_real(x), as_real(e)])


def rint(x: Any) -> Any:
    """The nearest whole numbers, to even ones from halfway, of known values, elementwise."""
    if isinstance(x, Secret):
        raise SecretError("mpc.rint is of known values; of secrets, mpc.rescale(x, 0)", here())
    return current_trace().emit("rint", [as_real(x)])


def magnitude(parts: Any, axis: int | None = None, name: str = "") -> Any:
    """The least multiple e of 4 with |x| ≤ 2^e for all values of all owners, public: of each column (axis 0) or of all.

    parts: a private array, or several, of one number of columns with axis=0. The result has shape () or (columns,).
    Columns whose range is declared have e from the range, and nothing is revealed of them. Of the others the largest
    of the owners' exponents is revealed, to everyone, and is listed as a magnitude: which owner has it stays secret.
    Zeros and no rows count as −1080. name: under which the reveal is listed.
    Cost: of k owners 3·⌈log2 k⌉ + 2 rounds for all columns together, of one owner 1; with the suite `masked` and two
    owners 27 bytes a column and peer, of one owner 8.
    Security: each owner's exponent enters as a secret; a comparison and a product for each but the last, then the
    reveal. A value that is not finite is refused at its owner.
    """
    if isinstance(parts, Secret):
        raise SecretError("mpc.magnitude is of private values, before they are shared", here())
    values = [parts] if isinstance(parts, Value) else list(parts)
    if not values or not all(isinstance(v, Private) for v in values):
        raise ProgramError(
            "mpc.magnitude takes private values: inputs, their columns, or what owners make of them", here()
        )
    if (
        axis not in (None, 0)
        or len({v.shape[1:] for v in values if axis == 0}) > 1
        or any(v.ndim != 2 for v in values if axis == 0)
    ):
        listed = ", ".join(str(v.shape) for v in values)
        raise ShapeError(
            f"mpc.magnitude of axis {axis} and shapes {listed}: axis=0 is of matrices of one width", here()
        )
    stated = reduce(np.maximum, [_limits(v, axis) for v in values])
    return _assembled(values, axis, stated, name)


def _assembled(values: list[Any], axis: int | None, stated: Any, name: str) -> Any:
    """The exponents of columns: those of stated ranges are constants, and the others are found together."""
    known = np.isfinite(stated)
    e = np.atleast_1d(exponents(np.atleast_2d(np.where(known, stated, 0.0)), (0,), None))
    if known.all():
        return as_real(e if axis == 0 else float(e[0]))
    if axis is None:
        return _found(values, None, name or _listed(values, None))
    left = np.flatnonzero(~known).tolist()
    found = _found([v[:, left] for v in values] if known.any() else values, 0, name or _listed(values, left))
    if not known.any():
        return found
    at = {column: i for i, column in enumerate(left)}
    return concatenate([found[at[j] : at[j] + 1] if j in at else as_real(e[j : j + 1]) for j in range(len(known))])


def _found(values: list[Any], axis: int | None, name: str) -> Any:
    """A secure maximum over owners, in steps of 4: a number of each column, or one."""
    own: dict[str, Any] = {}
    for v in values:
        e = exponent(v, axis)
        own[v.owner] = known_maximum(own[v.owner], e) if v.owner in own else e
    least, most = (end / STEP for end in EXPONENTS)
    shared = [share(e / STEP, range=(least, most), scale=0) for e in own.values()]
    while len(shared) > 1:
        pairs = zip(shared[::2], shared[1::2], strict=False)
        shared = [maximum(x, y) for x, y in pairs] + shared[len(shared) & ~1 :]
    return as_real(reveal(shared[0], bits=0, name=name)) * STEP


def _limits(x: Value, axis: int | None) -> Any:
    """The largest |x| by declared ranges, of each column or of all; infinite where none is declared."""
    made, width = _origin(x, ("within",), ("reshape",)), x.shape[1] if axis == 0 else 1
    if axis == 0 and made:
        each = np.maximum(*(np.abs(bounds(made[end], math.inf)) for end in ("lo", "hi")))
        if np.shape(each) in ((), (width,)):
            return np.broadcast_to(each, (width,))
    return np.full(width, x.type.bound)


def _listed(values: list[Any], columns: list[int] | None) -> str:
    """Whose magnitude: columns of tables by their names, other inputs by theirs."""
    inputs = {e.output: e.params["name"] for e in surface().frames[0].block.equations if e.op == "input"}
    names: list[str] = []
    for v in values:
        own = _origin(v, ("columns", "labels")).get("names") or ([inputs[v.var]] if v.var in inputs else [])
        if columns is not None and len(own) == v.shape[1]:
            own = [own[i] for i in columns]
        names += [n for n in own if n not in names]
    return f"magnitude of {', '.join(names)}" if names else "magnitude"


def _origin(x: Value, ops: tuple[str, ...], through: tuple[str, ...] = ()) -> dict[str, Any]:
    """What is said of the op, one of these, that a private value comes from, by its first operands; {} if none is."""
    made = surface().made
    op, inputs, params = made.get(x.var.number, ("", [], {}))
    while op not in ops and inputs and (op in through or not through):
        op, inputs, params = made.get(inputs[0].var.number, ("", [], {}))
    return params if op in ops else {}
