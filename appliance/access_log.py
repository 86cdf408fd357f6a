"""The accesses of the last hours: who asked when for which blocks, and how the answer ended. What-if replays them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from appliance.cache.region_map import RegionMap
from appliance.cache.session_state import TOOL_STOPS
from appliance.cache.trace import UNKNOWN_REGION, Access
from appliance.last_prompts import EndedRequest

MOST_ACCESSES: Final = 1 << 15
MOST_BLOCKS: Final = 1 << 22
"""That are new in their prompts, of all accesses together: nine bytes each, 36 MiB. The last prompts of their sessions
are no more than that again."""

Keys = NDArray[np.int64]
Regions = NDArray[np.uint8]


class Served(NamedTuple):
    """An access, and the worker that served it. `read_tokens` is what its own cache had, of all tiers of it."""

    worker: int
    read_tokens: int
    access: Access


@dataclass(slots=True)
class Entry:
    """`served.access` has only what is new behind the first `kept` blocks of the session's access before it. Where that
    is forgotten it becomes whole."""

    served: Served
    kept: int


class AccessLog:
    """The newest `most_accesses` with at most `most_blocks`, oldest first. A turn repeats the one before it, so only
    what is new is remembered of each. Times are the pipeline's clock's."""

    def __init__(self, block_tokens: int, most_accesses: int = MOST_ACCESSES, most_blocks: int = MOST_BLOCKS) -> None:
        self.block_tokens = block_tokens
        self.dropped = 0
        self._most_accesses = most_accesses
        self._most_blocks = most_blocks
        self._entries: deque[Entry] = deque()
        self._by_session: dict[str, deque[Entry]] = {}
        self._latest: dict[str, tuple[Keys, Regions]] = {}
        self._num_blocks = 0
        self._nobodys = count()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def num_blocks(self) -> int:
        """Remembered one by one."""
        return self._num_blocks

    def ended(self, request: EndedRequest) -> None:
        self.add(self._served(request))

    def add(self, served: Served) -> None:
        """Its session's accesses come in the order in which they ended."""
        session = served.access.session
        keys, regions = served.access.block_keys, _regions_of(served.access)
        before = self._latest.get(session)
        kept = 0 if before is None else _common(before, (keys, regions))
        # Copies: a view would keep the whole array alive.
        new = replace(served.access, block_keys=keys[kept:].copy(), regions=regions[kept:].copy())
        entry = Entry(served._replace(access=new), kept)
        self._entries.append(entry)
        self._by_session.setdefault(session, deque()).append(entry)
        self._latest[session] = keys, regions
        self._num_blocks += len(keys) - kept
        while len(self._entries) > self._most_accesses or (
            self._num_blocks > self._most_blocks and len(self._entries) > 1
        ):
            self._drop_oldest()

    def snapshot(self) -> list[Entry]:
        """All as they are remembered. Read in this order they make sense also when some are forgotten meanwhile."""
        return list(self._entries)

    def _served(self, request: EndedRequest) -> Served:
        asked, hints = request.conversation, request.conversation.hints
        name = asked.identity.session_id or f"#{next(self._nobodys)}"
        keys = request.hashes.view(np.int64)
        regions = _regions_at(request.prompt.regions, len(keys), self.block_tokens)
        access = Access(
            session=name,
            arrival_seconds=request.arrived,
            end_seconds=max(request.ended, request.arrived),
            prompt_tokens=len(request.prompt.token_ids),
            output_tokens=request.completion_tokens,
            block_keys=keys,
            waits_for_tool=request.finish in TOOL_STOPS,
            is_final=hints.session_final,
            tool_wait_seconds=hints.tool_wait_seconds,
            regions=regions,
        )
        return Served(request.worker, request.cached_tokens, access)

    def _drop_oldest(self) -> None:
        """The next of its session stands alone from now on."""
        oldest = self._entries.popleft()
        session = oldest.served.access.session
        rest = self._by_session[session]
        rest.popleft()
        self._num_blocks -= len(oldest.served.access.block_keys)
        self.dropped += 1
        if not rest:
            del self._by_session[session], self._latest[session]
            return
        heir = rest[0]
        served = _whole(heir, {session: _stored(oldest)})
        self._num_blocks += heir.kept
        heir.served, heir.kept = served, 0


def whole_entries(entries: Iterable[Entry]) -> Iterator[Served]:
    """Of a snapshot, in its order."""
    previous: dict[str, tuple[Keys, Regions]] = {}
    for entry in entries:
        yield _whole(entry, previous)


def _whole(entry: Entry, previous: dict[str, tuple[Keys, Regions]]) -> Served:
    access = entry.served.access
    keys, regions = _stored(entry)
    if entry.kept:
        keys_before, regions_before = previous[access.session]
        keys = np.concatenate([keys_before[: entry.kept], keys])
        regions = np.concatenate([regions_before[: entry.kept], regions])
    previous[access.session] = keys, regions
    return entry.served._replace(access=replace(access, block_keys=keys, regions=regions))


def _stored(entry: Entry) -> tuple[Keys, Regions]:
    return entry.served.access.block_keys, _regions_of(entry.served.access)


def _regions_of(access: Access) -> Regions:
    if access.regions is None:
        return np.full(len(access.block_keys), UNKNOWN_REGION, dtype=np.uint8)
    return access.regions


def _regions_at(regions: RegionMap | None, num_blocks: int, block_tokens: int) -> Regions | None:
    """Of each block's first token."""
    if regions is None or not regions.tokens:
        return None
    first_tokens = np.arange(num_blocks, dtype=np.int64) * block_tokens
    found: Regions = regions.codes[regions.starts.searchsorted(first_tokens, side="right") - 1].astype(np.uint8)
    return found


def _common(one: tuple[Keys, Regions], other: tuple[Keys, Regions]) -> int:
    """Leading blocks that are the same, and of the same region."""
    shared = min(len(one[0]), len(other[0]))
    is_other = (one[0][:shared] != other[0][:shared]) | (one[1][:shared] != other[1][:shared])
    return int(np.argmax(is_other)) if is_other.any() else shared
