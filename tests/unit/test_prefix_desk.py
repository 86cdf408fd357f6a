"""The tree of the last prompts, its text, words in it, and forks; a token is a character, and a block two."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.api.prefix_views import PrefixView
from appliance.cache.prefix_tree import prefix_tree
from appliance.cache.region import Region
from appliance.cache.region_map import Origin, RegionMap, Span
from appliance.conversation import Identity
from appliance.errors import InvalidRequest
from appliance.last_prompts import LastPrompt
from appliance.prefix_desk import PrefixDesk
from appliance.prompt_fork import place_of
from appliance.prompt_search import MOST_MATCHES, MOST_SECONDS, PromptSearch
from appliance.prompt_text import PromptText
from appliance.router.hashing import hash_blocks
from tests.clock import Clock
from tests.unit.scripted_worker import BLOCK_TOKENS, ScriptedBox, ScriptedWorker, conversation, steps_of, text_of, until

HELLO = steps_of(["Hi"], cached_tokens=2)


class Counted:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, tokens: Sequence[int]) -> str:
        self.calls += 1
        return text_of(tokens)


async def ask(box: ScriptedBox, session: str, text: str, salt: str | None = None) -> None:
    await box.ask(conversation(text, identity=Identity(session), cache_salt=salt))
    await until(lambda: box.pipeline.last_prompts.get(session) is not None)


@asynccontextmanager
async def desk(prompts: dict[str, str], decode: Counted | None = None) -> AsyncIterator[PrefixDesk]:
    """Of a box that was asked these."""
    async with ScriptedBox(ScriptedWorker(0, *[HELLO] * len(prompts))) as box:
        for session, text in prompts.items():
            await ask(box, session, text)
        yield PrefixDesk(box.pipeline, box.fleet, PromptText(decode or Counted()))


def by_name(nodes: Sequence[PrefixView]) -> dict[tuple[str, ...], PrefixView]:
    return {tuple(sorted(node.names)): node for node in nodes}


async def test_sessions_share_what_their_last_prompts_have_in_common() -> None:
    async with desk({"a": "hello you", "b": "hello me", "c": "bye"}) as prefixes:
        found = await prefixes.prefixes(64)
        (newest,) = (await prefixes.prefixes(1)).nodes
    shared = next(node for node in found.nodes if node.sessions == 2)
    # "hello " is three blocks of two; then they differ.
    assert (shared.start_token, shared.end_token, shared.parent) == (0, 6, None)
    assert (sorted(shared.names), shared.region) == (["a", "b"], "user")
    assert {node.names[0] for node in found.nodes if node.parent == shared.id} == {"a", "b"}
    assert shared.resident_tokens == {"0": 0}
    assert (found.sessions, found.known) == (3, 3)
    assert found.prompt_tokens == 8 + 8 + 2
    assert found.distinct_tokens == 6 + 2 + 2 + 2
    assert (newest.names, newest.text, newest.ending) == (["c"], None, None)


async def test_text_begins_and_ends_at_the_token_where_prompts_go_apart_not_at_the_block() -> None:
    async with desk({"a": "I saw a Heron.", "b": "I saw a Hare.", "c": "I saw a"}) as prefixes:
        nodes = by_name((await prefixes.prefixes(64, 9)).nodes)
    # "I saw " is in three blocks; the next is shared by two, and "a H" by these.
    assert (nodes["a", "b", "c"].text, nodes["a", "b", "c"].ending) == ("I saw a", "I saw a")
    assert (nodes["a", "b"].text, nodes["a", "b"].ending) == (" H", " H")
    assert (nodes["a",].text, nodes["b",].text) == ("eron.", "are.")
    # The third has one token in the next block, which all have; none of one session is told to end.
    assert [(end.session, end.tokens, end.text) for end in nodes["a", "b", "c"].ends] == [("c", 1, "")]
    assert nodes["a",].ends == nodes["b",].ends == nodes["a", "b"].ends == []


async def test_prompts_that_differ_in_less_than_a_block_are_told_where_they_end() -> None:
    async with desk({"a": "say you", "b": "say yo!"}) as prefixes:
        (node,) = (await prefixes.prefixes(64, 9)).nodes
    assert (node.sessions, node.end_token, node.ending) == (2, 6, "say yo")
    assert {(end.session, end.tokens, end.text) for end in node.ends} == {("a", 1, "u"), ("b", 1, "!")}


async def test_a_tree_that_is_asked_for_again_is_not_decoded_again() -> None:
    decode = Counted()
    async with desk({"a": "hello you", "b": "hello me"}, decode) as prefixes:
        first = await prefixes.prefixes(64, 80)
        calls = decode.calls
        assert await prefixes.prefixes(64, 80) == first
    assert decode.calls == calls > 0


async def test_words_are_found_in_what_is_shared_and_behind_the_last_block() -> None:
    async with desk({"a": "the Heron waits.", "b": "the Heron walks on a"}) as prefixes:
        found = (await prefixes.search(64, 0, "the  heron")).search
        tail = (await prefixes.search(64, 0, "n a")).search
    assert found is not None
    assert tail is not None
    (match,) = found.matches
    assert (match.sessions, sorted(match.names), match.token, match.count) == (2, ["a", "b"], 0, 1)
    assert match.snippet[match.start : match.start + match.length] == "the Heron"
    assert (match.place, found.cut) == ("user", None)
    (match,) = tail.matches
    assert (match.names, match.token, match.snippet) == (["b"], 17, "the Heron walks on a")


async def test_without_text_nothing_is_searched_and_none_shown() -> None:
    async with ScriptedBox(ScriptedWorker(0, HELLO, HELLO)) as box:
        for name in ("a", "b"):
            await ask(box, name, f"hello {name}")
        prefixes = PrefixDesk(box.pipeline, box.fleet)
        with pytest.raises(InvalidRequest, match="record_text"):
            await prefixes.search(64, 80, "hello")
        assert {node.text for node in (await prefixes.prefixes(64, 80)).nodes} == {None}
        fork = await prefixes.fork(["a", "b"])
    assert (fork.token, fork.before, [side.text for side in fork.sides]) == (6, None, [None, None])


async def test_a_fork_is_told_to_the_token_with_its_place_and_text() -> None:
    async with desk({"a": "Say: Heron.", "b": "Say: Hare.", "c": "Say"}) as prefixes:
        two = await prefixes.fork(["a", "b"])
        all_ = await prefixes.fork(["a", "b", "c"])
        with pytest.raises(InvalidRequest, match="no prompt of session 'd' is known"):
            await prefixes.fork(["a", "d"])
    assert (two.token, two.shared_block_tokens, two.before) == (6, 6, "Say: H")
    assert [(side.session, side.prompt_tokens, side.place, side.text) for side in two.sides] == [
        ("a", 11, "user", "eron."),
        ("b", 10, "user", "are."),
    ]
    assert (all_.token, all_.shared_block_tokens) == (3, 2)
    assert (all_.sides[2].place, all_.sides[2].text) == (None, "")


async def test_prompts_with_the_same_words_and_other_salts_share_no_block() -> None:
    async with ScriptedBox(ScriptedWorker(0, HELLO, HELLO)) as box:
        for salt in ("x", "y"):
            await ask(box, salt, "hello", salt)
        prefixes = PrefixDesk(box.pipeline, box.fleet, PromptText(text_of))
        fork = await prefixes.fork(["x", "y"])
        nodes = (await prefixes.prefixes(64, 80)).nodes
    assert (fork.token, fork.shared_block_tokens) == (5, 0)
    assert [(node.text, node.sessions) for node in nodes] == [("hello", 1), ("hello", 1)]


def prompts_of(texts: Sequence[str]) -> list[tuple[str, LastPrompt]]:
    rows = [np.frombuffer(text.encode("ascii"), np.uint8).astype(np.uint32) for text in texts]
    return [
        (str(number), LastPrompt("m", None, row, hash_blocks(row, BLOCK_TOKENS), None, 0, 0.0))
        for number, row in enumerate(rows)
    ]


def searched(texts: Sequence[str], words: str, clock: Clock | None = None) -> tuple[list[tuple[str, int]], str | None]:
    """Which sessions have them, how often in all, and what cut it."""
    prompts = prompts_of(texts)
    nodes = prefix_tree([prompt.hashes for _, prompt in prompts])
    search = PromptSearch(words, PromptText(text_of), clock or Clock())
    found = search.found(prompts, nodes, BLOCK_TOKENS)
    return [(name, match.count) for match in found.matches for name in match.names], found.cut


@given(st.lists(st.text("ab", min_size=1, max_size=40), min_size=1, max_size=6), st.text("ab", min_size=1, max_size=3))
def test_every_place_is_found_once_whatever_is_shared(texts: list[str], words: str) -> None:
    found, _ = searched(texts, words)
    counted = {str(number): 0 for number in range(len(texts))}
    for name, count in found:
        counted[name] += count
    # In pieces: places may overlap where one reading would have passed over the second.
    for number, text in enumerate(texts):
        assert text.count(words) <= counted[str(number)] <= sum(text.startswith(words, at) for at in range(len(text)))


def test_a_place_counts_messages_behind_the_system_text_that_opens_the_prompt() -> None:
    spans = [
        Span(0, 2, Region.SYSTEM, Origin(0, 0)),
        Span(2, 4, Region.TOOLS, Origin(tool=1)),
        Span(4, 6, Region.USER, Origin(1, 0)),
        Span(6, 8, Region.USER, Origin(3, 0)),
    ]
    prompt = prompts_of(["12345678"])[0][1]._replace(regions=RegionMap(spans))
    places = [place_of(prompt, token) for token in (0, 2, 4, 7, 8)]
    assert places == ["system", "tools", "messages[0]", "messages[2]", None]


def test_words_on_the_edge_of_a_piece_are_found_with_the_text_around_them() -> None:
    text = "." * 1020 + "Heron" + "." * 3000 + "heron"
    prompts = prompts_of([text])
    search = PromptSearch("heron", PromptText(text_of), Clock())
    (match,) = search.found(prompts, prefix_tree([prompt.hashes for _, prompt in prompts]), BLOCK_TOKENS).matches
    assert (match.token, match.count) == (1020, 2)
    assert match.snippet == "." * 60 + "Heron" + "." * 60


def test_a_search_ends_with_its_time_or_with_as_many_matches_as_are_listed_and_says_so() -> None:
    class Slow(Clock):
        def __call__(self) -> float:
            self.seconds += MOST_SECONDS / 2
            return self.seconds

    texts = [f"{number:04d} heron" for number in range(MOST_MATCHES + 1)]
    assert searched(texts, "heron", Slow())[1] == "time"
    found, cut = searched(texts, "heron")
    assert (len(found), cut) == (MOST_MATCHES, "matches")
