"""The tree of prompts with its text, words in it, and where sessions fork."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from appliance.api.prefix_views import Fork, ForkSide, PrefixMatch, PrefixSearch, PrefixView
from appliance.tui.frame import Frame
from appliance.tui.line import text_of
from appliance.tui.models.prefixes import prefix_tree, tree_of
from appliance.tui.pages.forks import fork_lines, search_lines
from tests.unit.tui import example_box
from tests.unit.tui.screens import ScriptedErrands, console, text

FORK = Fork(
    4_100,
    4_096,
    "the answer:\n a ",
    [
        ForkSide("claude-7f3a/explore", 12_290, "messages[1]", "Heron."),
        ForkSide("claude-7f3a", 4_100, None, ""),
        ForkSide("c", 9, None, None),
    ],
)
MATCHES = [
    PrefixMatch(0, 20, ["a", "b"], 4_097, "system", "say Heron.", 4, 5, 3),
    PrefixMatch(None, 1, ["c"], 7, None, "heron", 0, 5, 1),
]
FOUND = PrefixSearch("heron", MATCHES, 9_000, "matches")


def test_prefixes_stand_before_what_goes_on_from_them_the_most_shared_first() -> None:
    model = prefix_tree(example_box.frame())
    assert model is not None
    assert [(one.depth, one.sessions, one.tokens) for one in model.lines] == [
        (0, 9, 4_096), (1, 2, 8_192), (2, 1, 9), (2, 1, 9_008), (1, 1, 80_096), (0, 3, 512),
    ]  # fmt: skip
    assert model.shared == pytest.approx(1 - 152 / 240)
    assert prefix_tree(Frame(at=0.0)) is None


def test_a_fork_has_a_way_for_each_that_goes_on_and_for_each_that_ends() -> None:
    lines = {one.names[0]: one for one in tree_of(example_box.prefixes()).lines if one.sessions <= 3}
    shared = next(one for one in tree_of(example_box.prefixes()).lines if one.sessions == 2)
    assert [(way.names, way.text) for way in shared.ways] == [
        (["claude-7f3a/explore"], "search: find"), (["claude-7f3a/review"], "review of the change."),
    ]  # fmt: skip
    assert shared.sides == ["claude-7f3a/explore", "claude-7f3a/review"]
    assert lines["claude-7f3a"].ways == []
    review = lines["claude-7f3a/review"]
    assert (review.start_token, review.tokens, review.text) == (12_288, 9, "review of the change.")


@pytest.mark.parametrize("width", [40, 120])
def test_a_fork_stands_side_by_side_with_blanks_that_can_be_seen(width: int) -> None:
    lines = [text_of(line) for line in fork_lines(FORK, width)]
    assert all(cell_len(line) <= width for line in lines[1:])
    shown = "\n".join(lines)
    if width == 120:
        assert lines[0] == "4,100 tokens are shared, 4,096 of them in whole blocks"
        assert "the answer:\\n a │Heron." in shown
        assert "goes on in messages[1]" in shown
        assert "ends here" in shown
        assert "state.record_text" in shown


def test_what_was_found_is_told_with_the_text_around_it_and_what_is_not_listed() -> None:
    lines = [text_of(line) for line in search_lines(FOUND, 80)]
    assert lines[:2] == ["4 places in 9,000 tokens that differ", "there are more: only these are listed"]
    assert "system · 4,097, 2 more behind it" in lines[3]
    assert lines[4:6] == ["a, b and 18 more", "…say Heron.…"]
    assert "token · 7" in lines[7]


async def test_the_row_under_the_cursor_tells_how_it_begins_ends_and_goes_on() -> None:
    async with console((120, 36)) as (app, pilot):
        await pilot.press("5")
        await pilot.pause()
        shown = text(app)
        assert "begins  You are a careful agent.\\nNever guess: look." in shown
        assert "│Have the parser tell where a line is wrong." in shown
        await pilot.press("j")
        await pilot.pause()
        assert "│search: find" in text(app)


async def test_where_no_text_is_shown_that_is_said() -> None:
    bare = PrefixView(0, None, 0, 4_096, 1, ["a"], "tools", {})
    async with console((80, 24), frame=Frame(at=0.0, prefixes=example_box.prefixes_of([bare]))) as (app, pilot):
        await pilot.press("5")
        await pilot.pause()
        assert "state.record_text" in text(app)


async def test_enter_compares_those_that_go_apart_behind_the_row() -> None:
    route = "GET /box/v1/prefixes/fork?session=claude-7f3a%2Fexplore&session=claude-7f3a"
    errands = ScriptedErrands({route: FORK})
    async with console((120, 36), errands=errands) as (app, pilot):
        await pilot.press("5", "enter")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert "a │Heron." in text(app)
        await pilot.press("escape", "j", "j", "j", "enter")
        await pilot.pause()
        (told,) = [one.message for one in app._notifications]
        assert "nothing goes apart behind it" in told
    assert [sent for sent, _ in errands.sent] == [route]


async def test_a_marked_session_is_compared_with_another() -> None:
    route = "GET /box/v1/prefixes/fork?session=claude-7f3a%2Fexplore&session=claude-7f3a"
    errands = ScriptedErrands({route: FORK})
    async with console((120, 36), errands=errands) as (app, pilot):
        await pilot.press("5", "m")
        await pilot.pause()
        (told,) = [one.message for one in app._notifications]
        assert "mark a row of one of them" in told
        await pilot.press("j", "j", "j", "m")
        await pilot.pause()
        assert "marked: claude-7f3a/explore" in text(app)
        await pilot.press("m", "m", "j", "m")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert "4,100 tokens are shared" in text(app)
        await pilot.press("escape")
        await pilot.pause()
        assert "marked:" not in text(app)
    assert [sent for sent, _ in errands.sent] == [route]


async def test_words_are_searched_in_the_text_of_prompts() -> None:
    route = "GET /box/v1/prefixes?limit=512&search=a%20heron"
    errands = ScriptedErrands({route: example_box.prefixes_of([], FOUND)})
    async with console((120, 36), errands=errands) as (app, pilot):
        await pilot.press("5", "f")
        await pilot.pause()
        await pilot.press(*"a", "space", *"heron", "enter")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert "say Heron." in text(app)
