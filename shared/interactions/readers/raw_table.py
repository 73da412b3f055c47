"""One file's rows before anything is judged, and how its cells become ids, numbers and days."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from shared.errors import DataError
from shared.interactions.readers.row_faults import RowFaults
from shared.interactions.readers.row_places import MOST_CELLS, FileRows, Place

MISSING_IDS = ("", "nan", "NaN", "NULL", "null", "None")
"""Texts that stand for a missing id."""

_SECONDS = r"-?\d{9,}(\.\d*)?|0|-1|\d\.\d+[eE]\+?\d+"
"""Numbers that count from 1970; eight digits are a date such as 20240531."""
FIRST_DAY, LAST_DAY = 3_652.0, 47_482.0
"""1980-01-01 and 2100-01-01 in days since 1970: dates outside are impossible."""

_MICROSECONDS_A_DAY = 86_400e6
_EPOCH_UNITS = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6), (np.inf, 1e9))


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
    """

    path: Path
    frame: pd.DataFrame
    first_row: int
    faults: RowFaults | None = None
    cells: dict[str, dict[int, str]] = field(default_factory=dict)
    faulty: dict[str, dict[int, str]] = field(default_factory=dict)

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
        """Returns a column as trimmed text, "" where a cell is empty, `(n,)`."""
        values = self.frame[column]
        if pd.api.types.is_float_dtype(values) and self.faults is not None:
            # Cell by cell: as a column, one user's 7.5 would rename the item "7" of all others.
            known = values.to_numpy(dtype=np.float64)
            whole = np.isfinite(known) & (known == np.floor(known)) & (np.abs(known) < 2**53)
            texts = values.astype("str").to_numpy(dtype=object, na_value="")
            texts[whole] = known[whole].astype(np.int64).astype(str)
            return pd.Series(texts, dtype="str").str.strip()
        if pd.api.types.is_float_dtype(values):
            # Parquet from pandas holds an integer id column with a gap as floats: 7.0 must be "7".
            whole = values.dropna().to_numpy(dtype=np.float64)
            if np.all(whole == np.floor(whole)) and np.all(np.abs(whole) < 2**53):
                values = values.astype("Int64")
        return values.astype("str").fillna("").str.strip()

    def ids(self, column: str) -> pd.Series[str]:
        """Returns a column as ids, "" where the id is missing, `(n,)`."""
        values = self.texts(column)
        missing = values.isin(MISSING_IDS)
        if not missing.any():
            return values
        _remember(self.cells, column, missing.to_numpy(), values)
        return values.mask(missing, "")

    def numbers(self, column: str) -> npt.NDArray[np.float64]:
        """Returns a column as float64 `(n,)`, NaN where a cell is empty.

        Raises:
            DataError: A cell holds text.
        """
        values = self.frame[column]
        if pd.api.types.is_numeric_dtype(values):
            return values.to_numpy(dtype=np.float64, na_value=np.nan)
        texts = self.texts(column)
        numbers = pd.to_numeric(texts, errors="coerce").to_numpy(dtype=np.float64)
        wrong = np.isnan(numbers) & ~texts.str.lower().isin(["", "nan"]).to_numpy()
        self.refuse(
            wrong, column, texts, expected="a number", remedy="correct the cell or leave it empty"
        )
        return numbers

    def days(self, column: str) -> npt.NDArray[np.float64]:
        """Returns a column of dates as days since 1970-01-01 UTC, `(n,)`.

        Text is read as ISO 8601, without a time zone as UTC; numbers are seconds, milliseconds,
        microseconds or nanoseconds since 1970, by their size. A missing date, or one that no
        calendar has (2021-02-30), is NaN.

        Raises:
            DataError: A cell is no date at all.
        """
        values = self.frame[column]
        if pd.api.types.is_datetime64_any_dtype(values):
            return _days(pd.to_datetime(values, utc=True))
        if pd.api.types.is_numeric_dtype(values):
            numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
            return _epoch_days(numbers) if self.faults is None else _epoch_days_each(numbers)
        texts = self.texts(column)
        empty = texts.isin(MISSING_IDS).to_numpy()
        if self.faults is not None:
            days = _days_each(texts)
        else:
            if re.fullmatch(_SECONDS, next(iter(texts[~empty]), "")):
                numbers = pd.to_numeric(texts, errors="coerce").to_numpy(dtype=np.float64)
                if (np.isnan(numbers) == empty).all():
                    return _epoch_days(numbers)
            days = _iso_days(texts)
        # A date such as 2021-02-30 or one beyond pandas' range is dropped and counted by cleaning;
        # only cells that do not begin like a date are faults of the column.
        wrong = np.isnan(days) & ~empty
        if wrong.any():
            wrong &= ~texts.str.match(r"[+-]?\d{4,}(-\d|$)").to_numpy()
        self.refuse(
            wrong,
            column,
            texts,
            expected="an ISO 8601 date such as 2024-05-31T18:00 or seconds since 1970",
            remedy="rewrite the column, or name a column of ranks with --order-column",
        )
        _remember(self.cells, column, ~((days >= FIRST_DAY) & (days < LAST_DAY)), texts)
        return days


def _remember(
    memory: dict[str, dict[int, str]],
    column: str,
    rows: npt.NDArray[np.bool_],
    cells: pd.Series[str],
) -> None:
    kept = memory.setdefault(column, {})
    for row in np.flatnonzero(rows)[: MOST_CELLS - len(kept)].tolist():
        kept.setdefault(row, str(cells.iloc[row]))


def _days_each(texts: pd.Series[str]) -> npt.NDArray[np.float64]:
    """Reads each cell for itself: none decides how the others are read."""
    counted = texts.str.fullmatch(_SECONDS).to_numpy(dtype=bool)
    days = np.full(len(texts), np.nan)
    if counted.any():
        days[counted] = _epoch_days_each(texts[counted].to_numpy().astype(np.float64))
    if not counted.all():
        days[~counted] = _iso_days(texts[~counted])
    return days


def _days(moments: pd.Series[pd.Timestamp]) -> npt.NDArray[np.float64]:
    stamps = moments.dt.tz_localize(None).to_numpy().astype("datetime64[us]")
    days = stamps.astype(np.int64) / _MICROSECONDS_A_DAY
    return np.where(np.isnat(stamps), np.nan, days)


def _iso_days(texts: pd.Series[str]) -> npt.NDArray[np.float64]:
    return _days(pd.to_datetime(texts, format="ISO8601", utc=True, errors="coerce"))


def _epoch_days_each(numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Takes the unit of each number from its own size, whatever the others are."""
    bounds, units = (np.array(values) for values in zip(*_EPOCH_UNITS, strict=True))
    known = np.isfinite(numbers)
    unit = units[np.searchsorted(bounds[:-1], np.abs(np.where(known, numbers, 0.0)), side="right")]
    return np.where(known, numbers / unit / 86_400.0, np.nan)


def _epoch_days(numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    # The median, so that one stray value does not decide the unit of a whole column.
    known = np.abs(numbers[np.isfinite(numbers)])
    size = float(np.median(known)) if len(known) else 0.0
    unit = next(unit for bound, unit in _EPOCH_UNITS if size < bound)
    return np.where(np.isfinite(numbers), numbers / unit / 86_400.0, np.nan)
