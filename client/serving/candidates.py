"""Which items a query may show: stock, category, deny lists and what the surface is about."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from client.serving.asking import Ask
from client.serving.histories import EMPTY, UserEvents
from client.serving.items import ItemTable

Bools = npt.NDArray[np.bool_]


def excluded(ask: Ask, events: UserEvents, own: UserEvents) -> npt.NDArray[np.int32]:
    """Returns distinct items that are no candidates at all, so that no mean counts them.

    Args:
        ask: What is wanted.
        events: Of the context.
        own: The user's history.
    """
    if ask.surface == "discover":
        return own.taken
    return np.unique(events.item) if ask.surface == "session" else EMPTY.item


def allowed(items: ItemTable, ask: Ask, own: UserEvents) -> Bools:
    """Marks the candidates that may be shown, `(n_items,)`."""
    found = items.shown.copy()
    if ask.category is not None:
        found &= items.in_category(ask.category)
    if ask.exclude:
        found[items.rows_of(ask.exclude)] = False
    if ask.surface == "buy-again":
        again = np.zeros_like(found)
        again[own.taken] = True
        found &= again
    return found
