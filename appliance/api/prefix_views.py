"""Prompts of sessions, what they share and where they go apart, as the operator API shows them. `null` means unknown,
or of text that none is shown (`state.record_text`)."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

DEFAULT_PROMPTS: Final = 64
MAX_PROMPTS: Final = 512
MAX_TEXT: Final = 400
MAX_SEARCH: Final = 200
MAX_FORKED: Final = 8


class PrefixEnd(Struct, frozen=True):
    """A session whose prompt has only so many `tokens` behind a node, less than a block; `text` is those
    behind the node's `ending`."""

    session: str
    tokens: int
    text: str | None = None


class PrefixView(Struct, frozen=True):
    """Tokens `start_token` … `end_token` (exclusive) that the last prompts of so many `sessions` have in common; behind
    it they go apart, or end. `id` counts from 0, `parent` comes before it. At most 16 are named. `region` is what its
    last token belongs to; `resident_tokens` of it are found in each worker's cache now.

    `text` is how it begins, from the first token on that its siblings do not have; `ending` is what stands before the
    first token that its children do not have in common, or before the end of its prompt. Only where they were asked
    for. `ends` are those of several sessions, at most 16, that go on in none of its children."""

    id: int
    parent: int | None
    start_token: int
    end_token: int
    sessions: int
    names: list[str]
    region: str | None
    resident_tokens: dict[str, int]
    text: str | None = None
    ending: str | None = None
    ends: list[PrefixEnd] = []


class PrefixMatch(Struct, frozen=True):
    """The first of `count` places in a node, or in what prompts have behind their last whole block (`node` is then the
    one that they go on from). The words begin at `token`, in the snippet at character `start`, and are `length` long.
    """

    node: int | None
    sessions: int
    names: list[str]
    token: int
    place: str | None
    snippet: str
    start: int
    length: int
    count: int


class PrefixSearch(Struct, frozen=True):
    """Most shared first. `read_tokens` of the tree's were read; `cut` says why not all, or why not all are listed."""

    words: str
    matches: list[PrefixMatch]
    read_tokens: int
    cut: Literal["time", "matches"] | None


class Prefixes(Struct, frozen=True):
    """Each node before its children. `sessions` were looked at, those that asked last, of `known`; their prompts have
    `prompt_tokens` in whole blocks, of which `distinct_tokens` differ. `search` only where something was searched."""

    nodes: list[PrefixView]
    block_tokens: int
    sessions: int
    known: int
    prompt_tokens: int
    distinct_tokens: int
    search: PrefixSearch | None = None


class ForkSide(Struct, frozen=True):
    """How one session's prompt goes on: `text` is the tokens from the fork on, "" where it ends there. `place` is what
    its token belongs to: `system`, `tools`, `messages[2]`."""

    session: str
    prompt_tokens: int
    place: str | None
    text: str | None


class Fork(Struct, frozen=True):
    """Where the last prompts of sessions go apart: `token` is the first that they do not all have, so many they share;
    `shared_block_tokens` of these in whole blocks, which a cache can serve to each. `before` is the text that leads to
    it."""

    token: int
    shared_block_tokens: int
    before: str | None
    sides: list[ForkSide]
