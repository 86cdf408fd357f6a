from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.cache.contender import read_contender
from appliance.cache.simulated_pool import SimulatedPool
from appliance.cache.trace import Trace
from tests.unit.cache.small_traces import traces


@given(traces(), st.integers(1, 20), st.sampled_from(["lru", "coding-agent"]))
def test_every_block_is_spare_idle_or_held_and_no_more_of_the_idle_are_claimed_than_there_are(
    trace: Trace, capacity: int, name: str
) -> None:
    pool = SimulatedPool(trace, read_contender(name), capacity)
    for request in range(len(trace)):
        now = float(trace.arrival_seconds[request])
        assert pool.spare_blocks + pool.idle_blocks == capacity
        pool.arrive(request, now)
        placement = pool.begin(request, now)
        held = len(trace.blocks_of(request)) - placement.unplaced_blocks
        assert pool.spare_blocks + pool.idle_blocks + held == capacity
        pool.end(request, now + 0.25)
        assert 0 <= pool.claimed_idle_blocks <= pool.idle_blocks
        assert name != "lru" or pool.claimed_idle_blocks == 0
    pool.check_integrity()
