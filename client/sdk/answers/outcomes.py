"""Answers about what recommendations brought: rates, revenue, weeks, and items."""

from __future__ import annotations

from pydantic import Field

from client.sdk.answers.answer import Answer
from client.sdk.answers.operation import OnlineRates


class Revenue(Answer):
    """What was paid for recommended items in one currency."""

    currency: str = Field(examples=["EUR"])
    """The currency; "" where items name none."""
    purchases: int = Field(examples=[12])
    """Purchases with a price."""
    value: float = Field(examples=[118.5])
    """Sum of the prices."""
    low: float | None = Field(examples=[51.2])
    """Lower end of the 95% interval; null with too few purchases."""
    high: float | None = Field(examples=[185.8])
    """Upper end; null with too few purchases."""


class Outcome(OnlineRates):
    """What became of what was shown."""

    revenue: list[Revenue]
    """By currency."""


class WeekOutcome(Outcome):
    """The same of one week."""

    week: str = Field(examples=["2026-05-25"])
    """Its Monday, in UTC."""


class UnseenItem(Answer):
    """An item that was never shown."""

    item_id: str = Field(examples=["i7"])
    """The item."""
    title: str = Field(examples=["Ground coffee"])
    """Its title, "" for none."""
    text: str = Field(examples=["dark roast, 500 g"])
    """Beginning of its text."""
    users: int = Field(examples=[31])
    """Users who have taken it."""


class ShownItem(OnlineRates):
    """An item and what became of its showings."""

    item_id: str = Field(examples=["i1"])
    """The item."""
    title: str = Field(examples=["Tea"])
    """Its title, "" for none."""
    text: str = Field(examples=["green tea, 100 g"])
    """Beginning of its text."""


class Coverage(Answer):
    """How much of the catalogue was shown."""

    showable: int = Field(examples=[1200])
    """Items that may be shown now."""
    shown: int = Field(examples=[800])
    """Those that were."""
    never_shown: int = Field(examples=[400])
    """Those that were not."""
    never: list[UnseenItem]
    """The first of those, most taken first."""


class OutcomeReport(Answer):
    """What recommendations brought, counted as it happened."""

    since: str | None = Field(examples=["2026-03-02"])
    """Monday of the first week; null before the first showing."""
    enough: bool
    """Whether rates are more than a first impression."""
    min_clicks: int = Field(examples=[30])
    """Clicks, and showings without one, from which on they are."""
    min_shown: int = Field(examples=[100])
    """Showings from which on an item is compared with others."""
    total: Outcome
    """In all."""
    weeks: list[WeekOutcome]
    """The last twelve weeks."""
    coverage: Coverage
    """How much of the catalogue was shown."""
    compared: int = Field(examples=[40])
    """Items that were shown often enough."""
    best: list[ShownItem]
    """Those that were clicked most often when they were shown."""
    worst: list[ShownItem]
    """Those that were clicked least often."""
