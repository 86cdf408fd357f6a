"""One way to run a cache, as the simulator plays it: a policy, an order, and whether hints are believed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from appliance.cache.eviction_facts import Order
from appliance.cache.policy import Policy
from appliance.cache.policy_source import load_policy

LRU = "lru"
FORECAST = "forecast"


@dataclass(frozen=True, slots=True)
class Contender:
    """Without a policy nothing is claimed and the order decides alone. `uses_hints`: session ends and expected tool
    times that the trace holds are believed."""

    name: str
    policy: Policy | None = None
    is_forecast: bool = True
    uses_hints: bool = True


def read_contender(name: str, *, uses_hints: bool = True) -> Contender:
    """`lru` and `forecast` are the bare orders; anything else is a policy by name or file, in its own order. Raises
    `InvalidPolicy`."""
    if name in (LRU, FORECAST):
        return Contender(name, is_forecast=name == FORECAST, uses_hints=uses_hints)
    policy = load_policy(name)
    return Contender(Path(name).stem, policy, is_forecast=policy.order is Order.FORECAST, uses_hints=uses_hints)
