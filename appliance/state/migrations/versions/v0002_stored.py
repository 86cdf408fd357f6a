"""What clients asked to be stored."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "stored_entries",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_stored_entries"),
    )
    op.create_index("ix_stored_entries_number", "stored_entries", ["number"], unique=False)
    op.create_table(
        "stored_items",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_stored_items"),
    )


def downgrade() -> None:
    op.drop_table("stored_items")
    op.drop_table("stored_entries")
