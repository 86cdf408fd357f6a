from __future__ import annotations

from multiprocessing.shared_memory import SharedMemory

import numpy as np
import pytest

from appliance.cache.errors import InvalidBlock, LayoutMismatch, NotEnoughBlocks
from appliance.cache.eviction import FOREVER, NO_BLOCK, NO_RULE, NO_SESSION, EvictionCore, Order, Shares

A, B, C, D = range(4)
SECOND = 1_000


@pytest.fixture
def core() -> EvictionCore:
    return make_core()


def make_core(num_blocks: int = 20, order: Order = Order.LRU, **options: object) -> EvictionCore:
    everything = Shares(session=1.0, total=1.0)
    return EvictionCore(num_blocks, **({"num_sessions": 4, "order": order, "shares": everything} | options))  # type: ignore[arg-type]


def put(
    core: EvictionCore,
    session: int,
    n: int,
    now_ms: int,
    *,
    after: list[int] | None = None,
    priority: int | list[int] = 35,
    duration_ms: int = FOREVER,
    rule: int = NO_RULE,
) -> list[int]:
    """Serve a prompt that ends with `n` new blocks after those in `after`; the blocks of the whole prompt."""
    known = after or []
    core.start_prompt(session)
    core.hit(known, session, now_ms)
    core.hold(known, now_ms)
    new: list[int] = core.take(n, now_ms).blocks.tolist()
    core.fill(new, [*(known[-1:] or [NO_BLOCK]), *new[:-1]], session, now_ms)
    core.claim(session, new, priority, duration_ms, now_ms, rule)
    core.release(known + new, now_ms)
    core.check_integrity()
    return known + new


def use_up_free(core: EvictionCore) -> None:
    """Hold all that is free, so that the next to go has content."""
    core.take(core.num_free, 0)


def order_of(core: EvictionCore, now_ms: int) -> list[int]:
    """All candidates with content in the order in which they go. Nothing is left afterwards."""
    victims = core.take(core.num_candidates, now_ms)
    core.check_integrity()
    order: list[int] = victims.blocks[victims.had_content].tolist()
    return order


def test_free_blocks_go_first_in_the_order_of_their_numbers_then_the_last_one_freed(core: EvictionCore) -> None:
    assert core.take(3, 0).blocks.tolist() == [0, 1, 2]
    core.release([0, 1, 2], 0)
    assert core.take(4, 0).blocks.tolist() == [0, 1, 2, 3]


def test_the_tail_of_a_prompt_goes_before_its_head(core: EvictionCore) -> None:
    blocks = put(core, A, 4, 0)
    assert order_of(core, 1) == blocks[::-1]


def test_the_lowest_priority_goes_first_and_100_last(core: EvictionCore) -> None:
    kept = put(core, A, 2, 0, priority=100)
    low = put(core, B, 2, 1, priority=0)
    middle = put(core, C, 2, 2, priority=60)
    assert order_of(core, 3) == low[::-1] + middle[::-1] + kept[::-1]


def test_a_priority_falls_to_35_when_its_duration_has_passed_since_the_last_use(core: EvictionCore) -> None:
    blocks = put(core, A, 2, 0, priority=80, duration_ms=30 * SECOND)
    assert core.expire(30 * SECOND - 1) == 0
    assert core.priorities(blocks).tolist() == [80, 80]
    assert core.expire(30 * SECOND) == 2
    assert core.priorities(blocks).tolist() == [35, 35]


def test_a_hit_starts_a_duration_again_and_revives_nothing(core: EvictionCore) -> None:
    blocks = put(core, A, 1, 0, priority=80, duration_ms=30 * SECOND)
    core.hit(blocks, B, 20 * SECOND)
    assert core.expire(49 * SECOND) == 0
    core.hit(blocks, B, 50 * SECOND)
    assert core.priorities(blocks).tolist() == [35]


def test_time_stands_still_while_a_block_is_held(core: EvictionCore) -> None:
    blocks = put(core, A, 1, 0, priority=80, duration_ms=SECOND)
    core.hold(blocks, 500)
    assert core.expire(60 * SECOND) == 0
    core.release(blocks, 60 * SECOND)
    assert core.expire(61 * SECOND - 1) == 0
    assert core.expire(61 * SECOND) == 1


def test_a_hit_never_lowers_a_claim(core: EvictionCore) -> None:
    blocks = put(core, A, 2, 0, priority=80)
    core.hit(blocks, B, 1)
    core.claim(B, blocks, 10, FOREVER, 1)
    assert core.priorities(blocks).tolist() == [80, 80]


def test_the_highest_live_claim_counts_and_then_the_next(core: EvictionCore) -> None:
    blocks = put(core, A, 1, 0, priority=100, duration_ms=SECOND)
    core.claim(B, blocks, 60, 10 * SECOND, 0)
    core.claim(C, blocks, 20, FOREVER, 0)
    seen = []
    for now_ms in (0, SECOND, 10 * SECOND):
        core.expire(now_ms)
        seen.append(int(core.priorities(blocks)[0]))
    assert seen == [100, 60, 35]


def test_a_new_claim_of_the_same_session_replaces_its_old_one(core: EvictionCore) -> None:
    blocks = put(core, A, 1, 0, priority=80)
    core.claim(A, blocks, 10, FOREVER, 0)
    assert core.priorities(blocks).tolist() == [10]


def test_effective_priority_never_rises_along_a_prefix(core: EvictionCore) -> None:
    blocks = put(core, A, 4, 0, priority=[50, 90, 20, 100])
    assert core.priorities(blocks).tolist() == [50, 50, 20, 20]
    core.claim(A, blocks[:1], 95, FOREVER, 0)
    assert core.priorities(blocks).tolist() == [95, 90, 20, 20]


def test_when_a_parent_s_claim_ends_its_children_are_worth_no_more(core: EvictionCore) -> None:
    system = put(core, A, 2, 0, priority=100, duration_ms=SECOND)
    rest = put(core, A, 2, 0, after=system, priority=60)[2:]
    core.expire(SECOND)
    assert core.priorities(system + rest).tolist() == [35] * 4
    other = put(core, B, 1, 2 * SECOND)
    assert order_of(core, 2 * SECOND) == (system + rest)[::-1] + other


def test_blocks_that_fell_go_by_last_use_among_those_that_were_there(core: EvictionCore) -> None:
    first = put(core, A, 1, 0)
    fallen = put(core, B, 1, 1, priority=80, duration_ms=SECOND)
    last = put(core, C, 1, 2)
    assert order_of(core, 5 * SECOND) == first + fallen + last


def test_a_child_goes_before_its_parent_even_if_used_later(core: EvictionCore) -> None:
    parent, child = put(core, A, 2, 0)
    other = put(core, B, 1, 1)
    core.hit([child], A, 2)
    assert order_of(core, 3) == [child, parent, *other]


def test_held_blocks_are_no_candidates_and_allocation_succeeds_while_there_are_any(core: EvictionCore) -> None:
    held = put(core, A, 5, 0, priority=0)
    core.hold(held, 0)
    rest = put(core, B, 15, 0, priority=100)
    assert order_of(core, 1) == rest[::-1]
    with pytest.raises(NotEnoughBlocks, match="1 blocks asked for, 0 are candidates"):
        core.take(1, 1)
    assert core.num_candidates == 0


def test_a_block_counts_its_holders(core: EvictionCore) -> None:
    blocks = put(core, A, 1, 0)
    core.hold(blocks * 2, 0)
    core.release(blocks, 0)
    assert core.num_candidates == 19
    core.release(blocks, 0)
    assert core.num_candidates == 20


def test_blocks_of_waiting_requests_go_after_priority_100(core: EvictionCore) -> None:
    awaited = put(core, A, 2, 0, priority=0)
    kept = put(core, B, 2, 1, priority=100)
    core.wait(awaited)
    core.wait(awaited)
    core.unwait(awaited)
    assert core.num_awaited == 2
    victims = core.take(core.num_candidates, 2)
    assert victims.blocks[victims.had_content].tolist() == kept[::-1] + awaited[::-1]
    assert victims.awaited[victims.had_content].tolist() == [False, False, True, True]


def test_one_session_s_claims_above_35_hold_at_most_its_share_and_the_tail_falls_first() -> None:
    core = make_core(shares=Shares(session=0.5, total=1.0))
    blocks = put(core, A, 12, 0, priority=90)
    assert core.num_claimed_by(A) == 10
    assert core.priorities(blocks).tolist() == [90] * 10 + [35] * 2
    assert core.stats.session_share_falls == 2


def test_a_session_s_oldest_claims_fall_first() -> None:
    core = make_core(shares=Shares(session=0.2, total=1.0))
    old, new = put(core, A, 3, 0, priority=90), put(core, A, 3, 1, priority=90)
    assert core.priorities(old + new).tolist() == [90, 35, 35, 90, 90, 90]


def test_all_claims_above_35_hold_at_most_the_total_share() -> None:
    core = make_core(shares=Shares(session=0.5, total=0.6))
    one, two = put(core, A, 8, 0, priority=90), put(core, B, 8, 1, priority=90)
    assert core.num_claimed == 12
    assert core.priorities(one).tolist() == [90] * 4 + [35] * 4
    assert core.priorities(two).tolist() == [90] * 8
    assert core.stats.total_share_falls == 4


def test_the_lowest_claims_of_all_fall_first_though_others_are_older() -> None:
    core = make_core(shares=Shares(session=0.5, total=0.6))
    one, two = put(core, A, 8, 0, priority=90), put(core, B, 8, 1, priority=40)
    assert core.priorities(one).tolist() == [90] * 8
    assert core.priorities(two).tolist() == [40] * 4 + [35] * 4


def test_the_lowest_claims_of_a_session_fall_first_though_others_are_older() -> None:
    core = make_core(shares=Shares(session=0.3, total=1.0))
    head, other = put(core, A, 4, 0, priority=90), put(core, A, 4, 1, priority=40)
    assert core.priorities(head + other).tolist() == [90] * 4 + [40] * 2 + [35] * 2


def test_sixty_subagents_with_system_texts_of_their_own_do_not_push_out_their_lead() -> None:
    core = EvictionCore(100, num_sessions=64, order=Order.LRU)
    lead = put(core, A, 20, 0, priority=90, duration_ms=30 * SECOND)
    for number in range(1, 61):
        put(core, number, 5, number, priority=70, duration_ms=30 * SECOND)
    assert core.stats.total_share_falls > 100
    assert core.priorities(lead).tolist() == [90] * 20


def test_smaller_shares_are_in_force_at_once(core: EvictionCore) -> None:
    put(core, A, 8, 0, priority=90)
    core.set_shares(Shares(session=0.1, total=1.0))
    assert core.num_claimed_by(A) == core.num_claimed == 2


def test_a_finished_session_is_worth_nothing_but_what_others_claim_stays(core: EvictionCore) -> None:
    blocks = put(core, A, 3, 0, priority=90)
    core.claim(B, blocks[:1], 50, FOREVER, 0)
    core.finish(A)
    assert core.priorities(blocks).tolist() == [50, 0, 0]


def test_a_forgotten_session_s_slot_is_free_and_its_blocks_keep_their_worth(core: EvictionCore) -> None:
    blocks = put(core, A, 3, 0, priority=90)
    core.finish(A)
    core.forget(A)
    assert core.priorities(blocks).tolist() == [0, 0, 0]
    core.finish(A, priority=35)
    assert core.priorities(blocks).tolist() == [0, 0, 0]
    assert core.block(blocks[0]).owner is None


def test_claims_beyond_the_slots_are_merged_and_the_highest_stays_exact() -> None:
    core = make_core(num_sessions=50, claims_per_block=3)
    blocks = put(core, A, 1, 0, priority=100, duration_ms=SECOND)
    for session in range(1, 50):
        core.claim(session, blocks, 60, 2 * SECOND + session, 0)
    core.check_integrity()
    assert len(core.block(blocks[0]).claims) == 3
    assert core.stats.shared_claims == 48
    for now_ms, priority in ((SECOND - 1, 100), (SECOND, 60), (2 * SECOND + 48, 60), (2 * SECOND + 49, 35)):
        core.expire(now_ms)
        assert core.priorities(blocks).tolist() == [priority]


def test_merged_claims_that_cross_are_widened_and_counted() -> None:
    core = make_core(claims_per_block=2)
    blocks = put(core, A, 1, 0, priority=100, duration_ms=SECOND)
    core.claim(B, blocks, 60, 9 * SECOND, 0)
    core.claim(C, blocks, 20, FOREVER, 0)
    assert core.stats.widened_claims == 1
    core.expire(9 * SECOND - 1)
    assert core.priorities(blocks).tolist() == [100]
    assert core.expire(9 * SECOND) == 1


def test_a_change_of_policy_moves_resident_blocks_at_once_and_drops_none(core: EvictionCore) -> None:
    system = put(core, A, 2, 0, priority=90, rule=0)
    chat = put(core, B, 2, 1, priority=50, duration_ms=SECOND, rule=1)
    core.expire(SECOND + 1)
    core.reprioritise([20, 80], [FOREVER, 10 * SECOND], 2 * SECOND)
    core.check_integrity()
    assert core.priorities(system + chat).tolist() == [20, 20, 80, 80]
    assert all(core.block(block).has_content for block in system + chat)
    core.expire(10 * SECOND)
    assert core.priorities(chat).tolist() == [80, 80]
    core.expire(10 * SECOND + 1)
    assert order_of(core, 10 * SECOND + 1) == system[::-1] + chat[::-1]


def test_victims_tell_owner_priority_rule_age_and_whether_they_were_awaited(core: EvictionCore) -> None:
    blocks = put(core, A, 1, 5, priority=20, rule=7)
    core.hit(blocks, B, 10)
    use_up_free(core)
    victims = core.take(1, 30)
    assert (victims.blocks.tolist(), victims.had_content.tolist(), victims.sessions.tolist()) == (blocks, [True], [B])
    assert (victims.priorities.tolist(), victims.rules.tolist(), victims.ages_ms.tolist()) == ([20], [7], [20])
    assert victims.awaited.tolist() == [False]
    assert core.stats.evictions == 1


def test_a_block_whose_parent_was_dropped_has_none_any_more(core: EvictionCore) -> None:
    parent, child = put(core, A, 2, 0, priority=[10, 90])
    core.drop([parent])
    core.check_integrity()
    assert (core.block(child).parent, core.block(child).effective_priority) == (None, 90)
    assert core.stats.orphans == 1
    assert core.take(1, 0).blocks.tolist() == [parent]


def test_by_forecast_the_session_least_worth_keeping_goes_first_tail_first() -> None:
    core = make_core(order=Order.FORECAST)
    prompts = {session: put(core, session, 2, session) for session in (A, B, C)}
    core.set_keeps(np.array([2.0, 3.0, 1.0, 0.0]))
    assert order_of(core, 9) == prompts[C][::-1] + prompts[A][::-1] + prompts[B][::-1]


def test_by_forecast_blocks_that_are_on_no_last_prompt_go_before_all_others() -> None:
    core = make_core(order=Order.FORECAST)
    core.set_keep(A, 9.0)
    first = put(core, A, 3, 0)
    second = put(core, A, 2, 1, after=first[:1])
    cold = put(core, B, 1, 2)
    assert order_of(core, 3) == first[:0:-1] + cold + second[::-1]


def test_by_forecast_a_prefix_stays_for_the_session_that_continues_it() -> None:
    core = make_core(order=Order.FORECAST)
    shared = put(core, A, 2, 0)
    warm = put(core, B, 2, 1, after=shared)[2:]
    core.hit(shared, A, 2)
    core.set_keeps(np.array([1.0, 5.0, 3.0, 0.0]))
    other = put(core, C, 1, 3)
    assert order_of(core, 4) == other + warm[::-1] + shared[::-1]


def test_forecast_orders_within_a_priority_only() -> None:
    core = make_core(order=Order.FORECAST)
    core.set_keeps(np.array([0.0, 9.0, 0.0, 0.0]))
    cold_but_kept = put(core, A, 1, 0, priority=80)
    warm = put(core, B, 1, 1)
    assert order_of(core, 2) == warm + cold_but_kept


def test_the_order_may_change_live(core: EvictionCore) -> None:
    one, two = put(core, A, 2, 0), put(core, B, 2, 1)
    core.set_keeps(np.array([5.0, 1.0, 0.0, 0.0]))
    core.set_order(Order.FORECAST)
    core.check_integrity()
    assert core.order is Order.FORECAST
    assert order_of(core, 2) == two[::-1] + one[::-1]


def test_two_processes_see_one_core_in_shared_memory() -> None:
    memory = SharedMemory(create=True, size=EvictionCore.num_bytes(20, 4))
    try:
        owner = make_core(buffer=memory.buf)
        blocks = put(owner, A, 3, 0, priority=80)
        other = EvictionCore.attach(memory.buf)
        other.check_integrity()
        assert (other.num_blocks, other.num_sessions, other.order) == (20, 4, Order.LRU)
        other.finish(A)
        assert owner.priorities(blocks).tolist() == [0, 0, 0]
        assert order_of(owner, 1) == blocks[::-1]
        del owner, other
    finally:
        memory.close()
        memory.unlink()


def test_a_buffer_that_holds_no_core_is_refused() -> None:
    with pytest.raises(LayoutMismatch, match="holds no eviction core"):
        EvictionCore.attach(bytearray(10_000))
    with pytest.raises(LayoutMismatch, match="has no header"):
        EvictionCore.attach(bytearray(10))
    with pytest.raises(LayoutMismatch, match="the buffer has 100"):
        make_core(buffer=bytearray(100))


def test_a_core_is_made_anew_from_the_blocks_own_facts_after_a_crash() -> None:
    core = make_core(order=Order.FORECAST)
    core.set_keeps(np.array([2.0, 1.0, 0.0, 0.0]))
    one, two = put(core, A, 3, 0, priority=60, duration_ms=SECOND), put(core, B, 3, 1)
    core.hold(two[:1], 1)
    for name in ("first", "last"):
        core._tables.lists[name] = core._tables.wheel[name] = core._tables.claims_of[name] = 7
    core._tables.blocks["first_child"] = 3
    core._tables.state["num_candidates"] = 99
    core.rebuild(500)
    core.check_integrity()
    assert core.num_candidates == 19
    assert core.priorities(one).tolist() == [60] * 3
    assert order_of(core, SECOND) == two[:0:-1] + one[::-1]


def test_a_call_with_a_wrong_block_changes_nothing_and_names_it(core: EvictionCore) -> None:
    blocks = put(core, A, 2, 0)
    with pytest.raises(InvalidBlock, match=r"hold: block 20 \(at place 1 of 2\) is not in 0–19"):
        core.hold([0, 20], 0)
    core.hold([0], 0)
    with pytest.raises(InvalidBlock, match=r"release: block 1 \(at place 1 of 2\) is not held"):
        core.release([0, 1], 0)
    with pytest.raises(InvalidBlock, match=r"block 5 .* has no content"):
        core.hit([*blocks, 5], A, 0)
    with pytest.raises(InvalidBlock, match="has no content, or its priority"):
        core.claim(A, blocks, [50, 101], FOREVER, 0)
    with pytest.raises(InvalidBlock, match="has content already"):
        core.fill(blocks[:1], [NO_BLOCK], A, 0)
    with pytest.raises(InvalidBlock, match="is not awaited"):
        core.unwait(blocks)
    core.check_integrity()
    assert core.block(0).holders == 1
    assert core.block(1).holders == 0
    assert core.priorities(blocks).tolist() == [35, 35]


def test_a_call_with_a_wrong_session_or_length_is_refused(core: EvictionCore) -> None:
    with pytest.raises(InvalidBlock, match="session 4 is not in 0–3"):
        core.start_prompt(4)
    with pytest.raises(InvalidBlock, match="session -1"):
        core.claim(NO_SESSION, [], 50, FOREVER, 0)
    with pytest.raises(InvalidBlock, match="2 values for 1 blocks"):
        core.claim(A, put(core, A, 1, 0), [50, 60], FOREVER, 0)
    with pytest.raises(InvalidBlock, match="priority 36 is not in 0–35"):
        core.finish(A, 36)
    with pytest.raises(InvalidBlock, match="not in 0–100"):
        core.reprioritise([101], [0], 0)


def test_time_never_goes_back(core: EvictionCore) -> None:
    core.expire(5 * SECOND)
    blocks = put(core, A, 1, SECOND, priority=80, duration_ms=SECOND)
    assert core.block(blocks[0]).last_use_ms == 5 * SECOND


def test_empty_batches_do_nothing(core: EvictionCore) -> None:
    for call in (core.drop, core.wait, core.unwait):
        call([])
    core.hit([], A, 0)
    core.fill([], [], NO_SESSION, 0)
    core.claim(A, [], [], [], 0)
    assert len(core.take(0, 0).blocks) == 0
    core.check_integrity()
