"""A schema file: what is declared of columns, whoever owns them. Ranges are public, and checked at the owners.

format = 1

[columns.age]
range = [0, 120]
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from mpc.errors import UsageError

__all__ = ["load_schema"]

_EXAMPLE = 'as in\n\nformat = 1\n\n[columns."age"]\nrange = [0, 120]'


def load_schema(path: Path) -> dict[str, tuple[float, float]]:
    """{column: (lo, hi)} of a schema file. Raises UsageError that names the file, the column and what to write."""
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
    odd = sorted(set(read) - {"format", "columns"})
    if odd or not isinstance(read.get("columns"), dict):
        what = f"{odd[0]!r} is nothing a schema knows" if odd else "there is no [columns.NAME]"
        raise UsageError(f"{path}: {what}; {_EXAMPLE}")
    return {name: _range(path, name, entry) for name, entry in read["columns"].items()}


def _range(path: Path, name: str, entry: Any) -> tuple[float, float]:
    if not isinstance(entry, dict) or set(entry) != {"range"}:
        raise UsageError(f"{path}: column {name!r} has a range and nothing else: range = [lo, hi]")
    ends = entry["range"]
    numbers = isinstance(ends, list) and len(ends) == 2 and all(type(v) in (int, float) for v in ends)
    if not numbers or not abs(ends[0]) < 1e300 > abs(ends[1]) or ends[0] > ends[1]:
        raise UsageError(f"{path}: the range of column {name!r} is two numbers, lo ≤ hi: range = [lo, hi]")
    return float(ends[0]), float(ends[1])
