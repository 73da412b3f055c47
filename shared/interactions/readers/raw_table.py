"""One file's rows before anything is judged, and how its cells become ids, numbers and days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from shared.errors import DataError
from shared.interactions.ids import EXPECTED_ID, is_missing, normal_ids
from shared.interactions.readers.row_faults import RowFaults
from shared.interactions.readers.row_places import MOST_CELLS, FileRows, Place
from shared.interactions.times import (
    EXPECTED_TIME,
    FIRST_DAY,
    LAST_DAY,
    days_of_moments,
    days_of_numbers,
    days_of_texts,
)


@dataclass(frozen=True, eq=False)
class RawTable:
    """One file's rows before anything is judged.

    Attributes:
        path: The file.
        frame: Its columns: text where the file is text, typed where it is Parquet.
        first_row: Number of the first row of `frame` in the file (2 below a header).
        faults: Takes the rows that cannot be used; None ends at the first of them.
        cells: Texts of the first cells of each column that became nothing, by row.
        faulty: The same for cells that are not what their column holds.
        notes: How the file was read where there was a choice: encoding, punctuation.
    """

    path: Path
    frame: pd.DataFrame
    first_row: int
    faults: RowFaults | None = None
    cells: dict[str, dict[int, str]] = field(default_factory=dict)
    faulty: dict[str, dict[int, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def file_rows(self, columns: Mapping[str, str]) -> FileRows:
        """Says where the rows stand in the file.

        Args:
            columns: From our names to the file's.
        """
        skipped = [] if self.faults is None else self.faults.left_out
        return FileRows(
            path=self.path,
            n_rows=len(self.frame),
            first_row=self.first_row,
            left_out=np.array([row for row, _ in skipped], dtype=np.int64),
            columns=dict(columns),
            cells=self.cells,
            faulty=self.faulty,
            unreadable=tuple(Place(self.path, row, "", text) for row, text in skipped[:3]),
        )

    def taken(self) -> tuple[str, ...]:
        """Says in one line how the file was read where there was a choice."""
        return (f"{self.path.name}: {', '.join(self.notes)}",) if self.notes else ()

    def error(self, row: int, column: str, cell: str, expected: str, remedy: str) -> DataError:
        """Names a cell that cannot be used; `row` counts the rows of `frame` from 0."""
        return DataError(
            f"{self.path}: row {row + self.first_row}, column {column}: found {cell[:40]!r}, "
            f"expected {expected}",
            remedy=remedy,
        )

    def refuse(
        self,
        wrong: npt.NDArray[np.bool_],
        column: str,
        cells: pd.Series[str],
        *,
        expected: str,
        remedy: str,
    ) -> None:
        """Drops or refuses rows with a cell that is not what its column holds.

        Args:
            wrong: Mask of the rows, `(n,)`.
            column: Of the cells.
            cells: All cells of the column, `(n,)`.
            expected: What the column holds.
            remedy: What to do.

        Raises:
            DataError: There is such a row, and none is to be dropped.
        """
        if self.faults is not None:
            self.faults.mark(wrong)
            _remember(self.faulty, column, wrong, cells)
        elif wrong.any():
            row = int(wrong.argmax())
            raise self.error(row, column, str(cells.iloc[row]), expected, remedy)

    def require(self, columns: Sequence[str], remedy: str) -> None:
        """Checks that columns are there.

        Raises:
            DataError: Names the columns found and the ones expected.
        """
        missing = [name for name in columns if name not in self.frame.columns]
        if missing:
            raise DataError(
                f"{self.path}: row 1: columns {', '.join(missing)} are missing; found "
                f"{', '.join(map(str, self.frame.columns))}, expected {', '.join(columns)}",
                remedy=remedy,
            )

    def texts(self, column: str) -> pd.Series[str]:
        """Returns a column as trimmed text, "" where a cell is empty, `(n,)`.

        Whole numbers are written without a point whatever kind the file gave them. A list or record
        ends in a control character, so that it is no id, number or date.
        """
        values = self.frame[column]
        if pd.api.types.is_float_dtype(values):
            return _float_texts(values)
        if values.dtype == object:
            return pd.Series([cell_text(value) for value in values], dtype="str").str.strip()
        return values.astype("str").fillna("").str.strip()

    def words(self, column: str) -> pd.Series[str]:
        """Returns a column as text to read, "" where a cell is empty or says so, `(n,)`.

        The entries of a list are joined by ", ".
        """
        values = self.frame[column]
        if values.dtype == object:
            texts = pd.Series([cell_text(value, joined=True) for value in values], dtype="str")
        else:
            texts = self.texts(column)
        missing = is_missing(texts)
        return texts.mask(missing, "") if missing.any() else texts

    def ids(self, column: str) -> pd.Series[str]:
        """Returns a column as ids, "" where the id is missing, `(n,)`.

        Raises:
            DataError: A cell can be no id.
        """
        texts = self.texts(column)
        ids, wrong = normal_ids(texts)
        values = self.frame[column]
        if pd.api.types.is_float_dtype(values):
            # Beyond this two whole numbers are one float.
            size = 2.0 ** {2: 11, 4: 24}.get(values.to_numpy().dtype.itemsize, 53)
            wrong |= np.abs(values.to_numpy(dtype=np.float64, na_value=0.0)) >= size
        self.refuse(
            wrong,
            column,
            texts,
            expected=EXPECTED_ID,
            remedy="close every quote and write ids as text",
        )
        _remember(self.cells, column, (ids == "").to_numpy(dtype=bool), texts)
        return ids

    def numbers(self, column: str) -> npt.NDArray[np.float64]:
        """Returns a column as float64 `(n,)`, NaN where a cell is empty.

        A comma is the decimal point where it can be nothing else: 2,50 and 1.234,56; 1,250 could be
        a thousand.

        Raises:
            DataError: A cell holds text.
        """
        values = self.frame[column]
        if pd.api.types.is_numeric_dtype(values):
            return values.to_numpy(dtype=np.float64, na_value=np.nan)
        texts = self.texts(column)
        numbers = pd.to_numeric(texts, errors="coerce").to_numpy(dtype=np.float64).copy()
        wrong = np.isnan(numbers)
        wrong[wrong] = ~is_missing(texts[wrong])
        if wrong.any():
            with_commas = np.flatnonzero(wrong)
            read = _comma_numbers(texts.iloc[with_commas])
            numbers[with_commas] = read
            wrong[with_commas] = np.isnan(read)
            if not wrong[with_commas].all():
                self.notes.append(f"decimal commas in {column}")
                if self.faults is None:
                    # Where a comma is the decimal point, 1.250 may well be a thousand.
                    wrong |= texts.str.contains(_POINT_OR_THOUSAND).to_numpy(dtype=bool)
        self.refuse(
            wrong,
            column,
            texts,
            expected="a number",
            remedy="correct the cell, write no separator of thousands, or leave it empty",
        )
        return numbers

    def days(self, column: str) -> npt.NDArray[np.float64]:
        """Returns a column of dates as days since 1970-01-01 UTC, `(n,)`; see `times`.

        A missing date, or one that no calendar has (2021-02-30), is NaN.

        Raises:
            DataError: A cell is no date at all.
        """
        values = self.frame[column]
        texts: pd.Series[str] | None = None
        if pd.api.types.is_datetime64_any_dtype(values):
            days = days_of_moments(pd.to_datetime(values, utc=True))
            wrong = np.zeros(len(days), dtype=bool)
        elif pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
            days, wrong = days_of_numbers(values.to_numpy(dtype=np.float64, na_value=np.nan))
        else:
            texts = self.texts(column)
            days, wrong = days_of_texts(texts, is_missing(texts))
        impossible = ~((days >= FIRST_DAY) & (days < LAST_DAY))
        if impossible.any():
            texts = self.texts(column) if texts is None else texts
            self.refuse(
                wrong,
                column,
                texts,
                expected=EXPECTED_TIME,
                remedy="rewrite the column (a spreadsheet's serial numbers as dates), or name a "
                "column of ranks with --order-column",
            )
            _remember(self.cells, column, impossible, texts)
        return days


_NO_TEXT = "\x7f"
"""Ends what is no single value: a control character that trimming leaves."""


def cell_text(value: object, *, joined: bool = False) -> str:
    """Writes a cell that is no text; a list or record as itself, or its entries joined by ", "."""
    if isinstance(value, np.ndarray | list | tuple):
        if joined:
            return ", ".join(filter(None, (cell_text(part, joined=True).strip() for part in value)))
        return f"{value!r}"[:100] + _NO_TEXT
    if isinstance(value, dict):
        entries = list(value.values())
        return cell_text(entries, joined=True) if joined else f"{value!r}"[:100] + _NO_TEXT
    if value is None or value is pd.NA or value is pd.NaT or value != value:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value)


def _float_texts(values: pd.Series[float]) -> pd.Series[str]:
    """Writes floats cell by cell: as a column, one user's 7.5 would rename the item 7 of others."""
    known = values.to_numpy(dtype=np.float64, na_value=np.nan)
    whole = np.isfinite(known) & (known == np.floor(known)) & (np.abs(known) < 2**53)
    if whole[~np.isnan(known)].all():
        numbers = pd.Series(np.where(whole, known, 0.0).astype(np.int64)).astype("str")
        return numbers.mask(~whole, "")
    texts = values.astype("str").fillna("").to_numpy(dtype=object, na_value="")
    texts[whole] = known[whole].astype(np.int64).astype(str)
    return pd.Series(texts, dtype="str").str.strip()


_DECIMAL_COMMA = r"^[+-]?(?:\d+|\d{1,3}(?:\.\d{3})+),\d+$"
_THOUSANDS = r"^[+-]?[1-9]\d{0,2}(?:,\d{3})+\.\d+$|^[+-]?[1-9]\d{0,2}(?:,\d{3}){2,}$"
_POINT_OR_THOUSAND = r"^[+-]?[1-9]\d{0,2}\.\d{3}$"
_EITHER = r"^[+-]?[1-9]\d{0,2},\d{3}$"


def _comma_numbers(texts: pd.Series[str]) -> npt.NDArray[np.float64]:
    """Reads numbers with commas; NaN where a comma may be one thing or the other."""
    decimal = texts.str.contains(_DECIMAL_COMMA) & ~texts.str.contains(_EITHER)
    thousands = texts.str.contains(_THOUSANDS)
    plain = texts.str.replace(",", "", regex=False)
    points = texts.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
    spelled = plain.where(thousands, points.where(decimal, ""))
    return pd.to_numeric(spelled, errors="coerce").to_numpy(dtype=np.float64)


def _remember(
    memory: dict[str, dict[int, str]],
    column: str,
    rows: npt.NDArray[np.bool_],
    cells: pd.Series[str],
) -> None:
    cells_of_column = memory.setdefault(column, {})
    for row in np.flatnonzero(rows)[: MOST_CELLS - len(cells_of_column)].tolist():
        cells_of_column.setdefault(row, str(cells.iloc[row]))
