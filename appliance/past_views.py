"""What sessions, blocks and prefixes there were to see, as it is remembered: a head, and one or two parts a row."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from appliance.api.block_views import BlockMapView
from appliance.api.cache_views import SessionCache, SessionCaches
from appliance.api.prefix_views import Prefixes, PrefixView
from appliance.records import ViewRecord

View = SessionCaches | Prefixes | BlockMapView

PARTS_AT_ONCE: Final = 256
SESSIONS: Final = "sessions"
PREFIXES: Final = "prefixes"
CELLS: Final = ("filled", "held", "awaited", "owner", "first_token", "region", "priority", "age_seconds", "reuse")
"""The fields of a map that have an entry for each cell."""
AGE: Final = CELLS.index("age_seconds")


def blocks_name(whose: int | str) -> str:
    """Of a worker's, or of those of the tier of this name."""
    return f"blocks of the {whose} tier" if isinstance(whose, str) else f"blocks of worker {whose}"


def view_record(name: str, at: float, view: View) -> ViewRecord:
    head = {field: getattr(view, field) for field in view.__struct_fields__}
    match view:
        case SessionCaches():
            # Names are long and stay; what stands beside them is short and changes.
            told = (msgspec.structs.astuple(_at_rest(one, at)) for one in head.pop("sessions"))
            rows: Any = (part for name, *rest in told for part in (name, rest))
        case Prefixes():
            rows = map(msgspec.structs.astuple, head.pop("nodes"))
        case BlockMapView():
            rows = zip(*(head.pop(field) for field in CELLS), strict=True)
            # The second of the last use stays as it is while nobody uses the block.
            rows = (_aged(row, None if row[AGE] is None else round(at - row[AGE])) for row in rows)
    return ViewRecord(at, name, tuple(_encoded((head, *rows))))


def _encoded(parts: Sequence[Any]) -> Iterator[bytes]:
    """Lets go of the interpreter now and then: it is made in a thread beside the serving loop."""
    for place, part in enumerate(parts):
        if place % PARTS_AT_ONCE == 0:
            time.sleep(0)
        yield msgspec.msgpack.encode(part)


def sessions_in(record: ViewRecord) -> SessionCaches:
    """Claims end in whole seconds. Raises `ValueError` for what another version has recorded, as the others do."""
    with _another_version(record):
        head, rows = _read(record)
        pairs = zip(rows[::2], rows[1::2], strict=True)
        told = [_running(SessionCache(name, *rest), record.at) for name, rest in pairs]
        return SessionCaches(sessions=told, **head)


def _at_rest(one: SessionCache, at: float) -> SessionCache:
    """As it stays while nothing happens: the second in which the next claim ends, and of what computing would take the
    first two digits, since the workers' pace is learned on."""
    ends_at = None if one.claim_seconds is None else float(round(at + one.claim_seconds))
    seconds = None if one.prefill_seconds is None else float(f"{one.prefill_seconds:.2g}")
    return msgspec.structs.replace(one, claim_seconds=ends_at, prefill_seconds=seconds)


def _running(one: SessionCache, at: float) -> SessionCache:
    """`_at_rest` turned round."""
    left = None if one.claim_seconds is None else max(one.claim_seconds - at, 0.0)
    return msgspec.structs.replace(one, claim_seconds=left)


def prefixes_in(record: ViewRecord) -> Prefixes:
    with _another_version(record):
        head, rows = _read(record)
        names = PrefixView.__struct_fields__
        return msgspec.convert(head | {"nodes": [dict(zip(names, row, strict=True)) for row in rows]}, Prefixes)


def blocks_in(record: ViewRecord) -> BlockMapView:
    """Ages are whole seconds."""
    with _another_version(record):
        head, rows = _read(record)
        aged = [_aged(row, None if row[AGE] is None else max(record.at - row[AGE], 0.0)) for row in rows]
        columns = [list(column) for column in zip(*aged, strict=True)] if aged else [[] for _ in CELLS]
        fields: dict[str, Any] = head | dict(zip(CELLS, columns, strict=True))
        return BlockMapView(**fields)


def _aged(row: Sequence[Any], age: float | None) -> tuple[Any, ...]:
    return (*row[:AGE], age, *row[AGE + 1 :])


def _read(record: ViewRecord) -> tuple[dict[str, Any], list[Any]]:
    head, *rows = map(msgspec.msgpack.decode, record.parts)
    return head, rows


@contextmanager
def _another_version(record: ViewRecord) -> Iterator[None]:
    try:
        yield
    except (msgspec.DecodeError, TypeError, IndexError, ValueError) as error:
        raise ValueError(f"{record.name}, of another version: {error}") from error
