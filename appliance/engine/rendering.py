"""`Conversation` → token ids, with vLLM's renderer, and everything needed to run and read the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from pydantic import ValidationError
from vllm.config import VllmConfig
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.exceptions import VLLMClientError
from vllm.inputs import EngineInput, tokens_input
from vllm.parser import Parser
from vllm.renderers import BaseRenderer
from vllm.sampling_params import SamplingParams

from appliance.conversation import Conversation, Image, Message, RawPrompt, Role, Text, Thinking, ToolResult
from appliance.engine.grammar import bounded_whitespace
from appliance.engine.model_profile import ModelProfile
from appliance.engine.places import marked_prefixes, places, region_map, signed
from appliance.engine.prompt import Prompt
from appliance.engine.template import TemplateRenderer, tokenize_by_segments
from appliance.engine.wire import as_user, chat_request
from appliance.errors import ContextTooLong, InvalidRequest

PROBE = "a thought that no template writes by itself"


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
        self._online = TemplateRenderer(
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
        self.segments = tokenize_by_segments(renderer)
        self._limits_thinking = config.reasoning_config is not None and config.reasoning_config.enabled
        self._sampling_defaults = self._model.get_diff_sampling_param()

    @property
    def context_tokens(self) -> int:
        return int(self._model.max_model_len)

    async def render(self, conversation: Conversation) -> Prompt:
        """Raises `ContextTooLong` when no token of answer would fit, `InvalidRequest` for anything vLLM refuses."""
        self._refuse_images(conversation)
        with _refusals():
            request = chat_request(conversation)
            if conversation.raw is not None:
                return self._prompt(
                    conversation, request, await self._raw_input(conversation.raw, conversation), raw=True
                )
            engine_input = await self._rendered(conversation, request)
            return await self._located(self._prompt(conversation, request, engine_input), conversation)

    async def count(self, conversation: Conversation) -> int:
        """Tokens of the rendered prompt, also of one that is too long. Raises `InvalidRequest` like `render`."""
        self._refuse_images(conversation)
        with _refusals():
            if conversation.raw is not None:
                return len((await self._raw_input(conversation.raw, conversation))["prompt_token_ids"])
            text = None if any(_images(conversation)) else await self._text(conversation)
            if text is not None:
                return len(await asyncio.to_thread(self.segments.tokenize, text))
            engine_input = await self._rendered(conversation, chat_request(conversation))
            return len(engine_input["prompt_token_ids"])

    async def keeps_thinking(self) -> bool | None:
        """Whether the template still shows the thoughts of a turn after the next question; `None` where it cannot be
        told."""
        question = Message(Role.USER, (Text("?"),))
        answer = Message(Role.ASSISTANT, (Thinking(PROBE), Text("!")))
        text = await self._text(Conversation("", (question, answer, question)))
        return None if text is None else PROBE in text

    def parser(self, prompt: Prompt) -> Parser | None:
        """A new parser for one choice of the answer; `None` when there are neither tools nor thinking to be found.

        What goes on with a text that the client began is text: a parser would wait for the end of a thought.
        """
        if prompt.raw or (prompt.request.continue_final_message and not prompt.request.tools):
            return None
        return self._parser(prompt.request, prompt.template_arguments)

    def decode(self, token_id: int) -> str:
        return str(self._renderer.get_tokenizer().decode([token_id]))

    def held_back(self, prompt: Prompt, generated: Sequence[int], shown: str) -> str:
        """Text of `generated` not shown yet: the engine keeps the end back while it looks for stop strings."""
        text = self._renderer.get_tokenizer().decode(generated, skip_special_tokens=prompt.params.skip_special_tokens)
        return text[len(shown) :] if text.startswith(shown) else ""

    def close(self) -> None:
        self._renderer.shutdown()

    async def _rendered(self, conversation: Conversation, request: ChatCompletionRequest) -> EngineInput:
        """Once more with system messages told by the user where a template knows only one, at the beginning."""
        try:
            rendered = await self._online.render_chat(request)
        except (ValueError, VLLMClientError):
            plain = as_user(conversation)
            if plain is conversation:
                raise
            request.messages = chat_request(plain).messages
            rendered = await self._online.render_chat(request)
        if not isinstance(rendered, tuple):
            raise InvalidRequest(rendered.error.message, param=rendered.error.param)
        return rendered[1][0]

    async def _text(self, conversation: Conversation) -> str | None:
        try:
            return await self._online.text(chat_request(conversation))
        except (ValueError, VLLMClientError):
            plain = as_user(conversation)
            if plain is conversation:
                raise
            return await self._online.text(chat_request(plain))

    def _refuse_images(self, conversation: Conversation) -> None:
        if not self._model.is_multimodal_model and any(_images(conversation)):
            raise InvalidRequest(
                f"{conversation.model} cannot see: this request holds an image.",
                param="messages",
                hint="Leave images out, or serve a model that sees.",
            )

    async def _raw_input(self, raw: RawPrompt, conversation: Conversation) -> EngineInput:
        if raw.token_ids is not None:
            token_ids = self._known_tokens(raw.token_ids)
        else:
            token_ids = await asyncio.to_thread(self._renderer.get_tokenizer().encode, raw.text)
        return tokens_input(token_ids, cache_salt=conversation.cache_salt)

    def _known_tokens(self, token_ids: Sequence[int]) -> list[int]:
        vocabulary = self._model.get_vocab_size()
        strange = next((token for token in token_ids if token >= vocabulary), None)
        if strange is not None:
            raise InvalidRequest(f"prompt: token {strange} is not one of this model's {vocabulary}", param="prompt")
        return list(token_ids)

    def _prompt(
        self, conversation: Conversation, request: ChatCompletionRequest, engine_input: Any, *, raw: bool = False
    ) -> Prompt:
        token_ids = list(engine_input["prompt_token_ids"])
        params = self._sampling(conversation, request, len(token_ids))
        salt = conversation.cache_salt
        arguments = self._online.effective_chat_template_kwargs(request)
        return Prompt(
            token_ids=token_ids,
            engine_input=engine_input,
            request=request,
            params=params,
            template_arguments=arguments,
            extra_keys=((salt,),) if salt else (),
            reasoning_ended=None if raw else self._reasoning_ended(request, arguments, params, token_ids),
            raw=raw,
        )

    def _reasoning_ended(
        self, request: ChatCompletionRequest, arguments: dict[str, Any], params: SamplingParams, token_ids: list[int]
    ) -> bool | None:
        """Asked for grammars only: finding it out costs a walk over the prompt."""
        if params.structured_outputs is None:
            return None
        ended: bool | None = request.resolve_reasoning_ended(self._parser(request, arguments), token_ids)
        return ended

    def _parser(self, request: ChatCompletionRequest, arguments: dict[str, Any]) -> Parser | None:
        if self._online.parser is None:
            return None
        return self._online.parser(
            self._renderer.tokenizer, request.tools, chat_template_kwargs=arguments, model_config=self._model
        )

    async def _located(self, prompt: Prompt, conversation: Conversation) -> Prompt:
        """With regions and the places of the client's marks; without in a prompt with images, whose tokens no text
        tells."""
        text = prompt.engine_input.get("prompt")
        if text is None or prompt.engine_input["type"] != "token":
            return prompt
        spots, longer = signed(conversation)
        signed_text = await self._text(longer)
        if signed_text is None:
            return prompt
        found = tuple(places(text, signed_text, spots))
        ends = [place.characters for place in found]
        tokens = await asyncio.to_thread(self.segments.tokens_before, text, ends)
        seen = [place.spot for place in found]
        regions = region_map(seen, tokens, len(prompt.token_ids))
        return replace(prompt, regions=regions, marked=marked_prefixes(seen, tokens))

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
        if self._limits_thinking:
            params.thinking_token_budget = conversation.reasoning.budget_tokens
        return params


def _images(conversation: Conversation) -> Iterator[Image]:
    for message in conversation.messages:
        for block in message.blocks:
            parts = block.content if isinstance(block, ToolResult) else (block,)
            yield from (part for part in parts if isinstance(part, Image))


@contextmanager
def _refusals() -> Iterator[None]:
    """What vLLM, its templates and its request refuse, as errors of a client's request."""
    try:
        yield
    except VLLMClientError as error:
        raise _request_error(error) from error
    except ValidationError as error:
        raise _field_error(error) from error
    except (ValueError, TypeError) as error:
        raise InvalidRequest(_first_line(error), param="messages") from error


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
