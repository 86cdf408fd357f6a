"""Restarting a worker, as the operator API shows it. `null` means unknown."""

from __future__ import annotations

from msgspec import Struct


class RestartImpact(Struct, frozen=True):
    """What it comes to, estimated from what is there now. `requests` run on it. Its cache has `tokens` of `sessions`;
    `prefill_seconds` is what computing them again takes, if they come back and no other tier or worker has them.
    `text` says it in words."""

    requests: int
    tokens: int
    sessions: int | None
    prefill_seconds: float | None
    text: str


class RestartAnswer(Struct, frozen=True):
    """`effect` says what is being done, `null` for a dry run."""

    worker: int
    dry_run: bool
    impact: RestartImpact
    effect: str | None
