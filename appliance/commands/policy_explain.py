"""What a policy gives each region of a request. Without a tokenizer, sizes and places are in characters."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, NamedTuple

from appliance.cache.claims import DEFAULT_PRIORITY
from appliance.cache.outline import Part, outline
from appliance.cache.plan import Directive
from appliance.cache.planner import make_plan
from appliance.cache.policy import Policy
from appliance.cache.region import Region
from appliance.cache.region_map import Origin, RegionMap, Span
from appliance.cache.rule import Rule
from appliance.cache.rule_text import tiers_text, worth_text
from appliance.cache.session_context import SessionContext
from appliance.cache.session_state import SessionRole, SessionState
from appliance.cache.tier import tier_names
from appliance.commands.columns import columns
from appliance.commands.request_body import decode, guess_api
from appliance.conversation import Conversation

_YES_OR_NO = {"yes": True, "no": False, None: None}
OUTPUT = Part(Region.OUTPUT, Origin(), "")


class _Mark(NamedTuple):
    tokens: int
    ttl_seconds: float


class Line(NamedTuple):
    """One piece of the request, the rule that matched it, and what it gets in the end."""

    part: Part
    rule: Rule | None
    got: Directive

    @property
    def why(self) -> str:
        """Why it does not get what the rule says; empty when it does."""
        if self.got.rule in ("mark", "pin"):
            return f"a {self.got.rule}"
        said = DEFAULT_PRIORITY if self.rule is None else self.rule.priority
        if self.got.rule.endswith("+hint"):
            return "a hint"
        if self.got.priority == said:
            return ""
        return "what is behind needs it" if self.got.priority > said else "capped by what is before"

    def facts(self) -> dict[str, Any]:
        return {
            "region": str(self.part.region),
            **{key: value for key, value in self.part.origin._asdict().items() if value is not None},
            "characters": len(self.part.text),
            "rule": self.rule.label if self.rule else None,
            "priority": self.got.priority,
            "duration_seconds": self.got.duration_seconds,
            "tiers": tier_names(self.got.tiers),
            "why": self.why or None,
        }

    def row(self) -> tuple[str, ...]:
        return (
            str(self.part.region),
            _place(self.part),
            f"{len(self.part.text):,}" if self.part.text else "–",
            self.rule.label if self.rule else "default",
            worth_text(self.rule.priority, self.rule.duration_seconds) if self.rule else str(DEFAULT_PRIORITY),
            worth_text(self.got.priority, self.got.duration_seconds),
            tiers_text(self.got.tiers),
            self.why,
        )


@dataclass(frozen=True, slots=True)
class Explained:
    policy: Policy
    context: SessionContext
    num_directives: int
    entries: tuple[Line, ...]

    def facts(self) -> dict[str, Any]:
        return {
            "policy": self.policy.name,
            "state": str(self.context.state),
            "role": str(self.context.role),
            "directives_left_out": self.num_directives,
            "regions": [line.facts() for line in self.entries],
        }

    def lines(self) -> Iterator[str]:
        yield f"{self.policy.name}, a {self.context.role} that is {self.context.state}"
        head = ("region", "where", "characters", "rule", "says", "gets", "tiers", "because of")
        yield from columns([head, *(line.row() for line in self.entries)])
        if self.num_directives:
            yield f"left out: {self.num_directives} directives of the request, whose places are in tokens; they win"


def explain_request(body: Mapping[str, Any], policy: Policy, options: argparse.Namespace) -> Explained:
    """Raises `InvalidRequest` for a body that the box would refuse."""
    conversation = asyncio.run(decode(body, options.api or guess_api(body)))
    context = _context(conversation, options)
    parts = [*outline(conversation)]
    # A picture has no characters, and still a place.
    ends = [*accumulate(max(len(part.text), 1) for part in parts)]
    spans = [Span(end - max(len(part.text), 1), end, part.region) for part, end in zip(parts, ends, strict=True)]
    plan = make_plan(RegionMap(spans), policy, context, marks=_marks(parts, ends))
    places = [*(span.start for span in spans), plan.tokens]
    entries = (
        Line(part, policy.match(part.region, context), plan.at(place))
        for part, place in zip([*parts, OUTPUT], places, strict=True)
    )
    return Explained(policy, context, len(conversation.hints.retention), tuple(entries))


def _context(conversation: Conversation, options: argparse.Namespace) -> SessionContext:
    """Headers are not in a body: what they would say comes from the command line."""
    is_child = conversation.identity.parent_session_id is not None
    return SessionContext(
        state=SessionState(options.state),
        role=SessionRole(options.role or (SessionRole.SUBAGENT if is_child else SessionRole.LEAD)),
        client=options.client or conversation.identity.client,
        model=conversation.model,
        keeps_thinking=_YES_OR_NO[options.keeps_thinking],
        shared=_YES_OR_NO[options.shared],
        hints=replace(conversation.hints, retention=()),
    )


def _marks(parts: Sequence[Part], ends: Sequence[int]) -> list[_Mark]:
    marked = zip(parts, ends, strict=True)
    return [_Mark(end, part.mark.ttl_seconds) for part, end in marked if part.mark is not None]


def _place(part: Part) -> str:
    match part.origin:
        case Origin(tool=int() as tool):
            return f"tool {tool}"
        case Origin(message=int() as message, block=int() as block):
            return f"message {message} block {block}"
    return "answer" if part is OUTPUT else "prompt"
