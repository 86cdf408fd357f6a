"""What there was to see comes back as it was seen, from the file too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from appliance.api.cache_views import SessionCaches
from appliance.errors import NotReady
from appliance.history_desk import HistoryDesk
from appliance.past_views import blocks_in, blocks_name, prefixes_in, sessions_in, view_record
from appliance.state.database import Database
from appliance.state.keeping import Keeping
from tests.unit.tui import example_box

AT = 1_790_000_000.0
OTHER = replace(
    view_record("sessions", AT, example_box.sessions()), parts=(msgspec.msgpack.encode({"more": 1}), b"\x91\x01")
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "state.db", Keeping(1e12, 0))
    database.start()
    yield database
    database.stop()


def test_prefixes_come_back_as_they_were() -> None:
    assert prefixes_in(view_record("prefixes", AT, example_box.prefixes())) == example_box.prefixes()


def test_sessions_come_back_with_claims_in_whole_seconds_and_two_digits_of_what_computing_takes() -> None:
    view = example_box.sessions()
    sessions = [
        msgspec.structs.replace(one, claim_seconds=one.claim_seconds and one.claim_seconds + 0.3)
        for one in view.sessions
    ]
    found = sessions_in(view_record("sessions", AT, msgspec.structs.replace(view, sessions=sessions)))
    for one, was in zip(found.sessions, view.sessions, strict=True):
        seconds = was.prefill_seconds and pytest.approx(was.prefill_seconds, rel=0.05)
        assert one == msgspec.structs.replace(was, prefill_seconds=one.prefill_seconds)
        assert one.prefill_seconds == seconds


def test_what_stays_as_it_is_in_a_session_is_recorded_alike_a_minute_later() -> None:
    view = example_box.sessions()
    later = [
        msgspec.structs.replace(one, claim_seconds=one.claim_seconds and one.claim_seconds - 60)
        for one in view.sessions
    ]
    then = view_record("sessions", AT + 60, msgspec.structs.replace(view, sessions=later))
    assert then.parts == view_record("sessions", AT, view).parts


def test_a_map_comes_back_with_ages_in_whole_seconds() -> None:
    view = example_box.blocks()
    found = blocks_in(view_record("blocks", AT, view))
    assert msgspec.structs.replace(found, age_seconds=[]) == msgspec.structs.replace(view, age_seconds=[])
    for age, was in zip(found.age_seconds, view.age_seconds, strict=True):
        assert (age is None) == (was is None)
        assert age is None or was is None or abs(age - was) <= 0.5
    empty = msgspec.structs.replace(view, **{name: [] for name in CELL_LISTS})
    assert blocks_in(view_record("blocks", AT, empty)) == empty


CELL_LISTS = ("filled", "held", "awaited", "owner", "first_token", "region", "priority", "age_seconds", "reuse")


@pytest.mark.parametrize("read", [sessions_in, prefixes_in, blocks_in])
def test_what_another_version_has_recorded_is_said(read: Any) -> None:
    with pytest.raises(ValueError, match="another version"):
        read(OTHER)


async def test_the_last_that_was_seen_until_a_time_is_shown_with_its_second(database: Database) -> None:
    first, desk = example_box.sessions(), HistoryDesk(database, None)
    second = msgspec.structs.replace(first, sessions=first.sessions[1:])
    for at, view in ((AT, first), (AT + 10, second), (AT + 20, first)):
        database.record(view_record("sessions", at, view))
    maps_of: tuple[tuple[int | str, int], ...] = ((0, 40), (1, 50), ("host", 60))
    for worker, blocks in maps_of:
        of_worker = msgspec.structs.replace(example_box.blocks(), blocks=blocks)
        database.record(view_record(blocks_name(worker), AT, of_worker))
    assert await desk.session_caches(AT - 1) is None
    until: tuple[tuple[float | None, float, SessionCaches], ...]
    until = ((AT, AT, first), (AT + 19.9, AT + 10, second), (None, AT + 20, first))
    for asked, seen_at, seen in until:
        found = await desk.session_caches(asked)
        assert found is not None
        assert (found.at, found.sessions) == (seen_at, sessions_in(view_record("sessions", seen_at, seen)))
    wanted: tuple[int | str, ...] = (0, 1, "host", 7)
    maps = [await desk.blocks(whose, None) for whose in wanted]
    assert [one.blocks.blocks if one is not None else None for one in maps] == [40, 50, 60, None]
    assert await desk.prefixes(None) is None
    database.record(view_record("prefixes", AT, example_box.prefixes()))
    prefixes = await desk.prefixes(AT + 5)
    assert prefixes is not None
    assert prefixes.prefixes == example_box.prefixes()
    database.record(replace(OTHER, at=AT + 30))
    with pytest.raises(NotReady, match="another version"):
        await desk.session_caches(None)
