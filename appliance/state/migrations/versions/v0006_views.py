"""What sessions, blocks and prefixes there were to see."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "views",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("base", sa.Integer(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["base"], ["views.number"], name="fk_views_base", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("number", name="pk_views"),
    )
    op.create_index("ix_views_base", "views", ["base"], unique=False)
    op.create_index("ix_views_name", "views", ["name", "at"], unique=False)


def downgrade() -> None:
    op.drop_table("views")
