"""Sessions as a tree of leads and subagents: what of each is where, and what its next turn would have to compute."""

from __future__ import annotations

from statistics import median
from typing import Final

from msgspec import Struct

from appliance.api.cache_views import SessionCache
from appliance.tui import figures
from appliance.tui.frame import Frame
from appliance.tui.models.requests import turn_rates

TURNS: Final = 6
"""So many are shown of each session."""


class SessionLine(Struct, frozen=True):
    """Tokens of the session's last prompt that it was the last to use, by tier; `lacking` are in none, and computing
    them takes `prefill_seconds`. `depth` counts its leads, `turns` all of its requests; `rates` are the shares that the
    last of them read from cache. `client` is the user agent. `hints` are those that hold now, with the time that they
    have left; `claim_seconds` is until the next claim of the policy ends. `None`: unknown, or no claim that ends."""

    session: str
    depth: int
    state: str
    prompt_tokens: int
    gpu_tokens: int
    workers: list[int]
    host_tokens: int
    lacking_tokens: int
    hints: list[str]
    rates: list[float | None]
    turns: int | None
    client: str | None
    claim_seconds: float | None
    prefill_seconds: float | None

    @property
    def last_share(self) -> float | None:
        return self.rates[-1] if self.rates else None


class Sessions(Struct, frozen=True):
    """`total` are known, the newest are listed. `warm`: so many of median size fit in all GPUs and the host tier
    together."""

    total: int
    sessions: list[SessionLine]
    warm: int | None


def session_tree(frame: Frame) -> Sessions | None:
    """Each lead before its subagents, otherwise in the order of their last use. `None` where sessions are not known."""
    if frame.sessions is None:
        return None
    listed = frame.sessions.sessions
    names = {one.session for one in listed}
    children: dict[str | None, list[SessionCache]] = {}
    for one in listed:
        children.setdefault(one.parent if one.parent in names else None, []).append(one)
    hints, rates = _hints(frame), turn_rates(frame)
    lines: list[SessionLine] = []
    # Who names himself or his own subagent as his lead is reached from nobody, and stands at the top.
    for top in [*children.get(None, []), *listed]:
        pending = [(top, 0)] if top.session in names else []
        while pending:
            one, depth = pending.pop()
            if one.session in names:
                names.discard(one.session)
                lines.append(_line(one, depth, hints.get(one.session, []), rates.get(one.session, [])[-TURNS:]))
                pending += [(child, depth + 1) for child in reversed(children.get(one.session, []))]
    return Sessions(frame.sessions.total, lines, _warm(frame, lines))


def _hints(frame: Frame) -> dict[str, list[str]]:
    told: dict[str, list[str]] = {}
    for hint in frame.hints or ():
        told.setdefault(hint.session, []).append(f"{hint.verb} {figures.seconds(hint.remaining_seconds)}")
    return told


def _line(one: SessionCache, depth: int, hints: list[str], rates: list[float | None]) -> SessionLine:
    gpu = sum(one.gpu_tokens.values())
    return SessionLine(
        one.session,
        depth,
        one.state,
        one.prompt_tokens,
        gpu,
        sorted(int(worker) for worker, tokens in one.gpu_tokens.items() if tokens),
        one.host_tokens,
        one.lacking_tokens,
        hints,
        rates,
        one.turns,
        one.client,
        one.claim_seconds,
        one.prefill_seconds,
    )


def _warm(frame: Frame, lines: list[SessionLine]) -> int | None:
    sizes = [line.prompt_tokens for line in lines if line.prompt_tokens]
    if frame.cache is None or not sizes:
        return None
    blocks = [tier.blocks for tier in frame.cache.tiers if tier.tier in ("gpu", "host")]
    if not blocks or None in blocks:
        return None
    return int(sum(filter(None, blocks)) * frame.cache.block_tokens / median(sizes))
