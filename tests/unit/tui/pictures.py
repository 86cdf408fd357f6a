"""Draws every screen at every size anew: `python -m tests.unit.tui.pictures`, after a change that was meant."""

from __future__ import annotations

import asyncio
from pathlib import Path

from appliance.tui.pages.catalogue import PAGES
from tests.unit.tui.screens import SIZES, page_picture

ROOT = Path(__file__).parents[3]
SHOWN = (120, 36)


def path_of(key: str, size: tuple[int, int]) -> Path:
    """Those of the middle size stand in the documentation."""
    name = PAGES[key].title.lower()
    if size == SHOWN:
        return ROOT / "docs" / "pictures" / f"{name}.svg"
    return Path(__file__).parent / "pictures" / f"{name}-{size[0]}x{size[1]}.svg"


async def draw() -> None:
    for key in PAGES:
        for size in SIZES:
            path = path_of(key, size)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(await page_picture(key, size))


if __name__ == "__main__":
    asyncio.run(draw())
