"""A party's own CSV file, read at its owner. Every refusal is one line with file, row and column, and no value.

A column of numbers becomes float64 while the file is read; a column with any other cell stays text, and what is wrong
with the cell is said when a program asks for that column, and only then.
"""

from __future__ import annotations

import codecs
import csv
import os
import stat
import sys
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from mpc.errors import InputError
from mpc.table import Table, rounded_row
from parties.escaping import line

__all__ = ["CsvTable", "read_csv"]

Floats = NDArray[np.float64]
_ROWS_AT_ONCE, _CHARACTERS_AT_ONCE = 8192, 1 << 25  # bound how many cells are Python strings at a time
_LINE = 1 << 24  # characters; a cell may have 2^17, the limit of the csv module
_NAMES = 1 << 19  # characters of all column names, which travel in one message
_TEXT = 8  # bytes of a list for each cell of text, beside the cell itself
_FOREIGN = {
    b"PK\x03\x04": "a spreadsheet or zip archive, not CSV: open it and export it as CSV (UTF-8)",
    b"\x1f\x8b": "compressed: unpack it first",
    b"PAR1": "a Parquet file, not CSV: export it as CSV (UTF-8)",
    b"\xff\xfe": "UTF-16, not UTF-8: save it as CSV (UTF-8)",
    b"\xfe\xff": "UTF-16, not UTF-8: save it as CSV (UTF-8)",
}


class CsvTable(Table):
    """A table that knows the line of every row, also where a quoted cell or a blank line shifts them."""

    def __init__(self, columns: dict[str, Sequence[str] | Floats], source: str, shifts: list[tuple[int, int]]) -> None:
        super().__init__(columns, source)
        self._shifted_rows = [row for row, _ in shifts]
        self._shifts = [0, *(shift for _, shift in shifts)]

    def line(self, row: int) -> int:
        """The line of the file, counted from 1, on which data row `row` (from 0) begins."""
        return row + 2 + self._shifts[bisect_right(self._shifted_rows, row)]

    def at(self, row: int, name: str) -> str:
        """Where a cell is, in words."""
        return f"{self.source}: row {row + 1} (line {self.line(row)}), column {name!r}"


def read_csv(path: Path | str) -> CsvTable:
    """The table in a comma-separated UTF-8 file whose first line names the columns.

    Raises:
        InputError: the file is missing, no plain file, empty, not text, has no rows, a column name twice or none, a row
            whose length is not the header's, a line above 2^24 characters, a cell above 2^17, or takes more than half
            of this host's memory.
    """
    path = Path(path)
    try:
        _refuse_foreign(path)
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _Reader(path, file).table()
    except UnicodeDecodeError:
        raise InputError(
            f"{path}: line {_undecodable_line(path)} is not UTF-8: the file was saved in another encoding; "
            "save it as CSV (UTF-8)"
        ) from None
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path, it is taken from {Path.cwd()}") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a directory; name one CSV file in it") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None


def _refuse_foreign(path: Path) -> None:
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise InputError(f"{path} is no file but a device or a pipe, which cannot be read again: save it as a CSV file")
    with path.open("rb") as file:
        start = file.read(4)
    for magic, what in _FOREIGN.items():
        if start.startswith(magic):
            raise InputError(f"{path} is {what}")


def _undecodable_line(path: Path) -> int:
    lines, decoder = 1, codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            try:
                decoder.decode(piece)
            except UnicodeDecodeError as error:
                return lines + error.object[: error.start].count(b"\n")
            lines += piece.count(b"\n")
    return lines


class _Reader:
    """One pass over one file."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self.path = path
        self._characters = 0  # read so far
        self._lines = csv.reader(self._bounded(file), strict=True)
        self.shifts: list[tuple[int, int]] = []

    def table(self) -> CsvTable:
        records = self._records()
        header = next(records, None)
        if header is None:
            raise InputError(f"{self.path} is empty: it needs a header line with the column names, and rows under it")
        names = self._names(header)
        parts: list[list[Floats | list[str]]] = [[] for _ in names]
        rows = self._rows(records, len(names))
        held, most = 0, _memory() // 2
        while chunk := list(self._some(rows)):
            for part, cells in zip(parts, zip(*chunk, strict=True), strict=True):
                part.append(_numbers_or_text(cells))
                held += _bytes(part[-1])
            if held > most:
                raise InputError(
                    f"{self.path}: up to line {self._line} it takes more than {most >> 20:,} MiB, half of this host's "
                    "memory: leave out columns that no program needs, or rows"
                )
        if not parts[0]:
            raise InputError(f"{self.path} has a header and no rows: nothing to compute on; check the export")
        columns: dict[str, Sequence[str] | Floats] = {}
        for name, part in zip(names, parts, strict=True):
            columns[name] = _joined(part)
        return CsvTable(columns, str(self.path), self.shifts)

    def _bounded(self, file: TextIO) -> Iterator[str]:
        """The lines, none of which may be endless."""
        number = 0
        while line := file.readline(_LINE + 1):
            number += 1
            self._characters += len(line)
            if len(line) > _LINE:
                raise InputError(
                    f"{self.path}: line {number} has more than {_LINE:,} characters: usually no CSV at all, or line "
                    "ends that were lost; export it again"
                )
            yield line

    def _some(self, rows: Iterator[list[str]]) -> Iterator[list[str]]:
        """The next rows, not too many and not too long ones."""
        end = self._characters + _CHARACTERS_AT_ONCE
        for row in islice(rows, _ROWS_AT_ONCE):
            yield row
            if self._characters > end:
                return

    def _records(self) -> Iterator[list[str]]:
        """The records that are not blank lines."""
        while True:
            line = self._lines.line_num + 1
            try:
                record = next(self._lines, None)
            except csv.Error as error:
                if "limit" in str(error):
                    raise InputError(
                        f"{self.path}: the record that begins on line {line} has a cell of more than "
                        f"{csv.field_size_limit():,} characters: usually a quote that is never closed; else shorten "
                        "it, or leave its column out"
                    ) from None
                raise InputError(
                    f"{self.path}: the record that begins on line {line} is broken: usually a quote that is never "
                    'closed, or text after a closing quote; quote a cell as "…" and a quote inside it as ""'
                ) from None
            if record is None:
                return
            if record:
                self._line = line
                yield record

    def _rows(self, records: Iterator[list[str]], width: int) -> Iterator[list[str]]:
        shift = 0
        for row, record in enumerate(records):
            if self._line - row - 2 != shift:
                shift = self._line - row - 2
                self.shifts.append((row, shift))
            if len(record) != width:
                raise InputError(
                    f"{self.path}: row {row + 1} (line {self._line}) has {len(record)} cells and the header {width}: "
                    "usually a comma in a text without quotes, or a line cut off; quote the text or complete the row"
                )
            yield record

    def _names(self, header: list[str]) -> list[str]:
        names = [" ".join(name.split()) for name in header]  # a name with a line break would break one-line refusals
        if len(names) == 1 and (found := next((c for c in ";\t|" if c in names[0]), None)):
            raise InputError(
                f"{self.path}: the columns seem to be separated by {found!r}; privity reads commas: export it again "
                "with commas (and points in decimal numbers)"
            )
        if sum(map(len, names)) > _NAMES:
            raise InputError(
                f"{self.path}: the names of its {len(names):,} columns have more than {_NAMES:,} characters; everybody "
                "is told them: leave columns out, or shorten their names"
            )
        place: dict[str, int] = {}
        for j, name in enumerate(names, start=1):
            if not name:
                raise InputError(
                    f"{self.path}: column {j} has no name in the header: usually a row index or a comma too many; "
                    "name the column or remove it"
                )
            if name != line(name):
                raise InputError(
                    f"{self.path}: the name of column {j} is too long, or has a character that cannot be shown; "
                    "rename it"
                )
            if _looks_like_data(name) or (name in place and name.isdigit()):
                raise InputError(
                    f"{self.path}: the first line holds a number in column {j}, so it seems to be data: a header line "
                    "with the column names is needed above it"
                )
            if name in place:
                raise InputError(
                    f"{self.path}: column {name!r} stands in the header twice (columns {place[name]} and {j}); "
                    "rename or remove one"
                )
            place[name] = j
        return names


def _looks_like_data(name: str) -> bool:
    """Whole numbers may be names (pixel 0, 1, 2 … or years); other numbers are data."""
    if name.isdigit():
        return False
    try:
        float(name)
    except ValueError:
        return False
    return name.lower() not in ("nan", "inf", "infinity")


def _numbers_or_text(cells: Sequence[str]) -> Floats | list[str]:
    try:
        numbers = np.array(cells, dtype=np.float64)
    except ValueError:
        return list(cells)
    return numbers if rounded_row(cells, numbers) is None else list(cells)


def _bytes(cells: Floats | list[str]) -> int:
    """What they take in memory."""
    return cells.nbytes if isinstance(cells, np.ndarray) else sum(map(sys.getsizeof, cells)) + _TEXT * len(cells)


def _memory() -> int:
    """The memory of this host, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _joined(parts: list[Floats | list[str]]) -> Floats | list[str]:
    numbers = [part for part in parts if isinstance(part, np.ndarray)]
    if len(numbers) == len(parts):
        return np.concatenate(numbers)
    return [cell for part in parts for cell in (part if isinstance(part, list) else map(str, part.tolist()))]
