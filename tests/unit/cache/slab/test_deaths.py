"""A writer that is killed anywhere: what it said it had written is there, and nothing that it never wrote."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import numpy as np

from appliance.cache.slab.index import SlabIndex
from tests.unit.cache.slab.slabs import buffer, keys, opened, payload

NUM_ROWS, KILLS, NUMBERS = 16, 4, 40

CHURN = """
import random, sys
from pathlib import Path
import numpy as np
from appliance.cache.slab.index import SlabIndex
from tests.unit.cache.slab.slabs import keys, opened, parents, payload, worth
path, seed = Path(sys.argv[1]), int(sys.argv[2])
slab, index, source = opened(path, 16), SlabIndex(16), random.Random(seed)
index.restore(slab.scan())
print("up", flush=True)
while True:
    number = source.randrange(40)
    rows = index.begin_write(keys(number))
    if rows[0] >= 0:
        facts = index.facts(keys(number), parents(source.randrange(40)), worth(1))
        print("begin", rows[0], number, flush=True)
        slab.write(int(rows[0]), facts, payload(number))
        index.finish_write(rows, facts)
        print("end", rows[0], number, flush=True)
"""


def test_what_was_written_before_a_kill_is_read_after_it(tmp_path: Path) -> None:
    source, path = random.Random(5), tmp_path / "slab"  # noqa: S311 – when they die
    promised: dict[int, int] = {}
    for kill in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", CHURN, str(path), str(kill)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[4],
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        heard = [process.stdout.readline() for _ in range(source.randrange(NUM_ROWS, 5 * NUM_ROWS))]
        process.kill()
        told = [line.split() for line in [*heard, *process.stdout.read().splitlines()]]
        process.wait()
        process.stdout.close()
        in_the_making = None
        for step, row, number in (words for words in told if len(words) == 3):
            promised.pop(int(row), None)
            in_the_making = int(row) if step == "begin" else None
            if step == "end":
                promised[int(row)] = int(number)
        check(path, promised, in_the_making)


def check(path: Path, promised: dict[int, int], in_the_making: int | None) -> None:
    slab, index = opened(path, NUM_ROWS), SlabIndex(NUM_ROWS)
    index.restore(slab.scan())
    index.check_integrity()
    for row, number in promised.items():
        assert index.rows_of(keys(number)).tolist() == [row]
    for number in range(NUMBERS):
        leased = index.lease(keys(number))
        if leased[0] < 0:
            continue
        into = buffer()
        if slab.read(int(leased[0]), keys(number)[0], into):
            assert into[:] == payload(number)[:]
        else:
            assert leased[0] == in_the_making
            slab.erase(int(leased[0]))
        index.release(leased)
    assert np.count_nonzero(index._leases) == 0
    slab.close()
