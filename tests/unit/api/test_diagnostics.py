from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.api.diagnostics import (
    HASHED_CHARACTERS,
    CacheMiss,
    Diagnostics,
    Fingerprint,
    MissReason,
    fingerprint_of,
)
from appliance.conversation import (
    CacheMark,
    Conversation,
    Image,
    Message,
    Reasoning,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)

MARK = CacheMark(300.0)


def user(text: str, mark: CacheMark | None = None) -> Message:
    return Message(Role.USER, (Text(text, mark),))


FIRST = Conversation(
    "m",
    (Message(Role.SYSTEM, (Text("Be kind."),)), user("one"), Message(Role.ASSISTANT, (Text("two"),))),
    tools=(Tool("read"), Tool("write")),
)
NEXT = replace(FIRST, messages=(*FIRST.messages, user("three")))


def missed(after: Conversation) -> CacheMiss | None:
    diagnostics = Diagnostics(4)
    diagnostics.record("a", fingerprint_of(FIRST))
    return diagnostics.miss(fingerprint_of(after), "a", 9)


@pytest.mark.parametrize(
    ("change", "reason", "at"),
    [
        ({"model": "n"}, MissReason.MODEL_CHANGED, "model"),
        ({"messages": NEXT.messages[1:]}, MissReason.SYSTEM_CHANGED, "system"),
        ({"messages": (user("x"), *NEXT.messages)}, MissReason.SYSTEM_CHANGED, "system"),
        ({"tools": (Tool("read"), Tool("edit"))}, MissReason.TOOLS_CHANGED, "tools[1] edit"),
        ({"tools": (Tool("read", "Reads."), Tool("write"))}, MissReason.TOOLS_CHANGED, "tools[0] read"),
        ({"tools": (*FIRST.tools, Tool("edit"))}, MissReason.TOOLS_CHANGED, "tools[2] edit"),
        ({"tools": FIRST.tools[:1]}, MissReason.TOOLS_CHANGED, "tools[1]"),
        ({"messages": (*FIRST.messages[:2], user("2"), user("3"))}, MissReason.MESSAGES_CHANGED, "messages[1]"),
        ({"messages": FIRST.messages[:2]}, MissReason.MESSAGES_CHANGED, "messages[1]"),
        ({"reasoning": Reasoning(effort="high")}, MissReason.UNAVAILABLE, None),
    ],
)
def test_the_first_difference_is_named(change: dict[str, Any], reason: MissReason, at: str | None) -> None:
    assert missed(replace(NEXT, **change)) == CacheMiss(reason, 9, at)


def test_a_conversation_that_goes_on_has_no_difference() -> None:
    assert missed(FIRST) is None
    assert missed(NEXT) is None


def test_a_first_turn_has_nothing_to_differ_from() -> None:
    assert Diagnostics(4).miss(fingerprint_of(NEXT), None, 9) is None


def test_an_answer_that_is_not_known_is_not_found() -> None:
    assert Diagnostics(4).miss(fingerprint_of(NEXT), "a", 9) == CacheMiss(MissReason.PREVIOUS_MESSAGE_NOT_FOUND, 9)


def test_marks_and_signatures_are_no_difference() -> None:
    def turn(mark: CacheMark | None, signature: str | None) -> Conversation:
        blocks = (Thinking("hm", mark, signature), ToolCall("c", "f", "{}", mark))
        result = ToolResult("c", (Text("r", mark),), mark=mark)
        messages = (user("one", mark), Message(Role.ASSISTANT, blocks), Message(Role.TOOL, (result,)))
        return Conversation("m", messages, tools=(Tool("f", mark=mark),))

    assert fingerprint_of(turn(None, None)) == fingerprint_of(turn(MARK, "s"))


def test_a_text_is_not_the_same_thought() -> None:
    said = Conversation("m", (Message(Role.ASSISTANT, (Text("x"),)),))
    thought = Conversation("m", (Message(Role.ASSISTANT, (Thinking("x"),)),))
    assert fingerprint_of(said) != fingerprint_of(thought)


def test_a_schema_may_hold_any_number() -> None:
    def bounded(most: int) -> Conversation:
        return Conversation("m", (user("Hi"),), (Tool("f", None, {"maximum": most}),))

    assert fingerprint_of(bounded(10**30)) != fingerprint_of(bounded(10**30 + 1))


def test_the_answer_used_longest_ago_is_forgotten_first() -> None:
    diagnostics = Diagnostics(2)
    diagnostics.record("a", fingerprint_of(FIRST))
    diagnostics.record("b", fingerprint_of(FIRST))
    assert diagnostics.miss(fingerprint_of(NEXT), "a", 0) is None
    diagnostics.record("c", fingerprint_of(FIRST))
    assert diagnostics.miss(fingerprint_of(NEXT), "a", 0) is None
    assert diagnostics.miss(fingerprint_of(NEXT), "b", 0) == CacheMiss(MissReason.PREVIOUS_MESSAGE_NOT_FOUND, 0)
    assert (len(diagnostics), diagnostics.forgotten) == (2, 1)


def test_a_request_too_large_by_itself_costs_no_other_its_place() -> None:
    diagnostics = Diagnostics(8, max_hashes=12)
    diagnostics.record("a", fingerprint_of(FIRST))
    long = replace(FIRST, messages=tuple(user(str(turn)) for turn in range(20)))
    diagnostics.record("b", fingerprint_of(long))
    assert diagnostics.miss(fingerprint_of(NEXT), "a", 0) is None
    assert (len(diagnostics), diagnostics.forgotten) == (1, 1)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 9), st.booleans()), max_size=40))
def test_the_memory_stays_within_its_bounds(steps: list[tuple[str, int, bool]]) -> None:
    diagnostics = Diagnostics(3, max_hashes=20)
    for answer_id, num_messages, is_lookup in steps:
        fingerprint = fingerprint_of(Conversation("m", tuple(user(str(turn)) for turn in range(num_messages))))
        if is_lookup:
            diagnostics.miss(fingerprint, answer_id, 0)
        else:
            diagnostics.record(answer_id, fingerprint)
        diagnostics.check_integrity()


def a_turn(texts: list[str]) -> Fingerprint:
    return fingerprint_of(Conversation("m", tuple(user(text) for text in texts)))


@given(st.lists(st.sampled_from("abc"), max_size=6), st.lists(st.sampled_from("abc"), max_size=6))
def test_the_place_is_the_one_that_a_comparison_of_texts_finds(before: list[str], after: list[str]) -> None:
    diagnostics = Diagnostics(1)
    diagnostics.record("a", a_turn(before))
    found = diagnostics.miss(a_turn(after), "a", 0)
    if after[: len(before)] == before:
        assert found is None
    else:
        place = next(i for i in range(len(before)) if i >= len(after) or before[i] != after[i])
        assert found == CacheMiss(MissReason.MESSAGES_CHANGED, 0, f"messages[{place}]")


@pytest.mark.parametrize("more", [0, 1, HASHED_CHARACTERS])
def test_a_long_image_has_the_fingerprint_of_all_its_bytes(more: int) -> None:
    def fingerprint(url: str) -> Fingerprint:
        shown = Message(Role.USER, (Image(url), ToolResult("c", (Image(url),))))
        return fingerprint_of(Conversation("m", (shown,)))

    url = "data:image/png;base64," + "a" * (HASHED_CHARACTERS + more)
    assert fingerprint(url) == fingerprint(url[:100] + url[100:])
    assert fingerprint(url).messages != fingerprint(url[:-1] + "b").messages
    assert fingerprint(url).messages != fingerprint("b" + url[1:]).messages
