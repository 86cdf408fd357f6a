"""Messages API, request side: a string or a list of blocks, and what is left out of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from appliance.api.fields import Fields
from appliance.api.messages_reading import Reading
from appliance.conversation import Block, Text
from appliance.errors import nearest

BlockDecoder = Callable[[Fields, Reading], tuple[Block, ...]]

LEFT_OUT: Final = frozenset(
    {
        "browser_state",
        "compaction",
        "connector_text",
        "container_upload",
        "fallback",
        "mcp_tool_listing",
        "tool_addition",
        "tool_reference",
        "tool_removal",
    }
)
LEFT_OUT_ENDINGS: Final = ("_tool_use", "_tool_result")
"""Calls that a server made, and what came of them: `server_tool_use`, `web_search_tool_result`, `mcp_tool_use`, …"""


def decode_content(fields: Fields, kinds: Mapping[str, BlockDecoder], reading: Reading) -> tuple[Block, ...]:
    """The field `content`: a string, empty for no block, or blocks of the given kinds. Raises `InvalidRequest`."""
    content = fields.raw("content")
    if isinstance(content, str):
        return (Text(content),) if content else ()
    if not isinstance(content, list):
        raise fields.refuse("content", "a string or an array of blocks")
    return decode_blocks(fields.objects("content"), kinds, reading)


def decode_blocks(blocks: list[Fields], kinds: Mapping[str, BlockDecoder], reading: Reading) -> tuple[Block, ...]:
    """A mark on a block that is left out is one on the block before it: the prefix to keep ends there."""
    kept: list[Block] = []
    for fields in blocks:
        decoded = _decoder(fields, kinds)(fields, reading)
        kept.extend(decoded)
        mark = reading.mark(fields)
        if mark is not None and kept and (decoded or kept[-1].mark is None):
            kept[-1] = replace(kept[-1], mark=mark)
    return tuple(kept)


def decode_text(fields: Fields, _: Reading) -> tuple[Block, ...]:
    return (Text(present_string(fields, "text")),)


def present_string(fields: Fields, name: str) -> str:
    value = fields.string(name)
    if value is None:
        raise fields.refuse(name, "a string")
    return value


def _decoder(fields: Fields, kinds: Mapping[str, BlockDecoder]) -> BlockDecoder:
    kind = fields.raw("type")
    if isinstance(kind, str):
        if kind in kinds:
            return kinds[kind]
        if kind in LEFT_OUT or kind.endswith(LEFT_OUT_ENDINGS):
            return _leave_out
    close = nearest(kind, kinds) if isinstance(kind, str) else None
    raise fields.refuse("type", f"one of {', '.join(kinds)} here" + (f" (did you mean {close}?)" if close else ""))


def _leave_out(fields: Fields, reading: Reading) -> tuple[Block, ...]:
    reading.leave_out(fields.path(), f"blocks of type {fields.raw('type')} are not shown to the model")
    return ()
