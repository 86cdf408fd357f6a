"""The retention policy for operators: looked at, checked, compared, changed, and changed back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.api.policy_views import (
    PolicyBody,
    PolicyChange,
    PolicyCheck,
    PolicyDiff,
    PolicyHistory,
    PolicyPrediction,
    PolicyRollback,
    PolicyText,
    PolicyVersionView,
    RuleFields,
    RuleFieldView,
    WorthChange,
    problems_of,
)
from appliance.api.problems import NothingOfThisName
from appliance.audit import Audit
from appliance.box_events import Event, PolicyChanged
from appliance.cache.errors import InvalidPolicy
from appliance.cache.policy import Policy
from appliance.cache.policy_diff import Change, changes, text_diff
from appliance.cache.policy_schema import RULE_FIELDS
from appliance.cache.policy_source import load_policy, read_policy
from appliance.cache.policy_text import editable_text, policy_text
from appliance.cache.rule_text import rule_facts
from appliance.errors import InvalidRequest
from appliance.policy_book import PolicyBook, PolicyVersion, Predicted
from appliance.records import ActionRecord, PolicyRecord

if TYPE_CHECKING:
    from appliance.caretaker import Caretaker

DEFAULT_NAME = "edited"


class PolicyDesk:
    """`api.box.PolicyDesk` over a caretaker. `predicted` tells what was predicted of a policy, if anything was."""

    def __init__(
        self,
        caretaker: Caretaker,
        book: PolicyBook,
        audit: Audit,
        emit: Callable[[Event], None],
        predicted: Callable[[Policy], Predicted | None] = lambda _policy: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._caretaker = caretaker
        self._book = book
        self._audit = audit
        self._emit = emit
        self._predicted = predicted
        self._clock = clock

    def active(self) -> PolicyBody:
        return _body(self._book.active)

    def active_at(self, at: float) -> PolicyBody:
        """Raises `NothingOfThisName` for a time before all that is remembered."""
        version = self._book.active_at(at)
        if version is None:
            raise NothingOfThisName(f"no policy is remembered of {at:.10g}", param="at", code="no_version")
        return _body(version)

    def fields(self) -> RuleFields:
        return RuleFields(
            [
                RuleFieldView(one.key, one.kind, one.help, one.is_condition, [str(choice) for choice in one.choices])
                for one in RULE_FIELDS
            ]
        )

    async def check(self, asked: PolicyText) -> PolicyCheck:
        """What is wrong with it, if anything. Raises `InvalidRequest` for what names no policy."""
        try:
            policy = await asyncio.to_thread(_read, asked)
        except InvalidPolicy as error:
            return PolicyCheck(False, problems_of(error.message), None)
        return PolicyCheck(True, [], len(policy.rules))

    async def read(self, asked: PolicyText) -> tuple[Policy, Policy]:
        """It, and the active one. Raises `InvalidRequest` for a policy that is wrong."""
        return await self._valid(asked), self._book.active.policy

    async def diff(self, asked: PolicyText) -> PolicyDiff:
        """Raises `InvalidRequest` for a policy that is wrong."""
        policy, active = await self._valid(asked), self._book.active.policy
        keeps_thinking = self._caretaker.retention.keeps_thinking
        text, found = await asyncio.to_thread(
            lambda: (text_diff(active, policy), changes(active, policy, keeps_thinking))
        )
        return PolicyDiff(active.name, policy.name, text, [*map(_change, found)])

    async def apply(self, change: PolicyChange) -> PolicyBody:
        """Make it the active one, also for what is in the cache. Raises `InvalidRequest` for a policy that is wrong."""
        policy = await self._valid(PolicyText(change.policy, change.text, change.name))
        await self._activate(policy, "policy apply", change.author, change.note)
        return self.active()

    def history(self, most: int, until: float | None = None) -> PolicyHistory:
        return PolicyHistory([self._view(version) for version in self._book.newest(most, until)])

    async def roll_back(self, asked: PolicyRollback) -> PolicyBody:
        """Raises `NothingOfThisName` where there is no such version."""
        version = self._book.before_active() if asked.version is None else self._book.get(asked.version)
        if version is None:
            known = [each.number for each in self._book.newest(1 << 20)]
            which = "earlier policy" if asked.version is None else f"version {asked.version}"
            raise NothingOfThisName(
                f"there is no {which} to go back to; remembered are {min(known)} to {max(known)}",
                param="version",
                code="no_version",
            )
        note = asked.note or f"back to version {version.number}"
        await self._activate(version.policy, "policy rollback", asked.author, note, rolls_back_to=version.number)
        return self.active()

    async def _valid(self, asked: PolicyText) -> Policy:
        try:
            return await asyncio.to_thread(_read, asked)
        except InvalidPolicy as error:
            raise InvalidRequest(error.message, param="policy", code="invalid_policy") from error

    async def _activate(
        self, policy: Policy, verb: str, author: str | None, note: str | None, *, rolls_back_to: int | None = None
    ) -> None:
        before, who = self._book.active, author or "operator"
        await self._caretaker.apply(policy)
        version = self._book.activate(policy, who, note, rolls_back_to=rolls_back_to, predicted=self._predicted(policy))
        text = policy_text(policy)
        self._emit(PolicyChanged(policy.name, version.number, who))
        self._audit.recorder.record(PolicyRecord(version.activated_at, policy.name, text, who, note))
        details = {"version": version.number, "note": note, "before": before.number}
        diff = await asyncio.to_thread(text_diff, before.policy, policy)
        self._audit.tell(ActionRecord(self._clock(), who, verb, policy.name, details, diff or "says the same"))

    def _view(self, version: PolicyVersion) -> PolicyVersionView:
        realised, predicted = self._book.realised(version), version.predicted
        return PolicyVersionView(
            version.number,
            version.policy.name,
            version.author,
            version.note,
            version.activated_at,
            version is self._book.active,
            version.rolls_back_to,
            None if predicted is None else PolicyPrediction(*predicted),
            realised.prompt_tokens,
            realised.cached_tokens,
            realised.cached_tokens / realised.prompt_tokens if realised.prompt_tokens else None,
            editable_text(version.policy),
        )


def _read(asked: PolicyText) -> Policy:
    """Raises `InvalidPolicy`, and `InvalidRequest` for what names none."""
    if asked.text is not None:
        return read_policy(asked.text, asked.name or DEFAULT_NAME)
    chosen = asked.policy or ""
    is_path = "/" in chosen or chosen.endswith(".toml")
    if is_path and not Path(chosen).is_absolute():
        raise InvalidRequest(f"policy = {chosen!r}: the path of a policy file must be absolute", param="policy")
    return load_policy(chosen)


def _change(found: Change) -> WorthChange:
    regions = [region.value for region in found.regions]
    return WorthChange(regions, found.state.value, found.role.value, found.shared, found.before, found.after)


def _body(version: PolicyVersion) -> PolicyBody:
    policy = version.policy
    rules = [rule_facts(rule) for rule in policy.rules]
    return PolicyBody(policy.name, policy.description, policy.order.value, rules, version.number, editable_text(policy))
