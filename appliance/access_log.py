"""The accesses of the last hours: who asked when for which blocks, and how the answer ended. What-if replays them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from appliance.cache.region_map import RegionMap
from appliance.cache.session_state import TOOL_STOPS
from appliance.cache.trace import UNKNOWN_REGION, Access
from appliance.last_prompts import EndedRequest
from appliance.records import MOST_ACCESSES, MOST_BLOCKS

MOST_LEANING: Final = 127
"""Accesses of a session that lean on one that is told whole: where the oldest are lost, no more are lost with them."""

NOBODY: Final = "#"
"""A number follows: an access of no session."""

Keys = NDArray[np.int64]
Regions = NDArray[np.uint8]


class Served(NamedTuple):
    """An access, and the worker that served it. `read_tokens` is what its own cache had, of all tiers of it."""

    worker: int
    read_tokens: int
    access: Access


class Added(NamedTuple):
    """A whole access that was added; its session's access before it, as it was told, begins with the same `kept`
    blocks."""

    served: Served
    regions: Regions
    kept: int


class Latest(NamedTuple):
    """The last prompt of a session. `leaning`: how many accesses were told since one was told whole."""

    keys: Keys
    regions: Regions
    leaning: int


@dataclass(slots=True)
class Entry:
    """`served.access` has only what is new behind the first `kept` blocks of the session's access before it. Where that
    is forgotten it becomes whole."""

    served: Served
    kept: int


class AccessLog:
    """The newest `most_accesses` with at most `most_blocks`, oldest first. A turn repeats the one before it, so only
    what is new is remembered of each: nine bytes a block, and as much again at most for the last prompts of the
    sessions. Times are the pipeline's clock's."""

    def __init__(self, block_tokens: int, most_accesses: int = MOST_ACCESSES, most_blocks: int = MOST_BLOCKS) -> None:
        self.block_tokens = block_tokens
        self.dropped = 0
        self.on_added: Callable[[Added], None] = lambda _added: None
        self._most_accesses = most_accesses
        self._most_blocks = most_blocks
        self._entries: deque[Entry] = deque()
        self._by_session: dict[str, deque[Entry]] = {}
        self._latest: dict[str, Latest] = {}
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
        kept = 0 if before is None else _common(before, keys, regions)
        leaning = before.leaning + 1 if before is not None and kept and before.leaning < MOST_LEANING else 0
        # Copies: a view would keep the whole array alive.
        new = replace(served.access, block_keys=keys[kept:].copy(), regions=regions[kept:].copy())
        entry = Entry(served._replace(access=new), kept)
        self._entries.append(entry)
        self._by_session.setdefault(session, deque()).append(entry)
        self._latest[session] = Latest(keys, regions, leaning)
        self._num_blocks += len(keys) - kept
        while len(self._entries) > self._most_accesses or (
            self._num_blocks > self._most_blocks and len(self._entries) > 1
        ):
            self._drop_oldest()
        self.on_added(Added(served, regions, kept if leaning else 0))

    def restore(self, earlier: Iterable[Served]) -> None:
        """Into an empty log, which nobody else has yet; in the order in which they were added. Nobody is told."""
        taken = -1
        for served in earlier:
            name = served.access.session
            if name.startswith(NOBODY) and name[1:].isdecimal():
                taken = max(taken, int(name[1:]))
            self.add(served)
        self._nobodys = count(taken + 1)

    def snapshot(self) -> list[Entry]:
        """All as they are remembered. Read in this order they make sense also when some are forgotten meanwhile."""
        return list(self._entries)

    def _served(self, request: EndedRequest) -> Served:
        asked, hints = request.conversation, request.conversation.hints
        name = asked.identity.session_id or f"{NOBODY}{next(self._nobodys)}"
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


def _common(before: Latest, keys: Keys, regions: Regions) -> int:
    """Leading blocks that are the same, and of the same region."""
    shared = min(len(before.keys), len(keys))
    is_other = (before.keys[:shared] != keys[:shared]) | (before.regions[:shared] != regions[:shared])
    return int(np.argmax(is_other)) if is_other.any() else shared
