"""Candidates in lists: one set of lists a bucket, a bucket for each effective priority.

Lists by number, for B buckets and S sessions (and one more for blocks that nobody owns):

- bucket: free blocks, and in LRU order all that were used in this bucket, by last use;
- B + bucket: in LRU order blocks that came by a change of priority; in forecast order those not on a last prompt;
- 2 B + bucket (S + 1) + session + 1: in forecast order those on the session's last prompt.
"""

from __future__ import annotations

from appliance.cache.kernel import inlined, kernel
from appliance.cache.layout import AWAITED, FREE, NO_SESSION, NOWHERE, NUM_BUCKETS, UNKNOWN
from appliance.cache.links import linked
from appliance.cache.rows import block_at, bucket_at, header_at, list_at, session_at, state_at

append, prepend, unlink = linked(block_at, list_at)


@kernel
def bucket_of(t: int, block: int) -> int:
    """The bucket the block belongs in as a candidate."""
    record = block_at(t, block)
    if not record.has_content:
        return FREE
    return AWAITED if record.waiters else record.effective + 1


@kernel
def place_used(t: int, block: int) -> None:
    """Make the block, which is in no list, a candidate that was just used; without content, the next one to go."""
    bucket = bucket_of(t, block)
    if bucket == FREE:
        prepend(t, block, bucket)
    else:
        append(t, block, _list_of(t, block, bucket, bucket))
    _count_in(t, block, bucket)


@kernel
def place_moved(t: int, block: int) -> None:
    """Make the block, which is in no list and has content, a candidate that came by a change of priority."""
    bucket = bucket_of(t, block)
    append(t, block, _list_of(t, block, bucket, NUM_BUCKETS + bucket))
    _count_in(t, block, bucket)


@kernel
def place_first(t: int, block: int, bucket: int, which: int) -> None:
    """Put the block, which is in no list, before all others of a list of this bucket."""
    prepend(t, block, which)
    _count_in(t, block, bucket)


@kernel
def withdraw(t: int, block: int) -> None:
    """Take a candidate out of its list."""
    unlink(t, block)
    bucket_at(t, block_at(t, block).bucket).num_blocks -= 1
    state_at(t, 0).num_candidates -= 1
    block_at(t, block).bucket = NOWHERE


@inlined
def is_candidate(t: int, block: int) -> bool:
    return block_at(t, block).bucket != NOWHERE


@inlined
def is_stale(t: int, block: int) -> bool:
    """Whether the block was not used for its session's last prompt."""
    return block_at(t, block).use < session_at(t, block_at(t, block).owner).prompt_use


@kernel
def _list_of(t: int, block: int, bucket: int, by_last_use: int) -> int:
    if not state_at(t, 0).is_forecast:
        return by_last_use
    if is_stale(t, block):
        return NUM_BUCKETS + bucket
    session = block_at(t, block).owner
    _lower(t, bucket, session)
    return list_of_session(t, bucket, session)


@kernel
def list_of_session(t: int, bucket: int, session: int) -> int:
    return 2 * NUM_BUCKETS + bucket * (header_at(t, 0).num_sessions + 1) + session + 1


@kernel
def _count_in(t: int, block: int, bucket: int) -> None:
    block_at(t, block).bucket = bucket
    bucket_at(t, bucket).num_blocks += 1
    state_at(t, 0).num_candidates += 1


@kernel
def _lower(t: int, bucket: int, session: int) -> None:
    """Keep `lowest_session` right, if it is known, now that this session has a block in the bucket."""
    lowest = bucket_at(t, bucket).lowest_session
    if lowest == UNKNOWN:
        return
    keep, lowest_keep = session_at(t, session).keep, session_at(t, lowest).keep
    if keep < lowest_keep or (keep == lowest_keep and session < lowest):
        bucket_at(t, bucket).lowest_session = session


@kernel
def set_owner(t: int, block: int, session: int) -> None:
    session_at(t, block_at(t, block).owner).num_owned -= 1
    block_at(t, block).owner = session
    count_owned(t, session)


@inlined
def count_owned(t: int, session: int) -> None:
    """One block more is the session's. Only sessions below `num_owners` are looked at for the lowest."""
    session_at(t, session).num_owned += 1
    state_at(t, 0).num_owners = max(state_at(t, 0).num_owners, session + 1)


@kernel
def forget_lowest(t: int) -> None:
    """To be called after any change of a session's keep."""
    for bucket in range(NUM_BUCKETS):
        bucket_at(t, bucket).lowest_session = UNKNOWN


@kernel
def make_stale(t: int, session: int) -> None:
    """In forecast order: all candidates in the session's own lists join those that are on no last prompt."""
    for bucket in range(1, NUM_BUCKETS):
        _append_all(t, list_of_session(t, bucket, session), NUM_BUCKETS + bucket)


@kernel
def _append_all(t: int, source: int, target: int) -> None:
    """Move everything in list `source` to the end of list `target`. Nothing happens when it is empty."""
    first, last, before = list_at(t, source).first, list_at(t, source).last, list_at(t, target).last
    if first < 0:
        return
    block_at(t, first).previous = before if before >= 0 else -2 - target
    block_at(t, last).next = -2 - target
    if before >= 0:
        block_at(t, before).next = first
    else:
        list_at(t, target).first = first
    list_at(t, target).last = last
    list_at(t, source).first, list_at(t, source).last = -1, -1


@kernel
def first_list(t: int, bucket: int) -> int:
    """The list of this bucket, which is not empty, whose first block goes next."""
    if bucket == FREE:
        return FREE
    aside = NUM_BUCKETS + bucket
    if not state_at(t, 0).is_forecast:
        used, moved = list_at(t, bucket).first, list_at(t, aside).first
        if moved < 0 or (used >= 0 and block_at(t, used).use <= block_at(t, moved).use):
            return bucket
        return aside
    if list_at(t, aside).first >= 0:
        return aside
    return list_of_session(t, bucket, _lowest_session(t, bucket))


@kernel
def _lowest_session(t: int, bucket: int) -> int:
    """Among the sessions with blocks in the bucket that with the lowest keep; of equal ones the first."""
    lowest = bucket_at(t, bucket).lowest_session
    if lowest != UNKNOWN and list_at(t, list_of_session(t, bucket, lowest)).first >= 0:
        return lowest
    lowest = UNKNOWN
    for session in range(NO_SESSION, state_at(t, 0).num_owners):
        if list_at(t, list_of_session(t, bucket, session)).first >= 0 and (
            lowest == UNKNOWN or session_at(t, session).keep < session_at(t, lowest).keep
        ):
            lowest = session
    bucket_at(t, bucket).lowest_session = lowest
    return lowest
