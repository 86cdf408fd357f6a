"""Which heads of a trace several sessions have read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from appliance.cache.region import Region
from appliance.cache.trace import REGIONS, UNKNOWN_REGION, Trace

_SEVERAL = -2
_NO_HEAD = -1

_IS_OF_HEAD = np.isin(np.arange(UNKNOWN_REGION + 1), [REGIONS.index(Region.SYSTEM), REGIONS.index(Region.TOOLS)])


class HeadReaders:
    """Requests are rows of the trace."""

    def __init__(self, trace: Trace) -> None:
        self._session: list[int] = trace.session.tolist()
        self._last_common: list[int] = _last_common_blocks(trace).tolist()
        self._reader_of: dict[int, int] = {}

    def read(self, request: int) -> None:
        """The request's session has read its head."""
        block, session = self._last_common[request], self._session[request]
        if block != _NO_HEAD:
            self._reader_of[block] = session if self._reader_of.get(block, session) == session else _SEVERAL

    def are_several(self, request: int) -> bool:
        """Whether another session has read the request's head, which has been read."""
        block = self._last_common[request]
        return block != _NO_HEAD and self._reader_of[block] == _SEVERAL


def _last_common_blocks(trace: Trace) -> NDArray[np.int32]:
    """For each request the last block of its head that sessions with the same head have in common: in the one after it
    the conversation may begin. _NO_HEAD for a prompt without a head."""
    starts, ends = trace.offsets[:-1], trace.offsets[1:]
    others = np.append(np.flatnonzero(~_IS_OF_HEAD[trace.regions]), len(trace.blocks))
    lengths = np.minimum(others[np.searchsorted(others, starts)], ends) - starts
    found = np.full(len(trace), _NO_HEAD, dtype=np.int32)
    has_head = lengths > 0
    found[has_head] = trace.blocks[(starts + np.maximum(lengths - 2, 0))[has_head]]
    return found
