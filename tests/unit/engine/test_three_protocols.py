"""The same conversation through three protocols is the same prompt, token for token."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from appliance.conversation import Conversation
from appliance.engine.rendering import Renderer
from tests.examples import examples
from tests.unit.api.common_conversations import conversations, told_by_each

# vLLM reads a field of its own request that it calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:max_tokens is deprecated:DeprecationWarning")


@settings(max_examples=examples(50), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(conversations(with_images=False))
async def test_the_tokens_are_the_same(thinking_renderer: Renderer, conversation: Conversation) -> None:
    expected = await thinking_renderer.render(conversation)
    for name, arrived in (await told_by_each(conversation)).items():
        prompt = await thinking_renderer.render(arrived)
        assert prompt.token_ids == expected.token_ids, name
        assert prompt.marked == expected.marked, name
        assert await thinking_renderer.count(arrived) == len(expected.token_ids), name
