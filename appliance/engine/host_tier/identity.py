"""What makes two blocks of equal tokens differ. It is part of every key: another configuration can only miss."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import vllm
from numpy.typing import NDArray
from vllm.platforms import current_platform
from vllm.v1.kv_offload.config import OffloadingConfig

KEY_BYTES = 32


def identity(config: OffloadingConfig, weights: str) -> dict[str, Any]:
    """vLLM's block hashes hold tokens, cache salt, images and LoRA adapter, but nothing of the model or of how its
    bytes lie. `weights` is a digest of the model's files."""
    parallel = config.parallel
    return {
        "vllm": vllm.__version__,
        "model": config.model.name,
        "weights": weights,
        "dtype": config.model.dtype,
        "groups": [(group.group_id, group.tokens_per_block, group.layer_names) for group in config.groups],
        "tokens_per_hash": config.cache.tokens_per_hash,
        "blocks_per_chunk": config.cache.blocks_per_chunk,
        "worker_bytes": config.worker_kv_bytes_per_block,
        "layout": config.kv_cache_layout,
        "canonical": config.canonical_layout,
        "replicated": config.replicated_layout,
        "platform": str(current_platform.device_type),
        "parallel": (
            parallel.world_size,
            parallel.tp_size,
            parallel.pp_size,
            parallel.pcp_size,
            parallel.dcp_size,
        ),
    }


class Namespace:
    """Offload keys → keys of the arena: the block's hash, mixed with the identity and the KV-cache group."""

    def __init__(self, told: dict[str, Any]) -> None:
        self._digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).digest()
        self._groups: dict[bytes, NDArray[np.uint64]] = {}

    @property
    def first_group(self) -> NDArray[np.uint64]:
        """What keys of group 0 are mixed with."""
        return self._of_group(bytes(4))

    def words(self, keys: list[bytes]) -> NDArray[np.uint64]:
        """A row of four words for each key. A key is a hash of 32 bytes and four bytes of group."""
        raw = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, KEY_BYTES + 4)
        words = np.ascontiguousarray(raw[:, :KEY_BYTES]).view(np.uint64)
        groups = {key[-4:] for key in keys}
        if len(groups) == 1:
            return words ^ self._of_group(groups.pop())
        return words ^ np.stack([self._of_group(key[-4:]) for key in keys])

    def _of_group(self, group: bytes) -> NDArray[np.uint64]:
        if group not in self._groups:
            self._groups[group] = np.frombuffer(hashlib.sha256(self._digest + group).digest(), np.uint64)
        return self._groups[group]
