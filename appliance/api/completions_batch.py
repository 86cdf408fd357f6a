"""Several prompts in one request: each is a request of its own to the engines, together they are one answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from appliance.conversation import Conversation
from appliance.generation import Delta, Event, Finished, Inference, ModelCard, Prepared, Timing, Usage


class BatchInference:
    """An `Inference` that also takes a raw prompt with `more`. The choices of prompt p are p·n … p·n + n - 1."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    def models(self) -> tuple[ModelCard, ...]:
        return self._inference.models()

    async def prepare(self, conversation: Conversation, request_id: str) -> Prepared:
        """All prompts are checked before the first is begun. Raises as the inference does."""
        if conversation.raw is None or not conversation.raw.more:
            return await self._inference.prepare(conversation, request_id)
        parts = [
            await self._inference.prepare(part, f"{request_id}-{position}")
            for position, part in enumerate(_split(conversation))
        ]
        return Batch(parts, conversation.sampling.n)

    async def count_tokens(self, conversation: Conversation) -> int:
        return sum([await self._inference.count_tokens(part) for part in _split(conversation)])


class Batch:
    """Prepared requests that run at the same time, as one."""

    def __init__(self, parts: Sequence[Prepared], num_choices: int) -> None:
        self._parts = parts
        self._num_choices = num_choices

    @property
    def prompt_tokens(self) -> int:
        return sum(part.prompt_tokens for part in self._parts)

    async def events(self) -> AsyncGenerator[Event, None]:
        """`Started` comes with the first prompt that an engine has read, and tells that one's cached tokens and worker;
        `Finished` has the sums. An error of one part ends all."""
        finished: list[Finished] = []
        started = False
        async with aclosing(_merged([part.events() for part in self._parts])) as events:
            async for position, event in events:
                if isinstance(event, Delta):
                    yield replace(event, choice=position * self._num_choices + event.choice)
                elif isinstance(event, Finished):
                    finished.append(event)
                elif not started:
                    started = True
                    yield replace(event, prompt_tokens=self.prompt_tokens)
        yield _sum(finished)


def _split(conversation: Conversation) -> list[Conversation]:
    """One conversation for each prompt; the conversation itself when there is only one."""
    raw = conversation.raw
    if raw is None or not raw.more:
        return [conversation]
    return [replace(conversation, raw=prompt) for prompt in (replace(raw, more=()), *raw.more)]


def _sum(finished: Sequence[Finished]) -> Finished:
    usages = [each.usage for each in finished]
    timings = [each.timing for each in finished if each.timing is not None]
    usage = Usage(
        prompt_tokens=sum(usage.prompt_tokens for usage in usages),
        cached_tokens=sum(usage.cached_tokens for usage in usages),
        completion_tokens=sum(usage.completion_tokens for usage in usages),
        reasoning_tokens=sum(usage.reasoning_tokens for usage in usages),
    )
    if not timings:
        return Finished(usage)
    first = min(timing.first_token_seconds for timing in timings)
    return Finished(usage, Timing(first, max(timing.total_seconds for timing in timings)))


async def _merged(streams: Sequence[AsyncGenerator[Event, None]]) -> AsyncGenerator[tuple[int, Event], None]:
    """The events of all streams as they come, with the position of each one's stream. Closing it, and an error in one
    stream, closes all."""
    turns = {asyncio.create_task(_next(stream)): position for position, stream in enumerate(streams)}
    try:
        while turns:
            done, _ = await asyncio.wait(turns, return_when=asyncio.FIRST_COMPLETED)
            for turn in sorted(done, key=turns.__getitem__):
                position = turns.pop(turn)
                event = turn.result()
                if event is not None:
                    turns[asyncio.create_task(_next(streams[position]))] = position
                    yield position, event
    finally:
        for turn in turns:
            turn.cancel()
        await asyncio.gather(*turns, return_exceptions=True)
        for stream in streams:
            await stream.aclose()


async def _next(stream: AsyncGenerator[Event, None]) -> Event | None:
    return await anext(stream, None)
