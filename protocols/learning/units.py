"""Columns of any unit brought to a common one, and models of standardised columns back to the columns' own units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mpc

_ROUNDING = 2.0**-80  # variance over squared mean: below, a column's deviations are the rounding of doubles
_FAR = 2.0**22  # |mean| over deviation of a column of one owner, as `OwnUnits` shares it


@dataclass(frozen=True)
class Moments:
    """Mean and variance of columns, revealed or an owner's own, in any unit. A column that does not vary has none."""

    mean: Any
    variance: Any

    @property
    def spread(self) -> Any:
        """The standard deviation; 1 where there is none."""
        return mpc.sqrt(mpc.nonzero(self.variance))

    @property
    def still(self) -> Any:
        """1 for a column that does not vary, else 0."""
        return 1.0 - mpc.clip(self.variance * 2.0**600, 0, 1)

    @property
    def inverse(self) -> Any:
        """One over the standard deviation; 0 where there is none."""
        return (1.0 - self.still) / self.spread

    def standardised(self, x: Any) -> Any:
        """x less its mean, over its deviation: 0 where there is none."""
        return (x - self.mean) * self.inverse

    @property
    def revealed(self) -> dict[str, Any]:
        """As results."""
        return {"mean": self.mean, "variance": self.variance}


def own_moments(x: Any) -> Moments:
    """Of an owner's columns, its own."""
    mean = x.mean(axis=0)
    return Moments(mean, _varying(mean, ((x - mean) * (x - mean)).mean(axis=0)))


def pooled(raw: Sequence[Any]) -> Moments:
    """Of each column over all rows of all owners, in any unit: two sums, revealed (`mpc.total`)."""
    n = sum(len(x) for x in raw)
    mean = mpc.total([x.sum(axis=0) / n for x in raw], name="mean")
    squares = [((x - mean) * (x - mean)).sum(axis=0) / n for x in raw]
    return Moments(mean, _varying(mean, mpc.total(squares, name="variance")))


def _varying(mean: Any, variance: Any) -> Any:
    """The variance, 0 where it is but the rounding of doubles."""
    least = mean * mean * _ROUNDING
    varies = (variance - least) / mpc.nonzero(variance + least)
    return variance * mpc.clip(varies * 2.0**60, 0, 1)


class PooledUnits:
    """Centre and inverse spread that everybody knows: the weights are revealed, all else is known."""

    def __init__(self, centre: Any, spread: Any, inverse: Any, revealed: dict[str, Any]) -> None:
        self.centre, self.spread, self.inverse, self.revealed = centre, spread, inverse, revealed

    @classmethod
    def of(cls, moments: Moments) -> PooledUnits:
        """Of standardised columns."""
        return cls(moments.mean, moments.spread, moments.inverse, moments.revealed)

    def own(self, w: Any, d: int, intercept: bool) -> tuple[Any, Any]:
        """Revealed coefficients and intercept in the columns' own units; of several classes, a row each."""
        known = mpc.reveal(w, name="weights of the scaled columns").T
        coef = known[..., :d] * self.inverse
        moved = (coef * self.centre).sum(axis=-1)
        return coef, (known[..., d] - moved if intercept else 0.0 - moved)

    def points(self, c: Any, name: str, reveal: Callable[..., Any]) -> Any:
        """Points of the scaled space, (…, d), revealed by `reveal(x, name, bits)`, in the columns' own units."""
        return reveal(c, f"{name} of the scaled columns", 20) * self.spread + self.centre


class OwnUnits:
    """Each owner's own moments stay secret: only what is in own units is revealed, and the columns' magnitudes."""

    revealed: dict[str, Any] = {}  # noqa: RUF012 - nothing, of any

    def __init__(self, owners: Sequence[Moments]) -> None:
        self._owners = list(owners)

    def own(self, w: Any, d: int, intercept: bool, label: Moments | None = None) -> tuple[Any, Any]:
        """As `PooledUnits.own`. label: of a standardised label, one column, whose unit the result has."""
        coarse = mpc.rescale(w, 24).T
        weights = coarse[..., :d]
        inverse, e = _mantissas([m.inverse for m in self._owners])
        away = [_split(m.mean * m.inverse) for m in self._owners]
        far, near = (mpc.concatenate(part) for part in zip(*away, strict=True))
        moved = (weights * far).sum(axis=-1) + mpc.rescale((weights * near).sum(axis=-1), 24)
        rest = coarse[..., d] - moved if intercept else -moved
        if label is None:
            return mpc.ldexp(mpc.reveal(weights * inverse, bits=30), e), mpc.reveal(rest)
        still = label.still * (mpc.maximum(label.mean, -label.mean) - label.spread)  # its mean is then its unit
        size = mpc.nonzero(label.spread + still)
        spread, unit = _mantissas([size])
        high, low = _split(label.mean / size)
        rest = mpc.bounded(rest + high[0] + mpc.rescale(low, 24)[0], -4 * _FAR, 4 * _FAR)
        whole = mpc.rescale(rest, 0)
        found = whole * spread[0] + mpc.bounded(rest - whole, -1.0, 1.0) * spread[0]
        scaled = mpc.rescale(weights * inverse, 28) * spread
        return mpc.ldexp(mpc.reveal(scaled, bits=30), e + unit), mpc.ldexp(mpc.reveal(found, bits=24), unit[0])

    def points(self, c: Any, name: str, reveal: Callable[..., Any]) -> Any:
        """As `PooledUnits.points`; right to 2^-16 of a deviation, and 2^-36 of a mean."""
        parts = [mpc.stack([m.spread, m.mean]) for m in self._owners]
        exponents = [mpc.magnitude(p, axis=0, name="magnitude") for p in parts]
        unit = [mpc.ldexp(p, -e) for p, e in zip(parts, exponents, strict=True)]
        spread = mpc.concatenate([mpc.share(u[0], range=(0, 1), scale=36) for u in unit])
        centre = mpc.concatenate([mpc.share(u[1], range=(-1, 1), scale=52) for u in unit])
        return mpc.ldexp(reveal(mpc.rescale(c, 16) * spread + centre, name, 44), mpc.concatenate(exponents))


def _mantissas(values: Sequence[Any]) -> tuple[Any, Any]:
    """Positive numbers as shares m up to 1 and public exponents e: m·2^e."""
    exponents = [mpc.magnitude(v.reshape(1, -1), axis=0, name="magnitude of a deviation") for v in values]
    shared = [mpc.share(mpc.ldexp(v, -e), range=(0, 1), scale=30) for v, e in zip(values, exponents, strict=True)]
    return mpc.concatenate(shared), mpc.concatenate(exponents)


def _split(x: Any) -> tuple[Any, Any]:
    """An owner's numbers as whole numbers and what is left: two shares."""
    whole = mpc.rint(x)
    return mpc.share(whole, range=(-_FAR, _FAR), scale=0), mpc.share(x - whole, range=(-0.5, 0.5), scale=24)
