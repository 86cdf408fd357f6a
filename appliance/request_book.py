"""Every request that has ended, with the reason for each token that was computed."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from appliance.cache.ledger import Emptied, TokenRange
from appliance.cache.misses import Misses
from appliance.cache.region_map import RegionMap
from appliance.conversation import Conversation
from appliance.explainer import Explainer
from appliance.records import NoRecorder, Recorder, RequestRecord, SessionRecord
from appliance.request_entry import Ending, Entry, Sent, entry_of, record_of
from appliance.router.decision import Decision
from appliance.session_turns import SessionTurns

MOST_RECORDS: Final = 4096
MOST_PENDING: Final = 1024
MOST_PENDING_TOKENS: Final = 1 << 24
"""64 MiB. Requests that have ended and wait to be explained, and their tokens; when there are more, nobody waits for
what engines have yet to tell."""
MOST_AT_ONCE: Final = 32
PATIENCE_SECONDS: Final = 3.0
"""How long a request that has ended waits for what engines have evicted, which they are asked once a second."""

LAST: Final = "last"
"""The name of the newest request, whatever it is called."""

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Ended:
    entry: Entry
    ending: Ending
    until: float
    """When it waits no longer, whatever has been heard; by the monotonic clock."""
    record: asyncio.Future[RequestRecord] | None = None
    """For somebody who waits for it."""


class RequestBook:
    """The newest `most` records; each goes to the `recorder` too. A request is explained a moment after it has ended:
    when the engines have told what they have evicted meanwhile (`heard`), where they do (`hears_evictions`).

    `clock` tells seconds since 1970, and may jump; `monotonic` never does.
    """

    def __init__(
        self,
        explainer: Explainer,
        recorder: Recorder | None = None,
        *,
        hears_evictions: bool = False,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        most: int = MOST_RECORDS,
    ) -> None:
        self.misses = Misses()
        self.sessions = SessionTurns()
        self.num_failed = 0
        """Requests that could not be explained."""
        self.explainer = explainer
        self._recorder = recorder or NoRecorder()
        self._hears_evictions = hears_evictions
        self._clock = clock
        self._monotonic = monotonic
        self._most = most
        self._numbers = 0
        self._records: OrderedDict[str, RequestRecord] = OrderedDict()
        self._pending: deque[_Ended] = deque()
        self._pending_tokens = 0
        self._heard_at: dict[int, float] = {}
        self._explaining: asyncio.Task[None] | None = None
        self._retry: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._records)

    @property
    def num_pending(self) -> int:
        return len(self._pending)

    def draft(
        self, name: str, told: Conversation, regions: RegionMap | None, prompt_tokens: int, seconds: float
    ) -> Entry:
        """For a request that came so many seconds ago; nothing is remembered of it before it has `ended`. `told` is its
        conversation as it was rendered."""
        self._numbers += 1
        return entry_of(self._numbers, name, told, regions, prompt_tokens, self._clock() - seconds)

    def began(self, entry: Entry) -> None:
        self.sessions.began(entry)

    def sent(self, entry: Entry, decision: Decision) -> None:
        """It goes to an engine now, for the first time or again."""
        entry.sent = Sent(decision, self.explainer.met(decision.hashes), self._clock())

    def read(self, entry: Entry, ranges: Sequence[TokenRange], first_token_seconds: float) -> None:
        """The engine has its prompt, of which it read `ranges` from cache."""
        entry.read = ranges
        entry.read_at = self._clock()
        entry.first_token_seconds = first_token_seconds
        if entry.sent is not None:
            self.explainer.computed(entry.sent.decision.hashes, entry.number)

    def ended(self, entry: Entry, ending: Ending) -> None:
        entry.answer, entry.hashes = ending.answer[:-1], ending.hashes
        if ending.hashes is not None:
            self.explainer.computed(ending.hashes, entry.number)
        session = self.sessions.record(entry, ending, self._clock())
        if session is not None:
            self._recorder.record(session)
        # Explained it is recorded again; should the box be killed until then, it is known at least that it was.
        self._recorder.record(record_of(entry, ending, ()))
        self._pending_tokens += entry.prompt_tokens
        self._pending.append(_Ended(entry, ending, self._monotonic() + PATIENCE_SECONDS))
        self._go_on()

    def resume(self, sessions: Iterable[SessionRecord]) -> None:
        """Sessions from before this box was started; the one used last comes last."""
        self.sessions.resume(sessions, self._clock())

    def heard(self, worker: int, since: float) -> None:
        """All that the worker had evicted by then is known."""
        self._heard_at[worker] = since
        self._go_on()

    def emptied(self, worker: int, why: Emptied) -> None:
        """All that the worker had is gone."""
        self.explainer.lost.emptied(worker, why, self._clock())

    def newest(
        self, limit: int, session: str | None = None, since: float | None = None, until: float | None = None
    ) -> list[RequestRecord]:
        """At most so many, the one that ended last first; they arrived from `since` to `until`."""
        first, last = -math.inf if since is None else since, math.inf if until is None else until
        found = (
            record
            for record in reversed(self._records.values())
            if session in (None, record.session) and first <= record.arrived_at <= last
        )
        return list(islice(found, limit))

    def has_ended(self, name: str) -> bool:
        """Whether a request of this name is remembered here, explained or not."""
        return name in self._records or any(ended.entry.name == name for ended in self._pending)

    async def find(self, name: str) -> RequestRecord | None:
        """By its answer's id, `last` for the newest. One that has just ended is waited for, seconds at most."""
        waited = (ended for ended in reversed(self._pending) if name in (ended.entry.name, LAST))
        ended = next(waited, None)
        if ended is None:
            return next(reversed(self._records.values()), None) if name == LAST else self._records.get(name)
        if ended.record is None:
            ended.record = asyncio.get_running_loop().create_future()
        return await asyncio.shield(ended.record)

    async def settle(self) -> None:
        """Explain all that has ended, with what is known now."""
        while self._pending:
            if self._explaining is None:
                self._begin(len(self._pending))
            if self._explaining is not None:
                await asyncio.shield(self._explaining)

    def close(self) -> None:
        """No timer is left behind. What is pending stays so until `settle`."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def forgotten(self) -> dict[str, int]:
        """How much is too old to explain anything with, by what it is."""
        explainer = self.explainer
        return {
            "prompts": explainer.past.forgotten,
            "blocks": explainer.seen.forgotten,
            "evictions": explainer.lost.forgotten,
            "sessions": self.sessions.forgotten,
        }

    def check_integrity(self) -> None:
        """Raises `IntegrityError`."""
        self.explainer.seen.check_integrity()
        self.explainer.past.check_integrity()

    def _go_on(self) -> None:
        """Begin to explain those whose time has come, in order, if nobody is being explained."""
        if self._explaining is not None or not self._pending:
            return
        num_ripe = 0
        for ended in islice(self._pending, MOST_AT_ONCE):
            if not self._is_ripe(ended):
                break
            num_ripe += 1
        if num_ripe:
            self._begin(num_ripe)
        elif self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(PATIENCE_SECONDS / 2, self._try_again)

    def _is_ripe(self, ended: _Ended) -> bool:
        read_at, sent = ended.entry.read_at, ended.entry.sent
        is_full = len(self._pending) > MOST_PENDING or self._pending_tokens > MOST_PENDING_TOKENS
        if not self._hears_evictions or read_at is None or sent is None or is_full:
            return True
        # Of all workers: what its own has not, another may have had and lost.
        workers = (prospect.worker for prospect, _ in sent.decision.candidates)
        is_heard = all(self._heard_at.get(worker, 0.0) >= read_at for worker in workers)
        return is_heard or self._monotonic() >= ended.until

    def _try_again(self) -> None:
        self._retry = None
        self._go_on()

    def _begin(self, count: int) -> None:
        batch = list(islice(self._pending, min(count, MOST_AT_ONCE)))
        self._explaining = asyncio.create_task(self._explain(batch), name="explaining misses")

    async def _explain(self, batch: list[_Ended]) -> None:
        try:
            told = await asyncio.to_thread(self._explained, [ended.entry for ended in batch])
            for ended, ranges in zip(batch, told, strict=True):
                self._pending.popleft()
                self._pending_tokens -= ended.entry.prompt_tokens
                self._remember(ended, ranges)
        finally:
            self._explaining = None
        self._go_on()

    def _explained(self, entries: list[Entry]) -> list[tuple[TokenRange, ...]]:
        return [self._explained_one(entry) for entry in entries]

    def _explained_one(self, entry: Entry) -> tuple[TokenRange, ...]:
        """A mistake here must not cost a record, nor those of the requests behind it."""
        try:
            return self.explainer.explain(entry)
        except Exception:
            log.exception("%s could not be explained", entry.name)
            self.num_failed += 1
            return ()

    def _remember(self, ended: _Ended, ranges: tuple[TokenRange, ...]) -> None:
        record = record_of(ended.entry, ended.ending, ranges)
        self.misses.add(ranges, record.arrived_at)
        self._records[record.id] = record
        self._records.move_to_end(record.id)
        if len(self._records) > self._most:
            self._records.popitem(last=False)
        self._recorder.record(record)
        if ended.record is not None and not ended.record.done():
            ended.record.set_result(record)
