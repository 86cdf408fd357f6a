"""Long lists in little room: what was packed comes back, whatever leans on what."""

from __future__ import annotations

import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.state.parts import LISTS_A_BASE, PartsPacker, unpack_parts

parts = st.lists(st.sampled_from([b"", b"a", b"b", b"c", b"dd", b"eee"]), max_size=8)


@given(st.lists(parts, max_size=12), st.integers(0, 11))
def test_every_list_comes_back_also_after_a_restart(lists: list[list[bytes]], restart: int) -> None:
    packer, base = PartsPacker(), b""
    for place, one in enumerate(lists):
        if place == restart:
            packer.restart()
        packed = packer.pack(one)
        assert packed.is_base == (place in (0, restart))
        if packed.is_base:
            base = packed.body
        assert unpack_parts(packed.body, None if packed.is_base else base) == one


def test_a_list_that_is_mostly_as_it_was_takes_little_room() -> None:
    packer = PartsPacker()
    rows = [zlib.compress(str(number).encode()) for number in range(500)]
    whole = packer.pack(rows).body
    moved = [rows[77], rows[400], b"new", *rows[:77], *rows[78:400], *rows[401:]]
    assert len(packer.pack(moved).body) < 60 < len(whole)


def test_a_whole_one_comes_again_after_so_many() -> None:
    packer = PartsPacker()
    assert [packer.pack([b"a"]).is_base for _ in range(LISTS_A_BASE + 1)] == [True, *[False] * (LISTS_A_BASE - 1), True]


@pytest.mark.parametrize(
    ("body", "base"),
    [
        (b"no zlib", None),
        (zlib.compress(b"\xc1"), None),
        (zlib.compress(msgspec.msgpack.encode([5])), zlib.compress(msgspec.msgpack.encode([b"a"]))),
        (zlib.compress(msgspec.msgpack.encode([0])), zlib.compress(msgspec.msgpack.encode([7]))),
        (zlib.compress(msgspec.msgpack.encode([0])), None),
    ],
)
def test_what_is_damaged_is_said(body: bytes, base: bytes | None) -> None:
    with pytest.raises(ValueError, match="a view is damaged"):
        unpack_parts(body, base)
