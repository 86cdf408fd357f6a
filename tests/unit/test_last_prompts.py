from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from appliance.cache.region import Region
from appliance.cache.region_map import RegionMap, Span
from appliance.conversation import Identity
from appliance.last_prompts import EndedRequest, LastPrompts
from tests.unit.scripted_worker import ScriptedPrompt, conversation

if TYPE_CHECKING:
    from appliance.engine.prompt import Prompt


def ended(session: str | None, tokens: int = 10, region: Region = Region.USER) -> EndedRequest:
    prompt = ScriptedPrompt(list(range(tokens)), regions=RegionMap([Span(0, tokens, region)]))
    asked = conversation(identity=Identity(session))
    return EndedRequest(asked, cast("Prompt", prompt), np.arange(tokens // 2, dtype=np.uint64), 0, 1.0, 2.0, 0, 1, None)


def names(prompts: LastPrompts) -> list[str]:
    return [name for name, _ in prompts]


def test_of_each_session_the_last_prompt_is_remembered_the_newest_first() -> None:
    prompts = LastPrompts()
    for session, tokens in (("a", 4), ("b", 6), ("a", 8), (None, 10)):
        prompts.ended(ended(session, tokens))
    assert names(prompts) == ["a", "b"]
    found = prompts.get("a")
    assert found is not None
    assert (found.tokens.tolist(), found.hashes.tolist()) == (list(range(8)), [0, 1, 2, 3])


def test_there_is_room_for_so_many_sessions_and_tokens() -> None:
    prompts = LastPrompts(most_sessions=3, most_tokens=20)
    for session in "abcd":
        prompts.ended(ended(session, 5))
    assert (names(prompts), prompts.forgotten) == (["d", "c", "b"], 1)
    prompts.ended(ended("e", 12))
    assert (names(prompts), prompts.forgotten) == (["e", "d"], 3)
    prompts.ended(ended("f", 100))
    assert (names(prompts), len(prompts)) == (["f"], 1)


def test_a_prompt_with_a_picture_is_more_than_its_tokens() -> None:
    prompts = LastPrompts()
    prompts.ended(ended("text"))
    prompts.ended(ended("picture", region=Region.IMAGE))
    assert [(name, prompt.is_text) for name, prompt in prompts] == [("picture", False), ("text", True)]
