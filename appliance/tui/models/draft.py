"""Rules of a policy's text: found, changed, added, moved and removed there, with all that else stands in it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from appliance.toml_document import TomlDocument, parse_toml

HEADER: Final = "[[rule]]"
_NOWHERE: Final = Path("text")


class DraftRule(NamedTuple):
    """Lines counted from 0: comments that lead it from `start`, its header at `first`, and `end` behind its last one.
    `values` are its keys as the text has them."""

    start: int
    first: int
    end: int
    values: dict[str, Any]

    def has_line(self, number: int | None) -> bool:
        """Counted from 1."""
        return number is not None and self.start < number <= self.end


def draft_rules(text: str) -> list[DraftRule]:
    """In order. Raises `TomlError` for what is no TOML, `ValueError` where rules are written in another way."""
    document, lines = parse_toml(_NOWHERE, text), text.split("\n")
    rules = document.values.get("rule", [])
    headers = [document.lines["rule", place] - 1 for place in range(len(rules))]
    if any(not lines[header].lstrip().startswith("[[") for header in headers):
        raise ValueError(f"its rules are not written as {HEADER}")
    ends = [_end(document, place, header, headers, lines) for place, header in enumerate(headers)]
    floors = [0, *ends][: len(headers)]
    return [
        DraftRule(_start(lines, header, floor), header, end, values)
        for header, end, floor, values in zip(headers, ends, floors, rules, strict=True)
    ]


def label_of(text: str, rule: DraftRule) -> str | None:
    """What the comment directly above it says."""
    return None if rule.start == rule.first else text.split("\n")[rule.first - 1].lstrip("# ").rstrip()


def written(text: str, place: int, changes: Mapping[str, Any]) -> str:
    """With these keys of a rule changed, `None` takes one away; every other line stays as it is."""
    rule, lines = draft_rules(text)[place], text.split("\n")
    spans = _spans(text, place, rule)
    tables = {key: span for key, span in spans.items() if lines[span[0]].lstrip().startswith("[")}
    plain = {key: span for key, span in spans.items() if key not in tables}
    behind = max((end for _, end in plain.values()), default=rule.first + 1)
    added = [f"{key} = {toml(value)}" for key, value in changes.items() if value is not None and key not in plain]
    # From the last line on, so that the places of those before stay right: tables stand behind all other keys.
    for start, end in sorted((span for key, span in tables.items() if key in changes), reverse=True):
        del lines[start:end]
    lines[behind:behind] = added
    for key, (start, end) in sorted(plain.items(), key=lambda item: -item[1][0]):
        if key in changes:
            value = changes[key]
            comment = _comment(lines[end - 1]) if end == start + 1 else ""
            lines[start:end] = [] if value is None else [f"{key} = {toml(value)}{comment}"]
    return "\n".join(lines)


def with_rule(text: str, behind: int | None, values: Mapping[str, Any]) -> str:
    """With a new rule behind one, or at the end."""
    rules, lines = draft_rules(text), text.rstrip("\n").split("\n")
    at = len(lines) if behind is None or not rules else rules[behind].end
    lines[at:at] = ["", HEADER, *(f"{key} = {toml(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


def without_rule(text: str, place: int) -> str:
    """With the comment that leads it gone too."""
    rule, lines = draft_rules(text)[place], text.split("\n")
    end = rule.end + (rule.end < len(lines) and not lines[rule.end].strip())
    del lines[rule.start : end]
    return "\n".join(lines)


def moved(text: str, place: int, steps: int) -> str:
    """With a rule changed for the one so many places further; the same text where there is none."""
    rules, other = draft_rules(text), place + steps
    if not 0 <= other < len(rules):
        return text
    lines = text.split("\n")
    upper, lower = (rules[one] for one in sorted((place, other)))
    lines[upper.start : lower.end] = [
        *lines[lower.start : lower.end],
        *lines[upper.end : lower.start],
        *lines[upper.start : upper.end],
    ]
    return "\n".join(lines)


def toml(value: Any) -> str:
    """Its texts, numbers and lists are JSON's but for one character."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {toml(each)}" for key, each in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def from_toml(text: str) -> Any:
    """The value that a text says. Raises `ValueError`."""
    return tomllib.loads(f"value = {text}")["value"]


def _start(lines: list[str], header: int, floor: int) -> int:
    start = header
    while start > floor and lines[start - 1].lstrip().startswith("#"):
        start -= 1
    return start


def _end(document: TomlDocument, place: int, header: int, headers: list[int], lines: list[str]) -> int:
    """Before the comments and blanks that lead the next, and before a table that is not the rule's."""
    own = [line for path, line in document.lines.items() if path[:2] == ("rule", place)]
    behind = min((one for one in headers if one > header), default=len(lines))
    others = [line - 1 for path, line in document.lines.items() if path[:1] != ("rule",) and line - 1 > header]
    end = min([behind, *others])
    while end > max(own) and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#")):
        end -= 1
    return end


def _spans(text: str, place: int, rule: DraftRule) -> dict[str, tuple[int, int]]:
    """The lines of each key of a rule, without comments and blanks behind them."""
    document, lines = parse_toml(_NOWHERE, text), text.split("\n")
    firsts: dict[str, int] = {}
    for path, line in document.lines.items():
        if path[:2] == ("rule", place) and len(path) > 2:
            firsts[str(path[2])] = min(line - 1, firsts.get(str(path[2]), line))
    ordered = sorted(firsts.items(), key=lambda item: item[1])
    found = {}
    for (key, start), behind in zip(ordered, [*(first for _, first in ordered[1:]), rule.end], strict=True):
        end = behind
        while end > start + 1 and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#")):
            end -= 1
        found[key] = start, end
    return found


def _comment(line: str) -> str:
    """The one at its end, with the blanks before it."""
    quote = ""
    for place, character in enumerate(line):
        if quote:
            quote = "" if character == quote and (quote == "'" or line[place - 1] != "\\") else quote
        elif character in "\"'":
            quote = character
        elif character == "#":
            before = line[:place]
            return before[len(before.rstrip()) :] + line[place:]
    return ""
