"""Where blocks can be kept."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntFlag
from typing import Final


class Tier(IntFlag):
    """A set of tiers, fastest first."""

    GPU = 1
    HOST = 2
    DISK = 4
    REMOTE = 8


NO_TIER: Final = Tier(0)
ALL_TIERS: Final = Tier.GPU | Tier.HOST | Tier.DISK | Tier.REMOTE
TIERS: Final = {tier.name.lower(): tier for tier in Tier if tier.name}
"""The tiers by the name that policies call them."""


def tiers_named(names: Iterable[str]) -> Tier:
    """Raises `KeyError` for a name that is none."""
    tiers = NO_TIER
    for name in names:
        tiers |= TIERS[name]
    return tiers


def tier_names(tiers: Tier) -> list[str]:
    return [name for name, tier in TIERS.items() if tier in tiers]
