"""All screens by their key."""

from __future__ import annotations

from typing import Final

from appliance.tui.pages.blocks import BlocksPage
from appliance.tui.pages.engine import EnginePage
from appliance.tui.pages.events import EventsPage
from appliance.tui.pages.history import HistoryPage
from appliance.tui.pages.overview import OverviewPage
from appliance.tui.pages.page import Page
from appliance.tui.pages.policy import PolicyPage
from appliance.tui.pages.prefixes import PrefixesPage
from appliance.tui.pages.requests import RequestsPage
from appliance.tui.pages.router import RouterPage
from appliance.tui.pages.sessions import SessionsPage

PAGES: Final[dict[str, type[Page]]] = {
    "1": OverviewPage,
    "2": SessionsPage,
    "3": RequestsPage,
    "4": BlocksPage,
    "5": PrefixesPage,
    "6": PolicyPage,
    "7": EventsPage,
    "8": RouterPage,
    "9": EnginePage,
    "0": HistoryPage,
}


def page_of(key: str) -> Page:
    return PAGES[key](id=f"page-{key}")
