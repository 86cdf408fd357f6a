"""What a request's plan gives each of its blocks on the GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil, inf
from typing import Any, Final

import numpy as np

from appliance.cache.layout import FOREVER, MAX_DURATION_MS
from appliance.cache.plan import RetentionPlan
from appliance.cache.plan_wire import ACTION_TYPE, ACTION_VERSION, Lead, decode_lead, decode_plan
from appliance.cache.tier import Tier
from appliance.engine.retention.arrays import Numbers
from appliance.engine.retention.worth import Worth

NOTHING: Final = 0
"""What a block is worth where its plan does not allow it."""


_GPU: Final = int(Tier.GPU)

NO_PLAN: Final[Numbers] = np.empty((4, 0), np.int64)


def gpu_plan(plan: RetentionPlan, number_of: Callable[[str], int]) -> Numbers:
    """A retention plan as far as it speaks of the GPU, a column for each of its directives: the token it starts with,
    priority, duration in ms, and the number that `number_of` gives the rule that decided."""
    rows = [
        (each.token_start, *on_gpu(each.priority, each.duration_seconds, each.tiers), number_of(each.rule))
        for each in plan.directives
    ]
    return np.ascontiguousarray(np.array(rows, np.int64).T)


def on_gpu(priority: int, duration_seconds: float | None, tiers: Tier) -> Worth:
    """What a rule or a directive gives a block there: nothing if it does not allow it there."""
    if not int(tiers) & _GPU:
        return Worth(NOTHING, FOREVER)
    return Worth(priority, milliseconds(duration_seconds))


def milliseconds(duration_seconds: float | None) -> int:
    """As the eviction core has them: at least 1, FOREVER without an end."""
    if duration_seconds is None or duration_seconds == inf:
        return FOREVER
    return min(max(ceil(duration_seconds * 1000), 1), MAX_DURATION_MS)


def retain_payload(kv_hints: Any) -> Mapping[str, Any] | None:
    """The payload of the first `kv.retain` action in a request's envelope, if it has one."""
    if kv_hints is None:
        return None
    for action in kv_hints.actions:
        if action.action_type == ACTION_TYPE and action.action_version == ACTION_VERSION:
            payload: Mapping[str, Any] = action.payload
            return payload
    return None


def read_plan(payload: Mapping[str, Any], number_of: Callable[[str], int]) -> Numbers:
    """As `gpu_plan`. Raises `InvalidRange` for a payload that is none."""
    return gpu_plan(decode_plan(payload), number_of)


def scope_of(payload: Mapping[str, Any] | None) -> str | None:
    """The session whose claims these are, if it is named."""
    scope = payload.get("scope") if payload else None
    return scope if isinstance(scope, str) and scope else None


def lead_of(kv_hints: Any) -> Lead | None:
    """The session that waits for this one, if it is named."""
    payload = retain_payload(kv_hints)
    return None if payload is None else decode_lead(payload)
