"""`dynamo-box whatif`: what other policies and capacities would have done with a recorded trace."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from appliance.cache.contender import FORECAST, read_contender
from appliance.cache.interleave import interleave
from appliance.cache.queue_order import QueueOrder
from appliance.cache.recording import Recording
from appliance.cache.timeline import Accounting
from appliance.cache.trace import Trace, build_trace
from appliance.cache.trace_formats import read_recording
from appliance.cache.whatif import (
    LoopOutcome,
    Machine,
    Outcome,
    steps,
    what_if,
    what_if_in_a_loop,
)
from appliance.commands.whatif_live import run_live
from appliance.commands.whatif_table import loop_table, outcome_table
from appliance.errors import SettingsError
from appliance.plots import Axis, Curve, plot
from appliance.units import parse_bytes

DEFAULT_POLICIES = ("coding-agent", FORECAST)
DEFAULT_SLOTS = 32
BAR_WIDTH = 40
CLEAR_LINE = "\r\x1b[K"
PLOT_SIZE = (100, 25)


def run(options: argparse.Namespace) -> int:
    if (options.trace is None) == (options.last is None):
        raise SettingsError("whatif wants a recorded TRACE, or --last TIME for the running box's own record")
    if options.last is not None:
        bar = _Bar(1000)
        return run_live(options, lambda share: bar.advance(round(1000 * share) - bar.done), bar.clear)
    contenders = [read_contender(name, uses_hints=not options.no_hints) for name in options.policy or DEFAULT_POLICIES]
    capacities_bytes = _capacities(options.capacity)
    machine = _machine(options)
    if options.slots is not None and options.slots < 1:
        raise SettingsError(f"--slots: {options.slots} users cannot play anything; at least 1")
    trace = _read_aloud(options)
    bar = _Bar(steps(trace, contenders, capacities_bytes))
    if options.queue is not None:
        in_loop = what_if_in_a_loop(
            trace, contenders, capacities_bytes, queue=QueueOrder(options.queue), machine=machine, progress=bar.advance
        )
        bar.clear()
        print(_json(in_loop) if options.json else loop_table(in_loop))
        return 0
    outcomes = what_if(
        trace,
        contenders,
        capacities_bytes,
        accounting=Accounting(options.accounting),
        machine=machine,
        progress=bar.advance,
    )
    bar.clear()
    if options.plot and not options.json:
        print("\n".join(_plot(outcomes)))
    print(_json(outcomes) if options.json else outcome_table(outcomes))
    return 0


def read_trace(path: Path, slots: int | None, seed: int) -> Trace:
    """With `slots`, or when its sessions share no clock, that many users play the sessions one after another. Raises
    `TraceError`."""
    recording = read_recording(path)
    if slots is None and not recording.is_local_time:
        return build_trace((access for session in recording.sessions for access in session), recording.block_tokens)
    return _interleaved(recording, slots or DEFAULT_SLOTS, seed)


def _interleaved(recording: Recording, slots: int, seed: int) -> Trace:
    return interleave(recording.sessions, recording.block_tokens, slots=slots, seed=seed)


def _read_aloud(options: argparse.Namespace) -> Trace:
    """Says on a terminal what takes its time: a folder of sessions takes seconds."""
    if sys.stderr.isatty():
        print(f"reading {options.trace} …", end="\r", file=sys.stderr, flush=True)
    try:
        return read_trace(Path(options.trace), options.slots, options.seed)
    finally:
        if sys.stderr.isatty():
            print(CLEAR_LINE, end="", file=sys.stderr, flush=True)


def _machine(options: argparse.Namespace) -> Machine:
    kv_bytes = _size("--kv-bytes-per-token", options.kv_bytes_per_token)
    if kv_bytes == 0:
        raise SettingsError("--kv-bytes-per-token: a token takes at least one byte")
    if not 0 < options.prefill_rate < float("inf"):
        raise SettingsError(f"--prefill-rate: {options.prefill_rate:g} tokens/s is not a positive number")
    return Machine(kv_bytes, options.prefill_rate)


def _capacities(text: str) -> list[int]:
    return [_size("--capacity", part.strip()) for part in text.split(",")]


def _size(option: str, text: str) -> int:
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise SettingsError(f"{option}: {error}") from error


def _json(outcomes: Sequence[Outcome] | Sequence[LoopOutcome]) -> str:
    return json.dumps([_as_dict(outcome) for outcome in outcomes], indent=2)


def _as_dict(outcome: Outcome | LoopOutcome) -> dict[str, object]:
    if isinstance(outcome, Outcome):
        return asdict(outcome) | {"hit_rate": outcome.hit_rate}
    facts = {"contender": outcome.contender, "capacity_bytes": outcome.capacity_bytes, "queue": outcome.queue.value}
    return facts | outcome.result._asdict() | {"hit_rate": outcome.result.hit_rate}


class _Bar:
    """Progress on standard error, if somebody watches."""

    def __init__(self, total: int) -> None:
        self._total = max(total, 1)
        self.done = 0
        self._is_shown = sys.stderr.isatty()

    def advance(self, requests: int) -> None:
        self.done += requests
        if self._is_shown:
            filled = BAR_WIDTH * self.done // self._total
            share = 100 * self.done // self._total
            print(f"\r{'━' * filled}{' ' * (BAR_WIDTH - filled)} {share:3d} %", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._is_shown:
            print(CLEAR_LINE, end="", file=sys.stderr, flush=True)


def _plot(outcomes: Sequence[Outcome]) -> list[str]:
    """Hit rates over capacities."""
    names = dict.fromkeys(outcome.contender for outcome in outcomes)
    curves = [
        Curve(name, [(one.capacity_bytes / 2**30, 100 * one.hit_rate) for one in outcomes if one.contender == name])
        for name in names
    ]
    y = Axis("% of prompt tokens read from cache")
    return plot(curves, Axis("GiB"), y, *PLOT_SIZE, is_coloured=sys.stdout.isatty())
