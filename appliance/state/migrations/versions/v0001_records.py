"""Sessions, requests, evictions, actions, policies, snapshots."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision: str | None = None


def upgrade() -> None:
    op.create_table(
        "actions",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("effect", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("number", name="pk_actions"),
    )
    op.create_index("ix_actions_at", "actions", ["at"], unique=False)
    op.create_table(
        "evictions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("boot", sa.Float(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("worker", sa.Integer(), nullable=False),
        sa.Column("block_hash", sa.Text(), nullable=True),
        sa.Column("first_token", sa.Integer(), nullable=False),
        sa.Column("region", sa.Text(), nullable=True),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("cause", sa.Text(), nullable=True),
        sa.Column("cause_request", sa.Text(), nullable=True),
        sa.Column("rule", sa.Text(), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("age_seconds", sa.Float(), nullable=False),
        sa.Column("awaited", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_evictions"),
    )
    op.create_index("ix_evictions_at", "evictions", ["at"], unique=False)
    op.create_index("ix_evictions_owner", "evictions", ["owner", "at"], unique=False)
    op.create_table(
        "policies",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("activated_at", sa.Float(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("number", name="pk_policies"),
    )
    op.create_table(
        "sessions",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("parent", sa.Text(), nullable=True),
        sa.Column("client", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=True),
        sa.Column("turns", sa.Integer(), nullable=True),
        sa.Column("first_seen_at", sa.Float(), nullable=False),
        sa.Column("last_used_at", sa.Float(), nullable=False),
        sa.Column("prompt_tokens", sa.Integer(), nullable=True),
        sa.Column("plan", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_sessions"),
    )
    op.create_index("ix_sessions_last_used_at", "sessions", ["last_used_at"], unique=False)
    op.create_table(
        "snapshots",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("base", sa.Integer(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["base"], ["snapshots.number"], name="fk_snapshots_base", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("number", name="pk_snapshots"),
    )
    op.create_index("ix_snapshots_at", "snapshots", ["at"], unique=False)
    op.create_index("ix_snapshots_base", "snapshots", ["base"], unique=False)
    op.create_table(
        "requests",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("session", sa.Text(), nullable=True),
        sa.Column("parent", sa.Text(), nullable=True),
        sa.Column("turn", sa.Integer(), nullable=True),
        sa.Column("client", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("worker", sa.Integer(), nullable=True),
        sa.Column("arrived_at", sa.Float(), nullable=False),
        sa.Column("first_token_seconds", sa.Float(), nullable=True),
        sa.Column("total_seconds", sa.Float(), nullable=False),
        sa.Column("queued_seconds", sa.Float(), nullable=False),
        sa.Column("prompt_tokens", sa.Integer(), nullable=False),
        sa.Column("cached_tokens", sa.Integer(), nullable=False),
        sa.Column("completion_tokens", sa.Integer(), nullable=False),
        sa.Column("gpu_tokens", sa.Integer(), nullable=True),
        sa.Column("host_tokens", sa.Integer(), nullable=True),
        sa.Column("disk_tokens", sa.Integer(), nullable=True),
        sa.Column("remote_tokens", sa.Integer(), nullable=True),
        sa.Column("recomputed_tokens", sa.Integer(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("finish", sa.Text(), nullable=True),
        sa.Column("hints", sa.JSON(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["session"], ["sessions.name"], name="fk_requests_session"),
        sa.PrimaryKeyConstraint("number", name="pk_requests"),
        sa.UniqueConstraint("id", name="uq_requests_id"),
    )
    op.create_index("ix_requests_arrived_at", "requests", ["arrived_at"], unique=False)
    op.create_index("ix_requests_session", "requests", ["session", "arrived_at"], unique=False)
    op.create_table(
        "ranges",
        sa.Column("request", sa.Integer(), nullable=False),
        sa.Column("start", sa.Integer(), nullable=False),
        sa.Column("end", sa.Integer(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("worker", sa.Integer(), nullable=True),
        sa.Column("blame_session", sa.Text(), nullable=True),
        sa.Column("blame_request", sa.Text(), nullable=True),
        sa.Column("blame_rule", sa.Text(), nullable=True),
        sa.Column("blame_priority", sa.Integer(), nullable=True),
        sa.Column("blame_at", sa.Float(), nullable=True),
        sa.Column("blame_age_seconds", sa.Float(), nullable=True),
        sa.Column("divergence_token", sa.Integer(), nullable=True),
        sa.Column("divergence_place", sa.Text(), nullable=True),
        sa.Column("divergence_before", sa.Text(), nullable=True),
        sa.Column("divergence_now", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["request"], ["requests.number"], name="fk_ranges_request", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("request", "start", name="pk_ranges"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("ranges")
    op.drop_table("requests")
    op.drop_table("snapshots")
    op.drop_table("sessions")
    op.drop_table("policies")
    op.drop_table("evictions")
    op.drop_table("actions")
