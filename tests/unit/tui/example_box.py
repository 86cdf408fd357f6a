"""A box in the middle of its work, as its API tells of it: the views that the screens are drawn from in tests."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

from msgspec.structs import replace

from appliance import __version__
from appliance.api.block_views import BlockChain, BlockMapView, ChainPart, Prefixes, PrefixView
from appliance.api.cache_views import CacheView, SessionCache, SessionCaches, TierView
from appliance.api.eviction_page import EvictedBlock
from appliance.api.hint_views import HintView
from appliance.api.lint_views import BusterView, Lint
from appliance.api.policy_views import PolicyBody, PolicyPrediction, PolicyVersionView
from appliance.api.request_views import (
    ActiveRequestView,
    BlameView,
    DivergenceView,
    Finding,
    RangeView,
    RequestView,
    Why,
)
from appliance.api.routing_views import (
    CandidateView,
    CostView,
    DecisionView,
    OutcomeView,
    OverlapView,
    Routing,
    RoutingTotals,
)
from appliance.api.views import (
    BoxStatus,
    DiskTierView,
    EvictionsView,
    EvictionView,
    HostTierView,
    LatencyView,
    LeadsView,
    MissesView,
    ModelView,
    QueueView,
    RateView,
    RegretView,
    RequestsView,
    StepsView,
    WatchdogView,
    WorkerView,
)
from appliance.tui.event_feed import ToldEvent
from appliance.tui.frame import Frame
from appliance.tui.machine import GpuLoad, Load

NOW = 1_790_000_000.0
STARTED_AT = NOW - 8_000

SessionState = Literal["running", "tool_wait", "idle", "finished"]


def worker(number: int, **changes: Any) -> WorkerView:
    base: dict[str, Any] = {
        "id": number,
        "phase": "running",
        "pid": 4000 + number,
        "devices": [f"cuda:{number}"],
        "restarts": 0,
        "running_requests": 3 + number,
        "prefill_blocks_queued": 12,
        "kv_blocks_total": 12_000,
        "kv_blocks_indexed": 9_400 - 900 * number,
        "kv_usage": 0.31,
        "index_in_step": True,
        "event_batches": 81_022,
        "event_gaps": 0,
        "event_resets": 0,
        "last_error": None,
        "leads": LeadsView(spared=2, held_back=31, in_vain=1),
        "steps": steps(),
        "watchdog": WatchdogView(limit_seconds=60, silent_seconds=0.0, answer_ms=3.0, stalled_seconds=0.024),
    }
    return WorkerView(**(base | changes))


def steps(**changes: Any) -> StepsView:
    base: dict[str, Any] = {
        "waiting": 2,
        "batch_requests": 4,
        "batch_prefill_tokens": 2_048,
        "batch_decode_tokens": 3,
        "steps": 184_220,
        "prefill_tokens": 4_710_000,
        "decode_tokens": 512_400,
        "preemptions": 6,
        "prefill_tokens_per_second": 5_310.0,
        "decode_tokens_per_second": 118.0,
        "step_p50_ms": 23.8,
        "step_max_ms": 171.0,
        "scheduler_p50_ms": 1.7,
        "scheduler_max_ms": 9.5,
    }
    return StepsView(**(base | changes))


def gpu(number: int) -> GpuLoad:
    return GpuLoad(number, 0.93 - number / 8, (71 - 3 * number) * 2**30, 80 * 2**30, 612.0 - 40 * number)


def host(**changes: Any) -> HostTierView:
    counts: dict[str, Any] = dict.fromkeys(HostTierView.model_fields, 0)
    base = {"bytes": 64 * 2**30, "rows": 32_768, "used": 20_480, "held": 1_024, "indexed": 20_470, "stored": 71_000}
    return HostTierView(**(counts | base | {"evicted": 12_000} | changes))


def disk(**changes: Any) -> DiskTierView:
    counts: dict[str, Any] = dict.fromkeys(DiskTierView.model_fields, 0)
    base = {"pid": 4100, "opened": "found sound", "is_direct": True, "bytes": 512 * 2**30, "row_bytes": 2**21}
    base |= {"rows": 262_144, "used": 55_000, "written": 61_000, "queued": 4, "written_today": 3 * 2**30}
    return DiskTierView(**(counts | base | {"promoted": 4_100, "asked": 900} | changes))


def status(second: int = 0, **changes: Any) -> BoxStatus:
    """So many seconds after `NOW`: counters have grown, with more and less of it read from cache."""
    uptime = NOW - STARTED_AT + second
    prompt = round(4_000 * uptime)
    cached = round(3_720 * uptime + 2_000 * math.sin(second / 9))
    missed = {"diverged": (prompt - cached) // 30, "evicted": (prompt - cached) // 6}
    base: dict[str, Any] = {
        "version": __version__,
        "phase": "running",
        "activity": None,
        "pid": 3999,
        "endpoint": "http://127.0.0.1:8000",
        "started_at": STARTED_AT,
        "uptime_seconds": uptime,
        "model": ModelView(id="qwen3-8b", source="Qwen/Qwen3-8B", context_tokens=131_072),
        "workers": [worker(0), worker(1)],
        "requests": RequestsView(active=7, finished=1_204 + second // 8, failed=0, aborted=3, resumed=1),
        "cache_since_start": RateView(
            prompt_tokens=prompt,
            cached_tokens=cached,
            hit_rate=cached / prompt,
            host_tokens=cached // 9,
            disk_tokens=cached // 40,
        ),
        "cache_last_minute": RateView(
            prompt_tokens=240_000, cached_tokens=223_500, hit_rate=0.93125, host_tokens=24_800, disk_tokens=5_580
        ),
        "cache_last_request": RateView(
            prompt_tokens=84_200, cached_tokens=81_920, hit_rate=81_920 / 84_200, host_tokens=18_000
        ),
        "completion_tokens": round(180 * uptime + 600 * math.sin(second / 7)),
        "stabilised": {"attribution": 40},
        "latency": LatencyView(
            ttft_p50_ms=180.0,
            ttft_p99_ms=1_430.0,
            loop_lag_p99_ms=2.1,
            loop_lag_max_ms=9.0,
            itl_p50_ms=14.2,
            itl_p99_ms=61.0,
        ),
        "evictions": EvictionsView(
            by_kind=[
                EvictionView(cause="other_session", rule="coding-agent.toml:12", region="tail", blocks=900),
                EvictionView(cause="same_session", rule=None, region=None, blocks=44),
            ],
            awaited=3,
        ),
        "host": host(stored=71_000 + 9 * second, used=20_480 + 5 * second),
        "disk": disk(written=61_000 + 4 * second, used=55_000 + 4 * second),
        "queue": QueueView(
            waiting=2, waiting_tokens=81_000, oldest_seconds=1.4, prefill_use=0.62, refused={"full": 1}, set_aside=2
        ),
        "misses": MissesView(tokens={"first_request": prompt - cached - sum(missed.values()), **missed}),
        "speculations": {"hit": 12, "unused": 3},
        "regrets": [
            RegretView(reason="cost", settled=900, regretted=41, regret_seconds=12.5),
            RegretView(reason="tie", settled=80, regretted=2, regret_seconds=0.4),
        ],
    }
    return BoxStatus(**(base | changes))


def cache() -> CacheView:
    return CacheView(
        16,
        [
            TierView("gpu", 0, 12_000, 9_400, 3_100, 24 * 2**30),
            TierView("gpu", 1, 12_000, 8_500, 2_900, 24 * 2**30),
            TierView("host", None, 32_768, 20_480, 1_024, 64 * 2**30),
            TierView("disk", None, 262_144, 55_000, 0, 512 * 2**30),
        ],
    )


def sessions(number: int = 12) -> SessionCaches:
    """A lead with two subagents, then others."""
    claude = "claude-cli/2.1 (external, cli)"
    listed = [
        SessionCache("claude-7f3a", None, "tool_wait", 84_200, {"0": 81_920}, 84_000, 41, claude, 0.06, 287.0),
        SessionCache(
            "claude-7f3a/explore", "claude-7f3a", "running", 21_300, {"0": 18_000, "1": 2_400}, 20_000, 6, claude, 0.31
        ),
        SessionCache("claude-7f3a/review", "claude-7f3a", "finished", 12_800, {}, 12_000, 3, claude, 0.2),
    ]
    states: tuple[SessionState, ...] = ("idle", "running", "tool_wait", "finished")
    for place in range(3, number):
        tokens, state = 3_000 + 1_700 * place, states[place % 4]
        on_gpu = {str(place % 2): tokens if place % 3 else tokens // 2}
        left = None if state == "finished" else 310.0 - 21 * place
        seconds = 0.0 if place % 3 else tokens / 8_400
        told = SessionCache(
            f"pi-{place:04}", None, state, tokens, on_gpu, tokens // 4, 2 + place, "pi/0.9", seconds, left
        )
        listed.append(told)
    return SessionCaches(listed[:number], number)


def candidate(number: int, gpu: int, total: float, **cost: float) -> CandidateView:
    parts = dict.fromkeys(("prefill", "load", "queue", "decode", "crowding", "displacement", "affinity", "other"), 0.0)
    return CandidateView(
        worker=number,
        overlap=OverlapView(gpu=gpu, host=max(gpu, 24_000), disk=max(gpu, 24_000), remote=max(gpu, 24_000)),
        pending_tokens=0,
        missing_tokens=31_000 - max(gpu, 24_000),
        running_requests=3 + number,
        queued_tokens=4_000 * number,
        cost=CostView(**(parts | cost), total=total),
    )


def routing(number: int = 30) -> Routing:
    decisions = []
    for place in range(number):
        best = place % 5 == 4
        decisions.append(
            DecisionView(
                request_id=f"chatcmpl-{place:04x}",
                age_seconds=1.5 + 2 * place,
                worker=place % 2,
                reason="tie" if place % 7 == 6 else "cost",
                why=f"worker {place % 2} is cheapest: it holds 30,720 of 31,000 tokens",
                prompt_tokens=31_000 + place,
                candidates=[
                    candidate(0, 30_720, 0.31, prefill=0.12, queue=0.1, decode=0.09),
                    candidate(1, 0, 1.84, prefill=1.6, load=0.2, decode=0.04),
                ],
                outcome=None if place == 0 else OutcomeView(30_720, 0.2, 0, 1 if best else 0, 0.4 if best else 0.0),
            )
        )
    return Routing(RoutingTotals(1_204, 1_180, 43, 12.9, 81_000, 0), decisions)


def evictions(number: int = 40) -> tuple[EvictedBlock, ...]:
    return tuple(
        EvictedBlock(
            number=place,
            at=NOW - 200 + 4 * (place // 5),
            worker=place % 2,
            block_hash=f"{place * 7919:08x}",
            first_token=16 * place,
            region="tail" if place % 3 else "system",
            owner="pi-0003" if place < 20 else "claude-7f3a/review",
            age_seconds=320.0 + place,
            priority=20,
            rule="coding-agent.toml:12" if place % 3 else None,
            awaited=place == 11,
            cause="other_session",
            cause_session="claude-7f3a",
            cause_request="msg_01",
        )
        for place in range(number)
    )


def events(number: int = 30) -> tuple[ToldEvent, ...]:
    told = []
    for place in range(number):
        request = {"request": f"chatcmpl-{place // 2:04x}", "session": f"pi-{place % 4:04}", "worker": place % 2}
        counts = {"prompt_tokens": 31_000, "cached_tokens": 30_720 if place % 3 else 0}
        if place % 2:
            ended = {"outcome": "finished", "completion_tokens": 210, "first_token_seconds": 0.2, "total_seconds": 4.1}
            told.append(ToldEvent(place, NOW - 60 + 2 * place, {"type": "request_finished"} | request | counts | ended))
        else:
            told.append(ToldEvent(place, NOW - 60 + 2 * place, {"type": "request_started"} | request | counts))
    named = {"type": "policy", "name": "chat", "version": 2, "author": "operator"}
    return (*told, ToldEvent(number, NOW - 3, named), ToldEvent(number + 1, NOW - 2, {"type": "new_kind", "what": 3}))


def policy() -> PolicyBody:
    everywhere = ["gpu", "host", "disk", "remote"]
    facts = [
        ("coding-agent.toml:8", {"region": ["system", "tools"]}, 90, None, everywhere, False),
        ("coding-agent.toml:12", {"state": ["finished"]}, 5, 30.0, ["gpu"], True),
        ("coding-agent.toml:17", {}, 35, None, everywhere, False),
    ]
    names = ("rule", "when", "priority", "duration_seconds", "tiers", "caps_rest")
    rules = [dict(zip(names, each, strict=True)) for each in facts]
    return PolicyBody("coding-agent", "For agents whose prompts come back", "forecast", rules, 3, TOML)


TOML = """\
description = "For agents whose prompts come back"

[[rule]]
region = ["system", "tools"]
priority = 90

[[rule]]
state = "finished"
priority = 5
duration = "30s"
tiers = ["gpu"]
caps_rest = true

[[rule]]
priority = 35
"""


def versions() -> tuple[PolicyVersionView, ...]:
    """The newest first: what it was predicted to do, and what it did."""
    said = [
        (3, "coding-agent", "operator", "longer tails", 0.931, 0.2),
        (2, "lru", "operator", None, 0.801, 4),
        (1, "coding-agent", "settings", None, 0.912, 9),
    ]
    return tuple(
        PolicyVersionView(
            version=number,
            name=name,
            author=author,
            note=note,
            activated_at=NOW - 900 * hours,
            active=number == 3,
            rolls_back_to=None,
            predicted=PolicyPrediction(0.93, 0.80, 1_800.0) if number == 3 else None,
            prompt_tokens=1_000_000,
            cached_tokens=round(rate * 1_000_000),
            hit_rate=rate,
            toml=TOML,
        )
        for number, name, author, note, rate, hours in said
    )


def hints() -> tuple[HintView, ...]:
    pin = HintView("hint-1", "pin", "claude-7f3a", "console", NOW - 600, NOW + 3_000, 3_000.0, 0, None, 100, None)
    return (pin,)


def blocks(number: int = 1_200, per_cell: int = 10) -> BlockMapView:
    """Five sessions one after the other, the first of them running; every seventh cell is empty."""
    places = range(number)
    empty = [place % 7 == 6 for place in places]
    owner = [None if empty[place] or place % 50 == 3 else place // 40 % 5 for place in places]
    return BlockMapView(
        tier="gpu",
        worker=0,
        block_tokens=16,
        blocks=number * per_cell,
        blocks_per_cell=per_cell,
        owners=["claude-7f3a", "claude-7f3a/explore", "pi-0003", "pi-0004", "pi-0005"],
        regions=["system", "tools", "user", "tail"],
        filled=[0 if empty[place] else per_cell - place % 4 for place in places],
        held=[per_cell - 4 if one == 0 else 0 for one in owner],
        awaited=[2 if place == 45 else 0 for place in places],
        owner=owner,
        first_token=[
            None if one is None else place % 40 * 16 * per_cell for place, one in zip(places, owner, strict=True)
        ],
        region=[None if one is None else place // 10 % 4 for place, one in zip(places, owner, strict=True)],
        priority=[None if one is None else (100, 80, 35, 20, 5)[one] for one in owner],
        age_seconds=[None if one is None else 0.5 * 4.0**one for one in owner],
        reuse=[None if one is None else 12 - 3 * one for one in owner],
    )


def chain() -> BlockChain:
    parts = [
        ChainPart(0, 4_096, "system", 9, [f"pi-{place:04}" for place in range(9)], {"0": "gpu", "1": "gpu"}),
        ChainPart(4_096, 12_288, "tools", 2, ["claude-7f3a", "claude-7f3a/explore"], {"0": "gpu", "1": "disk"}),
        ChainPart(12_288, 16_000, None, 1, ["claude-7f3a"], {"0": "host", "1": None}),
    ]
    return BlockChain("claude-7f3a", 16, 90_000, 16_384, 16_000, parts)


def prefixes() -> Prefixes:
    nodes = [
        PrefixView(0, None, 0, 4_096, 9, ["claude-7f3a", "claude-7f3a/explore"], "tools", {"0": 4_096, "1": 4_096}),
        PrefixView(1, 0, 4_096, 84_192, 1, ["claude-7f3a"], "tail", {"0": 81_920 - 4_096}),
        PrefixView(2, 0, 4_096, 12_288, 2, ["claude-7f3a/explore", "claude-7f3a/review"], "user", {"1": 8_192}),
        PrefixView(3, 2, 12_288, 21_296, 1, ["claude-7f3a/explore"], "tail", {}),
        PrefixView(4, None, 0, 512, 3, ["pi-0003", "pi-0004", "pi-0005"], "system", {"0": 512}),
    ]
    return Prefixes(nodes, 16, 12, 12, 240_000, 152_000)


LOST = BlameView("claude-7f3a", "msg_01", "coding-agent.toml:12", 20, NOW - 90, 320.0)
SPLIT = DivergenceView(24_000, "messages[3]", "The time is 14:05", "The time is 14:09", "chatcmpl-0001", "countdown")


def requests(number: int = 24) -> tuple[RequestView, ...]:
    """The newest first: read whole, in part lost to another session, in part other than before, refused."""
    return tuple(map(_request, range(number)))


def active() -> tuple[ActiveRequestView, ...]:
    """One of each phase, the newest first."""
    waiting = ActiveRequestView(
        id="chatcmpl-a003",
        session="pi-0004",
        turn=7,
        client="pi/0.9",
        protocol="chat",
        arrived_at=NOW - 1.4,
        phase="waiting",
        worker=None,
        queued_seconds=1.4,
        first_token_seconds=None,
        total_seconds=1.4,
        prompt_tokens=81_000,
        cached_tokens=None,
        completion_tokens=0,
    )
    begun = {"queued_seconds": 0.02, "client": "claude-code/2.1", "protocol": "messages"}
    prefill = {"id": "msg_a002", "session": "claude-7f3a", "turn": 41, "phase": "prefill", "worker": 0}
    decode = {"id": "msg_a001", "session": "claude-7f3a/explore", "turn": 9, "phase": "decode", "worker": 1}
    read = {"first_token_seconds": 0.4, "prompt_tokens": 21_300, "cached_tokens": 20_400, "completion_tokens": 312}
    return (
        waiting,
        replace(waiting, **begun, **prefill, arrived_at=NOW - 2.1, total_seconds=2.1, prompt_tokens=84_200),
        replace(waiting, **begun, **decode, **read, arrived_at=NOW - 6.5, total_seconds=6.5),
    )


def _request(place: int) -> RequestView:
    kinds = ("read", "lost", "other", "failed")
    kind, prompt = kinds[place % 4] if place else "lost", 31_000 + place
    cached = {"read": 30_720, "lost": 24_000, "other": 24_000, "failed": 0}[kind]
    return RequestView(
        id=f"chatcmpl-{place:04x}",
        session="claude-7f3a" if place % 3 == 0 else f"pi-{place % 5:04}",
        parent=None,
        turn=40 - place,
        client="claude-code/2.1" if place % 3 == 0 else "pi/0.9",
        model="qwen3-8b",
        worker=None if kind == "failed" else place % 2,
        arrived_at=NOW - 8 * place - 5,
        first_token_seconds=None if kind == "failed" else 0.2 if kind == "read" else 1.3,
        total_seconds=4.1,
        queued_seconds=0.02,
        prompt_tokens=prompt,
        cached_tokens=cached,
        completion_tokens=0 if kind == "failed" else 210,
        outcome="failed" if kind == "failed" else "finished",
        finish=None,
        hints={},
        error="the engine ended" if kind == "failed" else None,
        ranges=_ranges(kind, prompt),
    )


def _ranges(kind: str, prompt: int) -> list[RangeView]:
    tail = RangeView(30_720, prompt, "recomputed", "first_request", None, None, None)
    if kind == "failed":
        return []
    if kind == "read":
        parts = [(0, 20_480, "gpu"), (20_480, 30_720, "host")]
        return [*(RangeView(*part, None, None, None, None) for part in parts), tail]  # type: ignore[arg-type]
    read = RangeView(0, 24_000, "gpu", None, None, None, None)
    if kind == "lost":
        return [read, RangeView(24_000, 30_720, "recomputed", "evicted", LOST, None, None), tail]
    return [read, RangeView(24_000, 30_720, "recomputed", "diverged", None, SPLIT, None), tail]


def why(place: int = 2) -> Why:
    """Of a request whose text left the one before."""
    findings = [
        Finding(24_000, 0, "gpu", None, "were read from the GPU of worker 0.", None, None),
        Finding(6_720, 24_000, "recomputed", "diverged", "differ from the last prompt.", "Turn countdown on.", 1.1),
    ]
    return Why(requests()[place], "pi-0002 asked 31,002 tokens.", findings)


def lint() -> Lint:
    """A countdown that a rule is for, and a client whose text is not kept."""
    advice = "Turn it on: stabiliser.dates = true."
    dated = ("claude-code/2.1", "system", "Today:", "dates", False, 8, 9, 53_760, 8.8, "Nov 23", "Nov 24", "msg_01")
    return Lint(3_600.0, 24, [BusterView(*dated, advice), BusterView(*OPAQUE)])


OPAQUE: Any = (None, None, None, None, False, 1, 4, 900, 0.2, None, None, None, "Turn state.record_text on.")


def frame(second: int = 0, **changes: Any) -> Frame:
    """Everything that a screen may want, at `NOW` and so many seconds."""
    at = NOW + second
    whole = Frame(
        at=at,
        said_at=at,
        status=status(second),
        cache=cache(),
        sessions=sessions(),
        routing=routing(),
        evictions=evictions(),
        events=events(),
        policy=policy(),
        versions=versions(),
        hints=hints(),
        requests=requests(),
        active=active(),
        blocks=blocks(),
        prefixes=prefixes(),
        loads={place: Load(0.42 - place / 25, 5 * 2**30, [gpu(place)]) for place in range(2)},
    )
    return dataclasses.replace(whole, **changes)
