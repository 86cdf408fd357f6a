"""The tables of the file. Times are seconds since 1970; numbers grow in the order of writing, whatever the clock says.

`migrations/` makes them; a test compares.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import JSON, Float, ForeignKey, Index, Integer, LargeBinary, MetaData, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

NAMES: Final = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
}


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {  # noqa: RUF012 – SQLAlchemy reads it from the class
        str: Text,
        float: Float,
        int: Integer,
        bytes: LargeBinary,
        dict[str, Any]: JSON(none_as_null=True),
    }


class SessionRow(Base):
    """`state` and what follows are `None` for a session that is known by its requests only."""

    __tablename__ = "sessions"
    name: Mapped[str] = mapped_column(primary_key=True)
    parent: Mapped[str | None]
    client: Mapped[str | None]
    model: Mapped[str]
    state: Mapped[str | None]
    turns: Mapped[int | None]
    first_seen_at: Mapped[float]
    last_used_at: Mapped[float] = mapped_column(index=True)
    prompt_tokens: Mapped[int | None]
    plan: Mapped[dict[str, Any] | None]


class RangeRow(Base):
    """A `TokenRange`: `blame_…` is set where it has a `Blame`, `divergence_…` where it has a `Divergence`."""

    __tablename__ = "ranges"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012 – SQLAlchemy reads it from the class
    request: Mapped[int] = mapped_column(ForeignKey("requests.number", ondelete="CASCADE"), primary_key=True)
    start: Mapped[int] = mapped_column(primary_key=True)
    end: Mapped[int]
    source: Mapped[str]
    reason: Mapped[str | None]
    worker: Mapped[int | None]
    blame_session: Mapped[str | None]
    blame_request: Mapped[str | None]
    blame_rule: Mapped[str | None]
    blame_priority: Mapped[int | None]
    blame_at: Mapped[float | None]
    blame_age_seconds: Mapped[float | None]
    divergence_token: Mapped[int | None]
    divergence_place: Mapped[str | None]
    divergence_before: Mapped[str | None]
    divergence_now: Mapped[str | None]
    divergence_against: Mapped[str | None]
    divergence_rule: Mapped[str | None]


class RequestRow(Base):
    """Tokens by source are `None` where no ranges are known."""

    __tablename__ = "requests"
    number: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    session: Mapped[str | None] = mapped_column(ForeignKey("sessions.name"))
    parent: Mapped[str | None]
    turn: Mapped[int | None]
    client: Mapped[str | None]
    model: Mapped[str]
    worker: Mapped[int | None]
    arrived_at: Mapped[float]
    first_token_seconds: Mapped[float | None]
    total_seconds: Mapped[float]
    queued_seconds: Mapped[float]
    prompt_tokens: Mapped[int]
    cached_tokens: Mapped[int]
    completion_tokens: Mapped[int]
    gpu_tokens: Mapped[int | None]
    host_tokens: Mapped[int | None]
    disk_tokens: Mapped[int | None]
    remote_tokens: Mapped[int | None]
    recomputed_tokens: Mapped[int | None]
    outcome: Mapped[str]
    finish: Mapped[str | None]
    hints: Mapped[dict[str, Any] | None]
    error: Mapped[str | None]
    ranges: Mapped[list[RangeRow]] = relationship(order_by=RangeRow.start, viewonly=True, lazy="raise")

    __table_args__ = (
        Index("ix_requests_arrived_at", "arrived_at"),
        Index("ix_requests_session", "session", "arrived_at"),
    )


class EvictionRow(Base):
    __tablename__ = "evictions"
    id: Mapped[int] = mapped_column(primary_key=True)
    boot: Mapped[float]
    number: Mapped[int]
    at: Mapped[float] = mapped_column(index=True)
    worker: Mapped[int]
    block_hash: Mapped[str | None]
    first_token: Mapped[int]
    region: Mapped[str | None]
    owner: Mapped[str | None]
    cause: Mapped[str | None]
    cause_request: Mapped[str | None]
    rule: Mapped[str | None]
    priority: Mapped[int]
    age_seconds: Mapped[float]
    awaited: Mapped[bool]

    __table_args__ = (Index("ix_evictions_owner", "owner", "at"),)


class DecisionRow(Base):
    """A `DecisionRecord`."""

    __tablename__ = "decisions"
    id: Mapped[int] = mapped_column(primary_key=True)
    boot: Mapped[float]
    number: Mapped[int]
    at: Mapped[float] = mapped_column(index=True)
    request: Mapped[str | None]
    body: Mapped[bytes]

    __table_args__ = (UniqueConstraint("boot", "number"),)


class ActionRow(Base):
    __tablename__ = "actions"
    number: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[float] = mapped_column(index=True)
    who: Mapped[str]
    verb: Mapped[str]
    target: Mapped[str | None]
    details: Mapped[dict[str, Any]]
    effect: Mapped[str | None]


class PolicyRow(Base):
    __tablename__ = "policies"
    number: Mapped[int] = mapped_column(primary_key=True)
    activated_at: Mapped[float]
    name: Mapped[str]
    text: Mapped[str]
    author: Mapped[str]
    note: Mapped[str | None]


class SnapshotRow(Base):
    """`body` is compressed; with a `base`, against the status of that row."""

    __tablename__ = "snapshots"
    number: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[float] = mapped_column(index=True)
    base: Mapped[int | None] = mapped_column(ForeignKey("snapshots.number", ondelete="CASCADE"), index=True)
    body: Mapped[bytes]


class ViewRow(Base):
    """A `ViewRecord`. `body` is compressed; with a `base`, against the parts of that row."""

    __tablename__ = "views"
    number: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[float]
    name: Mapped[str]
    base: Mapped[int | None] = mapped_column(ForeignKey("views.number", ondelete="CASCADE"), index=True)
    body: Mapped[bytes]

    __table_args__ = (Index("ix_views_name", "name", "at"),)


class AccessRow(Base):
    """An `AccessRecord`. `last_block` counts the keys of all rows up to this one, and `regions` is compressed."""

    __tablename__ = "accesses"
    number: Mapped[int] = mapped_column(primary_key=True)
    last_block: Mapped[int] = mapped_column(index=True)
    model: Mapped[str]
    block_tokens: Mapped[int]
    session: Mapped[str]
    worker: Mapped[int]
    read_tokens: Mapped[int]
    arrived_at: Mapped[float] = mapped_column(index=True)
    ended_at: Mapped[float]
    prompt_tokens: Mapped[int]
    output_tokens: Mapped[int]
    waits_for_tool: Mapped[bool]
    is_final: Mapped[bool]
    tool_wait_seconds: Mapped[float | None]
    kept: Mapped[int]
    keys: Mapped[bytes]
    regions: Mapped[bytes]


class StoredItemRow(Base):
    __tablename__ = "stored_items"
    id: Mapped[str] = mapped_column(primary_key=True)
    body: Mapped[bytes]


class StoredEntryRow(Base):
    """A response or a conversation, as `responses_journal` writes it. `number` is the order of last use."""

    __tablename__ = "stored_entries"
    id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(index=True)
    body: Mapped[bytes]
