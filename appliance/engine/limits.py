"""What is refused before a template or a tokenizer has taken time for it."""

from __future__ import annotations

from collections.abc import Iterator

from vllm.config import ModelConfig

from appliance.conversation import Conversation, Image, ToolResult
from appliance.errors import ContextTooLong, InvalidRequest

MAX_COUNTED_PARTS = 2**16
MAX_COUNTED_CHARACTERS = 2**22
"""A million tokens. To make them of one text takes a tokenizer about 130 bytes a character."""


def refuse_images(conversation: Conversation, model: ModelConfig) -> None:
    """Raises `InvalidRequest` when there are any, and a model that sees nothing."""
    if not model.is_multimodal_model and any(images_of(conversation)):
        raise InvalidRequest(
            f"{conversation.model} cannot see: this request holds an image.",
            param="messages",
            hint="Leave images out, or serve a model that sees.",
        )


def refuse_parts(conversation: Conversation, most: int) -> None:
    """Raises `ContextTooLong` for more than `most` messages and tools: each is a token at least, and a template takes
    its time for every one."""
    parts = len(conversation.messages) + len(conversation.tools)
    if parts > most:
        raise ContextTooLong(
            f"The prompt has {parts} messages and tools; no more than {most} can be rendered.",
            param="messages",
            code="context_length_exceeded",
        )


def countable(text: str) -> str:
    """The same text. Raises `ContextTooLong` for more than `MAX_COUNTED_CHARACTERS`."""
    if len(text) > MAX_COUNTED_CHARACTERS:
        raise ContextTooLong(
            f"The prompt has {len(text)} characters; of more than {MAX_COUNTED_CHARACTERS} no tokens are made.",
            param="messages",
            code="context_length_exceeded",
        )
    return text


def images_of(conversation: Conversation) -> Iterator[Image]:
    for message in conversation.messages:
        for block in message.blocks:
            parts = block.content if isinstance(block, ToolResult) else (block,)
            yield from (part for part in parts if isinstance(part, Image))
