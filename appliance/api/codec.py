"""What a wire protocol is to the HTTP side: it turns JSON into a `Conversation` and events into bytes.

A codec knows nothing of HTTP but header names; the HTTP side knows nothing of what the bytes say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from appliance.api.offload import HERE, Offload
from appliance.api.problems import Problem
from appliance.conversation import Conversation
from appliance.errors import RequestError
from appliance.generation import Event


@dataclass(frozen=True, slots=True)
class Stamp:
    """What marks one answer: its unique id and the second (since 1970) in which it was asked for."""

    id: str
    created: int


class Reply(Protocol):
    """One answer in the making. Fed with every event of a request, in order."""

    def begin(self) -> bytes:
        """What a stream sends once the request is accepted, before the first event; empty for nothing."""
        ...

    def add(self, event: Event) -> bytes:
        """Take one event. Returns what a stream sends for it; empty for nothing (always, when not streaming).

        Raises `GenerationFailed` when the events tell that the answer is not whole.
        """
        ...

    def end(self) -> bytes:
        """After the last event: the end of the stream, or the whole body. Raises like `add`."""
        ...


class Call(Protocol):
    """A decoded request."""

    @property
    def conversation(self) -> Conversation: ...

    @property
    def streams(self) -> bool: ...

    def reply(self, stamp: Stamp) -> Reply: ...


class Codec(Protocol):
    id_prefix: str

    async def decode(self, body: Mapping[str, Any], headers: Mapping[str, str], offload: Offload = HERE) -> Call:
        """Header names are in lower case, `offload` runs what takes long. Raises a `RequestError` naming the field."""
        ...

    def problem(self, error: RequestError, request_id: str) -> Problem:
        """An error response: the codec's `problems.Envelope`."""
        ...

    def encode_stream_error(self, error: RequestError, request_id: str) -> bytes:
        """The end of a stream that was already under way."""
        ...
