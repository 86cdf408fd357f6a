from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.cache.region import Region
from appliance.cache.region_map import Origin
from appliance.conversation import (
    Block,
    CacheMark,
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
from appliance.engine.place_book import PLACED_BYTES, PlaceBook
from appliance.engine.placed import Placed
from appliance.engine.places import Spot

blocks = st.builds(Text, st.text("ab", max_size=3))
histories = st.lists(st.builds(Message, st.sampled_from(Role), st.tuples(blocks)), min_size=1, max_size=5).map(tuple)


def talk(*texts: str, tools: tuple[Tool, ...] = ()) -> Conversation:
    return Conversation("m", tuple(Message(Role.USER, (Text(text),)) for text in texts), tools)


def prompt(conversation: Conversation) -> tuple[str, tuple[Placed, ...]]:
    """As a template makes it that writes a line for each text."""
    text, placed = "", []
    for number, message in enumerate(conversation.messages):
        (block,) = message.blocks
        assert isinstance(block, Text)
        text += f"{message.role}: {block.text}\n"
        placed.append(Placed(Spot(Region.USER, Origin(number, 0)), len(text) - 1, number))
    return text, tuple(placed)


def remember(book: PlaceBook, conversation: Conversation) -> None:
    book.keep(conversation, *prompt(conversation))


@given(st.lists(histories, max_size=12), histories, st.integers(0, 3000))
def test_what_is_found_is_true(earlier: list[tuple[Message, ...]], now: tuple[Message, ...], max_bytes: int) -> None:
    book = PlaceBook(max_bytes)
    for history in earlier:
        remember(book, Conversation("m", history))
        book.check_integrity()
    text, placed = prompt(Conversation("m", now))
    found = book.find(Conversation("m", now), text)
    assert found == placed[: len(found)]


def test_a_next_turn_finds_all_but_the_last_message() -> None:
    book = PlaceBook()
    remember(book, talk("a", "b", "c"))
    for now in (talk("a", "b", "c", "d"), talk("a", "b", "another")):
        text, placed = prompt(now)
        assert book.find(now, text) == placed[:2]
    assert (book.hits, book.misses) == (2, 0)


def test_marks_are_no_part_of_a_shape() -> None:
    book, now = PlaceBook(), talk("a", "b", "c")
    remember(book, now)
    marked = replace(now, messages=(Message(Role.USER, (Text("a", CacheMark(60.0)),)), *now.messages[1:]))
    assert len(book.find(marked, prompt(now)[0])) == 2


def test_places_behind_a_change_are_not_found() -> None:
    book = PlaceBook()
    remember(book, talk("one", "two", "three", "four"))
    text, placed = prompt(talk("one", "TWO", "three", "four"))
    assert book.find(talk("one", "TWO", "three", "four"), text) == placed[:1]


@pytest.mark.parametrize(
    "other",
    [
        talk("a", "bb", "c"),
        talk("a", "b", "c", tools=(Tool("t"),)),
        Conversation("m", (Message(Role.USER, (Text("a"), Text("b"))), Message(Role.USER, (Text("c"),)))),
        Conversation("m", (Message(Role.USER, (Document("a"),)), *talk("b", "c").messages)),
        Conversation("m", (Message(Role.ASSISTANT, (Text("a"),)), *talk("b", "c").messages)),
    ],
)
def test_another_shape_is_another_history(other: Conversation) -> None:
    book = PlaceBook()
    remember(book, talk("a", "b", "c"))
    assert book.find(other, prompt(talk("a", "b", "c"))[0]) == ()


@pytest.mark.parametrize(
    ("block", "longer"),
    [
        (Thinking("a"), Thinking("ab")),
        (ToolCall("1", "f", "{}"), ToolCall("1", "f", "{ }")),
        (ToolCall("1", "f", "{}"), ToolCall("1", "ff", "{}")),
        (ToolResult("1", (Text("ab"),)), ToolResult("1", (Text("a"), Text("b")))),
        (ToolResult("1", (Text("a"),)), ToolResult("1", (Image("data:"),))),
    ],
)
def test_every_kind_of_block_has_a_shape(block: Block, longer: Block) -> None:
    book = PlaceBook()
    placed = (Placed(Spot(Region.USER, Origin(0, 0)), 1, 1),)
    end = Message(Role.USER, (Text("end"),))
    book.keep(Conversation("m", (Message(Role.USER, (block,)), end)), "text", placed)
    assert book.find(Conversation("m", (Message(Role.USER, (block,)), end)), "text") == placed
    assert book.find(Conversation("m", (Message(Role.USER, (longer,)), end)), "text") == ()


def test_the_one_used_longest_ago_is_forgotten_first() -> None:
    old, used, new = talk("o" * 500, "x"), talk("u" * 600, "x"), talk("n" * 700, "x")
    book = PlaceBook(max_bytes=2 * (PLACED_BYTES + 850))
    remember(book, used)
    remember(book, old)
    assert book.find(used, prompt(used)[0])
    remember(book, new)
    book.check_integrity()
    assert [len(book.find(each, prompt(each)[0])) for each in (old, used, new)] == [0, 1, 1]
    assert book.forgotten == 1


def test_what_is_larger_than_the_book_pushes_nothing_out() -> None:
    book = PlaceBook(max_bytes=2000)
    remember(book, talk("a", "b"))
    remember(book, talk("a" * 2000, "b"))
    assert book.forgotten == 0
    assert book.find(talk("a", "b"), prompt(talk("a", "b"))[0])
