"""How moments are spelled, and read as days since 1970-01-01 UTC: one rule for files and for HTTP.

Each cell is read by its own form. A form with two readings (31/05/2024, a spreadsheet's serial
number, a zone's ambiguous name such as EST) is no date here: the row is named instead.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd

FIRST_DAY, LAST_DAY = 3_652.0, 47_482.0
"""1980-01-01 and 2100-01-01 in days since 1970: dates outside are impossible."""

EXPECTED_TIME = (
    "an ISO 8601 date such as 2024-05-31T18:00, 20240531 with hours or not, or seconds since 1970"
)
"""What is read, in words."""

Days = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_MICROSECONDS_A_DAY = 86_400e6
_MOST_DAYS = 719_000.0
"""Days that a `datetime` reaches on both sides of 1970."""
_EPOCH_UNITS = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6), (np.inf, 1e9))
_CALENDAR_DIGITS = {8: 1, 10: 100, 12: 10_000, 14: 1_000_000}
"""Numbers of digits of a date written as one number, and the factor on YYYYMMDD in it."""
_SMALLEST_EPOCH = 1e8
"""Seconds since 1970 below this are of 1973 or before; the numbers are ranks or serials."""

_NUMBER = r"^[+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?$"
_ROUNDED = r"^[+-]?[0-9](?:\.[0-9]{0,8})?[eE]\+0?9$|^[+-]?[0-9](?:\.[0-9]{0,11})?[eE]\+12$"
"""Seconds or milliseconds whose last digits a program has cut off (R, spreadsheets)."""
_DATE = r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}"
_ISO = (
    rf"^{_DATE}(?:[T ]+[0-9]{{1,2}}(?::[0-9]{{1,2}}(?::[0-9]{{1,2}}(?:\.[0-9]*)?)?)?"
    r"(?: ?(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?))?)?$"
    r"|^[0-9]{8}T[0-9]{2}(?:[0-9]{2}(?:[0-9]{2}(?:\.[0-9]+)?)?)?(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)?$"
)
_UTC = r" ?(?:\+00:?00 )?(?:UTC|GMT|Etc/UTC|\[UTC\]|Z\[UTC\])$"
_SPELLED = re.compile(
    r"(?P<date>\d{4}(?P<mark>[-/. ])\d{1,2}(?P=mark)\d{1,2})"
    r"(?:(?:[T ]+|-(?=\d\d\.\d\d\.))(?P<hour>\d{1,2})(?:[:.](?P<minute>\d{2}))?"
    r"(?:[:.](?P<second>\d{2})(?:[.,](?P<part>\d{1,9}))?)? ?(?P<half>[AaPp]\.?[Mm]\.?)?"
    r" ?(?P<offset>Z|[+-]\d{2}(?::?\d{2})?)?(?: ?(?P<zone>\[?[A-Za-z_]+(?:/[\w+-]+)*\]?))?)?",
    re.ASCII,
)


def days_of_texts(texts: pd.Series[str], missing: Mask) -> tuple[Days, Mask]:
    """Reads cells of text.

    Args:
        texts: Trimmed, `(n,)`.
        missing: Which of them are empty, `(n,)`.

    Returns:
        Days, NaN where a cell is missing or names a day that no calendar has (2021-02-30), and a
        mask of the cells that are no date at all.
    """
    # Of what the parser of ISO 8601 takes, only cells with a day are dates for sure: not 2024.
    dashed = texts.str.slice(4, 5).eq("-").to_numpy(dtype=bool) & ~missing
    days = np.full(len(texts), np.nan)
    days[dashed] = _iso_days(texts if dashed.all() else texts[dashed])
    short = dashed & (texts.str.len().to_numpy() < len("2024-5-1"))
    left = np.flatnonzero((np.isnan(days) & ~missing) | short)
    wrong = np.zeros(len(texts), dtype=bool)
    if len(left):
        days[left], wrong[left] = _other_days(texts.iloc[left])
    return days, wrong


def days_of_numbers(numbers: Days) -> tuple[Days, Mask]:
    """Reads numbers: seconds, milliseconds, microseconds or nanoseconds since 1970 by their size.

    Numbers of 8, 10, 12 or 14 digits that begin with a year are dates: 20240531, with hours,
    minutes and seconds. 2024053118 would be a second of the year 2034 as well; it is the hour.

    Returns:
        Days, NaN for NaN and for a day that no calendar has, and a mask of the numbers that are no
        time: ranks, serial numbers of spreadsheets, 2024.
    """
    known = np.isfinite(numbers)
    x = np.where(known, numbers, 0.0)
    bounds, units = (np.array(values) for values in zip(*_EPOCH_UNITS, strict=True))
    days = x / units[np.searchsorted(bounds[:-1], np.abs(x), side="right")] / 86_400.0
    wrong = (np.abs(x) < _SMALLEST_EPOCH) & (x != 0) & (x != -1)
    for factor in _CALENDAR_DIGITS.values():
        dated = (x >= 19_800_101 * factor) & (x < 20_991_232 * factor)
        if dated.any():
            days[dated], wrong[dated] = _calendar_days(x[dated], factor)
    return np.where(known & ~wrong, days, np.nan), wrong & known


def moment(value: object) -> datetime:
    """Reads one moment as `days_of_texts` and `days_of_numbers` do.

    Args:
        value: Text, a number or a `datetime` (UTC where it has no zone).

    Raises:
        ValueError: It is no date, or one that no calendar has.
    """
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"expected {EXPECTED_TIME}")
    if isinstance(value, str):
        cell = pd.Series([value.strip()], dtype="str")
        days, wrong = days_of_texts(cell, np.zeros(1, dtype=bool))
    else:
        # A whole number beyond all floats is no time either.
        days, wrong = days_of_numbers(np.array([min(float(str(value)), 1e300)]))
    if wrong[0] or not abs(days[0]) < _MOST_DAYS:
        raise ValueError(f"found {str(value)[:40]!r}, expected {EXPECTED_TIME}")
    microseconds = round(days[0] * _MICROSECONDS_A_DAY)
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)


def days_of_moments(moments: pd.Series[pd.Timestamp]) -> Days:
    """Turns moments into days, `(n,)`; without a zone they are UTC."""
    stamps = moments.dt.tz_localize(None).to_numpy().astype("datetime64[us]")
    days = stamps.astype(np.int64) / _MICROSECONDS_A_DAY
    return np.where(np.isnat(stamps), np.nan, days)


def _iso_days(texts: pd.Series[str]) -> Days:
    return days_of_moments(pd.to_datetime(texts, format="ISO8601", utc=True, errors="coerce"))


def _other_days(texts: pd.Series[str]) -> tuple[Days, Mask]:
    """Reads numbers, and dates in other spellings than ISO 8601; the rest is wrong."""
    counted = texts.str.fullmatch(_NUMBER).to_numpy(dtype=bool)
    days, wrong = np.full(len(texts), np.nan), np.zeros(len(texts), dtype=bool)
    if counted.any():
        numbers = pd.to_numeric(texts[counted]).to_numpy(dtype=np.float64)
        days[counted], wrong[counted] = days_of_numbers(numbers)
        wrong[counted] |= texts[counted].str.contains(_ROUNDED).to_numpy(dtype=bool)
    if counted.all():
        return np.where(wrong, np.nan, days), wrong
    rest = texts[~counted].str.replace(_UTC, "Z", regex=True)
    iso = rest.str.contains(_ISO).to_numpy(dtype=bool)
    read, faults = np.full(len(rest), np.nan), np.zeros(len(rest), dtype=bool)
    if iso.any():
        read[iso] = _iso_days(rest[iso])
    if not iso.all():
        codes, cells = pd.factorize(rest[~iso])
        moments = [_spelled_days(cell) for cell in cells]
        read[~iso] = np.array([np.nan if day is None else day for day in moments])[codes]
        faults[~iso] = np.array([day is None for day in moments])[codes]
    days[~counted], wrong[~counted] = read, faults
    return np.where(wrong, np.nan, days), wrong


def _spelled_days(cell: str) -> float | None:
    """Reads a clock of 12 hours, dots in a time, or the name of a time zone; None for no date."""
    match = _SPELLED.fullmatch(cell)
    if match is None:
        return None
    text = match["date"].replace(match["mark"], "-")
    zone = (match["zone"] or "").strip("[]")
    if match["hour"]:
        hour = int(match["hour"])
        if match["half"]:
            if not 1 <= hour <= 12:
                return None
            hour = hour % 12 + 12 * (match["half"][0] in "Pp")
        elif match["minute"] is None:
            return None
        text += f" {hour:02d}:{match['minute'] or '00'}:{match['second'] or '00'}"
        text += f".{match['part'] or '0'}"
    stamp = pd.to_datetime(text, format="ISO8601", errors="coerce")
    if not isinstance(stamp, pd.Timestamp):
        return float("nan")
    return _in_zone(stamp, match["offset"] or "", zone)


def _in_zone(stamp: pd.Timestamp, offset: str, zone: str) -> float | None:
    """Returns the days of a moment in a zone; where an offset stands too, it alone decides."""
    if offset:
        moment = pd.Timestamp(f"{stamp.isoformat()}{offset}")
    elif zone in ("", "UTC", "GMT", "Z"):
        moment = stamp.tz_localize("UTC")
    elif "/" in zone:
        try:
            moment = stamp.tz_localize(ZoneInfo(zone), ambiguous="raise", nonexistent="raise")
        except (KeyError, ValueError, OSError):  # no such zone, or an hour that it has twice
            return None
    else:
        return None  # CST is three zones
    return float(moment.tz_convert("UTC").value) / 86_400e9


def _calendar_days(numbers: Days, factor: int) -> tuple[Days, Mask]:
    """Reads YYYYMMDD with hours, minutes and seconds behind; `factor` is what they take."""
    # Whole seconds: what stands behind a point is no part of a date.
    whole = np.floor(numbers).astype(np.int64)
    date, clock = whole // factor, whole % factor
    clock *= 1_000_000 // factor
    hour, minute, second = clock // 10_000, clock // 100 % 100, clock % 100
    year, month, day = date // 10_000, date // 100 % 100, date % 100
    named = (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    named &= (hour < 24) & (minute < 60) & (second < 60) & (numbers == whole)
    first = ((year - 1970) * 12 + np.clip(month, 1, 12) - 1).astype("datetime64[M]")
    days = first.astype("datetime64[D]").astype(np.int64) + day - 1
    real = days < (first + 1).astype("datetime64[D]").astype(np.int64)
    seconds = hour * 3600 + minute * 60 + second
    return np.where(named & real, days + seconds / 86_400.0, np.nan), ~named
