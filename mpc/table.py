"""A party's own rows and columns, and the little of them that is public.

`Table` is the data at its owner: columns of text as they stood in the file, made numbers only when a program asks for
a column, so that a refusal can name the row. `Schema` is what every party may know: row count, column names, shape.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpc.errors import InputError, UsageError

__all__ = ["MISSING", "Schema", "Table", "label_of", "numbers_of", "owned", "rounded_row", "schema_of"]

Floats = NDArray[np.float64]
MISSING = frozenset({""})  # the label of a cell that says there is none
_ABSENT = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})  # such cells, in any case
_TRUTH = {"true": "1", "false": "0"}  # of any case: as an array of booleans has them
_EXACT = 1 << 53  # beyond, not every whole number is a double


def _no_classes(column: str) -> list[str]:
    raise InputError(f"the classes of column {column!r} are not known here")


@dataclass(frozen=True)
class Schema:
    """The public face of one party's input: for a table `columns` and `rows`; for an array (no `columns`) its `shape`.

    `classes(column)` asks the owner for the distinct values of a label column, as sorted text: they are public.
    """

    shape: tuple[int, ...]
    columns: tuple[str, ...] | None = None
    classes: Callable[[str], list[str]] = _no_classes


class Table:
    """Named columns of one length, at their owner. `source` is the file's name, for refusals; rows count from 1."""

    def __init__(self, columns: dict[str, Sequence[str] | Floats], source: str = "table") -> None:
        self._columns = columns
        self.source = source
        self.rows = len(next(iter(columns.values()))) if columns else 0
        for name, cells in columns.items():
            if len(cells) != self.rows:
                raise InputError(f"{source}: column {name!r} has {len(cells)} rows, others {self.rows}")

    def __repr__(self) -> str:
        return f"Table({self.source!r}, rows={self.rows}, columns={list(self._columns)})"

    def __reduce__(self) -> str:
        raise TypeError("a table is its owner's private data and is never serialised")

    @property
    def columns(self) -> tuple[str, ...]:
        """The column names, in the file's order."""
        return tuple(self._columns)

    def schema(self) -> Schema:
        """What the other parties may know of it."""
        return Schema((self.rows, len(self._columns)), self.columns, self.classes)

    def column(self, name: str) -> Sequence[str] | Floats:
        """One column as it stands."""
        if name not in self._columns:
            raise InputError(f"{self.source}: no column {name!r}; it has {', '.join(self._columns)}")
        return self._columns[name]

    def at(self, row: int, name: str) -> str:
        """Where a cell is, in words: the data row counted from 1, and the line of the file (the header is line 1)."""
        return f"{self.source}: row {row + 1} (line {row + 2}), column {name!r}"

    def numbers(self, names: Sequence[str]) -> Floats:
        """The named columns as float64, shape (rows, len(names)). Refuses text, empty cells, NaN and infinities."""
        out = np.empty((self.rows, len(names)), dtype=np.float64)
        for j, name in enumerate(names):
            out[:, j] = self._numeric(name)
        return out

    def _numeric(self, name: str) -> Floats:
        cells = self.column(name)
        if not isinstance(cells, np.ndarray):
            row = next((i for i, cell in enumerate(cells) if not _is_number(cell)), None)
            if row is not None:
                text = str(cells[row]).strip()
                what = ("is missing" if text else "is empty") if text.lower() in _ABSENT else "is text, not a number"
                raise InputError(
                    f"{self.at(row, name)} {what}: fill or remove the row, or leave the column out of the program"
                )
        values = np.asarray(cells, dtype=np.float64)
        row = None if isinstance(cells, np.ndarray) else rounded_row(cells, values)
        if row is not None:
            raise InputError(
                f"{self.at(row, name)} is a whole number beyond 2^53 that no double holds: take an offset off the "
                "column, or split it into two of fewer digits"
            )
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            what = "NaN (a missing value)" if np.isnan(values[bad[0]]) else "infinite"
            raise InputError(f"{self.at(int(bad[0]), name)} is {what}: fill or remove the row")
        return values

    def classes(self, name: str) -> list[str]:
        """The distinct values of a label column as sorted text; whole numbers lose their `.0`."""
        found, _ = self._labelled(name)
        return sorted(set(found) - MISSING, key=_label_key)

    def labels(self, name: str, classes: Sequence[str]) -> Floats:
        """The index of each row's label in `classes`, as float64."""
        found, rows = self._labelled(name)
        index = {c: float(i) for i, c in enumerate(classes) if c not in MISSING}
        out = np.array([index.get(label, -1.0) for label in found])[rows]
        bad = np.flatnonzero(out < 0)
        if bad.size:
            row = int(bad[0])
            if found[rows[row]] in MISSING:
                raise InputError(f"{self.at(row, name)}: the label is missing; fill or remove the row")
            raise InputError(f"{self.at(row, name)} is none of the {len(classes)} agreed classes")
        return out

    def undeclared(self, name: str, values: Sequence[str]) -> int | None:
        """The first row, from 0, whose label is there and none of these values."""
        found, rows = self._labelled(name)
        odd = np.array([label not in MISSING and label not in values for label in found])[rows]
        return int(odd.argmax()) if odd.any() else None

    def _labelled(self, name: str) -> tuple[list[str], NDArray[np.intp]]:
        """The labels of the distinct cells of a column, and for each row which of them it has."""
        cells = self.column(name)
        if isinstance(cells, np.ndarray):
            distinct, rows = np.unique(cells, return_inverse=True)
            return [label_of(number) for number in distinct.tolist()], rows
        place = {cell: i for i, cell in enumerate(dict.fromkeys(cells))}
        return [label_of(cell) for cell in place], np.fromiter(map(place.__getitem__, cells), np.intp, len(cells))


def _is_number(cell: object) -> bool:
    if isinstance(cell, str) and ("_" in cell or not cell.isascii()):
        return False
    try:
        float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True


def label_of(cell: object) -> str:
    """A cell as a label: whole numbers lose their `.0`, true and false are 1 and 0 in any case, missing ones empty."""
    text = str(cell).strip()
    if text.lower() in _ABSENT:
        return ""
    if _is_number(cell):
        number = float(cell)  # type: ignore[arg-type]
        return str(int(number)) if number.is_integer() else str(number).lower()
    return _TRUTH.get(text.lower(), text)


def rounded_row(cells: Sequence[Any], values: Floats) -> int | None:
    """The first row, from 0, whose cell is a whole number and its double another one."""
    for row in np.flatnonzero(np.abs(values) >= _EXACT).tolist():
        with contextlib.suppress(ValueError):  # a number with a point or an exponent is no whole one
            if int(str(cells[row])) != int(values[row]):
                return int(row)
    return None


def _label_key(label: str) -> tuple[bool, float, str]:
    return (False, float(label), "") if _is_number(label) else (True, 0.0, label)


def owned(data: Any, source: str = "table") -> Any:
    """An owner's data as a Table (a mapping of columns, or anything with `.columns`) or a float64 array."""
    if isinstance(data, Table):
        return data
    if isinstance(data, Mapping):
        return Table({str(k): _column(v) for k, v in data.items()}, source)
    if hasattr(data, "columns") and hasattr(data, "to_numpy"):
        return Table({str(c): _column(data[c]) for c in data.columns}, source)
    try:
        return np.asarray(data, dtype=np.float64)
    except (TypeError, ValueError):
        raise UsageError("an input is a number, a numeric array, a mapping of columns, or a data frame") from None


def _column(values: Any) -> Any:
    numbers = numbers_of(values)
    return [str(v) for v in getattr(values, "tolist", lambda: values)()] if numbers is None else numbers


def numbers_of(values: Any) -> Floats | None:
    """A column as float64, or None if it has text: in an array each cell would take as much as the longest."""
    if isinstance(values, list | tuple) and any(isinstance(v, str) for v in values):
        return None
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        return None
    numbers = np.ascontiguousarray(array, dtype=np.float64)
    if array.dtype.kind in "iu" and np.any(np.abs(numbers) >= _EXACT) and np.any(numbers.astype(array.dtype) != array):
        return None  # digits would be lost without a word; as text they are refused with their row
    return numbers


def schema_of(data: Any) -> Schema:
    """The public face of an owner's data."""
    return data.schema() if isinstance(data, Table) else Schema(tuple(np.shape(data)))
