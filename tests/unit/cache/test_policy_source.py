from __future__ import annotations

from pathlib import Path

import pytest

from appliance.cache.errors import InvalidPolicy
from appliance.cache.eviction_facts import Order
from appliance.cache.policy import Policy
from appliance.cache.policy_source import SHIPPED_FOLDER, load_policy, shipped_policies
from appliance.cache.region import Region
from appliance.cache.rule import Bounds, Condition, Rule
from appliance.cache.session_state import SessionRole, SessionState
from appliance.cache.tier import ALL_TIERS, Tier

DURATION = "must be a duration such as 500ms, 30s, 10min or 1h"
UNKNOWN = "no policy of this name"
NEVER = "a rule that is never reached: "
LEAVE_OUT = "match all that it could; move it above line 1, or leave it out"


def write(folder: Path, text: str, name: str = "mine.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def load(folder: Path, text: str) -> Policy:
    return load_policy(str(write(folder, text)))


def problems(folder: Path, text: str) -> list[str]:
    """What is wrong with a policy, a sentence each, without the folder."""
    with pytest.raises(InvalidPolicy) as refused:
        load(folder, text)
    return [line.replace(f"{folder}/", "") for line in refused.value.message.split("\n")]


def test_a_rule_says_all_that_a_rule_can_say(tmp_path: Path) -> None:
    policy = load(
        tmp_path,
        """description = "mine"
[[rule]]
region = ["system", "tools"]
state = "idle"
role = ["lead"]
client = "claude*"
model = "q?"
keeps_thinking = true
hints.priority = { min = 1, max = 5 }
hints.output_tokens.max = 9
priority = 90
duration = "1.5min"
tiers = ["host", "gpu"]
caps_rest = true
""",
    )
    assert (policy.name, policy.description) == ("mine", "mine")
    assert policy.rules == (
        Rule(
            Condition(
                frozenset({Region.SYSTEM, Region.TOOLS}),
                frozenset({SessionState.IDLE}),
                frozenset({SessionRole.LEAD}),
                keeps_thinking=True,
                client="claude*",
                model="q?",
                hints=(("priority", Bounds(1, 5)), ("output_tokens", Bounds(high=9))),
            ),
            90,
            90.0,
            Tier.GPU | Tier.HOST,
            caps_rest=True,
            file=tmp_path / "mine.toml",
            line=2,
        ),
    )


def test_a_rule_without_conditions_matches_anything_in_all_tiers_without_end(tmp_path: Path) -> None:
    (rule,) = load(tmp_path, "[[rule]]\npriority = 0").rules
    assert (rule.condition, rule.duration_seconds, rule.tiers, rule.caps_rest) == (Condition(), None, ALL_TIERS, False)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('region = "sytem"', 'region = "sytem": unknown region; did you mean system?'),
        (
            'region = ["user",\n "toolz"]',
            'region = "toolz": unknown region; did you mean tools?',
        ),
        ('region = ["user", "user"]', 'region = "user": named twice; name user once'),
        ('role = "xyz"', 'role = "xyz": unknown role; there are lead, subagent'),
        ("region = 3", "region = 3: must be a text or a list of texts"),
        ("region = []", "region = []: must be a text or a list of texts"),
        ('state = "idel"', 'state = "idel": unknown state; did you mean idle?'),
        ('role = "leader"', 'role = "leader": unknown role; did you mean lead?'),
        ('tiers = "gpus"', 'tiers = "gpus": unknown tiers; did you mean gpu?'),
        ('keeps_thinking = "yes"', 'keeps_thinking = "yes": must be true or false'),
        ("caps_rest = 1", "caps_rest = 1: must be true or false"),
        ('client = ""', 'client = "": must be text between quotes'),
        ("model = 3", "model = 3: must be text between quotes"),
        ('regoin = "user"', "regoin: unknown key of a rule; did you mean region?"),
        ('duration = "5mins"', f'duration = "5mins": {DURATION}; did you mean 5min?'),
        ('duration = "30 seconds"', f'duration = "30 seconds": {DURATION}; did you mean 30s?'),
        ('duration = "-30s"', f'duration = "-30s": {DURATION}; did you mean 0s?'),
        ("duration = -1", f"duration = -1: {DURATION}; did you mean 0s?"),
        ('duration = "2d"', f'duration = "2d": {DURATION}; did you mean 48h?'),
        ('duration = "soon"', f'duration = "soon": {DURATION}'),
        ("duration = true", f"duration = true: {DURATION}"),
        ("duration = [1]", f"duration = [1]: {DURATION}"),
        ("hints = 3", "hints = 3: must be a table such as { priority = { min = 1 } }"),
        ("hints.prio = { min = 1 }", "prio: unknown key of hints; did you mean priority?"),
        ("hints.priority = 3", "priority = 3: must be a range such as { min = 1 }, { max = 5 } or both"),
        ("hints.priority = {}", "priority = {}: must be a range such as { min = 1 }, { max = 5 } or both"),
        ("hints.priority = { mim = 1 }", "mim: unknown key of the range priority; did you mean min?"),
        ("hints.priority = { min = 1.5 }", "min = 1.5: must be a whole number"),
        ("hints.priority = { min = 5, max = 1 }", "max = 1: the range priority is reversed; the nearest is max = 5"),
    ],
)  # fmt: skip
def test_what_a_rule_cannot_say_is_one_sentence_with_line_and_nearest(line: str, said: str, tmp_path: Path) -> None:
    number = 3 + line.count("\n")
    assert problems(tmp_path, f"[[rule]]\npriority = 50\n{line}\n") == [f"mine.toml:{number}: {said}"]


@pytest.mark.parametrize(
    ("priority", "said"),
    [
        ("101", "; the nearest is 100"),
        ("-5", "; the nearest is 0"),
        ("49.7", "; the nearest is 50"),
        ("inf", "; the nearest is 100"),
        ("nan", "; the nearest is 0"),
        ('"high"', ""),
        ("true", ""),
    ],
)
def test_a_priority_is_a_whole_number_from_0_to_100(priority: str, said: str, tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, f"[[rule]]\n\npriority = {priority}")
    assert problem.startswith("mine.toml:3: priority = ")
    assert problem.endswith(f": must be a whole number from 0 to 100{said}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "mine.toml:1: no rule; the least that a policy can say is [[rule]] with priority = 35"),
        ("\n[[rule]]\nregion = 'user'", "mine.toml:2: a rule without priority; the default is priority = 35"),
        ("[rule]\npriority = 35", "mine.toml:1: rule: must be written [[rule]], once for each"),
        ("rules = 3\n[[rule]]\npriority = 35", "mine.toml:1: rules: unknown key of a policy; did you mean rule?"),
        ("[[rule]]\npriority = ", "mine.toml:2: not valid TOML: Invalid value"),
    ],
)
def test_what_is_no_policy_is_refused(text: str, said: str, tmp_path: Path) -> None:
    assert said in problems(tmp_path, text)


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    text = "include = 'chatt'\n[[rule]]\npriority = 101\n[[rule]]\npriority = 35\nregion = 'usr'\n"
    assert [problem.partition(" ")[0] for problem in problems(tmp_path, text)] == [
        "mine.toml:3:", "mine.toml:6:", "mine.toml:1:",
    ]  # fmt: skip


ALL, USER = "[[rule]]\npriority = 35\n", "[[rule]]\nregion = 'user'\npriority = 50\n"
IDLE = "[[rule]]\nstate = 'idle'\npriority = 1\n"
REST = "[[rule]]\nstate = ['running', 'tool_wait', 'finished']\npriority = 2\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ALL + USER, f"mine.toml:3: {NEVER}the rule at line 1 matches {LEAVE_OUT.removeprefix('match ')}"),
        (IDLE + REST + USER, f"mine.toml:7: {NEVER}the rules at lines 1, 4 {LEAVE_OUT}"),
        (
            f"include = ['lru']\n{ALL}",
            'mine.toml:1: include = "lru": adds nothing, the rules before it match all that it could; leave it out',
        ),
    ],
)
def test_a_rule_that_is_never_reached_is_refused(text: str, said: str, tmp_path: Path) -> None:
    assert problems(tmp_path, text) == [said]


def test_a_policy_overrides_rules_of_what_it_includes(tmp_path: Path) -> None:
    policy = load(tmp_path, "include = 'coding-agent'\n[[rule]]\nregion = 'output'\npriority = 35\n")
    assert policy.rules[0].label == "mine.toml:2"
    assert policy.rules[1:] == load_policy("coding-agent").rules


def test_paths_start_at_the_including_file_and_each_file_is_taken_once(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    write(tmp_path, "[[rule]]\nregion = 'user'\npriority = 3", "base.toml")
    write(tmp_path / "below", "include = '../base.toml'\n[[rule]]\nregion = 'image'\npriority = 2", "one.toml")
    write(tmp_path, "include = 'base.toml'\n[[rule]]\nregion = 'tools'\npriority = 4", "two.toml")
    policy = load(tmp_path, "include = ['below/one.toml', 'two.toml']\n[[rule]]\nregion = 'system'\npriority = 1")
    assert [rule.priority for rule in policy.rules] == [1, 2, 3, 4]


def test_a_policy_may_only_include(tmp_path: Path) -> None:
    assert load(tmp_path, "include = 'lru'").rules == load_policy("lru").rules


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("'mine.toml'", "mine.toml:1", '"mine.toml": a cycle: mine.toml includes mine.toml; leave this one out'),
        ("'xyz'", "mine.toml:1", f'"xyz": {UNKNOWN}; there are chat, coding-agent, lru, and paths that end in .toml'),
        ("'coding-agnt'", "mine.toml:1", f'"coding-agnt": {UNKNOWN}; did you mean coding-agent?'),
        ("['lru',\n'lur']", "mine.toml:2", f'"lur": {UNKNOWN}; did you mean lru?'),
        ("'gone.toml'", "mine.toml:1", '"gone.toml": gone.toml: no such file'),
        ("3", "mine.toml:1", "3: must be a text or a list of texts"),
    ],
)
def test_an_include_that_cannot_be_is_refused(text: str, line: str, said: str, tmp_path: Path) -> None:
    assert problems(tmp_path, f"include = {text}") == [f"{line}: include = {said}"]


def test_a_cycle_is_told_with_all_who_are_in_it(tmp_path: Path) -> None:
    write(tmp_path, "\ninclude = './mine.toml'", "there.toml")
    cycle = "mine.toml includes there.toml includes mine.toml"
    assert problems(tmp_path, "include = ['lru', 'there.toml']") == [
        f'there.toml:2: include = "./mine.toml": a cycle: {cycle}; leave this one out'
    ]


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(InvalidPolicy, match=r"^lur: no policy of this name; did you mean lru\?$"):
        load_policy("lur")


def test_a_path_in_the_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path, "[[rule]]\npriority = 1")
    assert load_policy("~/mine.toml").rules[0].priority == 1


def test_the_shipped_policies_are_in_the_package_and_shown_in_config() -> None:
    assert shipped_policies() == ("chat", "coding-agent", "lru")
    shown = Path(__file__).parents[3] / "config" / "policies"
    assert shown.resolve() == SHIPPED_FOLDER.resolve()


@pytest.mark.parametrize("name", shipped_policies())
def test_every_shipped_policy_is_valid_and_says_what_it_is_for(name: str) -> None:
    policy = load_policy(name)
    assert policy.name == name
    assert policy.description


def test_the_order_is_by_forecast_unless_the_file_itself_says_otherwise(tmp_path: Path) -> None:
    rule = "[[rule]]\npriority = 9"
    assert load(tmp_path, rule).order is Order.FORECAST
    assert load(tmp_path, f'order = "lru"\n{rule}').order is Order.LRU
    assert load(tmp_path, f'include = "lru"\n{rule}\nstate = "idle"').order is Order.FORECAST
    assert load_policy("lru").order is Order.LRU


def test_an_order_that_there_is_not_is_refused(tmp_path: Path) -> None:
    told = problems(tmp_path, 'order = "lur"\n[[rule]]\npriority = 9')
    assert told == ['mine.toml:1: order = "lur": unknown order; did you mean lru?']
