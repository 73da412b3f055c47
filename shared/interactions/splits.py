"""Fit, validation and test parts of a shop's events: by time, or the last events of each user."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from shared.config import DataSettings
from shared.errors import ConfigError
from shared.interactions.clock import Clock
from shared.interactions.events import Dataset, Events, Shop

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
    clock = Clock.from_json(known) if known else Clock.of_times(times, dataset.time_unit)
    windows = cut(settings, clock)
    check_filled(windows, clock, times)
    return windows


def cut(settings: DataSettings, clock: Clock) -> Windows:
    """Returns the windows of the settings on a clock.

    Raises:
        ConfigError: The windows are out of order, or have no meaning for the split.
    """
    names = ("validation_start", "test_start", "test_end")
    given = {name: getattr(settings, name) for name in names}
    if settings.split == "leave-last-out":
        for name, value in given.items():
            if value is not None:
                raise ConfigError(
                    f"{name}={value} has no meaning with split=leave-last-out; "
                    "leave it out or use --split time"
                )
        return Windows("leave-last-out")
    times = [
        getattr(clock, name) if value is None else clock.parse(name, value)
        for name, value in given.items()
    ]
    for i in (0, 1):
        if not times[i] < times[i + 1]:
            raise ConfigError(
                f"{names[i]}={clock.show(times[i])} must be before "
                f"{names[i + 1]}={clock.show(times[i + 1])}; "
                f"move one with --{names[i].replace('_', '-')} or "
                f"--{names[i + 1].replace('_', '-')}"
            )
    end = times[2] if math.isfinite(times[2]) else None
    return Windows("time", times[0], times[1], end)


def check_filled(windows: Windows, clock: Clock, times: npt.NDArray[np.float64]) -> None:
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
                f"{clock.show(float(times.max()))}); "
                "move it with --validation-start, --test-start or --test-end"
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
