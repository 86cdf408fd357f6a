"""Accesses on their way to the file and back: there times are the wall's, and keys and regions are bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from appliance.access_log import Added, Keys, Served
from appliance.cache.trace import Access
from appliance.records import AccessRecord


def record_of(added: Added, model: str, block_tokens: int, ahead_seconds: float) -> AccessRecord:
    """`ahead_seconds`: how far the wall's clock is ahead of the log's."""
    access = added.served.access
    return AccessRecord(
        model=model,
        block_tokens=block_tokens,
        session=access.session,
        worker=added.served.worker,
        read_tokens=added.served.read_tokens,
        arrived_at=access.arrival_seconds + ahead_seconds,
        ended_at=access.end_seconds + ahead_seconds,
        prompt_tokens=access.prompt_tokens,
        output_tokens=access.output_tokens,
        waits_for_tool=access.waits_for_tool,
        is_final=access.is_final,
        tool_wait_seconds=access.tool_wait_seconds,
        kept=added.kept,
        keys=access.block_keys[max(added.kept - 1, 0) :].tobytes(),
        regions=added.regions.tobytes(),
    )


@dataclass(slots=True)
class Recalled:
    """Iterates over accesses that are whole again, in the order of the records. `lost` counts those of which the
    access that they lean on is missing."""

    records: Sequence[AccessRecord]
    ahead_seconds: float
    now: float
    """Of the wall's clock."""
    lost: int = 0
    _before: dict[str, Keys] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Served]:
        for record, late in zip(self.records, lateness(self.records, self.now), strict=True):
            keys = self._whole(record)
            if keys is None:
                self.lost += 1
                continue
            self._before[record.session] = keys
            yield _served(record, keys, self.ahead_seconds + late)

    def _whole(self, record: AccessRecord) -> Keys | None:
        keys = np.frombuffer(record.keys, np.int64)
        if not record.kept:
            return keys
        before = self._before.get(record.session)
        if before is None or len(before) < record.kept or before[record.kept - 1] != keys[0]:
            return None
        whole: Keys = np.concatenate([before[: record.kept], keys[1:]])
        return whole


def lateness(records: Sequence[AccessRecord], now: float) -> list[float]:
    """By how much each record's times are too late for what came after it: a clock that was set back. None ended
    after the next one, nor after now."""
    found, late, latest = [], 0.0, now
    for record in reversed(records):
        late += max(record.ended_at - late - latest, 0.0)
        latest = record.ended_at - late
        found.append(late)
    return found[::-1]


def _served(record: AccessRecord, keys: Keys, behind_seconds: float) -> Served:
    access = Access(
        session=record.session,
        arrival_seconds=record.arrived_at - behind_seconds,
        end_seconds=record.ended_at - behind_seconds,
        prompt_tokens=record.prompt_tokens,
        output_tokens=record.output_tokens,
        block_keys=keys,
        waits_for_tool=record.waits_for_tool,
        is_final=record.is_final,
        tool_wait_seconds=record.tool_wait_seconds,
        regions=np.frombuffer(record.regions, np.uint8),
    )
    return Served(record.worker, record.read_tokens, access)
