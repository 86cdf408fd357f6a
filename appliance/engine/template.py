"""vLLM's chat renderer as the box uses it: prompts as text, and tokens of what changed only."""

from __future__ import annotations

import copy
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from transformers import PreTrainedTokenizerBase
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.renderers import BaseRenderer, ChatParams
from vllm.renderers.online_renderer import OnlineRenderer
from vllm.utils.async_utils import make_async

from appliance.conversation import Tool
from appliance.engine.segments import SegmentTokenizer, special_tokens

Result = TypeVar("Result")


class TemplateRenderer(OnlineRenderer):  # type: ignore[misc]  # vllm is not typed
    """Keeps `strict` out of the prompt: it is for the grammar, and a forced call must find the cache of a free one."""

    async def preprocess_chat(
        self, *args: Any, tool_dicts: list[dict[str, Any]] | None = None, **options: Any
    ) -> tuple[Any, Any]:
        conversation, engine_inputs = await super().preprocess_chat(
            *args, tool_dicts=_without_strict(tool_dicts), **options
        )
        return conversation, engine_inputs

    def in_place(self) -> TemplateRenderer:
        """The same, whose coroutines never wait (see `finished`): they do all their work on the thread that runs them.

        Not for pictures, which have to be fetched.
        """
        renderer = copy.copy(self)
        renderer.renderer = _InPlace(self.renderer)
        return renderer

    def params(self, request: ChatCompletionRequest) -> ChatParams:
        """What else than messages and tools goes into the template."""
        return request.build_chat_params(self.chat_template, self.chat_template_content_format)

    def text(self, params: ChatParams, messages: list[Any], tools: list[dict[str, Any]]) -> str | None:
        """The prompt before it becomes tokens; `None` for a model whose template makes tokens at once."""
        defaults = {"tools": tools or None, "tokenize": False}
        _, prompt = self.renderer.render_messages(messages, params.with_defaults(defaults))
        text = prompt.get("prompt")
        return text if isinstance(text, str) else None


def tools_of(request: ChatCompletionRequest) -> list[dict[str, Any]]:
    """As the template gets them."""
    tools = () if request.tool_choice == "none" else request.tools or ()
    return _without_strict([tool.model_dump() for tool in tools]) or []


def retold(tools: list[dict[str, Any]], others: Sequence[Tool]) -> list[dict[str, Any]]:
    """The same tools in the words of the `others`, one for one."""
    return [{**tool, "function": tool["function"] | _words(other)} for tool, other in zip(tools, others, strict=True)]


def _words(tool: Tool) -> dict[str, Any]:
    parameters = None if tool.parameters is None else dict(tool.parameters)
    return {"name": tool.name, "description": tool.description, "parameters": parameters}


def finished(work: Coroutine[Any, Any, Result]) -> Result:
    """What a coroutine returns or raises that never waits. Raises `RuntimeError` when it does."""
    try:
        work.send(None)
    except StopIteration as end:
        result: Result = end.value
        return result
    work.close()
    raise RuntimeError("what must never wait does")


def tokenize_by_segments(renderer: BaseRenderer) -> SegmentTokenizer:
    """From now on `renderer` makes tokens of a chat prompt piece by piece, remembering the pieces.

    What a segment cannot tell stays vLLM's: offsets, images, special tokens put around the whole.
    """
    tokenizer = renderer.get_tokenizer()
    # Nothing but ids: each list more of a long text holds all threads while it is made.
    only_ids = (
        {"return_attention_mask": False, "return_token_type_ids": False}
        if isinstance(tokenizer, PreTrainedTokenizerBase)
        else {}
    )
    segments = SegmentTokenizer(
        lambda text: tokenizer(text, add_special_tokens=False, **only_ids)["input_ids"], special_tokens(tokenizer)
    )
    whole = renderer._tokenize_prompt  # noqa: SLF001 – the one place where vLLM makes tokens of a prompt

    def tokenize(prompt: Any, params: Any) -> Any:
        if params.add_special_tokens or params.return_token_offsets or prompt.get("multi_modal_data"):
            return whole(prompt, params)
        return renderer._build_tokens_prompt(segments.tokenize(prompt["prompt"]), prompt)  # noqa: SLF001 – as above

    renderer._tokenize_prompt = tokenize  # noqa: SLF001 – as above
    renderer._tokenize_prompt_async = make_async(tokenize, executor=renderer._executor)  # noqa: SLF001 – as above
    return segments


class _InPlace:
    """A renderer of vLLM that is asked for chats as if it took time, and answers at once."""

    def __init__(self, renderer: BaseRenderer) -> None:
        self._renderer = renderer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._renderer, name)

    async def render_chat_async(self, *args: Any, **options: Any) -> Any:
        return self._renderer.render_chat(*args, **options)


def _without_strict(tools: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
    for tool in tools or ():
        tool["function"].pop("strict", None)
    return tools
