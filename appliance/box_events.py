"""What happens in a box, as those who watch it are told: one type for each kind. `None` means unknown, or nobody."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from appliance.api.views import BoxPhase, WorkerPhase


class Happening(Struct, frozen=True, tag_field="type"):
    """Base of all."""


class PhaseChanged(Happening, frozen=True, tag="phase"):
    """The whole box."""

    phase: BoxPhase


class WorkerChanged(Happening, frozen=True, tag="worker"):
    """`restarts` were begun since the box started, `error` is why it died last."""

    worker: int
    phase: WorkerPhase
    restarts: int
    error: str | None


class RequestStarted(Happening, frozen=True, tag="request_started"):
    """An engine has read its prompt, and found so much of it."""

    request: str
    session: str | None
    worker: int
    prompt_tokens: int
    cached_tokens: int


class RequestFinished(Happening, frozen=True, tag="request_finished"):
    """It has ended, in whatever way. `cached_tokens` is `None` where no engine has read its prompt."""

    request: str
    session: str | None
    worker: int | None
    outcome: Literal["finished", "failed", "aborted"]
    prompt_tokens: int
    cached_tokens: int | None
    completion_tokens: int
    first_token_seconds: float | None
    total_seconds: float


class RequestCancelled(Happening, frozen=True, tag="request_cancelled"):
    """An operator ends it; that it has ended is told as of any other."""

    request: str
    session: str | None
    worker: int | None
    by: str
    phase: Literal["waiting", "prefill", "decode"]
    completion_tokens: int


class BlocksEvicted(Happening, frozen=True, tag="evictions"):
    """What one worker's engine told at once. `first_number` is where it begins in `/box/v1/evictions`; `owners` have
    the most blocks each, the one who lost most first."""

    worker: int
    blocks: int
    awaited: int
    first_number: int
    owners: dict[str, int]


class PolicyChanged(Happening, frozen=True, tag="policy"):
    """`version` counts the policies of this box from 1; `author` is who made it the active one."""

    name: str
    version: int | None
    author: str | None


class HintChanged(Happening, frozen=True, tag="hint"):
    """An operator's word on a session: `given`, `expired` or `withdrawn`; `effect` says what came of it. `hint` is
    `None` where it is done at once and not kept."""

    hint: str | None
    verb: str
    session: str
    change: Literal["given", "expired", "withdrawn"]
    effect: str | None


class Dropped(Happening, frozen=True, tag="drops"):
    """So many of something found no room and are lost."""

    what: str
    count: int


class Grouped(Happening, frozen=True, tag="grouped"):
    """So many more events of a type within `seconds`, too many to tell one by one."""

    of: str
    count: int
    seconds: float


class Missed(Happening, frozen=True, tag="missed"):
    """The reader was too slow, or away for too long: so many events are not remembered any more. `None`: the box was
    started anew meanwhile, and nobody knows how many there were."""

    count: int | None


KINDS: Final = (
    PhaseChanged,
    WorkerChanged,
    RequestStarted,
    RequestFinished,
    RequestCancelled,
    BlocksEvicted,
    PolicyChanged,
    HintChanged,
    Dropped,
    Grouped,
    Missed,
)
EVENT_TYPES: Final[tuple[str, ...]] = tuple(str(kind.__struct_config__.tag) for kind in KINDS)
Event = (
    PhaseChanged
    | WorkerChanged
    | RequestStarted
    | RequestFinished
    | RequestCancelled
    | BlocksEvicted
    | PolicyChanged
    | HintChanged
    | Dropped
    | Grouped
    | Missed
)


class BoxEvent(Struct, frozen=True):
    """`number` counts from 1 since the box started, `at` is in seconds since 1970."""

    number: int
    at: float
    event: Event


def type_of(event: Happening) -> str:
    return str(event.__struct_config__.tag)
