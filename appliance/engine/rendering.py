"""`Conversation` → token ids, with vLLM's renderer, and everything needed to run and read the answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError
from vllm.config import VllmConfig
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.exceptions import VLLMClientError, VLLMValidationError
from vllm.inputs import EngineInput, tokens_input
from vllm.parser import Parser
from vllm.renderers import BaseRenderer
from vllm.renderers.online_renderer import OnlineRenderer
from vllm.sampling_params import SamplingParams, StructuredOutputsParams
from vllm.v1.structured_output.backend_xgrammar import validate_xgrammar_grammar

from appliance.conversation import Conversation
from appliance.engine.model_profile import ModelProfile
from appliance.engine.wire import chat_request
from appliance.errors import ContextTooLong, InvalidRequest

MAX_WHITESPACE_CHARACTERS = 16
"""Between two JSON tokens: room for a line break and seven levels of indentation."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered request. `extra_keys` are what the engine mixes into the hash of the first block."""

    token_ids: list[int]
    engine_input: EngineInput
    request: ChatCompletionRequest
    params: SamplingParams
    template_arguments: dict[str, Any]
    extra_keys: tuple[tuple[object, ...] | None, ...]

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


class _PromptRenderer(OnlineRenderer):  # type: ignore[misc]  # vllm is not typed
    """Keeps `strict` out of the prompt: it is for the grammar, and a forced call must find the cache of a free one."""

    async def preprocess_chat(
        self, *args: Any, tool_dicts: list[dict[str, Any]] | None = None, **options: Any
    ) -> tuple[Any, Any]:
        for tool in tool_dicts or ():
            tool["function"].pop("strict", None)
        conversation, engine_inputs = await super().preprocess_chat(*args, tool_dicts=tool_dicts, **options)
        return conversation, engine_inputs


class Renderer:
    """Renders for one model. Tokenising runs in vLLM's thread pool, not on the caller's loop."""

    def __init__(
        self,
        config: VllmConfig,
        renderer: BaseRenderer,
        parsers: ModelProfile,
        *,
        chat_template: str | None = None,
    ) -> None:
        self._model = config.model_config
        self._renderer = renderer
        self.parsers = parsers
        self._online = _PromptRenderer(
            self._model,
            self._renderer,
            request_logger=None,
            chat_template=chat_template,
            chat_template_content_format="auto",
            enable_auto_tools=parsers.tool_parser is not None,
            exclude_tools_when_tool_choice_none=True,
            tool_parser=parsers.tool_parser,
            reasoning_parser=parsers.reasoning_parser,
        )
        self._sampling_defaults = self._model.get_diff_sampling_param()

    @property
    def context_tokens(self) -> int:
        return int(self._model.max_model_len)

    async def render(self, conversation: Conversation) -> Prompt:
        """Raises `ContextTooLong` when no token of answer would fit, `InvalidRequest` for anything vLLM refuses."""
        try:
            request = chat_request(conversation)
            rendered = await self._online.render_chat(request)
        except VLLMClientError as error:
            raise _request_error(error) from error
        except ValidationError as error:
            raise _field_error(error) from error
        except (ValueError, TypeError) as error:
            raise InvalidRequest(_first_line(error), param="messages") from error
        if not isinstance(rendered, tuple):
            raise InvalidRequest(rendered.error.message, param=rendered.error.param)
        return self._prompt(conversation, request, rendered[1][0])

    def parser(self, prompt: Prompt) -> Parser | None:
        """A new parser for one choice of the answer; `None` when the model has neither tools nor thinking."""
        if self._online.parser is None:
            return None
        return self._online.parser(
            self._renderer.tokenizer,
            prompt.request.tools,
            chat_template_kwargs=prompt.template_arguments,
            model_config=self._model,
        )

    def decode(self, token_id: int) -> str:
        return str(self._renderer.get_tokenizer().decode([token_id]))

    def held_back(self, prompt: Prompt, generated: Sequence[int], shown: str) -> str:
        """Text of `generated` not shown yet: the engine keeps the end back while it looks for stop strings."""
        text = self._renderer.get_tokenizer().decode(generated, skip_special_tokens=prompt.params.skip_special_tokens)
        return text[len(shown) :] if text.startswith(shown) else ""

    def close(self) -> None:
        self._renderer.shutdown()

    def _prompt(self, conversation: Conversation, request: ChatCompletionRequest, engine_input: Any) -> Prompt:
        token_ids = list(engine_input["prompt_token_ids"])
        params = self._sampling(conversation, request, len(token_ids))
        salt = conversation.cache_salt
        return Prompt(
            token_ids=token_ids,
            engine_input=engine_input,
            request=request,
            params=params,
            template_arguments=self._online.effective_chat_template_kwargs(request),
            extra_keys=((salt,),) if salt else (),
        )

    def _sampling(
        self, conversation: Conversation, request: ChatCompletionRequest, prompt_tokens: int
    ) -> SamplingParams:
        room = self.context_tokens - prompt_tokens
        if room < 1:
            raise ContextTooLong(
                f"This model's context is {self.context_tokens} tokens; the prompt alone has {prompt_tokens}.",
                param="messages",
                code="context_length_exceeded",
            )
        wanted = conversation.sampling.max_tokens or self._sampling_defaults.get("max_tokens") or room
        try:
            params = request.to_sampling_params(min(wanted, room), self._sampling_defaults)
        except VLLMClientError as error:
            raise _request_error(error) from error
        except ValueError as error:
            raise InvalidRequest(_first_line(error)) from error
        params.structured_outputs = bounded_whitespace(params.structured_outputs)
        return params


def bounded_whitespace(grammar: StructuredOutputsParams | None) -> StructuredOutputsParams | None:
    """The same grammar with a bound on whitespace between JSON tokens: without one, a small model that begins to write
    blanks goes on to its last token.

    vLLM's own `disable_any_whitespace` wants one back end for all requests, which then refuses the schemas that only
    others can hold, and it allows no whitespace at all. Returned as it is where xgrammar cannot hold the schema (vLLM
    then takes another back end, which knows no bound) and where there is no JSON.
    """
    if grammar is None:
        return None
    if grammar.structural_tag is not None:
        tag = json.loads(grammar.structural_tag)
        _bound(tag)
        return replace(grammar, structural_tag=json.dumps(tag))
    schema = {"type": "object"} if grammar.json_object else grammar.json
    if not isinstance(schema, dict) or not _is_held_by_xgrammar(grammar):
        return grammar
    content = {"type": "json_schema", "json_schema": schema, "max_whitespace_cnt": MAX_WHITESPACE_CHARACTERS}
    return StructuredOutputsParams(structural_tag=json.dumps({"type": "structural_tag", "format": content}))


def _bound(node: Any) -> None:
    """In place, in all JSON of a structural tag. Its schemas are data and not looked into."""
    if isinstance(node, list):
        for item in node:
            _bound(item)
    elif isinstance(node, dict) and node.get("type") == "json_schema":
        if node.get("style", "json") == "json" and node.get("max_whitespace_cnt") is None:
            node["max_whitespace_cnt"] = MAX_WHITESPACE_CHARACTERS
    elif isinstance(node, dict):
        for item in node.values():
            _bound(item)


def _is_held_by_xgrammar(grammar: StructuredOutputsParams) -> bool:
    try:
        validate_xgrammar_grammar(SamplingParams(structured_outputs=grammar))
    except VLLMValidationError:
        return False
    return True


def _request_error(error: VLLMClientError) -> InvalidRequest | ContextTooLong:
    parameter = getattr(error, "parameter", None)
    message = error.args[0] if error.args else str(error)
    if parameter in ("input_tokens", "input_text"):
        return ContextTooLong(message, param="messages", code="context_length_exceeded")
    return InvalidRequest(message, param=parameter)


def _field_error(error: ValidationError) -> InvalidRequest:
    first = error.errors(include_url=False, include_context=False)[0]
    field = str(first["loc"][0]) if first["loc"] else None
    return InvalidRequest(f"{field or 'request'}: {first['msg']}", param=field)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
