"""What is foreseen of a next prompt is how that prompt begins, whatever the template does with thoughts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from appliance.conversation import Conversation, Message, Role, Text, Thinking, ToolCall, ToolResult
from appliance.engine.rendering import Renderer
from appliance.next_turn import common_prefix, next_turns
from tests.unit.engine.conversations import WEATHER, assistant, conversation, user

# vLLM reads a field of its own request that it calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:max_tokens is deprecated:DeprecationWarning")

THOUGHT = Thinking("They greet, so I greet as well, and at some length.")
QUESTION = conversation(user("Hello there, how are you today?"))


async def known(renderer: Renderer, asked: Conversation, answer: Message) -> list[int]:
    first, second = [(await renderer.render(turn)).token_ids for turn in next_turns(asked, answer)]
    return common_prefix(first, second)


async def tokens_of(renderer: Renderer, asked: Conversation, *more: Message) -> list[int]:
    return list((await renderer.render(replace(asked, messages=(*asked.messages, *more)))).token_ids)


@pytest.mark.parametrize("name", ["thinking_renderer", "forgetful_renderer", "plain_renderer"])
async def test_the_next_question_begins_so(name: str, request: pytest.FixtureRequest) -> None:
    renderer: Renderer = request.getfixturevalue(name)
    answer = assistant(THOUGHT, "I am fine, thank you.")
    prefix = await known(renderer, QUESTION, answer)
    prompt = await tokens_of(renderer, QUESTION, answer, user("What is the weather?"))
    assert prompt[: len(prefix)] == prefix
    assert len(prefix) > len(await tokens_of(renderer, QUESTION))


async def test_thoughts_that_the_template_drops_are_not_computed(forgetful_renderer: Renderer) -> None:
    with_thought = await known(forgetful_renderer, QUESTION, assistant(THOUGHT, "I am fine."))
    assert with_thought == await known(forgetful_renderer, QUESTION, assistant("I am fine."))


async def test_the_result_of_a_tool_begins_so(thinking_renderer: Renderer) -> None:
    answer = assistant(THOUGHT, ToolCall("call_1", "weather", '{"city": "Paris"}'))
    asked = replace(QUESTION, tools=(WEATHER,))
    prefix = await known(thinking_renderer, asked, answer)
    result = Message(Role.TOOL, (ToolResult("call_1", (Text("It rains."),)),))
    prompt = await tokens_of(thinking_renderer, asked, answer, result)
    assert prompt[: len(prefix)] == prefix
    assert len(prefix) > len(await tokens_of(thinking_renderer, asked))
