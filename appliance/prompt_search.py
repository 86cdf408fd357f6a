"""Words in the decoded text of prompts. What several prompts begin with is read once."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from appliance.api.block_views import MOST_NAMES
from appliance.api.prefix_views import PrefixMatch, PrefixSearch
from appliance.cache.prefix_tree import PrefixNode
from appliance.prompt_fork import place_of
from appliance.router.hashing import Tokens

if TYPE_CHECKING:
    from appliance.last_prompts import LastPrompt
    from appliance.prompt_text import PromptText

MOST_SECONDS: Final = 1.0
MOST_MATCHES: Final = 32
SNIPPET_CHARACTERS: Final = 60
"""On both sides of what was found."""
PIECE_TOKENS: Final = 1024
"""Decoded at once: whoever holds the interpreter's lock meanwhile keeps the serving loop waiting."""

Prompts = Sequence[tuple[str, "LastPrompt"]]


class Run(NamedTuple):
    """Tokens `start` … `end` of the prompts `members`, which all have them; `node` holds them or comes before them."""

    node: int | None
    members: tuple[int, ...]
    start: int
    end: int


class Hit(NamedTuple):
    """Characters `start` … `end` of `text`, which begins at a token of the prompt; the first of them is in `token`."""

    text: str
    start: int
    end: int
    token: int


class PromptSearch:
    """One search. Case does not count, and any white space is any other."""

    def __init__(self, words: str, texts: PromptText, clock: Callable[[], float] = time.monotonic) -> None:
        self._words = words
        self._pattern = re.compile(r"\s+".join(map(re.escape, words.split())), re.IGNORECASE)
        self._texts = texts
        self._clock = clock
        self._margin = len(words) + SNIPPET_CHARACTERS

    def found(self, prompts: Prompts, nodes: Sequence[PrefixNode], block_tokens: int) -> PrefixSearch:
        """In at most a second and a piece, in a thread."""
        deadline = self._clock() + MOST_SECONDS
        matches: list[PrefixMatch] = []
        read = 0
        cut: Literal["time", "matches"] | None = None
        for run in _runs(prompts, nodes, block_tokens):
            if len(matches) == MOST_MATCHES:
                cut = "matches"
                break
            first: Hit | None = None
            count = 0
            for start in range(run.start, run.end, PIECE_TOKENS):
                if self._clock() >= deadline:
                    cut = "time"
                    break
                end = min(start + PIECE_TOKENS, run.end)
                for hit in self._hits(prompts[run.members[0]][1], run, start, end):
                    first = first or hit
                    count += 1
                read += end - start
                time.sleep(0)  # lets the serving loop have the interpreter
            if first is not None:
                matches.append(_match(prompts, run, first, count))
            if cut is not None:
                break
        return PrefixSearch(self._words, matches, read, cut)

    def _hits(self, prompt: LastPrompt, run: Run, start: int, end: int) -> Iterator[Hit]:
        """Those that end in the tokens `start` … `end`: what begins before them was not whole in the piece before."""
        begin = max(start - self._margin, 0)
        tokens = prompt.tokens[begin : min(end + self._margin, run.end)]
        text = self._texts.of(tokens)
        found = [*self._pattern.finditer(text)]
        if not found:
            return
        low, high = (len(self._texts.of(tokens[: place - begin])) for place in (start, end))
        for one in found:
            if low < one.end() <= high:
                yield Hit(text, one.start(), one.end(), begin + self._token_at(tokens, one.start()))

    def _token_at(self, tokens: Tokens, character: int) -> int:
        """The one whose text has this character, by bisection."""
        low, high = 1, tokens.size
        while low < high:
            middle = (low + high) // 2
            if len(self._texts.of(tokens[:middle])) > character:
                high = middle
            else:
                low = middle + 1
        return low - 1


def _runs(prompts: Prompts, nodes: Sequence[PrefixNode], block_tokens: int) -> Iterator[Run]:
    """Each node, then what each prompt has behind its last whole block."""
    last: dict[int, int] = {}
    for number, node in enumerate(nodes):
        yield Run(number, node.prompts, node.start * block_tokens, node.end * block_tokens)
        last.update(dict.fromkeys(node.prompts, number))
    for member, (_, prompt) in enumerate(prompts):
        whole = len(prompt.hashes) * block_tokens
        if whole < prompt.tokens.size:
            yield Run(last.get(member), (member,), whole, int(prompt.tokens.size))


def _match(prompts: Prompts, run: Run, hit: Hit, count: int) -> PrefixMatch:
    begin = max(hit.start - SNIPPET_CHARACTERS, 0)
    return PrefixMatch(
        run.node,
        len(run.members),
        [prompts[member][0] for member in run.members[:MOST_NAMES]],
        hit.token,
        place_of(prompts[run.members[0]][1], hit.token),
        hit.text[begin : hit.end + SNIPPET_CHARACTERS],
        hit.start - begin,
        hit.end - hit.start,
        count,
    )
