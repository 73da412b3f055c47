"""The data set's time, and the fit, validation and test parts of a shop's events.

Weeks and dates are the numbers in `Events.time`. Parts are cut by time, or are the last events of
each user.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from shared.errors import ConfigError, DataError
from shared.interactions.events import Dataset, Events, Shop
from shared.settings.run_settings import DataSettings

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MONDAY = -3
"""1969-12-29, a Monday, in days since 1970-01-01."""


@dataclass(frozen=True)
class DataCalendar:
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
    def of_times(times: npt.NDArray[np.float64], unit: str) -> DataCalendar:
        """Reads a clock off a data set: the last tenth of events is the test window.

        The tenth before is the validation window; both start on whole days where that leaves no
        window empty. Week 1 begins on the Monday on or before the first event.

        Raises:
            DataError: There are no times.
        """
        if not len(times):
            raise DataError(
                "time: found 0 events with a time, expected at least 1", remedy="add events"
            )
        first = float(times.min())
        validation, test = (float(value) for value in np.quantile(times, [0.8, 0.9]))
        week_1 = math.nan
        if unit == "days":
            week_1 = first - (first - _MONDAY) % 7
            week_1 = float(math.floor(week_1 + 0.5))
            if first < math.floor(validation) < math.floor(test):
                validation, test = float(math.floor(validation)), float(math.floor(test))
        return DataCalendar(unit, week_1, validation, test)

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
            raise ConfigError(
                f"{name}={value!r} is no rank", remedy=f"give a number with --{option}"
            )
        if re.fullmatch(r"\d{1,4}", value):
            return self.week(int(value))
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise ConfigError(
                f"{name}={value!r} is neither a week number nor an ISO date such as 2024-05-31",
                remedy=f"correct it with --{option}",
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
    def from_json(record: Mapping[str, Any]) -> DataCalendar:
        """Reads what `to_json` wrote."""
        week_1, end = record["week_1"], record["test_end"]
        return DataCalendar(
            unit=record["unit"],
            week_1=math.nan if week_1 is None else week_1,
            validation_start=record["validation_start"],
            test_start=record["test_start"],
            test_end=math.inf if end is None else end,
        )


FIT, VALIDATION, TEST, AFTER = range(4)
"""Values of `parts`."""


@dataclass(frozen=True)
class Windows:
    """Where the parts begin and end, in the unit of `Events.time`.

    Attributes:
        kind: By "time", or "leave-last-out" (then there are no times).
        validation_start: First time of the validation window.
        test_start: First time of the test window.
        test_end: First time after the test window; None if nothing comes after.
    """

    kind: Literal["time", "leave-last-out"]
    validation_start: float | None = None
    test_start: float | None = None
    test_end: float | None = None


@dataclass(frozen=True, eq=False)
class ShopSplit:
    """One shop's events in three parts; user codes are still those of the shop.

    Attributes:
        fit: What models learn from while hyper-parameters are chosen.
        validation: What hyper-parameters are chosen on.
        known: Both together: what a shop knows before the test window.
        test: What is reported.
    """

    fit: Events
    validation: Events
    known: Events
    test: Events


def resolve_windows(settings: DataSettings, dataset: Dataset) -> Windows:
    """Returns the windows that the settings ask for, with the data set's defaults.

    Raises:
        ConfigError: A window is out of order, has no event, or has no meaning for the split.
    """
    times = np.concatenate([shop.events.time for shop in dataset.shops])
    known = dataset.report.get("time")
    clock = (
        DataCalendar.from_json(known) if known else DataCalendar.of_times(times, dataset.time_unit)
    )
    windows = cut(settings, clock)
    check_filled(windows, clock, times)
    return windows


def cut(settings: DataSettings, clock: DataCalendar) -> Windows:
    """Returns the windows of the settings on a clock.

    Raises:
        ConfigError: The windows are out of order, or have no meaning for the split.
    """
    names = ("validation_start", "test_start", "test_end")
    bounds = {name: getattr(settings, name) for name in names}
    if settings.split == "leave-last-out":
        for name, value in bounds.items():
            if value is not None:
                raise ConfigError(
                    f"{name}={value} has no meaning with split=leave-last-out",
                    remedy="leave it out or use --split time",
                )
        return Windows("leave-last-out")
    times = [
        getattr(clock, name) if value is None else clock.parse(name, value)
        for name, value in bounds.items()
    ]
    for i in (0, 1):
        if not times[i] < times[i + 1]:
            raise ConfigError(
                f"{names[i]}={clock.show(times[i])} must be before "
                f"{names[i + 1]}={clock.show(times[i + 1])}",
                remedy=f"move one with --{names[i].replace('_', '-')} or "
                f"--{names[i + 1].replace('_', '-')}",
            )
    end = times[2] if math.isfinite(times[2]) else None
    return Windows("time", times[0], times[1], end)


def check_filled(windows: Windows, clock: DataCalendar, times: npt.NDArray[np.float64]) -> None:
    """Checks that no window by time is empty; `times` are those of all events, `(n,)`.

    Raises:
        ConfigError: Names the empty window.
    """
    if windows.kind != "time":
        return
    counts = np.bincount(_parts_by_time(times, windows), minlength=4)
    for part, name in ((FIT, "fit"), (VALIDATION, "validation"), (TEST, "test")):
        if not counts[part]:
            shown = [windows.validation_start, windows.test_start, windows.test_end]
            cuts = ", ".join(str(clock.show(time) or "none") for time in shown)
            raise ConfigError(
                f"the {name} window has 0 events, needs at least 1 (validation, test and end at "
                f"{cuts}; events from {clock.show(float(times.min()))} to "
                f"{clock.show(float(times.max()))})",
                remedy="move it with --validation-start, --test-start or --test-end",
            )


def parts(events: Events, windows: Windows) -> npt.NDArray[np.uint8]:
    """Assigns each event to `FIT`, `VALIDATION`, `TEST` or `AFTER`, `(n,)`.

    Leave-last-out takes a user's last event for test and the one before for validation; users
    with fewer than 3 events are in the fit part as a whole.
    """
    if windows.kind == "time":
        return _parts_by_time(events.time, windows)
    counts = np.bincount(events.user)
    from_end = np.cumsum(counts)[events.user] - 1 - np.arange(len(events))
    part = np.select([from_end == 0, from_end == 1], [TEST, VALIDATION], FIT)
    part[counts[events.user] < 3] = FIT
    return part.astype(np.uint8)


def split_shop(shop: Shop, windows: Windows) -> ShopSplit:
    """Splits one shop's events; those after the test window are dropped."""
    part = parts(shop.events, windows)
    return ShopSplit(
        fit=shop.events.select(part == FIT),
        validation=shop.events.select(part == VALIDATION),
        known=shop.events.select((part == FIT) | (part == VALIDATION)),
        test=shop.events.select(part == TEST),
    )


def _parts_by_time(times: npt.NDArray[np.float64], windows: Windows) -> npt.NDArray[np.uint8]:
    end = math.inf if windows.test_end is None else windows.test_end
    cuts = np.array([windows.validation_start, windows.test_start, end], dtype=np.float64)
    return np.searchsorted(cuts, times, side="right").astype(np.uint8)
