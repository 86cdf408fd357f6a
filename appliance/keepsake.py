"""What must be remembered of a session so that, after a restart, plans for it are made as before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from appliance.cache.errors import InvalidRange
from appliance.cache.region import Region
from appliance.cache.region_map import RegionMap, Span
from appliance.conversation import Hints, Identity
from appliance.records import SessionRecord
from appliance.retention import Subject


class _Mark(NamedTuple):
    """A `MarkedPrefix`."""

    tokens: int
    ttl_seconds: float


class _Keepsake(Struct, frozen=True):
    """`regions` are names and ends, in order, `marked` tokens and seconds."""

    regions: tuple[tuple[Region, int], ...]
    marked: tuple[tuple[int, float], ...]
    hints: Hints
    user: str | None = None


def keepsake_of(subject: Subject) -> Mapping[str, Any]:
    """What `SessionRecord.plan` holds: JSON can carry it."""
    regions = tuple((span.region, span.end) for span in subject.regions.spans)
    marked = tuple((mark.tokens, mark.ttl_seconds) for mark in subject.marked)
    told = msgspec.to_builtins(_Keepsake(regions, marked, subject.hints, subject.identity.user))
    return dict(told)


def subject_from(record: SessionRecord) -> Subject | None:
    """`None` where the record has no plan, or one that this version cannot read. What the session shares with others is
    not known before its next request."""
    if record.plan is None:
        return None
    try:
        kept = msgspec.convert(record.plan, _Keepsake)
        starts = (0, *(end for _, end in kept.regions))
        spans = [Span(start, end, region) for start, (region, end) in zip(starts, kept.regions, strict=False)]
        regions = RegionMap(spans)
    except (msgspec.ValidationError, InvalidRange):
        return None
    identity = Identity(record.name, record.parent, record.client, kept.user)
    return Subject(identity, record.model, kept.hints, regions, [_Mark(*mark) for mark in kept.marked])
