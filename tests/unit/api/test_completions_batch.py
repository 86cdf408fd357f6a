from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from appliance.api.completions_batch import BatchInference
from appliance.conversation import Conversation, RawPrompt, Sampling
from appliance.errors import GenerationFailed
from appliance.generation import Delta, Event, Finished, FinishReason, ModelCard, Started, Timing, Usage


class PromptInference:
    """Answers a prompt with its own text, a character a step. Prompts in `held` wait for ever, in `failing` fail."""

    def __init__(self, *, held: str = "", failing: str = "") -> None:
        self.held = held
        self.failing = failing
        self.request_ids: list[str] = []
        self.prompts: list[RawPrompt | None] = []
        self.num_open = 0

    def models(self) -> tuple[ModelCard, ...]:
        return (ModelCard("m", 100, 1),)

    async def prepare(self, conversation: Conversation, request_id: str) -> PromptRequest:
        self.request_ids.append(request_id)
        self.prompts.append(conversation.raw)
        return PromptRequest(self, conversation)

    async def count_tokens(self, conversation: Conversation) -> int:
        return len((conversation.raw or RawPrompt("")).text or "")


class PromptRequest:
    def __init__(self, inference: PromptInference, conversation: Conversation) -> None:
        self._inference = inference
        self._text = (conversation.raw or RawPrompt("")).text or ""
        self._num_choices = conversation.sampling.n

    @property
    def prompt_tokens(self) -> int:
        return len(self._text)

    async def events(self) -> AsyncGenerator[Event]:
        self._inference.num_open += 1
        try:
            yield Started(len(self._text), 1, worker=0)
            if self._text in self._inference.failing:
                raise GenerationFailed("the engine gave up")
            if self._text in self._inference.held:
                await asyncio.Event().wait()
            for choice in range(self._num_choices):
                for character in self._text:
                    await asyncio.sleep(0)
                    yield Delta(choice, character)
                yield Delta(choice, finish=FinishReason.STOP)
            yield Finished(Usage(len(self._text), 1, 2, 1), Timing(0.1 * len(self._text), len(self._text)))
        finally:
            self._inference.num_open -= 1


def request(*texts: str, n: int = 1) -> Conversation:
    first, *more = [RawPrompt(text) for text in texts]
    return Conversation("m", (), sampling=Sampling(n=n), raw=RawPrompt(first.text, more=tuple(more)))


async def events_of(inference: PromptInference, conversation: Conversation) -> list[Event]:
    prepared = await BatchInference(inference).prepare(conversation, "r")
    return [event async for event in prepared.events()]


async def test_one_prompt_goes_on_as_it_is() -> None:
    inference = PromptInference()
    await events_of(inference, request("ab"))
    assert (inference.request_ids, inference.prompts) == (["r"], [RawPrompt("ab")])


async def test_every_prompt_is_a_request_of_its_own_with_its_own_choices() -> None:
    inference = PromptInference()
    events = await events_of(inference, request("ab", "xyz", n=2))
    assert inference.request_ids == ["r-0", "r-1"]
    assert inference.prompts == [RawPrompt("ab"), RawPrompt("xyz")]
    texts = ["", "", "", ""]
    for event in events:
        if isinstance(event, Delta):
            texts[event.choice] += event.text
    assert texts == ["ab", "ab", "xyz", "xyz"]
    assert inference.num_open == 0


async def test_it_starts_once_and_finishes_with_the_sums() -> None:
    events = await events_of(PromptInference(), request("ab", "xyz"))
    assert events[0] == Started(5, 1, worker=0)
    assert [event for event in events[1:-1] if not isinstance(event, Delta)] == []
    assert events[-1] == Finished(Usage(5, 2, 4, 2), Timing(0.2, 3))


async def test_prompts_run_at_the_same_time() -> None:
    choices = [
        event.choice for event in await events_of(PromptInference(), request("ab", "xy")) if isinstance(event, Delta)
    ]
    assert choices[:4] == [0, 1, 0, 1]


async def test_the_error_of_one_prompt_ends_all() -> None:
    inference = PromptInference(held="a", failing="b")
    with pytest.raises(GenerationFailed, match="gave up"):
        await events_of(inference, request("a", "b"))
    assert inference.num_open == 0


async def test_closing_the_events_closes_those_of_every_prompt() -> None:
    inference = PromptInference(held="a")
    prepared = await BatchInference(inference).prepare(request("a", "b"), "r")
    async with aclosing(prepared.events()) as events:
        await anext(events)
    assert inference.num_open == 0


async def test_a_client_that_leaves_while_all_wait_frees_the_engines() -> None:
    inference = PromptInference(held="ab")
    task = asyncio.create_task(events_of(inference, request("a", "b")))
    while inference.num_open < 2:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert inference.num_open == 0


async def test_tokens_are_counted_over_all_prompts() -> None:
    batch = BatchInference(PromptInference())
    assert await batch.count_tokens(request("ab", "xyz")) == 5
    assert (await batch.prepare(request("ab", "xyz"), "r")).prompt_tokens == 5
    assert batch.models()[0].id == "m"
