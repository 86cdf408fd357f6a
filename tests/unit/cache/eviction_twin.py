"""The eviction core said again in plain Python: everything is worked out anew from the facts, and lists are lists.

The same calls as `appliance.cache.eviction.EvictionCore`, without its checks of what it is given.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

DEFAULT = 35
FOREVER = 0
NOBODY = -2
"""The session of a block's shared claim."""
NONE = -1
FREE = -1
AWAITED = 101


class Victim(NamedTuple):
    block: int
    had_content: bool
    session: int
    priority: int
    rule: int
    age_ms: int
    awaited: bool


@dataclass
class Claim:
    session: int
    priority: int
    duration_ms: int
    rule: int

    @property
    def strength(self) -> tuple[int, float]:
        return self.priority, self.duration_ms or float("inf")


@dataclass
class Block:
    content: bool = False
    holders: int = 0
    waiters: int = 0
    owner: int = NONE
    parent: int = NONE
    last_use_ms: int = 0
    use: int = 0
    named: dict[int, Claim] = field(default_factory=dict)
    """By slot, the lowest free slot is used first."""
    shared: Claim | None = None
    children: list[int] = field(default_factory=list)

    def claims(self) -> list[Claim]:
        return [self.named[slot] for slot in sorted(self.named)] + ([self.shared] if self.shared else [])

    @property
    def own(self) -> int:
        return max((claim.priority for claim in self.claims()), default=DEFAULT)

    @property
    def rule(self) -> int:
        return next((claim.rule for claim in self.claims() if claim.priority == self.own), NONE)


Place = tuple[str, int, int]
"""The list a candidate is in: its kind, its bucket, its session."""


class EvictionTwin:
    def __init__(
        self,
        num_blocks: int,
        num_sessions: int,
        claims_per_block: int,
        *,
        is_forecast: bool,
        session_share: float,
        total_share: float,
    ) -> None:
        self.blocks = [Block() for _ in range(num_blocks)]
        self.num_sessions = num_sessions
        self.num_named = claims_per_block - 1
        self.is_forecast = is_forecast
        self.now_ms = 0
        self.uses = 0
        self.stats: Counter[str] = Counter()
        self.keep = [0.0] * (num_sessions + 1)
        self.prompt = [0] * (num_sessions + 1)
        self.lists: defaultdict[Place, list[int]] = defaultdict(list)
        self.lists["used", FREE, 0] = list(range(num_blocks))
        self.place: dict[int, Place] = dict.fromkeys(range(num_blocks), ("used", FREE, 0))
        self.above: defaultdict[int, list[int]] = defaultdict(list)
        """By session: the blocks on which it has a claim above 35, oldest claim first."""
        self.claimed: dict[int, int] = {}
        """Blocks with a claim above 35, the one claimed longest ago first, and their own priority at that time."""
        self._set_limits(session_share, total_share)

    # What is known of blocks

    @property
    def num_candidates(self) -> int:
        return len(self.place)

    def effective(self, number: int) -> int:
        block = self.blocks[number]
        return block.own if block.parent == NONE else min(block.own, self.effective(block.parent))

    def _bucket(self, number: int) -> int:
        block = self.blocks[number]
        if not block.content:
            return FREE
        return AWAITED if block.waiters else self.effective(number)

    def _is_stale(self, number: int) -> bool:
        return self.blocks[number].use < self.prompt[self.blocks[number].owner]

    # Using blocks

    def start_prompt(self, session: int) -> None:
        self.prompt[session] = self.uses + 1
        if self.is_forecast:
            for bucket in range(AWAITED + 1):
                for number in list(self.lists["current", bucket, session]):
                    self._unlink(number)
                    self._link(number, ("stale", bucket, 0))

    def fill(self, blocks: Sequence[int], parents: Sequence[int], session: int, now_ms: int) -> None:
        self.expire(now_ms)
        for number, parent in reversed(list(zip(blocks, parents, strict=True))):
            block = self.blocks[number]
            block.content, block.owner, block.parent = True, session, parent
            if parent != NONE:
                self.blocks[parent].children.insert(0, number)
            self._stamp(number)
            self.stats["fills"] += 1

    def hit(self, blocks: Sequence[int], session: int | None, now_ms: int) -> None:
        self.expire(now_ms)
        for number in reversed(blocks):
            self._stamp(number)
            if session is not None:
                self.blocks[number].owner = session
            if number in self.place:
                self._unlink(number)
                self._link(number, self._place_of_used(number))
            self.stats["hits"] += 1

    def adopt(self, blocks: Sequence[int], parents: Sequence[int]) -> None:
        for number, parent in reversed(list(zip(blocks, parents, strict=True))):
            block = self.blocks[number]
            if parent not in (NONE, block.parent):
                if block.parent != NONE:
                    self.blocks[block.parent].children.remove(number)
                block.parent = parent
                self.blocks[parent].children.insert(0, number)
        self._settle()

    def hold(self, blocks: Sequence[int], now_ms: int) -> None:
        self.expire(now_ms)
        for number in reversed(blocks):
            self.blocks[number].holders += 1
            if number in self.place:
                self._unlink(number)

    def release(self, blocks: Sequence[int], now_ms: int) -> None:
        self.expire(now_ms)
        for number in reversed(blocks):
            block = self.blocks[number]
            if block.content:
                self._stamp(number)
            block.holders -= 1
            if not block.holders:
                self._link(number, self._place_of_used(number), at_front=not block.content)

    def wait(self, blocks: Sequence[int]) -> None:
        self._add_waiters(blocks, 1)

    def unwait(self, blocks: Sequence[int]) -> None:
        self._add_waiters(blocks, -1)

    def _add_waiters(self, blocks: Sequence[int], change: int) -> None:
        for number in reversed(blocks):
            self.blocks[number].waiters += change
            if number in self.place and self.place[number][1] != self._bucket(number):
                self._unlink(number)
                self._link(number, self._place_of_moved(number))

    def _stamp(self, number: int) -> None:
        self.uses += 1
        self.blocks[number].use = self.uses
        self.blocks[number].last_use_ms = self.now_ms

    # Claims

    def claim(
        self,
        session: int,
        blocks: Sequence[int],
        priorities: Sequence[int],
        durations_ms: Sequence[int],
        now_ms: int,
        rules: Sequence[int],
    ) -> None:
        self.expire(now_ms)
        for number, *values in reversed(list(zip(blocks, priorities, durations_ms, rules, strict=True))):
            self._set_claim(number, Claim(session, *values))
            self.claimed.pop(number, None)
            if self.blocks[number].own > DEFAULT:
                self.claimed[number] = self.blocks[number].own
        self._keep_to_session_share(session)
        self._keep_to_total_share()
        self._settle()

    def _set_claim(self, number: int, claim: Claim) -> None:
        block = self.blocks[number]
        if claim.priority == DEFAULT:
            claim.duration_ms = FOREVER
        self._fall_if_due(block, claim)
        slot = next((slot for slot, other in block.named.items() if other.session == claim.session), None)
        if slot is None:
            slot = next((slot for slot in range(self.num_named) if slot not in block.named), None)
        if slot is None:
            slot = min(block.named, key=lambda slot: (block.named[slot].strength, slot))
            self._share(number, slot)
        block.named[slot] = claim
        _take_out(self.above[claim.session], number)
        if claim.priority > DEFAULT:
            self.above[claim.session].append(number)

    def _share(self, number: int, slot: int) -> None:
        """Make the claim in this slot nobody's."""
        block = self.blocks[number]
        claim = block.named.pop(slot)
        _take_out(self.above[claim.session], number)
        self.stats["shared_claims"] += 1
        block.shared = self._both(block.shared, Claim(NOBODY, claim.priority, claim.duration_ms, claim.rule))

    def _both(self, one: Claim | None, two: Claim) -> Claim:
        if one is None or _dominates(two, one):
            return two if one is None or not _dominates(one, two) else one
        if _dominates(one, two):
            return one
        self.stats["widened_claims"] += 1
        stronger = max(one, two, key=lambda claim: claim.priority)
        longest = max(one.duration_ms, two.duration_ms) if one.duration_ms and two.duration_ms else FOREVER
        shortest = min(claim.duration_ms for claim in (one, two) if claim.duration_ms)
        duration_ms = longest if stronger.priority > DEFAULT else shortest
        return Claim(NOBODY, stronger.priority, duration_ms, stronger.rule)

    def expire(self, now_ms: int) -> int:
        before = self.stats["expired_claims"]
        self.now_ms = max(self.now_ms, now_ms)
        self._fall_where_due()
        self._settle()
        return self.stats["expired_claims"] - before

    def _fall_where_due(self) -> None:
        for number, block in enumerate(self.blocks):
            for claim in block.claims():
                self._fall_if_due(block, claim)
            self._forget_what_is_not_above(number)

    def _fall_if_due(self, block: Block, claim: Claim) -> None:
        has_end = claim.duration_ms != FOREVER
        if has_end and not block.holders and block.last_use_ms + claim.duration_ms <= self.now_ms:
            claim.priority, claim.duration_ms = DEFAULT, FOREVER
            self.stats["expired_claims"] += 1

    def _forget_what_is_not_above(self, number: int) -> None:
        """After claims have fallen."""
        block = self.blocks[number]
        above = {claim.session for claim in block.claims() if claim.priority > DEFAULT}
        for session, numbers in self.above.items():
            if session not in above:
                _take_out(numbers, number)
        if block.own <= DEFAULT:
            self.claimed.pop(number, None)

    def finish(self, session: int, priority: int = 0) -> None:
        for number, block in enumerate(self.blocks):
            for claim in block.named.values():
                if claim.session == session:
                    claim.priority, claim.duration_ms = priority, FOREVER
            self._forget_what_is_not_above(number)
        self._settle()

    def forget(self, session: int) -> None:
        for number, block in enumerate(self.blocks):
            for slot, claim in list(block.named.items()):
                if claim.session == session:
                    self._share(number, slot)
        self._settle()
        self.keep[session] = 0.0
        self.prompt[session] = 0
        owned = [number for number, block in enumerate(self.blocks) if block.owner == session]
        for number in self._in_order_of_use(owned):
            self.blocks[number].owner = NONE
            if self.is_forecast and number in self.place:
                bucket = self.place[number][1]
                self._unlink(number)
                self._link(number, ("current", bucket, NONE))

    def reprioritise(self, priorities: Sequence[int], durations_ms: Sequence[int], now_ms: int) -> None:
        self.expire(now_ms)
        for block in self.blocks:
            for claim in block.claims():
                if 0 <= claim.rule < len(priorities):
                    claim.priority, claim.duration_ms = priorities[claim.rule], durations_ms[claim.rule]
                    if claim.priority == DEFAULT:
                        claim.duration_ms = FOREVER
        self.rebuild(now_ms)

    # Shares

    def set_shares(self, session_share: float, total_share: float) -> None:
        self._set_limits(session_share, total_share)
        for session in range(self.num_sessions):
            self._keep_to_session_share(session)
        self._keep_to_total_share()
        self._settle()

    def _set_limits(self, session_share: float, total_share: float) -> None:
        self.session_limit = int(session_share * len(self.blocks))
        self.total_limit = int(total_share * len(self.blocks))

    def _keep_to_session_share(self, session: int) -> None:
        while len(self.above[session]) > self.session_limit:
            number = min(self.above[session], key=lambda number: self._priority_of(session, number))
            self._let_fall(number, session)
            self.stats["session_share_falls"] += 1

    def _keep_to_total_share(self) -> None:
        while len(self.claimed) > self.total_limit:
            self._let_fall(min(self.claimed, key=self.claimed.__getitem__))
            self.stats["total_share_falls"] += 1

    def _priority_of(self, session: int, number: int) -> int:
        return next(claim.priority for claim in self.blocks[number].named.values() if claim.session == session)

    def _let_fall(self, number: int, session: int | None = None) -> None:
        for claim in self.blocks[number].claims():
            if claim.priority > DEFAULT and session in (None, claim.session):
                claim.priority, claim.duration_ms = DEFAULT, FOREVER
        self._forget_what_is_not_above(number)

    # Evicting

    def take(self, n: int, now_ms: int) -> list[Victim]:
        self.expire(now_ms)
        return [self._take_one() for _ in range(n)]

    def _take_one(self) -> Victim:
        number = self._next_victim()
        block = self.blocks[number]
        victim = Victim(
            number,
            block.content,
            block.owner,
            self.effective(number),
            block.rule,
            self.now_ms - block.last_use_ms,
            block.waiters > 0,
        )
        self.stats["evictions" if block.content else "free_takes"] += 1
        self._unlink(number)
        self._empty(number)
        block.holders = 1
        return victim

    def _next_victim(self) -> int:
        bucket = min(place[1] for place in self.place.values())
        if bucket == FREE:
            return self.lists["used", FREE, 0][0]
        place = self._first_list(bucket)
        while True:
            number = self.lists[place][0]
            child = next((child for child in self.blocks[number].children if self._is_in(child, bucket)), None)
            if child is None:
                return number
            if self._may_go_first(child, place):
                self._unlink(child)
                self._link(child, place, at_front=True)
            else:
                self._hand_over(number, child)
                place = self._first_list(bucket)

    def _is_in(self, number: int, bucket: int) -> bool:
        return number in self.place and self.place[number][1] == bucket

    def _may_go_first(self, child: int, place: Place) -> bool:
        return not self.is_forecast or self._place_of_used(child) == place

    def _hand_over(self, number: int, child: int) -> None:
        block, heir = self.blocks[number], self.blocks[child]
        self._unlink(number)
        block.owner = heir.owner
        block.use = max(block.use, heir.use)
        block.last_use_ms = max(block.last_use_ms, heir.last_use_ms)
        self._link(number, self._place_of_used(number))

    def _first_list(self, bucket: int) -> Place:
        if not self.is_forecast:
            heads = [
                (self.blocks[numbers[0]].use, kind)
                for kind in ("used", "moved")
                if (numbers := self.lists[kind, bucket, 0])
            ]
            return min(heads, key=lambda head: (head[0], head[1] == "moved"))[1], bucket, 0
        if self.lists["stale", bucket, 0]:
            return "stale", bucket, 0
        sessions = [session for session in (NONE, *range(self.num_sessions)) if self.lists["current", bucket, session]]
        return "current", bucket, min(sessions, key=lambda session: self.keep[session])

    def drop(self, blocks: Sequence[int]) -> None:
        for number in reversed(blocks):
            if self.blocks[number].content:
                self._empty(number)
                if number in self.place:
                    self._unlink(number)
                    self._link(number, ("used", FREE, 0), at_front=True)

    def _empty(self, number: int) -> None:
        block = self.blocks[number]
        block.named.clear()
        block.shared = None
        self._forget_what_is_not_above(number)
        if block.parent != NONE:
            self.blocks[block.parent].children.remove(number)
        for child in block.children:
            self.blocks[child].parent = NONE
            self.stats["orphans"] += 1
        block.children.clear()
        block.content, block.owner, block.parent, block.last_use_ms, block.use = False, NONE, NONE, 0, 0
        self._settle(but=number)

    # Lists

    def set_keep(self, session: int, keep: float) -> None:
        self.keep[session] = keep

    def set_order(self, *, is_forecast: bool) -> None:
        self.is_forecast = is_forecast
        self.rebuild(self.now_ms)

    def rebuild(self, now_ms: int) -> None:
        self.now_ms = max(self.now_ms, now_ms)
        for block in self.blocks:
            for claim in block.claims():
                self._fall_if_due(block, claim)
        for numbers in (*self.lists.values(), *self.above.values(), *(block.children for block in self.blocks)):
            numbers.clear()
        self.claimed.clear()
        self.place.clear()
        order = self._in_order_of_use(range(len(self.blocks)))
        for number in order:
            self._relink(number)
        for session in range(self.num_sessions):
            self._keep_to_session_share(session)
        self._keep_to_total_share()
        for number in order:
            if not self.blocks[number].holders:
                self._link(number, self._place_of_used(number))

    def _relink(self, number: int) -> None:
        block = self.blocks[number]
        if block.parent != NONE:
            self.blocks[block.parent].children.insert(0, number)
        for claim in block.named.values():
            if claim.priority > DEFAULT:
                self.above[claim.session].append(number)
        if block.own > DEFAULT:
            self.claimed[number] = block.own

    def _place_of_used(self, number: int) -> Place:
        bucket = self._bucket(number)
        if bucket == FREE or not self.is_forecast:
            return "used", bucket, 0
        return ("stale", bucket, 0) if self._is_stale(number) else ("current", bucket, self.blocks[number].owner)

    def _place_of_moved(self, number: int) -> Place:
        kind, bucket, session = self._place_of_used(number)
        return ("moved" if kind == "used" and bucket != FREE else kind), bucket, session

    def _settle(self, but: int = NONE) -> None:
        """Move every candidate whose bucket is another now, in order of last use."""
        moving = [n for n, place in self.place.items() if n != but and place[1] != self._bucket(n)]
        for number in self._in_order_of_use(moving):
            self._unlink(number)
            self._link(number, self._place_of_moved(number))

    def _in_order_of_use(self, numbers: Iterable[int]) -> list[int]:
        return sorted(numbers, key=lambda number: (self.blocks[number].use, number))

    def _link(self, number: int, place: Place, *, at_front: bool = False) -> None:
        self.lists[place].insert(0 if at_front else len(self.lists[place]), number)
        self.place[number] = place

    def _unlink(self, number: int) -> None:
        self.lists[self.place.pop(number)].remove(number)


def _dominates(one: Claim, two: Claim) -> bool:
    """Whether `one` is worth at least what `two` is, at every age."""
    if one.priority >= DEFAULT and two.priority <= DEFAULT:
        return True
    if (one.priority > DEFAULT) != (two.priority > DEFAULT):
        return False
    lasts_as_long = (one.duration_ms or float("inf")) >= (two.duration_ms or float("inf"))
    ends_as_soon = (one.duration_ms or float("inf")) <= (two.duration_ms or float("inf"))
    return one.priority >= two.priority and (lasts_as_long if one.priority > DEFAULT else ends_as_soon)


def _take_out(numbers: list[int], number: int) -> None:
    if number in numbers:
        numbers.remove(number)
