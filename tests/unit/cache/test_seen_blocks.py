from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.cache.errors import IntegrityError
from appliance.cache.seen_blocks import Seen, SeenBlocks
from tests.examples import examples


def chain(*tokens: int) -> np.ndarray:
    """Hashes of blocks that stand for all that is ahead of them."""
    return np.array([hash((1, *tokens[: end + 1])) & (2**64 - 1) for end in range(len(tokens))], np.uint64)


def test_the_newest_prompt_that_had_all_of_them_is_named() -> None:
    seen = SeenBlocks(100)
    seen.add(chain(1, 2, 3), 1)
    seen.add(chain(1, 2, 4), 2)
    assert seen.depth(chain(1, 2, 3, 9)) == Seen(3, 1)
    assert seen.depth(chain(1, 2, 5)) == Seen(2, 2)
    assert seen.depth(chain(7)) == Seen(0, None)
    assert seen.depth(chain()) == Seen(0, None)


def test_the_newest_blocks_are_known_and_never_more_than_twice_as_many() -> None:
    seen = SeenBlocks(4)
    for number in range(1, 20):
        seen.add(chain(number, 0, 0), number)
        assert seen.depth(chain(number, 0, 0)) == Seen(3, number)
        assert len(seen) <= 8
        seen.check_integrity()
    assert seen.depth(chain(1)) == Seen(0, None)
    assert seen.forgotten + len(seen) == 3 * 19


def test_of_a_prompt_that_is_too_long_the_beginning_is_known() -> None:
    seen = SeenBlocks(2)
    seen.add(chain(1, 2, 3), 1)
    assert seen.depth(chain(1, 2, 3)) == Seen(2, 1)


def test_the_check_finds_a_wrong_count() -> None:
    seen = SeenBlocks(4)
    seen._young.size = 1
    with pytest.raises(IntegrityError, match="0 blocks seen, 1 counted"):
        seen.check_integrity()


@given(st.lists(st.lists(st.integers(0, 2), max_size=6), max_size=20), st.lists(st.integers(0, 2), max_size=6))
@settings(max_examples=examples(200))
def test_a_block_is_known_when_a_prompt_had_it_in_its_place(prompts: list[list[int]], asked: list[int]) -> None:
    seen = SeenBlocks(1000)
    for number, prompt in enumerate(prompts, 1):
        seen.add(chain(*prompt), number)
    seen.check_integrity()
    had = [end for end in range(len(asked) + 1) if any(prompt[:end] == asked[:end] for prompt in prompts)]
    blocks = max(had, default=0)
    last = [number for number, prompt in enumerate(prompts, 1) if blocks and prompt[:blocks] == asked[:blocks]]
    assert seen.depth(chain(*asked)) == Seen(blocks, last[-1] if last else None)
