"""How the last prompts of sessions hang together: the tree, its text, words in it, and where two go apart."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from appliance.api.block_views import MOST_NAMES
from appliance.api.prefix_views import Fork, PrefixEnd, Prefixes, PrefixView
from appliance.cache.prefix_tree import PrefixNode, prefix_tree
from appliance.errors import InvalidRequest, nearest
from appliance.prompt_fork import fork_of, shared_by_all
from appliance.prompt_search import PromptSearch
from appliance.router.index import Tier

if TYPE_CHECKING:
    from appliance.fleet import Fleet
    from appliance.last_prompts import LastPrompt
    from appliance.pipeline import Pipeline
    from appliance.prompt_text import PromptText


class Tree(NamedTuple):
    prompts: list[tuple[str, LastPrompt]]
    nodes: list[PrefixNode]
    known: int
    ends: dict[int | None, list[int]]
    """By node: which prompts go on in none of its children."""


class PrefixDesk:
    """`api.box.PrefixDesk` over a pipeline and its workers. Without `texts` no text is shown."""

    def __init__(self, pipeline: Pipeline, fleet: Fleet, texts: PromptText | None = None) -> None:
        self._pipeline = pipeline
        self._fleet = fleet
        self._texts = texts
        self._block_tokens = pipeline.router.block_tokens

    async def prefixes(self, limit: int, text: int = 0) -> Prefixes:
        """Of the sessions that asked last, at most so many; of each node so many characters of text."""
        # Hundreds of look-ups in the index, which any thread may ask.
        return await asyncio.to_thread(lambda known: self._view(_tree(known, limit), text), self._known())

    async def search(self, limit: int, text: int, words: str) -> Prefixes:
        """The tree with what was found in it. Raises `InvalidRequest` where no text is shown."""
        if self._texts is None:
            raise InvalidRequest('state.record_text is "none": no text of prompts is shown', param="search")
        async with self._texts.searching:
            return await asyncio.to_thread(self._searched, self._known(), limit, text, PromptSearch(words, self._texts))

    async def fork(self, sessions: Sequence[str]) -> Fork:
        """Raises `InvalidRequest` for a session whose last prompt is not known."""
        prompts = [(session, self._prompt(session)) for session in sessions]
        return await asyncio.to_thread(fork_of, prompts, self._block_tokens, self._texts)

    def _known(self) -> list[tuple[str, LastPrompt]]:
        return list(self._pipeline.last_prompts)

    def _prompt(self, session: str) -> LastPrompt:
        prompt = self._pipeline.last_prompts.get(session)
        if prompt is None:
            meant = nearest(session, [name for name, _ in self._pipeline.last_prompts])
            hint = f"; did you mean {meant!r}?" if meant else ""
            raise InvalidRequest(f"no prompt of session {session!r} is known{hint}", param="session")
        return prompt

    def _searched(self, known: list[tuple[str, LastPrompt]], limit: int, text: int, search: PromptSearch) -> Prefixes:
        tree = _tree(known, limit)
        found = search.found(tree.prompts, tree.nodes, self._block_tokens)
        return msgspec.structs.replace(self._view(tree, text), search=found)

    def _view(self, tree: Tree, text: int) -> Prefixes:
        prompts, nodes = tree.prompts, tree.nodes
        depths = [self._pipeline.router.depths(prompt.hashes)[:, Tier.GPU] for _, prompt in prompts]
        views = [self._node_view(number, tree, depths) for number in range(len(nodes))]
        if text and self._texts is not None:
            views = self._with_text(tree, views, self._texts, text)
        return Prefixes(
            views,
            self._block_tokens,
            len(prompts),
            tree.known,
            sum(len(prompt.hashes) for _, prompt in prompts) * self._block_tokens,
            sum(node.end - node.start for node in nodes) * self._block_tokens,
        )

    def _node_view(self, number: int, tree: Tree, depths: list[NDArray[np.int64]]) -> PrefixView:
        node, prompts, tokens = tree.nodes[number], tree.prompts, self._block_tokens
        first = node.prompts[0]
        _, prompt = prompts[first]
        reached = {
            worker: min(max(int(depths[first][worker]) - node.start, 0), node.end - node.start)
            for worker in sorted(self._fleet.members)
        }
        region = prompt.region_at(node.end * tokens - 1)
        return PrefixView(
            number,
            node.parent,
            node.start * tokens,
            node.end * tokens,
            len(node.prompts),
            [prompts[place][0] for place in node.prompts[:MOST_NAMES]],
            None if region is None else region.value,
            {str(worker): blocks * tokens for worker, blocks in reached.items()},
            ends=self._ends(tree, number),
        )

    def _ends(self, tree: Tree, number: int) -> list[PrefixEnd]:
        node = tree.nodes[number]
        if len(node.prompts) == 1:
            return []
        ends = (tree.prompts[place] for place in tree.ends[number][:MOST_NAMES])
        return [PrefixEnd(name, int(prompt.tokens.size) - node.end * self._block_tokens) for name, prompt in ends]

    def _with_text(self, tree: Tree, views: list[PrefixView], texts: PromptText, text: int) -> list[PrefixView]:
        forks = self._forks(tree)
        shown = []
        for view, node in zip(views, tree.nodes, strict=True):
            begin, end = forks[view.parent], forks[view.id]
            tokens = tree.prompts[node.prompts[0]][1].tokens[begin:end]
            named = tree.ends[view.id][: len(view.ends)]
            rests = [texts.first(tree.prompts[place][1].tokens[end:], text) for place in named]
            ends = [PrefixEnd(one.session, one.tokens, rest) for one, rest in zip(view.ends, rests, strict=True)]
            words = {"text": texts.first(tokens, text), "ending": texts.last(tokens, text), "ends": ends}
            shown.append(msgspec.structs.replace(view, **words))
        return shown

    def _forks(self, tree: Tree) -> dict[int | None, int]:
        """The first token behind each node that those who have it do not all have; under `None` that of all prompts.
        Where they differ in nothing but a salt it is the first of the block."""
        ways: dict[int | None, list[int]] = {key: [*ends] for key, ends in tree.ends.items()}
        for node in tree.nodes:
            ways[node.parent].append(node.prompts[0])
        forks: dict[int | None, int] = {}
        for key, members in ways.items():
            behind = 0 if key is None else tree.nodes[key].end * self._block_tokens
            sides = [tree.prompts[place][1].tokens for place in members]
            forks[key] = self._fork(sides, behind, is_root=key is None)
        return forks

    def _fork(self, sides: Sequence[NDArray[np.uint32]], behind: int, *, is_root: bool) -> int:
        if len(sides) <= 1:
            return 0 if is_root or not sides else int(sides[0].size)
        shared = shared_by_all([side[behind : behind + self._block_tokens] for side in sides])
        return behind + (shared if shared < self._block_tokens else 0)


def _tree(known: list[tuple[str, LastPrompt]], limit: int) -> Tree:
    prompts = known[:limit]
    nodes = prefix_tree([prompt.hashes for _, prompt in prompts])
    ends: dict[int | None, dict[int, None]] = {None: dict.fromkeys(range(len(prompts)))}
    for number, node in enumerate(nodes):
        ends[number] = dict.fromkeys(node.prompts)
        for place in node.prompts:
            ends[node.parent].pop(place)
    return Tree(prompts, nodes, len(known), {key: [*places] for key, places in ends.items()})
