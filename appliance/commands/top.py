"""`dynamo-box top`: what a screen of the console shows, as text or as JSON."""

from __future__ import annotations

import argparse
import math
import shutil
import time
from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text

from appliance.commands.console import box_address, checked_interval
from appliance.commands.context import read_context
from appliance.errors import SettingsError
from appliance.tui.banners import banners
from appliance.tui.frame import Frame, Wanted
from appliance.tui.line import Line, heading, words
from appliance.tui.link import Link, LinkLost
from appliance.tui.machine import Machine
from appliance.tui.models.history import HistoryCurve
from appliance.tui.pages.plots import history_plot
from appliance.tui.past import AT_ONCE, CURVE_SECONDS, STEP_SECONDS
from appliance.tui.plotted import plotted
from appliance.tui.source import BoxSource
from appliance.tui.trail import Sample, Trail
from appliance.tui.twins import TWINS, Twin

NARROWEST = 60
PLOT_LINES = 14
LOOKS = math.ceil(CURVE_SECONDS / STEP_SECONDS / AT_ONCE)


def run(options: argparse.Namespace) -> int:
    if options.plot and (options.screen != "history" or options.json):
        raise SettingsError("--plot: only `top history` has curves, and no JSON has")
    where, key = box_address(read_context(options), options.attach)
    seconds = checked_interval(options.interval)
    link = Link(where, key)
    source = BoxSource(link, Machine() if link.is_local else None)
    try:
        return _watch(source, options, seconds)
    finally:
        source.close()


def _watch(source: BoxSource, options: argparse.Namespace, seconds: float) -> int:
    twin, trail = TWINS[options.screen], Trail()
    while True:
        frame = _recorded(source) if twin.is_recorded else source.frame(Wanted(twin.feeds))
        if frame.lost is not None and (frame.status is None or not options.watch):
            raise LinkLost(frame.lost)
        trail.add(frame)
        samples = trail.until(frame.at) if frame.samples is None else list(frame.samples)
        model = twin.model(frame, samples)
        if options.json:
            print(_json(frame, model), flush=True)
        else:
            lines = _plots if options.plot else _lines
            _print(lines(twin, frame, model, samples), is_again=options.watch)
        if not options.watch:
            return 0
        time.sleep(seconds)


def _recorded(source: BoxSource) -> Frame:
    """Now, with what led to it: the record comes in pieces."""
    for _ in range(LOOKS):
        frame = source.frame(Wanted(frozenset(), time.time()))
        if frame.lost is not None:
            break
    return frame


def _lines(twin: Twin, frame: Frame, model: Any, samples: list[Sample]) -> list[Line]:
    told = [words((f" {text} ", style)) for text, style in banners(frame)]
    if model is None:
        return told
    width, height = _size()
    return [*told, *twin.lines(model, samples, width, max(height - len(told) - 1, 20))]


def _plots(_twin: Twin, frame: Frame, model: list[HistoryCurve] | None, _samples: list[Sample]) -> list[Line]:
    told = [words((f" {text} ", style)) for text, style in banners(frame)]
    plots = [
        [heading(one.name, _size()[0]), *plotted(history_plot(one, _size()[0], PLOT_LINES, is_coloured=True))]
        for one in model or []
    ]
    return [*told, *(line for each in plots for line in each)]


def _size() -> tuple[int, int]:
    width, height = shutil.get_terminal_size((NARROWEST * 2, 40))
    return max(width, NARROWEST), height


def _print(lines: list[Line], *, is_again: bool) -> None:
    """In a terminal each look takes the place of the one before."""
    console = Console(highlight=False, soft_wrap=True)
    if is_again and console.is_terminal:
        console.clear()
    for line in lines:
        console.print(Text.assemble(*((piece.text, piece.style or "") for piece in line)))


def _json(frame: Frame, model: Any) -> str:
    """`problems` says what could not be had, and why."""
    document = {"at": frame.at, "lost": frame.lost, "problems": dict(frame.problems), "data": model}
    return msgspec.json.encode(document).decode()
