"""Where a prompt has gone another way than an earlier one: the first token, what it belongs to, the text around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from appliance.cache.ledger import Divergence
from appliance.cache.past_prompts import Nearest, PastPrompt, Tokens
from appliance.cache.region import Region
from appliance.cache.region_map import RegionMap, Span
from appliance.stabiliser.diagnosis import rule_of_change, rule_of_tools

SHOWN_TOKENS: Final = 12
"""Kept on both sides of the first that differs."""
READ_TOKENS: Final = 256
"""Read on both sides to find the rule, and kept only where all may be."""
HEAD_REGIONS: Final = frozenset({Region.SYSTEM, Region.TOOLS})

Decode = Callable[[Sequence[int]], str]


class RecordText(StrEnum):
    """How much text of prompts is kept with what is recorded of them."""

    NONE = "none"
    DIVERGENCE = "divergence"
    FULL = "full"


class Layout(NamedTuple):
    """What each token of a prompt belongs to, if that is known; so many messages are system text that opens it."""

    regions: RegionMap | None = None
    num_system_messages: int = 0

    @property
    def head_tokens(self) -> int:
        """Where system text and tools end."""
        spans = () if self.regions is None else self.regions.spans
        return next((span.start for span in spans if span.region not in HEAD_REGIONS), 0)

    def at(self, token: int) -> Span | None:
        return self.regions.at(token) if self.regions is not None and token < self.regions.tokens else None

    def place(self, span: Span, tool_names: Sequence[str]) -> str:
        """As the Anthropic API's diagnostics call it."""
        origin = span.origin
        if span.region is Region.SYSTEM:
            return "system"
        if span.region is Region.TOOLS or origin.message is None:
            number = origin.tool
            if number is None or number >= len(tool_names):
                return str(span.region)
            return f"tools[{number}] {tool_names[number]}"
        return f"messages[{origin.message - self.num_system_messages}]"


class Comparison(NamedTuple):
    """How two prompts are compared: `decode` makes text of tokens, without which no rule is found; `record_text` says
    whether any is kept."""

    decode: Decode | None = None
    record_text: RecordText = RecordText.NONE


def divergence_of(prompt: PastPrompt, nearest: Nearest, layout: Layout, comparison: Comparison) -> Divergence | None:
    """`None` where the prompt goes on from the earlier one, and where another conversation begins behind the same
    system text and tools."""
    past, token, is_own = nearest
    if token >= min(prompt.prompt_tokens, past.tokens.size) or prompt.tokens[token] == past.tokens[token]:
        return None
    span = layout.at(token)
    if not is_own and (span is None or span.region not in HEAD_REGIONS):
        return None
    before, now = (_around(one.tokens, token, comparison) for one in (past, prompt))
    return Divergence(
        token,
        None if span is None else layout.place(span, prompt.tool_names),
        before,
        now,
        past.request,
        _rule(prompt, past, token, span, comparison),
    )


def _around(tokens: Tokens, token: int, comparison: Comparison) -> str | None:
    if comparison.decode is None or comparison.record_text is RecordText.NONE:
        return None
    most = READ_TOKENS if comparison.record_text is RecordText.FULL else SHOWN_TOKENS
    return comparison.decode(tokens[max(token - most, 0) : token + most + 1].tolist())


def _rule(prompt: PastPrompt, past: PastPrompt, token: int, span: Span | None, comparison: Comparison) -> str | None:
    if span is not None and span.region is Region.TOOLS:
        return rule_of_tools(past.tool_names, prompt.tool_names)
    if comparison.decode is None:
        return None
    start = max(token - READ_TOKENS, 0)
    before, now = (comparison.decode(one.tokens[start : token + READ_TOKENS].tolist()) for one in (past, prompt))
    return rule_of_change(before, now)
