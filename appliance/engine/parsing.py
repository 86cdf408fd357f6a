"""Engine steps → deltas of thinking, text and tool calls, with vLLM's parsers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vllm.parser import Parser

from appliance.engine.bare_calls import BareCalls
from appliance.engine.prompt import Prompt
from appliance.engine.rendering import Renderer
from appliance.engine.worker import Step
from appliance.generation import Delta, FinishReason, TokenLogprob, ToolCallDelta

# What the wire calls a log-probability of minus infinity.
LEAST_LOGPROB = -9999.0


class AnswerParser:
    """Reads one request's answer, all choices of it. Feed every step once, in order."""

    def __init__(self, renderer: Renderer, prompt: Prompt) -> None:
        self._renderer = renderer
        self._prompt = prompt
        self._prompt_token_ids = prompt.token_ids
        self._choices: dict[int, _Choice] = {}

    def feed(self, step: Step) -> Delta | None:
        """The delta that this step makes; `None` while a marker is incomplete and nothing can be shown."""
        choice = self._choices.get(step.choice)
        if choice is None:
            choice = self._choices[step.choice] = _Choice(
                self._renderer.parser(self._prompt), _free_tools(self._prompt)
            )
        return choice.feed(step, self._prompt, self._prompt_token_ids, self._logprobs(step))

    def generated(self, choice: int = 0) -> list[int]:
        """Token ids of a choice so far."""
        return self._choices[choice].token_ids if choice in self._choices else []

    @property
    def completion_tokens(self) -> int:
        return sum(len(choice.token_ids) for choice in self._choices.values())

    @property
    def reasoning_tokens(self) -> int:
        return sum(choice.reasoning_tokens for choice in self._choices.values())

    def _logprobs(self, step: Step) -> tuple[TokenLogprob, ...]:
        if step.logprobs is None:
            return ()
        alternatives = self._prompt.request.top_logprobs or 0
        return tuple(
            self._token_logprob(token_id, entries, alternatives)
            for token_id, entries in zip(step.token_ids, step.logprobs, strict=False)
        )

    def _token_logprob(self, token_id: int, entries: Mapping[int, Any], alternatives: int) -> TokenLogprob:
        ranked = sorted(entries.items(), key=lambda item: item[1].logprob, reverse=True)[:alternatives]
        top = tuple(self._one(other, entry) for other, entry in ranked)
        return self._one(token_id, entries[token_id], top)

    def _one(self, token_id: int, entry: Any, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
        text = entry.decoded_token if entry.decoded_token is not None else self._renderer.decode(token_id)
        return TokenLogprob(text, max(entry.logprob, LEAST_LOGPROB), text.encode("utf-8", errors="replace"), top)


class _Choice:
    def __init__(self, parser: Parser | None, tool_names: Sequence[str]) -> None:
        self._parser = parser
        self._bare = BareCalls(tool_names) if tool_names else None
        self._called_tools = False
        self.token_ids: list[int] = []
        self._num_told = 0

    @property
    def reasoning_tokens(self) -> int:
        return self._parser.count_reasoning_tokens(self.token_ids) if self._parser is not None else 0

    def feed(
        self, step: Step, prompt: Prompt, prompt_token_ids: list[int], logprobs: tuple[TokenLogprob, ...]
    ) -> Delta | None:
        self.token_ids.extend(step.token_ids)
        finished = step.finish is not None
        text, thinking, calls = self._parse(step, prompt, prompt_token_ids, finished=finished)
        if self._bare is not None:
            text, calls = self._bare_calls(text, calls, prompt, finished=finished)
        self._called_tools = self._called_tools or bool(calls)
        if not (text or thinking or calls or logprobs or finished):
            return None
        finish = self._finish(step.finish) if step.finish is not None else None
        tokens, self._num_told = len(self.token_ids) - self._num_told, len(self.token_ids)
        return Delta(step.choice, text, thinking, calls, logprobs, finish, step.matched_stop, tokens)

    def _parse(
        self, step: Step, prompt: Prompt, prompt_token_ids: list[int], *, finished: bool
    ) -> tuple[str, str, tuple[ToolCallDelta, ...]]:
        if self._parser is None:
            return step.text, "", ()
        message = self._parser.parse_delta(
            step.text, list(step.token_ids), prompt.request, prompt_token_ids, finished=finished
        )
        return _parts(message, parallel=prompt.request.parallel_tool_calls is not False)

    def _bare_calls(
        self, text: str, calls: tuple[ToolCallDelta, ...], prompt: Prompt, *, finished: bool
    ) -> tuple[str, tuple[ToolCallDelta, ...]]:
        """Calls that the model's parser did not know. Once it knew one, it is trusted with the rest."""
        if self._bare is None:
            return text, calls
        found = self._bare.feed(text, finished=finished or bool(calls))
        if calls:
            self._bare = None
            return found.text, calls
        parallel = prompt.request.parallel_tool_calls is not False
        return found.text, tuple(call for call in found.calls if parallel or call.index == 0)

    def _finish(self, reason: str) -> FinishReason:
        if reason == "stop" and self._called_tools:
            return FinishReason.TOOL_CALLS
        return FinishReason(reason)


def _free_tools(prompt: Prompt) -> list[str]:
    """Tools that the model may call or not; where it must, a grammar holds it to the markers of its parser."""
    request = prompt.request
    return [tool.function.name for tool in request.tools or ()] if request.tool_choice == "auto" else []


def _parts(message: Any, *, parallel: bool) -> tuple[str, str, tuple[ToolCallDelta, ...]]:
    if message is None:
        return "", "", ()
    calls: Sequence[Any] = [call for call in message.tool_calls or () if parallel or call.index == 0]
    return message.content or "", message.reasoning or "", tuple(map(_tool_call, calls))


def _tool_call(call: Any) -> ToolCallDelta:
    function = call.function
    return ToolCallDelta(
        index=call.index,
        id=call.id,
        name=function.name if function else None,
        arguments=(function.arguments or "") if function else "",
    )
