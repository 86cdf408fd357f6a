from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from appliance.cache.past_prompts import Nearest, PastPrompt
from appliance.cache.region import Region
from appliance.cache.region_map import Origin, RegionMap, Span
from appliance.divergence import SHOWN_TOKENS, Comparison, Layout, RecordText, divergence_of

LAYOUT = Layout(
    RegionMap(
        [
            Span(0, 40, Region.SYSTEM, Origin(0, 0)),
            Span(40, 60, Region.TOOLS, Origin(tool=0)),
            Span(60, 80, Region.TOOLS, Origin(tool=1)),
            Span(80, 90, Region.USER, Origin(1, 0)),
            Span(90, 120, Region.ASSISTANT, Origin(2, 0)),
        ]
    ),
    num_system_messages=1,
)


def words(token_ids: Sequence[int]) -> str:
    return " ".join(map(str, token_ids))


def prompt(tokens: Sequence[int], request: str = "r", tools: tuple[str, ...] = ("Read", "Write")) -> PastPrompt:
    hashes = np.zeros(0, np.uint64)
    return PastPrompt(
        1, request, "s", None, np.array(tokens, np.uint32), hashes, len(tokens), head_tokens=80, tool_names=tools
    )


def changed(token: int) -> list[int]:
    return [*range(token), 999, *range(token + 1, 120)]


@pytest.mark.parametrize(
    ("token", "place"),
    [(39, "system"), (40, "tools[0] Read"), (79, "tools[1] Write"), (80, "messages[0]"), (95, "messages[1]")],
)
def test_a_place_is_named_as_the_diagnostics_name_it(token: int, place: str) -> None:
    nearest = Nearest(prompt(range(120), "before"), token, is_own=True)
    found = divergence_of(prompt(changed(token)), nearest, LAYOUT, Comparison())
    assert found is not None
    assert (found.token, found.place, found.against, found.before) == (token, place, "before", None)


def test_the_text_of_both_sides_is_kept_as_far_as_is_allowed() -> None:
    nearest = Nearest(prompt(range(120)), 50, is_own=True)
    found = divergence_of(prompt(changed(50)), nearest, LAYOUT, Comparison(words, RecordText.DIVERGENCE))
    assert found is not None
    around = range(50 - SHOWN_TOKENS, 50 + SHOWN_TOKENS + 1)
    assert found.before == words(around)
    assert found.now == words([999 if token == 50 else token for token in around])
    full = divergence_of(prompt(changed(50)), nearest, LAYOUT, Comparison(words, RecordText.FULL))
    assert full is not None
    assert full.before == words(range(120))
    nothing = divergence_of(prompt(changed(50)), nearest, LAYOUT, Comparison(words, RecordText.NONE))
    assert nothing is not None
    assert (nothing.before, nothing.now) == (None, None)


def test_one_that_goes_on_or_is_asked_again_has_no_divergence() -> None:
    past = prompt(range(100))
    for tokens, shared in ((range(120), 100), (range(100), 100), (range(50), 50)):
        assert divergence_of(prompt(tokens), Nearest(past, shared, is_own=True), LAYOUT, Comparison()) is None


@pytest.mark.parametrize(("token", "diverges"), [(10, True), (70, True), (85, False)])
def test_of_another_conversation_only_system_text_and_tools_should_be_the_same(token: int, diverges: bool) -> None:
    nearest = Nearest(prompt(range(120)), token, is_own=False)
    assert (divergence_of(prompt(changed(token)), nearest, LAYOUT, Comparison()) is not None) is diverges


def test_tools_in_another_order_have_their_rule() -> None:
    nearest = Nearest(prompt(range(120), tools=("Write", "Read")), 45, is_own=True)
    found = divergence_of(prompt(changed(45)), nearest, LAYOUT, Comparison())
    assert found is not None
    assert found.rule == "tool_order"


def test_the_rule_is_found_in_more_text_than_is_kept_and_told_without_it() -> None:
    def decode(token_ids: Sequence[int]) -> str:
        return "x-anthropic-billing-header:" + "".join("b" if token == 999 else "a" for token in token_ids)

    nearest = Nearest(prompt(range(120)), 30, is_own=True)
    found = divergence_of(prompt(changed(30)), nearest, LAYOUT, Comparison(decode, RecordText.NONE))
    assert found is not None
    assert (found.rule, found.now) == ("attribution", None)


def test_where_no_regions_are_known_a_divergence_has_no_place() -> None:
    nearest = Nearest(prompt(range(120)), 10, is_own=True)
    found = divergence_of(prompt(changed(10)), nearest, Layout(), Comparison())
    assert found is not None
    assert found.place is None
    assert divergence_of(prompt(changed(10)), nearest._replace(is_own=False), Layout(), Comparison()) is None
    assert (Layout().head_tokens, LAYOUT.head_tokens) == (0, 80)
