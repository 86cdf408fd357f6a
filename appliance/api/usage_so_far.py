"""The usage in the chunks of a stream before the last one: absent, null, or what was counted so far."""

from __future__ import annotations

from collections import Counter

from msgspec import UNSET, UnsetType

from appliance.api.chat_bodies import PromptDetails, UsageBody
from appliance.api.chat_options import StreamOptions
from appliance.generation import Delta, Event, Started


class UsageSoFar:
    """Show it every event of a stream. A chunk tells the tokens of its own choice; the last one has the exact sums."""

    def __init__(self, options: StreamOptions) -> None:
        self._options = options
        self._prompt_tokens = 0
        self._cached_tokens = 0
        self._completion_tokens: Counter[int] = Counter()

    def add(self, event: Event) -> None:
        if isinstance(event, Delta):
            self._completion_tokens[event.choice] += event.tokens
        elif isinstance(event, Started):
            self._prompt_tokens, self._cached_tokens = event.prompt_tokens, event.cached_tokens

    def told(self, choice: int) -> UsageBody | UnsetType | None:
        """The value of `usage` in a chunk of this choice."""
        if not self._options.include_usage:
            return UNSET
        if not self._options.continuous_usage:
            return None
        made = self._completion_tokens[choice]
        details = PromptDetails(self._cached_tokens)
        return UsageBody(self._prompt_tokens, made, self._prompt_tokens + made, details)
