from __future__ import annotations

from appliance.cache.policy_diff import Change, changes, text_diff
from appliance.cache.policy_source import load_policy, read_policy
from appliance.cache.region import Region
from appliance.cache.session_state import SessionRole, SessionState

PLAIN = read_policy("[[rule]]\npriority = 35", "plain")


def test_a_policy_differs_in_nothing_from_itself() -> None:
    for name in ("coding-agent", "chat", "lru"):
        policy = load_policy(name)
        assert (text_diff(policy, policy), changes(policy, policy, keeps_thinking=None)) == ("", [])


def test_what_changes_is_told_by_state_and_role_with_all_regions_at_once() -> None:
    other = read_policy(
        '[[rule]]\nregion = ["user", "image"]\nstate = "idle"\nrole = "lead"\npriority = 50\nduration = "5min"\n'
        'tiers = ["gpu"]\ncaps_rest = true\n[[rule]]\npriority = 35',
        "other",
    )
    found = changes(PLAIN, other, keeps_thinking=None)
    regions = (Region.USER, Region.IMAGE)
    after = "50 for 5min, on gpu, caps what is behind"
    assert found == [Change(regions, SessionState.IDLE, SessionRole.LEAD, None, "35", after)]
    assert changes(other, PLAIN, keeps_thinking=None) == [found[0]._replace(before=after, after="35")]


def test_text_that_sessions_share_is_told_apart_where_it_makes_a_difference() -> None:
    other = read_policy('[[rule]]\nregion = "system"\nstate = "idle"\nrole = "lead"\nshared = true\npriority = 9', "o")
    # Where no rule matches it is worth the default, which PLAIN says too, in other words.
    found = [each for each in changes(PLAIN, other, keeps_thinking=None) if each.after == "9"]
    assert [(each.regions, each.shared) for each in found] == [((Region.SYSTEM,), True)]


def test_the_text_is_a_unified_diff() -> None:
    lines = text_diff(PLAIN, read_policy("[[rule]]\npriority = 36", "other")).splitlines()
    assert lines[:2] == ["--- plain", "+++ other"]
    assert lines[-2:] == ["-priority = 35", "+priority = 36"]
