"""What users said that they do not like."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Makes the table."""
    op.create_table(
        "dislikes",
        _key("user_key", "users.user_key"),
        _key("item_key", "items.item_key"),
        sa.Column("time", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("user_key", "item_key"),
    )
    op.create_index("dislikes_item", "dislikes", ["item_key"])


def _key(name: str, of: str) -> sa.Column[int]:
    return sa.Column(name, _KEY, sa.ForeignKey(of, ondelete="CASCADE"), nullable=False)


def downgrade() -> None:
    """Drops it."""
    op.drop_table("dislikes")
