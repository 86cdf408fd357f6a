"""The plans of one policy for prompts that differ only in how long their pieces are: made once, then looked up."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from appliance.cache.access_record import region_runs
from appliance.cache.planner import make_plan
from appliance.cache.policy import Policy
from appliance.cache.region import Region
from appliance.cache.region_map import RegionMap, Span
from appliance.cache.rule import Rule
from appliance.cache.session_context import SessionContext
from appliance.cache.trace import REGIONS


class BlockClaims(NamedTuple):
    """One element per block, as the eviction core takes them."""

    priorities: NDArray[np.int64]
    durations_ms: NDArray[np.int64]


class PlanBook:
    """What the planner gives blocks of these regions, without marks; unknown regions count as `user`."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._rules: dict[SessionContext, list[Rule | None]] = {}
        self._worths: dict[tuple[SessionContext, tuple[int, ...]], BlockClaims] = {}

    def differ(self, one: SessionContext, other: SessionContext) -> bool:
        """Whether any region gets something by another rule in one context than in the other."""
        return self._rules_by_region(one) != self._rules_by_region(other)

    def claims(self, regions: NDArray[np.uint8], context: SessionContext) -> BlockClaims:
        """For a prompt of at least one block."""
        rules = self._rules_by_region(context)
        # For each region the first one with the same rule: a plan makes no difference between them.
        alike = np.array([rules.index(rule) for rule in rules], dtype=np.uint8)
        runs = region_runs(alike[regions])
        key = (context, tuple(region for region, _ in runs))
        if key not in self._worths:
            self._worths[key] = self._plan(key[1], context)
        counts = [count for _, count in runs]
        return BlockClaims(*(np.repeat(values, counts) for values in self._worths[key]))

    def _rules_by_region(self, context: SessionContext) -> list[Rule | None]:
        """By region code; the last is that of unknown regions."""
        if context not in self._rules:
            rules = [self._policy.match(region, context) for region in REGIONS]
            self._rules[context] = [*rules, rules[REGIONS.index(Region.USER)]]
        return self._rules[context]

    def _plan(self, regions: tuple[int, ...], context: SessionContext) -> BlockClaims:
        """Pieces of one token each."""
        region_map = RegionMap(Span(place, place + 1, REGIONS[region]) for place, region in enumerate(regions))
        blocks = make_plan(region_map, self._policy, context).for_blocks(1)
        return BlockClaims(blocks.priority.astype(np.int64), blocks.duration_ms)
