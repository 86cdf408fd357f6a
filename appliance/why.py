"""In plain words: what of a prompt was read from where, what was not, who is to blame, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from appliance.advice import advice_on_room, advice_on_routing, advice_on_text
from appliance.cache.ledger import Blame, Divergence, Emptied, Reason, Source, TokenRange
from appliance.records import RequestRecord

WHERE: Final = {
    Source.GPU: "from the GPU of worker {worker}",
    Source.HOST: "from main memory, the host tier",
    Source.DISK: "from disk",
    Source.REMOTE: "from a remote store",
}
NAMED_CHARACTERS: Final = 60
_PLAIN: Final[dict[Reason | None, tuple[str, str | None]]] = {
    Reason.FIRST_REQUEST: ("computed: nobody had asked for them before", None),
    Reason.BELOW_BLOCK_BOUNDARY: ("computed: they fill no block of the cache, which keeps whole blocks only", None),
    Reason.NOT_CACHEABLE: ("computed: the engine keeps no prefixes of this model", None),
    Reason.TIER_FAILED: (
        "computed: a slower tier had them when the request was sent, and did not give them",
        "Look for the tier's trouble with `dynamo-box cache verify` and in the log.",
    ),
}

_EMPTIED: Final[dict[str | None, str]] = {
    Emptied.WORKER_ENDED: "lost with the engine of worker {worker}, which ended",
    Emptied.FLUSHED: "the cache of worker {worker} was flushed",
    Emptied.BOX_ENDED: "lost with the engines when the box ended; it was started again",
}


@dataclass(frozen=True, slots=True)
class Said:
    """`tokens` of the prompt, from `start` on, and what is to be said of them."""

    start: int
    tokens: int
    source: Source
    reason: Reason | None
    text: str
    advice: str | None = None


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What is said depends on: the stabiliser's `rules` that are on, whether there is a host tier, and why the router
    chose the worker of a request (`None`: not remembered)."""

    rules: Collection[str]
    has_host_tier: bool
    routed: Callable[[str], str | None]


def asked(record: RequestRecord, now: float) -> str:
    """One sentence."""
    who = "no session" if record.session is None else f"session {record.session}"
    turn = "" if record.turn is None else f", turn {record.turn}"
    what = f"{record.prompt_tokens:,} prompt tokens"
    if not record.ranges:
        return f"{who}{turn}: {what}, {record.outcome} before an engine had read them{_fault(record)}"
    share = record.cached_tokens / record.prompt_tokens if record.prompt_tokens else 0.0
    computed = record.prompt_tokens - record.cached_tokens
    read = f"{record.cached_tokens:,} ({share:.0%}) were read from cache and {computed:,} computed"
    return f"{who}{turn}, {ago(now - record.arrived_at)}: {what}, of which {read}"


def findings(record: RequestRecord, circumstances: Circumstances) -> list[Said]:
    """In the order of the prompt; neighbours of which the same is to be said are one."""
    said: list[Said] = []
    for one in record.ranges:
        text, advice = _said(one, record, circumstances)
        last = said[-1] if said else None
        if last is not None and (last.text, last.reason, last.source) == (text, one.reason, one.source):
            said[-1] = Said(last.start, last.tokens + one.tokens, one.source, one.reason, text, advice)
        else:
            said.append(Said(one.start, one.tokens, one.source, one.reason, text, advice))
    return said


def ago(seconds: float) -> str:
    """How long ago, for people."""
    return f"{_time(seconds)} ago"


def _said(one: TokenRange, record: RequestRecord, circumstances: Circumstances) -> tuple[str, str | None]:
    match one.reason:
        case None:
            return f"read {WHERE[one.source].format(worker=record.worker)}", None
        case Reason.DIVERGED:
            return _diverged(one.divergence), advice_on_text(one.divergence, circumstances.rules)
        case Reason.ROUTED_ELSEWHERE:
            why = circumstances.routed(record.id)
            reason = "" if why is None else f" ({why})"
            text = f"computed: worker {one.worker} had them, and the request went to worker {record.worker}{reason}"
            return text, advice_on_routing(record.id, has_host_tier=circumstances.has_host_tier)
        case reason if reason in _PLAIN:
            return _PLAIN[reason]
        case reason:
            advice = advice_on_room(reason, one.blame, record.session, has_host_tier=circumstances.has_host_tier)
            return _evicted(reason, one.blame, record, one.worker), advice


def _diverged(divergence: Divergence | None) -> str:
    if divergence is None:
        return "computed: what is ahead of them had changed"
    against = "an earlier prompt" if divergence.against is None else f"the prompt of {divergence.against}"
    where = "" if divergence.place is None else f" in {divergence.place}"
    text = f"computed: token {divergence.token:,}{where} is the first that differs from {against}"
    if divergence.before is None or divergence.now is None:
        return text
    before, now = difference(divergence.before, divergence.now)
    return f"{text}: then {before!r}, now {now!r}"


def difference(before: str, now: str) -> tuple[str, str]:
    """Two texts without what they have in common at both ends, but for the rest of the words."""
    start = _shared(before, now)
    start = before.rfind(" ", 0, start) + 1
    most = min(len(before), len(now)) - start
    end = min(_shared(before[start:][::-1], now[start:][::-1]), most)
    while end and not before[len(before) - end].isspace():
        end -= 1
    cut = (text[start : len(text) - end].strip() for text in (before, now))
    one, other = (text if len(text) <= NAMED_CHARACTERS else f"{text[: NAMED_CHARACTERS - 1]}…" for text in cut)
    return one, other


def _shared(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (left, right) in pairs if left != right), min(len(one), len(other)))


def _evicted(reason: Reason, blame: Blame | None, record: RequestRecord, worker: int | None) -> str:
    if blame is None:
        return "computed: they were cached once and are gone, and no engine has told why"
    if blame.rule in _EMPTIED:
        return f"computed: {_EMPTIED[blame.rule].format(worker=worker)} {_when(blame.at - record.arrived_at)}"
    who = _culprit(blame, record)
    lead = {
        Reason.EXPIRED: "computed: the time for which they were kept had run out, and they were evicted",
        Reason.PREEMPTED: "computed: lost while the request was set aside; they were evicted",
    }.get(reason, "computed: they were evicted")
    rule = "nobody had claimed them" if blame.rule is None else f"rule {blame.rule}"
    when = _when(blame.at - record.arrived_at)
    worth = f"not used for {_time(blame.age_seconds)} by then, and worth {blame.priority} ({rule})"
    return f"{lead} for {who}, {when}; {worth}"


def _when(seconds: float) -> str:
    """Before or after the request came, as it was told."""
    return f"{_time(-seconds)} before" if seconds < 0 else "at the time"


def _culprit(blame: Blame, record: RequestRecord) -> str:
    request = "a request" if blame.request is None else blame.request
    if blame.session is None:
        return f"{request} of no session"
    if blame.session == record.session:
        return f"{request} of this session itself"
    return f"{request} of session {blame.session}"


def _fault(record: RequestRecord) -> str:
    return "" if record.error is None else f": {record.error}"


def _time(seconds: float) -> str:
    seconds = max(seconds, 0.0)
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
