"""What came of an operator's word on a session."""

from __future__ import annotations

from typing import Final

from appliance.api.hint_views import HintEffect
from appliance.hint_book import OperatorHint, Served, Verb

HELD: Final = {Verb.PIN: "tokens kept", Verb.TTL: "tokens kept", Verb.RELEASE: "tokens still cached"}
"""What is said of the tokens that are in a cache; nothing for a hint that is about none."""


def effect_of(hint: OperatorHint, served: Served, held_tokens: int | None) -> HintEffect:
    """`held_tokens` of the session's last prompt are in a worker's cache, `None` where that is not known."""
    held = None if held_tokens is None else max(min(held_tokens, hint.token_end or held_tokens) - hint.token_start, 0)
    parts = [] if held is None or hint.verb not in HELD else [f"{held:,} {HELD[hint.verb]}"]
    if served.turns:
        turns = "1 turn" if served.turns == 1 else f"{served.turns:,} turns"
        parts.append(f"{turns} read {served.cached_tokens:,} of {served.prompt_tokens:,} tokens from cache")
    else:
        parts.append("no turn since")
    return HintEffect(*served, held, ", ".join(parts))
