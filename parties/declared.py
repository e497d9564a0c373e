"""What an owner declares of its columns, and so what of them travels: the values of labels and keys, and nothing else.

A column that is not declared keeps its values to itself. One that is has its values declared, or a cap on how many
there may be; beyond it nothing is told, not even how many there are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from typing import Any

import numpy as np

from mpc.errors import InputError, PolicyError
from mpc.table import Schema, Table

__all__ = ["FLOOR", "LOCAL_MOST", "Column", "Declared", "toml_key"]

FLOOR = 5  # rows of a cell that is shown, at a party on a host of its own; the default of programs too
LOCAL_MOST = 20  # distinct values of a label or key that a local run names and nobody has declared
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SHOWN = 60  # characters of a name, so that the cure is not cut off


@dataclass(frozen=True)
class Column:
    """One column: `range`, (lo, hi); `role`: label, key or feature; of a label or key, `values` or `at_most`."""

    range: tuple[float, float] | None = None
    role: str = ""
    values: tuple[str, ...] | None = None
    at_most: int | None = None

    @property
    def tells(self) -> bool:
        """Whether its distinct values may travel."""
        return self.role in ("label", "key")


@dataclass(frozen=True)
class Declared:
    """What is declared, by column. local: whoever names a label or key owns all the data, so that need not be.

    minimum: the fewest rows of this owner in a cell that a program may show, if that is declared.
    """

    columns: Mapping[str, Column] = field(default_factory=dict)
    local: bool = False
    minimum: int | None = None

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """{column: (lo, hi)}."""
        return {name: column.range for name, column in self.columns.items() if column.range is not None}

    def allow(self, name: str, minimum: Any) -> None:
        """Refuse a program of this name that shows cells of fewer rows than the floor: PolicyError with its clause."""
        floor = self.minimum or (1 if self.local else FLOOR)
        if type(minimum) is int and minimum >= floor:
            return
        whose = "in its schema file" if self.minimum else "by default, as its schema file states no other"
        raise PolicyError(
            f"does not take part in {name} with minimum={minimum}: of its rows a cell that is shown has {floor} or "
            f"more (minimum = {floor} {whose}); run it with --set minimum={floor} or more, or ask its owner to lower it"
        )

    def fields(self) -> dict[str, dict[str, Any]]:
        """As a schema file has it, for the processes of a local run."""
        return {
            name: {
                **({"range": list(c.range)} if c.range is not None else {}),
                **({"as": c.role} if c.role else {}),
                **({"values": list(c.values)} if c.values is not None else {}),
                **({"at_most": c.at_most} if c.at_most is not None else {}),
            }
            for name, c in self.columns.items()
        }

    def shown(self, name: str, value: Any) -> Schema:
        """The public face of some data: a table tells the values of a column as far as that is declared."""
        if not isinstance(value, Table):
            return Schema(np.shape(value))
        return Schema((value.rows, len(value.columns)), value.columns, partial(self.values, name, value))

    def values(self, name: str, value: Any, column: str) -> list[str]:
        """The distinct values of a column of the data of this name.

        Raises PolicyError, which says what to declare, and InputError with the row of a value that is not declared.
        """
        rule = self._rule(name, column)
        if not isinstance(value, Table) or column not in value.columns:
            raise InputError(f"{name!r} has no column {column!r}")
        if rule.values is not None:
            self._check_values(value, column, rule.values)
        found = value.classes(column)
        if rule.at_most is not None and len(found) > rule.at_most:
            raise PolicyError(self._too_many(name, column, rule.at_most))
        return found

    def check(self, name: str, value: Table, column: str, *, label: bool) -> None:
        """Whether a program may take a column of the data of this name: as a label or key, or as numbers.

        Raises PolicyError if it is not declared a label, and InputError with the row of a value that is not declared.
        """
        rule = self._rule(name, column) if label else self.columns.get(column, Column())
        if label and rule.values is not None:
            self._check_values(value, column, rule.values)
        if not label and rule.range is not None:
            lo, hi = rule.range
            numbers = value.numbers([column])[:, 0]
            outside = np.flatnonzero((numbers < lo) | (numbers > hi))
            if outside.size:
                where = value.at(int(outside[0]), column)
                raise InputError(f"{where} is outside the declared range {lo:g} to {hi:g}: correct it, or the schema")

    def doubts(self, offered: Mapping[str, Any]) -> list[str]:
        """What its owner should know before anybody asks: names that no column has, and cells that will be refused."""
        tables = {name: value for name, value in offered.items() if isinstance(value, Table)}
        known = sorted({c for table in tables.values() for c in table.columns})
        found = []
        for column, rule in self.columns.items():
            if column not in known:
                near = get_close_matches(column, known, 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                found.append(f"no offered data has the column {column!r}{hint}")
            for name, table in tables.items():
                try:
                    if column in table.columns:
                        self.check(name, table, column, label=rule.tells)
                except InputError as refusal:
                    found.append(str(refusal))
        return found

    def _check_values(self, value: Table, column: str, values: tuple[str, ...]) -> None:
        row = value.undeclared(column, values)
        if row is not None:
            raise InputError(
                f"{value.at(row, column)} has none of the values that the schema declares: correct the cell, or add "
                f"its value to values under [columns.{toml_key(column)}]"
            )

    def _rule(self, name: str, column: str) -> Column:
        rule = self.columns.get(column, Column())
        if rule.tells:
            return rule
        if self.local and not rule.role:
            return Column(role="label", at_most=LOCAL_MOST)
        what = "is declared a feature" if rule.role else "is not declared a label or key"
        raise PolicyError(
            f"column {_short(column)} of {_short(name)} {what}, so its values are not told; its owner has to write "
            f"into the schema file of privity party --schema FILE, under format = 1, the lines {_lines(column)} (or "
            'as = "key"; or values = ["…", "…"] instead of at_most)'
        )

    def _too_many(self, name: str, column: str, most: int) -> str:
        what = f"column {_short(column)} of {_short(name)} has more distinct values than"
        if self.columns.get(column, Column()).tells:
            where = f"[columns.{toml_key(column)}] of its schema file"
            return f"{what} its owner allows, at_most = {most}, so none is told; the owner may raise that in {where}"
        return (
            f"{what} the {most} of a label or key that is not declared; if it is one, say so with --schema FILE, "
            f"and in that file, under format = 1, the lines {_lines(column, 'N')}"
        )


def _lines(column: str, most: int | str = LOCAL_MOST) -> str:
    """What to write, line by line."""
    return f'[columns.{toml_key(column)}], as = "label", at_most = {most}'


def _short(name: str) -> str:
    return repr(name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…")


def toml_key(name: str) -> str:
    """A column's name as TOML has it after `columns.`."""
    return name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False)
