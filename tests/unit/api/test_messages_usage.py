from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.api.messages_usage import PromptUsage, prompt_usage
from appliance.generation import MarkedPrefix, Started

FIVE, HOUR = 300.0, 3600.0


def usage(prompt: int, cached: int, *marks: tuple[int, float]) -> PromptUsage:
    return prompt_usage(Started(prompt, cached, 0, tuple(MarkedPrefix(*mark) for mark in marks)))


def test_without_marks_nothing_is_written() -> None:
    assert usage(100, 60) == PromptUsage(40, 60, 0, 0)


def test_what_is_marked_and_was_not_read_is_written() -> None:
    assert usage(100, 20, (80, FIVE)) == PromptUsage(20, 20, 60, 0)
    assert usage(100, 90, (80, FIVE)) == PromptUsage(10, 90, 0, 0)


def test_a_token_counts_for_the_first_mark_that_keeps_it() -> None:
    assert usage(100, 10, (30, HOUR), (70, FIVE), (90, FIVE)) == PromptUsage(10, 10, 60, 20)


@given(
    st.integers(1, 60).flatmap(
        lambda prompt: st.tuples(
            st.just(prompt),
            st.integers(0, prompt),
            st.lists(st.tuples(st.integers(0, prompt + 3), st.sampled_from([FIVE, HOUR, 90.0])), max_size=4),
        )
    )
)
def test_every_token_is_counted_once_and_where_a_token_by_token_count_puts_it(
    request: tuple[int, int, list[tuple[int, float]]],
) -> None:
    prompt, cached, marks = request
    counted = usage(prompt, cached, *marks)
    assert sum(counted) == prompt
    expected = [0, cached, 0, 0]
    for token in range(cached, prompt):
        keeping = [mark for mark in sorted(marks, key=lambda mark: mark[0]) if token < mark[0]]
        expected[0 if not keeping else 3 if keeping[0][1] == HOUR else 2] += 1
    assert tuple(counted) == tuple(expected)
    assert counted.written_tokens == expected[2] + expected[3]
