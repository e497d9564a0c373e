"""Logistic regression by gradient steps, for rows or columns that lie at different owners.

Objective as in scikit-learn's `LogisticRegression`: ½‖w‖² + C·Σ log(1 + e^−yu), intercept unpenalised; here divided by
n·C, so that a step is w ← w − rate·(Xᵀ(σ(Xw) − y)/n + w/(n·C)).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

import mpc

__all__ = ["gradient_steps", "logistic_regression"]

_X_BITS = 10  # of the standardised columns
_RESIDUAL_BITS = 36  # of the residual times the rate; weights then stand at 46 bits and Xw at 56: no truncation
_WEIGHT_BITS = _X_BITS + _RESIDUAL_BITS
_WEIGHTS = 64.0  # |w| of standardised columns
_RAW = 2.0**30  # |x| of a column before standardisation
_SPREAD = 2.0**14  # 1/standard deviation


@dataclass(frozen=True)
class Steps:
    """The schedule: how many steps, how long, how much momentum, on how many rows at a time."""

    times: int
    rate: float
    momentum: float
    batch: int
    penalty: float  # 1/(n·C), 0 without


def gradient_steps(X: Any, y: Any, penalised: np.ndarray, steps: Steps, margin: float) -> Any:
    """Weights after `steps` from zero, in the form of scikit-learn's objective.

    X: secret (n, d) at 10 fraction bits, |x| ≤ 16; y: secret (n,), integers 0 or 1; penalised: (d,) of 0 and 1.
    margin: the stated bound of |Xw|; the sigmoid is right up to it and the plan lists it.
    Gives secret (d,) at 46 bits. Cost of a step: 3 rounds, 2·batch + d words (the openings of Xw, of the residual, of
    the new weights), whatever the size of X; penalty and momentum truncate wires that are open already, for nothing.
    Security: rule 1; the rounding of the residual depends on masks (about 2^-14 of it), which `accept_rounding` states.
    """
    gain = steps.rate / steps.batch
    target = y * mpc.constant(gain, _RESIDUAL_BITS)
    batches = X.shape[0] // steps.batch

    def rows(i: Any) -> tuple[Any, Any]:
        if batches == 1:
            return X[: steps.batch], target[: steps.batch]
        at = (i % batches) * steps.batch
        return X[at : at + steps.batch], target[at : at + steps.batch]

    def step(i: Any, state: tuple[Any, Any]) -> tuple[Any, Any]:
        w, before = state
        part, goal = rows(i)
        u = mpc.assume_range(part @ w, -margin, margin)
        residual = mpc.sigmoid(u, gain=gain, scale=_RESIDUAL_BITS) - goal
        new = w - part.T @ residual
        if steps.penalty:
            new = new - _scaled(w, steps.rate * steps.penalty * penalised)
        if steps.momentum:
            new = new + _scaled(w - before, np.full(w.shape, steps.momentum))
        return mpc.accept_rounding(mpc.assume_range(new, -_WEIGHTS, _WEIGHTS)), w

    zero = mpc.constant(np.zeros(X.shape[1]), _WEIGHT_BITS)
    return mpc.repeat(steps.times, step, (zero, zero))[0]


def _scaled(w: Any, factor: np.ndarray) -> Any:
    """w · factor at the weights' own scale: w loses the bits that the factor brings, 12 or more of them significant."""
    bits = min(_WEIGHT_BITS - 10, max(12, 12 - math.floor(math.log2(float(np.max(np.abs(factor)))))))
    return mpc.rescale(w, _WEIGHT_BITS - bits) * mpc.constant(factor, bits)


Partition = Literal["horizontal", "vertical"]
Scaling = Literal["standard", "range", "none"]


@mpc.program
def logistic_regression(
    data: mpc.PerParty[mpc.Table],
    label: str,
    partition: Partition = "horizontal",
    steps: int | None = None,
    learning_rate: float | None = None,
    momentum: float | None = None,
    batch_size: int | None = None,
    C: float = 1.0,
    fit_intercept: bool = True,
    scale: Scaling = "standard",
    ranges: dict | None = None,  # type: ignore[type-arg]
    clip: bool = False,
    margin: float = 100.0,
    seed: int = 0,
) -> dict[str, Any]:
    """A two-class logistic regression over tables of several owners; the rows stay with them.

    label: the column with the two classes. partition: `horizontal`, every owner has other rows of the same columns;
    `vertical`, other columns of the same rows in the same order, the label at one of them.
    steps, learning_rate, momentum: without any of them 500 steps of 4/(d + 1) with momentum 0.9; if steps or a rate are
    given, plain gradient steps unless a momentum is given too. batch_size: rows a step, all unless given; a fixed
    public order of the rows by `seed`, the last partial batch left out. C: as in scikit-learn; 0 for no penalty.
    scale: `standard`: columns are standardised, over all rows where owners share columns (pooled mean and variance are
    revealed), by each owner alone where they do not; `range`: by the declared `ranges`, {column = [lo, hi]}, which
    reveals nothing; `none`: values as they are, within ±16. A scaled value beyond ±16 is refused, or clipped with
    `clip`. margin: the stated bound of |Xw| in training.
    Results: coef and intercept in the columns' own units, classes, n_iter, features. Revealed besides: pooled mean and
    variance (horizontal, standard). Row counts, column names and class labels are public.
    """
    tables = list(data)
    classes = _classes(tables, label)
    horizontal = partition == "horizontal"
    features = _same_columns(tables, label) if horizontal else _all_columns(tables, label)
    _check_settings(steps, learning_rate, momentum, C)
    scaled = _Scaled(scale, ranges or {}, clip)
    X, y, units = (scaled.horizontal if horizontal else scaled.vertical)(tables, features, label, classes)
    n, d = X.shape
    if fit_intercept:
        X = mpc.concatenate([X, np.ones((n, 1))], axis=1)
    batch = n if batch_size is None else batch_size
    if not 1 <= batch <= n:
        raise mpc.UsageError(f"batch_size must be between 1 and the {n} rows, not {batch}")
    if batch < n:
        X, y = mpc.permute(X, seed), mpc.permute(y, seed)
    own_schedule = steps is None and learning_rate is None
    schedule = Steps(
        500 if steps is None else steps,
        4.0 / (d + 1) if learning_rate is None else learning_rate,
        momentum if momentum is not None else 0.9 if own_schedule else 0.0,
        batch,
        1.0 / (n * C) if C else 0.0,
    )
    penalised = np.array([1.0] * d + [0.0] * fit_intercept)
    w = gradient_steps(X, y, penalised, schedule, margin)
    coef, intercept = units.own(w, d, fit_intercept)
    return {
        "coef": coef,
        "intercept": intercept,
        "classes": [_number(c) for c in classes],
        "n_iter": schedule.times,
        "features": [name for _, name in features],
        "learning_rate": schedule.rate,
        "momentum": schedule.momentum,
        **units.revealed,
    }


def _listed(names: Sequence[str]) -> str:
    """The first few of many names."""
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return ", ".join(names[:6]) + more


def _number(label: str) -> Any:
    try:
        number = float(label)
    except ValueError:
        return label
    return int(number) if number.is_integer() else number


def _check_settings(steps: int | None, rate: float | None, momentum: float | None, c: float) -> None:
    if steps is not None and steps < 1:
        raise mpc.UsageError(f"steps must be at least 1, not {steps}")
    if rate is not None and not 0 < rate < 1e3:
        raise mpc.UsageError(f"learning_rate must be positive, not {rate}")
    if momentum is not None and not 0 <= momentum < 1:
        raise mpc.UsageError(f"momentum must lie in [0, 1), not {momentum}")
    if not 0 <= c < math.inf:
        raise mpc.UsageError(f"C must be 0 (no penalty) or positive, not {c}")


# --- what the owners bring -------------------------------------------------------------------------------------------

Feature = tuple[int, str]  # the owner's place among the tables, and the column


def _classes(tables: Sequence[Any], label: str) -> list[str]:
    holders = [t for t in tables if label in t.columns]
    if not holders:
        columns = sorted({c for t in tables for c in t.columns})
        near = difflib.get_close_matches(label, columns, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {_listed(columns)}:"
        raise mpc.UsageError(f"no party has the label column {label!r}; {hint} --set label=COLUMN")
    found = sorted(
        {c for t in holders for c in t.classes(label)}, key=lambda c: (isinstance(_number(c), str), _number(c))
    )
    if len(found) != 2:
        what = "one class only" if len(found) == 1 else f"{len(found)} classes"
        raise mpc.InputError(f"label column {label!r} has {what}; logistic-regression needs exactly two")
    return found


def _same_columns(tables: Sequence[Any], label: str) -> list[Feature]:
    first = tables[0]
    for t in tables[1:]:
        odd = set(first.columns) ^ set(t.columns)
        if odd:
            raise mpc.InputError(
                f"{first.owner} and {t.owner} have different columns ({_listed(sorted(odd))} at one of them only); "
                "with partition=horizontal all files have the same columns, for other columns of the same rows set "
                "partition=vertical"
            )
    return [(0, c) for c in first.columns if c != label]


def _all_columns(tables: Sequence[Any], label: str) -> list[Feature]:
    rows = {t.owner: len(t) for t in tables}
    if len(set(rows.values())) > 1:
        listed = ", ".join(f"{owner} {count}" for owner, count in rows.items())
        raise mpc.InputError(
            f"different row counts ({listed}); with partition=vertical every file has the same rows in the same order, "
            "for other rows of the same columns set partition=horizontal"
        )
    if sum(label in t.columns for t in tables) > 1:
        raise mpc.InputError(
            f"more than one party has the label column {label!r}; with partition=vertical one holds it"
        )
    return [(i, c) for i, t in enumerate(tables) for c in t.columns if c != label]


@dataclass(frozen=True)
class _Scaled:
    """How columns come to a common size, and back."""

    scale: Scaling
    ranges: dict[str, Any]
    clip: bool

    def share(self, x: Any) -> Any:
        return mpc.share(x, range=(-16.0, 16.0), scale=_X_BITS, clip=self.clip)

    def horizontal(self, tables: Sequence[Any], features: list[Feature], label: str, classes: list[str]) -> Any:
        names = [c for _, c in features]
        raw = [t[names] for t in tables]
        y = mpc.concatenate([mpc.share(t.labels(label, classes), range=(0, 1), scale=0) for t in tables])
        units: _Units = _Known(*self._declared(names), {})
        if self.scale == "standard":
            centre, spread, revealed = _pooled(raw)
            units = _Known(centre, spread, revealed)
        return mpc.concatenate([self.share((x - units.centre) / units.spread) for x in raw]), y, units

    def vertical(self, tables: Sequence[Any], features: list[Feature], label: str, classes: list[str]) -> Any:
        y = next(mpc.share(t.labels(label, classes), range=(0, 1), scale=0) for t in tables if label in t.columns)
        parts, inverse, shift = [], [], []
        for i, t in enumerate(tables):
            names = [c for at, c in features if at == i]
            if not names:
                continue
            x = t[names]
            if self.scale == "standard":
                mean, variance = _moments(x)
                spread = mpc.sqrt(mpc.nonzero(variance))
                inverse.append(mpc.share(1.0 / spread, range=(0, _SPREAD), scale=24))
                shift.append(mpc.share(mean / spread, range=(-1024, 1024), scale=20))
                parts.append(self.share((x - mean) / spread))
            else:
                centre, width = self._declared(names)
                parts.append(self.share((x - centre) / width))
        X = mpc.concatenate(parts, axis=1)
        if self.scale == "standard":
            return X, y, _Secret(mpc.concatenate(inverse), mpc.concatenate(shift))
        return X, y, _Known(*self._declared([c for _, c in features]), {})

    def _declared(self, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Centre and half width of each column's declared range; 0 and 1 without scaling."""
        if self.scale != "range":
            return np.zeros(len(names)), np.ones(len(names))
        missing = [c for c in names if c not in self.ranges]
        if missing:
            raise mpc.UsageError(
                f"scale=range needs the declared range of every column; {missing[0]!r} has none: "
                f"--set ranges={{{missing[0]} = [lo, hi], …}}"
            )
        lo, hi = np.array([self.ranges[c] for c in names], dtype=np.float64).T
        if np.any(hi <= lo):
            raise mpc.UsageError("a declared range needs lo < hi")
        return (lo + hi) / 2, (hi - lo) / 2


def _moments(x: Any) -> tuple[Any, Any]:
    mean = x.mean(axis=0)
    return mean, ((x - mean) * (x - mean)).mean(axis=0)


def _pooled(raw: Sequence[Any]) -> tuple[Any, Any, dict[str, Any]]:
    """Mean and standard deviation over all rows of all owners: two sums, revealed.

    The variance comes in two words, a coarse one that reaches 2^44 and a fine one that small columns need.
    """
    n = sum(len(x) for x in raw)
    partial = [x.sum(axis=0) / n for x in raw]
    mean = mpc.reveal(sum(mpc.share(p, range=(-_RAW, _RAW), scale=16) for p in partial), name="mean")
    squares = [((x - mean) * (x - mean)).sum(axis=0) / n for x in raw]
    coarse = mpc.reveal(
        sum(mpc.share(s, range=(0, 2.0**44), scale=4) for s in squares), bits=4, name="variance, coarse"
    )
    small = [mpc.clip(s, 0, 2.0**18) for s in squares]
    fine = mpc.reveal(sum(mpc.share(s, range=(0, 2.0**18), scale=36) for s in small), bits=36, name="variance, fine")
    variance = mpc.maximum(fine, coarse - len(raw) / 16)
    return mean, mpc.sqrt(mpc.nonzero(variance)), {"mean": mean, "variance": variance}


# --- back to the columns' own units ----------------------------------------------------------------------------------


class _Known:
    """Centre and spread that everybody knows: the weights are revealed and divided."""

    def __init__(self, centre: Any, spread: Any, revealed: dict[str, Any]) -> None:
        self.centre, self.spread, self.revealed = centre, spread, revealed

    def own(self, w: Any, d: int, intercept: bool) -> tuple[Any, Any]:
        known = mpc.reveal(w, name="weights of the scaled columns")
        coef = known[:d] / self.spread
        moved = (coef * self.centre).sum()
        return coef, (known[d] - moved if intercept else 0.0 - moved)


class _Secret:
    """Each owner's own centre and spread: they stay secret, only weights in own units are revealed."""

    def __init__(self, inverse: Any, shift: Any) -> None:
        self.inverse, self.shift = inverse, shift
        self.revealed: dict[str, Any] = {}

    def own(self, w: Any, d: int, intercept: bool) -> tuple[Any, Any]:
        coarse = mpc.rescale(w, 16)
        weights = coarse[:d]
        moved = (weights * self.shift).sum()
        coef = mpc.reveal(weights * self.inverse, bits=24)
        return coef, mpc.reveal(coarse[d] - moved if intercept else -moved)


_Units = _Known
