from __future__ import annotations

from appliance.conversation import (
    Conversation,
    Document,
    Image,
    Message,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from appliance.stabiliser.transcript import transcript
from tests.unit.stabiliser.clients import MARK


def test_everything_that_is_rendered_is_shown_in_order() -> None:
    shown = transcript(
        Conversation(
            "m",
            (
                Message(Role.SYSTEM, (Text("A\nB", MARK),)),
                Message(Role.USER, (Image("data:" + "x" * 100), Document("page"))),
                Message(Role.ASSISTANT, (Thinking("hm"), ToolCall("call_1", "find", "{}"))),
                Message(Role.TOOL, (ToolResult("call_1", (Text("out"),)),)),
            ),
            tools=(Tool("find", "Finds.", {"type": "object"}), Tool("list")),
        )
    )
    assert shown == [
        *("[tool find]", "Finds.", '{"type": "object"}', "[tool list]"),
        *("[system]", "[text] keep 300 s", "A", "B"),
        *("[user]", "[image]", "data:" + "x" * 75, "[document]", "page"),
        *("[assistant]", "[thinking]", "hm", "[call of find]", "{}"),
        *("[tool]", "[result of call_1]", "[text]", "out"),
    ]
