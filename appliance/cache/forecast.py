"""Whose blocks to keep: a session that is likely back soon goes after one that is not.

A session that has been idle for `age` seconds is worth 1 / (mean time until it is back). The mean comes from one of
sixteen curves, chosen when its response ends by the stop reason and by three numbers: the logarithms of its last gap
and of its usual gaps after a tool call and after anything else. Why these, and what they are worth: `docs/design/`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from appliance.cache.errors import IntegrityError
from appliance.cache.forecast_kernels import CHUNK, Idle, tell
from appliance.cache.hint import Hint
from appliance.cache.return_table import Prior, ReturnTable, shipped_prior

if TYPE_CHECKING:
    from appliance.cache.eviction import EvictionCore

SHORTEST_GAP_SECONDS = 0.3
TOOL_GAP_WEIGHT = 0.25
HUMAN_GAP_WEIGHT = 0.4
"""Weights of the newest gap in the two moving averages."""

FINISHED = 0.0
BUSY = math.inf
_ALWAYS = -math.inf
"""Earlier than any time: what is worth something until then has to be looked at."""

Floats = NDArray[np.float64]


@dataclass(slots=True)
class _History:
    """One session's past gaps, as logarithms of seconds; `None` until there was one."""

    last: float | None = None
    tool: float | None = None
    human: float | None = None
    waited_for_tool: bool = False
    row: int | None = None
    """The curve its gap is counted in; `None` while it is not idle, or told that it will not return."""
    is_over: bool = False

    def learn(self, gap_seconds: float) -> None:
        gap = self.last = math.log(max(gap_seconds, SHORTEST_GAP_SECONDS))
        if self.waited_for_tool:
            self.tool = gap if self.tool is None else self.tool + TOOL_GAP_WEIGHT * (gap - self.tool)
        else:
            self.human = gap if self.human is None else self.human + HUMAN_GAP_WEIGHT * (gap - self.human)


class Forecast:
    """The sessions of one box and what keeping each is worth.

    Sessions are small whole numbers given by the caller; a number may be used again after `forget`. Times are seconds
    of any one clock. One session may run several requests at once: it is idle when the last of them has ended.
    """

    def __init__(self, prior: Prior | None = None, *, learns: bool = True) -> None:
        self.table = ReturnTable(shipped_prior() if prior is None else prior)
        self._learns = learns
        self._histories: dict[int, _History] = {}
        self._running = np.zeros(0, dtype=np.int64)
        self._ended_seconds = np.zeros(0)
        self._curves = np.zeros((0, len(self.table.prior.edges_seconds)))
        self._edges_seconds = np.array(self.table.prior.edges_seconds, np.float64)
        # Who was told last what sessions are worth, and when `tell` has to look again.
        self._told: EvictionCore | None = None
        self._until_seconds = np.zeros(0)
        self._chunk_until_seconds = np.zeros(0)

    def request_arrived(self, session: int, now_seconds: float) -> None:
        """The session is busy from now on: running, or waiting to."""
        self._reserve(session)
        history = self._histories.get(session)
        if history is None:
            history = self._histories[session] = _History()
        if history.row is not None:
            gap_seconds = max(0.0, now_seconds - float(self._ended_seconds[session]))
            history.learn(gap_seconds)
            if self._learns:
                self.table.observe(history.row, gap_seconds, returned=True)
            history.row = None
        history.is_over = False
        self._running[session] += 1
        self._look_again(session)

    def response_ended(
        self,
        session: int,
        now_seconds: float,
        *,
        waits_for_tool: bool,
        hint: Hint | None = None,
        is_final: bool = False,
    ) -> None:
        """`waits_for_tool`: the stop reason was a tool call. `is_final`: the client says that it will not come back.

        Raises `KeyError` for a session without a request.
        """
        history = self._histories[session]
        self._running[session] = max(0, self._running[session] - 1)
        self._ended_seconds[session] = now_seconds
        self._look_again(session)
        history.waited_for_tool = waits_for_tool
        if is_final or history.is_over:
            self.finish(session)
        elif not self._running[session]:
            row = history.row = self.table.prior.row(waits_for_tool, (history.last, history.tool, history.human))
            self._curves[session] = self.table.keep(row) if hint is None else self.table.keep_given(row, hint)

    def finish(self, session: int) -> None:
        """The session is said to be over, once what it still runs has ended; another request takes that back. No-op
        when it is not known."""
        if session in self._histories:
            self._histories[session].row = None
            self._histories[session].is_over = True
            self._curves[session] = FINISHED
            self._look_again(session)

    def forget(self, session: int, now_seconds: float) -> None:
        """Given up: nothing is expected of it any more, and the table learns that it stayed away. No-op if unknown."""
        history = self._histories.pop(session, None)
        if history is None:
            return
        if history.row is not None and self._learns:
            self.table.observe(history.row, now_seconds - float(self._ended_seconds[session]), returned=False)
        self._running[session] = 0
        self._curves[session] = FINISHED
        self._look_again(session)

    def keep(self, sessions: NDArray[np.integer[Any]], now_seconds: float) -> Floats:
        """What each session's blocks are worth now, per second; infinite while it is busy, 0 when it is over or was
        never seen. Reads only."""
        known = sessions < len(self._running)
        at = np.where(known, sessions, 0)
        if not known.any():
            return np.zeros(len(sessions))
        worth = np.where(self._running[at] > 0, BUSY, self._curves[at, self._age_bins(at, now_seconds)])
        return np.where(known, worth, FINISHED)

    def tell(self, core: EvictionCore, now_seconds: float) -> None:
        """Tells a core `keep` of its sessions, of all that are busy or own blocks. Looks only at those that may be
        worth something else than before: much quicker for who asks often, at times that never go back."""
        self._reserve(core.num_sessions - 1)
        if core is not self._told:
            self._told = core
            self._until_seconds[:], self._chunk_until_seconds[:] = _ALWAYS, _ALWAYS
        columns = self._running, self._ended_seconds, self._curves, self._until_seconds, self._chunk_until_seconds
        tell(core.header, Idle(*columns), self._edges_seconds, float(now_seconds))

    def _look_again(self, session: int) -> None:
        self._until_seconds[session] = self._chunk_until_seconds[session // CHUNK] = _ALWAYS

    def _age_bins(self, sessions: NDArray[np.integer[Any]], now_seconds: float) -> NDArray[np.int64]:
        ages = now_seconds - self._ended_seconds[sessions]
        bins = np.searchsorted(self.table.prior.edges_seconds, ages, side="right") - 1
        return np.asarray(np.maximum(bins, 0))

    def to_dict(self) -> dict[str, Any]:
        """What the rows have learned; sessions are not part of it."""
        return self.table.to_dict()

    def restore(self, seen: Mapping[str, Any]) -> None:
        """Takes back `to_dict()`. Raises `InvalidForecast`, and changes nothing, if it does not fit."""
        self.table.restore(seen)

    def check_integrity(self) -> None:
        """Raises `IntegrityError`."""
        self.table.check_integrity()
        if self._running.min(initial=0) < 0:
            raise IntegrityError("forecast: a session has ended more requests than it began")
        for session in np.flatnonzero(self._running).tolist():
            if self._histories[session].row is not None:
                raise IntegrityError(f"forecast: session {session} is busy and idle at once")

    def _reserve(self, session: int) -> None:
        missing = session + 1 - len(self._running)
        if missing > 0:
            missing = max(missing, len(self._running), 64)
            self._running = np.pad(self._running, (0, missing))
            self._ended_seconds = np.pad(self._ended_seconds, (0, missing))
            self._curves = np.pad(self._curves, ((0, missing), (0, 0)))
            self._until_seconds = np.pad(self._until_seconds, (0, missing), constant_values=_ALWAYS)
            self._chunk_until_seconds = np.full(len(self._running) // CHUNK + 1, _ALWAYS)
