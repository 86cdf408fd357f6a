"""Rules of a policy as a form, added, removed and moved: each step is an edit of the text beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from textual import work
from textual.binding import Binding

from appliance.api.policy_views import PolicyCheck, RuleFields, RuleFieldView
from appliance.toml_document import TomlError
from appliance.tui.line import clean
from appliance.tui.models.draft import DraftRule, draft_rules, from_toml, label_of, moved, toml, with_rule, without_rule
from appliance.tui.models.draft import written as with_changes
from appliance.tui.models.policies import problem_reason
from appliance.tui.pages.steering import SteeringPage
from appliance.tui.widgets.dialogs import Form
from appliance.tui.widgets.table import Table

FLAGS = {"yes": True, "true": True, "no": False, "false": False}


class RulesPage(SteeringPage):
    """The page has the text, and takes an edited one."""

    BINDINGS: ClassVar[list[Any]] = [
        Binding("n", "add_rule", "a new rule below", id="policy.add"),
        Binding("D", "remove_rule", "remove the rule", id="policy.remove"),
        Binding("J", "move_rule(1)", "the rule further down", id="policy.down"),
        Binding("K", "move_rule(-1)", "the rule further up", id="policy.up"),
    ]

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 – textual calls it so
        super().__init__(id=id)
        self._fields: RuleFields | None = None
        """Of the box: what a rule may say."""

    @property
    def text(self) -> str:
        raise NotImplementedError

    @property
    def is_edited(self) -> bool:
        raise NotImplementedError

    def edit(self, text: str) -> None:
        """This is the edited text from now on, whose rules are shown."""
        raise NotImplementedError

    def asked(self, text: str) -> dict[str, Any]:
        """How the box is asked about a text."""
        raise NotImplementedError

    def on_table_opened(self) -> None:
        self._fill_in(is_new=False)

    def action_add_rule(self) -> None:
        self._fill_in(is_new=True)

    def action_remove_rule(self) -> None:
        self._step(without_rule)

    def action_move_rule(self, steps: int) -> None:
        self._step(lambda text, place: moved(text, place, steps), steps)

    def _step(self, step: Callable[[str, int], str], by: int = 0) -> None:
        rules = self._rules()
        place = self._place(rules)
        if rules and place is not None and self.may_change():
            self.edit(step(self.text, place))
            self._go_to(place + by)

    def _go_to(self, place: int) -> None:
        table = self.query_one(Table)
        found = next((number for number, row in enumerate(table.rows) if row.key == str(place)), None)
        if found is not None:
            table.move_to(found)

    def _rules(self) -> list[DraftRule] | None:
        """`None` after it was said why there are none."""
        try:
            return draft_rules(self.text)
        except (ValueError, TomlError) as error:
            self._warn(f"rules cannot be changed one by one: {error}")
            return None

    def _warn(self, words: str) -> None:
        self.notify(words, severity="warning", markup=False)

    def _place(self, rules: list[DraftRule] | None) -> int | None:
        """Where the rule under the cursor stands in the text; `None` for none, and after it was said why."""
        row = self.query_one(Table).row
        if row is None or rules is None:
            return None
        if self.is_edited:
            return int(row.key)
        label = str(row.values[0])
        place = next((number for number, rule in enumerate(rules) if label_of(self.text, rule) == label), None)
        if place is None:
            self._warn(f"{label} stands not in the text: the rules before it leave it nothing")
        return place

    @work(exclusive=True)
    async def _fill_in(self, *, is_new: bool) -> None:
        rules = self._rules()
        place = self._place(rules)
        if rules is None or (place is None and (not is_new or rules)) or not self.may_change():
            return
        self._fields = self._fields or await self.ask("GET", "/box/v1/policy/fields", None, RuleFields)
        if self._fields is None:
            return
        before = {} if is_new or place is None else rules[place].values
        question = "a new rule" if is_new or place is None else clean(label_of(self.text, rules[place]) or "a rule")
        text = await self._filled(question, self._fields.fields, before, None if is_new else place, place)
        if text is not None:
            self.edit(text)
            self._go_to((0 if place is None else place) + (is_new and place is not None))

    async def _filled(
        self, question: str, fields: list[RuleFieldView], before: dict[str, Any], place: int | None, behind: int | None
    ) -> str | None:
        """The text with the rule as it was filled in: the one at `place`, else a new one. What is wrong with it is said
        at its field, as often as it takes; `None` when they give up."""
        texts: list[str] | None = [field_text(field, before.get(field.key)) for field in fields]
        errors: dict[str, str] = {}
        while texts is not None:
            lines = [(label(field), text, "") for field, text in zip(fields, texts, strict=True)]
            places = {number: errors[one.key] for number, one in enumerate(fields) if one.key in errors}
            texts = await self.app.push_screen_wait(Form(question, lines, errors.get(""), places))
            if texts is None:
                break
            values, errors = read(fields, texts)
            if errors:
                continue
            if place is None:
                text = with_rule(self.text, behind, {key: value for key, value in values.items() if value is not None})
                rule = draft_rules(text)[0 if behind is None else behind + 1]
            else:
                text = with_changes(self.text, place, changed(values, before))
                rule = draft_rules(text)[place]
            check = await self.ask("POST", "/box/v1/policy/validate", self.asked(text), PolicyCheck)
            if check is None:
                return None
            errors = errors_of(check, rule, [field.key for field in fields])
            if not errors:
                return text
        return None


def label(field: RuleFieldView) -> str:
    """With what it is for, and what there is."""
    return f"{field.key}: {field.help}" + (f" ({', '.join(field.choices)})" if field.choices else "")


def field_text(field: RuleFieldView, value: Any) -> str:
    """As people write it; ranges as TOML has them."""
    if value is None:
        return ""
    if field.kind == "choices" and isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else toml(value)


def read(fields: list[RuleFieldView], texts: list[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Each key's value, `None` where nothing is written, and what is no value at all; the box judges the others."""
    values: dict[str, Any] = {}
    errors = {}
    for field, text in zip(fields, map(str.strip, texts), strict=True):
        try:
            values[field.key] = _value(field.kind, text) if text else None
        except ValueError:
            errors[field.key] = f"{text}: wants ranges such as {{ {field.choices[0]} = {{ min = 1 }} }}"
    return values, errors


def changed(values: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Those that say something else: one choice may have been written with or without brackets."""
    return {key: value for key, value in values.items() if _alike(value) != _alike(before.get(key))}


def errors_of(check: PolicyCheck, rule: DraftRule, keys: list[str]) -> dict[str, str]:
    """What is wrong with this rule, by key; under an empty one what is about all of it."""
    found: dict[str, str] = {}
    for problem in check.problems:
        if problem.line is None or rule.has_line(problem.line):
            key = (problem.key or "").partition(".")[0]
            found.setdefault(key if key in keys else "", problem_reason(problem))
    return found


def _value(kind: str, text: str) -> Any:
    if kind == "choices":
        chosen = [one.strip() for one in text.split(",") if one.strip()]
        return chosen[0] if len(chosen) == 1 else chosen
    if kind == "flag":
        return FLAGS.get(text.lower(), text)
    if kind == "priority":
        return int(text) if text.lstrip("-").isdecimal() else text
    return from_toml(text) if kind == "ranges" else text


def _alike(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value
