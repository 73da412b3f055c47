"""Answers about items, users and events: what is stored, and what became of a change."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from client.sdk.answers.answer import Answer

EventType = Literal["purchase", "view", "click", "cart", "rating", "review", "search"]


class Item(Answer):
    """One item of the catalogue."""

    item_id: str = Field(examples=["i1"])
    """The shop's id."""
    text: str = Field(examples=["dark roast coffee beans 1 kg"])
    """What describes it."""
    category: str = Field(examples=["coffee"])
    """Name of its category, "" for none."""
    brand: str = Field(examples=["North"])
    """Name of its brand, "" for none."""
    price: float | None = Field(examples=[12.5])
    """In the shop's currency; null where unknown."""
    in_stock: bool
    """Whether it can be sold now."""
    hidden: bool = Field(examples=[False])
    """Whether it is never recommended."""
    title: str = Field(examples=["Dark roast 1 kg"])
    """Its name for people, "" for none."""
    url: str = Field(examples=["https://shop.example/p/1"])
    """Of its page, "" for none."""
    image: str = Field(examples=["https://shop.example/p/1.jpg"])
    """Of its picture, "" for none."""
    categories: list[str] = Field(examples=[["coffee"]])
    """All its categories."""
    labels: list[str] = Field(examples=[[]])
    """Words of the shop for sets of items."""
    currency: str = Field(examples=["EUR"])
    """Of the price, "" for the shop's own."""
    stock: float | None = Field(examples=[None])
    """Pieces; null where the shop does not count them."""
    valid_from: str | None = Field(examples=[None])
    """From when on it is shown."""
    valid_to: str | None = Field(examples=[None])
    """Until when it is shown."""


class ItemPage(Answer):
    """A page of items, in order of arrival."""

    items: list[Item]
    """Of this page."""
    next_cursor: str | None = Field(examples=["azEwMA=="])
    """`cursor` of the next page; null on the last."""


class User(Answer):
    """One customer, as stored."""

    user_id: str = Field(examples=["u1"])
    """The shop's id."""
    segment: str = Field(examples=["regular"])
    """A group that the shop put the user in, "" for none."""
    person_id: str = Field(examples=[""])
    """The person behind several ids, "" for a person of its own."""
    training: bool | None = Field(examples=[None])
    """What the user said of training; null for nothing."""


class UserPage(Answer):
    """A page of users, in order of arrival."""

    users: list[User]
    """Of this page."""
    next_cursor: str | None = Field(examples=["azEwMA=="])
    """`cursor` of the next page; null on the last."""


class Event(Answer):
    """What one user did with one item, as stored."""

    event_id: str | None = Field(examples=["order-1001-1"])
    """Id of the event; null where its source gave none."""
    user_id: str = Field(examples=["u1"])
    """The user."""
    item_id: str = Field(examples=["i1"])
    """The item."""
    event_type: EventType
    """What the user did."""
    time: str | float = Field(examples=["2026-05-31T12:00:00+00:00"])
    """When, in UTC; a rank in data that is ordered by rank."""
    weight: float = Field(examples=[1.0])
    """The shop's own weight of the event."""
    quantity: float = Field(examples=[1.0])
    """Number of pieces."""
    price: float | None = Field(examples=[12.5])
    """Of one piece; null where unknown."""
    session: int = Field(examples=[-1])
    """Code of the visit, -1 for none; larger than JavaScript counts exactly."""
    session_id: str | None = Field(examples=["visit-7"])
    """The shop's name of the visit."""


class EventPage(Answer):
    """A page of events, in order of arrival."""

    events: list[Event]
    """Of this page."""
    next_cursor: str | None = Field(examples=["azEwMA=="])
    """`cursor` of the next page; null on the last."""


class Added(Answer):
    """How many were added."""

    added: int
    """Items or users."""


class Stored(Answer):
    """How many were stored, new ones and replaced ones."""

    stored: int
    """Items or users."""


class AddedEvents(Answer):
    """What became of events."""

    added: int = Field(examples=[1])
    """Events that are new."""
    repeated: int = Field(examples=[0])
    """Events whose ids were stored already."""
    event_ids: list[str] = Field(examples=[["order-1001-1"]])
    """Ids of all of them, in order; an event that was sent without one has got one."""


class ReplacedEvents(Answer):
    """How many events were replaced or added."""

    replaced: int
    """Events."""


class Deleted(Answer):
    """What was deleted."""

    deleted: str = Field(examples=["i1"])
    """Its id."""


class RefusedLine(Answer):
    """A line of a bulk import that was not stored."""

    line: int = Field(examples=[17])
    """Its number, from 1."""
    problem: str = Field(examples=["item_id: Field required"])
    """What is wrong with it."""


class BulkImport(Answer):
    """What became of the lines of a bulk import."""

    lines: int = Field(examples=[1000])
    """Lines read that hold something."""
    stored: int = Field(examples=[1000])
    """Lines that are on the disk because of this request."""
    repeated: int = Field(examples=[0])
    """Lines whose event was there already."""
    refused: int = Field(examples=[0])
    """Lines that were not stored."""
    details: list[RefusedLine] = Field(examples=[[]])
    """The first 100 of those."""
