"""What the box says about itself: one set of types for the operator API, `status --json` and the terminal view.

`None` means unknown. All values are frozen snapshots.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict

BoxPhase = Literal["startup", "running", "draining", "stopped"]
WorkerPhase = Literal["starting", "running", "restarting", "failed", "stopped"]


class View(BaseModel):
    """A box tells only what is named here. Who asks may be older than the box: see `told`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def told(cls, document: Any) -> Self:
        """As a client reads it, from JSON or what JSON says; what a newer box tells beside it is passed over.

        Raises `ValidationError` where something is missing or not what it is here.
        """
        if isinstance(document, bytes):
            return cls.model_validate_json(document, extra="ignore")
        return cls.model_validate(document, extra="ignore")


class LeadsView(View):
    """Sessions whose subagents run in this engine now, so that their blocks go last: `spared`. `held_back` counts
    subagents' requests that had to let others end first, `in_vain` those of them that were let in without room.
    """

    spared: int
    held_back: int
    in_vain: int


class StepsView(View):
    """What one engine's scheduler does. `waiting`: requests in the engine that are not in its batch.

    `batch_…` is what the step that ended last computed, 0 while there is no work. `steps`, `preemptions` and the
    tokens are counted since the box started, tokens a second over the last ten. Times are those of the last minute's
    steps, `None` without any; `scheduler_…` is the part of a step in which the engine did not wait for its model.
    """

    waiting: int
    batch_requests: int
    batch_prefill_tokens: int
    batch_decode_tokens: int
    steps: int
    prefill_tokens: int
    decode_tokens: int
    preemptions: int
    prefill_tokens_per_second: float
    decode_tokens_per_second: float
    step_p50_ms: float | None
    step_max_ms: float | None
    scheduler_p50_ms: float | None
    scheduler_max_ms: float | None


class WatchdogView(View):
    """An engine that owes an answer for `limit_seconds` is killed and started again. `silent_seconds`: how long it has
    owed one, 0 when it owes none; `answer_ms`: how long its last answer took. `stalled_seconds`: since its last step,
    `None` while it has no work. The first two are `None` before it was asked.
    """

    limit_seconds: float
    silent_seconds: float | None
    answer_ms: float | None
    stalled_seconds: float | None


class WorkerView(View):
    """One vLLM engine. `kv_usage` is the share of its KV blocks that running requests hold, 0 … 1.

    `index_in_step` says whether the router's view of its cache has missed no event. `leads` is `None` while its engine
    has told nothing of them, `steps` and `watchdog` while there is no engine.
    """

    id: int
    phase: WorkerPhase
    pid: int | None
    devices: list[str]
    restarts: int
    running_requests: int
    prefill_blocks_queued: int
    kv_blocks_total: int | None
    kv_blocks_indexed: int
    kv_usage: float | None
    index_in_step: bool
    event_batches: int
    event_gaps: int
    event_resets: int
    last_error: str | None
    leads: LeadsView | None = None
    steps: StepsView | None = None
    watchdog: WatchdogView | None = None


class RateView(View):
    """How much of the prompts was read from cache, and how much of this was on no GPU, by the tier that had it.

    `hit_rate` is 0 … 1, `None` before the first prompt token.
    """

    prompt_tokens: int
    cached_tokens: int
    hit_rate: float | None
    host_tokens: int = 0
    disk_tokens: int = 0
    remote_tokens: int = 0


class RequestsView(View):
    """`resumed` counts requests that went on elsewhere after their worker died."""

    active: int
    finished: int
    failed: int
    aborted: int
    resumed: int


class LatencyView(View):
    """`ttft` is the time to the first token, `itl` that between the tokens of an answer, both of those seen last.
    `loop_lag` is how long others had to wait for the loop that serves everything, in the last minute."""

    ttft_p50_ms: float | None
    ttft_p99_ms: float | None
    loop_lag_p99_ms: float | None = None
    loop_lag_max_ms: float | None = None
    itl_p50_ms: float | None = None
    itl_p99_ms: float | None = None


class ModelView(View):
    id: str
    source: str
    context_tokens: int | None


class EvictionView(View):
    """Blocks that had to go from engines' caches: for whom, by which rule of a policy, and what part of a prompt they
    were. `None`: nobody had claimed them, or nobody knows."""

    cause: Literal["same_session", "other_session", "unnamed"]
    rule: str | None
    region: str | None
    blocks: int


class EvictionsView(View):
    """`awaited` counts blocks that had to go although a waiting request wanted them, `dropped` those never told of."""

    by_kind: list[EvictionView] = []
    awaited: int = 0
    dropped: int = 0


class HostTierView(View):
    """The arena of all workers. `rows` hold a block each: `used` have one, `held` cannot go now, `indexed` are known to
    the router. The rest counts since the box started: stores dropped for want of room, rows and leases taken back from
    dead engines, and how often the index was mended after a death in the middle of a change."""

    bytes: int
    rows: int
    used: int
    held: int
    indexed: int
    stored: int
    evicted: int
    dropped_stores: int
    reaped_rows: int
    reaped_leases: int
    rebuilds: int


class DiskTierView(View):
    """The slab of the keeper, process `pid`. `rows` hold a block each: `used` have one, `held` cannot go now;
    `opened` says what was found there, `is_direct` whether the page cache is passed by. Of this keeper's life:
    blocks `restored` from headers, `written`, `evicted`, `refused` for want of a row, `promoted` to the host tier;
    `bad` rows that did not give what they should hold; blocks that wait in the queue, were dropped because it was
    full, because the day's budget was spent, or because they had left the host tier, or are `barred` by a policy;
    errors of the disk; bytes written today. Of the box's life: requests for which the keeper was `asked`, those of
    them that went on before it answered (`late`), those for which it was not asked because computing is quicker
    (`skipped`), and restarts."""

    pid: int | None
    opened: str
    is_direct: bool
    bytes: int
    row_bytes: int
    rows: int
    used: int
    held: int
    restored: int
    written: int
    evicted: int
    refused: int
    bad: int
    queued: int
    dropped_full: int
    dropped_budget: int
    dropped_gone: int
    barred: int = 0
    write_errors: int
    written_today: int
    promoted: int
    read_errors: int
    asked: int
    late: int
    skipped: int
    restarts: int


class RemoteTierView(View):
    """The store at `url`. `reading` and `writing` say whether it is asked: `closed` when it is, `open` when it failed
    and rests, `half-open` when it is tried again. Of this keeper's life, in blocks: `promoted` to the host tier,
    `missed`, `bad` ones that were not what they should be, `written`, `write_errors`; those that wait to be written,
    were dropped because the queue was full, because the day's budget was spent, or because they had left the host
    tier, or are `barred` by a policy; bytes written today. `failures` counts operations, `busy` those not begun because
    too many were under way, `late` prompts for which the time was over."""

    url: str
    reading: Literal["closed", "open", "half-open"]
    writing: Literal["closed", "open", "half-open"]
    promoted: int
    missed: int
    bad: int
    written: int
    write_errors: int
    failures: int
    busy: int
    late: int
    queued: int
    dropped_full: int
    dropped_budget: int
    dropped_gone: int
    barred: int = 0
    written_today: int


class QueueView(View):
    """Requests that wait for room on a worker. `order` says who of the equally important goes first, `prefill_use` is
    the share of the workers' last minute that went into prompts, 0 … 1. `waits` counts requests by how long they had
    waited when they got a place: at most `wait_bounds_seconds`, and its last entry longer than all. `refused` counts
    those that got none, by reason, `set_aside` how often one made room for a more important one.
    """

    waiting: int = 0
    waiting_tokens: int = 0
    oldest_seconds: float | None = None
    order: Literal["least-missing", "in-turn"] = "least-missing"
    prefill_use: float = 0.0
    wait_bounds_seconds: list[float] = []
    waits: list[int] = []
    waited_seconds: float = 0.0
    refused: dict[str, int] = {}
    set_aside: int = 0


class StateView(View):
    """The file that remembers over restarts. `queued` records wait to be written; the rest counts, by kind, those of
    this box's life: `written`, `dropped` for want of room to wait, `refused` by the file. `trouble` is why nothing can
    be written now."""

    bytes: int | None
    queued: int
    written: dict[str, int]
    dropped: dict[str, int]
    refused: dict[str, int]
    trouble: str | None


class RegretView(View):
    """Decisions of one `reason` whose first token is there: how many, how many of these another worker would have
    answered sooner, and by how much, all together; tokens that were computed although a worker held them."""

    reason: Literal["cost", "tie", "only", "turn", "chance"]
    settled: int
    regretted: int
    regret_seconds: float
    missed_tokens: int = 0


class MissesView(View):
    """Prompt tokens that were computed, by reason, of requests that have ended and been explained. `unexplained` are
    those called evicted of whose eviction nobody has told, `thrashed` those that had to make room less than a minute
    before they were asked for again; `pending` requests are about to be explained, `failed` could
    not be. `forgotten` counts what is too old to explain anything with, by what it is; `unnamed` are evictions of
    blocks that the router had no name for."""

    tokens: dict[str, int] = {}
    unexplained: int = 0
    thrashed: int = 0
    pending: int = 0
    failed: int = 0
    forgotten: dict[str, int] = {}
    unnamed: int = 0


class BoxStatus(View):
    """The whole box at one moment. `started_at` is in seconds since 1970; `activity` says what a start is busy with.

    `stabilised` counts, for each rule of the stabiliser, what it changed, `speculations` what became of prompts that
    were prepared before anybody asked for them; `cache_last_request` is of the prompt that was read last. `host` is
    `None` without a host tier, `state` where nothing is kept. `regrets` has each reason for which a worker was chosen.
    """

    version: str
    phase: BoxPhase
    activity: str | None
    pid: int
    endpoint: str
    started_at: float
    uptime_seconds: float
    model: ModelView
    workers: list[WorkerView]
    requests: RequestsView
    cache_since_start: RateView
    cache_last_minute: RateView
    completion_tokens: int
    stabilised: dict[str, int]
    latency: LatencyView
    evictions: EvictionsView = EvictionsView()
    host: HostTierView | None = None
    disk: DiskTierView | None = None
    remote: RemoteTierView | None = None
    queue: QueueView = QueueView()
    state: StateView | None = None
    speculations: dict[str, int] = {}
    regrets: list[RegretView] = []
    misses: MissesView = MissesView()
    cache_last_request: RateView | None = None
