"""What a request's plan gives each of its blocks on the GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from appliance.cache.plan import BlockPlan, RetentionPlan
from appliance.cache.plan_wire import ACTION_TYPE, ACTION_VERSION, decode_plan
from appliance.cache.tier import Tier
from appliance.engine.retention.arrays import Numbers


class Worths(NamedTuple):
    """One element a block, as the eviction core takes them."""

    priorities: Numbers
    durations_ms: Numbers
    rules: Numbers


class GpuPlan:
    """A retention plan as far as it speaks of the GPU, worked out once for each of its directives."""

    def __init__(self, plan: RetentionPlan, number_of: Callable[[str], int]) -> None:
        """`number_of` gives the number of the rule that decided."""
        directives = plan.directives
        self._starts = np.array([each.token_start for each in directives], np.int64)
        in_gpu = _each_directive(plan).in_tier(Tier.GPU)
        self._worths = Worths(
            in_gpu.priority.astype(np.int64),
            in_gpu.duration_ms.astype(np.int64),
            np.array([number_of(each.rule) for each in directives], np.int64),
        )

    def worths(self, first_tokens: Numbers) -> Worths:
        """Of the blocks that start with these tokens."""
        chosen = np.searchsorted(self._starts, first_tokens, side="right") - 1
        return Worths(*(values[chosen] for values in self._worths))


def _each_directive(plan: RetentionPlan) -> BlockPlan:
    directives = plan.directives
    durations = [np.inf if each.duration_seconds is None else each.duration_seconds for each in directives]
    return BlockPlan(
        np.array([each.priority for each in directives], np.uint8),
        np.array(durations, np.float64),
        np.array([each.tiers.value for each in directives], np.uint8),
        np.arange(len(directives), dtype=np.int64),
    )


def retain_payload(kv_hints: Any) -> Mapping[str, Any] | None:
    """The payload of the first `kv.retain` action in a request's envelope, if it has one."""
    if kv_hints is None:
        return None
    for action in kv_hints.actions:
        if action.action_type == ACTION_TYPE and action.action_version == ACTION_VERSION:
            payload: Mapping[str, Any] = action.payload
            return payload
    return None


def read_plan(payload: Mapping[str, Any], number_of: Callable[[str], int]) -> GpuPlan:
    """Raises `InvalidRange` for a payload that is none."""
    return GpuPlan(decode_plan(payload), number_of)


def scope_of(payload: Mapping[str, Any] | None) -> str | None:
    """The session whose claims these are, if it is named."""
    scope = payload.get("scope") if payload else None
    return scope if isinstance(scope, str) and scope else None
