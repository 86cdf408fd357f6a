from __future__ import annotations

from pathlib import Path

from appliance.cache.layout import FOREVER
from appliance.cache.policy import Policy
from appliance.cache.policy_source import load_policy
from appliance.cache.rule import Rule
from appliance.engine.retention.worth import Worth
from appliance.policy_change import worths_under

CODING_AGENT, CHAT, LRU = map(load_policy, ("coding-agent", "chat", "lru"))


def load(folder: Path, text: str) -> Policy:
    path = folder / "mine.toml"
    path.write_text(text)
    return load_policy(str(path))


def _is_of_any(rule: Rule) -> bool:
    """Whether it needs no word of the template or of a client."""
    return rule.condition.keeps_thinking is None and not rule.condition.hints


def test_rules_of_a_policy_are_worth_what_they_say() -> None:
    worths = worths_under(CHAT, (), None)
    assert worths.keys() == {rule.label for rule in CHAT.rules}
    assert worths[CHAT.rules[0].label] == Worth(90, 300_000)


def test_old_rules_are_worth_what_their_regions_get_now() -> None:
    worths = worths_under(LRU, [CODING_AGENT, LRU], None)
    assert {worths[rule.label] for rule in CODING_AGENT.rules if _is_of_any(rule)} == {Worth(35, FOREVER)}


def test_an_old_rule_for_several_regions_becomes_worth_the_most_of_them() -> None:
    (everything,) = LRU.rules
    assert worths_under(CODING_AGENT, [LRU], None)[everything.label] == Worth(90, 300_000)


def test_an_end_is_less_than_none_and_what_may_not_be_on_the_gpu_is_worth_nothing(tmp_path: Path) -> None:
    (everything,) = LRU.rules
    user = '[[rule]]\nregion = "user"\npriority = 50'
    policy = load(tmp_path, f'{user}\n[[rule]]\npriority = 50\nduration = "1s"')
    assert worths_under(policy, [LRU], None)[everything.label] == Worth(50, FOREVER)
    policy = load(tmp_path, '[[rule]]\npriority = 50\ntiers = "host"')
    assert worths_under(policy, [LRU], None)[everything.label] == Worth(0, FOREVER)


def test_a_file_that_was_changed_is_worth_what_it_says_now(tmp_path: Path) -> None:
    before = load(tmp_path, "[[rule]]\npriority = 50")
    after = load(tmp_path, "[[rule]]\npriority = 20")
    assert worths_under(after, [before], None) == {"mine.toml:1": Worth(20, FOREVER)}
