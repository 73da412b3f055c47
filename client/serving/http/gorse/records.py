"""Users, items and feedback as Gorse's clients send them, and as the database holds them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from client.serving.http.schemas import Id, Moment, Name, Text
from client.store.reading import EPOCH
from client.store.schema import Item
from shared.interactions.events import EVENT_TYPES

NO_TIME = "0001-01-01T00:00:00Z"
"""How Gorse writes a time that was never set."""
_MAX_LABELS, _MAX_DEPTH = 10_000, 10


def _bounded(labels: Any) -> Any:
    if _is_deep(labels, _MAX_DEPTH):
        raise ValueError(f"is nested more than {_MAX_DEPTH} deep")
    text = json.dumps(labels, ensure_ascii=False)
    if len(text) > _MAX_LABELS:
        raise ValueError(f"has more than {_MAX_LABELS} characters as JSON")
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which no database takes
        raise ValueError("is not Unicode text") from None
    return labels


def _is_deep(labels: Any, levels: int) -> bool:
    parts = labels.values() if isinstance(labels, dict) else labels
    if not isinstance(labels, dict | list):
        return False
    return levels == 0 or any(_is_deep(part, levels - 1) for part in parts)


def _time(value: object) -> object:
    return None if value in ("", NO_TIME) else value


AnyLabels = Annotated[Any, AfterValidator(_bounded)]
AnyTime = Annotated[Moment | None, BeforeValidator(_time)]
TypeName = Annotated[Name, Field(min_length=1)]
CategoryNames = Annotated[list[Annotated[Name, Field(min_length=1)]], Field(max_length=100)]


class Record(BaseModel):
    """Base of all bodies; fields that Gorse does not know are passed over, as Gorse does."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class GorseUser(Record):
    """A user: any labels, and a comment."""

    UserId: Id
    Labels: AnyLabels = None
    Comment: Text | None = None


class GorseUserPatch(Record):
    """What changes of a user; null stays as it is."""

    Labels: AnyLabels = None
    Comment: Text | None = None


class GorseItem(Record):
    """An item; comment and labels are what it is found by."""

    ItemId: Id
    IsHidden: bool | None = False
    Categories: CategoryNames | None = None
    Timestamp: AnyTime = None
    Labels: AnyLabels = None
    Comment: Text | None = None


class GorseItemPatch(Record):
    """What changes of an item; null stays as it is."""

    IsHidden: bool | None = None
    Categories: CategoryNames | None = None
    Timestamp: AnyTime = None
    Labels: AnyLabels = None
    Comment: Text | None = None


class GorseFeedback(Record):
    """What a user did with an item, under a name that the shop chose."""

    FeedbackType: TypeName
    UserId: Id
    ItemId: Id
    Value: Annotated[float, Field(allow_inf_nan=False)] | None = 0.0
    Timestamp: AnyTime = None
    Labels: AnyLabels = None
    Comment: Text | None = None


def as_timestamp(moment: datetime | None) -> str:
    """Writes a time as Gorse does, to the second."""
    if moment is None:
        return NO_TIME
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def as_extra(**fields: Any) -> str:
    """Returns fields as JSON for the column `extra`."""
    return json.dumps(fields, ensure_ascii=False)


def _fields(extra: str | None) -> dict[str, Any]:
    return {} if extra is None else dict(json.loads(extra))


def user_view(row: Any) -> dict[str, Any]:
    """Describes a row of the table of users."""
    extra = _fields(row.extra)
    return {
        "UserId": row.user_id,
        "Labels": extra.get("Labels"),
        "Comment": extra.get("Comment", ""),
    }


def item_record(view: dict[str, Any]) -> Item:
    """Returns an item as the database holds it, from all fields of `item_view`."""
    categories = view["Categories"]
    extra = {name: view[name] for name in ("Timestamp", "Labels", "Comment")}
    return Item(
        item_id=view["ItemId"],
        text=_text(extra),
        category=categories[0] if categories else "",
        categories=tuple(dict.fromkeys(categories)),
        hidden=view["IsHidden"],
        extra=as_extra(**extra),
    )


def item_view(item: Item) -> dict[str, Any]:
    """Describes an item; what another interface changed since is described as it is now."""
    extra = _fields(item.extra)
    same_text = extra and _text(extra) == item.text
    return {
        "ItemId": item.item_id,
        "IsHidden": item.hidden,
        "Categories": list(item.all_categories),
        "Timestamp": extra.get("Timestamp", NO_TIME),
        "Labels": extra.get("Labels"),
        "Comment": extra["Comment"] if same_text else item.text,
    }


def _text(extra: dict[str, Any]) -> str:
    """Returns what an item is found by: its comment and the words among its labels."""
    words = dict.fromkeys(word for word in _words(extra["Labels"]) if word not in extra["Comment"])
    text = ", ".join(part for part in (extra["Comment"], *words) if part)
    return text[:_MAX_LABELS].replace("\x00", " ")


def _words(labels: Any) -> list[str]:
    """Returns the texts among labels, however deep; numbers say nothing to an encoder."""
    if isinstance(labels, str):
        return [labels]
    parts = labels.values() if isinstance(labels, dict) else labels
    if not isinstance(labels, dict | list):
        return []
    return [word for part in parts for word in _words(part)]


def feedback_view(row: Any, *, time_unit: str) -> dict[str, Any]:
    """Describes a row of `listing.read_feedback`."""
    extra = _fields(row.extra)
    time = extra.get("Timestamp", NO_TIME)
    if time_unit == "days":
        time = as_timestamp(EPOCH + timedelta(seconds=round(row.time * 86_400.0)))
    return {
        "FeedbackType": extra.get("FeedbackType", EVENT_TYPES[row.event_type]),
        "UserId": row.user_id,
        "ItemId": row.item_id,
        "Value": extra.get("Value", 0.0),
        "Timestamp": time,
        "Updated": extra.get("Updated", time),
        "Labels": extra.get("Labels"),
        "Comment": extra.get("Comment", ""),
    }
