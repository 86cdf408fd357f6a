from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.cache.errors import CacheError, LayoutMismatch
from appliance.cache.slab.file import Slab
from appliance.cache.slab.layout import PAGE, ROW_HEADER
from tests.unit.cache.slab.slabs import IDENTITY, ROW_BYTES, buffer, facts, keys, opened, payload, shape


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "slab"


@pytest.fixture
def slab(path: Path) -> Iterator[Slab]:
    slab = opened(path)
    yield slab
    slab.close()


def reads(slab: Slab, row: int, number: int) -> bool:
    """Whether the row is this block; that it is not otherwise is no wrong byte."""
    into = buffer()
    is_whole = slab.read(row, keys(number)[0], into)
    assert not is_whole or into[:] == payload(number)[:]
    return is_whole


def flip(path: Path, place: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)
        file.seek(place)
        file.write(bytes([byte[0] ^ 0x10]))


def test_a_row_gives_what_was_written_and_nothing_under_another_key(slab: Slab) -> None:
    slab.write(3, facts(7), payload(7))
    assert reads(slab, 3, 7)
    assert not reads(slab, 3, 8)
    assert not reads(slab, 2, 7)


def test_the_whole_file_is_allocated_when_it_is_made(slab: Slab, path: Path) -> None:
    assert path.stat().st_size == shape().num_bytes
    assert path.stat().st_blocks * 512 >= shape().num_bytes


def test_headers_tell_all_that_was_written_when_it_is_opened_again(path: Path, slab: Slab) -> None:
    for row, number in ((5, 50), (1, 10)):
        slab.write(row, facts(number, generation=row, parent=number - 1, last_use_ms=row * 100), payload(number))
    slab.close()
    seen: list[tuple[int, int]] = []
    again = opened(path)
    records = again.scan(lambda done, all_rows: seen.append((done, all_rows)))
    assert again.is_kept
    assert "kept, 8 rows" in again.opened
    assert seen[-1] == (8, 8)
    assert sorted(records["row"].tolist()) == [1, 5]
    for record in records:
        number = int(record["row"]) * 10
        assert (record["key"] == keys(number)).all()
        assert (record["parent"] == keys(number - 1)).all()
        assert (record["generation"], record["last_use_ms"]) == (number // 10, number * 10)
        assert reads(again, int(record["row"]), number)
    again.close()


@pytest.mark.parametrize(("row_bytes", "identity"), [(PAGE, IDENTITY), (ROW_BYTES, b"j" * 32)])
def test_a_slab_of_other_rows_or_another_identity_is_made_anew(
    path: Path, slab: Slab, row_bytes: int, identity: bytes
) -> None:
    slab.write(0, facts(1), payload(1))
    slab.close()
    other = Slab.open(path, shape(8, row_bytes, identity))
    assert not other.is_kept
    assert "made anew" in other.opened
    assert not len(other.scan())
    other.close()
    back = opened(path)
    assert not len(back.scan()), "the rows of the first are there still, and nobody may believe them"
    assert not reads(back, 0, 1)
    back.close()


@pytest.mark.parametrize("content", [b"", b"notes", bytes(3 * PAGE), b"\xff" * PAGE])
def test_a_file_that_is_no_slab_becomes_one(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    slab = opened(path)
    assert not slab.is_kept
    assert not len(slab.scan())
    slab.write(7, facts(1), payload(1))
    assert reads(slab, 7, 1)
    slab.close()


@pytest.mark.parametrize("num_rows", [3, 20])
def test_another_size_keeps_the_rows_that_fit(path: Path, slab: Slab, num_rows: int) -> None:
    for row in (0, 2, 6):
        slab.write(row, facts(row), payload(row))
    slab.close()
    other = Slab.open(path, shape(num_rows))
    assert other.is_kept
    assert sorted(other.scan()["row"].tolist()) == [row for row in (0, 2, 6) if row < num_rows]
    assert path.stat().st_size == shape(num_rows).num_bytes
    other.close()


def test_a_slab_is_one_process_at_a_time(slab: Slab, path: Path) -> None:
    with pytest.raises(CacheError, match="another process has this slab open"):
        opened(path)


def test_rows_must_be_whole_pages(path: Path) -> None:
    with pytest.raises(LayoutMismatch, match="5000"):
        Slab.open(path, shape(8, 5000))


@given(place=st.integers(0, PAGE + ROW_BYTES - 1))
def test_a_flipped_bit_is_a_miss_or_stands_where_nothing_is(
    tmp_path_factory: pytest.TempPathFactory, place: int
) -> None:
    path = tmp_path_factory.mktemp("flip") / "slab"
    slab = opened(path, 2)
    slab.write(0, facts(1), payload(1))
    slab.write(1, facts(2), payload(2))
    slab.close()
    flip(path, shape().offset(1) + place)
    again = opened(path, 2)
    is_filling = ROW_HEADER.itemsize <= place < PAGE
    assert reads(again, 1, 2) == is_filling
    assert reads(again, 0, 1)
    assert len(again.scan()) == (1 if place < ROW_HEADER.itemsize else 2)
    again.close()


@pytest.mark.parametrize("pages", [0, 1, 2])
def test_a_write_that_ended_in_between_is_a_miss(path: Path, slab: Slab, pages: int) -> None:
    """The new row over the old one, as far as that many pages."""
    slab.write(0, facts(1), payload(1))
    slab.write(1, facts(2), payload(2))
    slab.close()
    whole, start = path.read_bytes(), shape().offset(0)
    torn = bytearray(whole[start : start + shape().stride])
    new = opened(path)
    new.write(0, facts(9, generation=3), payload(9))
    new.close()
    torn[: pages * PAGE] = path.read_bytes()[start : start + pages * PAGE]
    with path.open("r+b") as file:
        file.seek(start)
        file.write(torn)
    again = opened(path)
    assert not reads(again, 0, 9)
    assert reads(again, 0, 1) == (pages == 0)
    again.close()


def test_a_row_moved_to_another_place_is_nobody(path: Path, slab: Slab) -> None:
    slab.write(0, facts(1), payload(1))
    slab.close()
    start = shape().offset(0)
    row = path.read_bytes()[start : start + shape().stride]
    with path.open("r+b") as file:
        file.seek(shape().offset(4))
        file.write(row)
    again = opened(path)
    assert again.scan()["row"].tolist() == [0]
    assert not reads(again, 4, 1)
    again.close()


def test_a_truncated_file_is_whole_again_and_what_was_cut_off_is_gone(path: Path, slab: Slab) -> None:
    for row in range(8):
        slab.write(row, facts(row), payload(row))
    slab.close()
    os.truncate(path, shape().offset(4) + PAGE + 100)
    again = opened(path)
    assert [reads(again, row, row) for row in range(8)] == [True] * 4 + [False] * 4
    assert path.stat().st_size == shape().num_bytes
    again.close()


def test_a_file_truncated_under_way_is_an_error_that_says_where(slab: Slab, path: Path) -> None:
    slab.write(7, facts(1), payload(1))
    os.truncate(path, shape().offset(7) + PAGE)
    with pytest.raises(OSError, match=r"row 7 gave 4096 of 12288 bytes") as caught:
        slab.read(7, keys(1)[0], buffer())
    assert caught.value.errno == errno.EIO


def test_an_erased_row_is_found_no_more(path: Path, slab: Slab) -> None:
    slab.write(0, facts(1), payload(1))
    slab.erase(0)
    assert not reads(slab, 0, 1)
    slab.close()
    again = opened(path)
    assert not len(again.scan())
    again.close()


FULL = """
import resource, signal, sys
from pathlib import Path
from appliance.cache.errors import CacheError
from tests.unit.cache.slab.slabs import opened
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (40000, resource.RLIM_INFINITY))
try:
    opened(Path(sys.argv[1]))
except CacheError as error:
    print(error)
"""


def test_no_room_is_one_sentence_and_leaves_nothing(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == f"{path}: no slab of 0.0 GiB can be here: File too large\n"
    assert not path.exists()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="nowhere/slab: no slab can be here: No such file"):
        opened(tmp_path / "nowhere" / "slab")


def test_where_direct_input_and_output_is_not_to_be_had_the_slab_works_without(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(path: Path, flags: int, mode: int) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return open_as_it_is(path, flags, mode)

    open_as_it_is = os.open
    monkeypatch.setattr(os, "open", refusing)
    slab = opened(path)
    assert not slab.is_direct
    slab.write(0, facts(1), payload(1))
    assert reads(slab, 0, 1)
    slab.close()
