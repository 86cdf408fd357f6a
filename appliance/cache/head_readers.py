"""Which heads of a trace several sessions have read."""

from __future__ import annotations

import numpy as np

from appliance.cache.region import Region
from appliance.cache.trace import REGIONS, UNKNOWN_REGION, Trace

_NOBODY, _SEVERAL = -1, -2

_IS_OF_HEAD = np.isin(np.arange(UNKNOWN_REGION + 1), [REGIONS.index(Region.SYSTEM), REGIONS.index(Region.TOOLS)])


class HeadReaders:
    """Requests are rows of the trace."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._reader_of = np.full(trace.block_count, _NOBODY, dtype=np.int32)

    def read(self, request: int) -> None:
        """The request's session has read its head."""
        block = self._last_common(request)
        if block is not None:
            session = self._trace.session[request]
            self._reader_of[block] = session if self._reader_of[block] in (_NOBODY, session) else _SEVERAL

    def are_several(self, request: int) -> bool:
        """Whether another session has read the request's head, which has been read."""
        block = self._last_common(request)
        return block is not None and bool(self._reader_of[block] == _SEVERAL)

    def _last_common(self, request: int) -> int | None:
        """The last block of the head that sessions with the same head have in common: in the one after it the
        conversation may begin. `None` for a prompt without a head."""
        start, stop = self._trace.offsets[request : request + 2]
        is_of_head = _IS_OF_HEAD[self._trace.regions[start:stop]]
        length = len(is_of_head) if is_of_head.all() else int(np.argmin(is_of_head))
        return int(self._trace.blocks[start + max(length - 2, 0)]) if length else None
