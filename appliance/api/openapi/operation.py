"""One route as the OpenAPI document describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from appliance.api.anthropic_problems import AnthropicError
from appliance.api.problems import OpenAIError

JsonObject = dict[str, Any]

JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"


class Group(StrEnum):
    """A heading in the document, and the namespace of its schemas: protocols use one name for different things."""

    CHAT = "chat"
    COMPLETIONS = "completions"
    MESSAGES = "messages"
    RESPONSES = "responses"
    CONVERSATIONS = "conversations"
    MODELS = "models"
    BOX = "box"


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    schema: JsonObject
    place: str = "query"
    is_required: bool = False
    """Those in a path always are."""

    def described(self) -> JsonObject:
        required = {"required": True} if self.place == "path" or self.is_required else {}
        return {"name": self.name, "in": self.place, "schema": self.schema, **required}


@dataclass(frozen=True, slots=True)
class Stream:
    """Server-sent events: `data` is the type of what each carries as JSON. `done` says that the last is `[DONE]`."""

    data: Any
    done: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """`takes` is the type of the request body, `answers` that of a 200 as JSON, `stream` what it is when it streams. A
    tuple of types is one of them.

    `errors` are the statuses that a right client may see beside 401, which every guarded route has, in the `envelope`;
    `others` are answers of another status that are no errors. `media_type` is what `answers` comes as.
    """

    group: Group
    summary: str
    answers: Any = None
    stream: Stream | None = None
    takes: Any = None
    parameters: tuple[Parameter, ...] = ()
    errors: tuple[int, ...] = ()
    envelope: Any = OpenAIError
    others: Mapping[int, Any] = field(default_factory=dict)
    media_type: str = JSON

    def told(self) -> tuple[Any, ...]:
        """The types of all that it answers."""
        data = None if self.stream is None else self.stream.data
        told = (self.answers, data, self.envelope, *self.others.values())
        return tuple(each for kind in told if kind is not None for each in alternatives(kind))


def alternatives(kind: Any) -> tuple[Any, ...]:
    return kind if isinstance(kind, tuple) else (kind,)


BOTH_ENVELOPES: Final = (OpenAIError, AnthropicError)
