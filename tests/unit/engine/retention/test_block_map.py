"""The map of a pool against a plain look at each of its blocks."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import numpy as np
import pytest

from appliance.engine.retention.block_kernels import FILLED
from appliance.engine.retention.block_map import NOBODY, BlockMap, block_map, unpacked
from tests.unit.engine.retention.pools import BLOCK_TOKENS, Clock, Served, new_plan, new_request, served

PROMPT = range(4 * BLOCK_TOKENS)
LONGER = range(6 * BLOCK_TOKENS)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> Served:
    """Sixteen blocks and the null block."""
    return served(17, clock=clock)


def map_of(cache: Served, cells: int) -> BlockMap:
    retention = cache.manager.retention
    retention.table.tick()
    retention.requests.tagger.settle_all()
    return block_map(retention.table, retention.requests.sessions, cells)


def test_each_block_is_a_cell_where_there_is_room(cache: Served, clock: Clock) -> None:
    cache.serve(new_request(PROMPT, plan=new_plan((16, 60)), session="s"))
    clock.now_ms += 500
    cache.serve(new_request(LONGER, session="t"))
    found = map_of(cache, 100)
    assert (found.num_blocks, found.per_cell, len(found.filled)) == (17, 1, 17)
    assert found.names == ["t"]
    filled = np.flatnonzero(found.filled)
    assert len(filled) == 6
    by_token = {int(found.first_tokens[cell]) // BLOCK_TOKENS: cell for cell in filled}
    assert sorted(by_token) == [0, 1, 2, 3, 4, 5]
    assert [int(found.hits[by_token[place]]) for place in range(6)] == [1, 1, 1, 1, 0, 0]
    assert [int(found.priorities[by_token[place]]) for place in (0, 4)] == [60, 35]
    assert {int(found.owners[cell]) for cell in filled} == {0}
    empty = np.flatnonzero(found.filled == 0)
    assert {int(owner) for owner in found.owners[empty]} == {NOBODY}
    # Nobody holds anything but vLLM its null block.
    assert (np.flatnonzero(found.held).tolist(), found.awaited.sum()) == ([0], 0)


def test_in_a_few_cells_every_block_counts_and_the_one_used_last_is_shown(cache: Served, clock: Clock) -> None:
    cache.serve(new_request(PROMPT, session="s"))
    clock.now_ms += 2000
    cache.serve(new_request(range(900, 900 + 2 * BLOCK_TOKENS), session="t"))
    table = cache.manager.retention.table
    for cells in (1, 2, 5, 16):
        found = map_of(cache, cells)
        assert len(found.filled) <= cells
        states = [state == FILLED for state in table.states]
        expected = [sum(states[start : start + found.per_cell]) for start in range(0, 17, found.per_cell)]
        assert found.filled.tolist() == expected
    (one,) = map_of(cache, 1).owners.tolist()
    assert map_of(cache, 1).names[one] == "t"
    assert map_of(cache, 1).ages_ms.tolist() == [0]


def test_a_map_is_the_same_on_the_other_side(cache: Served) -> None:
    cache.serve(new_request(PROMPT, session="s"))
    found = map_of(cache, 7)
    again = unpacked(msgspec.msgpack.decode(msgspec.msgpack.encode(found.packed())))
    assert again[:3] == found[:3]
    assert all(np.array_equal(one, other) for one, other in zip(again[3:], found[3:], strict=True))


def test_a_block_that_gets_other_content_was_never_hit(cache: Served) -> None:
    for _ in range(3):
        cache.serve(new_request(PROMPT, session="s"))
    assert map_of(cache, 100).hits.max() == 2
    cache.flood(64)
    assert map_of(cache, 100).hits.max() == 0


def test_what_every_engine_process_imports_has_no_numba_in_it() -> None:
    program = "import sys; import appliance.engine.retention.install; sys.exit('llvmlite' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=120).returncode == 0
