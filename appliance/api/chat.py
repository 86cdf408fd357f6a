"""The codec of `POST /v1/chat/completions`: request JSON → `Conversation`, events → answer.

`chat_messages` and `chat_options` read a request, `chat_reply` and `chat_bodies` write the answer, `chat_encode` goes
the other way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from appliance.api import sse
from appliance.api.chat_encode import encode_request
from appliance.api.chat_messages import decode_messages, decode_tools
from appliance.api.chat_options import (
    REASONING_EFFORTS,
    decode_hints,
    decode_output_format,
    decode_sampling,
    decode_stream_options,
    decode_tool_choice,
)
from appliance.api.chat_reply import StreamReply, WholeReply
from appliance.api.codec import Reply, Stamp
from appliance.api.fields import Fields
from appliance.api.identity import MAX_ID_CHARACTERS, identify
from appliance.api.problems import Problem, encode_openai_error, openai_problem
from appliance.conversation import Conversation, Reasoning
from appliance.errors import InvalidRequest, RequestError

__all__ = ["ChatCall", "ChatCodec", "decode_conversation", "encode_request"]


@dataclass(frozen=True, slots=True)
class ChatCall:
    """One decoded request."""

    conversation: Conversation
    streams: bool
    include_usage: bool

    def reply(self, stamp: Stamp) -> Reply:
        conversation = self.conversation
        num_choices = conversation.sampling.n
        if self.streams:
            return StreamReply(stamp, conversation.model, num_choices, include_usage=self.include_usage)
        with_logprobs = conversation.sampling.logprobs is not None
        return WholeReply(stamp, conversation.model, num_choices, with_logprobs=with_logprobs)


class ChatCodec:
    """OpenAI chat completions, with the fields that vLLM and coding agents add."""

    id_prefix = "chatcmpl-"

    async def decode(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> ChatCall:
        options = decode_stream_options(Fields(body))
        return ChatCall(decode_conversation(body, headers), options.streams, options.include_usage)

    def problem(self, error: RequestError, request_id: str) -> Problem:
        return openai_problem(error, request_id)

    def encode_stream_error(self, error: RequestError, request_id: str) -> bytes:  # noqa: ARG002 – other protocols tell it
        return sse.frame(encode_openai_error(error)) + sse.DONE


def decode_conversation(body: Mapping[str, Any], headers: Mapping[str, str]) -> Conversation:
    """Raises `InvalidRequest` naming the first field that is wrong. Fields that are not known are ignored."""
    fields = Fields(body)
    _refuse_audio(fields)
    tools = decode_tools(fields)
    return Conversation(
        model=fields.required_string("model"),
        messages=decode_messages(fields),
        tools=tools,
        tool_choice=decode_tool_choice(fields, tools),
        parallel_tool_calls=fields.flag("parallel_tool_calls") is not False,
        sampling=decode_sampling(fields),
        output_format=decode_output_format(fields),
        reasoning=Reasoning(effort=fields.choice("reasoning_effort", REASONING_EFFORTS)),
        template_arguments=fields.mapping("chat_template_kwargs"),
        cache_salt=fields.string("cache_salt") or None,
        identity=identify(
            headers,
            session_id=fields.short_string("prompt_cache_key", MAX_ID_CHARACTERS),
            user=fields.short_string("user", MAX_ID_CHARACTERS),
        ),
        hints=decode_hints(fields),
    )


def _refuse_audio(fields: Fields) -> None:
    modalities = fields.array("modalities")
    if modalities is not None and modalities != ["text"]:
        raise InvalidRequest('modalities: only ["text"] is served here', param="modalities", code="invalid_value")
