"""Answers about one person: the picture of a user, consent, deletion and coming back."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from client.sdk.answers.answer import Answer
from client.sdk.answers.catalogue import EventType

Training = Literal["allow", "refuse", "default"]


class Interest(Answer):
    """A category or brand that a user cares for."""

    name: str = Field(examples=["coffee"])
    """Its name."""
    weight: float
    """Its share in the profile; 1 over all of them."""


class FavouriteTime(Answer):
    """When a user is there most often, in UTC."""

    day: str = Field(examples=["Tuesday"])
    """Day of the week."""
    part_of_day: str = Field(examples=["morning"])
    """Night, morning, afternoon or evening."""


class CarryingEvent(Answer):
    """An event that carries a profile."""

    item_id: str = Field(examples=["i1"])
    """The item."""
    event_type: EventType
    """What the user did."""
    time: str | float = Field(examples=["2026-05-31T12:00:00+00:00"])
    """When, in UTC; a rank in data that is ordered by rank."""
    weight: float
    """Its share in the profile."""


class UserProfile(Answer):
    """A user's picture in words and numbers."""

    user_id: str = Field(examples=["u1"])
    """The user."""
    segment: str = Field(examples=["regular"])
    """The shop's group of the user; else `new`, `regular` or `lapsed`."""
    events: int
    """Events in all."""
    event_types: dict[str, int] = Field(examples=[{"purchase": 3}])
    """Events by type."""
    different_items: int
    """Distinct items."""
    first: str | float | None = Field(examples=["2026-01-02T10:00:00+00:00"])
    """Time of the first event; null without events."""
    last: str | float | None = Field(examples=["2026-05-31T12:00:00+00:00"])
    """Time of the last event; null without events."""
    since_last: float | None = Field(examples=[26.0])
    """Days (or ranks) since then, up to the shop's latest event."""
    categories: list[Interest]
    """The five dearest categories."""
    brands: list[Interest]
    """The five dearest brands."""
    price_level: float | None = Field(examples=[0.42])
    """Place among the shop's prices, 0 cheapest, 1 dearest; null where prices are not known."""
    times: FavouriteTime | None
    """When the user is there; null where events have no dates."""
    carried_by: list[CarryingEvent]
    """The five events that carry the profile most."""
    words: str = Field(examples=["A regular customer with 3 events, mostly coffee; middle prices."])
    """All that in a sentence."""


class ConsentState(Answer):
    """Whether a user may be trained on."""

    user_id: str = Field(examples=["u1"])
    """The user."""
    training: Training = Field(examples=["default"])
    """What the user said; `default` for nothing."""
    default: Literal["opt-in", "opt-out"] = Field(examples=["opt-out"])
    """What holds for who has said nothing."""
    trained_on: bool
    """What holds for this user."""


class ChangedConsent(Answer):
    """What a user has said of training now."""

    user_id: str = Field(examples=["u1"])
    """The user."""
    training: Training = Field(examples=["refuse"])
    """What was said."""


class Staying(Answer):
    """Something that a deletion leaves."""

    what: str = Field(examples=["the privacy ledger"])
    """What stays."""
    why: str = Field(examples=["It holds what training cost, never a user's data."])
    """Why."""


class DeletedUser(Answer):
    """What a deletion has removed and what stays."""

    deleted: str = Field(examples=["u1"])
    """The user."""
    events: int
    """Events that were deleted."""
    kept: str = Field(examples=["The privacy ledger stays as it is."])
    """Why the ledger stays."""
    stays: list[Staying]
    """All that stays, and why."""


class Readmitted(Answer):
    """That a user may come back."""

    user_id: str = Field(examples=["u1"])
    """The user."""
    was_deleted: bool
    """Whether the user had been deleted."""


class Dislikes(Answer):
    """Items that a user is not shown again."""

    user_id: str = Field(examples=["u1"])
    """The user."""
    items: list[str] = Field(examples=[["i4"]])
    """The items, by id."""


class ChangedDislike(Answer):
    """What a user has said of an item now."""

    user_id: str = Field(examples=["u1"])
    """The user."""
    item_id: str = Field(examples=["i4"])
    """The item."""
    disliked: bool
    """Whether the item is not shown again."""
