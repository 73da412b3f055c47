"""Rows that cannot be used, dropped and counted: how a shop reads the data that it answers from.

An engineer's file is read strictly: an error with file, row and column is worth most. A shop's data
are read while a server waits, and there an error is an answer: were one user's row able to end a
request, the server would learn that the user is there. So a row that cannot be used is dropped, and
how a row is read depends on nothing but that row and the header.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

MAX_LINE = 1 << 20
"""Bytes of one row of a text file at most; a longer one is dropped."""


@dataclass(eq=False)
class RowFaults:
    """What was dropped of one file.

    Attributes:
        left_out: Number and beginning of the rows that are not in the table at all: cells missing
            or too many, a quote left open, bytes that are no UTF-8, too long.
        cells: Rows of the table with a cell that is not what its column holds, `(n,)`.
    """

    left_out: list[tuple[int, str]] = field(default_factory=list)
    cells: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))

    @property
    def unreadable(self) -> int:
        """Number of rows that are not in the table at all."""
        return len(self.left_out)

    def leave_out(self, row: int, line: bytes) -> None:
        """Counts a line that is no row of the table; `row` is its number in the file."""
        self.left_out.append((row, line[:40].decode(errors="replace")))

    def mark(self, wrong: npt.NDArray[np.bool_]) -> None:
        """Counts rows `(n,)` as faulty."""
        self.cells = wrong.copy() if not len(self.cells) else self.cells | wrong


def keep_rows(
    content: bytes, faults: RowFaults, *, n_cells: int, delimiter: str, quoted: bool, header: bool
) -> bytes:
    r"""Returns the lines of a text file that are one row each.

    A quote that is never closed would take the rows of other users into one cell, up to the next
    quote: so no cell may hold a line feed here, and each line is judged alone.

    Args:
        content: Of the file, without a byte order mark.
        faults: Counts the lines that are left out.
        n_cells: Columns of the table.
        delimiter: One byte.
        quoted: Whether `"` may enclose a cell.
        header: Whether the first line is one; it is kept as it is.
    """
    is_row = _row_test(n_cells, delimiter.encode(), quoted=quoted)
    lines = content.lstrip(b"\r\n").split(b"\n")
    whole_lines = lines[:1] if header else []
    row = len(whole_lines)
    for line in lines[len(whole_lines) :]:
        if not line.strip():
            continue
        row += 1
        if len(line) <= MAX_LINE and is_row(line):
            whole_lines.append(line)
        else:
            faults.leave_out(row, line)
    return b"\n".join(whole_lines)


def _row_test(n_cells: int, delimiter: bytes, *, quoted: bool) -> Callable[[bytes], bool]:
    d = re.escape(delimiter)
    # As the parser reads them: a quote within a cell that does not begin with one is a character.
    plain = rb'(?:[^"' + d + rb"\r\n][^" + d + rb"\r\n]*)?"
    cell = rb'(?:"(?:[^"\r\n]|"")*"|' + plain + rb")"
    row = re.compile(cell + rb"(?:" + d + cell + rb"){" + str(n_cells - 1).encode() + rb"}\r?")

    def is_row(line: bytes) -> bool:
        if not line.isascii():
            try:
                line.decode()
            except UnicodeDecodeError:
                return False
        if quoted and b'"' in line:
            return row.fullmatch(line) is not None
        # A carriage return alone ends a row, for the parser.
        return line.count(delimiter) == n_cells - 1 and b"\r" not in line[:-1]

    return is_row


def frame_of(table: pa.Table, faults: RowFaults) -> pd.DataFrame:
    """Turns a Parquet table into columns; a cell that Python cannot hold marks its row.

    Whole numbers with gaps stay whole numbers: as floats, one user's missing id would round the
    large ids of all others.
    """
    wrong = np.zeros(len(table), dtype=bool)
    columns: dict[str, object] = {}
    for name in table.column_names:
        try:
            table[name].validate(full=True)  # text that is not UTF-8 would fail later
            columns[name] = table[name].to_pandas(integer_object_nulls=True).reset_index(drop=True)
        except (pa.ArrowException, ValueError, OverflowError):
            cells = [_cell(scalar) for scalar in table[name]]
            wrong |= np.array([not good for _, good in cells], dtype=bool)
            columns[name] = pd.Series([value for value, _ in cells], dtype=object)
    faults.mark(wrong)
    return pd.DataFrame(columns, index=range(len(table)))


def _cell(scalar: pa.Scalar) -> tuple[object, bool]:
    try:
        return scalar.as_py(), True
    except (pa.ArrowException, ValueError, OverflowError):
        return None, False
