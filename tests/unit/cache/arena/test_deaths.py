"""Processes that are killed while they work on an arena."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.cache.arena.tables import FREE_AT_MS
from tests.unit.cache.arena.arenas import opened, store

NUM_ROWS = 64
KILLS = 4

CHURN = """
import random, sys
from pathlib import Path
from tests.unit.cache.arena.arenas import keys, opened, parents, worth
folder, seed = Path(sys.argv[1]), int(sys.argv[2])
index, source = opened(folder, token=seed.to_bytes(16, "big")), random.Random(seed)
print("up", flush=True)
while True:
    chain = source.sample(range(120), source.randrange(1, 9))
    rows = index.look_up(keys(*chain), stops_at_miss=False)
    index.begin_store(keys(*chain))
    index.end_store(keys(*chain), parents(None, *chain[:-1]), f"s{seed % 3}", worth(len(chain), 50, 20), is_whole=True)
    index.release(rows[rows >= 0])
"""


def churning(folder: Path, seed: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", CHURN, str(folder), str(seed)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[4]
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    return process


@pytest.fixture
def churners(tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    opened(tmp_path, NUM_ROWS, token=None)
    found = [churning(tmp_path, seed) for seed in range(2)]
    yield found
    for process in found:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_engines_killed_anywhere_leave_an_arena_that_others_go_on_with(
    tmp_path: Path, churners: list[subprocess.Popen[bytes]]
) -> None:
    source, survivor = random.Random(7), opened(tmp_path, token=b"s" * 16)  # noqa: S311 – when they die
    for kill in range(KILLS):
        time.sleep(source.uniform(0.01, 0.05))
        survivor.check_integrity()
        doomed = churners[kill % 2]
        doomed.kill()
        doomed.wait()
        survivor.check_integrity()
        if kill < KILLS - 2:
            assert doomed.stdout is not None
            doomed.stdout.close()
            churners[kill % 2] = churning(tmp_path, 100 + kill)
    survivor.reap()
    survivor._tables.rows[:, FREE_AT_MS] = 0
    survivor.reap()
    survivor.check_integrity()
    assert survivor.stats.held == 0
    assert store(survivor, 1000, 1001)
    assert survivor.stats.evicted > NUM_ROWS, "they must have worked"
