"""An engine that needs no model: every request gets the same tokens, one with every step, as from a batch of vLLM's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from vllm.engine.protocol import EngineClient
from vllm.outputs import CompletionOutput, RequestOutput

STEP_SECONDS = 0.02


class ScriptedEngine(EngineClient):  # type: ignore[misc]  # vllm is not typed
    """What vLLM's server and the box's worker ask of an engine to stream an answer. `pieces` are tokens and texts."""

    is_running, is_stopped, errored = True, False, False

    def __init__(self, config: Any, renderer: Any, pieces: list[tuple[int, str]]) -> None:
        self.vllm_config = config
        self.model_config = config.model_config
        self.renderer = renderer
        self.input_processor = None
        self._pieces = pieces
        self._step: asyncio.Future[None] | None = None

    async def generate(self, prompt: Any, params: Any, request_id: str, **_: Any) -> AsyncGenerator[RequestOutput]:
        token_ids = prompt["prompt_token_ids"]
        for position, (token_id, text) in enumerate(self._pieces[: params.max_tokens], start=1):
            await self._next_step()
            is_last = position == params.max_tokens
            yield RequestOutput(
                request_id,
                None,
                token_ids,
                None,
                [CompletionOutput(0, text, [token_id], None, None, finish_reason="length" if is_last else None)],
                is_last,
                num_cached_tokens=0,
            )

    async def _next_step(self) -> None:
        """All that wait go on together, as after a step of a batch."""
        if self._step is None or self._step.done():
            self._step = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_later(STEP_SECONDS, self._step.set_result, None)
        await asyncio.shield(self._step)

    async def is_tracing_enabled(self) -> bool:
        return False

    async def check_health(self) -> None:
        pass


# The rest of what vLLM's engines can do is never asked of this one.
ScriptedEngine.__abstractmethods__ = frozenset()
