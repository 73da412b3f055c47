"""A shop's database as the history that uses read: of users whom the shop may learn from alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from client.store.reading import read_items
from client.store.training_data import (
    TrainingUsers,
    read_training_users,
    store_time_unit,
    stream_events,
)
from shared.errors import ConfigError
from shared.interactions.events import Events
from shared.uses.history import Codes, History

_COLUMNS = ("user_key", "item_key", "time", "event_type", "quantity", "price", "session")


@dataclass(frozen=True, eq=False)
class ShopHistory:
    """What the database holds, for uses.

    Attributes:
        history: Up to the end of the latest event's day; without users who may not be trained on.
        user_ids: By user code, dtype object.
        first: Time of the first event, in days.
    """

    history: History
    user_ids: npt.NDArray[np.object_]
    first: float

    def without_events(self) -> ShopHistory:
        """Returns the same without what users did, for lists that were made of it."""
        history = replace(self.history, events=self.history.events.select(slice(0, 0)))
        return replace(self, history=history)


def read_history(connection: sa.Connection, taken: npt.NDArray[np.bool_]) -> ShopHistory:
    """Reads everything that uses may know, in one transaction.

    Args:
        connection: To read from.
        taken: Event types that say that a user has an item, mask over `EVENT_TYPES`; others are no
            visits and no spend.

    Raises:
        ConfigError: The shop has ranks for time, or no event that counts.
    """
    if store_time_unit(connection) == "order":
        raise ConfigError(
            "data with ranks for time have no weeks, which uses are asked by",
            name="uses",
            remedy="import data with dates",
        )
    users = read_training_users(connection)
    stored = read_items(connection)
    columns = _events(connection, users, taken)
    if not len(columns["time"]):
        raise ConfigError(
            "needs events of users who may be trained on, of a type in target_types; there are "
            "none",
            name="uses",
            remedy="import events, or name other types with --target-types",
        )
    item_keys = np.array([key for key, _ in stored], dtype=np.int64)
    names, category = np.unique(
        np.array([item.category for _, item in stored], dtype=object).astype(str),
        return_inverse=True,
    )
    history = History(
        events=Events.build(
            user=columns["user"],
            item=np.searchsorted(item_keys, columns["item_key"]),
            time=columns["time"],
            event_type=columns["event_type"],
            quantity=columns["quantity"],
            price=columns["price"],
            session=_sessions(columns["user"], columns["session"]),
        ),
        n_users=int(users.allowed.sum()),
        category=category.astype(np.int64),
        category_names=[str(name) for name in names],
        end=float(np.floor(columns["time"].max()) + 1),
    )
    return ShopHistory(history, users.user_id[users.allowed], float(columns["time"].min()))


def _events(
    connection: sa.Connection, users: TrainingUsers, taken: npt.NDArray[np.bool_]
) -> dict[str, npt.NDArray[Any]]:
    """Returns columns of the events that count, with `user` the code among those allowed."""
    code = np.where(users.allowed, np.cumsum(users.allowed) - 1, -1)
    parts: list[dict[str, npt.NDArray[Any]]] = []
    for batch in stream_events(connection):
        part = {name: batch.column(name).to_numpy(zero_copy_only=False) for name in _COLUMNS}
        part["user"] = code[np.searchsorted(users.key, part["user_key"])]
        rows = (part["user"] >= 0) & taken[part["event_type"]]
        parts.append({name: values[rows] for name, values in part.items()})
    names = (*_COLUMNS, "user")
    return {name: np.concatenate([np.zeros(0), *(p[name] for p in parts)]) for name in names}


def _sessions(user: npt.NDArray[Any], session: npt.NDArray[Any]) -> Codes:
    """Returns codes that no two users share, `(n,)`; -1 for none."""
    _, code = np.unique(session, return_inverse=True)
    wide = int(code.max(initial=0)) + 1
    return np.where(session < 0, -1, user.astype(np.int64) * wide + code).astype(np.int64)
