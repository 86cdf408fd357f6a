"""A prompt from its start to one of its blocks: what it consists of, who shares it, and where it would be found."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice, pairwise
from typing import TYPE_CHECKING

import numpy as np

from appliance.api.block_views import MAX_PARTS, MOST_NAMES, BlockChain, ChainPart
from appliance.prompt_fork import shared_by_all
from appliance.router.index import Tier

if TYPE_CHECKING:
    from appliance.last_prompts import LastPrompt
    from appliance.router.index import Depths


def chain_view(
    name: str,
    blocks: int,
    prompts: Sequence[tuple[str, LastPrompt]],
    depths: Depths,
    workers: Sequence[int],
    block_tokens: int,
) -> BlockChain:
    """Of the first so many blocks of the prompt of this name among `prompts`; `depths` are the index's of all of it."""
    prompt = next(each for each_name, each in prompts if each_name == name)
    hashes = prompt.hashes[:blocks]
    shared = [(each_name, shared_by_all([hashes, each.hashes])) for each_name, each in prompts]
    cuts = {0, len(hashes), *(length for _, length in shared), *_region_cuts(prompt, len(hashes), block_tokens)}
    cuts.update(np.minimum(depths[list(workers)], len(hashes)).ravel().tolist())
    ordered = sorted(cuts)
    parts = []
    for start, end in islice(pairwise(ordered), MAX_PARTS):
        names = [each_name for each_name, length in shared if length >= end]
        region = prompt.region_at(start * block_tokens)
        parts.append(
            ChainPart(
                start * block_tokens,
                end * block_tokens,
                None if region is None else region.value,
                len(names),
                names[:MOST_NAMES],
                {str(worker): _tier_at(depths[worker].tolist(), start) for worker in workers},
            )
        )
    told = parts[-1].end_token if parts else 0
    return BlockChain(name, block_tokens, len(prompt.tokens), len(hashes) * block_tokens, told, parts)


def _region_cuts(prompt: LastPrompt, blocks: int, block_tokens: int) -> list[int]:
    """The first block that begins in each region."""
    spans = () if prompt.regions is None else prompt.regions.spans
    firsts = (-(-span.start // block_tokens) for span in spans)
    return [first for first in firsts if first < blocks]


def _tier_at(depths: list[int], block: int) -> str | None:
    """The fastest one where an engine would find it."""
    return next((tier.name.lower() for tier in Tier if depths[tier] > block), None)
