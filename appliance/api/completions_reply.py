"""Completions, answer side: events → the chunks of a stream, or one `text_completion`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from msgspec import UNSET, json

from appliance.api import sse
from appliance.api.chat_bodies import usage_body
from appliance.api.chat_options import StreamOptions
from appliance.api.chat_reply import refuse_abort, unfinished
from appliance.api.codec import Stamp
from appliance.api.completions_bodies import ChoiceBody, CompletionBody, LogprobsBody, logprobs_body
from appliance.api.postscript import Postscript
from appliance.api.usage_so_far import UsageSoFar
from appliance.errors import GenerationFailed
from appliance.generation import Delta, Event, Finished, FinishReason, Started, TokenLogprob, Usage

NO_CHOICES: Final[list[ChoiceBody]] = []


@dataclass(slots=True)
class ChoiceDraft:
    """One choice: what it begins with (the echoed prompt), and what it has said since."""

    texts: list[str]
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish: FinishReason | None = None
    matched_stop: str | int | None = None

    def add(self, delta: Delta) -> None:
        refuse_abort(delta)
        self.texts.append(delta.text)
        self.logprobs.extend(delta.logprobs)
        if delta.finish is not None:
            self.finish, self.matched_stop = delta.finish, delta.matched_stop

    def body(self, index: int, *, with_logprobs: bool) -> ChoiceBody:
        if self.finish is None:
            raise unfinished(index)
        logprobs = logprobs_body(self.logprobs, len(self.texts[0])) if with_logprobs else None
        return ChoiceBody(index, "".join(self.texts), logprobs, self.finish, self.matched_stop)


class WholeReply:
    """An answer as one JSON body. `openings` are what its choices begin with, one for each."""

    def __init__(
        self, stamp: Stamp, model: str, postscript: Postscript, openings: list[str], *, with_logprobs: bool
    ) -> None:
        self._stamp = stamp
        self._model = model
        self._postscript = postscript
        self._with_logprobs = with_logprobs
        self._choices = [ChoiceDraft([opening]) for opening in openings]
        self._usage: Usage | None = None

    def begin(self) -> bytes:
        return b""

    def add(self, event: Event) -> bytes:
        self._postscript.add(event)
        if isinstance(event, Delta):
            self._choices[event.choice].add(event)
        elif isinstance(event, Finished):
            self._usage = event.usage
        return b""

    def end(self) -> bytes:
        if self._usage is None:
            raise GenerationFailed("the answer ended without its token counts", code="unfinished")
        choices = [choice.body(index, with_logprobs=self._with_logprobs) for index, choice in enumerate(self._choices)]
        body = CompletionBody(
            self._stamp.id, self._stamp.created, self._model, choices, usage_body(self._usage), self._postscript.nvext()
        )
        return json.encode(body)


class StreamReply:
    """An answer as server-sent events: openings, deltas, usage when wanted, `[DONE]`.

    The last finish waits for what is known only at the end, when there is no chunk with usage to carry that.
    """

    def __init__(
        self, stamp: Stamp, model: str, postscript: Postscript, openings: list[str], options: StreamOptions
    ) -> None:
        self._stamp = stamp
        self._model = model
        self._postscript = postscript
        self._openings = openings
        self._include_usage = options.include_usage
        self._usage = UsageSoFar(options)
        self._offsets = [len(opening) for opening in openings]
        self._unfinished = set(range(len(openings)))
        self._last = NO_CHOICES

    def begin(self) -> bytes:
        return b""

    def add(self, event: Event) -> bytes:
        self._postscript.add(event)
        self._usage.add(event)
        if isinstance(event, Delta):
            return self._delta(event)
        if isinstance(event, Started):
            choices = [ChoiceBody(index, opening) for index, opening in enumerate(self._openings) if opening]
            return b"".join(map(self._chunk, choices))
        return self._end_of_choices(event.usage)

    def end(self) -> bytes:
        self.check_integrity()
        for index in self._unfinished:
            raise unfinished(index)
        return sse.DONE

    def check_integrity(self) -> None:
        if not self._unfinished <= set(range(len(self._openings))):
            raise AssertionError(f"choices {self._unfinished} of {len(self._openings)}")

    def _delta(self, delta: Delta) -> bytes:
        refuse_abort(delta)
        body = ChoiceBody(delta.choice, delta.text, self._logprobs(delta), delta.finish, delta.matched_stop)
        if delta.finish is None:
            return self._chunk(body) if delta.text or delta.logprobs else b""
        self._unfinished.discard(delta.choice)
        if self._include_usage or self._unfinished:
            return self._chunk(body)
        self._last = [body]
        return b""

    def _logprobs(self, delta: Delta) -> LogprobsBody | None:
        if not delta.logprobs:
            return None
        offset = self._offsets[delta.choice]
        self._offsets[delta.choice] += sum(len(entry.token) for entry in delta.logprobs)
        return logprobs_body(list(delta.logprobs), offset)

    def _chunk(self, choice: ChoiceBody) -> bytes:
        usage = self._usage.told(choice.index)
        return sse.frame(json.encode(CompletionBody(self._stamp.id, self._stamp.created, self._model, [choice], usage)))

    def _end_of_choices(self, usage: Usage) -> bytes:
        body = CompletionBody(
            self._stamp.id,
            self._stamp.created,
            self._model,
            self._last,
            usage_body(usage) if self._include_usage else UNSET,
            self._postscript.nvext(),
        )
        return sse.frame(json.encode(body)) if body.choices or self._include_usage else b""
