"""What users and owner allow: who is trained on, and how long events are held."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from client.store.changes import bump_generation, put_fact
from client.store.database import UnknownError
from client.store.reading import read_fact
from client.store.schema import events, users
from shared.errors import ConfigError

CONSENT_FACT, RETENTION_FACT = "training_default", "retention_days"
"""Names of the facts that hold the default and the number of days."""
Default = Literal["opt-in", "opt-out"]
"""Whether who has said nothing is left out of training, or taken in."""


@dataclass(frozen=True)
class ConsentCounts:
    """How many users are trained on, for the owner alone.

    Attributes:
        default: What holds for who has said nothing.
        allow: Users who allowed it.
        refuse: Users who refused it.
        silent: Users who said nothing.
        deleted: Users who were deleted and are kept out.
        retention_days: Days that events are held; None for ever.
    """

    default: Default
    allow: int
    refuse: int
    silent: int
    deleted: int
    retention_days: float | None


def consent_default(connection: sa.Connection) -> Default:
    """Returns the store's default, `opt-out` where none was set."""
    stored = read_fact(connection, CONSENT_FACT)
    return "opt-in" if stored is not None and json.loads(stored) == "opt-in" else "opt-out"


def set_consent_default(connection: sa.Connection, default: Default) -> None:
    """Sets what holds for who has said nothing."""
    put_fact(connection, CONSENT_FACT, json.dumps(default))


def set_consent(connection: sa.Connection, user_id: str, training: bool | None) -> None:
    """Sets whether a user may be trained on; None for the store's default.

    Raises:
        UnknownError: There is no such user.
    """
    changed = connection.execute(
        sa.update(users).where(users.c.user_id == user_id).values(training=training)
    )
    if not changed.rowcount:
        raise UnknownError(
            "is not stored", name="user_id", value=f"{user_id!r}", remedy="check its spelling"
        )


def read_consent(connection: sa.Connection, user_id: str) -> bool | None:
    """Returns what a user said, None for nothing.

    Raises:
        UnknownError: There is no such user.
    """
    row = connection.execute(sa.select(users.c.training).where(users.c.user_id == user_id)).first()
    if row is None:
        raise UnknownError(
            "is not stored", name="user_id", value=f"{user_id!r}", remedy="check its spelling"
        )
    return None if row.training is None else bool(row.training)


def consent_counts(connection: sa.Connection) -> ConsentCounts:
    """Counts users by what they said."""
    from client.store.suppression import suppressed_count

    query = sa.select(users.c.training, sa.func.count()).group_by(users.c.training)
    counts = {row[0]: int(row[1]) for row in connection.execute(query)}
    return ConsentCounts(
        default=consent_default(connection),
        allow=counts.get(True, 0),
        refuse=counts.get(False, 0),
        silent=counts.get(None, 0),
        deleted=suppressed_count(connection),
        retention_days=retention_days(connection),
    )


def retention_days(connection: sa.Connection) -> float | None:
    """Returns for how many days events are held, None for ever."""
    stored = read_fact(connection, RETENTION_FACT)
    return None if stored is None else json.loads(stored)


def set_retention(connection: sa.Connection, days: float | None) -> None:
    """Sets for how many days events are held; None for ever.

    Raises:
        ConfigError: The shop's events have ranks, which have no age.
    """
    unit = read_fact(connection, "time_unit")
    if days is not None and unit is not None and json.loads(unit) != "days":
        raise ConfigError(
            "has no meaning for a shop whose events have ranks for time",
            name="days",
            value=f"{days:g}",
            remedy="import data with dates",
        )
    put_fact(connection, RETENTION_FACT, json.dumps(days))


def oldest_held(connection: sa.Connection) -> float | None:
    """Returns the time before which no event is held, None for none."""
    days = retention_days(connection)
    return None if days is None else time.time() / 86_400.0 - days


def remove_expired(connection: sa.Connection) -> int:
    """Deletes the events that are older than they may be; returns how many."""
    oldest = oldest_held(connection)
    if oldest is None:
        return 0
    removed = int(connection.execute(sa.delete(events).where(events.c.time < oldest)).rowcount)
    if removed:
        bump_generation(connection)
    return removed
