from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.hint_impact import Displaced, Holding, displaced_by, seconds_of, sentence


def test_who_is_worth_least_makes_room_first_and_free_blocks_before_anybody() -> None:
    holdings = [Holding(0, 2, {"s": 5, "a": 3, "b": 9}), Holding(1, None, {"a": 1})]
    found = displaced_by("s", {0: 10, 1: 4}, holdings, ["a", "s", "b"], block_tokens=16)
    assert found.tokens == {"a": (3 + 1) * 16, "b": 5 * 16}
    assert list(found.tokens) == ["a", "b"]


@given(
    st.integers(0, 30),
    st.integers(0, 10),
    st.dictionaries(st.sampled_from("abcs"), st.integers(0, 10)),
    st.permutations("abcs"),
)
def test_never_more_is_displaced_than_is_wanted_or_there(
    wanted: int, free: int, blocks: dict[str, int], order: list[str]
) -> None:
    found = displaced_by("s", {0: wanted}, [Holding(0, free, blocks)], order, block_tokens=1)
    theirs = sum(count for name, count in blocks.items() if name != "s")
    assert found.total == min(max(wanted - free, 0), theirs)
    assert all(0 < count <= blocks[name] for name, count in found.tokens.items())


def test_computing_nothing_again_takes_no_time() -> None:
    assert seconds_of([0, 100, 50], lambda tokens: 1 + tokens / 100) == 3.5


def test_it_is_said_in_words() -> None:
    assert sentence("keeps 9 tokens of s", Displaced({}), 0.0) == "keeps 9 tokens of s; nobody else's go sooner for it"
    one, two = Displaced({"a": 4096}), Displaced({"a": 4096, "b": 8})
    assert sentence("keeps s", one, 0.25).endswith("4,096 tokens of 1 session go sooner instead, ≈ 250 ms of prefill")
    assert sentence("keeps s", two, 9.26).endswith("4,104 tokens of 2 sessions go sooner instead, ≈ 9.3 s of prefill")
    assert sentence("gives up s", None, 75.0) == "gives up s, ≈ 75 s of prefill"
