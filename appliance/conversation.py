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
class Document:
    """A text with a name: a file or a search result. `source` says where it is from, `context` what it is about."""

    text: str
    title: str | None = None
    context: str | None = None
    source: str | None = None
    mark: CacheMark | None = None


@dataclass(frozen=True, slots=True)
class Thinking:
    """What the model thought before it answered, as sent back by the client.

    `signature` is what the box signed the thought with, if it did. `sealed` is a thought that came closed and that this
    box cannot open: it travels, but no model reads it, and its `text` is empty.
    """

    text: str
    mark: CacheMark | None = None
    signature: str | None = None
    sealed: str | None = None


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
    content: tuple[Text | Image | Document, ...]
    is_error: bool = False
    mark: CacheMark | None = None


Block = Text | Image | Document | Thinking | ToolCall | ToolResult


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    blocks: tuple[Block, ...]
    name: str | None = None


class ToolKind(StrEnum):
    """How a client wants to be called: with JSON that fits a schema, or with free text.

    A model sees both as functions; a custom tool's only parameter is the string `input`.
    """

    FUNCTION = "function"
    CUSTOM = "custom"


@dataclass(frozen=True, slots=True)
class Tool:
    """Something that the model may call. `parameters` is a JSON Schema; `None` means no parameters were given."""

    name: str
    description: str | None = None
    parameters: Mapping[str, Any] | None = None
    strict: bool | None = None
    mark: CacheMark | None = None
    kind: ToolKind = ToolKind.FUNCTION


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
class Reasoning:
    """How much the model is to think before it answers. `None` means: the model's own default.

    `budget_tokens` is the most it may think.
    """

    enabled: bool | None = None
    effort: str | None = None
    budget_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is asking, as far as headers and body tell."""

    session_id: str | None = None
    parent_session_id: str | None = None
    client: str | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True)
class RetentionDirective:
    """Keep the prompt's tokens `token_start` up to, not including, `token_end` (`None`: to the end) at `priority`
    0 … 100, for `duration_seconds` after their last use (`None`: as long as there is room)."""

    token_start: int
    token_end: int | None
    priority: int
    duration_seconds: float | None = None


LOWEST_PRIORITY = -(2**31) + 1


@dataclass(frozen=True, slots=True)
class Hints:
    """What an agent says about its request, its session and what will come next. `None` means: not said.

    A higher `priority` is more important, 0 is ordinary, what is below is background work; a `strict_priority`
    outranks every lower one whatever the cache holds. `output_tokens` is the expected length of the answer, `worker`
    the one that is to serve it while it lives, `tool_wait_seconds` how long a tool will take that the answer may call.
    With `speculative_prefill` the session's next prompt is prepared, as far as it is known. Requests of one `prefix_id`
    are kept on one worker where no session is named; `interarrival_seconds` lie, as a rule, between an answer and the
    next request. `total_requests` is for policies: some clients mean all of a conversation by it, others what is left.
    """

    priority: int = 0
    strict_priority: int | None = None
    output_tokens: int | None = None
    speculative_prefill: bool = False
    prefix_id: str | None = None
    total_requests: int | None = None
    interarrival_seconds: float | None = None
    session_final: bool = False
    worker: int | None = None
    retention: tuple[RetentionDirective, ...] = ()
    tool_wait_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Ignored:
    """Something in a request that this box did not act upon, and why: never an error, always told when asked for."""

    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class Reporting:
    """What the client wants to be told beside the answer.

    `fields` names parts of the answer's `nvext`. `compare_with` is the id of an earlier answer, whose request this one
    is compared with to explain what was not read from cache; `diagnose` asks for that explanation, first turn or not.
    """

    fields: frozenset[str] = frozenset()
    diagnose: bool = False
    compare_with: str | None = None
    ignored: tuple[Ignored, ...] = ()


@dataclass(frozen=True, slots=True)
class RawPrompt:
    """A prompt that no template makes: text as it is, or its tokens. Exactly one of the two is set.

    `more` are further prompts of the same request, each answered on its own: an engine never sees them.
    """

    text: str | None = None
    token_ids: tuple[int, ...] | None = None
    more: tuple[RawPrompt, ...] = ()


@dataclass(frozen=True, slots=True)
class Conversation:
    """One request: the whole history, the tools, and how to answer. With a `raw` prompt there are no messages.

    With `continue_final` the last message is the beginning of the answer, and what comes back goes on from its end.
    """

    model: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool = True
    sampling: Sampling = field(default_factory=Sampling)
    output_format: OutputFormat = field(default_factory=OutputFormat)
    reasoning: Reasoning = field(default_factory=Reasoning)
    template_arguments: Mapping[str, Any] | None = None
    cache_salt: str | None = None
    identity: Identity = field(default_factory=Identity)
    hints: Hints = field(default_factory=Hints)
    reporting: Reporting = field(default_factory=Reporting)
    continue_final: bool = False
    raw: RawPrompt | None = None
