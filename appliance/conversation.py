"""What a client asked for, whichever protocol carried it.

The codecs in `api/` turn JSON into a `Conversation`; everything behind them (rendering, routing, retention)
sees only this. All values are frozen, so a conversation may be kept, compared and hashed into a session.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Role(StrEnum):
    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class CacheMark:
    """The client asks to keep the prefix up to and including the block that carries this mark."""

    ttl_seconds: float


@dataclass(frozen=True, slots=True)
class Text:
    text: str
    mark: CacheMark | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """A picture by URL; `data:` URLs carry the bytes themselves."""

    url: str
    detail: str | None = None
    mark: CacheMark | None = None


@dataclass(frozen=True, slots=True)
class Thinking:
    """What the model thought before it answered, as sent back by the client."""

    text: str
    mark: CacheMark | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call the assistant made. `arguments` is JSON text exactly as the model wrote it."""

    id: str
    name: str
    arguments: str
    mark: CacheMark | None = None


@dataclass(frozen=True, slots=True)
class ToolResult:
    call_id: str
    content: tuple[Text | Image, ...]
    is_error: bool = False
    mark: CacheMark | None = None


Block = Text | Image | Thinking | ToolCall | ToolResult


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    blocks: tuple[Block, ...]
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call. `parameters` is a JSON Schema; `None` means no parameters were given."""

    name: str
    description: str | None = None
    parameters: Mapping[str, Any] | None = None
    strict: bool | None = None
    mark: CacheMark | None = None


class ToolChoiceMode(StrEnum):
    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"
    NAMED = "named"


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Which tools may be called. `name` is set exactly when `mode` is `NAMED`."""

    mode: ToolChoiceMode
    name: str | None = None


class OutputKind(StrEnum):
    TEXT = "text"
    JSON_OBJECT = "json_object"
    JSON_SCHEMA = "json_schema"


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """What the answer must look like. `schema` is set exactly when `kind` is `JSON_SCHEMA`."""

    kind: OutputKind = OutputKind.TEXT
    schema: Mapping[str, Any] | None = None
    name: str | None = None
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn. `None` means: the model's own default.

    `logprobs` is the number of alternatives to report beside each token (0: the token alone).
    """

    max_tokens: int | None = None
    min_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    logprobs: int | None = None
    logit_bias: Mapping[str, float] | None = None
    n: int = 1


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is asking, as far as headers and body tell."""

    session_id: str | None = None
    parent_session_id: str | None = None
    client: str | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True)
class Hints:
    """What an agent says about its request. A higher `priority` is more important; 0 is ordinary."""

    priority: int = 0


@dataclass(frozen=True, slots=True)
class Conversation:
    """One request: the whole history, the tools, and how to answer."""

    model: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool = True
    sampling: Sampling = field(default_factory=Sampling)
    output_format: OutputFormat = field(default_factory=OutputFormat)
    reasoning_effort: str | None = None
    template_arguments: Mapping[str, Any] | None = None
    cache_salt: str | None = None
    identity: Identity = field(default_factory=Identity)
    hints: Hints = field(default_factory=Hints)
