"""The codec of `POST /v1/messages`: request JSON → `Conversation`, events → answer.

`messages_history`, `messages_blocks` and `messages_options` read a request, `messages_answer` and `messages_reply`
write the answer, `messages_encode` goes the other way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from appliance.api import sse
from appliance.api.anthropic_problems import anthropic_problem, encode_anthropic_error
from appliance.api.codec import Reply, Stamp
from appliance.api.context_clearing import Cleared, apply_edits
from appliance.api.context_edits import Edit, decode_edits
from appliance.api.diagnostics import Diagnostics, fingerprint_of
from appliance.api.documents import Documents
from appliance.api.extension import Extension, decode_anthropic_diagnostics, decode_extension, joined, with_mark
from appliance.api.fields import Fields
from appliance.api.messages_answer import Answer, Request
from appliance.api.messages_bodies import TokenCount
from appliance.api.messages_documents import pdf_sources
from appliance.api.messages_history import decode_messages, is_begun
from appliance.api.messages_identity import decode_identity
from appliance.api.messages_options import (
    decode_output_format,
    decode_reasoning,
    decode_sampling,
    hides_thinking,
    is_prewarming,
    tell_unread,
)
from appliance.api.messages_reading import Reading
from appliance.api.messages_reply import StreamReply, WholeReply
from appliance.api.messages_tools import decode_tool_choice, decode_tools
from appliance.api.offload import HERE, Offload
from appliance.api.problems import Problem
from appliance.api.seal import Seal
from appliance.conversation import Conversation, Reporting
from appliance.errors import RequestError
from appliance.generation import Inference


@dataclass(frozen=True, slots=True)
class MessagesCall:
    """One decoded request."""

    request: Request
    streams: bool
    seal: Seal
    diagnostics: Diagnostics

    @property
    def conversation(self) -> Conversation:
        return self.request.conversation

    def reply(self, stamp: Stamp) -> Reply:
        answer = Answer(stamp, self.request, self.seal, self.diagnostics)
        return StreamReply(answer) if self.streams else WholeReply(answer)


class MessagesCodec:
    """Anthropic's messages API. `inference` counts tokens, for requests that want their history cleared by length."""

    id_prefix = "msg_"

    def __init__(
        self, inference: Inference, *, seal: Seal, diagnostics: Diagnostics, documents: Documents | None = None
    ) -> None:
        self._inference = inference
        self._seal = seal
        self._diagnostics = diagnostics
        self._documents = documents or Documents()

    async def decode(
        self, body: Mapping[str, Any], headers: Mapping[str, str], offload: Offload = HERE
    ) -> MessagesCall:
        fields = Fields(body)
        streams = fields.flag("stream") or False
        conversation, edits = await self._read(fields, headers, offload, counts_only=False)
        cleared = await self._cleared(conversation, edits)
        diagnoses = conversation.reporting.diagnose
        request = Request(
            cleared.conversation,
            applied=None if edits is None else cleared.applied,
            hides_thinking=hides_thinking(fields),
            prewarms=is_prewarming(fields),
            fingerprint=await offload.run(fingerprint_of, cleared.conversation) if diagnoses else None,
        )
        return MessagesCall(request, streams, self._seal, self._diagnostics)

    async def count(self, body: Mapping[str, Any], headers: Mapping[str, str], offload: Offload = HERE) -> TokenCount:
        """How many tokens this request's prompt has. Raises like `decode` and like `Inference.count_tokens`."""
        conversation, edits = await self._read(Fields(body), headers, offload, counts_only=True)
        cleared = await self._cleared(conversation, edits)
        tokens = await self._inference.count_tokens(cleared.conversation)
        if edits is None:
            return TokenCount(tokens)
        original = tokens if cleared.original_tokens is None else cleared.original_tokens
        return TokenCount(tokens, {"original_input_tokens": original})

    def problem(self, error: RequestError, request_id: str) -> Problem:
        return anthropic_problem(error, request_id)

    def encode_stream_error(self, error: RequestError, request_id: str) -> bytes:
        return sse.named_frame(b"error", encode_anthropic_error(error, request_id))

    async def _read(
        self, fields: Fields, headers: Mapping[str, str], offload: Offload, *, counts_only: bool
    ) -> tuple[Conversation, tuple[Edit, ...] | None]:
        texts = await self._documents.read(await offload.run(tuple, pdf_sources(fields)))
        reading = Reading(self._seal, texts)
        edits = decode_edits(fields, reading)
        return await offload.run(read_conversation, fields, headers, reading, counts_only=counts_only), edits

    async def _cleared(self, conversation: Conversation, edits: tuple[Edit, ...] | None) -> Cleared:
        return await apply_edits(conversation, edits or (), self._inference.count_tokens)


def decode_conversation(body: Mapping[str, Any], headers: Mapping[str, str], seal: Seal) -> Conversation:
    """The conversation of a request without PDF documents, before any edit of its context. Raises `InvalidRequest`."""
    return read_conversation(Fields(body), headers, Reading(seal), counts_only=False)


def read_conversation(body: Fields, headers: Mapping[str, str], reading: Reading, *, counts_only: bool) -> Conversation:
    """Raises `InvalidRequest` naming the first field that is wrong. Fields that are not known are left out."""
    model = body.required_string("model")
    tools = decode_tools(body, reading)
    calling = decode_tool_choice(body, tools, reading)
    messages = decode_messages(body, reading)
    extension = decode_extension(body, headers)
    mark = reading.mark(body) or extension.mark
    tell_unread(body, reading)
    return Conversation(
        model=model,
        messages=with_mark(messages, mark),
        tools=tools.kept,
        tool_choice=calling.choice,
        parallel_tool_calls=calling.parallel,
        sampling=decode_sampling(body, counts_only=counts_only),
        output_format=decode_output_format(body),
        reasoning=decode_reasoning(body, extension),
        template_arguments=body.mapping("chat_template_kwargs"),
        cache_salt=extension.cache_salt,
        identity=decode_identity(body, headers, extension),
        hints=extension.hints,
        reporting=_reporting(body, extension, reading),
        continue_final=is_begun(messages),
    )


def _reporting(body: Fields, extension: Extension, reading: Reading) -> Reporting:
    reporting = joined(extension.reporting, decode_anthropic_diagnostics(body))
    return replace(reporting, ignored=(*reporting.ignored, *reading.ignored))
