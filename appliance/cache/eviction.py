"""The eviction core: which block goes next, for the GPU tier, the host tier and the simulator alike.

What it does: keeps, for each block, claims of sessions (a priority, and a time counted from the last use), works out
the effective priority (the highest live claim, at most the parent's) and gives blocks out in its order: free ones,
then the lowest priority first, inside one by last use or by forecast, a block after its children, and blocks that
waiting requests want last of all. All claims are soft. `docs/design/eviction.md` has the exact rules.

Cost: constant time for each block of a call, for each claim that ends, and for each block whose effective priority
changes because an ancestor's did. The forecast picks among sessions in time linear in their number, at most once for
each session emptied. `reprioritise`, `set_order` and `rebuild` sort all blocks; `forget` looks at all of them.

Bounds: the number of blocks, sessions (slots that the caller gives out) and claims a block is fixed; what does not fit
is merged and counted (`EvictionStats`).

Blocks are numbers; every batch is in prefix order, parents first, and is worked on from its end, so that the tail of a
prompt goes before its head. Times are ms of one monotonic clock; a time before the latest one seen counts as that.
Calls that raise have changed nothing. There is no lock here: calls on one core, in however many processes, are the
caller's to order; the compiled part runs without Python's lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.cache import claim_kernels, rebuild_kernels, take_kernels, use_kernels
from appliance.cache.checks import DONE
from appliance.cache.errors import InvalidBlock, NotEnoughBlocks
from appliance.cache.eviction_facts import Order, Shares, Victims
from appliance.cache.eviction_view import EvictionView
from appliance.cache.layout import (
    DEFAULT_PRIORITY,
    FOREVER,
    MAX_PRIORITY,
    NO_BLOCK,
    NO_RULE,
    NO_SESSION,
    NOBODY,
    UNKNOWN,
)
from appliance.cache.tables import Geometry, attach, create

__all__ = ["DEFAULT_PRIORITY", "FOREVER", "NO_BLOCK", "NO_RULE", "NO_SESSION", "EvictionCore", "Order", "Shares"]

Blocks = Sequence[int] | NDArray[Any]


class EvictionCore(EvictionView):
    """All blocks start free, in the order of their numbers."""

    _expired_ms = -1
    """The time up to which this process has let claims fall: nothing that it does makes one due at that time again."""

    def __init__(
        self,
        num_blocks: int,
        *,
        num_sessions: int = 1024,
        claims_per_block: int = 4,
        order: Order = Order.FORECAST,
        shares: Shares | None = None,
        buffer: Any = None,
    ) -> None:
        """With `buffer` (writable, of at least `num_bytes(...)`) the arrays are made there. `claims_per_block` ≥ 2."""
        super().__init__(create(Geometry(num_blocks, num_sessions, claims_per_block), buffer))
        self._set_limits(shares or Shares())
        self._state["is_forecast"] = order is Order.FORECAST
        rebuild_kernels.rebuild(self._header, 0)

    @classmethod
    def attach(cls, buffer: Any) -> EvictionCore:
        """The core that another process made in this buffer. Raises `LayoutMismatch`."""
        core = cls.__new__(cls)
        EvictionView.__init__(core, attach(buffer))
        return core

    @staticmethod
    def num_bytes(num_blocks: int, num_sessions: int = 1024, claims_per_block: int = 4) -> int:
        return Geometry(num_blocks, num_sessions, claims_per_block).num_bytes

    # Using blocks

    def start_prompt(self, session: int) -> None:
        """The session's blocks that it does not use from now on are on no last prompt; by forecast these go first."""
        use_kernels.start_prompt(self._header, self._session(session))

    def fill(self, blocks: Blocks, parents: Blocks, session: int, now_ms: int) -> None:
        """A use: held blocks without content get it. `parents` are the blocks before them, or NO_BLOCK; the session, or
        NO_SESSION, owns them. Without claims their own priority is the default.
        """
        self.expire(now_ms)
        numbers, parents = _numbers(blocks), _numbers(parents, len(blocks))
        refused = use_kernels.fill(self._header, numbers, parents, self._owner(session))
        self._check(refused, numbers, "fill", "is not held, has content already, or its parent has none")

    def hit(self, blocks: Blocks, session: int | None, now_ms: int) -> None:
        """A use: durations start anew; no claim changes. The session owns the blocks now, unless it is `None`."""
        self.expire(now_ms)
        numbers = _numbers(blocks)
        owner = NO_SESSION if session is None else self._owner(session)
        refused = use_kernels.hit(self._header, numbers, owner, session is not None)
        self._check(refused, numbers, "hit", "has no content")

    def adopt(self, blocks: Blocks, parents: Blocks) -> None:
        """The blocks come behind these from now on, and no longer behind what they came behind; NO_BLOCK changes
        nothing. No use. A block's new parent must not be below it.
        """
        numbers, parents = _numbers(blocks), _numbers(parents, len(blocks))
        refused = use_kernels.adopt(self._header, numbers, parents)
        self._check(refused, numbers, "adopt", "has no content, or its parent has none")

    def hold(self, blocks: Blocks, now_ms: int) -> None:
        """One holder more each. A held block is no candidate, and the time of its claims stands still."""
        self.expire(now_ms)
        numbers = _numbers(blocks)
        self._check(use_kernels.hold(self._header, numbers), numbers, "hold")

    def release(self, blocks: Blocks, now_ms: int) -> None:
        """One holder less each, and a use; without holders they are candidates, those without content the next."""
        self.expire(now_ms)
        numbers = _numbers(blocks)
        self._check(use_kernels.release(self._header, numbers), numbers, "release", "is not held")

    def wait(self, blocks: Blocks) -> None:
        """One waiting request more that wants them. It marks the numbers, whatever their content, until `unwait`."""
        numbers = _numbers(blocks)
        self._check(use_kernels.add_waiters(self._header, numbers, 1), numbers, "wait")

    def unwait(self, blocks: Blocks) -> None:
        numbers = _numbers(blocks)
        self._check(use_kernels.add_waiters(self._header, numbers, -1), numbers, "unwait", "is not awaited")

    # Claims

    def claim(
        self,
        session: int,
        blocks: Blocks,
        priorities: Blocks | int,
        durations_ms: Blocks | int,
        now_ms: int,
        rules: Blocks | int = NO_RULE,
    ) -> None:
        """This is the session's claim on each block now, whatever it was before, and its newest. Not a use: a duration
        (or FOREVER) counts from the block's last use. Claims beyond the shares fall, the lowest first, and
        of these the oldest.
        """
        self.expire(now_ms)
        numbers = _numbers(blocks)
        values = [_numbers(value, len(numbers)) for value in (priorities, durations_ms, rules)]
        refused = claim_kernels.claim(self._header, self._session(session), numbers, *values)
        self._check(
            refused, numbers, "claim", "has no content, or its priority is not in 0–100 or its duration not in ms"
        )

    def expire(self, now_ms: int) -> int:
        """Let claims fall to the default whose time has passed; how many. Every call with a time does this first."""
        if now_ms <= self._expired_ms:
            return 0
        self._expired_ms = now_ms
        return claim_kernels.expire(self._header, now_ms)

    def finish(self, session: int, priority: int = 0) -> None:
        """The session's claims become `priority`, at most the default, without end."""
        if not 0 <= priority <= DEFAULT_PRIORITY:
            raise InvalidBlock(f"finish: priority {priority} is not in 0–{DEFAULT_PRIORITY}")
        claim_kernels.finish(self._header, self._session(session), priority)

    def forget(self, session: int) -> None:
        """The slot may be given to another session: its claims stay as nobody's, its blocks are owned by none."""
        claim_kernels.forget(self._header, self._session(session))

    def reprioritise(self, priorities: Blocks, durations_ms: Blocks, now_ms: int) -> None:
        """A change of policy: every claim gets the priority and duration at the place of its rule, from last use; those
        of no rule, or of one beyond the table, stay. No block is dropped; each is placed anew by its last use.
        """
        self.expire(now_ms)
        table = _numbers(priorities)
        lengths = _numbers(durations_ms, len(table))
        if np.any(table < 0) or np.any(table > MAX_PRIORITY) or np.any(lengths < 0):
            raise InvalidBlock("reprioritise: a priority is not in 0–100, or a duration is negative")
        rebuild_kernels.reprioritise(self._header, table, lengths)

    def set_shares(self, shares: Shares) -> None:
        """In force at once."""
        self._set_limits(shares)
        claim_kernels.keep_shares(self._header)

    # Order

    def set_keep(self, session: int, keep: float) -> None:
        """What keeping the session's (or NO_SESSION's) blocks is worth; 0 until said. The lowest goes first."""
        self._tables.sessions["keep"][self._owner(session) + 1] = keep
        self._tables.buckets["lowest_session"] = UNKNOWN

    def set_keeps(self, keeps: NDArray[np.float64]) -> None:
        """As `set_keep` for all sessions at once."""
        self._tables.sessions["keep"][1:] = keeps
        self._tables.buckets["lowest_session"] = UNKNOWN

    def set_order(self, order: Order) -> None:
        """In force at once."""
        self._state["is_forecast"] = order is Order.FORECAST
        rebuild_kernels.rebuild(self._header, 0)

    # Evicting

    def take(self, n: int, now_ms: int) -> Victims:
        """The next `n` candidates, without content now and held once by the caller. Raises `NotEnoughBlocks`."""
        blocks, had_content, sessions, priorities, rules, ages_ms, awaited = self.take_columns(n, now_ms)
        return Victims(blocks, had_content != 0, sessions, priorities, rules, ages_ms, awaited != 0)

    def take_columns(self, n: int, now_ms: int) -> NDArray[np.int64]:
        """As `take`, for who takes few and often: a row for each field of `Victims`, which are made at leisure."""
        self.expire(now_ms)
        victims = np.empty((len(Victims._fields), n), np.int64)
        if not take_kernels.take(self._header, victims):
            raise NotEnoughBlocks(f"{n} blocks asked for, {self.num_candidates} are candidates")
        return victims

    def drop(self, blocks: Blocks) -> None:
        """Their content is gone, and with it their claims. Nothing happens to those without content."""
        numbers = _numbers(blocks)
        self._check(take_kernels.drop(self._header, numbers), numbers, "drop")

    def rebuild(self, now_ms: int) -> None:
        """Work out all lists, links and counts from the blocks' own facts, as after a crash inside a shared core."""
        rebuild_kernels.rebuild(self._header, now_ms)

    def restore(self, has_content: NDArray[np.bool_], holders: NDArray[np.int64], now_ms: int) -> None:
        """Make these the facts of all blocks and work out the rest: somebody died in the middle of a call on a shared
        core. What else is known of a block stays as far as it can be right.
        """
        blocks, claims = self._tables.blocks, self._tables.claims
        blocks["has_content"], blocks["holders"] = has_content, holders
        is_lost = (blocks["parent"] >= self.num_blocks) | (blocks["parent"] == np.arange(self.num_blocks))
        blocks["parent"][is_lost] = NO_BLOCK
        blocks["owner"][~self._are_sessions(blocks["owner"])] = NO_SESSION
        is_wrong = ~self._are_sessions(claims["session"]) & (claims["session"] != NOBODY)
        is_wrong |= (claims["priority"] > MAX_PRIORITY) | (claims["duration_ms"] < 0)
        claims["session"][is_wrong] = NO_SESSION
        used = claims["session"].reshape(self.num_blocks, -1) != NO_SESSION
        blocks["num_claims"] = used.sum(axis=1)
        self.rebuild(now_ms)

    def _are_sessions(self, numbers: NDArray[Any]) -> NDArray[np.bool_]:
        return (numbers >= 0) & (numbers < self.num_sessions)

    def _set_limits(self, shares: Shares) -> None:
        for name, share in (("session_limit", shares.session), ("total_limit", shares.total)):
            self._state[name] = int(share * self.num_blocks)

    def _session(self, session: int) -> int:
        if not 0 <= session < self.num_sessions:
            raise InvalidBlock(f"session {session} is not in 0–{self.num_sessions - 1}")
        return session

    def _owner(self, session: int) -> int:
        return session if session == NO_SESSION else self._session(session)

    def _check(self, refused: int, blocks: NDArray[np.int64], call: str, reason: str = "") -> None:
        if refused == DONE:
            return
        block = int(blocks[refused])
        if not 0 <= block < self.num_blocks:
            reason = f"is not in 0–{self.num_blocks - 1}"
        raise InvalidBlock(f"{call}: block {block} (at place {refused} of {len(blocks)}) {reason}")


def _numbers(values: Blocks | int, length: int | None = None) -> NDArray[np.int64]:
    """As the kernels take them; a single number is repeated. Raises `InvalidBlock` when there are not `length`."""
    if length is not None and isinstance(values, int):
        return np.full(length, values, np.int64)
    numbers = np.ascontiguousarray(values, np.int64)
    if length is None or len(numbers) == length:
        return numbers
    raise InvalidBlock(f"{len(numbers)} values for {length} blocks")
