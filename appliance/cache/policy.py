"""A policy: rules in order, of which the first that matches decides."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.cache.eviction_facts import Order
from appliance.cache.region import Region
from appliance.cache.rule import Rule
from appliance.cache.session_context import SessionContext


@dataclass(frozen=True, slots=True)
class Policy:
    """`description` is one line, or empty. `order` says who goes first of what is worth the same."""

    name: str
    rules: tuple[Rule, ...]
    description: str = ""
    order: Order = Order.FORECAST

    def match(self, region: Region, context: SessionContext) -> Rule | None:
        """The rule for a region; `None`: none matches, and the region is worth the default."""
        return next((rule for rule in self.rules if rule.condition.matches(region, context)), None)
