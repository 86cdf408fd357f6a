"""Prompts as a tree: what several begin with stands once, and a node ends where two of them go apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]


class PrefixNode(NamedTuple):
    """Blocks `start` … `end` (exclusive) which all of these `prompts` have; `parent` is a node before it in the list.
    `prompts` are places in the list that was given."""

    parent: int | None
    start: int
    end: int
    prompts: tuple[int, ...]


def prefix_tree(prompts: Sequence[Hashes]) -> list[PrefixNode]:
    """Each node before its children, and of these the one with the most prompts first. A hash names a block and all
    before it, so one comparison tells whether two prompts are the same up to there. Prompts without a whole block are
    in no node."""
    nodes: list[PrefixNode] = []
    waiting: list[tuple[int | None, int, tuple[int, ...]]] = _groups(prompts, None, 0, range(len(prompts)))
    while waiting:
        parent, start, members = waiting.pop()
        end = _common(prompts, members)
        nodes.append(PrefixNode(parent, start, end, members))
        waiting += _groups(prompts, len(nodes) - 1, end, members)
    return nodes


def _groups(
    prompts: Sequence[Hashes], parent: int | None, start: int, members: Sequence[int]
) -> list[tuple[int | None, int, tuple[int, ...]]]:
    """Those that go on behind `start`, by the block with which they do; the largest group last."""
    found: dict[int, list[int]] = {}
    for member in members:
        if len(prompts[member]) > start:
            found.setdefault(int(prompts[member][start]), []).append(member)
    groups = [(parent, start, tuple(group)) for group in found.values()]
    return sorted(groups, key=lambda group: (len(group[2]), -group[2][0]))


def _common(prompts: Sequence[Hashes], members: Sequence[int]) -> int:
    """How many leading blocks all of them have."""
    first = prompts[members[0]]
    low, high = 1, min(len(prompts[member]) for member in members)
    while low < high:
        middle = (low + high + 1) // 2
        if all(prompts[member][middle - 1] == first[middle - 1] for member in members[1:]):
            low = middle
        else:
            high = middle - 1
    return low
