"""What repeated imports, deletion and consent need; old rows get their digests with an import."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Adds identity of events, consent and persons of users, and who and what was deleted."""
    op.add_column("events", sa.Column("digest", sa.BigInteger))
    op.add_column("events", sa.Column("session_id", sa.Text))
    op.add_column("users", sa.Column("person_id", sa.Text, nullable=False, server_default=""))
    op.add_column("users", sa.Column("training", sa.Boolean))
    op.create_table(
        "suppressed_users",
        sa.Column("id_hash", sa.Text, primary_key=True),
        sa.Column("since", sa.Double, nullable=False),
    )
    op.create_table(
        "deleted_items",
        sa.Column("item_id", sa.Text, primary_key=True),
    )
    op.drop_table("imports")


def downgrade() -> None:
    """Takes them away."""
    op.create_table(
        "imports",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("events", sa.BigInteger, nullable=False),
    )
    op.drop_table("deleted_items")
    op.drop_table("suppressed_users")
    for table, columns in (
        ("users", ("person_id", "training")),
        ("events", ("digest", "session_id")),
    ):
        for column in columns:
            op.drop_column(table, column)
