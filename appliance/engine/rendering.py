"""`Conversation` → token ids, with vLLM's renderer, and everything needed to run and read the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from vllm.config import VllmConfig
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.exceptions import VLLMClientError
from vllm.inputs import EngineInput, tokens_input
from vllm.parser import Parser
from vllm.renderers import BaseRenderer, ChatParams
from vllm.sampling_params import SamplingParams
from vllm.tokenizers.hf import ThreadSafeHFTokenizerMixin

from appliance.conversation import Conversation, Message, RawPrompt, Role, Text, Thinking
from appliance.engine.lane import Lane, is_light
from appliance.engine.limits import MAX_COUNTED_PARTS, countable, images_of, refuse_images, refuse_parts
from appliance.engine.locator import Locator, TextOf
from appliance.engine.model_profile import ModelProfile
from appliance.engine.placed import marked_prefixes, region_map
from appliance.engine.prompt import Prompt
from appliance.engine.refusals import refusals
from appliance.engine.sampling import Sampler
from appliance.engine.template import TemplateRenderer, finished, retold, tokenize_by_segments, tools_of
from appliance.engine.wire import as_user, chat_request, wire_messages
from appliance.errors import InvalidRequest

PROBE = "a thought that no template writes by itself"


class Rendered(NamedTuple):
    """What vLLM made of a conversation, and whether it was given one with late system messages told by the user."""

    engine_input: EngineInput
    told_by_user: bool


class Renderer:
    """Renders for one model: what is short on the caller's loop, the rest in a thread. Counting has one of its own, for
    it takes prompts of any length."""

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
        self._in_place = self._online.in_place()
        self.segments = tokenize_by_segments(renderer)
        self._locator = Locator(self.segments)
        in_place = isinstance(renderer.tokenizer, ThreadSafeHFTokenizerMixin)
        self._lane = Lane("render", in_place=in_place)
        self._counting_lane = Lane("count", in_place=in_place)
        self._sampler = Sampler.of(config, renderer.tokenizer)

    @property
    def context_tokens(self) -> int:
        return self._sampler.context_tokens

    async def render(self, conversation: Conversation) -> Prompt:
        """Raises `ContextTooLong` when no token of answer would fit, `InvalidRequest` for anything vLLM refuses."""
        if self._sees(conversation):
            return await self._render(self._online, conversation)
        return await self._lane.run(
            lambda: finished(self._render(self._in_place, conversation)), is_light=is_light(conversation)
        )

    async def count(self, conversation: Conversation) -> int:
        """Tokens of the rendered prompt, also of one that is too long. Raises `InvalidRequest` like `render`, and
        `ContextTooLong` for more than `MAX_COUNTED_CHARACTERS` or `MAX_COUNTED_PARTS`."""
        if self._sees(conversation):
            with refusals():
                request = chat_request(conversation)
                return len((await self._rendered(self._online, conversation, request)).engine_input["prompt_token_ids"])
        return await self._counting_lane.run(lambda: self._count(conversation), is_light=is_light(conversation))

    def keeps_thinking(self) -> bool | None:
        """Whether the template still shows the thoughts of a turn after the next question; `None` where it cannot be
        told."""
        question = Message(Role.USER, (Text("?"),))
        answer = Message(Role.ASSISTANT, (Thinking(PROBE), Text("!")))
        text = self._text(Conversation("", (question, answer, question)))
        return None if text is None else PROBE in text

    def parser(self, prompt: Prompt) -> Parser | None:
        """A new parser for one choice of the answer; `None` when there are neither tools nor thinking to be found.

        What goes on with a text that the client began is text: a parser would wait for the end of a thought.
        """
        if prompt.raw or (prompt.request.continue_final_message and not prompt.request.tools):
            return None
        return self._parser(prompt.request, prompt.template_arguments)

    def decode(self, token_id: int) -> str:
        return self.text_of([token_id])

    def text_of(self, token_ids: Sequence[int]) -> str:
        """Special tokens included. From any thread."""
        return str(self._renderer.get_tokenizer().decode(token_ids))

    def held_back(self, prompt: Prompt, generated: Sequence[int], shown: str) -> str:
        """Text of `generated` not shown yet: the engine keeps the end back while it looks for stop strings."""
        text = self._renderer.get_tokenizer().decode(generated, skip_special_tokens=prompt.params.skip_special_tokens)
        return text[len(shown) :] if text.startswith(shown) else ""

    def close(self) -> None:
        self._lane.close()
        self._counting_lane.close()
        self._renderer.shutdown()

    async def _render(self, online: TemplateRenderer, conversation: Conversation) -> Prompt:
        """Waits for nothing when `online` is in place."""
        refuse_images(conversation, self._model)
        refuse_parts(conversation, self.context_tokens)
        with refusals():
            request = chat_request(conversation)
            params = online.params(request)
            if conversation.raw is not None:
                engine_input = tokens_input(self._raw_tokens(conversation.raw), cache_salt=conversation.cache_salt)
                return self._prompt(conversation, request, params, engine_input)
            rendered = await self._rendered(online, conversation, request)
            prompt = self._prompt(conversation, request, params, rendered.engine_input)
            return self._located(prompt, conversation, partial(self._signed, request, params, rendered.told_by_user))

    async def _rendered(
        self, online: TemplateRenderer, conversation: Conversation, request: ChatCompletionRequest
    ) -> Rendered:
        """Once more with system messages told by the user where a template knows only one, at the beginning."""
        told_by_user = False
        try:
            rendered = await online.render_chat(request)
        except (ValueError, VLLMClientError):
            plain = as_user(conversation)
            if plain is conversation:
                raise
            told_by_user = True
            request.messages = wire_messages(plain)
            rendered = await online.render_chat(request)
        if not isinstance(rendered, tuple):
            raise InvalidRequest(rendered.error.message, param=rendered.error.param)
        return Rendered(rendered[1][0], told_by_user)

    def _count(self, conversation: Conversation) -> int:
        refuse_images(conversation, self._model)
        refuse_parts(conversation, MAX_COUNTED_PARTS)
        with refusals():
            if conversation.raw is not None:
                return len(self._raw_tokens(conversation.raw))
            text = self._text(conversation)
            if text is not None:
                return self.segments.count(countable(text))
            rendered = finished(self._rendered(self._in_place, conversation, chat_request(conversation)))
            return len(rendered.engine_input["prompt_token_ids"])

    def _text(self, conversation: Conversation) -> str | None:
        request = chat_request(conversation)
        params, tools = self._in_place.params(request), tools_of(request)
        try:
            return self._in_place.text(params, request.messages, tools)
        except (ValueError, VLLMClientError):
            plain = as_user(conversation)
            if plain is conversation:
                raise
            return self._in_place.text(params, wire_messages(plain), tools)

    def _signed(
        self, request: ChatCompletionRequest, params: ChatParams, told_by_user: bool, conversation: Conversation
    ) -> str | None:
        """The prompt that `request` would have been with this conversation; `None` where the template refuses it."""
        shown = as_user(conversation) if told_by_user else conversation
        tools = tools_of(request) if conversation.tools else []
        try:
            return self._in_place.text(params, wire_messages(shown), retold(tools, conversation.tools) if tools else [])
        except (ValueError, VLLMClientError):
            return None

    def _sees(self, conversation: Conversation) -> bool:
        """Whether there are images, which vLLM has to fetch, and a model to look at them."""
        return bool(self._model.is_multimodal_model) and any(images_of(conversation))

    def _raw_tokens(self, raw: RawPrompt) -> list[int]:
        if raw.token_ids is None:
            return list(self._renderer.get_tokenizer().encode(countable(raw.text or "")))
        vocabulary = self._model.get_vocab_size()
        strange = next((token for token in raw.token_ids if token >= vocabulary), None)
        if strange is not None:
            raise InvalidRequest(f"prompt: token {strange} is not one of this model's {vocabulary}", param="prompt")
        return list(raw.token_ids)

    def _prompt(
        self, conversation: Conversation, request: ChatCompletionRequest, template: ChatParams, engine_input: Any
    ) -> Prompt:
        token_ids = list(engine_input["prompt_token_ids"])
        params = self._sampler.params(conversation, request, len(token_ids))
        salt, raw = conversation.cache_salt, conversation.raw is not None
        arguments = template.chat_template_kwargs
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

    def _located(self, prompt: Prompt, conversation: Conversation, text_of: TextOf) -> Prompt:
        """With regions and the places of the client's marks; without in a prompt with images, whose tokens no text
        tells."""
        text = prompt.engine_input.get("prompt")
        if text is None or prompt.engine_input["type"] != "token":
            return prompt
        placed = self._locator.locate(conversation, text, text_of)
        if placed is None:
            return prompt
        regions = region_map(placed, len(prompt.token_ids))
        return replace(prompt, regions=regions, marked=marked_prefixes(placed, conversation))
