"""Our tier as vLLM's OffloadingConnector wants it: named in `kv_connector_extra_config`, made in the scheduler and in
each worker of an engine."""

from __future__ import annotations

import hashlib
import mmap
from pathlib import Path
from typing import Any

from vllm.platforms import current_platform
from vllm.v1.kv_offload.base import CanonicalKVCaches, OffloadingManager, OffloadingSpec, OffloadingWorker
from vllm.v1.kv_offload.config import OffloadingConfig

from appliance.cache.arena.place import ArenaPlace
from appliance.cache.arena.tables import Geometry
from appliance.engine.host_tier.identity import Namespace, identity


class ArenaSpec(OffloadingSpec):  # type: ignore[misc]  # vllm is not typed
    """Keys of `extra_config`: `arena_memory` and `arena_locks` (where it is), `arena_bytes` (how large, when it has to
    be made), `weights` (a digest of the model's), `incarnation` (a string that no other start of an engine has)."""

    def __init__(self, config: OffloadingConfig) -> None:
        super().__init__(config)
        told = self.extra_config
        self._place = ArenaPlace(Path(told["arena_memory"]), Path(told["arena_locks"]))
        self._page_bytes = config.worker_kv_bytes_per_block * self.blocks_per_chunk
        row_bytes = -(-self._page_bytes * config.parallel.world_size // mmap.PAGESIZE) * mmap.PAGESIZE
        self._geometry = Geometry(max(1, int(told["arena_bytes"]) // row_bytes), row_bytes)
        self._token = hashlib.sha256(told["incarnation"].encode()).digest()[:16]
        self._manager: OffloadingManager | None = None
        self._worker: OffloadingWorker | None = None

    def get_manager(self) -> OffloadingManager:
        # numba, imported before a CPU worker is up, would end it.
        from appliance.engine.host_tier.manager import ArenaManager

        if self._manager is None:
            namespace = Namespace(identity(self.config, self.extra_config["weights"]))
            tokens = {group.group_id: group.tokens_per_block * self.blocks_per_chunk for group in self.config.groups}
            _warm_up()
            index = self._joined()
            index.set_namespace(namespace.first_group)
            self._manager = ArenaManager(index, namespace, tokens)
        return self._manager

    def get_worker(self, kv_caches: CanonicalKVCaches) -> OffloadingWorker:
        if self._worker is None:
            self._worker = self._new_worker(kv_caches)
        return self._worker

    def _new_worker(self, kv_caches: CanonicalKVCaches) -> OffloadingWorker:
        from appliance.engine.host_tier.memcpy_worker import MemcpyWorker
        from appliance.engine.host_tier.region import ArenaRegion

        # Kept for its life's lock: rows are not taken back while this process may write them.
        self._index = self._joined()
        region = ArenaRegion(self._place.rows_file, self._index.geometry, self.config.parallel.rank, self._page_bytes)
        if not current_platform.is_cuda_alike():
            return MemcpyWorker(kv_caches, self.blocks_per_chunk, region)
        from appliance.engine.host_tier.gpu_worker import GpuWorker

        return GpuWorker(kv_caches, self.blocks_per_chunk, region)

    def _joined(self) -> Any:
        from appliance.cache.arena.index import ArenaIndex

        index = ArenaIndex.open(self._place, self._geometry)
        index.join(self._token)
        return index


def _warm_up() -> None:
    from appliance.cache.arena.warming import warm_up

    warm_up()
