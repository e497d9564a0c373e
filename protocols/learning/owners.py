"""What owners bring to a model: tables split by rows or by columns, brought to a common size, and back to own units."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

import mpc
from protocols.learning.units import OwnUnits, PooledUnits, own_moments, pooled

X_BITS = 10  # of the standardised columns

Partition = Literal["horizontal", "vertical"]
Scaling = Literal["standard", "range", "none"]

Target = Callable[[Any], Any]  # of a table: its shared labels
Feature = tuple[int, str]  # the owner's place among the tables, and the column


def known_label(tables: Sequence[Any], label: str) -> list[Any]:
    """The tables that have the label column; UsageError if none has."""
    holders = [t for t in tables if label in t.columns]
    if not holders:
        columns = sorted({c for t in tables for c in t.columns})
        near = difflib.get_close_matches(label, columns, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {_listed(columns)}:"
        raise mpc.UsageError(f"no party has the label column {label!r}; {hint} --set label=COLUMN")
    return holders


def classes_of(tables: Sequence[Any], label: str) -> list[str]:
    """The two or more distinct values of the label column over all tables that have it: public."""
    found = values_of(known_label(tables, label), label)
    if len(found) < 2:
        raise mpc.InputError(f"label column {label!r} has one class only; a classifier needs two or more")
    return found


def values_of(tables: Sequence[Any], column: str) -> list[str]:
    """The distinct values of a column that all these tables have, numbers in their order: public."""
    return sorted({c for t in tables for c in t.classes(column)}, key=lambda c: (isinstance(number(c), str), number(c)))


def shared_labels(t: Any, label: str, classes: Sequence[str]) -> Any:
    """0 and 1 for two classes, shape (rows,); for more, one column of 0 and 1 each, shape (rows, classes)."""
    if len(classes) == 2:
        return mpc.share(t.labels(label, classes), range=(0, 1), scale=0)
    return mpc.share(one_hot(t, label, classes), range=(0, 1), scale=0)


def one_hot(t: Any, label: str, classes: Sequence[str]) -> Any:
    """Which row belongs to which class, the owner's own: (rows, classes) of 0 and 1."""
    index = t.labels(label, classes)
    off = [mpc.maximum(index - k, k - index).reshape(-1, 1) for k in range(len(classes))]
    return mpc.clip(1 - mpc.concatenate(off, axis=1), 0, 1)


def same_columns(tables: Sequence[Any], label: str) -> list[Feature]:
    """The columns but the label, which all tables must share."""
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


def all_columns(tables: Sequence[Any], label: str) -> list[Feature]:
    """The columns of all tables but the label; they must have equally many rows, and one holds the label."""
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
class Scaled:
    """How columns come to a common size, and back."""

    scale: Scaling
    ranges: dict[str, Any]
    clip: bool
    bits: int = X_BITS

    def share(self, x: Any) -> Any:
        """Scaled values, within ±16."""
        return mpc.share(x, range=(-16.0, 16.0), scale=self.bits, clip=self.clip)

    def gathered(self, tables: Sequence[Any], label: str, partition: Partition) -> tuple[Any, Any, list[str]]:
        """X within ±16, the way back to the columns' own units, and the names of all columns but the label."""
        features = same_columns(tables, label) if partition == "horizontal" else all_columns(tables, label)
        X, units = (self._rows if partition == "horizontal" else self._columns)(tables, features)
        return X, units, [name for _, name in features]

    def _rows(self, tables: Sequence[Any], features: list[Feature]) -> tuple[Any, Any]:
        """Other rows of the same columns."""
        names = [c for _, c in features]
        raw = [t[names] for t in tables]
        units = PooledUnits.of(pooled(raw)) if self.scale == "standard" else self._stated(names, tables)
        return mpc.concatenate([self.share((x - units.centre) * units.inverse) for x in raw]), units

    def _columns(self, tables: Sequence[Any], features: list[Feature]) -> tuple[Any, Any]:
        """Other columns of the same rows."""
        parts, own = [], []
        for i, t in enumerate(tables):
            names = [c for at, c in features if at == i]
            if not names:
                continue
            x = t[names]
            if self.scale == "standard":
                own.append(own_moments(x))
                parts.append(self.share(own[-1].standardised(x)))
            else:
                stated = self._stated(names, [t])
                parts.append(self.share((x - stated.centre) * stated.inverse))
        X = mpc.concatenate(parts, axis=1)
        return X, OwnUnits(own) if own else self._stated([c for _, c in features], tables)

    def _stated(self, names: list[str], tables: Sequence[Any]) -> PooledUnits:
        """By declared ranges, or as the columns are."""
        centre, width = self._declared(names, tables)
        return PooledUnits(centre, width, 1.0 / width, {})

    def _declared(self, names: list[str], tables: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
        """Centre and half width of each column's declared range; 0 and 1 without scaling."""
        if self.scale != "range":
            return np.zeros(len(names)), np.ones(len(names))
        known = {c: ends for t in tables for c, ends in t.declared.items()} | self.ranges
        missing = [c for c in names if c not in known]
        if missing:
            raise mpc.UsageError(
                f"scale=range needs the declared range of every column; {missing[0]!r} has none: "
                f"--set ranges={{{missing[0]} = [lo, hi], …}}, or --schema FILE"
            )
        lo, hi = np.array([known[c] for c in names], dtype=np.float64).T
        if np.any(hi <= lo):
            raise mpc.UsageError("a declared range needs lo < hi")
        return (lo + hi) / 2, (hi - lo) / 2


def _listed(names: Sequence[str]) -> str:
    """The first few of many names."""
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return ", ".join(names[:6]) + more


def number(label: str) -> Any:
    """A label as the number it is, or as text."""
    try:
        number = float(label)
    except ValueError:
        return label
    return int(number) if number.is_integer() else number


def gathered(
    tables: Sequence[Any], label: str, partition: Partition, scaled: Scaled, target: Target
) -> tuple[Any, Any, Any, list[str]]:
    """X within ±16, y, the way back to the columns' own units, and the columns' names."""
    X, units, features = scaled.gathered(tables, label, partition)
    return X, mpc.concatenate([target(t) for t in tables if label in t.columns]), units, features
