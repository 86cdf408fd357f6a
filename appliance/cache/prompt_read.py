"""What of a prompt was read from which tier."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from appliance.cache.ledger import Source, TokenRange
from appliance.cache.tier import Tier

_SOURCES: Final = {Tier.DISK: Source.DISK, Tier.REMOTE: Source.REMOTE}


@dataclass(frozen=True, slots=True)
class TierTokens:
    """Tokens that were read from below the GPU, by the tier that had them when the request came. What was read and is
    not among them was on the GPU."""

    host: int = 0
    disk: int = 0
    remote: int = 0

    @classmethod
    def of(cls, ranges: Iterable[TokenRange]) -> TierTokens:
        found = dict.fromkeys(Source, 0)
        for one in ranges:
            found[one.source] += one.tokens
        return cls(found[Source.HOST], found[Source.DISK], found[Source.REMOTE])

    @property
    def total(self) -> int:
        return self.host + self.disk + self.remote

    def __add__(self, other: TierTokens) -> TierTokens:
        return TierTokens(self.host + other.host, self.disk + other.disk, self.remote + other.remote)

    def by_name(self, cached_tokens: int) -> dict[str, int]:
        """Of all that was read, the GPU's too, fastest tier first."""
        gpu = {"gpu": cached_tokens - self.total}
        return gpu | {"host": self.host, "disk": self.disk, "remote": self.remote}


NO_TOKENS: Final = TierTokens()


class Brought:
    """Where the leading blocks of a prompt were when its request came, as far as the keeper has told; it grows while
    the keeper tells more."""

    def __init__(self) -> None:
        self._tiers = bytearray()

    def __len__(self) -> int:
        """Blocks."""
        return len(self._tiers)

    @property
    def from_below(self) -> int:
        """Blocks that were not in the host tier."""
        return len(self._tiers) - self._tiers.count(Tier.HOST)

    def add(self, tiers: bytes) -> None:
        """Of the next blocks, a `Tier` each."""
        self._tiers += tiers

    def ranges(self, block_tokens: int) -> tuple[TokenRange, ...]:
        """Those that came from below the host tier, in order."""
        found, start = [], 0
        for tier, run in groupby(self._tiers):
            end = start + sum(1 for _ in run) * block_tokens
            if (source := _SOURCES.get(Tier(tier))) is not None:
                found.append(TokenRange(start, end, source))
            start = end
        return tuple(found)


def read_ranges(cached_tokens: int, loaded_tokens: int, brought: Sequence[TokenRange]) -> tuple[TokenRange, ...]:
    """The first `cached_tokens` of a prompt, without gaps. The last `loaded_tokens` of these were loaded from the host
    tier, where `brought` (in order) had only just come."""
    at = cached_tokens - loaded_tokens
    found = [TokenRange(0, at, Source.GPU)]
    for one in brought:
        start, end = max(one.start, at), min(one.end, cached_tokens)
        if start < end:
            found += [TokenRange(at, start, Source.HOST), TokenRange(start, end, one.source)]
            at = end
    found.append(TokenRange(at, cached_tokens, Source.HOST))
    return tuple(one for one in found if one.tokens)
