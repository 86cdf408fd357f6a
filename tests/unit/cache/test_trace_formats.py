from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from appliance.cache.access_record import write_accesses
from appliance.cache.errors import TraceError
from appliance.cache.trace import REGIONS, build_trace
from appliance.cache.trace_formats import read_recording
from tests.unit.cache.small_traces import access


def claude_code(name: str = "trace_1", **row: Any) -> dict[str, Any]:
    first = {"t": 0.0, "type": "n", "in": 200, "out": 70, "stop": "tool_use", "api_time": 4.0, "input_types": ["text"]}
    second = first | {"t": 10.0, "in": 400, "stop": "end_turn", "input_types": ["tool_result"]}
    subagent = {
        "type": "subagent",
        "t": 5.0,
        "agent_id": "agent_001",
        "tool_tokens": 64,
        "system_tokens": 0,
        "requests": [first | {"hash_ids": [1, 2, 3]}],
    }
    return {
        "id": name,
        "block_size": 64,
        "hash_id_scope": "local",
        "tool_tokens": 64,
        "system_tokens": 64,
        "requests": [first | {"hash_ids": [1, 2, 3]}, subagent, second | {"hash_ids": [1, 2, 3, 4, 5, 6]} | row],
    }


def write(path: Path, *lines: object) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_claude_code_session_has_its_own_clock_and_its_subagents_beside_it(tmp_path: Path) -> None:
    recording = read_recording(write(tmp_path / "one.json", claude_code()))
    assert recording.is_local_time
    main, subagent = recording.sessions
    assert [one.end_seconds - one.arrival_seconds for one in main] == [4.0, 4.0]
    assert [one.waits_for_tool for one in main] == [True, False]
    assert subagent[0].session == "trace_1/agent_001"
    assert subagent[0].arrival_seconds == 5.0
    assert not set(main[0].block_keys.tolist()) & set(subagent[0].block_keys.tolist())


def test_regions_of_a_claude_code_prompt_are_inferred_from_how_it_grew(tmp_path: Path) -> None:
    (first, second), _ = read_recording(write(tmp_path / "one.json", claude_code())).sessions
    assert first.regions is not None
    assert second.regions is not None
    assert [REGIONS[code] for code in first.regions] == ["tools", "system", "user"]
    # Tokens 200 to 270 are the answer: the block that begins at 192 was there before, 256 is in it, 320 is not.
    kept = ["tools", "system", "user"]
    assert [REGIONS[code] for code in second.regions] == [*kept, "assistant", "assistant", "tool_result"]


def test_a_document_over_several_lines_is_read_as_well(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text(json.dumps(claude_code(), indent=1))
    assert len(read_recording(tmp_path / "one.json").sessions) == 2


def test_mooncake_turns_that_go_on_where_one_ended_are_one_conversation(tmp_path: Path) -> None:
    rows = [
        {"timestamp": 0, "input_length": 1100, "output_length": 40, "hash_ids": [0, 1, 2]},
        {"timestamp": 500, "input_length": 600, "output_length": 40, "hash_ids": [0, 9]},
        {"timestamp": 60_000, "input_length": 1700, "output_length": 40, "hash_ids": [0, 1, 7, 8]},
    ]
    recording = read_recording(write(tmp_path / "chat.jsonl", *rows))
    assert recording.block_tokens == 512
    assert [[one.arrival_seconds for one in session] for session in recording.sessions] == [[0.0, 60.0], [0.5]]


def test_mini_swe_prompts_share_blocks_as_far_as_their_text_does(tmp_path: Path) -> None:
    text = "x" * 600
    rows = [
        {"timestamp": 2_000_000, "session_id": "s", "input": text + "y" * 300, "output": "z" * 40},
        {"timestamp": 1_000_000, "session_id": "s", "input": text, "output": "z" * 400},
    ]
    ((first, second),) = read_recording(write(tmp_path / "agent.jsonl", *rows)).sessions
    assert (first.arrival_seconds, first.end_seconds) == (1.0, 2.0)
    assert len(first.block_keys) == 2
    assert second.block_keys[:2].tolist() == first.block_keys.tolist()
    assert (first.waits_for_tool, second.waits_for_tool) == (True, False)
    assert second.prompt_tokens == 225


def pi_answer(at_ms: int, end: str, tokens: int, stop: str) -> dict[str, Any]:
    usage = {"input": 1, "cacheRead": tokens - 1, "cacheWrite": 0, "output": 5}
    message = {"role": "assistant", "timestamp": at_ms, "usage": usage, "stopReason": stop}
    return {"type": "message", "timestamp": end, "message": message}


def test_a_pi_prompt_that_shrank_is_a_new_one(tmp_path: Path) -> None:
    rows = [
        {"type": "session", "id": "p"},
        {"type": "message", "timestamp": "1970-01-01T00:00:00Z", "message": {"role": "user"}},
        pi_answer(1000, "1970-01-01T00:00:03Z", 640, "toolUse"),
        pi_answer(5000, "1970-01-01T00:00:06Z", 1280, "stop"),
        {"type": "compaction"},
        pi_answer(9000, "1970-01-01T00:00:10Z", 128, "stop"),
    ]
    ((one, two, three),) = read_recording(write(tmp_path / "pi.jsonl", *rows)).sessions
    assert (one.arrival_seconds, one.end_seconds, one.waits_for_tool) == (1.0, 3.0, True)
    assert two.block_keys[:10].tolist() == one.block_keys.tolist()
    assert not set(three.block_keys.tolist()) & set(two.block_keys.tolist())


def test_our_own_record_may_be_compressed(tmp_path: Path) -> None:
    lines = "\n".join(write_accesses([access("a", 1.0, [1, 2])], 64))
    (tmp_path / "own.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    recording = read_recording(tmp_path / "own.jsonl.gz")
    assert recording.block_tokens == 64
    assert recording.sessions[0][0].block_keys.tolist() == [1, 2]


def test_numbers_of_two_files_are_not_the_same_blocks(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(write_accesses([access(name, 1.0, [1, 2])], 64)))
    recording = read_recording(tmp_path)
    assert build_trace([one for session in recording.sessions for one in session], 64).block_count == 4


def test_a_folder_is_all_its_traces_and_nothing_else(tmp_path: Path) -> None:
    for name in ("trace_1", "trace_2"):
        (tmp_path / f"{name}.json.gz").write_bytes(gzip.compress(json.dumps(claude_code(name)).encode()))
    (tmp_path / "LICENSE").write_text("anything")
    sessions = read_recording(tmp_path).sessions
    assert [session[0].session for session in sessions] == [
        *("trace_1", "trace_1/agent_001"),
        *("trace_2", "trace_2/agent_001"),
    ]
    keys = [np.unique(np.concatenate([one.block_keys for one in session])) for session in sessions]
    assert len(np.unique(np.concatenate(keys))) == sum(len(part) for part in keys)


MOONCAKE = '{"timestamp": 0, "input_length": 5, "output_length": 1, "hash_ids": [1]}\n'
MINI_SWE = '{"timestamp": 0, "session_id": "s", "input": "in", "output": "out"}\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", ": the file is empty"),
        ("hello", ": no JSON: Expecting value, at character 1"),
        (
            "[1]",
            r": not as its format has it: a trace begins with an object, not with \[1\]; known formats: .*Mooncake",
        ),
        ('{"a": 1, "b": 2}', ": not as its format has it: an object with a, b begins none of the known formats"),
        ('{"hash_id_scope": "local"}', ": there is no 'id'"),
        ('{"timestamp": 0, "input_length": 5}', ":1: there is no 'hash_ids'"),
        (MOONCAKE + '\n{"timestamp": 0, "input', ":3: no JSON: Unterminated string starting at, at character 18"),
        (MOONCAKE + MOONCAKE.replace("0", '"then"', 1), ":2: not as its format has it: unsupported operand"),
        (MINI_SWE + "[]", ":2: not as its format has it: list indices"),
        (MINI_SWE + MINI_SWE.replace("output", "out"), ":2: there is no 'output'"),
        ('{"type": "session", "id": "p"}\n{"id": 1}', ":2: there is no 'type'"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(TraceError, match=f"bad.json{says}"):
        read_recording(tmp_path / "bad.json")


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"nothing.json: cannot be read: No such file or directory$"):
        read_recording(tmp_path / "nothing.json")
    with pytest.raises(TraceError, match=r"no \.json or \.jsonl file"):
        read_recording(tmp_path)


@pytest.mark.parametrize("spoil", [lambda data: data[:-9], lambda data: data[:12] + b"?" * 40, lambda _: b"plain"])
def test_a_file_that_was_cut_or_spoilt_is_named(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "bad.json.gz"
    path.write_bytes(spoil(gzip.compress(json.dumps(claude_code()).encode())))
    with pytest.raises(TraceError, match=r"bad.json.gz: cannot be read: \w"):
        read_recording(path)


def test_files_of_different_kinds_do_not_make_one_recording(tmp_path: Path) -> None:
    write(tmp_path / "one.json", claude_code())
    (tmp_path / "own.jsonl").write_text("\n".join(write_accesses([access("a", 1.0, [1, 2])], 64)))
    with pytest.raises(TraceError, match="different block sizes or clocks"):
        read_recording(tmp_path)
