"""Which policy a box starts with: what its settings say, or what was applied since they said so."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from appliance.cache.errors import InvalidPolicy
from appliance.cache.policy import Policy
from appliance.cache.policy_source import load_policy, parse_policy, shipped_policies
from appliance.cache.policy_text import policy_text
from appliance.policy_book import PolicyVersion, Read
from appliance.records import PolicyRecord

SETTINGS: Final = "settings"
"""The author of what `cache.policy` says."""
MOST_READ: Final = 64


class StartPolicy(NamedTuple):
    """`record` is to be kept where this is a version that was not active before; `word` is for the operator."""

    policy: Policy
    record: PolicyRecord | None
    word: str | None


def start_policy(setting: str, history: Sequence[PolicyRecord], now: float) -> StartPolicy:
    """By `cache.policy` and what was active until now, the newest first. Raises `InvalidPolicy`.

    What was applied to the running box goes on until `cache.policy` is changed.
    """
    own = load_policy(setting)
    record = PolicyRecord(now, own.name, policy_text(own), SETTINGS, setting)
    said = next((one for one in history if one.author == SETTINGS), None)
    if not history or said is None or said.note != setting:
        return StartPolicy(own, record, None)
    last = history[0]
    if last.author == SETTINGS:
        return StartPolicy(own, None if last.text == record.text else record, None)
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(last.activated_at))
    applied = f"policy {last.name}, applied by {last.author} at {when}"
    try:
        policy = _again(last)
    except InvalidPolicy as error:
        return StartPolicy(own, record, f"{applied}, cannot be read any more and gives way to {setting}: {error}")
    return StartPolicy(policy, None, f"{applied}, stays active; `dynamo-box policy apply {setting}` goes back")


def earlier_versions(history: Sequence[PolicyRecord]) -> list[PolicyVersion]:
    """The newest `MOST_READ` of them that can be read, the oldest first. Reading one takes a millisecond."""
    versions: list[PolicyVersion] = []
    for record in reversed(history[:MOST_READ]):
        with suppress(InvalidPolicy):
            number = len(versions) + 1
            policy, at = _again(record), record.activated_at
            versions.append(PolicyVersion(number, policy, record.author, record.note, at, Read(0, 0)))
    return versions


def _again(record: PolicyRecord) -> Policy:
    """A shipped one that is still the same keeps the places of its rules."""
    if record.name in shipped_policies():
        shipped = load_policy(record.name)
        if policy_text(shipped) == record.text:
            return shipped
    return parse_policy(record.name, record.text)
