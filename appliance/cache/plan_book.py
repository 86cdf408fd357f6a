"""The plans of one policy for prompts that differ only in how long their pieces are: made once, then looked up."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from appliance.cache.planner import make_plan
from appliance.cache.policy import Policy
from appliance.cache.region import Region
from appliance.cache.region_map import RegionMap, Span
from appliance.cache.session_context import SessionContext
from appliance.cache.simulation_kernels import Regions, find_runs
from appliance.cache.trace import REGIONS


class RunClaims(NamedTuple):
    """What each run of blocks gets, as the eviction core takes it; `ends` are the places behind the runs."""

    ends: NDArray[np.int64]
    priorities: NDArray[np.int64]
    durations_ms: NDArray[np.int64]


class PlanPage:
    """What the planner gives in one context, without marks; unknown regions count as `user`.

    `rules` is which rule of the policy decides for each region, -1 for none; the last is for unknown ones. Pages with
    the same rules give everything by the same ones.
    """

    def __init__(self, policy: Policy, context: SessionContext) -> None:
        self._policy = policy
        self._context = context
        places = {id(rule): place for place, rule in enumerate(policy.rules)}
        rules = [places.get(id(policy.match(region, context)), -1) for region in REGIONS]
        self.rules = (*rules, rules[REGIONS.index(Region.USER)])
        # For each region the first one with the same rule: a plan makes no difference between them.
        self._alike = np.array([self.rules.index(rule) for rule in self.rules], dtype=np.uint8)
        self._worths: dict[bytes, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}

    def claims(self, regions: Regions) -> RunClaims:
        """For a prompt of at least one block, of these regions."""
        codes, ends = np.empty(len(regions), np.uint8), np.empty(len(regions), np.int64)
        count = find_runs(self._alike, regions, codes, ends)
        key = codes[:count].tobytes()
        worths = self._worths.get(key)
        if worths is None:
            worths = self._worths[key] = self._plan(key)
        return RunClaims(ends[:count], *worths)

    def _plan(self, regions: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of pieces of one token each."""
        region_map = RegionMap(Span(place, place + 1, REGIONS[region]) for place, region in enumerate(regions))
        blocks = make_plan(region_map, self._policy, self._context).for_blocks(1)
        return blocks.priority.astype(np.int64), blocks.duration_ms
