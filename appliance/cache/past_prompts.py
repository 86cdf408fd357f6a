"""Prompts of the past with their answers, to find out where a new one has gone another way."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from appliance.cache.errors import IntegrityError

Tokens = NDArray[np.uint32]
Hashes = NDArray[np.uint64]

MOST_TOKENS: Final = 1 << 24
"""64 MiB, and a sixteenth of that for hashes."""
MOST_PROMPTS: Final = 8192
MOST_OF_SESSION: Final = 4
"""A session asks for more than one kind of thing: titles, summaries, its conversation."""
MOST_COMPARED: Final = 32
GRAM_TOKENS: Final = 4
HEAD_TOKENS: Final = 1 << 15
SAME_HEAD_SHARE: Final = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class PastPrompt:
    """One request's `tokens`: its prompt, and the answer behind it. `hashes` are those of its full blocks,
    `head_tokens` is where system text and tools end. `number` tells it from all others, and grows. `worker` had read it
    at `read_at`, in seconds since 1970."""

    number: int
    request: str
    session: str | None
    client: str | None
    tokens: Tokens = field(repr=False)
    hashes: Hashes = field(repr=False)
    prompt_tokens: int
    worker: int = 0
    read_at: float = 0.0
    head_tokens: int = 0
    tool_names: tuple[str, ...] = ()


class Nearest(NamedTuple):
    """The earlier prompt that a new one should have gone on from, and how many leading tokens they share.
    `is_own`: it is of the same conversation."""

    past: PastPrompt
    shared_tokens: int
    is_own: bool


class PastPrompts:
    """The newest: at most `most_tokens` of them, four of each session."""

    def __init__(self, block_tokens: int, most_tokens: int = MOST_TOKENS, most_prompts: int = MOST_PROMPTS) -> None:
        self.forgotten = 0
        self.num_tokens = 0
        self._block_tokens = block_tokens
        self._most_tokens = most_tokens
        self._most_prompts = most_prompts
        self._by_number: OrderedDict[int, PastPrompt] = OrderedDict()
        self._of_session: dict[str, deque[PastPrompt]] = {}

    def __len__(self) -> int:
        return len(self._by_number)

    def add(self, past: PastPrompt) -> None:
        """The oldest go where there is no room; one that is longer than all there is room for is not remembered."""
        if past.tokens.size > self._most_tokens:
            self.forgotten += 1
            return
        self._by_number[past.number] = past
        self.num_tokens += past.tokens.size
        if past.session is not None:
            own = self._of_session.setdefault(past.session, deque())
            own.append(past)
            if len(own) > MOST_OF_SESSION:
                self._forget(own[0])
        while self.num_tokens > self._most_tokens or len(self) > self._most_prompts:
            self.forgotten += 1
            self._forget(next(iter(self._by_number.values())))

    def nearest(self, prompt: PastPrompt, seen: int | None) -> Nearest | None:
        """Of the session's own prompts the one with the most in common, if it opens alike; else of the others: `seen`
        by number, or the newest of the same client. `None`: there is none that has anything to do with it."""
        own = self._longest(prompt, iter(self._of_session.get(prompt.session or "", ())))
        if own is not None and is_alike(prompt, own[0], own[1]):
            return Nearest(*own, is_own=True)
        known = self._by_number.get(seen) if seen is not None else None
        others = iter((known,)) if known is not None else self._newest_of(prompt)
        other = self._longest(prompt, others)
        if other is None or not is_alike(prompt, other[0], other[1]):
            return None
        goes_on = prompt.session is None and other[0].session is None and other[1] >= other[0].prompt_tokens
        return Nearest(*other, is_own=goes_on)

    def check_integrity(self) -> None:
        """Raises `IntegrityError`."""
        counted = sum(past.tokens.size for past in self._by_number.values())
        if counted != self.num_tokens or counted > self._most_tokens or len(self) > self._most_prompts:
            raise IntegrityError(f"{len(self)} prompts of {counted} tokens, {self.num_tokens} counted")
        named = {past.number for past in self._by_number.values() if past.session is not None}
        found = [past.number for own in self._of_session.values() for past in own]
        if sorted(found) != sorted(named) or not all(
            0 < len(own) <= MOST_OF_SESSION for own in self._of_session.values()
        ):
            raise IntegrityError(f"{len(named)} prompts of sessions, {len(found)} to be found")

    def _newest_of(self, prompt: PastPrompt) -> Iterator[PastPrompt]:
        newest = zip(range(MOST_COMPARED), reversed(self._by_number.values()), strict=False)
        return (past for _, past in newest if past.client == prompt.client and past.session != prompt.session)

    def _longest(self, prompt: PastPrompt, candidates: Iterator[PastPrompt]) -> tuple[PastPrompt, int] | None:
        """The newest of several."""
        compared = ((past, shared_tokens(prompt, past, self._block_tokens)) for past in candidates)
        return max(compared, key=lambda one: (one[1], one[0].number), default=None)

    def _forget(self, past: PastPrompt) -> None:
        del self._by_number[past.number]
        self.num_tokens -= past.tokens.size
        if past.session is not None:
            own = self._of_session[past.session]
            own.remove(past)
            if not own:
                del self._of_session[past.session]


def shared_tokens(one: PastPrompt, other: PastPrompt, block_tokens: int) -> int:
    """How many leading tokens of `one`'s prompt `other` has too. Looks at one block beside hashes, which stand for all
    that is ahead of them."""
    low, high = 0, min(one.hashes.size, other.hashes.size)
    while low < high:
        middle = (low + high + 1) // 2
        if one.hashes[middle - 1] == other.hashes[middle - 1]:
            low = middle
        else:
            high = middle - 1
    end = min(one.prompt_tokens, other.tokens.size)
    start = min(low * block_tokens, end)
    end = min(end, start + block_tokens)
    differs = np.flatnonzero(one.tokens[start:end] != other.tokens[start:end])
    if differs.size:
        return int(start + differs[0])
    # Two blocks of the same tokens differ by something else: a salt, a picture.
    is_whole = end - start == block_tokens and low < min(one.hashes.size, other.hashes.size)
    return int(start if is_whole else end)


def is_alike(one: PastPrompt, other: PastPrompt, shared: int) -> bool:
    """Whether two prompts open with the same system text and tools, or with versions of the same."""
    if shared >= min(one.head_tokens, other.head_tokens) and shared > 0:
        return True
    ours, theirs = _grams(one), _grams(other)
    least = min(ours.size, theirs.size)
    return bool(least) and np.intersect1d(ours, theirs, assume_unique=True).size >= SAME_HEAD_SHARE * least


def _grams(prompt: PastPrompt) -> Hashes:
    """Four tokens in a row each, once, from anywhere in the head."""
    head = prompt.tokens[: min(prompt.head_tokens, HEAD_TOKENS)].astype(np.uint64)
    if head.size < GRAM_TOKENS:
        return np.zeros(0, np.uint64)
    grams = np.zeros(head.size - GRAM_TOKENS + 1, np.uint64)
    for place in range(GRAM_TOKENS):
        grams = grams * np.uint64(0x9E3779B185EBCA87) + head[place : place + grams.size]
    return np.unique(grams)
