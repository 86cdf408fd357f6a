"""Responses, answer side: what a response says of the request that it answers."""

from __future__ import annotations

from typing import Any

from msgspec import Raw, json

from appliance.api.fields import Fields
from appliance.api.responses_bodies import ConversationRef, Echo
from appliance.api.responses_history import History
from appliance.api.responses_options import Delivery
from appliance.conversation import Conversation

PLAIN_FORMAT = {"type": "text"}


def echo_of(body: Fields, conversation: Conversation, delivery: Delivery, history: History) -> Echo:
    """Call after the request was decoded: what it says is right. What was not said and only the model knows is null."""
    reference = history.conversation_id
    return Echo(
        background=delivery.background,
        conversation=None if reference is None else ConversationRef(reference),
        instructions=_raw(body, "instructions", None),
        max_output_tokens=body.integer("max_output_tokens", 1),
        max_tool_calls=body.integer("max_tool_calls", 1),
        metadata=_raw(body, "metadata", {}),
        model=conversation.model,
        parallel_tool_calls=conversation.parallel_tool_calls,
        previous_response_id=history.previous_response_id,
        prompt_cache_key=body.string("prompt_cache_key"),
        prompt_cache_options=_raw(body, "prompt_cache_options", None),
        prompt_cache_retention=body.string("prompt_cache_retention"),
        reasoning=_object(body, "reasoning", {"effort": conversation.reasoning.effort, "summary": None}),
        safety_identifier=body.string("safety_identifier"),
        store=delivery.stores,
        temperature=conversation.sampling.temperature,
        text=_object(body, "text", {"format": PLAIN_FORMAT}),
        tool_choice=_raw(body, "tool_choice", "auto"),
        tools=_raw(body, "tools", []),
        top_logprobs=conversation.sampling.logprobs or 0,
        top_p=conversation.sampling.top_p,
        truncation="auto" if delivery.truncates else "disabled",
        user=body.string("user"),
    )


def _raw(body: Fields, name: str, default: Any) -> Raw:
    value = body.raw(name)
    return Raw(json.encode(default if value is None else value))


def _object(body: Fields, name: str, defaults: dict[str, Any]) -> Raw:
    """The object with what it leaves out."""
    said = body.mapping(name) or {}
    return Raw(json.encode(defaults | {key: value for key, value in said.items() if value is not None}))
