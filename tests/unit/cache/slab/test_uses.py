from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.cache.slab.layout import ROW_HEADER
from appliance.cache.slab.uses import Uses, load, save, uses_file, with_uses

times = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2**40)), max_size=8)


def uses_of(told: list[tuple[int, int]]) -> Uses:
    both = np.array(told, np.int64).reshape(-1, 2)
    return Uses(both[:, 0].copy(), both[:, 1].copy())


@given(told=times, written=times)
def test_a_use_counts_for_the_row_that_still_has_its_generation_and_only_if_it_is_later(
    told: list[tuple[int, int]], written: list[tuple[int, int]]
) -> None:
    records = np.zeros(len(written), ROW_HEADER)
    for row, (generation, at) in enumerate(written):
        records[row]["row"], records[row]["generation"], records[row]["last_use_ms"] = row, generation, at
    before = records.copy()
    expected = [
        max(at, told[row][1]) if row < len(told) and told[row][0] == generation else at
        for row, (generation, at) in enumerate(written)
    ]
    assert with_uses(records, uses_of(told))["last_use_ms"].tolist() == expected
    assert (records == before).all()
    assert (with_uses(records, None) == before).all()


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    path = uses_file(tmp_path / "kv.slab")
    for told in ([(1, 5), (0, 0), (7, 9)], []):
        save(path, uses_of(told))
        loaded = load(path)
        assert loaded is not None
        assert [each.tolist() for each in loaded] == [each.tolist() for each in uses_of(told)]
    assert [one.name for one in tmp_path.iterdir()] == ["kv.slab.uses"]


@pytest.mark.parametrize("wrong", [b"", b"x" * 100])
def test_what_was_not_written_so_is_none(tmp_path: Path, wrong: bytes) -> None:
    path = tmp_path / "uses"
    assert load(path) is None
    path.write_bytes(wrong)
    assert load(path) is None
    save(path, uses_of([(1, 2), (3, 4)]))
    whole = path.read_bytes()
    for spoilt in (whole[:-1], bytes([whole[0] ^ 1]) + whole[1:], whole[:20] + b"\1" + whole[21:]):
        path.write_bytes(spoilt)
        assert load(path) is None
