"""Whether the eviction core's lists, links and counts say what the blocks' own facts say."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.cache.errors import IntegrityError
from appliance.cache.kernel import entry
from appliance.cache.layout import (
    AWAITED,
    DEFAULT_PRIORITY,
    FOREVER,
    FREE,
    NO_BLOCK,
    NO_SESSION,
    NOWHERE,
    NUM_BUCKETS,
    NUM_LEVELS,
    UNKNOWN,
    WHEEL_SLOTS,
)
from appliance.cache.tables import Tables

_IN_NO_LIST = -1
Numbers = NDArray[Any]


def check_tables(t: Tables) -> None:
    """Raises `IntegrityError` on the first contradiction. Does not mutate; takes time linear in the blocks."""
    _check_children(t)
    _check_claims(t)
    _check_priorities(t)
    _check_candidates(t)
    _check_forecast(t)
    _check_timers(t)
    _require(t.state["num_changed"][0] == 0 and not t.blocks["is_changed"].any(), "a change was never settled")


def _check_children(t: Tables) -> None:
    blocks = t.blocks
    siblings = (blocks["previous_sibling"], blocks["next_sibling"])
    _check_equal(_members("children", blocks["first_child"], None, *siblings), blocks["parent"], "parent")
    with_parent = blocks["parent"] != NO_BLOCK
    has_content = blocks["has_content"] != 0
    _check_blocks(has_content[blocks["parent"][with_parent]], "the parent of a block has no content")
    is_bare = ~with_parent & (blocks["first_child"] == NO_BLOCK) & (blocks["num_claims"] == 0)
    is_bare &= blocks["owner"] == NO_SESSION
    _check_blocks(blocks["owner"] < t.state["num_owners"][0], "owner beyond those that are counted")
    num_owned = np.bincount(blocks["owner"] + 1, minlength=len(t.sessions))
    _check_equal(t.sessions["num_owned"], num_owned, "number of blocks, by owner,")
    _check_blocks(has_content | is_bare, "parent, children, claims or owner without content")


def _check_claims(t: Tables) -> None:
    claims, sessions = t.claims, t.claims["session"]
    is_above = claims["priority"] > DEFAULT_PRIORITY
    listed = _members("claims", t.claims_of["first"], t.claims_of["last"], claims["previous"], claims["next"])
    levels = np.maximum(claims["priority"].astype(np.int64) - DEFAULT_PRIORITY, 0)
    _check_equal(listed, np.where(sessions >= 0, sessions * NUM_LEVELS + levels, _IN_NO_LIST), "list of claims")
    num_above = np.bincount(sessions[(sessions >= 0) & is_above] + 1, minlength=len(t.sessions))
    _check_equal(t.sessions["num_above"], num_above, "number of claims above the default, by session,")
    _require(num_above.max() <= t.state["session_limit"][0], "a session holds more than its share")
    is_claimed = t.blocks["own"] > DEFAULT_PRIORITY
    ends, links = t.claimed_ends, t.claimed
    listed = _members("claimed", ends["first"], ends["last"], links["previous"], links["next"])
    # A claim that falls leaves the block in the list of the level at which it was claimed.
    _check_blocks(is_claimed == (listed != _IN_NO_LIST), "wrongly in, or missing from, the lists of claimed blocks")
    _check_blocks(~is_claimed | (listed >= t.blocks["own"].astype(np.int64) - DEFAULT_PRIORITY), "its level is too low")
    _require(t.state["num_claimed"][0] == is_claimed.sum(), "the number of claimed blocks is wrong")
    _require(is_claimed.sum() <= t.state["total_limit"][0], "claims hold more than all together may")


def _check_priorities(t: Tables) -> None:
    claims, blocks = t.claims.reshape(len(t.blocks), -1), t.blocks
    is_used = claims["session"] != NO_SESSION
    _check_equal(blocks["num_claims"], is_used.sum(axis=1), "number of claims")
    own = np.where(is_used, claims["priority"], 0).max(axis=1)
    own[~is_used.any(axis=1)] = DEFAULT_PRIORITY
    _check_equal(blocks["own"], own, "own priority")
    is_timed = is_used & (claims["duration_ms"] != FOREVER)
    shortest_ms = np.where(is_timed, claims["duration_ms"], np.iinfo(np.int32).max).min(axis=1)
    shortest_ms[~is_timed.any(axis=1)] = FOREVER
    _check_equal(blocks["duration_ms"], shortest_ms, "shortest duration")
    parents = blocks["parent"]
    most = np.where(parents == NO_BLOCK, own, blocks["effective"][parents])
    _check_equal(blocks["effective"], np.minimum(own, most), "effective priority")


def _check_candidates(t: Tables) -> None:
    blocks, state = t.blocks, t.state[0]
    buckets = np.where(blocks["waiters"] > 0, AWAITED, blocks["effective"].astype(np.int64) + 1)
    buckets[blocks["has_content"] == 0] = FREE
    is_candidate = blocks["holders"] == 0
    _check_equal(blocks["bucket"], np.where(is_candidate, buckets, NOWHERE), "bucket")
    counts = np.bincount(buckets[is_candidate], minlength=NUM_BUCKETS)
    _check_equal(t.buckets["num_blocks"], counts, "number of candidates, by bucket,")
    _require(state["num_candidates"] == is_candidate.sum(), "the number of candidates is wrong")
    aside = NUM_BUCKETS + buckets
    listed = _members("candidates", t.lists["first"], t.lists["last"], blocks["previous"], blocks["next"])
    if state["is_forecast"]:
        is_stale = blocks["use"] < t.sessions["prompt_use"][blocks["owner"] + 1]
        of_session = 2 * NUM_BUCKETS + buckets * len(t.sessions) + blocks["owner"] + 1
        lists = np.where(is_stale, aside, of_session)
    else:
        lists = np.where(listed == aside, aside, buckets)
    lists[buckets == FREE] = FREE
    _check_equal(listed, np.where(is_candidate, lists, _IN_NO_LIST), "list of candidates")


def _check_forecast(t: Tables) -> None:
    """Where the session with the lowest keep is remembered, and has blocks still, it must be that."""
    is_filled = t.lists["first"][2 * NUM_BUCKETS :].reshape(NUM_BUCKETS, -1) >= 0
    lowest = np.where(is_filled, t.sessions["keep"], np.inf).argmin(axis=1) - 1
    remembered = t.buckets["lowest_session"]
    is_relied_on = (remembered != UNKNOWN) & is_filled[np.arange(NUM_BUCKETS), remembered + 1]
    _check_equal(remembered, np.where(is_relied_on, lowest, remembered), "session with the lowest keep, by bucket,")


def _check_timers(t: Tables) -> None:
    blocks, timers, wheel_ms = t.blocks, t.timers, t.state["wheel_ms"][0]
    slots = _members("timers", t.wheel["first"], t.wheel["last"], timers["previous"], timers["next"])
    is_set = slots != _IN_NO_LIST
    _check_equal(blocks["timer_level"], np.where(is_set, slots // WHEEL_SLOTS + 1, 0), "level of the timer")
    counts = np.bincount(slots[is_set] // WHEEL_SLOTS, minlength=len(t.levels))
    _check_equal(t.levels["num_timers"], counts, "number of timers, by level,")
    spans_ms = WHEEL_SLOTS ** np.maximum(slots // WHEEL_SLOTS, 0)
    due = np.maximum(timers["at_ms"], wheel_ms) // spans_ms % WHEEL_SLOTS
    _check_blocks(~is_set | (due == slots % WHEEL_SLOTS), "its timer is in a wrong slot")
    is_needed = (blocks["duration_ms"] != FOREVER) & (blocks["holders"] == 0)
    is_early = is_set & (timers["at_ms"] <= blocks["last_use_ms"] + blocks["duration_ms"])
    _check_blocks(~is_needed | is_early, "its timer is not set, or too late")


def _members(name: str, first: Numbers, last: Numbers | None, previous: Numbers, following: Numbers) -> Numbers:
    """In which of the lists each element is. Lists without `last` carry no marks at their ends."""
    members = np.full(len(previous), _IN_NO_LIST)
    broken = _walk(first, first if last is None else last, previous, following, last is not None, members)
    _require(broken < 0, f"list {broken} of {name} is broken")
    return members


@entry
def _walk(
    first: Numbers, last: Numbers, previous: Numbers, following: Numbers, is_marked: bool, members: Numbers
) -> int:
    """Write the list of each element into `members`; the number of a broken list, or -1."""
    for which in range(len(first)):
        mark = -2 - which if is_marked else -1
        before, element = mark, first[which]
        while element >= 0:
            if element >= len(members) or members[element] >= 0 or previous[element] != before:
                return which
            members[element] = which
            before, element = element, following[element]
        is_empty = before < 0
        if is_marked and (last[which] >= 0 if is_empty else last[which] != before):
            return which
        if not is_empty and element != mark:
            return which
    return -1


def _check_equal(stored: Numbers, worked_out: Numbers, what: str) -> None:
    differs = np.flatnonzero(stored != worked_out)
    if differs.size:
        at = differs[0]
        raise IntegrityError(f"{what} of {at} is {stored[at]}, the facts say {worked_out[at]} ({differs.size} differ)")


def _check_blocks(is_right: Numbers, what: str) -> None:
    wrong = np.flatnonzero(~is_right)
    _require(not wrong.size, f"{what}: {wrong[:1]} ({wrong.size} in all)")


def _require(is_right: Any, what: str) -> None:
    if not is_right:
        raise IntegrityError(what)
