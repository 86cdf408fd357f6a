"""Responses, answer side: the items of an output while they are being made."""

from __future__ import annotations

from typing import Protocol

from msgspec import UNSET, UnsetType

from appliance.api.custom_tools import CustomInput
from appliance.api.responses_bodies import (
    COMPLETED,
    IN_PROGRESS,
    CustomCallItem,
    FunctionCallItem,
    ItemBody,
    LogprobBody,
    MessageItem,
    OutputText,
    ReasoningItem,
    ReasoningText,
    SummaryText,
)
from appliance.api.responses_events import (
    ArgumentsDelta,
    ArgumentsDone,
    EventWriter,
    InputDelta,
    InputDone,
    ItemAdded,
    ItemDone,
    PartAdded,
    PartDone,
    ReasoningDelta,
    ReasoningDone,
    SummaryDelta,
    SummaryDone,
    SummaryPartAdded,
    SummaryPartDone,
    TextDelta,
    TextDone,
)
from appliance.api.responses_names import ClientName
from appliance.api.seal import Seal


class Draft(Protocol):
    """An item that is open. It writes its own events: the first when it is made, the last when it is closed."""

    def close(self, status: str) -> ItemBody:
        """The whole item. Called once."""
        ...


class MessageDraft:
    def __init__(self, writer: EventWriter, index: int, item_id: str) -> None:
        self._writer = writer
        self._index = index
        self._id = item_id
        self._texts: list[str] = []
        self._logprobs: list[LogprobBody] = []
        writer.write(ItemAdded, index, MessageItem(item_id, IN_PROGRESS, []))
        writer.write(PartAdded, item_id, index, OutputText())

    def add(self, text: str, logprobs: list[LogprobBody]) -> None:
        self._texts.append(text)
        self._logprobs += logprobs
        self._writer.write(TextDelta, self._id, self._index, text, logprobs)

    def close(self, status: str) -> MessageItem:
        part = OutputText("".join(self._texts), self._logprobs)
        item = MessageItem(self._id, status, [part])
        self._writer.write(TextDone, self._id, self._index, part.text, part.logprobs)
        self._writer.write(PartDone, self._id, self._index, part)
        self._writer.write(ItemDone, self._index, item)
        return item


class ThoughtDraft:
    """A thought in full. With a `seal` it is also given closed."""

    def __init__(self, writer: EventWriter, index: int, item_id: str, seal: Seal | None) -> None:
        self._writer = writer
        self._index = index
        self._id = item_id
        self._seal = seal
        self._texts: list[str] = []
        writer.write(ItemAdded, index, ReasoningItem(item_id, IN_PROGRESS, [], []))
        writer.write(PartAdded, item_id, index, ReasoningText())

    def add(self, text: str) -> None:
        self._texts.append(text)
        self._writer.write(ReasoningDelta, self._id, self._index, text)

    def close(self, status: str) -> ReasoningItem:
        text = "".join(self._texts)
        item = ReasoningItem(self._id, status, [], [ReasoningText(text)], _closed(text, self._seal))
        self._writer.write(ReasoningDone, self._id, self._index, text)
        self._writer.write(PartDone, self._id, self._index, ReasoningText(text))
        self._writer.write(ItemDone, self._index, item)
        return item


class SummaryDraft:
    """A thought as its own summary, for a client that looks at summaries only."""

    def __init__(self, writer: EventWriter, index: int, item_id: str, seal: Seal | None) -> None:
        self._writer = writer
        self._index = index
        self._id = item_id
        self._seal = seal
        self._texts: list[str] = []
        writer.write(ItemAdded, index, ReasoningItem(item_id, IN_PROGRESS, []))
        writer.write(SummaryPartAdded, item_id, index, SummaryText())

    def add(self, text: str) -> None:
        self._texts.append(text)
        self._writer.write(SummaryDelta, self._id, self._index, text)

    def close(self, status: str) -> ReasoningItem:
        text = "".join(self._texts)
        item = ReasoningItem(self._id, status, [SummaryText(text)], encrypted_content=_closed(text, self._seal))
        self._writer.write(SummaryDone, self._id, self._index, text)
        self._writer.write(SummaryPartDone, self._id, self._index, SummaryText(text))
        self._writer.write(ItemDone, self._index, item)
        return item


class FunctionCallDraft:
    """A call without arguments gets an empty object: clients read JSON."""

    def __init__(self, writer: EventWriter, index: int, item_id: str, call_id: str, called: ClientName) -> None:
        self._writer = writer
        self._index = index
        self._id = item_id
        self._call_id = call_id
        self._called = called
        self._pieces: list[str] = []
        writer.write(ItemAdded, index, self._item(IN_PROGRESS))

    def add(self, piece: str) -> None:
        if piece:
            self._pieces.append(piece)
            self._writer.write(ArgumentsDelta, self._id, self._index, piece)

    def close(self, status: str) -> FunctionCallItem:
        if status == COMPLETED and not self._pieces:
            self.add("{}")
        item = self._item(status)
        self._writer.write(ArgumentsDone, self._id, self._index, item.name, item.arguments)
        self._writer.write(ItemDone, self._index, item)
        return item

    def _item(self, status: str) -> FunctionCallItem:
        namespace = self._called.namespace or UNSET
        return FunctionCallItem(
            self._id, status, self._call_id, self._called.name, "".join(self._pieces), namespace=namespace
        )


class CustomCallDraft:
    """The model writes JSON, the client reads the text in it."""

    def __init__(self, writer: EventWriter, index: int, item_id: str, call_id: str, called: ClientName) -> None:
        self._writer = writer
        self._index = index
        self._id = item_id
        self._call_id = call_id
        self._called = called
        self._input = CustomInput()
        self._texts: list[str] = []
        writer.write(ItemAdded, index, self._item(IN_PROGRESS))

    def add(self, piece: str) -> None:
        self._say(self._input.add(piece))

    def close(self, status: str) -> CustomCallItem:
        self._say(self._input.end())
        item = self._item(status)
        self._writer.write(InputDone, self._id, self._index, item.input)
        self._writer.write(ItemDone, self._index, item)
        return item

    def _say(self, text: str) -> None:
        if text:
            self._texts.append(text)
            self._writer.write(InputDelta, self._id, self._index, text)

    def _item(self, status: str) -> CustomCallItem:
        namespace = self._called.namespace or UNSET
        return CustomCallItem(
            self._id, status, self._call_id, self._called.name, "".join(self._texts), namespace=namespace
        )


def _closed(text: str, seal: Seal | None) -> str | UnsetType:
    return UNSET if seal is None else seal.close(text)
