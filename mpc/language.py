"""What programs say beside arithmetic: share, reveal, state a range, and what an owner does with known values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mpc.arithmetic import multiply_out, shift_up
from mpc.errors import LeakError, ProgramError, SecretError, UsageError
from mpc.handles import is_handle_name
from mpc.place import here
from mpc.surface import (
    FRACTION_BITS,
    Private,
    Public,
    Secret,
    Table,
    as_real,
    bits_for,
    literal,
    plain_number,
    surface,
    truncate,
)
from mpc.tracing import Value, current_trace
from mpc.types import reveal_bits


def share(x: Any, *, range: tuple[float, float] | None = None, scale: int | None = None, clip: bool = False) -> Secret:  # noqa: A002
    """Secret-share an owner's private array.

    x: `Private` of any shape, or a `Table` (all its columns). range: the declared (lo, hi); the owner refuses a value
    outside it with row and column, or clips it if `clip`. Without one it is what the schema declares, or `within`; if
    nothing does, the program's default is taken and listed.
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
    lo, hi = (x.type.lo, x.type.hi) if range is None else _interval(range)
    declared = math.isfinite(lo) and math.isfinite(hi)
    if not declared:
        trace.defaulted = True
        lo, hi = max(lo, -trace.defaults.bound), min(hi, trace.defaults.bound)
    elif range is not None and max(lo, x.type.lo) <= min(hi, x.type.hi):
        lo, hi = max(lo, x.type.lo), min(hi, x.type.hi)
    bits = scale if scale is not None else FRACTION_BITS if declared else trace.defaults.scale
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


def within(x: Any, lo: Any, hi: Any) -> Private:
    """An owner's value, checked at the owner: it refuses one outside [lo, hi] with row and column, and the run ends.

    lo, hi: numbers, or a number for each column. What is computed from x, by its owner or shared, has its range from
    here on: for rows that an owner adds up before it shares the sum.
    """
    if not isinstance(x, Private):
        raise ProgramError("mpc.within takes a private value; of secrets, mpc.assume_range or mpc.clip", here())
    ends = {"lo": lo, "hi": hi}
    params = {k: [float(v) for v in e] if isinstance(e, Sequence) else float(e) for k, e in ends.items()}
    value = surface().emit("within", [x], params)
    assert isinstance(value, Private)
    return value


def reveal(x: Any, to: str | Sequence[str] = "everyone", *, bits: int | None = None, name: str = "") -> Public:
    """Make a secret known: to every computing party, or to the parties named (and `"coordinator"` beside them).

    name: under which plans and journals list it; by default the name of the program's result.
    bits: fraction bits that are revealed, 16 unless stated; the rest is truncated first. A value with an error that
    depends on masks is revealed 2^20 times coarser than that error, or refused (docs/rules.md, 8).
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


def keep(x: Any, name: str) -> None:
    """Keep a secret for a later program, as a handle that each party seals its share of: train today, predict tomorrow.

    name: letters, digits, `_`, `-`, `.`; once in a program, outside of loops. The later program takes it by a parameter
    annotated `mpc.Secret`, as it is: shape, scale, range and what part of it depends on masks. It reveals nothing, and
    is listed in plans. It counts only if the run ends well. Cost: no round and no byte; the shares get a zero-share
    from keys between the parties, so that no share is what the dealer's streams or an earlier handle say.
    """
    trace = surface()
    if not isinstance(x, Secret):
        raise ProgramError("mpc.keep takes a secret; a known number is a result, return it", here())
    if not is_handle_name(name):
        raise ProgramError(f"a secret is kept under a name of letters, digits, _, - and ., not {name!r}", here())
    if len(trace.frames) > 1:
        raise ProgramError("mpc.keep in a loop: return the value from the body and keep it afterwards", here())
    trace.fits("keep", x)
    trace.record("keep", (trace.use(x),), (), {"name": name}, trace.place())


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


def bounded(x: Any, lo: float, hi: float) -> Secret:
    """A range that follows by mathematics from how x was computed, where intervals alone do not show it.

    For functions of a library, which prove it: plans do not list it. Programs state with `assume_range`.
    """
    value = surface().emit("implied", [_secret(x)], {"lo": float(lo), "hi": float(hi)})
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
    return literal(plain_number(value), scale)


def secret(x: Any) -> Secret:
    """A known number as a secret-shared one (the first party holds it): a loop's start, a padding row."""
    surface()
    value = x if isinstance(x, Value) else literal(plain_number(x), bits_for(plain_number(x)))
    if isinstance(value, Secret):
        return value
    result = current_trace().emit("secret", [value])
    assert isinstance(result, Secret)
    return result


def _secret(x: Any) -> Secret:
    if not isinstance(x, Secret):
        raise ProgramError("this takes a secret value: mpc.share(x) first", here())
    return x


def known_sqrt(x: Any) -> Any:
    """Square root of what is known: private or revealed values."""
    return current_trace().emit("sqrt", [as_real(x)])


def known_maximum(x: Any, y: Any) -> Any:
    """The larger of two known values, elementwise."""
    if isinstance(x, Secret) or isinstance(y, Secret):
        raise SecretError("known_maximum is of known values; of secrets, mpc.maximum", here())
    return current_trace().emit("maximum", [as_real(x), as_real(y)])


def nonzero(x: Any) -> Any:
    """Known values with 1 in the place of 0: a divisor for columns that do not vary."""
    if isinstance(x, Secret):
        raise SecretError("nonzero of a secret is not in the language yet", here())
    return current_trace().emit("nonzero", [as_real(x)])


def chi_square_tail(x: Any, freedom: Any) -> Any:
    """P(χ² ≥ x), the p-value of a known chi-square statistic, elementwise; error below 1e-9. NaN without freedom."""
    return _known_tail("chi_square_tail", x, freedom)


def student_tail(t: Any, freedom: Any) -> Any:
    """P(|T| ≥ |t|), the two-sided p-value of a known t, elementwise; error below 1e-9. NaN without freedom."""
    return _known_tail("student_tail", t, freedom)


def _known_tail(name: str, x: Any, freedom: Any) -> Any:
    if isinstance(x, Secret) or isinstance(freedom, Secret):
        raise SecretError(f"mpc.{name} takes known values: reveal the statistic, its p-value says no more", here())
    return current_trace().emit(name, [as_real(x), as_real(freedom)])


def withheld(x: Any, shown: Any) -> Any:
    """A known value where `shown`, which is known too, is 1, else NaN: what was not revealed, and is null in JSON."""
    if isinstance(x, Secret) or isinstance(shown, Secret):
        raise SecretError(
            "mpc.withheld is of known values; of secrets, mpc.where(shown, x, 0) before the reveal", here()
        )
    return current_trace().emit("withheld", [as_real(x), as_real(shown)])


def truth(x: Any) -> Any:
    """Known numbers as truth values: whether they are not 0, in results and in JSON."""
    if isinstance(x, Secret):
        raise SecretError("mpc.truth is of known values: reveal it first", here())
    return current_trace().emit("truth", [as_real(x)])


def known_clip(x: Any, lo: float, hi: float) -> Any:
    """Values of an owner, or revealed ones, limited to [lo, hi]."""
    if isinstance(x, Secret):
        raise SecretError("known_clip is of known values; of secrets, mpc.clip", here())
    return current_trace().emit("clip", [as_real(x)], {"lo": float(lo), "hi": float(hi)})
