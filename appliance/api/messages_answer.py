"""One answer of the messages API in the making: what a stream and a whole answer have in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from msgspec import UNSET, UnsetType

from appliance.api.chat_reply import refuse_abort
from appliance.api.codec import Stamp
from appliance.api.context_clearing import Applied
from appliance.api.context_edits import ClearThinking
from appliance.api.diagnostics import Diagnostics, Fingerprint, MissReason, fingerprint_of
from appliance.api.extension_reply import nvext_of
from appliance.api.messages_bodies import (
    CacheCreation,
    ClearedThinking,
    ClearedToolUses,
    ContextBody,
    DiagnosticsBody,
    FinalUsage,
    MissBody,
    OutputDetails,
    Step,
    StopBody,
    UsageBody,
)
from appliance.api.messages_flow import BlockFlow
from appliance.api.messages_usage import prompt_usage
from appliance.api.seal import Seal
from appliance.conversation import Conversation
from appliance.errors import GenerationFailed
from appliance.generation import Delta, Finished, FinishReason, Started

WITHOUT_TOKENS: Final = frozenset({MissReason.PREVIOUS_MESSAGE_NOT_FOUND, MissReason.UNAVAILABLE})


@dataclass(frozen=True, slots=True)
class Request:
    """What an answer depends on. `applied` is `None` where no edits of the context were asked for; with `prewarms` the
    prompt is read and the answer is empty. `fingerprint` is that of `conversation`, where it was taken already."""

    conversation: Conversation
    applied: tuple[Applied, ...] | None = None
    hides_thinking: bool = False
    prewarms: bool = False
    fingerprint: Fingerprint | None = None


class Answer:
    """Takes the events of one request. Its bodies raise `GenerationFailed` when the answer is not whole."""

    def __init__(self, stamp: Stamp, request: Request, seal: Seal, diagnostics: Diagnostics) -> None:
        self.stamp = stamp
        self.request = request
        self._diagnostics = diagnostics
        sign = seal.close if request.hides_thinking else seal.sign
        self._flow = BlockFlow(sign, hides_thinking=request.hides_thinking)
        self._started: Started | None = None
        self._diagnosis: DiagnosticsBody | UnsetType | None = UNSET
        self._finished: Finished | None = None
        self._finish: FinishReason | None = None
        self._matched_stop: str | int | None = None

    def start(self, started: Started) -> None:
        """The engine has read the prompt: from now on later requests can be compared with this one."""
        self._started = started
        if self.request.conversation.reporting.diagnose:
            fingerprint = self.request.fingerprint or fingerprint_of(self.request.conversation)
            self._diagnosis = self._diagnose(started, fingerprint)
            self._diagnostics.record(self.stamp.id, fingerprint)

    def steps(self, delta: Delta) -> Iterator[Step]:
        refuse_abort(delta)
        if not self.request.prewarms:
            yield from self._flow.add(delta)
        if delta.finish is not None:
            self._finish = delta.finish
            self._matched_stop = delta.matched_stop
            yield from self._flow.end()
            self._flow.check_integrity()

    def finish(self, finished: Finished) -> None:
        self._finished = finished

    def stop(self) -> StopBody:
        finish, finished = self._whole()
        if self.request.prewarms:
            return StopBody("max_tokens", None)
        if finish is FinishReason.LENGTH:
            wanted = self.request.conversation.sampling.max_tokens
            is_cut_short = wanted is not None and finished.usage.completion_tokens < wanted
            return StopBody("model_context_window_exceeded" if is_cut_short else "max_tokens", None)
        if isinstance(self._matched_stop, str):
            return StopBody("stop_sequence", self._matched_stop)
        return StopBody("tool_use" if self._flow.has_calls else "end_turn", None)

    def usage_at_start(self) -> UsageBody:
        usage = prompt_usage(self._read())
        return UsageBody(
            input_tokens=usage.input_tokens,
            cache_creation_input_tokens=usage.written_tokens,
            cache_read_input_tokens=usage.read_tokens,
            cache_creation=CacheCreation(usage.written_5m_tokens, usage.written_1h_tokens),
            output_tokens=0,
        )

    def final_usage(self) -> FinalUsage:
        usage = prompt_usage(self._read())
        _, finished = self._whole()
        made = finished.usage
        return FinalUsage(
            input_tokens=usage.input_tokens,
            cache_creation_input_tokens=usage.written_tokens,
            cache_read_input_tokens=usage.read_tokens,
            output_tokens=0 if self.request.prewarms else made.completion_tokens,
            output_tokens_details=OutputDetails(0 if self.request.prewarms else made.reasoning_tokens),
        )

    def diagnostics(self) -> DiagnosticsBody | UnsetType | None:
        """Why the prompt was not read from cache, for a client that asks; `None` when nothing was changed."""
        return self._diagnosis

    def context(self) -> ContextBody | UnsetType:
        applied = self.request.applied
        return UNSET if applied is None else ContextBody([_edit_body(edit) for edit in applied])

    def nvext(self) -> dict[str, Any] | UnsetType:
        return nvext_of(self.request.conversation, self._started, self._finished) or UNSET

    def _diagnose(self, started: Started, fingerprint: Fingerprint) -> DiagnosticsBody | None:
        missed_tokens = started.prompt_tokens - started.cached_tokens
        compare_with = self.request.conversation.reporting.compare_with
        miss = self._diagnostics.miss(fingerprint, compare_with, missed_tokens)
        if miss is None:
            return None
        tokens = UNSET if miss.reason in WITHOUT_TOKENS else miss.missed_tokens
        return DiagnosticsBody(MissBody(miss.reason, tokens, miss.at or UNSET))

    def _read(self) -> Started:
        if self._started is None:
            raise GenerationFailed("the answer came without a start", code="unfinished")
        return self._started

    def _whole(self) -> tuple[FinishReason, Finished]:
        if self._finish is None or self._finished is None:
            raise GenerationFailed("the answer ended without a finish reason", code="unfinished")
        return self._finish, self._finished


def _edit_body(applied: Applied) -> ClearedToolUses | ClearedThinking:
    kind = ClearedThinking if isinstance(applied.edit, ClearThinking) else ClearedToolUses
    return kind(applied.cleared, applied.cleared_tokens)
