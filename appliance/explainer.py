"""Why a request's tokens were computed: all that is known of prompts, blocks and evictions put together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from appliance.cache.explain import Facts, Gone, Loss, explain
from appliance.cache.ledger import Blame, Emptied, TokenRange
from appliance.cache.past_prompts import Nearest, PastPrompt, PastPrompts
from appliance.cache.seen_blocks import Seen, SeenBlocks
from appliance.divergence import Comparison, divergence_of
from appliance.lost_blocks import LostBlocks
from appliance.request_entry import Entry, Sent
from appliance.router.hashing import Hashes


class Explainer:
    """What a request meets is looked up in the loop that serves, in microseconds; `explain` is for another thread, one
    at a time, in the order in which requests ended."""

    def __init__(
        self,
        block_tokens: int,
        comparison: Comparison | None = None,
        lost: LostBlocks | None = None,
        *,
        is_cacheable: bool = True,
    ) -> None:
        self.past = PastPrompts(block_tokens)
        self.seen = SeenBlocks()
        self._block_tokens = block_tokens
        self._comparison = comparison or Comparison()
        self.lost = LostBlocks(lambda _worker, _engine_hash: None, lambda _evicted: None) if lost is None else lost
        self._is_cacheable = is_cacheable

    def met(self, hashes: Hashes) -> Seen:
        """What somebody has asked for of the blocks of a prompt that is about to be sent."""
        return self.seen.depth(hashes)

    def computed(self, hashes: Hashes, number: int) -> None:
        """An engine has computed the blocks for this request, or read them."""
        self.seen.add(hashes, number)

    def explain(self, entry: Entry) -> tuple[TokenRange, ...]:
        """Covers the prompt; empty where no engine has read it. The prompt is one of the past from now on."""
        sent = entry.sent
        if sent is None or entry.read_at is None:
            return ()
        prompt = _prompt_of(entry, sent)
        facts = self._facts(entry, sent, prompt)
        self.past.add(prompt)
        return explain(facts)

    def _facts(self, entry: Entry, sent: Sent, prompt: PastPrompt) -> Facts:
        decision = sent.decision
        here = decision.chosen.prospect.held_blocks
        nearest = self.past.nearest(prompt, sent.seen.number)
        divergence = differs_until = None
        if nearest is not None:
            divergence = divergence_of(prompt, nearest, entry.layout, self._comparison)
            # Of another conversation only system text and tools should have been the same.
            differs_until = nearest.past.tokens.size if nearest.is_own else nearest.past.head_tokens
        return Facts(
            prompt_tokens=entry.prompt_tokens,
            block_tokens=self._block_tokens,
            read=entry.read,
            worker=decision.worker,
            session=entry.identity.session_id,
            # What a session asked before a restart is known by its length alone.
            known_blocks=max(sent.seen.blocks, entry.remembered_tokens // self._block_tokens),
            here_gpu_blocks=here[0],
            here_blocks=here[-1],
            elsewhere={
                prospect.worker: prospect.held_blocks[-1]
                for prospect, _ in decision.candidates
                if prospect.worker != decision.worker and prospect.held_blocks[-1]
            }
            | dict(decision.passed_over),
            lost=self._losses(decision.hashes),
            shared_tokens=0 if nearest is None else nearest.shared_tokens,
            differs_until=min(differs_until or 0, entry.prompt_tokens),
            gone=self._gone(entry, nearest),
            divergence=divergence,
            sent_at=sent.at,
            set_aside_at=entry.arrived_at if entry.was_set_aside else None,
            is_cacheable=self._is_cacheable,
        )

    def _gone(self, entry: Entry, nearest: Nearest | None) -> Gone | None:
        if nearest is None:
            before = entry.remembered_at
            return None if before is None else Gone(Blame(None, None, Emptied.BOX_ENDED, 0, before, 0.0), None)
        worker = nearest.past.worker
        blame = self.lost.emptied_since(worker, nearest.past.read_at)
        return None if blame is None else Gone(blame, worker)

    def _losses(self, hashes: Hashes) -> Callable[[int], Loss | None]:
        lost, names = self.lost, hashes.tolist()
        return lambda block: lost.get(names[block])


def _prompt_of(entry: Entry, sent: Sent) -> PastPrompt:
    decision = sent.decision
    answer = np.asarray(entry.answer, np.uint32)
    return PastPrompt(
        number=entry.number,
        request=entry.name,
        session=entry.identity.session_id,
        client=entry.identity.client,
        tokens=np.concatenate([decision.tokens, answer]),
        hashes=decision.hashes if entry.hashes is None else entry.hashes,
        prompt_tokens=entry.prompt_tokens,
        worker=decision.worker,
        read_at=entry.read_at or 0.0,
        head_tokens=entry.layout.head_tokens,
        tool_names=entry.tool_names,
    )
