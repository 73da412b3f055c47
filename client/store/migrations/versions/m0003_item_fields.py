"""What shops say of an item beside its text: title, links, categories, labels, stock and dates."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_TEXTS = {"title": "", "url": "", "image": "", "categories": "[]", "labels": "[]", "currency": ""}
_NUMBERS = ("stock", "valid_from", "valid_to")


def upgrade() -> None:
    """Adds the columns; an item of before has none of it and is shown as it was."""
    for name, default in _TEXTS.items():
        op.add_column("items", sa.Column(name, sa.Text, nullable=False, server_default=default))
    for name in _NUMBERS:
        op.add_column("items", sa.Column(name, sa.Double))


def downgrade() -> None:
    """Takes them away."""
    for name in (*_TEXTS, *_NUMBERS):
        op.drop_column("items", name)
