"""The last prompt of each session: its tokens, its blocks, and what they are part of."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from appliance.cache.region import Region
from appliance.cache.region_map import RegionMap
from appliance.conversation import Conversation
from appliance.generation import FinishReason
from appliance.router.hashing import Hashes, Tokens, flat_tokens

if TYPE_CHECKING:
    from appliance.engine.prompt import Prompt

MOST_SESSIONS: Final = 2048
MOST_TOKENS: Final = 1 << 24
"""Of all sessions together; four bytes each, 64 MiB."""


class EndedRequest(NamedTuple):
    """A request that an engine has read, and that has ended in whatever way. Times are the pipeline's clock's. `hashes`
    name the prompt's full blocks as the router does."""

    conversation: Conversation
    prompt: Prompt
    hashes: Hashes
    worker: int
    arrived: float
    ended: float
    cached_tokens: int
    completion_tokens: int
    finish: FinishReason | None


class LastPrompt(NamedTuple):
    model: str
    cache_salt: str | None
    tokens: Tokens
    hashes: Hashes
    regions: RegionMap | None
    worker: int
    ended: float

    @property
    def is_text(self) -> bool:
        """Whether its tokens are all that it is."""
        return self.regions is None or all(span.region is not Region.IMAGE for span in self.regions.spans)

    def region_at(self, token: int) -> Region | None:
        """What this token belongs to; `None` behind the prompt, and where regions are not known."""
        regions = self.regions
        return regions.at(token).region if regions is not None and 0 <= token < regions.tokens else None


class LastPrompts:
    """Of the sessions that asked last: at most `most_sessions`, and no more than `most_tokens` in all."""

    def __init__(self, most_sessions: int = MOST_SESSIONS, most_tokens: int = MOST_TOKENS) -> None:
        self._most_sessions = most_sessions
        self._most_tokens = most_tokens
        self._prompts: OrderedDict[str, LastPrompt] = OrderedDict()
        self._num_tokens = 0
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._prompts)

    def __iter__(self) -> Iterator[tuple[str, LastPrompt]]:
        """The session that asked last comes first."""
        return iter([*reversed(self._prompts.items())])

    def get(self, session: str) -> LastPrompt | None:
        return self._prompts.get(session)

    def ended(self, request: EndedRequest) -> None:
        """Takes the place of the session's prompt before. A no-op for a request of no session."""
        session = request.conversation.identity.session_id
        if session is None:
            return
        tokens = flat_tokens(request.prompt.token_ids)
        self._drop(session)
        self._prompts[session] = LastPrompt(
            request.conversation.model,
            request.conversation.cache_salt,
            tokens,
            request.hashes,
            request.prompt.regions,
            request.worker,
            request.ended,
        )
        self._num_tokens += tokens.size
        while len(self._prompts) > self._most_sessions or (
            self._num_tokens > self._most_tokens and len(self._prompts) > 1
        ):
            self._drop(next(iter(self._prompts)))
            self.forgotten += 1

    def _drop(self, session: str) -> None:
        before = self._prompts.pop(session, None)
        if before is not None:
            self._num_tokens -= before.tokens.size
