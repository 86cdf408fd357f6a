"""How long the file remembers: the oldest goes, in steps so small that writing never waits for long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Engine, delete, func, select, true
from sqlalchemy.orm import InstrumentedAttribute

from appliance.records import MOST_ACCESSES, MOST_BLOCKS
from appliance.state.engines import WriteSession
from appliance.state.tables import (
    AccessRow,
    ActionRow,
    DecisionRow,
    EvictionRow,
    PolicyRow,
    RequestRow,
    SessionRow,
    SnapshotRow,
    ViewRow,
)

ROWS_A_STEP: Final = 500
PAGES_A_STEP: Final = 256
SECONDS_A_DAY: Final = 86400.0
MOST_POLICIES: Final = 1000
"""Versions that are kept, the active one among them, however old they are."""
FREE_SHARE: Final = 0.1
"""Free pages are used again; only more than this share of the file is given back to the disk."""
AGES: Final[tuple[tuple[InstrumentedAttribute[int], InstrumentedAttribute[float]], ...]] = (
    (RequestRow.number, RequestRow.arrived_at),
    (EvictionRow.id, EvictionRow.at),
    (DecisionRow.id, DecisionRow.at),
    (SnapshotRow.number, SnapshotRow.at),
    (ViewRow.number, ViewRow.at),
    (ActionRow.number, ActionRow.at),
    (AccessRow.number, AccessRow.arrived_at),
)


@dataclass(frozen=True, slots=True)
class Keeping:
    """`max_bytes` is about the file's pages in use; 0 is no limit."""

    seconds: float
    max_bytes: int


def trim(engine: Engine, keeping: Keeping, now: float) -> Iterator[int]:
    """Each step is a transaction of a few milliseconds, and tells how many rows went with it. Ends when all is well.

    Where the file is too large, each kind loses its oldest rows in proportion. Clocks may jump: ages are taken from
    the time of each row, and nothing is dropped for being in the future.
    """
    for number, at in AGES:
        while gone := _step(engine, lambda session: _drop(session, number, at < now - keeping.seconds, ROWS_A_STEP)):  # noqa: B023 – called at once
            yield gone
    while gone := _step(engine, _drop_accesses):
        yield gone
    while keeping.max_bytes and used_bytes(engine) > keeping.max_bytes:
        gone = _step(engine, _drop_shares)
        yield gone
        if not gone:
            break
    yield _step(engine, lambda session: _drop_sessions(session, now - keeping.seconds))
    yield _step(engine, _drop_policies)
    while _give_back(engine):
        yield 0


def _step(engine: Engine, drop: Callable[[WriteSession], int]) -> int:
    with WriteSession(engine) as session, session.begin():
        return drop(session)


def used_bytes(engine: Engine) -> int:
    with engine.connect() as connection:
        pages, free, size = (
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)


def _drop(session: WriteSession, number: InstrumentedAttribute[int], condition: Any, limit: int) -> int:
    """The oldest that meet it; what belongs to a row goes with it."""
    oldest = select(number).where(condition).order_by(number).limit(limit)
    return _count(session.execute(delete(number.class_).where(number.in_(oldest))))


def _drop_shares(session: WriteSession) -> int:
    """Of each kind one row of fifty, as far as a step allows. Numbers have few gaps."""
    gone = 0
    for number, _ in AGES:
        first, last = session.execute(select(func.min(number), func.max(number))).one()
        if last is not None:
            share = min((last - first) // 50 + 1, ROWS_A_STEP)
            gone += _drop(session, number, true(), share)
    return gone


def _drop_sessions(session: WriteSession, before: float) -> int:
    """Those that are old, and those whose last use lies before all requests that are left, but none that has some."""
    oldest = func.coalesce(select(func.min(RequestRow.arrived_at)).scalar_subquery(), before)
    has_requests = select(RequestRow.number).where(RequestRow.session == SessionRow.name).exists()
    old = (SessionRow.last_used_at < func.max(oldest, before)) & ~has_requests
    names = select(SessionRow.name).where(old).order_by(SessionRow.last_used_at).limit(ROWS_A_STEP)
    return _count(session.execute(delete(SessionRow).where(SessionRow.name.in_(names))))


def _drop_accesses(session: WriteSession) -> int:
    """More than a start reads."""
    last_block = session.scalar(select(func.max(AccessRow.last_block))) or 0
    of_blocks = select(func.max(AccessRow.number)).where(AccessRow.last_block <= last_block - MOST_BLOCKS)
    of_accesses = (session.scalar(select(func.max(AccessRow.number))) or 0) - MOST_ACCESSES
    too_old = max(session.scalar(of_blocks) or 0, of_accesses)
    return _drop(session, AccessRow.number, AccessRow.number <= too_old, ROWS_A_STEP)


def _drop_policies(session: WriteSession) -> int:
    newest = select(func.max(PolicyRow.number)).scalar_subquery()
    return _count(session.execute(delete(PolicyRow).where(PolicyRow.number <= newest - MOST_POLICIES)))


def _give_back(engine: Engine) -> bool:
    """Some free pages, where there are many. SQLite frees one with each row that it is asked for."""
    with engine.connect() as connection:
        pages, free = (
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("page_count", "freelist_count")
        )
        if free <= max(PAGES_A_STEP, pages * FREE_SHARE):
            return False
        cursor = connection.connection.cursor()
        cursor.execute(f"PRAGMA incremental_vacuum({PAGES_A_STEP})")
        cursor.fetchall()
        cursor.close()
        connection.commit()
        return True


def _count(result: Any) -> int:
    return int(result.rowcount)
