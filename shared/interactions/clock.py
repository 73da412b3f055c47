"""The data set's time: weeks and dates as the numbers in `Events.time`, and default windows."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.errors import ConfigError, DataError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MONDAY = -3
"""1969-12-29, a Monday, in days since 1970-01-01."""


@dataclass(frozen=True)
class Clock:
    """How `Events.time` is to be read, and where the windows start by default.

    Attributes:
        unit: "days" since 1970-01-01, or "order" for ranks.
        week_1: The Monday that begins week 1, in days; NaN for ranks.
        validation_start: Default start of the validation window, in `unit`.
        test_start: Default start of the test window, in `unit`.
        test_end: Default end of the test window, in `unit`; infinite for none.
    """

    unit: str
    week_1: float
    validation_start: float
    test_start: float
    test_end: float = math.inf

    @staticmethod
    def of_times(times: npt.NDArray[np.float64], unit: str) -> Clock:
        """Reads a clock off a data set: the last tenth of events is the test window.

        The tenth before is the validation window; both start on whole days where that leaves no
        window empty. Week 1 begins on the Monday on or before the first event.

        Raises:
            DataError: There are no times.
        """
        if not len(times):
            raise DataError("time: found 0 events with a time, expected at least 1; add events")
        first = float(times.min())
        validation, test = (float(value) for value in np.quantile(times, [0.8, 0.9]))
        week_1 = math.nan
        if unit == "days":
            week_1 = first - (first - _MONDAY) % 7
            week_1 = float(math.floor(week_1 + 0.5))
            if first < math.floor(validation) < math.floor(test):
                validation, test = float(math.floor(validation)), float(math.floor(test))
        return Clock(unit, week_1, validation, test)

    def week(self, number: int) -> float:
        """Returns the first day of a week, counted from 1."""
        return self.week_1 + 7.0 * (number - 1)

    def parse(self, name: str, value: str) -> float:
        """Returns a week number, ISO date or (for ranks) a number as a time.

        Args:
            name: Of the setting, for the error.
            value: Its text.

        Raises:
            ConfigError: The text is neither.
        """
        option = name.replace("_", "-")
        if self.unit == "order":
            if re.fullmatch(r"-?\d+(\.\d+)?", value):
                return float(value)
            raise ConfigError(f"{name}={value!r} is no rank; give a number with --{option}")
        if re.fullmatch(r"\d{1,4}", value):
            return self.week(int(value))
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise ConfigError(
                f"{name}={value!r} is neither a week number nor an ISO date such as 2024-05-31; "
                f"correct it with --{option}"
            ) from None
        return (moment.replace(tzinfo=moment.tzinfo or UTC) - _EPOCH) / timedelta(days=1)

    def show(self, time: float | None) -> str | float | None:
        """Returns a time as an ISO date (or the rank itself), None for None or infinity."""
        if time is None or not math.isfinite(time):
            return None
        if self.unit == "order":
            return time
        moment = _EPOCH + timedelta(days=time)
        whole = moment.time() == datetime.min.time()
        return moment.date().isoformat() if whole else moment.replace(tzinfo=None).isoformat()

    def to_json(self) -> dict[str, Any]:
        """Returns plain values, None for what is not finite."""
        return {
            name: value if isinstance(value, str) or math.isfinite(value) else None
            for name, value in asdict(self).items()
        }

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> Clock:
        """Reads what `to_json` wrote."""
        week_1, end = record["week_1"], record["test_end"]
        return Clock(
            unit=record["unit"],
            week_1=math.nan if week_1 is None else week_1,
            validation_start=record["validation_start"],
            test_start=record["test_start"],
            test_end=math.inf if end is None else end,
        )
