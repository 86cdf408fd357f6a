"""Where a conversation is rendered: at once while that is short, else in a thread beside the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from appliance.conversation import (
    Block,
    Conversation,
    Document,
    Image,
    OutputKind,
    ToolCall,
    ToolChoiceMode,
    ToolResult,
)

Result = TypeVar("Result")

LIGHT_CHARACTERS: Final = 2**11
"""Measured at a load of 6: 2,000 characters of words take 3.9 ms of processor time, 4,096 of noise 18 ms."""
BLOCK_CHARACTERS: Final = 128
"""A message, a block or a tool takes about as long as so many characters that are read for the first time."""
VALUE_CHARACTERS: Final = 16
"""The same for a value in a schema or another field."""

_FREE: Final = frozenset({None, ToolChoiceMode.AUTO, ToolChoiceMode.NONE})


class Lane:
    """One thread, for two would have the loop wait twice as long for its turn.

    With `in_place` what is light is done on the caller's thread: to hand it over takes longer than to do it. Then the
    two threads work at the same time.
    """

    def __init__(self, name: str, *, in_place: bool = True) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._in_place = in_place

    async def run(self, work: Callable[[], Result], *, is_light: bool) -> Result:
        """What `work` returns or raises."""
        if is_light and self._in_place:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        """Without waiting for what runs; what waits is not begun."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def is_light(conversation: Conversation) -> bool:
    """Whether rendering holds a loop for a few milliseconds at most. Never where a grammar has to be checked."""
    choice = conversation.tool_choice
    if conversation.output_format.kind is not OutputKind.TEXT or (choice is not None and choice.mode not in _FREE):
        return False
    if any(tool.strict for tool in conversation.tools):
        return False
    characters = 0
    for more in _characters(conversation):
        characters += more
        if characters > LIGHT_CHARACTERS:
            return False
    return True


def _characters(conversation: Conversation) -> Iterator[int]:
    """What is left to be read, piece by piece."""
    for message in conversation.messages:
        yield BLOCK_CHARACTERS
        for block in message.blocks:
            yield from _of_block(block)
    for tool in conversation.tools:
        yield BLOCK_CHARACTERS + len(tool.name) + len(tool.description or "")
        yield from _of_value(tool.parameters)
    if conversation.raw is not None:
        yield len(conversation.raw.text or "") + len(conversation.raw.token_ids or ())
    sampling = conversation.sampling
    for value in (conversation.template_arguments, sampling.logit_bias, sampling.stop, sampling.stop_token_ids):
        yield from _of_value(value)


def _of_block(block: Block) -> Iterator[int]:
    yield BLOCK_CHARACTERS
    match block:
        case ToolResult():
            for part in block.content:
                yield from _of_block(part)
        case ToolCall():
            yield len(block.name) + len(block.arguments)
        case Document():
            yield len(block.text) + sum(len(name or "") for name in (block.title, block.context, block.source))
        case Image():
            yield len(block.url)
        case _:
            yield len(block.text)


def _of_value(value: Any) -> Iterator[int]:
    yield VALUE_CHARACTERS + (len(value) if isinstance(value, str) else 0)
    inner = (
        (*value, *value.values()) if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    )
    for each in inner:
        yield from _of_value(each)
