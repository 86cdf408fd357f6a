"""Chat completions, answer side: tool calls, of functions and of custom tools."""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec import UNSET

from appliance.api.chat_bodies import CallBody, CustomBody, FunctionBody
from appliance.api.custom_tools import CustomInput, custom_input
from appliance.generation import Delta, ToolCallDelta


class CustomCalls:
    """The pieces of a stream's calls. Those of the custom tools `names` are read as the text they stand for."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self._inputs: dict[tuple[int, int], CustomInput] = {}

    def pieces(self, delta: Delta) -> list[CallBody]:
        """What `delta` adds; when it finishes its choice, also what was held back."""
        calls = [self._piece(delta.choice, piece) for piece in delta.tool_calls]
        return calls if delta.finish is None else [*calls, *self._ends(delta.choice)]

    def _piece(self, choice: int, piece: ToolCallDelta) -> CallBody:
        if piece.name in self._names:
            self._inputs[choice, piece.index] = CustomInput()
        custom = self._inputs.get((choice, piece.index))
        name = UNSET if piece.id is None else piece.name or ""
        kind = UNSET if piece.id is None else "function" if custom is None else "custom"
        call_id = UNSET if piece.id is None else piece.id
        if custom is None:
            return CallBody(FunctionBody(piece.arguments, name), index=piece.index, id=call_id, type=kind)
        body = CustomBody(custom.add(piece.arguments), name)
        return CallBody(custom=body, index=piece.index, id=call_id, type=kind)

    def _ends(self, choice: int) -> list[CallBody]:
        indices = [index for each, index in self._inputs if each == choice]
        left = [(index, self._inputs.pop((choice, index)).end()) for index in indices]
        return [CallBody(custom=CustomBody(text), index=index) for index, text in left if text]


@dataclass(slots=True)
class CallDraft:
    """A call being put together for a whole answer."""

    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)

    def add(self, piece: ToolCallDelta) -> None:
        self.id = piece.id or self.id
        self.name = piece.name or self.name
        self.arguments.append(piece.arguments)

    def body(self, customs: frozenset[str]) -> CallBody:
        arguments = "".join(self.arguments)
        if self.name in customs:
            return CallBody(custom=CustomBody(custom_input(arguments), self.name), id=self.id, type="custom")
        return CallBody(FunctionBody(arguments, self.name), id=self.id, type="function")
