"""What a prompt's tokens were, as the messages API counts them: read from cache, written to it, or neither."""

from __future__ import annotations

from typing import Final, NamedTuple

from appliance.generation import Started

LONG_TTL_SECONDS: Final = 3600.0


class PromptUsage(NamedTuple):
    """The four add up to the prompt. What no mark asked to keep counts as input, kept or not."""

    input_tokens: int
    read_tokens: int
    written_5m_tokens: int
    written_1h_tokens: int

    @property
    def written_tokens(self) -> int:
        return self.written_5m_tokens + self.written_1h_tokens


def prompt_usage(started: Started) -> PromptUsage:
    """Written is what is marked and was not read:

        0 ──── read ──── cached │ ── written ── last mark │ ── input ── prompt

    A token that several marks keep counts for the first of them: it would have been kept without the others.
    """
    written = {True: 0, False: 0}
    end = started.cached_tokens
    for mark in sorted(started.marked, key=lambda mark: mark.tokens):
        tokens = min(mark.tokens, started.prompt_tokens)
        written[mark.ttl_seconds >= LONG_TTL_SECONDS] += max(0, tokens - end)
        end = max(end, tokens)
    return PromptUsage(started.prompt_tokens - end, started.cached_tokens, written[False], written[True])
