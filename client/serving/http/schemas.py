"""What callers send: every field with its bounds, unknown fields refused."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from client.store.reading import days_of
from client.store.schema import Item, User
from shared.interactions.ids import normal_id, optional_id
from shared.interactions.item_columns import (
    MAX_ADDRESS,
    MAX_NAMES,
    MAX_TITLE,
    currency_code,
    is_whole_day,
    web_address,
)
from shared.interactions.times import moment

Id = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$"),
    AfterValidator(normal_id),
]
"""Any text without control characters, spelled as in files; no word for a missing id."""
Name = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
Text = Annotated[str, StringConstraints(max_length=10_000, pattern=r"^[^\x00]*$")]
Number = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
MAX_OFFSET = 1000
"""Places of a ranking that a page may leave out at most."""
EventType = Literal["purchase", "view", "click", "cart", "rating", "review", "search"]


OptionalId = Annotated[Id | None, BeforeValidator(optional_id)]
"""An id, or nothing where a word stands for a missing one."""
Moment = Annotated[datetime, BeforeValidator(moment)]
"""A time, read as in files."""


def _end(value: object) -> datetime:
    """Reads the end of a time; a date alone counts to the end of that day, as people mean it."""
    whole_day = isinstance(value, str) and is_whole_day(value)
    return moment(value) + timedelta(days=1) if whole_day else moment(value)


End = Annotated[datetime, BeforeValidator(_end)]
"""A time that something lasts to."""
Title = Annotated[str, StringConstraints(max_length=MAX_TITLE, pattern=r"^[^\x00-\x1f\x7f]*$")]
WebAddress = Annotated[str, StringConstraints(max_length=MAX_ADDRESS), AfterValidator(web_address)]
"""An http or https address, "" for none: a page may put it into a link."""
Currency = Annotated[str, StringConstraints(max_length=10), AfterValidator(currency_code)]
Names = Annotated[
    tuple[Annotated[Name, StringConstraints(min_length=1, strip_whitespace=True)], ...],
    Field(max_length=MAX_NAMES),
    AfterValidator(lambda names: tuple(dict.fromkeys(names))),
]
"""Different names, each once."""


class Body(BaseModel):
    """Base of all bodies."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class EventIn(Body):
    """One thing that a user did with an item."""

    event_id: OptionalId = Field(default=None, examples=["order-1001-1"])
    """Makes a repeated delivery harmless; without one, each delivery is an event of its own."""
    user_id: Id = Field(examples=["u1"])
    """The user, who is added where new."""
    item_id: Id = Field(examples=["i1"])
    """An item of the catalogue."""
    event_type: EventType = "purchase"
    """What the user did."""
    time: Moment | None = Field(default=None, examples=["2026-05-31T12:00:00Z"])
    """When; UTC where no zone is given, now where absent."""
    position: Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)] | None = None
    """The user's rank of the event, in data that is ordered by rank; the next one where absent."""
    weight: Number = 1.0
    """The shop's own weight of the event."""
    quantity: Number = 1.0
    """Number of pieces."""
    price: Number | None = None
    """Of one piece."""
    session_id: OptionalId = Field(default=None, examples=["visit-7"])
    """The visit or basket."""


class ConsentIn(Body):
    """Whether a user may be trained on."""

    training: Literal["allow", "refuse", "default"] = Field(examples=["refuse"])
    """`default` leaves it to what holds for users who have said nothing."""


class DislikeIn(Body):
    """Whether a user does not like an item."""

    disliked: bool = True
    """False takes it back."""


class ItemIn(Body):
    """One item of the catalogue."""

    item_id: Id = Field(examples=["i1"])
    """The shop's id."""
    text: Text = Field(default="", examples=["dark roast coffee beans 1 kg"])
    """What describes it: title, category, brand."""
    category: Name = Field(default="", examples=["coffee"])
    """Name of its category."""
    brand: Name = ""
    """Name of its brand."""
    price: Number | None = None
    """In the shop's currency."""
    in_stock: bool = True
    """Whether it can be sold now."""
    hidden: bool = False
    """Whether it must never be recommended."""

    title: Title = Field(default="", examples=["Dark roast 1 kg"])
    """Its name for people; encoded together with the text."""
    url: WebAddress = Field(default="", examples=["https://shop.example/p/1"])
    """Of its page, http or https."""
    image: WebAddress = Field(default="", examples=["https://shop.example/p/1.jpg"])
    """Of its picture, http or https."""
    categories: Names = ()
    """All its categories; the first is the main one where `category` is not sent."""
    labels: Names = ()
    """Words for sets of items, such as "organic"."""
    currency: Currency = ""
    """Of the price, a code of three letters."""
    stock: Number | None = None
    """Pieces; at 0 it is shown nowhere. Null where the shop does not count them."""
    valid_from: Moment | None = None
    """From when on it is shown."""
    valid_to: End | None = None
    """Until when it is shown; a date alone counts to its end."""

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> ItemIn:
        if self.valid_from and self.valid_to and self.valid_to <= self.valid_from:
            raise ValueError("valid_to must be after valid_from")
        return self

    def record(self) -> Item:
        """Returns it as the database holds it."""
        values = stored_values(self.model_dump())
        values["category"] = self.category or next(iter(self.categories), "")
        return Item(**values)


def stored_values(values: dict[str, Any]) -> dict[str, Any]:
    """Returns fields of an item as the database holds them: dates as days since 1970."""
    return {
        name: days_of(value) if isinstance(value, datetime) else value
        for name, value in values.items()
    }


_MAY_BE_NULL = {"price", "stock", "valid_from", "valid_to"}


class ItemPatch(Body):
    """What changes of an item; a field that is absent stays as it is."""

    text: Text | None = None
    """What describes it."""
    category: Name | None = None
    """Name of its category."""
    brand: Name | None = None
    """Name of its brand."""
    price: Number | None = Field(default=None, examples=[4.5])
    """In the shop's currency; null where it is not known any more."""
    in_stock: bool | None = None
    """Whether it can be sold now."""
    hidden: bool | None = None
    """Whether it must never be recommended."""
    title: Title | None = None
    """Its name for people."""
    url: WebAddress | None = None
    """Of its page; "" takes it away."""
    image: WebAddress | None = None
    """Of its picture; "" takes it away."""
    categories: Names | None = None
    """All its categories."""
    labels: Names | None = None
    """Words for sets of items."""
    currency: Currency | None = None
    """Of the price, a code of three letters."""
    stock: Number | None = Field(default=None, examples=[12])
    """Pieces; null where the shop does not count them."""
    valid_from: Moment | None = None
    """From when on it is shown; null for always."""
    valid_to: End | None = None
    """Until when it is shown; null for ever."""

    @model_validator(mode="after")
    def _changes_something(self) -> ItemPatch:
        unset = [n for n in self.model_fields_set - _MAY_BE_NULL if getattr(self, n) is None]
        if unset:
            raise ValueError(f"{unset[0]} cannot be null")
        if not self.model_fields_set:
            raise ValueError("names nothing to change")
        return self


class DeniedItems(Body):
    """Items that are shown nowhere."""

    items: Annotated[list[Id], Field(max_length=10_000)] = Field(examples=[["i7"]])
    """All of them; those that were denied before and are not here are shown again."""


class UserIn(Body):
    """One customer."""

    user_id: Id = Field(examples=["u1"])
    """The shop's id."""
    segment: Name = ""
    """A group that the shop puts the user in."""

    def record(self) -> User:
        """Returns it as the database holds it."""
        return User(**self.model_dump())


class SessionIn(Body):
    """A cart or an anonymous visit; nothing of it is stored."""

    items: Annotated[list[Id], Field(max_length=200)] = Field(default=[], examples=[["i1", "i2"]])
    """Items of the cart or visit; those that are not known are passed over."""
    user_id: Id | None = None
    """Who it is, where known."""
    n: Annotated[int, Field(ge=1, le=200)] = 10
    """Items wanted."""
    offset: Annotated[int, Field(ge=0, le=MAX_OFFSET)] = 0
    """Items to leave out first."""
    category: Name | None = None
    """Only items of this category."""
    exclude: Annotated[list[Id], Field(max_length=1000)] = []
    """Items never to show."""
    explain: bool = False
    """Whether to say what brought each item."""
    diversity: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    """0 keeps the ranking, 1 looks only at what differs; None for the service's default."""
    max_per_category: Annotated[int, Field(ge=1, le=200)] | None = None
    """Items of one category at most."""
    preview: bool = False
    """Whether nobody gets to see it; it counts as no impression of `user_id` then."""


Events = Annotated[list[EventIn], Field(min_length=1, max_length=10_000)]
Items = Annotated[list[ItemIn], Field(min_length=1, max_length=1_000)]
Users = Annotated[list[UserIn], Field(min_length=1, max_length=10_000)]
