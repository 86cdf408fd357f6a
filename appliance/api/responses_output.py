"""Responses, answer side: deltas → the items of an output, one open at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from appliance.api.responses_bodies import COMPLETED, INCOMPLETE, ItemBody, LogprobBody, ReasoningItem, logprob_body
from appliance.api.responses_drafts import (
    CustomCallDraft,
    Draft,
    FunctionCallDraft,
    MessageDraft,
    SummaryDraft,
    ThoughtDraft,
)
from appliance.api.responses_events import EventWriter
from appliance.api.responses_names import ClientName
from appliance.api.seal import Seal
from appliance.conversation import ToolKind
from appliance.errors import GenerationFailed
from appliance.generation import Delta, ToolCallDelta

MESSAGE_PREFIX: Final = "msg_"
REASONING_PREFIX: Final = "rs_"
CALL_PREFIXES: Final = {ToolKind.FUNCTION: "fc_", ToolKind.CUSTOM: "ctc_"}


@dataclass(frozen=True, slots=True)
class OutputStyle:
    """How a client wants items: `names` of its tools by the names that the model sees, thoughts as summaries or not,
    and closed as well when there is a `seal`; with `prewarms` none at all."""

    names: Mapping[str, ClientName]
    summarises: bool = False
    seal: Seal | None = None
    prewarms: bool = False


class Output:
    """The items of one answer, in order. An item is closed when the next begins.

    White space before a message is held back until the message is there: models put it between a thought and a call.
    """

    def __init__(self, writer: EventWriter, token: str, style: OutputStyle) -> None:
        self._writer = writer
        self._token = token
        self._style = style
        self._draft: Draft | None = None
        self._call_index: int | None = None
        self._blank = ""
        self._blank_logprobs: list[LogprobBody] = []
        self.items: list[ItemBody] = []

    def add(self, delta: Delta) -> None:
        """Raises `GenerationFailed` for a piece of a call after the next one has begun."""
        if delta.thinking:
            self._think(delta.thinking)
        if delta.text or (delta.logprobs and isinstance(self._draft, MessageDraft)):
            self._say(delta.text, [logprob_body(entry) for entry in delta.logprobs])
        for piece in delta.tool_calls:
            self._call(piece)

    def close(self, status: str = COMPLETED) -> None:
        """The end of the answer. One that is complete and neither says nor calls anything has an empty message."""
        if not self._has_result() and (self._blank or status == COMPLETED):
            self._begin_message()
        self._close_draft(status)

    def abandon(self) -> None:
        """The end before the end: what is there is kept."""
        self._close_draft(INCOMPLETE)

    def _think(self, text: str) -> None:
        draft = self._draft
        if not isinstance(draft, ThoughtDraft | SummaryDraft):
            self._close_draft(COMPLETED)
            kind = SummaryDraft if self._style.summarises else ThoughtDraft
            draft = kind(self._writer, len(self.items), self._new_id(REASONING_PREFIX), self._style.seal)
            self._draft = draft
        draft.add(text)

    def _say(self, text: str, logprobs: list[LogprobBody]) -> None:
        if isinstance(self._draft, MessageDraft):
            self._draft.add(text, logprobs)
            return
        self._blank += text
        self._blank_logprobs += logprobs
        if not text.isspace():
            self._begin_message()

    def _begin_message(self) -> None:
        """What was held back comes first."""
        self._close_draft(COMPLETED)
        self._draft = draft = MessageDraft(self._writer, len(self.items), self._new_id(MESSAGE_PREFIX))
        if self._blank:
            draft.add(self._blank, self._blank_logprobs)
        self._drop_blank()

    def _call(self, piece: ToolCallDelta) -> None:
        draft = self._draft
        if piece.index != self._call_index or not isinstance(draft, FunctionCallDraft | CustomCallDraft):
            draft = self._begin_call(piece)
        draft.add(piece.arguments)

    def _begin_call(self, piece: ToolCallDelta) -> FunctionCallDraft | CustomCallDraft:
        if piece.id is None or piece.name is None:
            raise GenerationFailed("a tool call went on after the next item had begun", code="unfinished")
        self._close_draft(COMPLETED)
        self._drop_blank()
        called = self._style.names.get(piece.name, ClientName(piece.name))
        kind = CustomCallDraft if called.kind is ToolKind.CUSTOM else FunctionCallDraft
        self._draft = draft = kind(
            self._writer, len(self.items), self._new_id(CALL_PREFIXES[called.kind]), piece.id, called
        )
        self._call_index = piece.index
        return draft

    def _close_draft(self, status: str) -> None:
        if self._draft is not None:
            self.items.append(self._draft.close(status))
            self._draft = None

    def _drop_blank(self) -> None:
        self._blank = ""
        self._blank_logprobs = []

    def _has_result(self) -> bool:
        drafts = () if self._draft is None else (self._draft,)
        return any(not isinstance(part, ReasoningItem | ThoughtDraft | SummaryDraft) for part in (*self.items, *drafts))

    def _new_id(self, prefix: str) -> str:
        """The same wherever the answer is made from the same events."""
        return f"{prefix}{self._token}{len(self.items):04x}"
