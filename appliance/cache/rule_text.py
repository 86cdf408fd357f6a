"""What a rule says, for people and for programs."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from appliance.cache.rule import ANY_REGION, ANY_ROLE, ANY_STATE, Bounds, Condition, Rule
from appliance.cache.tier import ALL_TIERS, Tier, tier_names
from appliance.units import format_duration


def condition_facts(condition: Condition) -> dict[str, Any]:
    """What is asked for, under the keys of a policy file; what may be anything is left out."""
    choices = {
        "region": _chosen(condition.regions, ANY_REGION),
        "state": _chosen(condition.states, ANY_STATE),
        "role": _chosen(condition.roles, ANY_ROLE),
    }
    plain = {
        "keeps_thinking": condition.keeps_thinking,
        "shared": condition.shared,
        "client": condition.client,
        "model": condition.model,
        "hints": {name: _bounds_facts(bounds) for name, bounds in condition.hints} or None,
    }
    return {key: value for key, value in {**choices, **plain}.items() if value is not None}


def rule_facts(rule: Rule) -> dict[str, Any]:
    return {
        "rule": rule.label,
        "when": condition_facts(rule.condition),
        "priority": rule.priority,
        "duration_seconds": rule.duration_seconds,
        "tiers": tier_names(rule.tiers),
        "caps_rest": rule.caps_rest,
    }


def condition_text(condition: Condition) -> str:
    """`region system or tools, state idle`; `anything` without a condition."""
    return ", ".join(f"{key} {_text(value)}" for key, value in condition_facts(condition).items()) or "anything"


def worth_text(priority: int, duration_seconds: float | None) -> str:
    return str(priority) if duration_seconds is None else f"{priority} for {format_duration(duration_seconds)}"


def tiers_text(tiers: Tier) -> str:
    return "all" if tiers == ALL_TIERS else ", ".join(tier_names(tiers)) or "none"


def _chosen(chosen: frozenset[StrEnum], everything: frozenset[StrEnum]) -> list[str] | None:
    return None if chosen == everything else [str(each) for each in type(next(iter(everything))) if each in chosen]


def _bounds_facts(bounds: Bounds) -> dict[str, int]:
    return {key: value for key, value in zip(("min", "max"), bounds, strict=True) if value is not None}


def _text(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case list():
            return " or ".join(value)
        case dict():
            return " and ".join(f"{name} {_range_text(**bounds)}" for name, bounds in value.items())
    return str(value)


def _range_text(min: int | None = None, max: int | None = None) -> str:  # noqa: A002 - the keys of a policy file
    if min is None or max is None:
        return f"≥ {min}" if max is None else f"≤ {max}"
    return f"{min} to {max}"
