"""How much of each prompt an engine read from below its GPU, of which its outputs tell only the sum."""

from __future__ import annotations

from typing import Any

from vllm.v1.engine.output_processor import OutputProcessor


class TierReads:
    """Tokens by request, from the engine's first word on it until `take`. Of requests that nobody takes nothing stays
    once `take` was called for them, however they ended."""

    def __init__(self) -> None:
        self._tokens: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._tokens)

    def listen(self, processor: OutputProcessor) -> None:
        """To all that it is told by its engine, for good. It costs a call for each token."""
        update = processor._update_stats_from_output  # noqa: SLF001  # the one step that sees each output first

        def note(state: Any, output: Any, *rest: Any) -> None:
            prefill = output.prefill_stats
            if prefill is not None and prefill.num_external_cached_tokens:
                self._tokens[state.external_req_id] = prefill.num_external_cached_tokens
            update(state, output, *rest)

        processor._update_stats_from_output = note  # noqa: SLF001  # as above

    def take(self, request_id: str) -> int:
        """Prompt tokens that the request read from there; 0 when asked again."""
        return self._tokens.pop(request_id, 0)
