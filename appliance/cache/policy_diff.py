"""What one policy gives that another does not."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

from appliance.cache.policy import Policy
from appliance.cache.policy_text import editable_text
from appliance.cache.region import Region
from appliance.cache.rule_text import tiers_text, worth_text
from appliance.cache.session_context import SessionContext
from appliance.cache.session_state import SessionRole, SessionState


class Change(NamedTuple):
    """These regions of a session in this state and role get something else. `shared`: whether it is about text that
    several sessions open with; `None`: that makes no difference."""

    regions: tuple[Region, ...]
    state: SessionState
    role: SessionRole
    shared: bool | None
    before: str
    after: str


def text_diff(before: Policy, after: Policy) -> str:
    """Of their TOML, as a unified diff; empty where they say the same."""
    lines = difflib.unified_diff(_lines(before), _lines(after), before.name, after.name, lineterm="", n=2)
    return "\n".join(lines)


def _lines(policy: Policy) -> list[str]:
    """Without the comments that say where each rule stands."""
    return [line for line in editable_text(policy).splitlines() if not line.startswith("# ")]


def changes(before: Policy, after: Policy, keeps_thinking: bool | None) -> list[Change]:
    """Where no client, model or hint makes a difference; what stays the same is left out."""
    found: dict[tuple[SessionState, SessionRole, bool | None, str, str], list[Region]] = {}
    for state, role, region in product(SessionState, SessionRole, Region):
        for shared, was, is_now in _differences(before, after, region, state, role, keeps_thinking):
            found.setdefault((state, role, shared, was, is_now), []).append(region)
    return [Change(tuple(regions), *rest) for rest, regions in found.items()]


def _differences(
    before: Policy, after: Policy, region: Region, state: SessionState, role: SessionRole, keeps_thinking: bool | None
) -> Iterator[tuple[bool | None, str, str]]:
    pairs = []
    for shared in (False, True):
        context = SessionContext(state=state, role=role, keeps_thinking=keeps_thinking, shared=shared)
        pairs.append((_given(before, region, context), _given(after, region, context)))
    shares: tuple[bool | None, ...] = (None,) if pairs[0] == pairs[1] else (False, True)
    for share, (was, is_now) in zip(shares, pairs, strict=False):
        if was != is_now:
            yield share, was, is_now


def _given(policy: Policy, region: Region, context: SessionContext) -> str:
    rule = policy.match(region, context)
    if rule is None:
        return "the default"
    parts = [worth_text(rule.priority, rule.duration_seconds)]
    parts += [f"on {tiers_text(rule.tiers)}"] if tiers_text(rule.tiers) != "all" else []
    parts += ["caps what is behind"] if rule.caps_rest else []
    return ", ".join(parts)
