from __future__ import annotations

from itertools import count
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.cache.errors import IntegrityError
from appliance.cache.past_prompts import MOST_OF_SESSION, PastPrompt, PastPrompts, is_alike, shared_tokens
from tests.examples import examples

BLOCK = 4
numbers = count(1)


def prompt(tokens: list[int], answer: list[int] | None = None, salt: int = 0, **fields: Any) -> PastPrompt:
    whole = [*tokens, *(answer or ())]
    names = [hash((salt, *whole[:end])) & (2**64 - 1) for end in range(BLOCK, len(whole) + 1, BLOCK)]
    number = next(numbers)
    return PastPrompt(
        number=number,
        request=f"r{number}",
        session=fields.get("session"),
        client=fields.get("client"),
        tokens=np.array(whole, np.uint32),
        hashes=np.array(names, np.uint64),
        prompt_tokens=len(tokens),
        head_tokens=fields.get("head_tokens", 0),
    )


HEAD = list(range(100, 140))


def changed(token: int) -> list[int]:
    return [*HEAD[:token], 9, *HEAD[token + 1 :]]


def test_a_turn_is_compared_with_its_session_and_not_with_others_that_have_more_in_common() -> None:
    past = PastPrompts(BLOCK)
    own = prompt([*changed(3), 1, 2], session="a", head_tokens=40)
    past.add(own)
    past.add(prompt([*HEAD, 1, 2, 3], session="b", head_tokens=40))
    nearest = past.nearest(prompt([*HEAD, 1, 2, 3, 4], session="a", head_tokens=40), None)
    assert nearest is not None
    assert (nearest.past, nearest.shared_tokens, nearest.is_own) == (own, 3, True)


def test_of_the_kinds_of_prompts_of_a_session_the_one_of_the_same_kind_is_taken() -> None:
    past = PastPrompts(BLOCK)
    title = prompt([*range(500, 540), 1], session="a", head_tokens=40)
    turn = prompt([*HEAD, 1, 2], session="a", head_tokens=40)
    for one in (turn, title):
        past.add(one)
    for tokens, expected in (([*HEAD, 1, 2, 3], turn), ([*range(500, 540), 7], title)):
        nearest = past.nearest(prompt(tokens, session="a", head_tokens=40), None)
        assert nearest is not None
        assert nearest.past is expected


def test_a_new_conversation_is_compared_with_the_one_that_opens_alike() -> None:
    past = PastPrompts(BLOCK)
    other = prompt([*HEAD, 1], session="b", head_tokens=40, client="c")
    past.add(other)
    new = prompt([*changed(2), 1], session="a", head_tokens=40, client="c")
    nearest = past.nearest(new, None)
    assert nearest is not None
    assert (nearest.past, nearest.shared_tokens, nearest.is_own) == (other, 2, False)
    assert past.nearest(prompt([*changed(2), 1], session="a", head_tokens=40, client="d"), None) is None
    assert past.nearest(prompt([*range(700, 741)], session="a", head_tokens=40, client="c"), None) is None


def test_one_that_was_seen_by_its_blocks_is_taken_whoever_asked() -> None:
    past = PastPrompts(BLOCK)
    other = prompt([*HEAD, 1], session="b", head_tokens=40, client="c")
    past.add(other)
    nearest = past.nearest(prompt([*HEAD, 2], session="a", head_tokens=40, client="d"), other.number)
    assert nearest is not None
    assert (nearest.shared_tokens, nearest.is_own) == (40, False)


def test_a_prompt_without_a_session_goes_on_from_the_one_that_it_begins_with() -> None:
    past = PastPrompts(BLOCK)
    first = prompt([*HEAD, 1], answer=[2, 3], head_tokens=40)
    past.add(first)
    nearest = past.nearest(prompt([*HEAD, 1, 2, 5], head_tokens=40), first.number)
    assert nearest is not None
    assert (nearest.shared_tokens, nearest.is_own) == (42, True)
    nearest = past.nearest(prompt([*HEAD, 7], head_tokens=40), first.number)
    assert nearest is not None
    assert (nearest.shared_tokens, nearest.is_own) == (40, False)


def test_a_session_has_its_newest_prompts_and_the_oldest_go_where_there_is_no_room() -> None:
    past = PastPrompts(BLOCK, most_tokens=30, most_prompts=5)
    added = [prompt([number] * 4, session="a") for number in range(MOST_OF_SESSION + 1)]
    for one in added:
        past.add(one)
        past.check_integrity()
    assert (len(past), past.forgotten) == (4, 0)
    past.add(prompt([9] * 14, session="b"))
    assert (len(past), past.num_tokens, past.forgotten) == (5, 30, 0)
    past.add(prompt([8] * 30))
    past.check_integrity()
    assert (len(past), past.num_tokens, past.forgotten) == (1, 30, 5)
    past.add(prompt([8] * 31))
    assert (len(past), past.forgotten) == (1, 6)


def test_the_check_finds_tokens_that_nobody_has() -> None:
    past = PastPrompts(BLOCK)
    past.num_tokens = 1
    with pytest.raises(IntegrityError, match="0 prompts of 0 tokens, 1 counted"):
        past.check_integrity()


def test_the_same_tokens_behind_another_salt_share_nothing() -> None:
    assert shared_tokens(prompt(HEAD), prompt(HEAD, salt=1), BLOCK) == 0


def test_heads_are_alike_when_most_of_one_is_in_the_other_wherever_it_stands() -> None:
    one, other = (prompt([*tokens, 1], head_tokens=40) for tokens in (HEAD, [9, *HEAD[:39]]))
    assert is_alike(one, other, 0)
    assert not is_alike(one, prompt([*range(40)], head_tokens=40), 0)
    assert not is_alike(prompt([1, 2], head_tokens=2), prompt([3, 2], head_tokens=2), 0)


tokens = st.lists(st.integers(0, 1), max_size=24)


@given(tokens, tokens, tokens, tokens)
@settings(max_examples=examples(400))
def test_shared_tokens_are_those_before_the_first_difference(
    one: list[int], one_answer: list[int], other: list[int], other_answer: list[int]
) -> None:
    whole = [*other, *other_answer]
    pairs = enumerate(zip(one, whole, strict=False))
    differs = next((place for place, (left, right) in pairs if left != right), min(len(one), len(whole)))
    assert shared_tokens(prompt(one, one_answer), prompt(other, other_answer), BLOCK) == differs
