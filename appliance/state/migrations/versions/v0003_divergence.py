"""Which prompt one was compared with, and the stabiliser's rule that would have kept the two alike."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("ranges", sa.Column("divergence_against", sa.Text(), nullable=True))
    op.add_column("ranges", sa.Column("divergence_rule", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("ranges", "divergence_rule")
    op.drop_column("ranges", "divergence_against")
