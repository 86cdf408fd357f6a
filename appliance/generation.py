"""What comes back for a `Conversation`: a start, deltas, an end; and the service that makes them.

`api/` depends on these types and on the `Inference` protocol only, so it can be tested without an engine
and never learns which worker, tokenizer or parser stood behind an answer.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from appliance.cache.prompt_read import NO_TOKENS, TierTokens
from appliance.conversation import Conversation, Ignored


class FinishReason(StrEnum):
    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class MarkedPrefix:
    """The prompt's first `tokens` tokens, which the client asked to keep for `ttl_seconds`."""

    tokens: int
    ttl_seconds: float


@dataclass(frozen=True, slots=True)
class Started:
    """The engine has read the prompt. Sent once, before any delta, when the first token is there.

    `below` says which of the `cached_tokens` were on no GPU. `marked` are the client's cache marks in the order of the
    prompt, as far as their places in it are known, `ignored` is what the engines could not act upon.
    """

    prompt_tokens: int
    cached_tokens: int
    worker: int
    marked: tuple[MarkedPrefix, ...] = ()
    ignored: tuple[Ignored, ...] = ()
    below: TierTokens = NO_TOKENS


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of one tool call. `id` and `name` come once, with the first piece of the call `index`."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token with its natural-log probability and the alternatives considered (most likely first)."""

    token: str
    logprob: float
    utf8: bytes
    top: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Delta:
    """What one step added to choice `choice` (0 … n-1). `finish` is set on the last delta of a choice.

    `matched_stop` is the stop string or stop token that ended the choice, `None` for end of text. `tokens` counts those
    that the choice got since its last delta, shown or not.
    """

    choice: int
    text: str = ""
    thinking: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finish: FinishReason | None = None
    matched_stop: str | int | None = None
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a whole request. `cached_tokens` is the part of `prompt_tokens` read from cache, `below` says which of
    these were on no GPU."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int = 0
    below: TierTokens = NO_TOKENS


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds since the request arrived."""

    first_token_seconds: float
    total_seconds: float


@dataclass(frozen=True, slots=True)
class Finished:
    """Sent once, after the last delta of the last choice. `timing` is `None` where nobody measured."""

    usage: Usage
    timing: Timing | None = None


Event = Started | Delta | Finished


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model that this box serves. `context_tokens` is the longest prompt plus answer."""

    id: str
    context_tokens: int
    created: int


class Prepared(Protocol):
    """A request that was rendered and found acceptable; nothing was sent to a worker yet."""

    @property
    def prompt_tokens(self) -> int: ...

    def events(self) -> AsyncGenerator[Event, None]:
        """Run the request. Closing the iterator aborts it in the engine.

        Raises a `RequestError` when no worker can finish it.
        """
        ...


class Inference(Protocol):
    """The box as the API sees it."""

    def models(self) -> tuple[ModelCard, ...]: ...

    async def prepare(self, conversation: Conversation, request_id: str) -> Prepared:
        """Render and check a request, without starting it.

        Raises a `RequestError` (unknown model, prompt too long, bad tool choice, box not ready or draining).
        """
        ...

    async def count_tokens(self, conversation: Conversation) -> int:
        """Exact length of the rendered prompt. Raises like `prepare`."""
        ...
