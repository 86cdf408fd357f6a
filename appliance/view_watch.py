"""Has what there is to see beside the status recorded, now and then, as long as it changes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from appliance.api.block_views import BlockMapView
from appliance.api.cache_views import SessionCaches
from appliance.errors import BoxError
from appliance.past_views import PREFIXES, SESSIONS, View, blocks_name, view_record
from appliance.records import ViewRecord

if TYPE_CHECKING:
    from appliance.box import RunningBox

log = logging.getLogger(__name__)

TICK_SECONDS: Final = 10.0
TICKS_A_MINUTE: Final = 6
SEEN_SESSIONS: Final = 500
SEEN_CELLS: Final = 2048
SEEN_PROMPTS: Final = 128
AGAIN_SECONDS: Final = 3600.0
"""After so long it is recorded though nothing has changed, lest it goes with its age."""


class Look(NamedTuple):
    """`ask` is called every so many `ticks`; what it raises as a `BoxError` is that there is nothing to see now."""

    name: str
    ticks: int
    ask: Callable[[], Awaitable[View]]


class Seen(NamedTuple):
    at: float
    view: View


def looks_at(box: RunningBox, maps: Sequence[int | str]) -> list[Look]:
    """What screens of a console show of a box that is open; `maps` are of these workers and tiers."""
    return [
        Look(SESSIONS, 1, lambda: box.cache().sessions(SEEN_SESSIONS)),
        Look(PREFIXES, TICKS_A_MINUTE, lambda: box.prefixes().prefixes(SEEN_PROMPTS)),
        *(Look(blocks_name(whose), TICKS_A_MINUTE, _map_of(box, whose)) for whose in maps),
    ]


def _map_of(box: RunningBox, whose: int | str) -> Callable[[], Awaitable[View]]:
    if isinstance(whose, int):
        return lambda: box.blocks().blocks(whose, SEEN_CELLS)
    if whose == "host":
        return lambda: box.blocks().host_blocks(SEEN_CELLS)
    return lambda: box.blocks().disk_blocks(SEEN_CELLS)


class ViewWatch:
    """Rows are compared and made in a thread: 500 sessions take milliseconds."""

    def __init__(
        self,
        looks: Sequence[Look],
        record: Callable[[ViewRecord], None],
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._looks = looks
        self._record = record
        self._clock = clock
        self._sleep = sleep
        self._seen: dict[str, Seen] = {}

    async def run(self) -> None:
        """Until it is cancelled."""
        tick = 0
        while True:
            for look in self._looks:
                if tick % look.ticks == 0:
                    await self._look(look)
            tick += 1
            await self._sleep(TICK_SECONDS)

    async def _look(self, look: Look) -> None:
        try:
            view = await look.ask()
            made = await asyncio.to_thread(self._made, look.name, self._clock(), view)
        except BoxError:
            return
        except Exception:
            # Whatever is wrong with one look, the others go on.
            log.exception("%s could not be recorded", look.name)
            return
        if made is not None:
            self._record(made)

    def _made(self, name: str, at: float, view: View) -> ViewRecord | None:
        """`None` where nothing has changed."""
        before, likeness = self._seen.get(name), _likeness(view)
        if before is not None and before.view == likeness and 0 <= at - before.at < AGAIN_SECONDS:
            return None
        self._seen[name] = Seen(at, likeness)
        return view_record(name, at, view)


def _likeness(view: View) -> View:
    """Without what goes on by itself: ages, claims that run out, the pace that is learned."""
    if isinstance(view, BlockMapView):
        return msgspec.structs.replace(view, age_seconds=[])
    if isinstance(view, SessionCaches):
        still = [msgspec.structs.replace(one, claim_seconds=None, prefill_seconds=None) for one in view.sessions]
        return msgspec.structs.replace(view, sessions=still)
    return view
