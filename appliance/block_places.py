"""Where blocks stand in the last prompts of sessions: what tiers know by name only is part of something there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from appliance.cache.region_map import REGIONS

if TYPE_CHECKING:
    from appliance.cache.arena.tables import Numbers
    from appliance.last_prompts import LastPrompt
    from appliance.router.hashing import Hashes

NOWHERE: Final = -1


class Places(NamedTuple):
    """An element a block: in the prompt of which of `names` it stands, and as which of its blocks; NOWHERE for one in
    none."""

    names: list[str]
    owners: Numbers
    blocks: Numbers


def places_in(prompts: Iterable[tuple[str, Hashes]], blocks: Hashes) -> Places:
    """The first prompt that has a block counts, a name once. Blocks and prompts' blocks are named as the router does; 0
    is no block."""
    wanted, place_of = np.unique(blocks, return_inverse=True)
    owners, stands = np.full(len(wanted), NOWHERE, np.int64), np.full(len(wanted), NOWHERE, np.int64)
    is_open = wanted != 0
    names: list[str] = []
    for name, hashes in prompts:
        if not is_open.any():
            break
        at = np.searchsorted(wanted, hashes).clip(max=len(wanted) - 1)
        found = np.flatnonzero((wanted[at] == hashes) & is_open[at])
        if len(found):
            owners[at[found]], stands[at[found]] = len(names), found
            is_open[at[found]] = False
            names.append(name)
    return Places(names, owners[place_of], stands[place_of])


def region_code(prompt: LastPrompt | None, token: int) -> int | None:
    """Of what stands there, a place in `REGIONS`; `None` where nobody knows."""
    region = None if prompt is None else prompt.region_at(token)
    return None if region is None else REGIONS.index(region)
