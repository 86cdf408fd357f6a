"""The codec of `POST /v1/chat/completions`: request JSON → `Conversation`, events → answer.

`chat_messages`, `chat_files`, `chat_tools` and `chat_options` read a request, `chat_reply` and `chat_bodies` write the
answer, `chat_encode` goes the other way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from appliance.api import sse
from appliance.api.chat_encode import encode_request
from appliance.api.chat_files import pdf_sources
from appliance.api.chat_messages import decode_mark, decode_messages
from appliance.api.chat_options import StreamOptions, decode_output_format, decode_sampling, decode_stream_options
from appliance.api.chat_reading import Reading
from appliance.api.chat_reply import StreamReply, WholeReply
from appliance.api.chat_tools import decode_tool_choice, decode_tools
from appliance.api.codec import Reply, Stamp
from appliance.api.diagnostics import Diagnostics, Fingerprint, fingerprint_of
from appliance.api.documents import Documents
from appliance.api.extension import Extension, decode_extension, decode_openai_diagnostics, joined, with_mark
from appliance.api.fields import Fields
from appliance.api.identity import MAX_ID_CHARACTERS, identify
from appliance.api.offload import HERE, Offload
from appliance.api.postscript import Postscript
from appliance.api.problems import Problem, encode_openai_error, openai_problem
from appliance.api.prompt_cache import decode_prompt_cache
from appliance.api.reasoning import decode_reasoning
from appliance.conversation import Conversation, Identity, Reporting
from appliance.errors import InvalidRequest, RequestError

__all__ = ["ChatCall", "ChatCodec", "decode_conversation", "encode_request"]

UNSERVED = {
    "web_search_options": "there is no web search here",
    "verbosity": "no model here knows how to be more or less verbose; ask for it in the prompt",
}


@dataclass(frozen=True, slots=True)
class ChatCall:
    """One decoded request."""

    conversation: Conversation
    options: StreamOptions
    diagnostics: Diagnostics
    fingerprint: Fingerprint

    @property
    def streams(self) -> bool:
        return self.options.streams

    def reply(self, stamp: Stamp) -> Reply:
        postscript = Postscript(self.conversation, stamp.id, self.diagnostics, self.fingerprint)
        if self.streams:
            return StreamReply(stamp, self.conversation, postscript, self.options)
        return WholeReply(stamp, self.conversation, postscript)


class ChatCodec:
    """OpenAI chat completions, with the fields that vLLM and coding agents add."""

    id_prefix = "chatcmpl-"

    def __init__(self, *, diagnostics: Diagnostics, documents: Documents | None = None) -> None:
        self._diagnostics = diagnostics
        self._documents = documents or Documents()

    async def decode(self, body: Mapping[str, Any], headers: Mapping[str, str], offload: Offload = HERE) -> ChatCall:
        fields = Fields(body)
        options = decode_stream_options(fields)
        pdf_texts = await self._documents.read(await offload.run(tuple, pdf_sources(fields)))
        conversation = await offload.run(decode_conversation, body, headers, pdf_texts)
        fingerprint = await offload.run(fingerprint_of, conversation)
        return ChatCall(conversation, options, self._diagnostics, fingerprint)

    def problem(self, error: RequestError, request_id: str) -> Problem:
        return openai_problem(error, request_id)

    def encode_stream_error(self, error: RequestError, request_id: str) -> bytes:  # noqa: ARG002 – other protocols tell it
        return sse.frame(encode_openai_error(error)) + sse.DONE


def decode_conversation(
    body: Mapping[str, Any], headers: Mapping[str, str], pdf_texts: Mapping[str, str] | None = None
) -> Conversation:
    """Raises `InvalidRequest` naming the first field that is wrong. Fields that are not known are ignored.

    `pdf_texts` are the texts of its PDF files by their base64 data.
    """
    fields = Fields(body)
    model = fields.required_string("model")
    _refuse_audio(fields)
    extension = decode_extension(fields, headers)
    prompt_cache = decode_prompt_cache(fields)
    reading = Reading(prompt_cache.breakpoint_seconds, pdf_texts or {})
    tools = decode_tools(fields, reading)
    messages = decode_messages(fields, reading)
    for mark in (decode_mark(fields), prompt_cache.mark, extension.mark):
        messages = with_mark(messages, mark)
    return Conversation(
        model=model,
        messages=messages,
        tools=tools,
        tool_choice=decode_tool_choice(fields, tools, reading),
        parallel_tool_calls=fields.flag("parallel_tool_calls") is not False,
        sampling=decode_sampling(fields),
        output_format=decode_output_format(fields),
        reasoning=decode_reasoning(fields, extension.thinking_tokens),
        template_arguments=fields.mapping("chat_template_kwargs"),
        cache_salt=extension.cache_salt or fields.string("cache_salt") or None,
        identity=_identify(fields, headers, extension),
        hints=extension.hints,
        reporting=_decode_reporting(fields, extension, reading),
    )


def _identify(fields: Fields, headers: Mapping[str, str], extension: Extension) -> Identity:
    return identify(
        headers,
        session_id=fields.short_string("prompt_cache_key", MAX_ID_CHARACTERS),
        user=fields.short_string("user", MAX_ID_CHARACTERS),
        stated=extension.session,
    )


def _decode_reporting(fields: Fields, extension: Extension, reading: Reading) -> Reporting:
    """Called last: by then `reading` knows all that was left out."""
    for name, reason in UNSERVED.items():
        if fields.raw(name) is not None:
            reading.leave_out(name, reason)
    left_out = Reporting(ignored=tuple(reading.ignored))
    return joined(extension.reporting, decode_openai_diagnostics(fields), left_out)


def _refuse_audio(fields: Fields) -> None:
    modalities = fields.array("modalities")
    if modalities is not None and modalities != ["text"]:
        raise InvalidRequest('modalities: only ["text"] is served here', param="modalities", code="invalid_value")
