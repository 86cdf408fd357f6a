"""How far each policy gets from LRU to the optimum on recorded Claude Code sessions, and how fast the simulator is.

    python -m benchmarks.policy SESSIONS [--seeds 7,8,9] [--policy FILE] [--one-agent] [--mooncake FILE]

SESSIONS is a folder of kv-cache-tester files. Sessions whose prompts stay within 131,072 tokens are replayed, 160 of
them by 32 users, who wait at most 300 s between two requests; 128 KiB of KV per token; the second half of the requests
counts; the capacity is for idle blocks only. Shipped curves come from the sessions whose file name has a SHA-256 that
is a multiple of 8, and from those with longer prompts; so the others are measured, if there are any.

The sessions are those of many people and share nothing, not even tools and system text. `--one-agent` makes these the
same in all of them, as on one workstation.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from appliance.cache.contender import Contender, read_contender
from appliance.cache.forecast import Forecast
from appliance.cache.interleave import GAP_CAP_SECONDS, interleave
from appliance.cache.recording import Recording
from appliance.cache.region import Region
from appliance.cache.replay import replay
from appliance.cache.timeline import Accounting, timeline
from appliance.cache.trace import REGIONS, Access, Trace, build_trace
from appliance.cache.trace_formats import read_recording
from appliance.cache.yardsticks import Yardstick, unbounded_hits, yardstick_hits

CAPACITIES_GIB = (32, 64, 96, 128)
MOONCAKE_GIB = (16, 32, 64, 128, 256, 512)
KV_BYTES_PER_TOKEN = 128 * 1024
LONGEST_PROMPT_TOKENS = 131_072
SESSIONS, SLOTS = 160, 32
TRAINING_FOLD, FOLDS = 0, 8
HINT_SPREAD = 0.7
FORGOTTEN_AFTER_SECONDS = 3600.0
COPY_SHIFT = 28
HEAD = [REGIONS.index(Region.TOOLS), REGIONS.index(Region.SYSTEM)]

Session = tuple[Access, ...]
Lessons = dict[str, Any]


def main() -> None:
    options = _options()
    if options.mooncake:
        _print_mooncake(options.mooncake)
    recording = read_recording(options.sessions)
    # Subagents have a name behind a stroke.
    sessions = [one for one in recording.sessions if "/" not in one[0].session]
    measured = _measured(sessions)
    names = {one[0].session for one in measured}
    lessons = _lessons([one for one in sessions if one[0].session not in names])
    drawn = _drawn(measured)
    if options.one_agent:
        drawn = [tuple(map(_with_common_head, session)) for session in drawn]
    _print_policies(replace(recording, sessions=tuple(drawn)), options.seeds, options.policy, lessons)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sessions", type=Path)
    parser.add_argument("--mooncake", type=Path)
    parser.add_argument("--one-agent", action="store_true")
    parser.add_argument("--policy", action="append", default=[])
    parser.add_argument("--seeds", type=lambda text: [int(part) for part in text.split(",")], default=[7, 8, 9])
    return parser.parse_args()


def _measured(sessions: Sequence[Session]) -> list[Session]:
    fitting = [one for one in sessions if max(access.prompt_tokens for access in one) <= LONGEST_PROMPT_TOKENS]
    unseen = [one for one in fitting if _fold(one) != TRAINING_FOLD]
    kind = "that the shipped curves have not seen" if unseen else "all of which the shipped curves have seen"
    print(f"{len(unseen or fitting)} sessions {kind}; {SESSIONS} replayed")
    return unseen or fitting


def _lessons(sessions: Sequence[Session]) -> Lessons:
    """What a box would have learned from these."""
    forecast = Forecast()
    for number, session in enumerate(sessions):
        now = 0.0
        for place, one in enumerate(session):
            gap = one.arrival_seconds - session[place - 1].end_seconds if place else 0.0
            now += min(max(gap, 0.0), GAP_CAP_SECONDS)
            forecast.request_arrived(number, now)
            now += one.end_seconds - one.arrival_seconds
            forecast.response_ended(number, now, waits_for_tool=one.waits_for_tool)
        forecast.forget(number, now + FORGOTTEN_AFTER_SECONDS)
    print(f"{forecast.table.observed_gaps} gaps of {len(sessions)} other sessions to learn from")
    return forecast.to_dict()


def _fold(session: Session) -> int:
    name = f"{session[0].session}.json"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()) % FOLDS


def _drawn(sessions: Sequence[Session]) -> list[Session]:
    """As many as are replayed: each equally often, give or take one. Copies share no block."""
    return [_copy(sessions[number % len(sessions)], number // len(sessions)) for number in range(SESSIONS)]


def _copy(session: Session, copy: int) -> Session:
    return tuple(
        replace(one, session=f"{one.session}#{copy}", block_keys=one.block_keys + (copy << COPY_SHIFT))
        for one in session
    )


def _with_common_head(access: Access) -> Access:
    assert access.regions is not None
    places = np.arange(len(access.block_keys))
    return replace(access, block_keys=np.where(np.isin(access.regions, HEAD), places, access.block_keys))


def _with_hints(trace: Trace, seed: int, *, tools: bool) -> Trace:
    """What a harness could say: that a session is over, and how long a tool will take, off by a lognormal factor."""
    random = np.random.default_rng(seed)
    following = np.full(len(trace), -1)
    same = trace.session[trace.after] == trace.session
    followed = np.flatnonzero((trace.after >= 0) & same)
    following[trace.after[followed]] = followed
    is_final = following < 0
    gaps = np.where(is_final, np.nan, trace.arrival_seconds[following] - trace.end_seconds)
    said = np.maximum(gaps, 0.3) * np.exp(HINT_SPREAD * random.standard_normal(len(trace)))
    known = trace.waits_for_tool & ~is_final & tools
    return replace(trace, is_final=is_final, tool_wait_seconds=np.where(known, said, np.nan))


def _print_policies(recording: Recording, seeds: Sequence[int], policies: Sequence[str], lessons: Lessons) -> None:
    closed: dict[str, dict[int, list[float]]] = {}
    rates: dict[str, dict[int, list[float]]] = {}
    for seed in seeds:
        trace = interleave(recording.sessions, recording.block_tokens, slots=SLOTS, seed=seed)
        for capacity_gib in CAPACITIES_GIB:
            found = dict(_rates(trace, seed, capacity_gib, policies, lessons))
            gap = found["optimum"] - found["lru"]
            for name, rate in found.items():
                rates.setdefault(name, {}).setdefault(capacity_gib, []).append(rate)
                closed.setdefault(name, {}).setdefault(capacity_gib, []).append(100 * (rate - found["lru"]) / gap)
    print("| hit % (% of the way) | " + " | ".join(f"{gib} GiB" for gib in CAPACITIES_GIB) + " |")
    print("|---" * (len(CAPACITIES_GIB) + 1) + "|")
    for name, by_capacity in closed.items():
        cells = [_cell(rates[name][gib], values) for gib, values in by_capacity.items()]
        print(f"| {name} | " + " | ".join(cells) + " |")


def _cell(rates: Sequence[float], closed: Sequence[float]) -> str:
    return f"{statistics.mean(rates):.1f} ({statistics.mean(closed):.0f} ± {statistics.pstdev(closed):.0f})"


def _rates(
    trace: Trace, seed: int, capacity_gib: int, policies: Sequence[str], lessons: Lessons
) -> Iterator[tuple[str, float]]:
    blocks = _blocks(capacity_gib, trace)
    ends, all_hints = (_with_hints(trace, seed, tools=tools) for tools in (False, True))
    runs = [("", trace), (" + session ends", ends), (" + session ends, tool times", all_hints)]
    yield "lru", _replayed(trace, read_contender("lru"), blocks)
    yield "forecast, taught", _replayed(trace, read_contender("forecast"), blocks, lessons)
    for name in ("forecast", "coding-agent", *policies):
        for suffix, hinted in runs:
            yield Path(name).stem + suffix, _replayed(hinted, read_contender(name), blocks)
    hits = yardstick_hits(trace, timeline(trace, Accounting.IDLE), Yardstick.OPTIMUM, blocks)
    yield "optimum", _hit_rate(trace, hits)


def _replayed(trace: Trace, contender: Contender, blocks: int, lessons: Lessons | None = None) -> float:
    # It does not learn: a copy of a session would be judged by what its double has taught.
    forecast = Forecast(learns=False)
    if lessons is not None:
        forecast.restore(lessons)
    start = time.process_time()
    result = replay(trace, contender, blocks, Accounting.IDLE, forecast=forecast)
    speed = len(trace.blocks) / (time.process_time() - start) / 1e6
    print(f"{contender.name}, {blocks} blocks: {speed:.1f} M block accesses/s", file=sys.stderr)
    return _hit_rate(trace, result.hit_blocks)


def _blocks(capacity_gib: int, trace: Trace) -> int:
    return capacity_gib * 2**30 // (KV_BYTES_PER_TOKEN * trace.block_tokens)


def _hit_rate(trace: Trace, hit_blocks: np.ndarray[tuple[int], np.dtype[np.int64]]) -> float:
    """In % of the prompt tokens of the second half of the requests."""
    half = len(trace) // 2
    hit_tokens = np.minimum(hit_blocks * trace.block_tokens, trace.prompt_tokens)[half:]
    return float(100 * hit_tokens.sum() / trace.prompt_tokens[half:].sum())


def _print_mooncake(path: Path) -> None:
    recording = read_recording(path)
    trace = build_trace((one for session in recording.sessions for one in session), recording.block_tokens)
    print(f"mooncake, all blocks count; unbounded {_hit_rate(trace, unbounded_hits(trace)):.1f} %")
    for capacity_gib in MOONCAKE_GIB:
        blocks = _blocks(capacity_gib, trace)
        lru = replay(trace, read_contender("lru"), blocks, Accounting.ALL).hit_blocks
        optimum = yardstick_hits(trace, timeline(trace, Accounting.ALL), Yardstick.OPTIMUM, blocks)
        print(f"{capacity_gib:4d} GiB  LRU {_hit_rate(trace, lru):5.2f} %  optimum {_hit_rate(trace, optimum):5.2f} %")


if __name__ == "__main__":
    main()
