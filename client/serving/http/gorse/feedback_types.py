"""Names of feedback that a shop chose for Gorse, and the event types that they count as."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote

import sqlalchemy as sa

from client.store.schema import events
from shared.interactions.events import EVENT_TYPES

_KNOWN = {
    **{name: name for name in EVENT_TYPES},
    **dict.fromkeys(("buy", "order", "bought", "checkout", "pay", "paid"), "purchase"),
    **dict.fromkeys(("star", "like", "favorite", "favourite", "love", "rate"), "rating"),
    **dict.fromkeys(("add_to_cart", "add-to-cart", "addtocart", "basket", "wishlist"), "cart"),
    **dict.fromkeys(("comment", "reply"), "review"),
    **dict.fromkeys(("read", "impression", "show", "shown", "seen", "visit", "watch"), "view"),
}
"""Names that shops give often; any other one counts as a click."""
_OTHER = "click"
_ID_PREFIX = "gorse"


def event_type_of(name: str, chosen: Mapping[str, str]) -> int:
    """Returns the index in `EVENT_TYPES` of what a feedback counts as.

    Args:
        name: Of the feedback, as the shop wrote it.
        chosen: The shop's own choice, name -> event type.
    """
    kind = chosen.get(name) or _KNOWN.get(name.lower(), _OTHER)
    return EVENT_TYPES.index(kind)


def event_id_of(name: str, user_id: str, item_id: str) -> str:
    """Returns the id of the one event that a name, a user and an item have together."""
    return "/".join([_ID_PREFIX, *(quote(part, safe="") for part in (name, user_id, item_id))])


def has_type(names: Sequence[str]) -> sa.ColumnElement[bool]:
    """Returns the condition that an event has one of these names, in SQL over `events`.

    What came another way has the name of its event type.
    """
    return sa.or_(*(_has_type(name) for name in names))


def _has_type(name: str) -> sa.ColumnElement[bool]:
    prefix = f"{_ID_PREFIX}/{quote(name, safe='')}/"
    # LIKE would take a and A for the same in SQLite.
    start = sa.func.substr(events.c.event_id, 1, len(prefix))
    named: sa.ColumnElement[bool] = start == prefix
    if name not in EVENT_TYPES:
        return named
    own = sa.and_(events.c.event_type == EVENT_TYPES.index(name), events.c.extra.is_(None))
    return sa.or_(named, own)
