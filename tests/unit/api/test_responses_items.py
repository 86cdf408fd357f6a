from __future__ import annotations

import base64
from typing import Any

import pytest

from appliance.api.custom_tools import custom_arguments
from appliance.api.documents import Documents
from appliance.api.fields import Fields
from appliance.conversation import Document, Image, Message, Role, Text, Thinking, ToolCall, ToolResult
from appliance.errors import InvalidRequest
from tests.unit.api.responses_requests import SEAL, body_of, decoded, new_codec, said

CALL = {"type": "function_call", "call_id": "c1", "name": "run", "arguments": "{}"}


async def messages_of(*items: Any) -> tuple[Message, ...]:
    return (await decoded(body_of(*items))).messages


async def test_a_string_is_what_the_user_says() -> None:
    assert (await decoded({"model": "m", "input": "Hi"})).messages == (Message(Role.USER, (Text("Hi"),)),)


async def test_instructions_come_first() -> None:
    messages = (await decoded(body_of(said("a", "developer"), instructions="Be brief."))).messages
    assert messages == (Message(Role.SYSTEM, (Text("Be brief."),)), Message(Role.DEVELOPER, (Text("a"),)))


async def test_items_of_one_answer_come_together_and_those_of_the_next_do_not() -> None:
    thought = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]}
    result = {"type": "function_call_output", "call_id": "c1", "output": "done"}
    messages = await messages_of(thought, said("I run.", "assistant"), CALL, result, said("a", "assistant"), thought)
    call = ToolCall("c1", "run", "{}")
    assert messages == (
        Message(Role.ASSISTANT, (Thinking("hm"), Text("I run."), call)),
        Message(Role.TOOL, (ToolResult("c1", (Text("done"),)),)),
        Message(Role.ASSISTANT, (Text("a"),)),
        Message(Role.ASSISTANT, (Thinking("hm"),)),
    )


async def test_two_messages_of_an_assistant_stay_two() -> None:
    messages = await messages_of(said("a", "assistant"), said("b", "assistant"))
    assert [message.blocks for message in messages] == [(Text("a"),), (Text("b"),)]


async def test_what_the_box_closed_is_opened_and_counts_more_than_the_text_beside_it() -> None:
    closed = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "short"}]}
    (message,) = await messages_of({**closed, "encrypted_content": SEAL.close("the whole thought")})
    assert message.blocks == (Thinking("the whole thought"),)
    (message,) = await messages_of(closed)
    assert message.blocks == (Thinking("short"),)


async def test_a_thought_closed_elsewhere_travels_unread_and_is_told() -> None:
    conversation = await decoded(body_of({"type": "reasoning", "summary": [], "encrypted_content": "gAAAA"}))
    assert conversation.messages[0].blocks == (Thinking("", sealed="gAAAA"),)
    assert [entry.field for entry in conversation.reporting.ignored] == ["input[0].encrypted_content"]


async def test_a_custom_call_is_json_for_the_model() -> None:
    call = {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": 'a "b"\n'}
    output = {"type": "custom_tool_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "ok"}]}
    first, second = await messages_of(call, output)
    assert first.blocks == (ToolCall("c1", "patch", custom_arguments('a "b"\n')),)
    assert second.blocks == (ToolResult("c1", (Text("ok"),)),)


async def test_a_call_in_a_namespace_has_the_name_that_the_model_gave() -> None:
    spaced = {**CALL, "namespace": "mcp__files__"}
    (message,) = await messages_of(spaced, {**CALL, "call_id": "c2", "namespace": "functions"})
    assert [block.name for block in message.blocks if isinstance(block, ToolCall)] == ["mcp__files__run", "run"]


async def test_calls_of_tools_without_a_schema_keep_their_meaning() -> None:
    action = {"type": "exec", "command": ["ls"], "env": {}}
    shell = {"type": "local_shell_call", "id": "lsh_1", "call_id": "c1", "action": action, "status": "completed"}
    patch = {"type": "apply_patch_call", "call_id": "c2", "operation": {"type": "delete_file", "path": "a"}}
    results = (
        {"type": "function_call_output", "call_id": "c1", "output": "a.txt"},
        {"type": "apply_patch_call_output", "call_id": "c2", "status": "completed", "output": None},
    )
    answer, *outputs = await messages_of(shell, patch, *results)
    assert answer.blocks == (
        ToolCall("c1", "local_shell", '{"type": "exec", "command": ["ls"], "env": {}}'),
        ToolCall("c2", "apply_patch", '{"type": "delete_file", "path": "a"}'),
    )
    assert [message.blocks for message in outputs] == [
        (ToolResult("c1", (Text("a.txt"),)),),
        (ToolResult("c2", (Text('"completed"'),)),),
    ]


async def test_a_screenshot_is_an_image() -> None:
    picture = {"type": "computer_screenshot", "image_url": "data:image/png;base64,AA=="}
    call = {"type": "computer_call", "call_id": "c1", "action": {"type": "screenshot"}}
    _, output = await messages_of(call, {"type": "computer_call_output", "call_id": "c1", "output": picture})
    assert output.blocks == (ToolResult("c1", (Image("data:image/png;base64,AA=="),)),)


async def test_a_call_of_a_remote_server_carries_its_result() -> None:
    item = {"type": "mcp_call", "id": "mcp_1", "server_label": "s", "name": "ask", "arguments": "{}", "output": "42"}
    assert await messages_of(item) == (
        Message(Role.ASSISTANT, (ToolCall("mcp_1", "ask", "{}"),)),
        Message(Role.TOOL, (ToolResult("mcp_1", (Text("42"),)),)),
    )


@pytest.mark.parametrize(
    "kind", ["web_search_call", "file_search_call", "code_interpreter_call", "mcp_list_tools", "from_the_future"]
)
async def test_an_item_that_a_model_cannot_be_shown_is_left_out_and_told(kind: str) -> None:
    conversation = await decoded(body_of({"type": kind, "id": "x"}, said("Hi")))
    assert len(conversation.messages) == 1
    assert [entry.field for entry in conversation.reporting.ignored] == ["input[0]"]


async def test_tools_declared_in_the_middle_may_be_called() -> None:
    tool = {"type": "function", "name": "late"}
    more = {"type": "additional_tools", "role": "developer", "tools": [tool]}
    conversation = await decoded(body_of(more, said("Hi"), tools=[{"type": "function", "name": "early"}]))
    assert [tool.name for tool in conversation.tools] == ["early", "late"]


def part(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [{"type": kind, **fields}]}


async def test_pictures_and_files() -> None:
    text = base64.b64encode("Grüezi".encode()).decode()
    messages = await messages_of(
        part("input_image", image_url="https://x/y.png", detail="original"),
        part("input_file", filename="a.txt", file_data=f"data:text/plain;base64,{text}"),
        part("input_file", file_data=text),
    )
    assert [message.blocks[0] for message in messages] == [
        Image("https://x/y.png", "high"),
        Document("Grüezi", "a.txt"),
        Document("Grüezi"),
    ]


async def test_the_text_of_a_pdf_is_read_wherever_the_file_stands() -> None:
    data = base64.b64encode(b"%PDF-1.7").decode()
    file = {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{data}"}
    output = {"type": "function_call_output", "call_id": "c1", "output": [{**file, "file_data": data}]}
    codec = new_codec(documents=Documents(lambda content: content.decode() + " read"))
    read = await codec.read(Fields(body_of({"type": "message", "role": "user", "content": [file]}, CALL, output)), {})
    first, _, result = read.conversation.messages
    document = Document("%PDF-1.7 read", "a.pdf")
    assert first.blocks == (document,)
    assert result.blocks == (ToolResult("c1", (document,)),)


@pytest.mark.parametrize(
    ("item", "field"),
    [
        (part("input_image", file_id="file-1"), "file_id"),
        (part("input_file", file_id="file-1"), "file_id"),
        (part("input_file", file_url="https://x/y.pdf"), "file_url"),
        (part("input_file", file_data=base64.b64encode(b"\xff\xfe\x00").decode()), "file_data"),
    ],
)
async def test_a_file_that_is_not_in_the_request_is_left_out_and_told(item: dict[str, Any], field: str) -> None:
    conversation = await decoded(body_of(item))
    assert conversation.messages[0].blocks == ()
    assert [entry.field for entry in conversation.reporting.ignored] == [f"input[0].content[0].{field}"]


@pytest.mark.parametrize(
    ("item", "path"),
    [
        ({}, "input[0].type"),
        ({"type": 5}, "input[0].type"),
        ({"role": "robot", "content": "a"}, "input[0].role"),
        ({"type": "message", "content": "a"}, "input[0].role"),
        ({"role": "user"}, "input[0].content"),
        ({"role": "user", "content": 5}, "input[0].content"),
        ({"role": "user", "content": ["a"]}, "input[0].content[0]"),
        ({"role": "user", "content": [{"type": "input_audio"}]}, "input[0].content[0].type"),
        ({"role": "user", "content": [{"type": "input_text"}]}, "input[0].content[0].text"),
        ({"role": "user", "content": [{"type": "input_image"}]}, "input[0].content[0].image_url"),
        (
            {"role": "user", "content": [{"type": "input_image", "image_url": "file:///x"}]},
            "input[0].content[0].image_url",
        ),
        ({"role": "user", "content": [{"type": "input_file"}]}, "input[0].content[0].file_data"),
        ({"role": "user", "content": [{"type": "input_file", "file_data": "?"}]}, "input[0].content[0].file_data"),
        ({"role": "assistant", "content": [{"type": "input_image"}]}, "input[0].content[0].type"),
        ({**CALL, "call_id": None}, "input[0].call_id"),
        ({**CALL, "name": ""}, "input[0].name"),
        ({**CALL, "arguments": {}}, "input[0].arguments"),
        ({"type": "custom_tool_call", "call_id": "c", "name": "n"}, "input[0].input"),
        ({"type": "function_call_output", "output": "x"}, "input[0].call_id"),
        ({"type": "function_call_output", "call_id": "c", "output": 5}, "input[0].output"),
        ({"type": "reasoning", "encrypted_content": 5}, "input[0].encrypted_content"),
        ({"type": "reasoning", "content": [{}]}, "input[0].content[0].text"),
        ({"type": "compaction"}, "input[0].encrypted_content"),
        ({"type": "compaction", "encrypted_content": "gAAA"}, "input[0].encrypted_content"),
    ],
)
async def test_a_wrong_item_is_refused_by_its_path(item: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await decoded(body_of(item))
    assert refused.value.param == path


async def test_a_result_without_its_call_is_refused_as_hosted_services_do() -> None:
    with pytest.raises(InvalidRequest, match="No tool call found for function call output with call_id c9"):
        await decoded(body_of({"type": "function_call_output", "call_id": "c9", "output": "x"}))


async def test_a_break_point_marks_its_part_and_inherits_the_life_of_the_request() -> None:
    content = [
        {"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}},
        {"type": "input_text", "text": "b", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}},
    ]
    item = {"type": "message", "role": "user", "content": content}
    conversation = await decoded(body_of(item, prompt_cache_options={"mode": "explicit", "ttl": "12h"}))
    assert [block.mark.ttl_seconds for block in conversation.messages[0].blocks if block.mark] == [43200, 1800]
