"""Random calls of three engines on one arena, beside what a dictionary says must be there."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from appliance.cache.arena.index import ArenaIndex
from appliance.cache.arena.kernels import BEING_WRITTEN, BEING_WRITTEN_BY_US, MISS
from appliance.cache.arena.tables import BUSY
from tests.examples import examples
from tests.unit.cache.arena.arenas import keys, opened, parents, worth

NUM_ROWS = 6
engines = st.integers(0, 2)
chains = st.lists(st.integers(0, 11), min_size=1, max_size=4, unique=True)


class SameRows(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.engines = [self.joined() for _ in range(3)]
        self.ready: set[int] = set()
        self.writing: dict[int, int] = {}
        self.leases: list[Counter[int]] = [Counter() for _ in range(3)]
        self.row_of: dict[int, int] = {}
        self.position = 0
        self.num_joined = 3
        self.num_rows = NUM_ROWS

    def joined(self) -> ArenaIndex:
        self.num_joined = getattr(self, "num_joined", 0) + 1
        return opened(Path(self.folder.name), NUM_ROWS, self.num_joined.to_bytes(16, "big"))

    @rule(engine=engines, chain=chains)
    def look_up(self, engine: int, chain: list[int]) -> None:
        rows = self.engines[engine].look_up(keys(*chain), stops_at_miss=False).tolist()
        for number, row in zip(chain, rows, strict=True):
            if number in self.ready:
                assert row == self.row_of[number]
                self.leases[engine][number] += 1
            elif number in self.writing:
                assert row == (BEING_WRITTEN_BY_US if self.writing[number] == engine else BEING_WRITTEN)
            else:
                assert row == MISS

    @rule(engine=engines, data=st.data())
    def release(self, engine: int, data: st.DataObject) -> None:
        held = sorted(number for number, count in self.leases[engine].items() if count)
        if held:
            number = data.draw(st.sampled_from(held))
            self.leases[engine][number] -= 1
            self.engines[engine].release(np.array([self.row_of[number]]))

    @rule(engine=engines, chain=chains)
    def begin_store(self, engine: int, chain: list[int]) -> None:
        free = self.num_rows - len(self.writing) - sum(1 for number in self.ready if self.is_leased(number))
        present = [number for number in chain if number in self.ready and not self.is_leased(number)]
        missing = [number for number in chain if number not in self.ready and number not in self.writing]
        rows = self.engines[engine].begin_store(keys(*chain)).tolist()
        self.follow()
        got = [number for number, row in zip(chain, rows, strict=True) if row != MISS]
        assert got == missing[: free - len(present)]
        assert set(present) <= self.ready, "what was offered again must not make room for the rest"
        for number, row in zip(chain, rows, strict=True):
            if row != MISS:
                self.writing[number], self.row_of[number] = engine, row

    @precondition(lambda self: self.writing)
    @rule(engine=engines, is_whole=st.booleans())
    def end_store(self, engine: int, is_whole: bool) -> None:
        mine = [number for number, writer in self.writing.items() if writer == engine]
        before = parents(*[None, *mine[:-1]][: len(mine)])
        ended = self.engines[engine].end_store(keys(*mine), before, f"s{engine}", worth(len(mine)), is_whole=is_whole)
        assert ended == len(mine)
        for number in mine:
            del self.writing[number]
        self.follow()
        assert not is_whole or set(mine) <= self.ready

    @rule(engine=engines)
    def die(self, engine: int) -> None:
        """And be reaped, past the quarantine, by the one that comes in its place."""
        self.engines[engine].close()
        self.engines[engine] = self.joined()
        survivor = self.engines[engine]
        survivor._tables.rows[:, 3] = 0
        survivor.reap()
        self.writing = {number: writer for number, writer in self.writing.items() if writer != engine}
        self.leases[engine].clear()

    @rule(count=st.integers(0, NUM_ROWS))
    def retire(self, count: int) -> None:
        held = len(self.writing) + sum(1 for number in self.ready if self.is_leased(number))
        rows = self.engines[0].retire(count)
        assert len(rows) == min(count, self.num_rows - held)
        self.num_rows -= len(rows)
        self.follow()

    @rule(count=st.integers(1, NUM_ROWS))
    def reinstate(self, count: int) -> None:
        rows = self.engines[1].retired()[:count]
        self.engines[1].reinstate(rows)
        self.num_rows += len(rows)

    @rule()
    def mend(self) -> None:
        """As after a death in the middle of a change."""
        self.engines[2]._header[BUSY] = 1

    def is_leased(self, number: int) -> bool:
        return any(counter[number] for counter in self.leases)

    def follow(self) -> None:
        """What was evicted was there, and held by nobody."""
        told = self.engines[0].changes_since(self.position)
        self.position = told.position
        for is_stored, key in zip(told.is_stored.tolist(), told.keys.tolist(), strict=True):
            number = key[1]
            if is_stored:
                self.ready.add(number)
            else:
                assert number in self.ready
                assert not self.is_leased(number)
                self.ready.remove(number)

    @invariant()
    def is_sound(self) -> None:
        self.engines[0].check_integrity()
        assert self.engines[0].stats.used == len(self.ready)
        assert self.engines[0].stats.rows == self.num_rows

    def teardown(self) -> None:
        for engine in self.engines:
            engine.close()
        self.folder.cleanup()


TestSameRows = SameRows.TestCase
TestSameRows.settings = settings(max_examples=examples(15), stateful_step_count=25, deadline=None)
