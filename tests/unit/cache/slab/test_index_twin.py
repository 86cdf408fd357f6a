"""Random calls on a slab and its index, and restarts, beside what a dictionary says must be there."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from appliance.cache.slab.file import Slab
from appliance.cache.slab.index import SlabIndex
from appliance.cache.slab.layout import Facts
from tests.examples import examples
from tests.unit.cache.slab.slabs import buffer, held, keys, opened, parents, payload, worth

NUM_ROWS = 6
numbers = st.integers(0, 11)
chains = st.lists(numbers, min_size=1, max_size=4, unique=True)


class SameBlocks(RuleBasedStateMachine):
    """`version` tells what a block's payload was at its last write: what is read must be that."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.slab: Slab = opened(Path(self.folder.name) / "slab", NUM_ROWS)
        self.seconds = 0.0
        self.index: SlabIndex = self.new_index()
        self.version: dict[int, int] = {}
        self.writing: dict[int, tuple[int, Facts]] = {}
        self.leases: Counter[int] = Counter()
        self.row_of: dict[int, int] = {}
        self.num_writes = 0

    def new_index(self) -> SlabIndex:
        return SlabIndex(NUM_ROWS, lambda: self.seconds, lambda: 1e9 + self.seconds)

    @rule(chain=chains, priority=st.integers(0, 100), duration_ms=st.integers(0, 50))
    def begin_write(self, chain: list[int], priority: int, duration_ms: int) -> None:
        leased_rows = {self.row_of[number] for number, count in self.leases.items() if count}
        free = NUM_ROWS - len(self.writing) - len(leased_rows)
        present = {number for number in chain if number in self.version and not self.leases[number]}
        missing = [number for number in chain if number not in self.version and number not in self.writing]
        rows = self.index.begin_write(keys(*chain)).tolist()
        facts = self.index.facts(keys(*chain), parents(None, *chain[:-1]), worth(len(chain), priority, duration_ms))
        got = [number for number, row in zip(chain, rows, strict=True) if row >= 0]
        assert got == missing[: free - len(present)]
        gone = set(self.version) - set(held(self.index, *range(12)))
        assert not any(self.leases[number] for number in gone)
        assert not gone & present
        num_empty = NUM_ROWS - len(self.version) - len(self.writing)
        assert len(gone) == max(0, len(got) - num_empty)
        for number in gone:
            del self.version[number]
        for place, (number, row) in enumerate(zip(chain, rows, strict=True)):
            if row >= 0:
                self.writing[number], self.row_of[number] = (row, facts.at(slice(place, place + 1))), row

    @precondition(lambda self: self.writing)
    @rule(is_whole=st.booleans())
    def end_writes(self, is_whole: bool) -> None:
        for number, (row, facts) in self.writing.items():
            if not is_whole:
                self.index.abort(np.array([row]))
                continue
            self.num_writes += 1
            self.slab.write(row, facts, payload(number, self.num_writes))
            self.index.finish_write(np.array([row]), facts)
            self.version[number] = self.num_writes
        self.writing.clear()

    @rule(chain=chains)
    def lease_and_read(self, chain: list[int]) -> None:
        rows = self.index.lease(keys(*chain)).tolist()
        for number, row in zip(chain, rows, strict=True):
            assert (row >= 0) == (number in self.version)
            if row >= 0:
                self.leases[number] += 1
                into = buffer()
                assert self.slab.read(row, keys(number)[0], into)
                assert into[:] == payload(number, self.version[number])[:]

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        leased = sorted(number for number, count in self.leases.items() if count)
        if leased:
            number = data.draw(st.sampled_from(leased))
            self.leases[number] -= 1
            self.index.release(np.array([self.row_of[number]]))

    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        """Its payload is found to be wrong, and all who read it are told."""
        leased = sorted(number for number, count in self.leases.items() if count)
        if leased:
            number = data.draw(st.sampled_from(leased))
            row = self.row_of[number]
            self.slab.erase(row)
            self.index.drop(row)
            self.index.release(np.full(self.leases.pop(number), row))
            del self.version[number]

    @rule(seconds=st.floats(0, 0.1))
    def wait(self, seconds: float) -> None:
        self.seconds += seconds

    @rule()
    def restart(self) -> None:
        """Killed, in the middle of whatever is being written: nothing of that has begun on the disk here."""
        self.slab.close()
        self.slab = opened(self.slab.path, NUM_ROWS)
        self.index = self.new_index()
        self.index.restore(self.slab.scan())
        found = set(held(self.index, *range(12)))
        assert set(self.version) <= found, "all that was written is there; what was to be overwritten may be too"
        for number in found - set(self.version):
            self.forget(number)
        self.writing.clear()
        self.leases.clear()
        self.row_of = {number: int(self.index.rows_of(keys(number))[0]) for number in self.version}

    def forget(self, number: int) -> None:
        row = self.index.lease(keys(number))
        self.index.drop(int(row[0]))
        self.slab.erase(int(row[0]))
        self.index.release(row)

    @invariant()
    def is_sound(self) -> None:
        self.index.check_integrity()
        assert set(held(self.index, *range(12))) == set(self.version)
        assert self.index.stats.used == len(self.version)

    def teardown(self) -> None:
        self.slab.close()
        self.folder.cleanup()


SameBlocks.TestCase.settings = settings(max_examples=examples(100), stateful_step_count=30, deadline=None)
TestSameBlocks = SameBlocks.TestCase
