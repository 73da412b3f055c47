"""What a shop trains on, read from its database at the moment of each request."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import sqlalchemy as sa

from client.store.changes import deletions
from client.store.consent import consent_counts
from client.store.database import hide_password, open_database, reading, translated
from client.store.training_data import (
    TrainingUsers,
    read_item_keys,
    read_training_users,
    store_time_unit,
    stream_events,
)
from shared.errors import DataError
from shared.interactions.datasets.cleaning import DROP_REASONS, MAX_QUANTITY, latest_events
from shared.interactions.events import Events
from shared.interactions.persons import PERSON, by_person, linked_persons, n_persons
from shared.protocol.invitation import PublicBase

REASONS = DROP_REASONS | {
    "no_consent": "of users who refuse training, or have not allowed it in an opt-in shop",
}
"""Why a stored event is not trained on."""


def read_store(url: str, base: PublicBase) -> tuple[Events, int, dict[str, Any]]:
    """Reads what may be trained on.

    Args:
        url: Of the shop's database.
        base: The federation's catalogue and unit of time.

    Returns:
        The events by person, the number of persons, and the report for the owner.

    Raises:
        DataError: The database's unit of time is another.
        StoreUnavailableError: The database does not answer.
    """
    base.catalogue()
    engine = open_database(url)
    try:
        with translated(url), reading(engine) as connection:
            return _read(connection, url, base)
    finally:
        engine.dispose()


def _read(
    connection: sa.Connection, url: str, base: PublicBase
) -> tuple[Events, int, dict[str, Any]]:
    unit = store_time_unit(connection)
    if unit is not None and unit != base.time_unit:
        raise DataError(
            f"has time in {unit}, the federation in {base.time_unit}",
            name="store",
            value=hide_password(url),
            remedy="fill another database from data with the federation's unit of time",
        )
    people = read_training_users(connection)
    codes = {item_id: code for code, item_id in enumerate(base.item_ids)}
    keyed = {key: codes.get(item_id, -1) for item_id, key in read_item_keys(connection).items()}
    table = _Events(people, _lookup(keyed))
    for batch in stream_events(connection):
        table.add(batch)
    events, user_ids = table.events(people)
    named = pd.DataFrame({PERSON: people.person_id}, index=people.user_id)
    persons = linked_persons(user_ids, named)
    counts = table.counts()
    report = {
        **counts,
        "reasons": {reason: REASONS[reason] for reason in counts["dropped"]},
        "files": [hide_password(url)],
        "ignored_columns": [],
        "users": len(user_ids),
        "persons": n_persons(len(user_ids), persons),
        "events": len(events),
        "items": len(np.unique(events.item)),
        "catalogue": len(base.item_ids),
        "consent": vars(consent_counts(connection)),
        "deletions": deletions(connection),
    }
    return by_person(events, persons), report["persons"], report


def _lookup(values: dict[int, int]) -> npt.NDArray[np.int32]:
    """Returns an array that gives each key's value, -1 for a key that is not there."""
    table = np.full(max(values, default=0) + 1, -1, np.int32)
    table[list(values)] = list(values.values())
    return table


_COLUMNS = ("time", "event_type", "weight", "quantity", "price", "session")


class _Events:
    """Collects batches, each reduced to what is trained on and coded at once.

    Args:
        people: Everybody in the database.
        items: Code of each item key, -1 for one that is not in the public catalogue.
    """

    def __init__(self, people: TrainingUsers, items: npt.NDArray[np.int32]) -> None:
        allowed = np.where(people.allowed, np.arange(len(people.key)), -2)
        self._users = _lookup(dict(zip(people.key.tolist(), allowed.tolist(), strict=True)))
        self._items = items
        self._parts: dict[str, list[npt.NDArray[Any]]] = {
            name: [] for name in ("user", "item", *_COLUMNS)
        }
        self._present = np.zeros(len(people.key), bool)
        self._read = 0
        self._dropped = dict.fromkeys(
            ("no_consent", "impossible_quantity", "unknown_item", "beyond_latest"), 0
        )

    def add(self, batch: pa.RecordBatch) -> None:
        """Takes one batch in."""
        columns = {name: batch.column(name).to_numpy() for name in batch.schema.names}
        user, item = self._users[columns["user_key"]], self._items[columns["item_key"]]
        self._read += len(user)
        left = user >= 0
        self._dropped["no_consent"] += int((~left).sum())
        self._present[user[left]] = True
        quantity = columns["quantity"]
        for reason, wrong in (
            ("impossible_quantity", ~((quantity > 0) & (quantity <= MAX_QUANTITY))),
            ("unknown_item", item < 0),
        ):
            self._dropped[reason] += int((left & wrong).sum())
            left &= ~wrong
        coded = {"user": user, "item": item} | {name: columns[name] for name in _COLUMNS}
        for name, values in coded.items():
            self._parts[name].append(values[left])

    def events(self, people: TrainingUsers) -> tuple[Events, npt.NDArray[np.object_]]:
        """Returns the events, users coded in the order of their ids, and these ids."""
        members = np.flatnonzero(self._present)
        members = members[np.argsort(people.user_id[members].astype(str), kind="stable")]
        code = np.full(len(self._present), -1, np.int32)
        code[members] = np.arange(len(members), dtype=np.int32)
        columns = {name: self._joined(name) for name in ("item", *_COLUMNS)}
        user = self._joined("user")
        events = Events.build(user=code[user] if len(user) else user, **columns)
        latest = latest_events(events.user, len(members))
        self._dropped["beyond_latest"] = int((~latest).sum())
        return (events if latest.all() else events.select(latest)), people.user_id[members]

    def _joined(self, name: str) -> npt.NDArray[Any]:
        parts = self._parts.pop(name)
        return np.concatenate(parts) if parts else np.zeros(0)

    def counts(self) -> dict[str, Any]:
        """Returns rows read and dropped."""
        dropped = {reason: count for reason, count in self._dropped.items() if count}
        n_events = self._read - sum(dropped.values())
        return {"rows_read": self._read, "rows_kept": n_events, "dropped": dropped}
