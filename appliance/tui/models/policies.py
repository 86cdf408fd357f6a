"""The active policy, rule by rule, and those before it with what became of them."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from appliance.api.policy_views import PolicyDiff, PolicyProblem
from appliance.tui import figures
from appliance.tui.frame import Frame


class RuleLine(Struct, frozen=True):
    """`when` and `worth` in words; `line` is where the rule stands in its file, `None` where it is unknown."""

    key: str
    rule: str
    when: str
    priority: int
    worth: str
    tiers: str
    caps_rest: bool


class ActivePolicy(Struct, frozen=True):
    name: str
    description: str
    order: str
    version: int
    toml: str
    rules: list[RuleLine]


def active_policy(frame: Frame) -> ActivePolicy | None:
    """`None` where it is not known."""
    body = frame.policy
    if body is None:
        return None
    rules = [_rule(place, facts) for place, facts in enumerate(body.rules)]
    return ActivePolicy(body.name, body.description, body.order, body.version, body.toml, rules)


def _rule(place: int, facts: dict[str, Any]) -> RuleLine:
    duration, tiers = facts.get("duration_seconds"), facts.get("tiers") or []
    priority = facts.get("priority", 0)
    worth = str(priority) if duration is None else f"{priority} for {figures.seconds(duration)}"
    when = ", ".join(f"{key} {_words(value)}" for key, value in facts.get("when", {}).items()) or "anything"
    return RuleLine(
        key=str(place),
        rule=str(facts.get("rule")),
        when=when,
        priority=priority,
        worth=worth,
        tiers="all" if len(tiers) >= 4 else ", ".join(tiers) or "none",
        caps_rest=bool(facts.get("caps_rest")),
    )


def _words(value: Any) -> str:
    if isinstance(value, list):
        return " or ".join(map(str, value))
    if isinstance(value, dict):
        return " and ".join(f"{name} {_words(each)}" for name, each in value.items())
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def problem_text(problem: PolicyProblem) -> str:
    """Its place is said first, where it is known."""
    where = "" if problem.line is None else f"line {problem.line}: "
    reason = problem.message
    if problem.line is not None:
        # The message begins with file and line; the file is the one that is being edited.
        reason = reason.partition(f":{problem.line}: ")[2] or reason
    return where + reason


def diff_lines(diff: PolicyDiff) -> list[str]:
    """What each region of a session gets, before and after; at the end the changed lines of text."""
    changes = [
        f"{', '.join(one.regions)} of a session that is {one.state}, {one.role}: {one.before} → {one.after}"
        for one in diff.changes
    ]
    text = [line for line in diff.text.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    if not changes and not text:
        return [f"says the same as {diff.active}, which is active"]
    return [*(changes or ["gives every region what it gets now"]), *text]
