from __future__ import annotations

from typing import Any

import pytest

from appliance.hint_book import OperatorHint, Served, Verb
from appliance.hint_effect import effect_of

NO_TURN = Served()


def hint(verb: Verb = Verb.PIN, **said: Any) -> OperatorHint:
    return OperatorHint("h1", verb, "s", "me", 0.0, 60.0, **said)


@pytest.mark.parametrize(
    ("verb", "text"),
    [
        (Verb.PIN, "41,216 tokens kept, no turn since"),
        (Verb.TTL, "41,216 tokens kept, no turn since"),
        (Verb.RELEASE, "41,216 tokens still cached, no turn since"),
        (Verb.PRIORITY, "no turn since"),
    ],
)
def test_what_is_cached_is_told_of_hints_that_are_about_it(verb: Verb, text: str) -> None:
    assert effect_of(hint(verb), NO_TURN, 41_216).text == text


def test_turns_are_told_with_what_they_read() -> None:
    effect = effect_of(hint(), Served(3, 125_000, 120_000), 41_216)
    assert effect.text == "41,216 tokens kept, 3 turns read 120,000 of 125,000 tokens from cache"
    assert effect_of(hint(), Served(1, 10, 8), 0).text == "0 tokens kept, 1 turn read 8 of 10 tokens from cache"


@pytest.mark.parametrize(("held", "counted"), [(None, None), (10, 0), (64, 32), (96, 64), (200, 64)])
def test_only_tokens_that_are_meant_count(held: int | None, counted: int | None) -> None:
    assert effect_of(hint(token_start=32, token_end=96), NO_TURN, held).held_tokens == counted


def test_what_is_unknown_is_not_told() -> None:
    assert effect_of(hint(), NO_TURN, None).text == "no turn since"
