"""What an operator's word on a session would come to: whose blocks it touches, and what computing them again takes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple


class Holding(NamedTuple):
    """What one worker's cache holds: blocks `free` of content (`None`: unknown), and of each session's those that it
    used last."""

    worker: int
    free: int | None
    blocks: Mapping[str, int]


class Displaced(NamedTuple):
    """`tokens` by session, those that go first come first."""

    tokens: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.tokens.values())


def displaced_by(
    session: str, wanted: Mapping[int, int], holdings: Sequence[Holding], order: Sequence[str], block_tokens: int
) -> Displaced:
    """Whose blocks go sooner so that `wanted` blocks of the session, by worker, can stay. `order` has the sessions that
    may lose blocks, the one that is worth least first. Free blocks are taken before anybody's."""
    tokens: dict[str, int] = {}
    for holding in holdings:
        need = wanted.get(holding.worker, 0) - (holding.free or 0)
        for other in order:
            lost = min(need, holding.blocks.get(other, 0))
            if lost > 0 and other != session:
                tokens[other] = tokens.get(other, 0) + lost * block_tokens
                need -= lost
    return Displaced({other: tokens[other] for other in order if other in tokens})


def seconds_of(tokens: Collection[int], prefill_seconds: Callable[[int], float]) -> float:
    """What computing each of these takes, all together; nothing takes no time."""
    return sum(prefill_seconds(count) for count in tokens if count)


def sentence(what: str, displaced: Displaced | None, seconds: float | None) -> str:
    """`keeps 41,216 tokens of s1; 12,288 tokens of 3 sessions go sooner instead, ≈ 9 s of prefill`."""
    parts = [what]
    if displaced is not None:
        if displaced.tokens:
            count = len(displaced.tokens)
            parts.append(f"{displaced.total:,} tokens of {count} session{'' if count == 1 else 's'} go sooner instead")
        else:
            parts.append("nobody else's go sooner for it")
    text = "; ".join(parts)
    return text if not seconds else f"{text}, ≈ {duration(seconds)} of prefill"


def duration(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:,.0f} s"
