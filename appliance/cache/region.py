"""What a piece of a prompt is."""

from __future__ import annotations

from enum import StrEnum


class Region(StrEnum):
    """`SYSTEM` is the system text that opens a conversation; `OUTPUT` is what is being generated."""

    SYSTEM = "system"
    TOOLS = "tools"
    USER = "user"
    TOOL_RESULT = "tool_result"
    ASSISTANT = "assistant"
    THINKING = "thinking"
    TOOL_CALL = "tool_call"
    IMAGE = "image"
    OUTPUT = "output"
