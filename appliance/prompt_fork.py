"""Where prompts go apart, to the token, and what the tokens there belong to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from appliance.api.prefix_views import Fork, ForkSide
from appliance.divergence import HEAD_REGIONS, SHOWN_TOKENS, Layout
from appliance.router.hashing import Hashes, Tokens

if TYPE_CHECKING:
    from appliance.last_prompts import LastPrompt
    from appliance.prompt_text import PromptText


def shared_by_all(rows: Sequence[Tokens] | Sequence[Hashes]) -> int:
    """How many leading entries all of them have. Raises `ValueError` for none."""
    first = rows[0]
    shared = min(row.size for row in rows)
    for row in rows[1:]:
        differ = np.flatnonzero(row[:shared] != first[:shared])
        shared = int(differ[0]) if differ.size else shared
    return shared


def place_of(prompt: LastPrompt, token: int) -> str | None:
    """As the diagnostics name it; `None` behind the prompt, and where regions are not known."""
    if prompt.regions is None or not 0 <= token < prompt.regions.tokens:
        return None
    heads = (span.origin.message for span in prompt.regions.spans if span.region not in HEAD_REGIONS)
    layout = Layout(prompt.regions, next(heads, None) or 0)
    return layout.place(prompt.regions.at(token), ())


def fork_of(prompts: Sequence[tuple[str, LastPrompt]], block_tokens: int, texts: PromptText | None) -> Fork:
    token = shared_by_all([prompt.tokens for _, prompt in prompts])
    blocks = shared_by_all([prompt.hashes for _, prompt in prompts])
    before = prompts[0][1].tokens[max(token - SHOWN_TOKENS, 0) : token]
    return Fork(
        token,
        blocks * block_tokens,
        None if texts is None else texts.of(before),
        [_side(name, prompt, token, texts) for name, prompt in prompts],
    )


def _side(name: str, prompt: LastPrompt, token: int, texts: PromptText | None) -> ForkSide:
    text = None if texts is None else texts.of(prompt.tokens[token : token + SHOWN_TOKENS + 1])
    return ForkSide(name, int(prompt.tokens.size), place_of(prompt, token), text)
