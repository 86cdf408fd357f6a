"""The console's own keys, and what it says at the top and at the bottom of every screen."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from textual.widgets import Input

from appliance.api.cache_views import SessionCache, SessionCaches
from appliance.api.views import EvictionsView
from appliance.tui import keymap
from appliance.tui.ending import Ending
from appliance.tui.frame import Frame
from appliance.tui.models.history import HistoryCurve
from appliance.tui.pages import history
from appliance.tui.pages.catalogue import PAGES
from appliance.tui.widgets.dialogs import Confirm, Help
from appliance.tui.widgets.table import Table
from tests.unit.tui import example_box
from tests.unit.tui.screens import console, text, universal_time


def title(shown: str) -> str:
    return shown.splitlines()[0]


def footer(shown: str) -> str:
    return shown.splitlines()[-1]


async def test_every_digit_leads_to_its_screen() -> None:
    async with console() as (app, pilot):
        for key, page in PAGES.items():
            await pilot.press(key)
            assert f"{key} {page.title}" in title(text(app))


async def test_every_screen_explains_itself_and_its_keys() -> None:
    async with console((120, 60)) as (app, pilot):
        for key, page in PAGES.items():
            await pilot.press(key)
            await pilot.pause()
            has_list = app.focused is not None and isinstance(app.focused, Table)
            await pilot.press("question_mark")
            await pilot.pause()
            assert isinstance(app.screen, Help)
            shown = text(app)
            assert (page.__doc__ or "").split()[0] in shown
            assert "console.freeze" in shown
            assert ("table.sort" in shown) == has_list
            await pilot.press("escape")
            await pilot.pause()


async def test_no_screen_has_more_than_seven_items_at_the_bottom() -> None:
    async with console((200, 50), can_stop=True) as (app, pilot):
        for key in PAGES:
            await pilot.press(key)
            await pilot.pause()
            assert 3 <= len(footer(text(app)).strip().split("   ")) <= 7


@pytest.mark.parametrize("size", [(80, 24), (60, 12), (20, 3)])
async def test_every_screen_can_be_drawn_at_every_size_before_and_after_the_box_answers(size: tuple[int, int]) -> None:
    async with console(size, frame=Frame(at=example_box.NOW)) as (app, pilot):
        for key in PAGES:
            await pilot.press(key)
            app.take(Frame(at=example_box.NOW))
            await pilot.pause()
            app.take(example_box.frame(1))
            await pilot.pause()
            assert len(text(app).splitlines()) == size[1]


async def test_a_frozen_screen_stands_still_while_frames_are_kept() -> None:
    with universal_time():
        async with console() as (app, pilot):
            await pilot.press("space")
            before = text(app)
            assert "FROZEN" in title(before)
            app.take(example_box.frame(30))
            await pilot.pause()
            assert text(app) == before
            assert len(app.trail) == 2
            await pilot.press("space")
            assert "14:13:50" in title(text(app))


async def test_the_pace_of_frames_is_chosen_in_steps() -> None:
    async with console() as (app, pilot):
        await pilot.press("plus", "plus")
        assert "2 s" in title(text(app))
        await pilot.press("minus")
        assert "1 s" in title(text(app))


async def test_the_user_leaves_with_q_and_with_ctrl_c() -> None:
    for key in ("q", "ctrl+c"):
        async with console() as (app, pilot):
            await pilot.press(key)
        assert app.return_value is Ending.LEAVE


@pytest.mark.parametrize("keys", [("Q", "y"), ("Q", "Q"), ("ctrl+c", "ctrl+c")])
async def test_a_box_is_stopped_only_after_what_that_costs_was_said(keys: tuple[str, str]) -> None:
    async with console(can_stop=True) as (app, pilot):
        await pilot.press(keys[0])
        assert isinstance(app.screen, Confirm)
        shown = text(app)
        assert "7 running requests are let finish" in shown
        assert "What is on disk is kept" in shown
        await pilot.press("escape")
        assert app.return_value is None
        for key in keys:
            await pilot.press(key)
            await pilot.pause()
    assert app.return_value is Ending.STOP


async def test_a_box_that_was_not_started_here_cannot_be_stopped_from_here() -> None:
    async with console() as (app, pilot):
        await pilot.press("Q")
        assert not isinstance(app.screen, Confirm)
        assert "stop the box" not in footer(text(app))


async def test_a_lost_connection_is_said_and_what_was_known_stays() -> None:
    with universal_time():
        async with console() as (app, pilot):
            app.take(dataclasses.replace(example_box.frame(), at=example_box.NOW + 9, lost="no answer in time"))
            await pilot.pause()
            shown = text(app)
            assert "LOST  14:13:20" in title(shown)
            assert "connection lost: no answer in time; asked again in" in shown
            assert "What you see is from 14:13:20" in " ".join(shown.split())
            assert "gpu 0" in shown


async def test_a_box_that_is_gone_ends_its_console() -> None:
    async with console(is_alive=lambda: False) as (app, pilot):
        app.take(dataclasses.replace(example_box.frame(), lost="gone"))
        await pilot.pause()
    assert app.return_value is Ending.BOX_ENDED


async def test_what_would_mislead_is_said_at_the_top() -> None:
    drifting = example_box.status(
        version="0.0.1",
        workers=[example_box.worker(0, index_in_step=False)],
        evictions=EvictionsView(dropped=7),
    )
    problems = {"routing": "the box is starting"}
    frame = dataclasses.replace(example_box.frame(), status=drifting, problems=problems)
    async with console((120, 36), frame=frame, is_read_only=True, is_local=False) as (app, _):
        shown = text(app)
        assert "the box is dynamo-box 0.0.1, this console is" in shown
        assert "mirror not in step with worker 0" in shown
        assert "7 evictions went untold" in shown
        assert "routing cannot be shown: the box is starting" in shown


async def test_a_console_that_may_change_nothing_says_why() -> None:
    async with console(is_read_only=True, is_local=False) as (app, _):
        assert "read-only: the box is on another machine" in text(app)


async def test_a_filter_is_typed_kept_and_taken_back() -> None:
    async with console() as (app, pilot):
        await pilot.press("2", "slash", *"claude", "enter")
        table = app.query_one(Table)
        assert [row.key for row in table.rows] == ["claude-7f3a", "claude-7f3a/explore", "claude-7f3a/review"]
        assert app.query_one("#filter", Input).display
        assert table.has_focus
        await pilot.press("1", "2")
        assert len(table.rows) == 3
        await pilot.press("escape")
        assert len(table.rows) == 12
        assert not app.query_one("#filter", Input).display


async def test_a_filter_that_makes_no_sense_is_told() -> None:
    async with console() as (app, pilot):
        await pilot.press("2", "slash", *"laks>1")
        assert [one.message for one in app._notifications] == ["laks>1: no column laks; did you mean lacks?"]


async def test_a_list_can_be_given_the_whole_screen() -> None:
    async with console() as (app, pilot):
        await pilot.press("8", "e")
        assert app.screen.maximized is app.query_one(Table)
        await pilot.press("escape")
        assert app.screen.maximized is None


async def test_the_palette_knows_every_screen_and_every_command() -> None:
    async with console() as (app, pilot):
        await pilot.press("2")
        titles = " ".join(command.title for command in app.get_system_commands(app.screen))
    for page in PAGES.values():
        assert page.title in titles
    for binding in [*keymap.CONSOLE, *keymap.TABLE]:
        assert binding.description.capitalize() in titles


async def test_keys_can_be_given_to_other_bindings() -> None:
    async with console(keys={"console.freeze": "p"}) as (app, pilot):
        await pilot.press("space")
        assert not app.is_frozen
        await pilot.press("p")
        assert app.is_frozen


async def test_without_unicode_a_screen_is_ascii() -> None:
    async with console(is_ascii=True) as (app, pilot):
        for key in PAGES:
            await pilot.press(key)
            await pilot.pause()
            assert text(app).isascii()


async def test_a_list_is_copied_as_markdown_and_a_screen_without_one_as_it_is() -> None:
    async with console() as (app, pilot):
        await pilot.press("9")
        await pilot.pause()
        await pilot.press("y")
        lines = app.clipboard.splitlines()
        assert lines[0].startswith("| worker | phase |")
        assert len(lines) == 4
        await pilot.press("1", "y")
        assert "prompt tokens read from cache" in app.clipboard


def written(folder: Path, pattern: str) -> str:
    """The only file of this name."""
    (file,) = folder.glob(pattern)
    return file.read_text()


async def test_a_list_is_written_as_csv_with_numbers_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    evil = SessionCaches([SessionCache("=cmd()", None, "idle", 12_345, {"0": 100}, 0)], 1)
    async with console(frame=dataclasses.replace(example_box.frame(), sessions=evil)) as (_app, pilot):
        await pilot.press("2")
        await pilot.pause()
        await pilot.press("w")
    header, row = written(tmp_path, "dynamo-box-sessions-*.csv").splitlines()
    assert header.startswith("session,client,state,turns,prompt")
    assert row.startswith("'=cmd(),,idle,,12345,100")


async def test_a_picture_of_the_screen_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with console() as (_app, pilot):
        await pilot.press("ctrl+s")
    assert "workers" in written(tmp_path, "dynamo-box-overview-*.svg")


async def test_what_cannot_be_written_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.tui.console.file_for", lambda _page, ending: Path(f"/nowhere/x.{ending}"))
    async with console() as (app, pilot):
        await pilot.press("1", "w", "ctrl+s")
        told = [one.message for one in app._notifications]
    assert told == ["there is no list on this screen", "/nowhere/x.svg: No such file or directory"]


async def test_a_curve_is_shown_alone_with_axes_and_drawn_anew_at_most_once_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[str] = []

    def plot(one: HistoryCurve, *_: int, **__: bool) -> list[str]:
        drawn.append(one.name)
        return [f"plot of {one.name}"]

    monkeypatch.setattr(history, "history_plot", plot)
    async with console((120, 36), past=300) as (app, pilot):
        await pilot.press("0", "j", "enter")
        await pilot.pause()
        assert "plot of prompt tokens/s" in text(app)
        for tenth in range(1, 25):
            app.take(dataclasses.replace(example_box.frame(), at=example_box.NOW + tenth / 10))
            await pilot.pause()
        assert drawn == ["prompt tokens/s"] * 3
        await pilot.press("k")
        await pilot.pause()
        assert "plot of read from cache" in text(app)
        await pilot.press("escape")
        await pilot.pause()
        assert "▶ read from cache" in text(app)
        assert "requests waiting" in text(app)


async def test_a_large_curve_tells_times_and_units() -> None:
    with universal_time():
        async with console((80, 24), past=300) as (app, pilot):
            await pilot.press("0", "v")
            await pilot.pause()
            shown = text(app)
    assert "% of prompt tokens" in shown
    assert "time" in shown
    assert re.search(r"\d\d:\d\d:\d\d +\d\d:\d\d:\d\d", shown)
