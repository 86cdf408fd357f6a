"""The codec of `POST /v1/responses`: request JSON → `Conversation`, events → answer.

`responses_history` finds the items of a request, `responses_items`, `responses_parts`, `responses_tools` and
`responses_options` read them; `responses_reply`, `responses_output` and `responses_drafts` write the answer;
`responses_encode` goes the other way. `responses_exchange` and `responses_store` keep what outlives the request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from appliance.api.chat_messages import decode_mark
from appliance.api.codec import Stamp
from appliance.api.diagnostics import Diagnostics, Fingerprint, fingerprint_of
from appliance.api.documents import Documents
from appliance.api.extension import Extension, decode_extension, decode_openai_diagnostics, joined, with_mark
from appliance.api.fields import Fields
from appliance.api.identity import MAX_ID_CHARACTERS, identify
from appliance.api.offload import HERE, Offload
from appliance.api.postscript import Postscript
from appliance.api.problems import Problem, openai_problem, told
from appliance.api.prompt_cache import PromptCache, decode_prompt_cache
from appliance.api.reasoning import decode_reasoning
from appliance.api.responses_bodies import Echo
from appliance.api.responses_echo import echo_of
from appliance.api.responses_events import ErrorEvent, EventWriter, frame_of
from appliance.api.responses_history import History, gather_history, keepable
from appliance.api.responses_items import decode_items
from appliance.api.responses_options import (
    Delivery,
    decode_delivery,
    decode_metadata,
    decode_model,
    decode_output_format,
    decode_sampling,
    decode_user,
    tell_idle_fields,
)
from appliance.api.responses_output import OutputStyle
from appliance.api.responses_parts import pdf_sources
from appliance.api.responses_reading import Reading
from appliance.api.responses_reply import ID_PREFIX, ResponseReply
from appliance.api.responses_store import ResponseStore, StoredItem
from appliance.api.responses_tools import Tools, decode_tool_choice, decode_tools
from appliance.api.seal import Seal
from appliance.conversation import Conversation, Message, Reporting, Role, Text
from appliance.errors import RequestError


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a request, if it is: `own` items, and all `earlier` ones."""

    own: tuple[StoredItem, ...] = ()
    earlier: tuple[StoredItem, ...] = ()
    conversation_id: str | None = None


@dataclass(frozen=True, slots=True)
class ResponsesCall:
    """One decoded request. `fingerprint` is that of `conversation`, where it was taken already."""

    conversation: Conversation
    delivery: Delivery
    echo: Echo
    style: OutputStyle
    diagnostics: Diagnostics
    clock: Callable[[], float]
    kept: Kept = field(default_factory=Kept)
    fingerprint: Fingerprint | None = None

    @property
    def streams(self) -> bool:
        return self.delivery.streams

    def reply(self, stamp: Stamp, log: Callable[[int, bytes], None] | None = None) -> ResponseReply:
        """`log` is given every event, also of a response that does not stream."""
        postscript = Postscript(self.conversation, stamp.id, self.diagnostics, self.fingerprint)
        writer = EventWriter(writes=self.streams or log is not None, log=log)
        return ResponseReply(stamp, self.echo, self.style, postscript, writer, self.clock)


@dataclass(frozen=True, slots=True)
class Read:
    """A request whose conversation is known, and what was read on the way to it."""

    conversation: Conversation
    tools: Tools
    history: History


class ResponsesCodec:
    """OpenAI's responses. `new_token` gives a string that never came before, `clock` seconds since 1970."""

    id_prefix = ID_PREFIX

    def __init__(
        self,
        store: ResponseStore,
        *,
        seal: Seal,
        diagnostics: Diagnostics,
        new_token: Callable[[], str],
        clock: Callable[[], float],
        documents: Documents | None = None,
    ) -> None:
        self._store = store
        self._seal = seal
        self._diagnostics = diagnostics
        self._documents = documents or Documents()
        self._new_token = new_token
        self._clock = clock

    async def decode(
        self, body: Mapping[str, Any], headers: Mapping[str, str], offload: Offload = HERE
    ) -> ResponsesCall:
        fields = Fields(body)
        decode_metadata(fields)
        reading = Reading(self._seal)
        delivery = decode_delivery(fields, reading)
        read = await self.read(fields, headers, reading, offload=offload)
        offload = offload.with_more(read.history.earlier_bytes)
        conversation = _prewarming(read.conversation) if delivery.prewarms else read.conversation
        style = OutputStyle(
            read.tools.names, delivery.summarises, self._seal if delivery.seals else None, delivery.prewarms
        )
        return ResponsesCall(
            conversation,
            delivery,
            await offload.run(echo_of, fields, conversation, delivery, read.history),
            style,
            self._diagnostics,
            self._clock,
            await self._kept(read.history, delivery),
            await offload.run(fingerprint_of, conversation),
        )

    async def read(
        self,
        fields: Fields,
        headers: Mapping[str, str],
        reading: Reading | None = None,
        model: str | None = None,
        offload: Offload = HERE,
    ) -> Read:
        """The conversation of a request. `model` stands in for one that is not named.

        Raises a `RequestError` naming the first field that is wrong.
        """
        reading = reading or Reading(self._seal)
        history = await gather_history(fields, self._store)
        offload = offload.with_more(history.earlier_bytes)
        items = await offload.run(tuple, history.items())
        reading.pdf_texts = await self._documents.read(await offload.run(tuple, pdf_sources(items)))
        return await offload.run(_read, fields, headers, reading, history, items, model)

    async def check(self, items: Sequence[Fields], earlier: tuple[StoredItem, ...], offload: Offload) -> None:
        """Raises like `read` for items that no response could be asked about after `earlier` ones."""
        history = History(tuple(items), earlier)
        offload = offload.with_more(history.earlier_bytes)
        everything = await offload.run(tuple, history.items())
        texts = await self._documents.read(await offload.run(tuple, pdf_sources(everything)))
        await offload.run(decode_items, everything, Reading(self._seal, texts))

    async def keepable(self, items: Iterable[Fields]) -> tuple[StoredItem, ...]:
        """As `responses_history.keepable`."""
        return await keepable(items, self._store, self._new_token)

    def problem(self, error: RequestError, request_id: str) -> Problem:
        return openai_problem(error, request_id)

    def encode_stream_error(self, error: RequestError, request_id: str) -> bytes:  # noqa: ARG002 – other protocols tell it
        return frame_of(ErrorEvent(0, error.code, told(error), error.param))

    async def _kept(self, history: History, delivery: Delivery) -> Kept:
        if not delivery.stores and history.conversation_id is None:
            return Kept()
        return Kept(await self.keepable(history.own), history.earlier, history.conversation_id)


def _read(
    fields: Fields,
    headers: Mapping[str, str],
    reading: Reading,
    history: History,
    items: tuple[Fields, ...],
    model: str | None,
) -> Read:
    extension = decode_extension(fields, headers)
    prompt_cache = decode_prompt_cache(fields)
    reading.breakpoint_seconds = prompt_cache.breakpoint_seconds
    messages = (*_instructions(fields), *decode_items(items, reading))
    tools = decode_tools((fields, *reading.more_tools), reading)
    tool_choice, offered = decode_tool_choice(fields, tools, reading)
    conversation = Conversation(
        model=decode_model(fields, model),
        messages=_marked(messages, fields, prompt_cache, extension),
        tools=offered,
        tool_choice=tool_choice,
        parallel_tool_calls=fields.flag("parallel_tool_calls") is not False,
        sampling=decode_sampling(fields),
        output_format=decode_output_format(fields, reading),
        reasoning=decode_reasoning(fields, extension.thinking_tokens),
        template_arguments=fields.mapping("chat_template_kwargs"),
        cache_salt=extension.cache_salt or fields.string("cache_salt") or None,
        identity=identify(
            headers,
            session_id=fields.short_string("prompt_cache_key", MAX_ID_CHARACTERS),
            user=decode_user(fields),
            stated=extension.session,
        ),
        hints=extension.hints,
        reporting=_reporting(fields, extension, reading),
    )
    return Read(conversation, tools, history)


def _prewarming(conversation: Conversation) -> Conversation:
    """An engine makes one token at least."""
    return replace(conversation, sampling=replace(conversation.sampling, max_tokens=1))


def _instructions(fields: Fields) -> tuple[Message, ...]:
    text = fields.string("instructions")
    return (Message(Role.SYSTEM, (Text(text),)),) if text else ()


def _marked(
    messages: tuple[Message, ...], fields: Fields, prompt_cache: PromptCache, extension: Extension
) -> tuple[Message, ...]:
    for mark in (decode_mark(fields), prompt_cache.mark, extension.mark):
        messages = with_mark(messages, mark)
    return messages


def _reporting(fields: Fields, extension: Extension, reading: Reading) -> Reporting:
    tell_idle_fields(fields, reading)
    asked = decode_openai_diagnostics(fields)
    return joined(extension.reporting, asked, Reporting(ignored=tuple(reading.ignored)))
