"""What an answer of OpenAI's protocols says beside its content, known when it has ended."""

from __future__ import annotations

from typing import Any, Final

from msgspec import UNSET, UnsetType

from appliance.api.diagnostics import CacheMiss, Diagnostics, Fingerprint, MissReason, fingerprint_of
from appliance.api.extension_reply import nvext_of
from appliance.conversation import Conversation
from appliance.generation import Event, Finished, Started

JsonObject = dict[str, Any]

OPENAI_REASONS: Final = {
    MissReason.MODEL_CHANGED: "model_changed",
    MissReason.SYSTEM_CHANGED: "input_changed",
    MissReason.TOOLS_CHANGED: "tools_changed",
    MissReason.MESSAGES_CHANGED: "input_changed",
}


class Postscript:
    """`nvext` and `prompt_cache_diagnostics` of one answer; `add` takes its events.

    A request counts as known to `diagnostics` from the first event on, when an engine has read it. Without, there is
    nothing to compare with. `fingerprint` is that of `conversation`, where it was taken already.
    """

    def __init__(
        self,
        conversation: Conversation,
        answer_id: str,
        diagnostics: Diagnostics | None = None,
        fingerprint: Fingerprint | None = None,
    ) -> None:
        self._conversation = conversation
        self._answer_id = answer_id
        self._diagnostics = diagnostics
        self._fingerprint = fingerprint
        self._started: Started | None = None
        self._finished: Finished | None = None
        self._cache_diagnostics: JsonObject | UnsetType = UNSET

    def add(self, event: Event) -> None:
        if isinstance(event, Started):
            self._started = event
            if self._diagnostics is not None:
                self._diagnose(event, self._diagnostics)
        elif isinstance(event, Finished):
            self._finished = event

    def nvext(self) -> JsonObject | UnsetType:
        return nvext_of(self._conversation, self._started, self._finished) or UNSET

    def cache_diagnostics(self) -> JsonObject | UnsetType:
        """Only where the client asked for a comparison."""
        return self._cache_diagnostics

    def _diagnose(self, started: Started, diagnostics: Diagnostics) -> None:
        reporting = self._conversation.reporting
        fingerprint = self._fingerprint or fingerprint_of(self._conversation)
        if reporting.diagnose:
            missed_tokens = started.prompt_tokens - started.cached_tokens
            miss = diagnostics.miss(fingerprint, reporting.compare_with, missed_tokens)
            self._cache_diagnostics = openai_diagnostics(miss)
        diagnostics.record(self._answer_id, fingerprint)


def openai_diagnostics(miss: CacheMiss | None) -> JsonObject:
    """`prompt_cache_diagnostics`; `at` is ours and names the place of the difference."""
    if miss is None:
        return {"type": "cache_hit"}
    if miss.reason is MissReason.PREVIOUS_MESSAGE_NOT_FOUND:
        return {"type": "comparison_response_not_found"}
    if miss.reason not in OPENAI_REASONS:
        return {"type": "unavailable"}
    return {
        "type": "cache_miss",
        "reason": OPENAI_REASONS[miss.reason],
        "cache_missed_tokens": miss.missed_tokens,
        "at": miss.at,
    }
