"""What clients ask models, and what is kept of it for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from appliance.api.anthropic_problems import AnthropicError
from appliance.api.chat_bodies import Chunk, Completion
from appliance.api.completions_bodies import CompletionBody
from appliance.api.conversations import ConversationBody
from appliance.api.item_pages import ItemPage
from appliance.api.messages_bodies import EventBody, MessageBody, TokenCount
from appliance.api.openapi.chat import ChatRequest, CompletionRequest
from appliance.api.openapi.messages import CountRequest as MessagesCountRequest
from appliance.api.openapi.messages import MessagesRequest
from appliance.api.openapi.operation import Group, Operation, Parameter, Stream
from appliance.api.openapi.parameters import (
    CHANGING,
    CONVERSATION,
    COUNTING,
    GENERATING,
    ITEM,
    ITEM_PAGE,
    RESPONSE,
    STREAM,
)
from appliance.api.openapi.responses import (
    CompactRequest,
    CountRequest,
    NewConversation,
    NewItems,
    NewMetadata,
    ResponsesRequest,
)
from appliance.api.problems import OpenAIError
from appliance.api.responses_bodies import ResponseBody
from appliance.api.responses_compact import CompactedBody
from appliance.api.responses_events import EVENT_KINDS
from appliance.api.responses_routes import InputTokens
from appliance.api.responses_store import Deleted

GENERATION_OPERATIONS: Final[Mapping[tuple[str, str], Operation]] = {
    ("POST", "/v1/chat/completions"): Operation(
        Group.CHAT,
        "Chat completions",
        Completion,
        Stream((Chunk, OpenAIError), done=True),
        ChatRequest,
        errors=GENERATING,
    ),
    ("POST", "/v1/completions"): Operation(
        Group.COMPLETIONS,
        "Go on from a prompt that no template touches",
        CompletionBody,
        Stream((CompletionBody, OpenAIError), done=True),
        CompletionRequest,
        errors=GENERATING,
    ),
    ("POST", "/v1/messages"): Operation(
        Group.MESSAGES,
        "Messages",
        MessageBody,
        Stream((EventBody, AnthropicError)),
        MessagesRequest,
        errors=(400, 404, 413, 429, 499, 500, 529),
        envelope=AnthropicError,
    ),
    ("POST", "/v1/messages/count_tokens"): Operation(
        Group.MESSAGES,
        "Count the tokens of a request's prompt",
        TokenCount,
        takes=MessagesCountRequest,
        errors=(400, 404, 413, 529),
        envelope=AnthropicError,
    ),
    ("POST", "/v1/responses"): Operation(
        Group.RESPONSES, "Responses", ResponseBody, Stream(EVENT_KINDS), ResponsesRequest, errors=GENERATING
    ),
    ("POST", "/v1/responses/input_tokens"): Operation(
        Group.RESPONSES,
        "Count the tokens of a request's prompt",
        InputTokens,
        takes=CountRequest,
        errors=COUNTING,
    ),
    ("POST", "/v1/responses/compact"): Operation(
        Group.RESPONSES, "Make a conversation short", CompactedBody, takes=CompactRequest, errors=GENERATING
    ),
}
KEPT_OPERATIONS: Final[Mapping[tuple[str, str], Operation]] = {
    ("GET", "/v1/responses/{response_id}"): Operation(
        Group.RESPONSES,
        "A response that is kept; with `stream` the events of one made in the background",
        ResponseBody,
        Stream(EVENT_KINDS),
        parameters=(*RESPONSE, STREAM, Parameter("starting_after", {"type": "integer", "minimum": 0})),
        errors=(400, 404),
    ),
    ("DELETE", "/v1/responses/{response_id}"): Operation(
        Group.RESPONSES, "Forget a response", Deleted, parameters=RESPONSE, errors=(404,)
    ),
    ("POST", "/v1/responses/{response_id}/cancel"): Operation(
        Group.RESPONSES, "Cancel a background response", ResponseBody, parameters=RESPONSE, errors=(400, 404)
    ),
    ("GET", "/v1/responses/{response_id}/input_items"): Operation(
        Group.RESPONSES,
        "What a response was given",
        ItemPage,
        parameters=(*RESPONSE, *ITEM_PAGE),
        errors=(400, 404),
    ),
    ("POST", "/v1/conversations"): Operation(
        Group.CONVERSATIONS, "Begin a conversation", ConversationBody, takes=NewConversation, errors=(400, 413)
    ),
    ("GET", "/v1/conversations/{conversation_id}"): Operation(
        Group.CONVERSATIONS, "A conversation", ConversationBody, parameters=CONVERSATION, errors=(404,)
    ),
    ("POST", "/v1/conversations/{conversation_id}"): Operation(
        Group.CONVERSATIONS,
        "Change its metadata",
        ConversationBody,
        takes=NewMetadata,
        parameters=CONVERSATION,
        errors=CHANGING,
    ),
    ("DELETE", "/v1/conversations/{conversation_id}"): Operation(
        Group.CONVERSATIONS, "Forget a conversation", Deleted, parameters=CONVERSATION, errors=(404,)
    ),
    ("POST", "/v1/conversations/{conversation_id}/items"): Operation(
        Group.CONVERSATIONS, "Add items", ItemPage, takes=NewItems, parameters=CONVERSATION, errors=CHANGING
    ),
    ("GET", "/v1/conversations/{conversation_id}/items"): Operation(
        Group.CONVERSATIONS, "Its items", ItemPage, parameters=(*CONVERSATION, *ITEM_PAGE), errors=(400, 404)
    ),
    ("GET", "/v1/conversations/{conversation_id}/items/{item_id}"): Operation(
        Group.CONVERSATIONS, "An item", dict[str, Any], parameters=ITEM, errors=(404,)
    ),
    ("DELETE", "/v1/conversations/{conversation_id}/items/{item_id}"): Operation(
        Group.CONVERSATIONS, "Take an item out", ConversationBody, parameters=ITEM, errors=(404,)
    ),
}
