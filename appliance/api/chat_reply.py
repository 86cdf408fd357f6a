"""Chat completions, answer side: events → the chunks of a stream, or one `chat.completion`.

Both say the same: the chunks, put together as a client does, are the message of the whole answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from msgspec import UNSET, json

from appliance.api import sse
from appliance.api.chat_bodies import (
    CallBody,
    ChoiceBody,
    Chunk,
    ChunkChoice,
    Completion,
    DeltaBody,
    LogprobBody,
    LogprobsBody,
    MessageBody,
    logprob_body,
    usage_body,
)
from appliance.api.chat_calls import CallDraft, CustomCalls
from appliance.api.chat_options import StreamOptions
from appliance.api.codec import Stamp
from appliance.api.custom_tools import custom_names
from appliance.api.postscript import Postscript
from appliance.api.usage_so_far import UsageSoFar
from appliance.conversation import Conversation
from appliance.errors import GenerationFailed
from appliance.generation import Delta, Event, Finished, FinishReason, Started, Usage

NO_DELTA: Final = DeltaBody()
ROLE_DELTA: Final = DeltaBody(role="assistant")
EMPTY_CONTENT: Final = DeltaBody(content="")


class StreamReply:
    """An answer as server-sent events: role, deltas, one finish per choice, usage when wanted, `[DONE]`.

    What is known only at the end goes with the usage, or, where none is wanted, with the last finish, which therefore
    waits for it: a chunk without choices is not expected then.
    """

    def __init__(
        self, stamp: Stamp, conversation: Conversation, postscript: Postscript, options: StreamOptions
    ) -> None:
        self._stamp = stamp
        self._model = conversation.model
        self._num_choices = conversation.sampling.n
        self._customs = CustomCalls(custom_names(conversation.tools))
        self._postscript = postscript
        self._include_usage = options.include_usage
        self._usage = UsageSoFar(options)
        self._spoken: set[int] = set()
        self._finished: set[int] = set()
        self._last: list[ChunkChoice] = []

    def begin(self) -> bytes:
        return b""

    def add(self, event: Event) -> bytes:
        self._postscript.add(event)
        self._usage.add(event)
        if isinstance(event, Delta):
            return self._deltas(event)
        if isinstance(event, Started):
            return b"".join(self._chunk(ChunkChoice(index, ROLE_DELTA)) for index in range(self._num_choices))
        return self._end_of_choices(event.usage)

    def end(self) -> bytes:
        self.check_integrity()
        for index in range(self._num_choices):
            if index not in self._finished:
                raise unfinished(index)
        return sse.DONE

    def check_integrity(self) -> None:
        choices = set(range(self._num_choices))
        if not (self._spoken <= choices and self._finished <= choices):
            raise AssertionError(f"choices {self._spoken | self._finished} of {self._num_choices}")

    def _deltas(self, delta: Delta) -> bytes:
        refuse_abort(delta)
        if delta.text or delta.tool_calls:
            self._spoken.add(delta.choice)
        calls = self._customs.pieces(delta)
        frames = b""
        if delta.text or delta.thinking or calls or delta.logprobs:
            frames = self._chunk(ChunkChoice(delta.choice, _delta_body(delta, calls), _logprobs_body(delta)))
        return frames if delta.finish is None else frames + self._finish(delta)

    def _finish(self, delta: Delta) -> bytes:
        self._finished.add(delta.choice)
        body = NO_DELTA if delta.choice in self._spoken else EMPTY_CONTENT
        choice = ChunkChoice(delta.choice, body, finish_reason=delta.finish, stop_reason=delta.matched_stop)
        if self._include_usage or len(self._finished) < self._num_choices:
            return self._chunk(choice)
        self._last = [choice]
        return b""

    def _chunk(self, choice: ChunkChoice) -> bytes:
        usage = self._usage.told(choice.index)
        return sse.frame(json.encode(Chunk(self._stamp.id, self._stamp.created, self._model, [choice], usage)))

    def _end_of_choices(self, usage: Usage) -> bytes:
        chunk = Chunk(
            self._stamp.id,
            self._stamp.created,
            self._model,
            self._last,
            usage_body(usage) if self._include_usage else UNSET,
            self._postscript.nvext(),
            self._postscript.cache_diagnostics(),
        )
        return sse.frame(json.encode(chunk)) if chunk.choices or self._include_usage else b""


def _delta_body(delta: Delta, calls: list[CallBody]) -> DeltaBody:
    thinking = delta.thinking or UNSET
    return DeltaBody(
        content=delta.text or UNSET,
        reasoning_content=thinking,
        reasoning=thinking,
        tool_calls=calls or UNSET,
    )


def _logprobs_body(delta: Delta) -> LogprobsBody | None:
    return LogprobsBody([logprob_body(entry) for entry in delta.logprobs]) if delta.logprobs else None


@dataclass(slots=True)
class ChoiceDraft:
    customs: frozenset[str]
    texts: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: dict[int, CallDraft] = field(default_factory=dict)
    logprobs: list[LogprobBody] = field(default_factory=list)
    finish: FinishReason | None = None
    matched_stop: str | int | None = None

    def add(self, delta: Delta) -> None:
        self.texts.append(delta.text)
        self.thoughts.append(delta.thinking)
        self.logprobs.extend(logprob_body(entry) for entry in delta.logprobs)
        for piece in delta.tool_calls:
            self.calls.setdefault(piece.index, CallDraft()).add(piece)
        if delta.finish is not None:
            self.finish = delta.finish
            self.matched_stop = delta.matched_stop

    def message(self) -> MessageBody:
        """`content` is null only beside tool calls; an answer that said nothing has an empty one."""
        calls = [self.calls[index].body(self.customs) for index in sorted(self.calls)]
        text = "".join(self.texts)
        thinking = "".join(self.thoughts) or None
        return MessageBody(None if calls and not text else text, thinking, calls or UNSET, thinking)

    def body(self, index: int, *, with_logprobs: bool) -> ChoiceBody:
        if self.finish is None:
            raise unfinished(index)
        logprobs = LogprobsBody(self.logprobs) if with_logprobs else None
        return ChoiceBody(index, self.message(), logprobs, self.finish, self.matched_stop)


class WholeReply:
    """An answer as one JSON body."""

    def __init__(self, stamp: Stamp, conversation: Conversation, postscript: Postscript) -> None:
        self._stamp = stamp
        self._model = conversation.model
        self._postscript = postscript
        self._with_logprobs = conversation.sampling.logprobs is not None
        customs = custom_names(conversation.tools)
        self._choices = [ChoiceDraft(customs) for _ in range(conversation.sampling.n)]
        self._usage: Usage | None = None

    def begin(self) -> bytes:
        return b""

    def add(self, event: Event) -> bytes:
        self._postscript.add(event)
        if isinstance(event, Delta):
            refuse_abort(event)
            self._choices[event.choice].add(event)
        elif isinstance(event, Finished):
            self._usage = event.usage
        return b""

    def end(self) -> bytes:
        if self._usage is None:
            raise GenerationFailed("the answer ended without its token counts", code="unfinished")
        completion = Completion(
            self._stamp.id,
            self._stamp.created,
            self._model,
            [choice.body(index, with_logprobs=self._with_logprobs) for index, choice in enumerate(self._choices)],
            usage_body(self._usage),
            self._postscript.nvext(),
            self._postscript.cache_diagnostics(),
        )
        return json.encode(completion)


def refuse_abort(delta: Delta) -> None:
    """An answer that the box broke off is an error: passed on as whole, it would mislead an agent."""
    if delta.finish is FinishReason.ABORT:
        raise GenerationFailed("the box gave this request up before it was finished", code="aborted")


def unfinished(choice: int) -> GenerationFailed:
    return GenerationFailed(f"choice {choice} ended without a finish reason", code="unfinished")
