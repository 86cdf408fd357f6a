"""`POST /v1/responses/compact`: a conversation made short.

As at hosted services, what users said stays word for word, and everything else becomes one closed item. Here it holds a
summary that the model itself writes, so that the next request really is shorter; messages of systems and developers
stay as well, for a summary may lose what they demand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from msgspec import Raw, Struct, json

from appliance.api.chat_reply import refuse_abort
from appliance.api.codec import Stamp
from appliance.api.compaction import close_compaction
from appliance.api.fields import Fields
from appliance.api.offload import HERE, Offload
from appliance.api.problems import Problem, openai_problem
from appliance.api.responses import ResponsesCodec
from appliance.api.responses_bodies import CompactionItem, UsageBody, usage_body
from appliance.api.responses_items import item_kind
from appliance.api.responses_reply import ID_PREFIX
from appliance.api.seal import Seal
from appliance.conversation import Conversation, Message, OutputFormat, Role, Text, ToolChoice, ToolChoiceMode
from appliance.errors import GenerationFailed, RequestError
from appliance.generation import Delta, Event, Finished, Usage

ASK: Final = (
    "Summarise this conversation for yourself: you will go on with it and see nothing of it but the user's messages "
    "and your summary. Keep what was asked for, what was found out and decided, which files, names and values matter, "
    "what is done and what is still to do. Write the summary only."
)
KEPT_ROLES: Final = ("user", "system", "developer")


class CompactedBody(Struct, frozen=True):
    id: str
    created_at: int
    output: list[Raw]
    usage: UsageBody
    object: str = "response.compaction"


@dataclass(frozen=True, slots=True)
class CompactCall:
    """One decoded request: `conversation` asks for the summary, `kept` is what stays word for word."""

    conversation: Conversation
    kept: tuple[bytes, ...]
    seal: Seal
    streams: bool = False

    def reply(self, stamp: Stamp) -> CompactReply:
        return CompactReply(stamp, self.kept, self.seal)


class CompactReply:
    """The compacted conversation as one JSON body."""

    def __init__(self, stamp: Stamp, kept: tuple[bytes, ...], seal: Seal) -> None:
        self._stamp = stamp
        self._kept = kept
        self._seal = seal
        self._texts: list[str] = []
        self._usage: Usage | None = None

    def begin(self) -> bytes:
        return b""

    def add(self, event: Event) -> bytes:
        if isinstance(event, Delta):
            refuse_abort(event)
            self._texts.append(event.text)
        elif isinstance(event, Finished):
            self._usage = event.usage
        return b""

    def end(self) -> bytes:
        summary = "".join(self._texts).strip()
        if not summary or self._usage is None:
            raise GenerationFailed("the model wrote no summary of the conversation", code="unfinished")
        item_id = f"cmp_{self._stamp.id.removeprefix(ID_PREFIX)}"
        item = CompactionItem(item_id, close_compaction(summary, self._seal))
        output = [*map(Raw, self._kept), Raw(json.encode(item))]
        return json.encode(CompactedBody(self._stamp.id, self._stamp.created, output, usage_body(self._usage)))


class CompactCodec:
    id_prefix = ID_PREFIX

    def __init__(self, responses: ResponsesCodec, *, seal: Seal) -> None:
        self._responses = responses
        self._seal = seal

    async def decode(self, body: Mapping[str, Any], headers: Mapping[str, str], offload: Offload = HERE) -> CompactCall:
        read = await self._responses.read(Fields(body), headers, offload=offload)
        kept = await self._responses.keepable(item for item in read.history.items() if _stays(item))
        conversation = replace(
            read.conversation,
            messages=(*read.conversation.messages, Message(Role.USER, (Text(ASK),))),
            tool_choice=ToolChoice(ToolChoiceMode.NONE) if read.conversation.tools else None,
            output_format=OutputFormat(),
        )
        return CompactCall(conversation, tuple(item.body for item in kept), self._seal)

    def problem(self, error: RequestError, request_id: str) -> Problem:
        return openai_problem(error, request_id)

    def encode_stream_error(self, error: RequestError, request_id: str) -> bytes:
        return self._responses.encode_stream_error(error, request_id)


def _stays(item: Fields) -> bool:
    return item_kind(item) == "message" and item.raw("role") in KEPT_ROLES
