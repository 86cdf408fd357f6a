"""The active policy as the box tells it."""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class PolicyRule(Struct, frozen=True):
    """`rule` is where it stands: file and line. `when` has the conditions under the keys of a policy file."""

    rule: str
    when: dict[str, Any]
    priority: int
    duration_seconds: float | None
    tiers: list[str]
    caps_rest: bool


class ActivePolicy(Struct, frozen=True):
    name: str
    description: str
    order: str
    rules: list[PolicyRule]
