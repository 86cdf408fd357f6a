"""What clients change from turn to turn so that their prompts cannot be read from cache, as operators see it."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

DEFAULT_SECONDS: Final = 3600
MAX_SECONDS: Final = 90 * 86_400


class BusterView(Struct, frozen=True):
    """In `place` of `requests` of the `of` that a client asked something had changed, behind the words `label`; they
    computed `tokens` anew, which takes `seconds` by the workers' pace. `rule` of the stabiliser is for it, and `is_on`
    or not; `advice` says what to do. The texts are those of request `last`. `null`: unknown, none, or no text is kept.
    """

    client: str | None
    place: str | None
    label: str | None
    rule: str | None
    is_on: bool
    requests: int
    of: int
    tokens: int
    seconds: float
    before: str | None
    now: str | None
    last: str | None
    advice: str


class Lint(Struct, frozen=True):
    """Of the requests that came in the last `seconds`: how many are remembered, and what cost most first."""

    seconds: float
    requests: int
    busters: list[BusterView]
