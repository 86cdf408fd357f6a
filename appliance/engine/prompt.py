"""A request as an engine takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.inputs import EngineInput, tokens_input
from vllm.sampling_params import SamplingParams

from appliance.cache.region_map import RegionMap
from appliance.generation import MarkedPrefix


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered request. `extra_keys` are what the engine mixes into the hash of the first block.

    `regions` says what each token is part of, `marked` what the client asked to keep; `None` and empty where unknown.
    `reasoning_ended` says whether a grammar holds from the first token on; `None` leaves that to the engine's parser.
    The answer to a `raw` prompt is text and nothing else. `retention` is the payload of a `kv.retain` action, how long
    to keep what; with `None` nothing is claimed.
    """

    token_ids: list[int]
    engine_input: EngineInput
    request: ChatCompletionRequest
    params: SamplingParams
    template_arguments: dict[str, Any]
    extra_keys: tuple[tuple[object, ...] | None, ...]
    regions: RegionMap | None = None
    marked: tuple[MarkedPrefix, ...] = ()
    reasoning_ended: bool | None = None
    raw: bool = False
    retention: Mapping[str, Any] | None = None

    @property
    def resumable(self) -> bool:
        """Whether another worker can go on from tokens already made: one choice, no grammar with a state of its own,
        nothing in the prompt but tokens."""
        return self.params.n == 1 and self.params.structured_outputs is None and self.engine_input["type"] == "token"

    def resumed(self, generated: Sequence[int]) -> Prompt:
        """The rest of this request after `generated` tokens. `resumable` must hold."""
        token_ids = [*self.token_ids, *generated]
        params = self.params.clone()
        params.max_tokens = (self.params.max_tokens or 0) - len(generated)
        params.min_tokens = max(0, self.params.min_tokens - len(generated))
        engine_input = tokens_input(token_ids, cache_salt=self.request.cache_salt)
        return replace(self, token_ids=token_ids, engine_input=engine_input, params=params)
