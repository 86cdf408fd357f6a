"""A list: sorted, filtered, scrolled; the cursor stays on its row whatever happens around it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from appliance.tui.filters import FilterError
from appliance.tui.line import text_of, width_of
from appliance.tui.widgets.grid import Column, Row, fitting, grid_lines
from appliance.tui.widgets.table import Table

COLUMNS = (Column("name", 0, least=6), Column("size", 5, right=True), Column("rare", 8, rank=2))


def rows(*sizes: int | None) -> list[Row]:
    return [Row(f"r{place}", (f"row{place}", size, None)) for place, size in enumerate(sizes)]


class Holder(App[None]):
    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []

    def compose(self) -> ComposeResult:
        yield Table(COLUMNS)

    def on_table_opened(self, event: Table.Opened) -> None:
        self.opened.append(event.row.key)


@asynccontextmanager
async def table(height: int = 6) -> AsyncIterator[tuple[Table, Pilot[None], Holder]]:
    app = Holder()
    async with app.run_test(size=(40, height)) as pilot:
        one = app.query_one(Table)
        one.focus()
        await pilot.pause()
        yield one, pilot, app


def shown(one: Table) -> list[str]:
    return [strip.text.rstrip() for strip in one.paint(*one.size)]


async def test_the_cursor_moves_by_the_keys_of_every_pager() -> None:
    async with table() as (one, pilot, _):
        one.show(rows(*range(20)))
        for keys, place in [
            (("j", "down"), 2),
            (("k",), 1),
            (("G",), 19),
            (("up",), 18),
            (("g",), 0),
            (("pagedown",), 4),
            (("end",), 19),
            (("home", "k"), 0),
        ]:
            await pilot.press(*keys)
            assert one.row is not None
            assert one.row.key == f"r{place}"
            assert any(f"row{place} " in f"{line} " for line in shown(one)[1:])


async def test_the_cursor_stays_on_its_row_when_others_come_and_go() -> None:
    async with table() as (one, pilot, _):
        one.show(rows(1, 2, 3))
        await pilot.press("j")
        one.show([Row("new", ("new", 9, None)), *rows(1, 2, 3)])
        assert one.row is not None
        assert one.row.key == "r1"
        one.show(rows(1))
        assert one.row.key == "r0"


async def test_a_list_without_rows_says_so() -> None:
    async with table() as (one, pilot, _):
        one.show([])
        await pilot.press("j", "G", "pagedown")
        assert one.row is None
        assert shown(one)[1] == "nothing yet"


async def test_sorting_goes_from_column_to_column_and_unknown_stands_last() -> None:
    async with table() as (one, pilot, _):
        one.show(rows(3, None, 1))
        await pilot.press("s", "s")
        assert one.sorted_by == "size"
        assert [row.key for row in one.rows] == ["r2", "r0", "r1"]
        assert "size▲" in shown(one)[0]
        await pilot.press("r")
        assert [row.key for row in one.rows] == ["r0", "r2", "r1"]
        assert "size▼" in shown(one)[0]
        await pilot.press("s", "s")
        assert one.sorted_by is None


async def test_a_click_chooses_a_row_or_a_column_to_sort_by_and_two_open_it() -> None:
    async with table() as (one, pilot, app):
        one.show(rows(3, 2, 1))
        await pilot.click(Table, offset=(1, 3))
        assert one.row is not None
        assert one.row.key == "r2"
        await pilot.click(Table, offset=(1, 2), times=2)
        assert app.opened == ["r1"]
        width = one.size.width
        await pilot.click(Table, offset=(width - 12, 0))
        assert one.sorted_by == "size"
        await pilot.click(Table, offset=(width - 12, 0))
        assert one.is_reversed


async def test_enter_opens_the_row_of_the_cursor() -> None:
    async with table() as (one, pilot, app):
        await pilot.press("enter")
        one.show(rows(1, 2))
        await pilot.press("j", "enter")
        assert app.opened == ["r1"]


async def test_a_filter_shows_what_fits_and_a_wrong_one_changes_nothing() -> None:
    async with table() as (one, _pilot, _app):
        one.show(rows(1, 2, 3))
        one.filter("size>1")
        assert [row.key for row in one.rows] == ["r1", "r2"]
        with pytest.raises(FilterError):
            one.filter("sizes>1")
        assert [row.key for row in one.rows] == ["r1", "r2"]
        one.filter("zzz")
        assert shown(one)[1] == "nothing fits the filter"
        one.filter("")
        assert len(one.rows) == 3


@given(st.integers(1, 60), st.lists(st.text(max_size=12), min_size=1, max_size=4))
def test_no_line_is_wider_than_its_table(width: int, names: list[str]) -> None:
    listed = [Row(name, (name, 12_345_678, "x" * 30), indent=place) for place, name in enumerate(names)]
    lines = grid_lines(COLUMNS, listed, width)
    assert {width_of(line) for line in lines} == {max(width, 6)}


def test_columns_of_the_highest_rank_go_first_where_room_is_short() -> None:
    names = {width: text_of(fitting(COLUMNS, width).header()).split() for width in (40, 15, 8)}
    assert names == {40: ["name", "size", "rare"], 15: ["name", "size"], 8: ["name"]}
