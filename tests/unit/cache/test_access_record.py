from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.cache.access_record import read_accesses, write_accesses
from appliance.cache.errors import TraceError
from appliance.cache.trace import REGIONS, UNKNOWN_REGION, Access
from tests.examples import examples
from tests.unit.cache.small_traces import access

HEADER = '{"format": "dynamo-box-accesses", "version": 1, "block_tokens": 64}'
FILE = Path("trace.jsonl")


def plain(one: Access) -> dict[str, object]:
    facts = {name: getattr(one, name) for name in Access.__slots__}
    regions = one.regions
    return facts | {
        "block_keys": one.block_keys.tolist(),
        "regions": None if regions is None else regions.tolist(),
    }


@st.composite
def accesses(draw: st.DrawFn) -> Access:
    keys = draw(st.lists(st.integers(0, 30), max_size=12))
    codes = draw(st.lists(st.integers(0, len(REGIONS)), min_size=len(keys), max_size=len(keys)))
    one = access(
        draw(st.sampled_from(["a", "b"])),
        draw(st.floats(0, 1e6)),
        keys,
        took_seconds=draw(st.floats(0, 100)),
        waits_for_tool=draw(st.booleans()),
        is_final=draw(st.booleans()),
        tool_wait_seconds=draw(st.none() | st.floats(0, 1e3)),
    )
    regions = np.array(codes, dtype=np.uint8) if any(code != UNKNOWN_REGION for code in codes) else None
    return Access(**({name: getattr(one, name) for name in Access.__slots__} | {"regions": regions}))


@settings(max_examples=examples(200))
@given(st.lists(accesses(), max_size=8))
def test_what_is_written_is_read_back(many: list[Access]) -> None:
    block_tokens, read = read_accesses(FILE, write_accesses(many, 64))
    assert block_tokens == 64
    assert [plain(one) for one in read] == [plain(one) for one in many]


def test_a_turn_that_repeats_the_one_before_it_is_one_short_line() -> None:
    first = access("a", 0.0, list(range(1000)), regions=["system"] * 1000)
    second = access("a", 9.0, list(range(1010)), regions=["system"] * 1000 + ["tool_result"] * 10)
    line = list(write_accesses([first, second], 64))[2]
    assert json.loads(line)["keep"] == 1000
    assert json.loads(line)["add"] == [[1000, 10]]
    assert json.loads(line)["regions"] == [["tool_result", 10]]


def test_regions_of_kept_blocks_are_kept() -> None:
    lines = [
        HEADER,
        '{"session":"a","arrival":0,"end":1,"prompt":128,"output":1,"add":[[0,2]],"regions":[["tools",1]]}',
        '{"session":"a","arrival":2,"end":3,"prompt":128,"output":1,"keep":1,"add":[[7,1]],"regions":[["user",1]]}',
    ]
    _, (first, second) = read_accesses(FILE, lines)
    assert first.regions is not None
    assert second.regions is not None
    assert first.regions.tolist() == [1, UNKNOWN_REGION]
    assert second.regions.tolist() == [1, 2]
    assert second.block_keys.tolist() == [0, 7]


GOOD = {"session": "a", "arrival": 1.0, "end": 2.0, "prompt": 64, "output": 1, "add": [[0, 1]]}


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (['{"format": "dynamo-box-accesses", "version": 9, "block_tokens": 64}'], "1: .*version 9"),
        (['{"format": "dynamo-box-accesses", "version": 1, "block_tokens": 0}'], "1: .*block_tokens 0"),
        ([HEADER, "{"], "trace.jsonl:2: "),
        ([HEADER, "[]"], "trace.jsonl:2: "),
        ([HEADER, json.dumps(GOOD | {"keep": 1})], "2: .*keep is 1, and the session's previous prompt has 0"),
        ([HEADER, json.dumps(GOOD | {"end": 0.5})], "2: .*end 0.5 is before arrival 1.0"),
        ([HEADER, json.dumps(GOOD | {"regions": [["user", 2]]})], "2: .*regions of 2 blocks, and 1 are added"),
        ([HEADER, json.dumps(GOOD | {"regions": [["usr", 1]]})], "2: .*usr"),
        ([HEADER, json.dumps(GOOD), json.dumps({"session": "a"})], "3: .*KeyError"),
    ],
)
def test_a_wrong_line_is_named(lines: list[str], says: str) -> None:
    with pytest.raises(TraceError, match=says):
        read_accesses(FILE, lines)
