"""The planner token by token, as `docs/design/retention.md` words it: slow, and without arrays."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.cache.plan import Directive
from appliance.cache.planner import HINT_SECONDS, MARK_PRIORITY, TOOL_SPREAD, MarkedPrefix
from appliance.cache.policy import Policy
from appliance.cache.region import Region
from appliance.cache.region_map import RegionMap
from appliance.cache.session_context import SessionContext
from appliance.cache.session_state import SessionState
from appliance.cache.tier import ALL_TIERS, NO_TIER, Tier
from appliance.conversation import RetentionDirective

Worth = tuple[float, float]
"""A priority, and the seconds for which it asks: 0 at and below the default."""

END = float("inf")


def worth(priority: float, seconds: float | None) -> Worth:
    return (priority, 0.0 if priority <= 35 else END if seconds is None else seconds)


def most(worths: Sequence[Worth]) -> Worth:
    return max((one[0] for one in worths), default=0.0), max((one[1] for one in worths), default=0.0)


def least(worths: Sequence[Worth]) -> Worth:
    return min((one[0] for one in worths), default=100.0), min((one[1] for one in worths), default=END)


def plan_of(
    regions: RegionMap,
    policy: Policy,
    context: SessionContext,
    pins: Sequence[RetentionDirective] = (),
    marks: Sequence[MarkedPrefix] = (),
) -> list[tuple[Worth, Tier]]:
    """What each token gets, and last what is generated gets."""
    tokens = regions.tokens
    of_tokens = [regions.at(token).region for token in range(tokens)] + [Region.OUTPUT]
    base, tiers = by_policy(of_tokens, policy, context)
    for mark in marks:
        for token in range(min(mark.tokens, tokens)):
            base[token] = most([base[token], worth(MARK_PRIORITY, mark.ttl_seconds)])
    settled: dict[int, Worth] = {}
    for wishes in (wished(pins, tokens), wished(context.hints.retention, tokens), dict(enumerate(base))):
        fresh = {token: wish for token, wish in wishes.items() if token not in settled}
        found = {}
        for token in fresh:
            wanted = most([wish for other, wish in fresh.items() if other >= token])
            floor = most([one for other, one in settled.items() if other > token])
            ceiling = least([one for other, one in settled.items() if other < token])
            found[token] = least([most([wanted, floor]), ceiling])
        settled |= found
    return [(settled[token], tiers[token]) for token in range(tokens + 1)]


def by_policy(of_tokens: Sequence[Region], policy: Policy, context: SessionContext) -> tuple[list[Worth], list[Tier]]:
    ceiling, allowed = (100.0, END), ALL_TIERS
    worths, tiers = [], []
    for region in of_tokens:
        rule = policy.match(region, context)
        one = worth(35, None) if rule is None else worth(rule.priority, rule.duration_seconds)
        if rule is not None and context.state is SessionState.TOOL_WAIT and len(rule.condition.states) == 1:
            one = waiting(one, context.hints.tool_wait_seconds)
        one = hinted(one, context.hints.priority)
        if rule is not None and rule.caps_rest:
            ceiling, allowed = least([ceiling, one]), allowed & rule.tiers
        worths.append(least([one, ceiling]))
        tiers.append((ALL_TIERS if rule is None else rule.tiers) & allowed)
    reached = []
    for token in range(len(tiers)):
        union = NO_TIER
        for behind in tiers[token:]:
            union |= behind
        reached.append(union)
    return [most(worths[token:]) for token in range(len(worths))], reached


def waiting(one: Worth, tool_wait_seconds: float | None) -> Worth:
    priority, seconds = one
    if tool_wait_seconds is None or priority <= 35:
        return one
    needed = TOOL_SPREAD * tool_wait_seconds
    return worth(priority, needed) if needed <= seconds else worth(35, None)


def hinted(one: Worth, hint: int) -> Worth:
    priority, seconds = one
    if hint == 0:
        return one
    moved = max(0, priority + hint) if hint < 0 else max(priority, min(priority + hint, MARK_PRIORITY))
    return worth(moved, seconds if priority > 35 else HINT_SECONDS)


def wished(directives: Sequence[RetentionDirective], tokens: int) -> dict[int, Worth]:
    found: dict[int, Worth] = {}
    for one in directives:
        end = tokens if one.token_end is None else min(one.token_end, tokens)
        for token in range(one.token_start, end):
            found.setdefault(token, worth(one.priority, one.duration_seconds))
    return found


def worth_of(directive: Directive) -> Worth:
    return worth(directive.priority, directive.duration_seconds)
