"""Why each token of a prompt was computed that was not read from cache. The engine's own count of what it read rules;
`docs/design/ledger.md` says what each reason means and which comes first when several hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from appliance.cache.ledger import Blame, Divergence, Reason, Source, TokenRange


class Loss(NamedTuple):
    """A block that had to go from a worker's cache. `owner` is the session that used it last; `is_expired`: the claim
    that had kept it had run out by then."""

    blame: Blame
    worker: int
    owner: str | None
    is_expired: bool


class Gone(NamedTuple):
    """All that a worker had; `None` for all workers."""

    blame: Blame
    worker: int | None


def nothing_lost(_block: int) -> Loss | None:
    """Nobody has told of evictions."""
    return None


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one request's prompt, of which the engine read the ranges `read`, from token 0 on, without gaps.

    Of its leading full blocks somebody had asked for `known_blocks` when it was sent; then its worker had
    `here_gpu_blocks` on the GPU and `here_blocks` in any tier, as its events said, and the others `elsewhere`.
    `lost` tells of one that somebody had asked for, by its place, what became of it. The nearest earlier prompt begins
    with the same `shared_tokens` and, where there is a `divergence`, had others from there to `differs_until`. `gone`
    is what took all since then that its worker had; `None`: nothing did.
    """

    prompt_tokens: int
    block_tokens: int
    read: Sequence[TokenRange]
    worker: int
    session: str | None = None
    known_blocks: int = 0
    here_gpu_blocks: int = 0
    here_blocks: int = 0
    elsewhere: Mapping[int, int] = field(default_factory=dict)
    lost: Callable[[int], Loss | None] = nothing_lost
    gone: Gone | None = None
    shared_tokens: int = 0
    differs_until: int = 0
    divergence: Divergence | None = None
    sent_at: float = 0.0
    set_aside_at: float | None = None
    """When the request first came, if it was set aside before its first token."""
    is_cacheable: bool = True


class _Cause(NamedTuple):
    reason: Reason
    blame: Blame | None = None
    worker: int | None = None


_NEW: Final = _Cause(Reason.FIRST_REQUEST)
_DIVERGED: Final = _Cause(Reason.DIVERGED)
_BOUNDARY: Final = _Cause(Reason.BELOW_BLOCK_BOUNDARY)
_GONE: Final = _Cause(Reason.EVICTED)
"""It was there, and nobody has told what became of it."""
_TIER_FAILED: Final = _Cause(Reason.TIER_FAILED)
_NOT_CACHEABLE: Final = _Cause(Reason.NOT_CACHEABLE)
_HEREDITARY: Final = frozenset({Reason.EVICTED, Reason.EXPIRED, Reason.PREEMPTED})
"""What comes behind such a block cannot be found, whether it is there or not."""


class _Piece(NamedTuple):
    end: int
    cause: _Cause


def explain(facts: Facts) -> tuple[TokenRange, ...]:
    """The whole prompt in order, without gaps: what was read, then what was computed."""
    start = facts.read[-1].end if facts.read else 0
    ranges = [*facts.read, *_merged(start, _pieces(facts, start))]
    for number, one in enumerate(ranges):
        if one.reason is Reason.DIVERGED:
            ranges[number] = TokenRange(one.start, one.end, one.source, one.reason, divergence=facts.divergence)
            break
    return tuple(ranges)


def unexplained_tokens(ranges: Sequence[TokenRange]) -> int:
    """Tokens that were cached once and are called evicted, though nobody has told of their eviction."""
    return sum(one.tokens for one in ranges if one.reason is Reason.EVICTED and one.blame is None)


def _pieces(facts: Facts, start: int) -> Iterator[_Piece]:
    """Consecutive pieces from `start` to the prompt's end; some are empty."""
    if not facts.is_cacheable:
        yield _Piece(facts.prompt_tokens, _NOT_CACHEABLE)
        return
    block_tokens = facts.block_tokens
    last_block = max(facts.prompt_tokens - 1, 0) // block_tokens
    holder = max(facts.elsewhere, key=lambda worker: (facts.elsewhere[worker], -worker), default=None)
    elsewhere = 0 if holder is None else facts.elsewhere[holder]
    routed = _Cause(Reason.ROUTED_ELSEWHERE, worker=holder)
    cause: _Cause | None = None
    first = start // block_tokens
    known = max(first, facts.known_blocks, facts.here_blocks, elsewhere)
    for block in range(first, _known_end(facts, known, last_block)):
        cause = routed if facts.here_blocks <= block < elsewhere else _cause_of(facts, block, cause)
        yield _Piece((block + 1) * block_tokens, cause)
    yield from _unknown_pieces(facts, last_block * block_tokens)
    yield _Piece(facts.prompt_tokens, _BOUNDARY)


def _known_end(facts: Facts, end: int, last_block: int) -> int:
    """Of a request that was set aside its worker had more than anybody had asked for: what it had begun to read."""
    if facts.set_aside_at is not None:
        while end < last_block and facts.lost(end) is not None:
            end += 1
    return min(end, last_block)


def _cause_of(facts: Facts, block: int, before: _Cause | None) -> _Cause:
    """Of a block that somebody has had and no other worker has. `before` is that of the missing block before it."""
    loss = facts.lost(block)
    if block < facts.here_blocks:
        if loss is not None and loss.worker == facts.worker and loss.blame.at >= facts.sent_at:
            return _lost(facts, loss)
        return _TIER_FAILED if block >= facts.here_gpu_blocks else _GONE
    if loss is not None:
        return _lost(facts, loss)
    if before is not None and before.reason in _HEREDITARY:
        return before
    return _GONE if facts.gone is None else _Cause(Reason.EVICTED, *facts.gone)


def _lost(facts: Facts, loss: Loss) -> _Cause:
    is_own = loss.owner is not None and loss.owner == facts.session
    if facts.set_aside_at is not None and is_own and loss.blame.at >= facts.set_aside_at:
        return _Cause(Reason.PREEMPTED, loss.blame)
    return _Cause(Reason.EXPIRED if loss.is_expired else Reason.EVICTED, loss.blame)


def _unknown_pieces(facts: Facts, end: int) -> Iterator[_Piece]:
    """Full blocks that nobody had. The tokens of one of them that the nearest earlier prompt has too fill no block."""
    shared = facts.shared_tokens
    yield _Piece(min(shared // facts.block_tokens * facts.block_tokens, end), _NEW)
    if shared < end:
        yield _Piece(shared, _BOUNDARY)
        if facts.divergence is not None:
            yield _Piece(min(facts.differs_until, end), _DIVERGED)
    yield _Piece(end, _NEW)


def _merged(start: int, pieces: Iterator[_Piece]) -> Iterator[TokenRange]:
    """Neighbours of one cause are one range. Blame for many blocks is that for the first of them."""
    cause: _Cause | None = None
    end = start
    for piece in pieces:
        if piece.end <= end:
            continue
        if cause is not None and not _is_same(cause, piece.cause):
            yield _range(start, end, cause)
            start, cause = end, None
        cause = cause or piece.cause
        end = piece.end
    if cause is not None:
        yield _range(start, end, cause)


def _is_same(one: _Cause, other: _Cause) -> bool:
    if one.reason is not other.reason or one.worker != other.worker:
        return False
    ours, theirs = one.blame, other.blame
    if ours is None or theirs is None:
        return ours is theirs
    return (ours.session, ours.request, ours.rule) == (theirs.session, theirs.request, theirs.rule)


def _range(start: int, end: int, cause: _Cause) -> TokenRange:
    return TokenRange(start, end, Source.RECOMPUTED, cause.reason, blame=cause.blame, worker=cause.worker)
