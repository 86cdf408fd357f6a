"""Traces of a few requests, for tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from appliance.cache.trace import REGIONS, Access, Trace, build_trace

BLOCK_TOKENS = 4


def access(
    session: str,
    arrival_seconds: float,
    keys: Sequence[int],
    *,
    took_seconds: float = 1.0,
    waits_for_tool: bool = True,
    is_final: bool = False,
    tool_wait_seconds: float | None = None,
    regions: Sequence[str] | None = None,
) -> Access:
    return Access(
        session=session,
        arrival_seconds=arrival_seconds,
        end_seconds=arrival_seconds + took_seconds,
        prompt_tokens=len(keys) * BLOCK_TOKENS,
        output_tokens=8,
        block_keys=np.array(keys, dtype=np.int64),
        waits_for_tool=waits_for_tool,
        is_final=is_final,
        tool_wait_seconds=tool_wait_seconds,
        regions=None if regions is None else np.array([REGIONS.index(name) for name in regions], dtype=np.uint8),
    )


def trace_of(*accesses: Access) -> Trace:
    return build_trace(accesses, BLOCK_TOKENS)


@st.composite
def traces(draw: st.DrawFn, *, most_requests: int = 12, share_head: bool = True) -> Trace:
    """Sessions whose prompts grow, are cut back and go on, perhaps with a head that all have in common."""
    head = draw(st.integers(0, 2)) if share_head else 0
    prompts: dict[int, list[int]] = {}
    accesses, now, fresh = [], 0.0, 1000
    for _ in range(draw(st.integers(1, most_requests))):
        session = draw(st.integers(0, 3))
        now += draw(st.floats(0.5, 90.0))
        prompt = prompts.get(session, list(range(head)))
        kept = draw(st.integers(min(head, len(prompt)), len(prompt)))
        grown = draw(st.integers(0 if kept else 1, 3))
        prompts[session] = prompt[:kept] + list(range(fresh, fresh + grown))
        fresh += grown
        accesses.append(
            access(f"s{session}", now, prompts[session], took_seconds=0.25, waits_for_tool=draw(st.booleans()))
        )
    return trace_of(*accesses)
