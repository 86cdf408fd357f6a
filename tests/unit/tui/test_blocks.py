"""Blocks under every lens."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.tui.frame import Feed, Frame
from appliance.tui.models.blocks import Lens, cell_words, cells, coarser, legend
from appliance.tui.pages.blocks import BlocksPage
from appliance.tui.widgets.block_map import CLOSE, TALLEST, TONES, WIDEST, BlockMap, scale
from appliance.tui.widgets.table import Table
from tests.unit.tui import example_box
from tests.unit.tui.screens import ScriptedErrands, console, text

VIEW = example_box.blocks()


def changed(**changes: Any) -> Frame:
    return dataclasses.replace(example_box.frame(1), blocks=msgspec.structs.replace(VIEW, **changes))


@pytest.mark.parametrize("lens", Lens)
def test_under_every_lens_a_cell_is_one_sign_and_an_empty_one_is_a_dot(lens: Lens) -> None:
    shown = cells(VIEW, lens)
    assert len(shown) == len(VIEW.filled)
    for cell, filled in zip(shown, VIEW.filled, strict=True):
        assert len(cell.sign) == 1
        assert 0 <= cell.tone < len(TONES)
        assert (cell.sign == "·") == (filled == 0)


@pytest.mark.parametrize("lens", [Lens.OWNER, Lens.REGION])
def test_every_letter_of_the_map_is_explained(lens: Lens) -> None:
    signs = {cell.sign for cell in cells(VIEW, lens)} - {"·", "?"}
    assert signs == {key.sign for key in legend(VIEW, lens)}
    assert legend(VIEW, lens)[0].sign == "A"


def test_who_has_most_cells_is_a_and_more_owners_than_letters_share_a_sign() -> None:
    many = msgspec.structs.replace(
        VIEW,
        owners=[f"s{place}" for place in range(100)],
        filled=[1] * 200,
        owner=[0] * 100 + [*range(100)],
    )
    shown = cells(many, Lens.OWNER)
    assert shown[0].sign == "A"
    assert shown[-1].sign == "…"


def test_what_waits_goes_before_what_is_held_before_what_is_there() -> None:
    shown = cells(VIEW, Lens.STATE)
    assert shown[45].sign == "▲"
    assert shown[0].sign == "█"
    assert shown[42].sign in "░▒▓"


def test_a_cell_is_told_in_full_and_what_is_unknown_is_said() -> None:
    told = dict(cell_words(VIEW, 0))
    assert told["blocks"] == "0 … 9"
    assert told["owner"] == "claude-7f3a"
    assert told["last used"] == "0.50 s ago"
    unknown = dict(cell_words(VIEW, 6))
    assert (unknown["owner"], unknown["worth"], unknown["last used"]) == ("—", "—", "—")


def test_the_last_cell_has_what_is_left() -> None:
    odd = msgspec.structs.replace(VIEW, blocks=1_195 * 10 + 3, filled=VIEW.filled[:1_196])
    assert dict(cell_words(odd, 1_195))["filled"].endswith(" of 3")


async def test_the_lens_and_the_worker_are_changed_by_keys_and_the_frame_asks_for_what_fits() -> None:
    async with console() as (app, pilot):
        await pilot.press("4")
        await pilot.pause()
        page = app.query_one(BlocksPage)
        seen = []
        for _ in Lens:
            seen.append(page.lens)
            await pilot.press("m")
        assert seen == [*Lens]
        await pilot.press("M")
        assert page.lens is Lens.WORTH
        await pilot.press("n")
        wanted = page.wanted(None)
        assert wanted.whose == 1
        assert wanted.cells == app.query_one(BlockMap).room


async def test_behind_the_last_worker_are_the_host_tier_and_the_disk_where_there_are_any() -> None:
    async with console() as (app, pilot):
        await pilot.press("4")
        await pilot.pause()
        page = app.query_one(BlocksPage)
        await pilot.press("n", "n")
        assert page.wanted(None).whose == "host"
        app.take(changed(tier="host", worker=None, reuse=[None] * len(VIEW.reuse)))
        await pilot.pause()
        assert "host  by state" in text(app)
        await pilot.press("n")
        assert page.wanted(None).whose == "disk"
        app.take(changed(tier="disk", worker=None, owner=[None] * len(VIEW.owner)))
        await pilot.pause()
        assert "disk  by state" in text(app)
        await pilot.press("n")
        assert page.whose == 0
        app.take(dataclasses.replace(changed(), status=example_box.status(host=None, disk=None)))
        await pilot.press("n", "n")
        assert page.whose == 0


async def test_the_cursor_goes_over_the_map_and_tells_of_its_cell() -> None:
    async with console() as (app, pilot):
        await pilot.press("4")
        await pilot.pause()
        field = app.query_one(BlockMap)
        await pilot.press("l", "l", "j", "h")
        assert field.cursor == field.size.width + 1
        await pilot.pause()
        assert f"blocks {field.cursor * 10:,} …" in text(app)
        await pilot.press("G")
        assert field.cursor == len(VIEW.filled) - 1
        await pilot.press("g", "k")
        assert field.cursor == 0
        await pilot.click(BlockMap, offset=(5, 2))
        assert field.cursor == 2 * field.size.width + 5


async def test_what_has_lost_blocks_since_the_last_frame_is_marked() -> None:
    async with console() as (app, pilot):
        await pilot.press("4")
        await pilot.pause()
        fewer = [*VIEW.filled]
        fewer[10] = 0
        others = [*VIEW.owner]
        others[21] = 3
        app.take(changed(filled=fewer, owner=others))
        await pilot.pause()
        assert app.query_one(BlockMap)._gone == {10, 21}
        app.take(changed(filled=fewer, owner=others, worker=1))
        await pilot.pause()
        assert app.query_one(BlockMap)._gone == frozenset()


@given(st.integers(0, 8192), st.integers(1, 200), st.integers(1, 60))
def test_cells_are_as_large_as_all_of_them_have_room_for(number: int, width: int, height: int) -> None:
    wide, tall = scale(number, width, height)

    def fits(wide: int, tall: int) -> bool:
        return wide <= width and -(-number // (width // wide)) * tall <= height

    assert fits(wide, tall) or (wide, tall) == (1, 1)
    shapes = [(x, y) for y in range(1, TALLEST + 1) for x in range(y, min(3 * y, WIDEST) + 1)]
    assert wide * tall == max([x * y for x, y in shapes if fits(x, y)], default=1)


def test_few_blocks_take_the_place_that_many_would_have() -> None:
    wide, tall = scale(300, 198, 40)
    assert -(-300 // (198 // wide)) * tall > 20


@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
async def test_large_cells_are_walked_and_clicked_cell_by_cell(size: tuple[int, int]) -> None:
    few = msgspec.structs.replace(example_box.blocks(100, 4), awaited=[int(place == 7) for place in range(100)])
    async with console(size, frame=dataclasses.replace(example_box.frame(), blocks=few)) as (app, pilot):
        await pilot.press("4")
        await pilot.pause()
        field = app.query_one(BlockMap)
        wide, tall = scale(100, field.size.width, field.size.height)
        assert wide > CLOSE
        lines = text(app).splitlines()[field.region.y : field.region.bottom]
        assert sum(line.count("▲") for line in lines) == (wide - (wide > CLOSE)) * (tall - (tall > CLOSE))
        columns = field.size.width // wide
        await pilot.press("j", "l")
        assert field.cursor == columns + 1
        await pilot.click(BlockMap, offset=(2 * wide, tall))
        assert field.cursor == columns + 2


async def test_a_line_that_looks_as_before_is_not_drawn_again() -> None:
    async with console() as (app, pilot):
        await pilot.press("4")
        await pilot.pause()
        field = app.query_one(BlockMap)
        before = dict(field._drawn)
        fewer = [*VIEW.filled]
        fewer[10] = 0
        app.take(changed(filled=fewer))
        await pilot.pause()
        same = [start for start in before if before[start][1] is field._drawn[start][1]]
        assert len(same) == len(before) - 1


async def test_a_map_that_stays_as_it_is_is_asked_for_less_often_until_it_changes() -> None:
    async with console() as (app, pilot):
        await pilot.press("4")
        await pilot.pause()
        page = app.query_one(BlocksPage)
        still, bare = changed(), dataclasses.replace(changed(), blocks=None)
        asked = []
        for _ in range(12):
            asked.append(Feed.BLOCKS in page.wanted(None).feeds)
            app.take(still if asked[-1] else bare)
            await pilot.pause()
        assert asked == [True, False, True, False, False, True, False, False, False, True, False, False]
        assert Feed.BLOCKS in page.wanted(1.0).feeds, "of the past each moment is another"
        app.take(changed(filled=[0] * len(VIEW.filled)))
        await pilot.pause()
        assert Feed.BLOCKS in page.wanted(None).feeds
        app.take(changed(filled=[0] * len(VIEW.filled)))
        await pilot.pause()
        assert Feed.BLOCKS in page.wanted(None).feeds, "what has gone was shown a frame long"
        await pilot.press("n")
        assert Feed.BLOCKS in page.wanted(None).feeds


@pytest.mark.parametrize("tier", ["host", "disk"])
async def test_what_a_tier_has_lost_is_marked_for_a_frame(tier: Literal["host", "disk"]) -> None:
    async with console() as (app, pilot):
        await pilot.press("4")
        await pilot.pause()
        fewer = [*VIEW.filled]
        fewer[10] = 0
        marked = []
        for filled in (VIEW.filled, fewer, fewer):
            app.take(changed(tier=tier, worker=None, filled=filled))
            await pilot.pause()
            marked.append(app.query_one(BlockMap)._gone)
        assert marked == [frozenset(), {10}, frozenset()]


async def test_enter_shows_the_prompt_of_the_block_from_its_start() -> None:
    errands = ScriptedErrands({"GET /box/v1/blocks/chain?session=claude-7f3a&token=160": example_box.chain()})
    async with console((120, 36), errands=errands) as (app, pilot):
        await pilot.press("4", "l", "enter")
        await pilot.pause()
        await pilot.pause()
        shown = " ".join(text(app).split())
        assert "claude-7f3a, up to token 16,384 of 90,000" in shown
        assert "0 … 4,096 4,096 system gpu pi-0000, pi-0001, pi-0002 and 6 more" in shown
        assert "4,096 … 12,288 8,192 tools 0 gpu 1 disk claude-7f3a, claude-7f3a/explore" in shown
        assert "12,288 … 16,000 3,712 — 0 host 1 nowhere claude-7f3a" in shown
        assert "and 384 tokens in more parts" in shown
        await pilot.press("escape")
        await pilot.pause()
        assert "up to token" not in text(app)


async def test_of_a_block_that_is_nobodys_enter_says_so_and_asks_nothing() -> None:
    errands = ScriptedErrands({})
    async with console(errands=errands) as (app, pilot):
        await pilot.press("4")
        app.take(changed(owner=[None] * len(VIEW.owner)))
        await pilot.press("enter")
        await pilot.pause()
        assert [note.message for note in app._notifications] == ["nobody knows whose this is"]
        app.take(changed(first_token=[None] * len(VIEW.owner)))
        await pilot.press("enter")
        await pilot.pause()
        assert "where it stands in the prompt of claude-7f3a nobody knows" in [
            note.message for note in app._notifications
        ]


async def test_p_goes_to_the_prefixes_of_the_owner() -> None:
    async with console() as (app, pilot):
        await pilot.press("4")
        await pilot.pause()
        await pilot.press("p")
        await pilot.pause()
        assert "5 Prefixes" in text(app).splitlines()[0]
        table = next(table for table in app.query(Table) if table.display and table.filter_text)
        assert table.filter_text == "claude-7f3a"
        assert [row.indent for row in table.rows] == [0, 1, 2, 2, 1]


def test_a_map_in_fewer_cells_has_the_same_blocks_and_speaks_of_those_used_last() -> None:
    view = example_box.blocks()
    assert coarser(view, len(view.filled)) is view
    folded = coarser(view, 500)
    assert (len(folded.filled), folded.blocks_per_cell) == (400, 3 * view.blocks_per_cell)
    for name in ("filled", "held", "awaited"):
        assert sum(getattr(folded, name)) == sum(getattr(view, name))
    for place in range(400):
        ages = [age for age in view.age_seconds[3 * place : 3 * place + 3] if age is not None]
        assert folded.age_seconds[place] == min(ages, default=None)
        of = [
            three for three in range(3 * place, 3 * place + 3) if view.age_seconds[three] == folded.age_seconds[place]
        ]
        assert folded.owner[place] in [view.owner[three] for three in of]
    assert len(coarser(view, 7).filled) == 7
