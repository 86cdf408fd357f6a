"""What every screen looks like. After a change that was meant: `python -m tests.unit.tui.pictures`."""

from __future__ import annotations

import pytest

from appliance.tui.pages.catalogue import PAGES
from tests.unit.tui.pictures import path_of
from tests.unit.tui.screens import SIZES, page_picture


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("key", PAGES)
async def test_a_screen_looks_as_it_did(key: str, size: tuple[int, int]) -> None:
    path = path_of(key, size)
    drawn = await page_picture(key, size)
    assert drawn == path.read_text(), f"{path.name} is not what is drawn now"
