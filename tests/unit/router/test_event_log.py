from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import msgspec
import numpy as np
import pytest

from appliance.router.errors import UndecodableBatch
from appliance.router.event_log import EventLog, Record, read_log, replay
from appliance.router.hashing import hash_blocks
from appliance.router.index import Index, PrefixIndex, Tier
from appliance.router.mirror import WorkerMirror
from appliance.router.wire_events import decode_batch
from tests.unit.router.plain_index import PlainIndex

BLOCK_TOKENS = 2
ROOMY = 1 << 20


def payload(*events: dict[str, Any]) -> bytes:
    return msgspec.msgpack.encode([0.0, list(events)])


def stored(hashes: list[int], token_ids: list[int], parent: int | None = None) -> dict[str, Any]:
    return {
        "type": "BlockStored",
        "block_hashes": hashes,
        "parent_block_hash": parent,
        "token_ids": token_ids,
        "block_size": BLOCK_TOKENS,
    }


def mirrors_over(index: Index, *workers: int) -> dict[int, WorkerMirror]:
    return {worker: WorkerMirror(worker, index, BLOCK_TOKENS) for worker in workers}


def write(path: Path, *records: Record, max_bytes: int = ROOMY) -> int:
    """How many were dropped."""
    with EventLog(path, max_bytes) as log:
        for record in records:
            log.record(*record)
    return log.dropped_batches


def test_what_is_recorded_is_read_again(tmp_path: Path) -> None:
    records = [Record(0, 0, b"a"), Record(15, 2**40, b""), Record(0, 1, bytes(1000))]
    assert write(tmp_path / "log", *records) == 0
    assert list(read_log(tmp_path / "log")) == records
    assert write(tmp_path / "log") == 0
    assert list(read_log(tmp_path / "log")) == []


def test_a_full_log_keeps_a_prefix_and_counts_the_rest(tmp_path: Path) -> None:
    records = [Record(0, 0, bytes(40)), Record(0, 1, bytes(60)), Record(0, 2, b"")]
    assert write(tmp_path / "log", *records, max_bytes=100) == 2
    assert list(read_log(tmp_path / "log")) == records[:1]
    assert (tmp_path / "log").stat().st_size <= 100


@pytest.mark.parametrize("cut", [1, 3, 5, 10])
def test_a_record_cut_short_ends_the_log(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "log"
    write(path, Record(0, 0, b"first"), Record(0, 1, b"second"))
    path.write_bytes(path.read_bytes()[:-cut])
    assert list(read_log(path)) == [Record(0, 0, b"first")]


def test_a_replay_resets_where_batches_are_missing_or_an_engine_began_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    first, later = payload(stored([1], [1, 2])), payload(stored([2], [3, 4]))
    write(path, Record(0, 0, first), Record(0, 2, later), Record(1, 0, first), Record(1, 0, later), Record(2, 0, first))
    index = PrefixIndex()
    mirrors = mirrors_over(index, 0, 1)
    assert replay(path, mirrors) == 4
    assert [(mirror.num_blocks, mirror.in_step) for mirror in mirrors.values()] == [(1, False), (1, True)]
    assert index.match(hash_blocks([3, 4], BLOCK_TOKENS))[:3, Tier.GPU].tolist() == [1, 1, 0]


def test_a_replay_stops_at_what_is_no_batch(tmp_path: Path) -> None:
    write(tmp_path / "log", Record(0, 0, b"?"))
    with pytest.raises(UndecodableBatch):
        replay(tmp_path / "log", mirrors_over(PrefixIndex(), 0))


class SimulatedWorker:
    """Conversations over a cache of 60 blocks that evicts the least recently used; tells what it publishes."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311  a seeded test
        self.sessions = [[1, 2, 3, 4] for _ in range(4)]
        self.cached: list[int] = []

    def step(self) -> bytes:
        """One turn, in which the last block is computed again even when it is cached: copies are ordinary."""
        tokens = self.random.choice(self.sessions)
        tokens += self.random.choices(range(5), k=BLOCK_TOKENS * self.random.randint(0, 3))
        names = [self.name(tokens[: end + BLOCK_TOKENS]) for end in range(0, len(tokens), BLOCK_TOKENS)]
        hits = next((depth for depth, name in enumerate(names) if name not in self.cached), len(names) - 1)
        for name in reversed(names[:hits]):
            self.cached.remove(name)
            self.cached.append(name)
        evicted = self.cached[: max(0, len(self.cached) + len(names) - hits - 60)]
        self.cached = self.cached[len(evicted) :] + names[hits:]
        new = stored(names[hits:], tokens[hits * BLOCK_TOKENS :], names[hits - 1] if hits else None)
        return payload({"type": "BlockRemoved", "block_hashes": evicted}, new)

    @staticmethod
    def name(prefix: list[int]) -> int:
        return hash(tuple(prefix)) & (2**64 - 1)


@pytest.mark.parametrize("seed", range(5))
def test_a_replayed_log_leaves_the_same_index_as_its_brute_force_twin(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "log"
    engines = [SimulatedWorker(seed * 10 + worker) for worker in range(3)]
    live = PrefixIndex()
    live_mirrors = mirrors_over(live, 0, 1, 2)
    with EventLog(path, ROOMY) as log:
        for seq in range(60):
            for worker, engine in enumerate(engines):
                batch = engine.step()
                log.record(worker, seq, batch)
                live_mirrors[worker].apply(decode_batch(batch))
    for index in (PrefixIndex(), PlainIndex()):
        mirrors = mirrors_over(index, 0, 1, 2)
        assert replay(path, mirrors) == 180
        for worker, engine in enumerate(engines):
            mirrors[worker].check_integrity(engine_blocks=len(set(engine.cached)))
            assert mirrors[worker].stats.orphans == mirrors[worker].stats.unknown_removals == 0
            for tokens in engine.sessions:
                hashes = hash_blocks(tokens, BLOCK_TOKENS)
                assert np.array_equal(index.match(hashes), live.match(hashes))
