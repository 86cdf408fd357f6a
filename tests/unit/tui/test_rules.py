"""Rules of a policy as a form: each field from the schema that checks it, and each step an edit of the text."""

from __future__ import annotations

import dataclasses
import tomllib
from typing import Any

import msgspec
import pytest
from textual.widgets import Input, TextArea

from appliance.api.policy_views import PolicyCheck, RuleFields, RuleFieldView, problems_of
from appliance.cache.errors import InvalidPolicy
from appliance.cache.policy_schema import RULE_FIELDS
from appliance.cache.policy_source import read_policy
from appliance.tui.console import Console
from appliance.tui.errands import Errands
from appliance.tui.pages.rules import field_text, read
from appliance.tui.widgets.dialogs import Form
from appliance.tui.widgets.table import Table
from tests.unit.tui import example_box
from tests.unit.tui.screens import console, text

FIELDS = [RuleFieldView(one.key, one.kind, one.help, one.is_condition, [*map(str, one.choices)]) for one in RULE_FIELDS]
SIZE = (120, 50)


class CheckingBox(Errands):
    """Checks policies as the box does."""

    def __init__(self) -> None:
        self.checked: list[str] = []

    async def send(self, method: str, route: str, body: Any) -> bytes:
        if route == "/box/v1/policy/fields":
            return msgspec.json.encode(RuleFields(FIELDS))
        assert (method, route) == ("POST", "/box/v1/policy/validate")
        self.checked.append(body["text"])
        try:
            policy = read_policy(body["text"], body["name"])
        except InvalidPolicy as error:
            return msgspec.json.encode(PolicyCheck(False, problems_of(error.message), None))
        return msgspec.json.encode(PolicyCheck(True, [], len(policy.rules)))

    def close(self) -> None:
        pass


def draft(app: Console) -> str:
    return app.query_one(TextArea).text


def rules(app: Console) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tomllib.loads(draft(app))["rule"]
    return found


def shown(app: Console) -> list[tuple[Any, ...]]:
    return [row.values for row in next(iter(app.query(Table))).rows]


def where(key: str) -> int:
    return [field.key for field in FIELDS].index(key)


async def test_a_rule_is_changed_in_a_form_and_its_text_keeps_its_comments() -> None:
    async with console(SIZE, errands=CheckingBox()) as (app, pilot):
        before = tomllib.loads(example_box.TOML)["rule"]
        await pilot.press("6", "enter")
        await pilot.pause()
        assert isinstance(app.screen, Form)
        form = text(app)
        assert all(f"{field.key}: {field.help[:20]}" in form for field in FIELDS)
        lines = app.screen.query(Input)
        assert [one.value for one in lines] == [field_text(field, before[0].get(field.key)) for field in FIELDS]
        lines[where("priority")].value = "77"
        lines[where("duration")].value = "90s"
        await pilot.press("enter")
        await pilot.pause()
        assert len(app.screen_stack) == 1
        assert rules(app) == [before[0] | {"priority": 77, "duration": "90s"}, *before[1:]]
        assert [line for line in example_box.TOML.splitlines() if line.startswith("#")] == [
            line for line in draft(app).splitlines() if line.startswith("#")
        ]
        assert shown(app)[0][2] == "77 for 90s"
        assert "edited" in text(app)


async def test_what_is_wrong_is_said_at_its_field_and_can_be_mended() -> None:
    box = CheckingBox()
    async with console(SIZE, errands=box) as (app, pilot):
        await pilot.press("6", "enter")
        await pilot.pause()
        lines = app.screen.query(Input)
        lines[where("priority")].value = "400"
        lines[where("region")].value = "system, tool"
        lines[where("hints")].value = "many"
        await pilot.press("enter")
        await pilot.pause()
        assert "many: wants ranges such as { priority = { min = 1 } }" in text(app)
        assert box.checked == []
        app.screen.query(Input)[where("hints")].value = "{ priority = { min = 3 } }"
        await pilot.press("enter")
        await pilot.pause()
        said = [one.strip(" │") for one in text(app).splitlines()]
        assert "priority = 400: must be a whole number from 0 to 100; the nearest is 100" in said
        assert 'region = "tool": unknown region; did you mean tools?' in said
        assert said.index('region = "tool": unknown region; did you mean tools?') < said.index("system, tool") + 2
        assert draft(app) == example_box.TOML
        app.screen.query(Input)[where("priority")].value = "40"
        app.screen.query(Input)[where("region")].value = "tools"
        await pilot.press("enter")
        await pilot.pause()
        assert rules(app)[0]["priority"] == 40
        assert rules(app)[0]["region"] == "tools"
        assert rules(app)[0]["hints"] == {"priority": {"min": 3}}


async def test_on_a_small_screen_the_field_that_is_wrong_is_seen_with_what_is_said_of_it() -> None:
    async with console((120, 24), errands=CheckingBox()) as (app, pilot):
        await pilot.press("6", "enter")
        await pilot.pause()
        app.screen.query(Input)[where("priority")].value = "400"
        await pilot.press("enter")
        await pilot.pause()
        assert "priority = 400: must be a whole number" in text(app)


async def test_rules_are_added_moved_and_removed_and_the_cursor_goes_with_them() -> None:
    async with console(SIZE, errands=CheckingBox()) as (app, pilot):
        first, *rest = tomllib.loads(example_box.TOML)["rule"]
        await pilot.press("6", "n")
        await pilot.pause()
        lines = app.screen.query(Input)
        assert {one.value for one in lines} == {""}
        await pilot.press("enter")
        await pilot.pause()
        assert "a rule without priority" in text(app)
        app.screen.query(Input)[where("priority")].value = "5"
        app.screen.query(Input)[where("region")].value = "image"
        await pilot.press("enter")
        await pilot.pause()
        new = {"region": "image", "priority": 5}
        assert rules(app) == [first, new, *rest]
        await pilot.press("K")
        await pilot.pause()
        assert rules(app) == [new, first, *rest]
        await pilot.press("J", "K", "D")
        await pilot.pause()
        assert rules(app) == [first, *rest]
        await pilot.press("z")
        await pilot.pause()
        assert draft(app) == example_box.TOML
        assert shown(app)[0][0] == "coding-agent.toml:8"


async def test_why_a_rule_cannot_be_changed_is_said() -> None:
    policy = example_box.policy()
    policy.rules[0]["rule"] = "elsewhere.toml:3"
    frame = dataclasses.replace(example_box.frame(), policy=policy)
    async with console(SIZE, errands=CheckingBox(), frame=frame) as (app, pilot):
        await pilot.press("6", "enter")
        await pilot.pause()
        await pilot.press("i", "[", "escape", "D")
        await pilot.pause()
        told = [one.message for one in app._notifications]
        assert told[0] == "elsewhere.toml:3 stands not in the text: the rules before it leave it nothing"
        assert told[1].startswith("rules cannot be changed one by one: text:")
        assert len(shown(app)) == 3
    async with console(SIZE, errands=CheckingBox(), is_read_only=True) as (app, pilot):
        await pilot.press("6", "D", "J", "n", "enter")
        await pilot.pause()
        assert {one.message for one in app._notifications} == {"this console only looks"}
        assert draft(app) == example_box.TOML


@pytest.mark.parametrize(
    ("key", "said", "value"),
    [
        ("region", "system, tools", ["system", "tools"]),
        ("region", "system", "system"),
        ("shared", "yes", True),
        ("shared", "perhaps", "perhaps"),
        ("priority", "35", 35),
        ("priority", "high", "high"),
        ("duration", "5min", "5min"),
        ("hints", "{ priority = { min = 1 } }", {"priority": {"min": 1}}),
        ("client", " ", None),
    ],
)
def test_fields_are_read_as_people_write_them(key: str, said: str, value: Any) -> None:
    texts = [said if field.key == key else "" for field in FIELDS]
    values, errors = read(FIELDS, texts)
    assert (values[key], errors) == (value, {})
