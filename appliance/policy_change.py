"""What claims of one policy's rules are worth under another, before anybody has planned anew."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

from appliance.cache.policy import Policy
from appliance.cache.region import Region
from appliance.cache.rule import Rule
from appliance.cache.session_context import SessionContext
from appliance.cache.session_state import SessionRole, SessionState
from appliance.engine.retention.worth import Worth
from appliance.engine.retention.worths import on_gpu


def worths_under(policy: Policy, before: Iterable[Policy], keeps_thinking: bool | None) -> dict[str, Worth]:
    """By rule label, for `RetentionClient.apply_policy`: the policy's own rules, and those of policies before it.

    An old rule may have decided for several regions and states; it becomes worth the most that any of these is now.
    Clients, models and hints are not looked at: what a rule for some client claimed is worth what the client's sessions
    get when they are planned anew, and the default until then.
    """
    worths: dict[str, Worth] = {}
    for region, state, role, shared in product(Region, SessionState, SessionRole, (True, False)):
        context = SessionContext(state=state, role=role, keeps_thinking=keeps_thinking, shared=shared)
        now = policy.match(region, context)
        for old in before:
            rule = old.match(region, context)
            if rule is not None and now is not None:
                worths[rule.label] = max(worths.get(rule.label, _on_gpu(now)), _on_gpu(now), key=_length)
    return worths | {rule.label: _on_gpu(rule) for rule in policy.rules}


def _on_gpu(rule: Rule) -> Worth:
    return on_gpu(rule.priority, rule.duration_seconds, rule.tiers)


def _length(worth: Worth) -> tuple[int, float]:
    """The higher priority, then the longer duration, is more; 0 is no end."""
    return worth.priority, worth.duration_ms or float("inf")
