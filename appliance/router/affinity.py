"""Which worker a session was served by last."""

from __future__ import annotations

from collections import OrderedDict

from appliance.router.errors import IntegrityError

MOST_SESSIONS = 4096


class Affinity:
    """Of the sessions that asked last, at most `most_sessions`."""

    def __init__(self, most_sessions: int = MOST_SESSIONS) -> None:
        self._most_sessions = most_sessions
        self._workers: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._workers)

    def worker(self, session_id: str | None) -> int | None:
        """`None` for a session that is not known."""
        return None if session_id is None else self._workers.get(session_id)

    def served(self, session_id: str | None, worker: int) -> None:
        """A request of this session went there. A no-op without a session."""
        if session_id is None:
            return
        self._workers[session_id] = worker
        self._workers.move_to_end(session_id)
        if len(self._workers) > self._most_sessions:
            self._workers.popitem(last=False)

    def check_integrity(self) -> None:
        """Raises `IntegrityError` when more sessions are remembered than may be. Does not mutate."""
        if len(self) > self._most_sessions:
            raise IntegrityError(f"affinity: {len(self)} sessions, room for {self._most_sessions}")
