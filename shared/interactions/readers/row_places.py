"""Where rows of a table of events stand in their files, and what cells said that became nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

MOST_CELLS = 100
"""Cells of one column whose text is kept at most."""


@dataclass(frozen=True)
class Place:
    """One row of a file.

    Attributes:
        path: The file.
        row: Number of the row, as in errors: the header is row 1, empty lines are not counted.
        column: Name of the file's column; "" where the row as a whole is meant.
        value: Text of the cell, cut at 40 characters; "" for an empty one.
    """

    path: Path
    row: int
    column: str
    value: str

    def to_json(self) -> dict[str, object]:
        """Returns it as plain values."""
        return {
            "file": str(self.path),
            "row": self.row,
            "column": self.column,
            "value": self.value,
        }


@dataclass(frozen=True, eq=False)
class FileRows:
    """The rows that one file gave, in a table of events.

    Attributes:
        path: The file.
        n_rows: Rows in the table.
        first_row: Number of the first row in the file.
        left_out: Numbers of the rows of the file that are not in the table, ascending.
        columns: From our names of columns to the file's.
        cells: Texts of cells that are not in the table as they stand in the file, by the file's
            name of the column and the row in the table, from 0.
        faulty: The same for cells that are not what their column holds, in rows that are dropped.
        unreadable: The first lines that are no rows.
    """

    path: Path
    n_rows: int
    first_row: int
    left_out: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    columns: Mapping[str, str] = field(default_factory=dict)
    cells: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    faulty: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    unreadable: tuple[Place, ...] = ()

    def number(self, row: int) -> int:
        """Returns the number in the file of a row of the table, counted from 0."""
        number = row + self.first_row
        for skipped in self.left_out.tolist():
            if skipped > number:
                break
            number += 1
        return number

    def place(self, row: int, column: str, value: str) -> Place:
        """Names one cell of the table, with its text in the file where that was kept."""
        name = self.columns.get(column, column)
        text = self.cells.get(name, {}).get(row, value)
        return Place(self.path, self.number(row), name, text[:40])

    def faulty_place(self, row: int) -> Place:
        """Names the first cell of a row that is not what its column holds."""
        for column, cells in self.faulty.items():
            if row in cells:
                return Place(self.path, self.number(row), column, cells[row][:40])
        return Place(self.path, self.number(row), "", "")


def file_of(files: Sequence[FileRows], row: int) -> tuple[FileRows, int] | None:
    """Returns the file of a row of the whole table, and the row's number in that file's part."""
    for file in files:
        if row < file.n_rows:
            return file, row
        row -= file.n_rows
    return None
