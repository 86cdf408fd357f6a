"""The active policy, rule by rule, and those before it with what became of them."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from appliance.api.policy_views import PolicyDiff, PolicyProblem
from appliance.tui import figures
from appliance.tui.frame import Frame
from appliance.tui.models.draft import DraftRule, draft_rules, label_of

GIVEN: Final = ("priority", "duration", "tiers", "caps_rest")
"""What a rule gives; all else says when it matches."""


class RuleLine(Struct, frozen=True):
    """`when` and `worth` in words; `line` is where the rule stands in its file, `None` where it is unknown."""

    key: str
    rule: str
    when: str
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
    duration, tiers = facts.get("duration_seconds"), facts.get("tiers")
    priority = facts.get("priority", figures.UNKNOWN)
    lasts = duration if isinstance(duration, str) else figures.seconds(duration)
    worth = str(priority) if duration is None else f"{priority} for {lasts}"
    when = ", ".join(f"{key} {_words(value)}" for key, value in facts.get("when", {}).items()) or "anything"
    return RuleLine(
        key=str(place),
        rule=str(facts.get("rule")),
        when=when,
        worth=worth,
        tiers="all" if tiers is None or len(tiers) >= 4 else ", ".join(map(str, tiers)) or "none",
        caps_rest=bool(facts.get("caps_rest")),
    )


def draft_lines(text: str) -> list[RuleLine]:
    """The rules of an edited text, however wrong they are. Raises as `draft_rules`."""
    return [_rule(place, _draft_facts(text, rule)) for place, rule in enumerate(draft_rules(text))]


def _draft_facts(text: str, rule: DraftRule) -> dict[str, Any]:
    tiers = rule.values.get("tiers")
    return {
        "rule": label_of(text, rule) or f"line {rule.first + 1}",
        "when": {key: value for key, value in rule.values.items() if key not in GIVEN},
        "priority": rule.values.get("priority", figures.UNKNOWN),
        "duration_seconds": rule.values.get("duration"),
        "tiers": [tiers] if isinstance(tiers, str) else tiers,
        "caps_rest": rule.values.get("caps_rest"),
    }


def _words(value: Any) -> str:
    if isinstance(value, list):
        return " or ".join(map(str, value))
    if isinstance(value, dict):
        return " and ".join(f"{name} {_words(each)}" for name, each in value.items())
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def problem_text(problem: PolicyProblem) -> str:
    """Its place is said first, where it is known."""
    return ("" if problem.line is None else f"line {problem.line}: ") + problem_reason(problem)


def problem_reason(problem: PolicyProblem) -> str:
    """Without its place: the message begins with file and line, and the file is the one that is being edited."""
    reason = problem.message
    return reason if problem.line is None else reason.partition(f":{problem.line}: ")[2] or reason


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
