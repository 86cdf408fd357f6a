from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.api.messages_bodies import BlockDelta, BlockStart, BlockStop, InputDelta, Step, ToolUseBlock
from appliance.api.messages_flow import BlockFlow, tool_use_id
from appliance.errors import GenerationFailed
from appliance.generation import Delta, ToolCallDelta


def call(index: int, arguments: str = "", *, opens: bool = False) -> ToolCallDelta:
    return (
        ToolCallDelta(index, f"call_{index}", f"tool{index}", arguments)
        if opens
        else ToolCallDelta(index, arguments=arguments)
    )


def flow_of(*deltas: Delta) -> list[Step]:
    flow = BlockFlow(lambda thought: f"<{thought}>")
    steps: list[Step] = []
    for delta in deltas:
        steps.extend(flow.add(delta))
        flow.check_integrity()
    steps.extend(flow.end())
    flow.check_integrity()
    return steps


def shown(steps: list[Step]) -> list[str]:
    """Each step in one word or two."""
    words = []
    for step in steps:
        if isinstance(step, BlockStart):
            block = step.content_block
            name = f" {block.name}" if isinstance(block, ToolUseBlock) else ""
            words.append(f"{step.index} +{block.__struct_config__.tag}{name}")
        elif isinstance(step, BlockDelta):
            words.append(
                f"{step.index} {next(iter(getattr(step.delta, name) for name in step.delta.__struct_fields__))}"
            )
        else:
            words.append(f"{step.index} stop")
    return words


def test_thinking_text_and_a_call_in_one_delta_are_three_blocks() -> None:
    steps = flow_of(Delta(0, text="B", thinking="A", tool_calls=(call(0, "{}", opens=True),)))
    assert shown(steps) == [
        "0 +thinking",
        "0 A",
        "0 <A>",
        "0 stop",
        "1 +text",
        "1 B",
        "1 stop",
        "2 +tool_use tool0",
        "2 {}",
        "2 stop",
    ]


def test_thinking_after_text_is_a_block_of_its_own() -> None:
    steps = flow_of(Delta(0, thinking="A"), Delta(0, text="B"), Delta(0, thinking="C"), Delta(0, text="D"))
    assert [step.content_block.__struct_config__.tag for step in steps if isinstance(step, BlockStart)] == [
        "thinking",
        "text",
        "thinking",
        "text",
    ]


def test_blanks_alone_are_no_block_and_blanks_before_words_stay() -> None:
    assert flow_of(Delta(0, text="\n"), Delta(0, text="\n")) == []
    assert flow_of(Delta(0, thinking="\n\n")) == []
    assert shown(flow_of(Delta(0, thinking="\n"), Delta(0, thinking="A"), Delta(0, text="\n"), Delta(0, text="B"))) == [
        "0 +thinking",
        "0 \nA",
        "0 <\nA>",
        "0 stop",
        "1 +text",
        "1 \nB",
        "1 stop",
    ]
    torn = flow_of(Delta(0, thinking="A"), Delta(0, text="\n\n"), Delta(0, tool_calls=(call(0, "{}", opens=True),)))
    assert [step.index for step in torn if isinstance(step, BlockStart)] == [0, 1]


def test_input_is_sent_as_it_is_made() -> None:
    steps = flow_of(
        Delta(0, tool_calls=(call(0, opens=True),)),
        Delta(0, tool_calls=(call(0, '{"a"'),)),
        Delta(0, tool_calls=(call(0, ": 1}"), call(1, '{"b": 2}', opens=True))),
    )
    assert shown(steps) == [
        "0 +tool_use tool0",
        '0 {"a"',
        "0 : 1}",
        "0 stop",
        "1 +tool_use tool1",
        '1 {"b": 2}',
        "1 stop",
    ]


def test_a_call_waits_until_the_one_before_it_is_complete() -> None:
    steps = flow_of(
        Delta(0, tool_calls=(call(0, '{"a": ', opens=True), call(1, '{"b": ', opens=True))),
        Delta(0, tool_calls=(call(1, "2"), call(0, "1}"))),
        Delta(0, tool_calls=(call(1, "}"),)),
    )
    assert shown(steps) == [
        "0 +tool_use tool0",
        '0 {"a": ',
        "0 1}",
        "0 stop",
        "1 +tool_use tool1",
        '1 {"b": 2',
        "1 }",
        "1 stop",
    ]


@given(st.permutations([(index, piece) for index in range(3) for piece in range(4)]))
def test_calls_are_whole_and_never_overlap_however_their_pieces_come(order: list[tuple[int, int]]) -> None:
    texts = [f'{{"n": [{index}, "]}}"]}}' for index in range(3)]
    pieces = [[text[:3], text[3:7], text[7:9], text[9:]] for text in texts]
    turn = {index: iter(pieces[index]) for index in range(3)}
    seen: list[int] = []
    deltas = []
    for index, _ in order:
        deltas.append(Delta(0, tool_calls=(call(index, next(turn[index]), opens=index not in seen),)))
        seen.append(index)
    inputs: dict[int, str] = {}
    open_block: int | None = None
    for step in flow_of(*deltas):
        if isinstance(step, BlockStart):
            assert open_block is None
            open_block = step.index
        elif isinstance(step, BlockStop):
            open_block = None
        else:
            assert step.index == open_block
            assert isinstance(step.delta, InputDelta)
            inputs[step.index] = inputs.get(step.index, "") + step.delta.partial_json
    first_seen = list(dict.fromkeys(seen))
    assert [inputs[position] for position in range(3)] == [texts[index] for index in first_seen]


def test_a_call_that_goes_on_after_other_content_is_an_error_unless_it_was_complete() -> None:
    with pytest.raises(GenerationFailed, match="went on after"):
        flow_of(
            Delta(0, tool_calls=(call(0, '{"a"', opens=True),)),
            Delta(0, text="x"),
            Delta(0, tool_calls=(call(0, ":1}"),)),
        )
    steps = flow_of(
        Delta(0, tool_calls=(call(0, "{}", opens=True),)), Delta(0, text="x"), Delta(0, tool_calls=(call(0, " "),))
    )
    assert shown(steps)[-2:] == ["1 x", "1 stop"]


def test_hidden_thoughts_are_only_signed() -> None:
    flow = BlockFlow(lambda thought: f"<{thought}>", hides_thinking=True)
    steps = [*flow.add(Delta(0, thinking="A")), *flow.add(Delta(0, thinking="B")), *flow.end()]
    assert shown(steps) == ["0 +thinking", "0 <AB>", "0 stop"]


@pytest.mark.parametrize(
    ("engine_id", "client_id"),
    [
        ("chatcmpl-tool-0a1b", "toolu_0a1b"),
        ("call_0a1b", "toolu_0a1b"),
        ("toolu_0a1b", "toolu_0a1b"),
        ("functions.weather:0", "toolu_functions_weather_0"),
        ("aB3dE6gH9", "toolu_aB3dE6gH9"),
    ],
)
def test_ids_of_calls_have_the_protocols_form(engine_id: str, client_id: str) -> None:
    assert tool_use_id(engine_id) == client_id
    assert tool_use_id(client_id) == client_id
