"""A table as its file holds it, and its cells as ids, texts, numbers and days."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from shared.errors import DataError

MISSING_IDS = ("", "nan", "NaN", "NULL", "null", "None")
"""Texts that stand for a missing id."""

_SECONDS = r"-?\d{9,}(\.\d*)?|0|-1|\d\.\d+[eE]\+?\d+"
"""Numbers that count from 1970; eight digits are a date such as 20240531."""
_MICROSECONDS_A_DAY = 86_400e6
_EPOCH_UNITS = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6), (np.inf, 1e9))


@dataclass(frozen=True, eq=False)
class RawTable:
    """One file's rows before anything is judged.

    Attributes:
        path: The file.
        frame: Its columns: text where the file is text, typed where it is Parquet.
        first_row: Number of the first row of `frame` in the file (2 below a header).
    """

    path: Path
    frame: pd.DataFrame
    first_row: int

    def error(self, row: int, column: str, found: str, expected: str, remedy: str) -> DataError:
        """Names a cell that cannot be used; `row` counts the rows of `frame` from 0."""
        return DataError(
            f"{self.path}: row {row + self.first_row}, column {column}: found {found[:40]!r}, "
            f"expected {expected}; {remedy}"
        )

    def require(self, columns: Sequence[str], remedy: str) -> None:
        """Checks that columns are there.

        Raises:
            DataError: Names the columns found and the ones expected.
        """
        missing = [name for name in columns if name not in self.frame.columns]
        if missing:
            raise DataError(
                f"{self.path}: row 1: columns {', '.join(missing)} are missing; found "
                f"{', '.join(map(str, self.frame.columns))}, expected {', '.join(columns)}; "
                f"{remedy}"
            )

    def texts(self, column: str) -> pd.Series[str]:
        """Returns a column as trimmed text, "" where a cell is empty, `(n,)`."""
        values = self.frame[column]
        if pd.api.types.is_float_dtype(values):
            whole = values.dropna().to_numpy(dtype=np.float64)
            if np.all(whole == np.floor(whole)) and np.all(np.abs(whole) < 2**53):
                values = values.astype("Int64")
        return values.astype("str").fillna("").str.strip()

    def ids(self, column: str) -> pd.Series[str]:
        """Returns a column as ids, "" where the id is missing, `(n,)`."""
        values = self.texts(column)
        return values.mask(values.isin(MISSING_IDS), "")

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
        if wrong.any():
            row = int(wrong.argmax())
            raise self.error(
                row, column, texts.iloc[row], "a number", "correct the cell or leave it empty"
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
            return _epoch_days(values.to_numpy(dtype=np.float64, na_value=np.nan))
        texts = self.texts(column)
        empty = texts.isin(MISSING_IDS).to_numpy()
        if re.fullmatch(_SECONDS, next(iter(texts[~empty]), "")):
            numbers = pd.to_numeric(texts, errors="coerce").to_numpy(dtype=np.float64)
            if (np.isnan(numbers) == empty).all():
                return _epoch_days(numbers)
        days = _days(pd.to_datetime(texts, format="ISO8601", utc=True, errors="coerce"))
        wrong = np.isnan(days) & ~empty
        if wrong.any():
            wrong &= ~texts.str.match(r"[+-]?\d{4,}(-\d|$)").to_numpy()
        if wrong.any():
            row = int(wrong.argmax())
            raise self.error(
                row,
                column,
                texts.iloc[row],
                "an ISO 8601 date such as 2024-05-31T18:00 or seconds since 1970",
                "rewrite the column, or name a column of ranks with --order-column",
            )
        return days


def _days(moments: pd.Series[pd.Timestamp]) -> npt.NDArray[np.float64]:
    stamps = moments.dt.tz_localize(None).to_numpy().astype("datetime64[us]")
    days = stamps.astype(np.int64) / _MICROSECONDS_A_DAY
    return np.where(np.isnat(stamps), np.nan, days)


def _epoch_days(numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    known = np.abs(numbers[np.isfinite(numbers)])
    size = float(np.median(known)) if len(known) else 0.0
    unit = next(unit for bound, unit in _EPOCH_UNITS if size < bound)
    return np.where(np.isfinite(numbers), numbers / unit / 86_400.0, np.nan)
