"""What another interface knows of items, users and events beyond the columns."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_TABLES = ("items", "users", "events")


def upgrade() -> None:
    """Adds the column, empty."""
    for name in _TABLES:
        op.add_column(name, sa.Column("extra", sa.Text))


def downgrade() -> None:
    """Takes it away."""
    for name in _TABLES:
        op.drop_column(name, "extra")
