"""What another policy would have done with the live record, as the operator API takes and shows it."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

DEFAULT_LAST_SECONDS: Final = 1800.0
MAX_LAST_SECONDS: Final = 86400.0

WhatIfState = Literal["waiting", "running", "done", "failed", "cancelled"]
ContenderRole = Literal["proposed", "active", "lru", "optimum"]


class WhatIfRequest(Struct, frozen=True):
    """Replay the requests of the last so many seconds (half an hour if not said) with this policy: `policy` and `text`
    as for `/box/v1/policy/diff`."""

    policy: str | None = None
    text: str | None = None
    name: str | None = None
    last: float | None = None
    by: str | None = None


class WhatIfSession(Struct, frozen=True):
    session: str
    requests: int
    prompt_tokens: int
    hit_tokens: int
    prefill_seconds: float


class WhatIfOutcome(Struct, frozen=True):
    """What one contender finds in the GPUs' caches. `evicted_blocks` are those of the whole record, `null` for the
    optimum; `sessions` those that compute longest. `hit_rates` are those of equal spans of the time that is measured,
    `null` where no request arrived."""

    role: ContenderRole
    name: str
    requests: int
    prompt_tokens: int
    hit_tokens: int
    hit_rate: float | None
    prefill_seconds: float
    evicted_blocks: int | None
    evictions_by_region: dict[str, int] | None
    sessions: list[WhatIfSession]
    hit_rates: list[float | None] = []


class WhatIfMeasured(Struct, frozen=True):
    """So many requests count, over so many seconds; those before only fill the caches. `hit_rate` is what the box
    itself read from all its tiers."""

    requests: int
    warm_up_requests: int
    seconds: float
    prompt_tokens: int
    cached_tokens: int
    hit_rate: float | None


class WhatIfJob(Struct, frozen=True):
    """`progress` is 0 … 1, `seconds` how long it has run, `null` while it waits. What is measured and the outcomes are
    `null` until it is done; `error` says why it failed."""

    id: str
    state: WhatIfState
    policy: str
    active: str
    by: str
    asked_at: float
    last: float
    progress: float
    seconds: float | None
    measured: WhatIfMeasured | None
    outcomes: list[WhatIfOutcome] | None
    error: str | None


class WhatIfJobs(Struct, frozen=True):
    """The newest comes first."""

    jobs: list[WhatIfJob]
