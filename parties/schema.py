"""A schema file: what is declared of columns, whoever owns them.

format = 1
minimum = 5               # rows of this owner in every group, bin or cluster of which a program may show numbers

[columns.age]
range = [0, 120]          # public, and checked at the owners

[columns.y]
as = "label"              # or "key": its distinct values may be told; "feature": never
values = ["no", "yes"]    # these and no others; or at_most = 20: whichever they are, so many at most
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mpc.errors import UsageError
from mpc.table import MISSING, label_of
from parties.declared import Column, Declared, toml_key

__all__ = ["load_schema", "parse_columns"]

_EXAMPLE = 'as in\n\nformat = 1\n\n[columns."age"]\nrange = [0, 120]'
_ROLES = ("label", "key", "feature")


def load_schema(path: Path) -> Declared:
    """What a schema file declares. Raises UsageError that names the file, the column and what to write."""
    try:
        read = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such schema file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: the schema cannot be read ({type(error).__name__})") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not TOML ({error}); {_EXAMPLE}") from None
    if read.get("format") != 1:
        raise UsageError(f"{path}: the first line of a schema is format = 1")
    odd = sorted(set(read) - {"format", "minimum", "columns"})
    columns, minimum = read.get("columns", {} if "minimum" in read else None), read.get("minimum")
    if odd or not isinstance(columns, dict):
        what = f"{odd[0]!r} is nothing a schema knows" if odd else "there is no [columns.NAME]"
        raise UsageError(f"{path}: {what}; {_EXAMPLE}")
    if minimum is not None and (type(minimum) is not int or minimum < 1):
        raise UsageError(f"{path}: minimum is a whole number of rows from 1, as minimum = 5 above the columns")
    return Declared(parse_columns(str(path), columns), minimum=minimum)


def parse_columns(source: str, columns: Mapping[str, Any]) -> dict[str, Column]:
    """The columns of a schema, as TOML has them. Raises UsageError that names the column and what to write."""
    return {name: _column(source, name, entry) for name, entry in columns.items()}


def _column(source: str, name: str, entry: Any) -> Column:
    where = f"{source}: [columns.{toml_key(name)}]"
    if not isinstance(entry, dict) or not entry or not set(entry) <= set(_FIELDS):
        raise UsageError(
            f'{where} takes range = [lo, hi], as = "label", values = ["…", "…"], at_most = 20, and no more'
        )
    given: dict[str, Any] = {name: read(where, entry[key]) for key, (name, read) in _FIELDS.items() if key in entry}
    column = Column(**given)
    told = (column.values is not None) + (column.at_most is not None)
    if column.tells and told != 1:
        raise UsageError(f'{where} as = "{column.role}" needs one line more: values = ["…", "…"], or at_most = 20')
    if told and not column.tells:
        raise UsageError(f'{where} has values or at_most, which need as = "label" or as = "key" beside them')
    return column


def _range(where: str, ends: Any) -> tuple[float, float]:
    numbers = isinstance(ends, list) and len(ends) == 2 and all(type(v) in (int, float) for v in ends)
    if not numbers or not abs(ends[0]) < 1e300 > abs(ends[1]) or ends[0] > ends[1]:
        raise UsageError(f"{where} range is two numbers, lo ≤ hi: range = [lo, hi]")
    return float(ends[0]), float(ends[1])


def _role(where: str, role: Any) -> str:
    if role not in _ROLES:
        raise UsageError(f'{where} as is "label" or "key", whose values may be told, or "feature"')
    return str(role)


def _values(where: str, values: Any) -> tuple[str, ...]:
    plain = isinstance(values, list) and values and all(type(v) in (str, int, float) for v in values)
    labels = tuple(map(label_of, values)) if plain else ()
    if not labels or not MISSING.isdisjoint(labels) or len(set(labels)) < len(labels):
        raise UsageError(f'{where} values is a list of different texts or numbers: values = ["no", "yes"]')
    return labels


def _at_most(where: str, most: Any) -> int:
    if type(most) is not int or most < 1:
        raise UsageError(f"{where} at_most is a whole number from 1: at_most = 20")
    return most


_FIELDS: dict[str, tuple[str, Callable[[str, Any], Any]]] = {
    "range": ("range", _range), "as": ("role", _role), "values": ("values", _values), "at_most": ("at_most", _at_most),
}  # fmt: skip
