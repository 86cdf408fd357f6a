from __future__ import annotations

import pytest
from vllm.distributed.kv_events import BlockRemoved
from vllm.v1.core.kv_cache_utils import maybe_convert_block_hash

from appliance.engine.retention.sessions import ANONYMOUS
from tests.unit.engine.retention.pools import (
    BLOCK_TOKENS,
    Clock,
    Served,
    full_attention,
    new_plan,
    new_request,
    nowhere_on_gpu,
    served,
    sliding_window,
)

PROMPT = range(4 * BLOCK_TOKENS)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> Served:
    """Sixteen blocks and the null block."""
    return served(17, clock=clock)


def test_a_prompt_that_nobody_claims_does_not_survive_a_flood(cache: Served) -> None:
    cache.serve(new_request(PROMPT))
    cache.flood(32)
    assert cache.found(PROMPT) == 0


def test_a_claimed_prompt_survives_a_flood_many_times_the_size_of_the_cache(cache: Served) -> None:
    cache.serve(new_request(PROMPT, plan=new_plan((16, 90))))
    cache.flood(320)
    assert cache.found(PROMPT) == 16


def test_what_is_worth_less_goes_first_within_one_prompt(cache: Served) -> None:
    cache.serve(new_request(PROMPT, plan=new_plan((8, 90), (8, 10))))
    cache.flood(16)
    assert cache.found(PROMPT) == 8


def test_what_was_generated_goes_before_what_was_read(cache: Served) -> None:
    answer = range(100, 112)
    cache.serve(new_request(PROMPT, plan=new_plan((16, 35), output=10)), answer)
    cache.flood(12)
    assert cache.found([*PROMPT, *answer]) == 16


def test_a_claim_with_a_duration_holds_from_the_last_use_until_its_end_and_no_longer(
    cache: Served, clock: Clock
) -> None:
    cache.serve(new_request(PROMPT, plan=new_plan((16, 60, 30.0))))
    clock.now_ms += 20_000
    cache.serve(new_request([*PROMPT, 50]))
    clock.now_ms += 29_999
    cache.flood(64)
    assert cache.found(PROMPT) == 16
    clock.now_ms += 1
    cache.flood(64, start=50_000)
    assert cache.found(PROMPT) == 0


def test_time_does_not_pass_for_blocks_that_are_held(cache: Served, clock: Clock) -> None:
    request = new_request(PROMPT, plan=new_plan((16, 60, 30.0)))
    cache.admit(request)
    clock.now_ms += 60_000
    cache.manager.new_step_starts()
    cache.manager.free(request)
    cache.flood(64)
    assert cache.found(PROMPT) == 16


def test_claims_of_a_request_that_hits_count(cache: Served) -> None:
    cache.serve(new_request(PROMPT))
    cache.serve(new_request([*PROMPT, 50], plan=new_plan((16, 90), (1, 35)), session="s"))
    cache.flood(64)
    assert cache.found(PROMPT) == 16


def test_a_hit_without_a_plan_never_lowers_a_claim(cache: Served) -> None:
    cache.serve(new_request(PROMPT, plan=new_plan((16, 90)), session="s"))
    for session in ("s", "t", None):
        cache.serve(new_request([*PROMPT, 50], session=session))
    cache.flood(64)
    assert cache.found(PROMPT) == 16


def test_a_hit_of_another_session_never_lowers_a_claim(cache: Served) -> None:
    cache.serve(new_request(PROMPT, plan=new_plan((16, 90)), session="lead"))
    cache.serve(new_request([*PROMPT, 50], plan=new_plan((17, 0)), session="subagent"))
    cache.flood(64)
    assert cache.found(PROMPT) == 16


def test_a_sessions_newest_plan_replaces_what_it_claimed_before(cache: Served) -> None:
    cache.serve(new_request(PROMPT, plan=new_plan((16, 90)), session="s"))
    cache.serve(new_request([*PROMPT, 50], plan=new_plan((17, 0)), session="s"))
    cache.flood(14)
    assert cache.found(PROMPT) == 8


def test_what_may_not_be_on_the_gpu_is_worth_nothing_there(cache: Served) -> None:
    cache.serve(new_request(PROMPT, plan=nowhere_on_gpu(16)))
    cache.serve(new_request(range(100, 116)))
    cache.flood(12)
    assert (cache.found(PROMPT), cache.found(range(100, 116))) == (0, 16)


def test_a_prompt_read_in_chunks_is_claimed_as_one_that_is_read_at_once(cache: Served) -> None:
    request = new_request(PROMPT, plan=new_plan((6, 90), (10, 10)))
    assert cache.admit(request, chunk=5) == 0
    for _ in range(4):
        cache.go_on(request, chunk=3)
    cache.manager.free(request)
    table = cache.retention.table
    resident = [block for block in range(17) if table.states[block]]
    first_tokens = {int(table.first_tokens[block]): int(table.core.priorities([block])[0]) for block in resident}
    assert first_tokens == {0: 90, 4: 90, 8: 10, 12: 10}


def test_blocks_that_fill_one_by_one_are_known_to_the_core_when_they_are_released(cache: Served) -> None:
    request = new_request(PROMPT, plan=new_plan((16, 90), output=60))
    cache.admit(request)
    cache.generate(request, range(100, 108))
    assert cache.retention.table.core.stats.fills == 4
    cache.check()
    cache.manager.free(request)
    assert cache.retention.table.core.stats.fills == 6
    cache.flood(64)
    assert cache.found([*PROMPT, *range(100, 108)]) == 24


def test_blocks_that_fill_one_by_one_can_be_hit_while_their_request_runs(cache: Served) -> None:
    first, second = new_request(PROMPT, session="s"), new_request([*PROMPT, *range(100, 108)], session="t")
    cache.admit(first)
    cache.generate(first, range(100, 108))
    assert cache.admit(second) == 20
    cache.check()
    cache.manager.free(first)
    cache.manager.free(second)
    cache.check()
    assert cache.found([*PROMPT, *range(100, 108)]) == 24


def test_a_token_that_has_room_and_fills_nothing_takes_no_block(cache: Served) -> None:
    request = new_request([*PROMPT, 50], session="s")
    cache.admit(request)
    given = [len(cache.manager.allocate_slots(request, 1, num_lookahead_tokens=ahead).blocks[0]) for ahead in (0, 2, 3)]
    assert given == [0, 0, 1]
    cache.generate(request, range(100, 103))
    assert [len(blocks) for blocks in cache.manager.get_block_ids(request.request_id)] == [6]
    cache.check()


def test_a_step_of_no_token_is_refused_as_by_vllm(cache: Served) -> None:
    request = new_request([*PROMPT, 50], session="s")
    cache.admit(request)
    with pytest.raises(ValueError, match="num_new_tokens"):
        cache.manager.allocate_slots(request, 0)


def test_blocks_that_go_together_are_told_of_in_one_event(cache: Served) -> None:
    first = new_request(PROMPT)
    cache.serve(first)
    pool = cache.manager.block_pool
    pool.enable_kv_cache_events = True
    cache.admit(new_request(range(1000, 1000 + 16 * BLOCK_TOKENS)))
    removed = [event for event in pool.take_events() if isinstance(event, BlockRemoved)]
    assert [event.group_idx for event in removed] == [0]
    assert set(removed[0].block_hashes) == set(map(maybe_convert_block_hash, first.block_hashes))


def test_a_long_answer_is_told_to_the_core_in_batches() -> None:
    cache = served(200)
    request = new_request(range(4), session="s")
    cache.admit(request)
    cache.generate(request, range(100, 100 + 70 * BLOCK_TOKENS))
    assert cache.retention.table.core.stats.fills == 64
    cache.check()
    cache.manager.free(request)
    cache.check()
    assert cache.found([*range(4), *range(100, 100 + 70 * BLOCK_TOKENS)]) == 4 + 70 * BLOCK_TOKENS


def test_a_preempted_request_finds_what_it_had_computed_and_keeps_its_claims(cache: Served) -> None:
    request = new_request(PROMPT, plan=new_plan((16, 90)), session="s")
    cache.admit(request)
    cache.generate(request, range(100, 106))
    cache.manager.free(request)
    request.num_computed_tokens = 0
    cache.check()
    assert cache.admit(request) == 20
    cache.manager.free(request)
    cache.flood(64)
    assert cache.found(PROMPT) == 16


def test_blocks_whose_release_is_deferred_are_free_when_the_pool_has_them_back(cache: Served) -> None:
    request = new_request(PROMPT, plan=new_plan((16, 90)), session="s")
    cache.admit(request)
    cache.generate(request, range(100, 108))
    blocks = cache.manager.pop_blocks_for_free(request)
    assert cache.manager.block_pool.get_num_free_blocks() == 10
    cache.check()
    cache.manager.block_pool.free_blocks(reversed(blocks))
    assert cache.manager.block_pool.get_num_free_blocks() == 16
    cache.check()
    cache.flood(64)
    assert cache.found(PROMPT) == 16


def test_a_request_that_ends_before_it_was_admitted_leaves_nothing(cache: Served) -> None:
    cache.manager.free(new_request(PROMPT, session="s"))
    assert len(cache.retention.requests) == 0
    cache.check()


def test_a_plan_that_cannot_be_read_claims_nothing_and_is_counted(cache: Served) -> None:
    request = new_request(PROMPT, plan=new_plan((16, 90)), session="s")
    payload = request.kv_hints.actions[0].payload
    payload["directives"][0]["priority"] = 101
    cache.serve(request)
    assert cache.retention.stats()["bad_plans"] == 1
    cache.flood(64)
    assert cache.found(PROMPT) == 0


def test_requests_of_no_session_share_the_anonymous_slot(cache: Served) -> None:
    cache.serve(new_request(PROMPT, plan=new_plan((16, 90))))
    assert cache.retention.table.core.num_claimed_by(ANONYMOUS) == 4
    assert len(cache.retention.requests.sessions) == 0


def test_all_may_be_taken_whatever_it_is_worth(cache: Served) -> None:
    cache.serve(new_request(PROMPT, plan=new_plan((16, 100))))
    big = new_request(range(1000, 1000 + 16 * BLOCK_TOKENS))
    assert cache.admit(big) == 0
    assert cache.manager.block_pool.get_num_free_blocks() == 0
    cache.manager.free(big)
    cache.check()


def test_blocks_that_a_connector_loads_are_claimed_when_they_are_there(cache: Served) -> None:
    request = new_request([*PROMPT, 50], plan=new_plan((17, 90)), session="s")
    cache.load(request, 16)
    cache.check()
    assert cache.retention.stats()["fills"] == 0
    cache.loaded(request)
    cache.go_on(request)
    cache.check()
    cache.manager.free(request)
    cache.flood(64)
    assert cache.found(PROMPT) == 16


def test_the_tail_of_a_copy_stays_with_the_head_that_is_found_before_it() -> None:
    """Two requests load one prompt at the same time; later the head of one copy is found, and the tail of the other,
    whose own head nobody uses any more and which goes first."""
    cache = served(11)
    prompt = range(12)
    first, second = new_request([*prompt, 50]), new_request([*prompt, 51])
    cache.load(first, 12)
    cache.load(second, 12)
    for request in (first, second):
        cache.loaded(request)
        cache.manager.free(request)
    cache.serve(new_request(range(500, 521)))
    assert cache.serve(new_request([*prompt, 52])) == 12
    cache.flood(2)
    assert cache.found(prompt) == 12


def test_outside_its_window_a_group_frees_blocks_while_the_request_runs() -> None:
    cache = served(33, full_attention(), sliding_window(8))
    request = new_request(range(40), plan=new_plan((40, 90)), session="s")
    cache.admit(request, chunk=8)
    while request.num_computed_tokens < 40:
        cache.go_on(request, chunk=8)
        cache.check()
    cache.generate(request, range(100, 120))
    cache.check()
    cache.manager.free(request)
    cache.check()
    assert cache.manager.block_pool.get_num_free_blocks() == 32


def test_a_claimed_prompt_of_a_hybrid_model_survives_a_flood() -> None:
    cache = served(65, full_attention(), sliding_window(8))
    cache.serve(new_request(range(32), plan=new_plan((32, 90)), session="s"))
    cache.flood(128)
    assert cache.found(range(32)) == 32


def test_a_hybrid_prompt_is_hit_and_claimed_again() -> None:
    cache = served(65, full_attention(), sliding_window(8))
    cache.serve(new_request(range(32), session="s"))
    assert cache.serve(new_request([*range(32), 50], plan=new_plan((33, 90)), session="s")) == 32
    cache.flood(128)
    assert cache.found(range(32)) == 32


def test_a_reset_forgets_all_blocks_and_leaves_all_free(cache: Served) -> None:
    running = new_request(PROMPT, plan=new_plan((16, 90)), session="s")
    cache.admit(running)
    assert not cache.manager.reset_prefix_cache()
    cache.manager.free(running)
    assert cache.manager.reset_prefix_cache()
    cache.check()
    assert cache.found(PROMPT) == 0
    assert cache.retention.stats()["free"] == 16
    assert cache.retention.requests.replan("s", running.kv_hints.actions[0].payload) == 0


def test_blocks_that_lose_their_hash_go_next(cache: Served) -> None:
    request = new_request(PROMPT, plan=new_plan((16, 90)), session="s")
    cache.serve(request)
    held = new_request([*PROMPT, 50], session="s")
    cache.admit(held)
    block_ids = cache.manager.get_block_ids(held.request_id)[0]
    cache.manager.evict_blocks(set(block_ids[2:4]))
    cache.check()
    cache.manager.free(held)
    cache.check()
    assert cache.found(PROMPT) == 8
    assert cache.retention.stats()["free"] == 14


def test_blocks_that_lose_their_hash_before_the_core_knows_of_them_stay_unknown_to_it(cache: Served) -> None:
    request = new_request(PROMPT, session="s")
    cache.admit(request)
    cache.generate(request, range(100, 108))
    block_ids = cache.manager.get_block_ids(request.request_id)[0]
    cache.manager.evict_blocks({block_ids[4]})
    cache.check()
    cache.manager.free(request)
    cache.check()
    assert cache.found([*PROMPT, *range(100, 108)]) == 16
