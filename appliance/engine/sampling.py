"""How an engine draws the tokens of an answer: what the client wishes, the model's defaults, the room that is left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vllm.config import VllmConfig
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.exceptions import VLLMClientError
from vllm.sampling_params import SamplingParams

from appliance.conversation import Conversation
from appliance.engine.grammar import bounded_whitespace
from appliance.engine.refusals import first_line, request_error
from appliance.errors import ContextTooLong, InvalidRequest


@dataclass(frozen=True, slots=True)
class Sampler:
    """What one model says about sampling. `limits_thinking` tells whether its engine knows a budget of thoughts,
    `check` is vLLM's own check of parameters: with a large schema it takes long, and an engine's worker skips it."""

    context_tokens: int
    defaults: dict[str, Any]
    limits_thinking: bool
    check: Callable[[SamplingParams], None]

    @classmethod
    def of(cls, config: VllmConfig, tokenizer: Any) -> Sampler:
        model, reasoning = config.model_config, config.reasoning_config
        limits_thinking = reasoning is not None and reasoning.enabled

        def check(params: SamplingParams) -> None:
            params.verify(model, config.speculative_config, config.structured_outputs_config, tokenizer)

        return cls(int(model.max_model_len), model.get_diff_sampling_param(), limits_thinking, check)

    def params(self, conversation: Conversation, request: ChatCompletionRequest, prompt_tokens: int) -> SamplingParams:
        """Raises `ContextTooLong` when there is no room for an answer, `InvalidRequest` for what vLLM refuses."""
        room = self.context_tokens - prompt_tokens
        if room < 1:
            raise ContextTooLong(
                f"This model's context is {self.context_tokens} tokens; the prompt alone has {prompt_tokens}.",
                param="messages",
                code="context_length_exceeded",
            )
        wanted = conversation.sampling.max_tokens or self.defaults.get("max_tokens") or room
        try:
            params = request.to_sampling_params(min(wanted, room), self.defaults)
        except VLLMClientError as error:
            raise request_error(error) from error
        except ValueError as error:
            raise InvalidRequest(first_line(error)) from error
        params.structured_outputs = bounded_whitespace(params.structured_outputs)
        if params.structured_outputs is not None:
            self.check(params)
        if self.limits_thinking:
            params.thinking_token_budget = conversation.reasoning.budget_tokens
        return params
