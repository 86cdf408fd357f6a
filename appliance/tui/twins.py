"""Each screen without the screen: the same view-model, as lines of text or as JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from appliance.api.block_views import BlockMapView
from appliance.tui.frame import Feed, Frame
from appliance.tui.line import Line
from appliance.tui.models.blocks import Lens, cells
from appliance.tui.models.decisions import decisions
from appliance.tui.models.engines import engines
from appliance.tui.models.events import event_lines
from appliance.tui.models.history import HistoryCurve, history
from appliance.tui.models.overview import overview
from appliance.tui.models.policies import ActivePolicy, active_policy
from appliance.tui.models.prefixes import prefix_tree
from appliance.tui.models.requests import request_lines
from appliance.tui.models.sessions import session_tree
from appliance.tui.pages import blocks, engine, events, policy, prefixes, requests, router, sessions
from appliance.tui.pages.history import curve_lines
from appliance.tui.pages.overview import OverviewPage, overview_lines
from appliance.tui.past import STEP_SECONDS
from appliance.tui.trail import Sample
from appliance.tui.widgets.block_map import field_lines
from appliance.tui.widgets.grid import Column, Row, grid_lines

LISTED: Final = 40


@dataclass(frozen=True, slots=True)
class Twin:
    """`model` is what the screen draws from, `None` where it is not known; `lines` draws it. `is_recorded`: it shows
    what the box has recorded of the minutes before, and not only what was seen of it."""

    feeds: frozenset[Feed]
    model: Callable[[Frame, list[Sample]], Any]
    lines: Callable[[Any, list[Sample], int, int], list[Line]]
    is_recorded: bool = False


def _table(columns: Sequence[Column], rows: Callable[[Any], list[Row]]) -> Callable[..., list[Line]]:
    return partial(_table_lines, columns, rows)


def _table_lines(
    columns: Sequence[Column], rows: Callable[[Any], list[Row]], model: Any, _samples: list[Sample], width: int, _: int
) -> list[Line]:
    return grid_lines(columns, rows(model)[:LISTED], width)


def _block_lines(view: BlockMapView, _samples: list[Sample], width: int, _height: int) -> list[Line]:
    field = field_lines(cells(view, Lens.STATE), width)
    return [*blocks.head_lines(view, Lens.STATE), *field, *blocks.legend_lines(view, Lens.STATE, width)]


def _policy_lines(model: ActivePolicy, _samples: list[Sample], width: int, _height: int) -> list[Line]:
    return [policy.head_line(model), *grid_lines(policy.COLUMNS, policy.rows(model), width)]


def _history_lines(curves: list[HistoryCurve], _samples: list[Sample], width: int, height: int) -> list[Line]:
    return curve_lines(curves, STEP_SECONDS, width, height)


TWINS: Final = {
    "overview": Twin(OverviewPage.feeds, overview, overview_lines),
    "sessions": Twin(
        sessions.SessionsPage.feeds, lambda frame, _: session_tree(frame), _table(sessions.COLUMNS, sessions.rows)
    ),
    "requests": Twin(
        requests.RequestsPage.feeds, lambda frame, _: request_lines(frame), _table(requests.COLUMNS, requests.rows)
    ),
    "blocks": Twin(blocks.BlocksPage.feeds, lambda frame, _: frame.blocks, _block_lines),
    "prefixes": Twin(
        prefixes.PrefixesPage.feeds, lambda frame, _: prefix_tree(frame), _table(prefixes.COLUMNS, prefixes.rows)
    ),
    "policy": Twin(policy.PolicyPage.feeds, lambda frame, _: active_policy(frame), _policy_lines),
    "events": Twin(events.EventsPage.feeds, lambda frame, _: event_lines(frame), _table(events.COLUMNS, events.rows)),
    "router": Twin(router.RouterPage.feeds, lambda frame, _: decisions(frame), _table(router.COLUMNS, router.rows)),
    "engine": Twin(engine.EnginePage.feeds, lambda frame, _: engines(frame), _table(engine.COLUMNS, engine.rows)),
    "history": Twin(frozenset(), lambda _, samples: history(samples, STEP_SECONDS), _history_lines, is_recorded=True),
}
