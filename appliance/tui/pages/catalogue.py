"""All screens by their key."""

from __future__ import annotations

from typing import Final

from appliance.tui.pages.engine import EnginePage
from appliance.tui.pages.overview import OverviewPage
from appliance.tui.pages.page import Page
from appliance.tui.pages.router import RouterPage

PAGES: Final[dict[str, type[Page]]] = {"1": OverviewPage, "8": RouterPage, "9": EnginePage}


def page_of(key: str) -> Page:
    return PAGES[key](id=f"page-{key}")
