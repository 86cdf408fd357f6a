"""Retention policies, as the operator API takes and shows them. `null` means unknown, or not said."""

from __future__ import annotations

import re
from typing import Any, Final

from msgspec import Struct

MAX_TEXT: Final = 1 << 18
MAX_NOTE: Final = 2000
MAX_NAME: Final = 200

PLACE: Final = re.compile(r"(?P<file>[^\n]+?):(?P<line>\d+): (?:(?P<key>[a-z_]+(?:\.[a-z_]+)*)(?: = |: ))?")


class PolicyBody(Struct, frozen=True):
    """The policy that is active, or was at the time that was asked for. `order` says who goes first of what is worth
    the same. `version` counts from 1."""

    name: str
    description: str
    order: str
    rules: list[dict[str, Any]]
    version: int
    toml: str


class PolicyText(Struct, frozen=True):
    """A policy: `policy` is the name of a shipped one or the absolute path of a file on the box's machine; or `text` is
    its TOML, called `name`, which may include shipped ones."""

    policy: str | None = None
    text: str | None = None
    name: str | None = None


class PolicyChange(Struct, frozen=True):
    """As `PolicyText`; who makes it the active one, and why."""

    policy: str | None = None
    text: str | None = None
    name: str | None = None
    author: str | None = None
    note: str | None = None


class PolicyProblem(Struct, frozen=True):
    """One wrong thing, with all that is known of its place."""

    message: str
    file: str | None
    line: int | None
    key: str | None


class RuleFieldView(Struct, frozen=True):
    """A key of a rule. `kind` is choices, flag, text, ranges, priority or duration; `choices` are all values there are,
    or the keys of its ranges. `is_condition`: it says when the rule matches, and not what it gives."""

    key: str
    kind: str
    help: str
    is_condition: bool
    choices: list[str]


class RuleFields(Struct, frozen=True):
    """In the order in which they are written."""

    fields: list[RuleFieldView]


class PolicyCheck(Struct, frozen=True):
    """`rules` counts them; `null` for a policy that is wrong."""

    valid: bool
    problems: list[PolicyProblem]
    rules: int | None


class WorthChange(Struct, frozen=True):
    """What these regions of such a session get, before and after, where no client, model or hint makes a difference.
    `shared`: text that other sessions open with too; `null`: all the same."""

    regions: list[str]
    state: str
    role: str
    shared: bool | None
    before: str
    after: str


class PolicyDiff(Struct, frozen=True):
    """Against the active policy: `text` is a unified diff of their TOML, empty where they say the same."""

    active: str
    name: str
    text: str
    changes: list[WorthChange]


class PolicyPrediction(Struct, frozen=True):
    """What a replay of the live record said before: hit rates 0 … 1 of this policy and of the one then active."""

    hit_rate: float
    active_hit_rate: float
    of_seconds: float


class PolicyVersionView(Struct, frozen=True):
    """One that was active. `rolls_back_to` is the version that it repeats. What it realised so far: prompt tokens while
    it was active, those of them read from a cache, and their share; `null` before the first token."""

    version: int
    name: str
    author: str
    note: str | None
    activated_at: float
    active: bool
    rolls_back_to: int | None
    predicted: PolicyPrediction | None
    prompt_tokens: int
    cached_tokens: int
    hit_rate: float | None
    toml: str


class PolicyHistory(Struct, frozen=True):
    """The newest comes first."""

    versions: list[PolicyVersionView]


class PolicyRollback(Struct, frozen=True):
    """Without `version` the newest that says something else than the active one."""

    version: int | None = None
    author: str | None = None
    note: str | None = None


def problems_of(message: str) -> list[PolicyProblem]:
    """From the lines of an `InvalidPolicy`."""
    found = []
    for line in message.split("\n"):
        place = PLACE.match(line)
        if place is None:
            found.append(PolicyProblem(line, None, None, None))
        else:
            found.append(PolicyProblem(line, place["file"], int(place["line"]), place["key"]))
    return found
