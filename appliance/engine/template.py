"""vLLM's chat renderer as the box uses it: prompts as text, and tokens of what changed only."""

from __future__ import annotations

from typing import Any

from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.renderers import BaseRenderer
from vllm.renderers.online_renderer import OnlineRenderer
from vllm.utils.async_utils import make_async

from appliance.engine.segments import SegmentTokenizer, special_tokens


class TemplateRenderer(OnlineRenderer):  # type: ignore[misc]  # vllm is not typed
    """Keeps `strict` out of the prompt: it is for the grammar, and a forced call must find the cache of a free one."""

    async def preprocess_chat(
        self, *args: Any, tool_dicts: list[dict[str, Any]] | None = None, **options: Any
    ) -> tuple[Any, Any]:
        conversation, engine_inputs = await super().preprocess_chat(
            *args, tool_dicts=_without_strict(tool_dicts), **options
        )
        return conversation, engine_inputs

    async def text(self, request: ChatCompletionRequest) -> str | None:
        """The prompt before it becomes tokens; `None` for a model whose template makes tokens at once."""
        tools = None if request.tool_choice == "none" else [tool.model_dump() for tool in request.tools or ()]
        defaults = {"tools": _without_strict(tools) or None, "tokenize": False}
        params = request.build_chat_params(self.chat_template, self.chat_template_content_format)
        _, prompt = await self.renderer.render_messages_async(request.messages, params.with_defaults(defaults))
        text = prompt.get("prompt")
        return text if isinstance(text, str) else None


def tokenize_by_segments(renderer: BaseRenderer) -> SegmentTokenizer:
    """From now on `renderer` makes tokens of a chat prompt piece by piece, remembering the pieces.

    What a segment cannot tell stays vLLM's: offsets, images, special tokens put around the whole.
    """
    tokenizer = renderer.get_tokenizer()
    segments = SegmentTokenizer(
        lambda text: tokenizer(text, add_special_tokens=False)["input_ids"], special_tokens(tokenizer)
    )
    whole = renderer._tokenize_prompt  # noqa: SLF001 – the one place where vLLM makes tokens of a prompt

    def tokenize(prompt: Any, params: Any) -> Any:
        if params.add_special_tokens or params.return_token_offsets or prompt.get("multi_modal_data"):
            return whole(prompt, params)
        return renderer._build_tokens_prompt(segments.tokenize(prompt["prompt"]), prompt)  # noqa: SLF001 – as above

    renderer._tokenize_prompt = tokenize  # noqa: SLF001 – as above
    renderer._tokenize_prompt_async = make_async(tokenize, executor=renderer._executor)  # noqa: SLF001 – as above
    return segments


def _without_strict(tools: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
    for tool in tools or ():
        tool["function"].pop("strict", None)
    return tools
