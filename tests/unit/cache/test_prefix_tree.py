from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from appliance.cache.prefix_tree import PrefixNode, prefix_tree


def hashed(prompt: list[int]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """As blocks are named: by themselves and all before them."""
    return np.array([hash(tuple(prompt[: end + 1])) % 2**63 for end in range(len(prompt))], np.uint64)


def test_prompts_go_apart_where_they_differ_and_the_larger_group_comes_first() -> None:
    prompts = [[1, 2, 3], [1, 2, 4, 5], [1, 2, 4, 6], [9], []]
    assert prefix_tree([*map(hashed, prompts)]) == [
        PrefixNode(None, 0, 2, (0, 1, 2)),
        PrefixNode(0, 2, 3, (1, 2)),
        PrefixNode(1, 3, 4, (1,)),
        PrefixNode(1, 3, 4, (2,)),
        PrefixNode(0, 2, 3, (0,)),
        PrefixNode(None, 0, 1, (3,)),
    ]


def test_the_same_prompt_twice_is_one_node_and_one_that_ends_inside_another_cuts_it() -> None:
    assert prefix_tree([hashed([1, 2])] * 2) == [PrefixNode(None, 0, 2, (0, 1))]
    assert prefix_tree([hashed([1]), hashed([1, 2])]) == [PrefixNode(None, 0, 1, (0, 1)), PrefixNode(0, 1, 2, (1,))]


@given(st.lists(st.lists(st.integers(0, 1), max_size=6), max_size=8))
def test_each_different_prefix_is_in_one_node_with_all_that_have_it(prompts: list[list[int]]) -> None:
    nodes = prefix_tree([*map(hashed, prompts)])
    holders: dict[tuple[int, ...], set[int]] = {}
    for number, prompt in enumerate(prompts):
        for end in range(1, len(prompt) + 1):
            holders.setdefault(tuple(prompt[:end]), set()).add(number)
    found = {
        tuple(prompts[node.prompts[0]][:end]): set(node.prompts)
        for node in nodes
        for end in range(node.start + 1, node.end + 1)
    }
    assert found == holders
    assert sum(node.end - node.start for node in nodes) == len(holders)
    for number, node in enumerate(nodes):
        assert node.start == (0 if node.parent is None else nodes[node.parent].end)
        assert node.parent is None or node.parent < number
