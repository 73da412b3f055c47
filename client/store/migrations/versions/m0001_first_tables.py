"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Makes items, users, events, imports and facts."""
    op.create_table(
        "items",
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
    op.create_table(
        "users",
        sa.Column("user_key", _KEY, primary_key=True, autoincrement=True),
        sa.Column("user_id", sa.Text, nullable=False, unique=True),
        sa.Column("segment", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    _events()
    op.create_table(
        "imports",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("events", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "facts",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )


def _events() -> None:
    op.create_table(
        "events",
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
        sqlite_autoincrement=True,
    )
    op.create_index("events_user", "events", ["user_key"])
    op.create_index("events_item", "events", ["item_key"])
    present = sa.text("event_id IS NOT NULL")
    op.create_index(
        "events_id",
        "events",
        ["event_id"],
        unique=True,
        sqlite_where=present,
        postgresql_where=present,
    )


def downgrade() -> None:
    """Drops all tables."""
    for name in ("events", "items", "users", "imports", "facts"):
        op.drop_table(name)
