"""Many users at once, from sessions that were recorded one by one."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from appliance.cache.trace import Access, Trace, build_trace

GAP_CAP_SECONDS = 300.0


def interleave(
    sessions: Sequence[Sequence[Access]],
    block_tokens: int,
    *,
    slots: int,
    seed: int,
    gap_cap_seconds: float = GAP_CAP_SECONDS,
) -> Trace:
    """`slots` users at a time, each playing one session after another, in an order shuffled by `seed`.

    A request arrives as long after the previous response as it was recorded to, but no later than the cap. In the
    result a session's first request waits (`after`) for the last one of the user's previous session.
    """
    order = np.random.default_rng(seed).permutation(len(sessions)).tolist()
    free = [(0.0, slot) for slot in range(min(slots, len(order)))]
    accesses: list[Access] = []
    previous_session: dict[str, str] = {}
    last_of_slot: dict[int, str] = {}
    for number in order:
        start, slot = heapq.heappop(free)
        shifted = _shift(sessions[number], start, gap_cap_seconds)
        name = shifted[0].session
        if slot in last_of_slot:
            previous_session[name] = last_of_slot[slot]
        last_of_slot[slot] = name
        accesses += shifted
        heapq.heappush(free, (shifted[-1].end_seconds, slot))
    trace = build_trace(accesses, block_tokens)
    return replace(trace, after=_chain_sessions(trace, previous_session))


def _shift(session: Sequence[Access], start_seconds: float, gap_cap_seconds: float) -> list[Access]:
    shifted: list[Access] = []
    for access in session:
        arrival = start_seconds
        if shifted:
            gap = access.arrival_seconds - session[len(shifted) - 1].end_seconds
            arrival = shifted[-1].end_seconds + min(max(gap, 0.0), gap_cap_seconds)
        took = access.end_seconds - access.arrival_seconds
        shifted.append(replace(access, arrival_seconds=arrival, end_seconds=arrival + took))
    return shifted


def _chain_sessions(trace: Trace, previous_session: dict[str, str]) -> NDArray[np.int32]:
    last_request = {
        name: request for request, name in enumerate(trace.session_names[number] for number in trace.session)
    }
    after = trace.after.copy()
    for request in np.flatnonzero(after < 0):
        previous = previous_session.get(trace.session_names[trace.session[request]])
        if previous is not None:
            after[request] = last_request[previous]
    return after
