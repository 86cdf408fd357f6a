"""An operator restarts a worker: what it would come to, and doing it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from appliance.api.problems import NothingOfThisName
from appliance.api.worker_views import RestartAnswer, RestartImpact
from appliance.audit import Audit
from appliance.errors import WorkerDied
from appliance.fleet import WorkerPhase
from appliance.hint_impact import duration, seconds_of
from appliance.records import ActionRecord

if TYPE_CHECKING:
    from appliance.fleet import Fleet, Member
    from appliance.router.router import Router

PATIENCE_SECONDS: Final = 2.0
"""An engine that hangs is one that will be restarted."""


class WorkerDesk:
    """`api.box.WorkerDesk`. The fleet tells of the phases that a worker goes through."""

    def __init__(
        self,
        fleet: Fleet,
        router: Router,
        audit: Audit,
        clock: Callable[[], float] = time.time,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._fleet = fleet
        self._router = router
        self._audit = audit
        self._clock = clock
        self._patience_seconds = patience_seconds

    async def restart(self, worker: int, by: str, *, dry_run: bool) -> RestartAnswer:
        """Begin it, or only say what it would come to. Raises a `RequestError`."""
        member = self._fleet.members.get(worker)
        if member is None:
            among = ", ".join(map(str, self._fleet.members))
            raise NothingOfThisName(f"no worker {worker} is in this box; there are {among}", code="no_worker")
        self._fleet.refuse_restart(worker)
        impact = await self._impact(member)
        if dry_run:
            return RestartAnswer(worker, dry_run=True, impact=impact, effect=None)
        self._fleet.restart(worker, f"{by} asked for it")
        effect = f"worker {worker} is restarted; it takes requests again when it has loaded"
        self._audit.tell(
            ActionRecord(self._clock(), by, "worker restart", f"worker {worker}", {"impact": impact.text}, effect)
        )
        return RestartAnswer(worker, dry_run=False, impact=impact, effect=effect)

    async def _impact(self, member: Member) -> RestartImpact:
        requests = sum(one.running for one in self._router.snapshot() if one.worker == member.id)
        tokens = member.mirror.num_blocks * self._router.block_tokens
        blocks = await self._session_blocks(member)
        if blocks is None:
            return RestartImpact(requests, tokens, None, None, _sentence(self._of_requests(requests, member), tokens))
        sessions = {name: count * self._router.block_tokens for name, count in blocks.items() if count}
        seconds = seconds_of(sessions.values(), self._router.paces.prefill_seconds)
        text = _sentence(self._of_requests(requests, member), tokens, len(sessions), seconds)
        return RestartImpact(requests, tokens, len(sessions), seconds, text)

    def _of_requests(self, requests: int, member: Member) -> str:
        if not requests:
            return "no request runs on it"
        others = self._fleet.ready() - (member.phase is WorkerPhase.RUNNING and member.worker.alive)
        if requests == 1:
            return "1 request " + ("goes on at another worker" if others else "waits until it runs again")
        return f"{requests:,} requests " + ("go on at another worker" if others else "wait until it runs again")

    async def _session_blocks(self, member: Member) -> dict[str, int] | None:
        """`None` where its engine does not say."""
        try:
            async with asyncio.timeout(self._patience_seconds):
                return await member.worker.session_blocks()
        except (TimeoutError, WorkerDied):
            return None


def _sentence(requests: str, tokens: int, sessions: int | None = None, seconds: float | None = None) -> str:
    """`2 requests go on at another worker; 41,216 cached tokens of 3 sessions are lost on it, ≈ 9 s of prefill`."""
    of = "" if sessions is None else f" of {sessions:,} session{'' if sessions == 1 else 's'}"
    prefill = "" if not seconds else f", ≈ {duration(seconds)} of prefill"
    return f"{requests}; {tokens:,} cached tokens{of} are lost on it{prefill}"
