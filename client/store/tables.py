"""The tables of a shop's database; `migrations/` brings every database to this form."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""SQLite numbers rows itself only in a column that is exactly INTEGER."""

items = sa.Table(
    "items",
    metadata,
    sa.Column("item_key", _KEY, primary_key=True, autoincrement=True),
    sa.Column("item_id", sa.Text, nullable=False, unique=True),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("category", sa.Text, nullable=False),
    sa.Column("brand", sa.Text, nullable=False),
    sa.Column("price", sa.Double),
    sa.Column("in_stock", sa.Boolean, nullable=False),
    sa.Column("hidden", sa.Boolean, nullable=False),
    sqlite_autoincrement=True,
)

users = sa.Table(
    "users",
    metadata,
    sa.Column("user_key", _KEY, primary_key=True, autoincrement=True),
    sa.Column("user_id", sa.Text, nullable=False, unique=True),
    sa.Column("segment", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("event_key", _KEY, primary_key=True, autoincrement=True),
    sa.Column("event_id", sa.Text),
    sa.Column("user_key", _KEY, nullable=False),
    sa.Column("item_key", _KEY, nullable=False),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("event_type", sa.SmallInteger, nullable=False),
    sa.Column("weight", sa.Double, nullable=False),
    sa.Column("quantity", sa.Double, nullable=False),
    sa.Column("price", sa.Double),
    sa.Column("session", sa.BigInteger, nullable=False),
    sa.Index("events_user", "user_key"),
    sa.Index("events_item", "item_key"),
    sa.Index(
        "events_id",
        "event_id",
        unique=True,
        sqlite_where=sa.text("event_id IS NOT NULL"),
        postgresql_where=sa.text("event_id IS NOT NULL"),
    ),
    sqlite_autoincrement=True,
)
"""`time` is in the unit of the shop's data; imported events have no `event_id`."""

imports = sa.Table(
    "imports",
    metadata,
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("events", sa.BigInteger, nullable=False),
)
"""What was imported already, so that a repeated import adds nothing."""

facts = sa.Table(
    "facts",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
"""Single values as JSON: unit of time, fusion weights, online counters, generation."""
