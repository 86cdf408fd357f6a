from __future__ import annotations

from collections.abc import Iterator

from textual.app import App
from textual.containers import VerticalScroll

from appliance.tui.line import Line
from appliance.tui.widgets.told import Told


class Answer(Told):
    def lines(self, width: int) -> Iterator[Line]:
        return iter(())


async def test_whoever_inherits_it_has_its_frame_too() -> None:
    app: App[None] = App()
    async with app.run_test() as pilot:
        await app.push_screen(Answer("why"))
        await pilot.pause()
        assert app.screen.query_one(VerticalScroll).styles.border_top[0] == "round"
