from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from appliance.api.chat import ChatCodec
from appliance.api.codec import Codec
from appliance.api.completions import CompletionsCodec
from appliance.api.diagnostics import Diagnostics
from appliance.api.messages import MessagesCodec
from appliance.api.offload import HERE, ITEMS_AT_ONCE, LARGE_BYTES, Offload, paced
from tests.unit.api.messages_requests import SEAL, messages_body
from tests.unit.api.responses_requests import body_of, new_codec, said
from tests.unit.api.scripted import ScriptedInference, chat_body, client_of, new_app


async def thread_of(offload: Offload) -> int:
    return await offload.run(threading.get_ident)


async def test_only_large_requests_leave_the_loop() -> None:
    turns = asyncio.Semaphore(1)
    here = threading.get_ident()
    assert await thread_of(HERE) == here
    assert await thread_of(HERE.with_more(10**9)) == here
    assert await thread_of(Offload(LARGE_BYTES, turns)) == here
    assert await thread_of(Offload(LARGE_BYTES + 1, turns)) != here
    assert await thread_of(Offload(1, turns).with_more(LARGE_BYTES)) != here


async def test_one_thread_works_at_a_time() -> None:
    offload = Offload(LARGE_BYTES + 1, asyncio.Semaphore(1))
    running: list[int] = []

    def work() -> int:
        running.append(1)
        seen = len(running)
        time.sleep(0.002)
        running.pop()
        return seen

    assert await asyncio.gather(*(offload.run(work) for _ in range(5))) == [1] * 5


async def test_an_error_comes_back_from_the_thread() -> None:
    with pytest.raises(ZeroDivisionError):
        await Offload(LARGE_BYTES + 1, asyncio.Semaphore(1)).run(lambda: 1 // 0)


async def test_others_get_their_turn_between_many_items() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    assert [item async for item in paced(range(10 * ITEMS_AT_ONCE))] == list(range(10 * ITEMS_AT_ONCE))
    task.cancel()
    assert turns >= 10


class Recording(Mapping[str, Any]):
    """A body that remembers which threads read it."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values
        self.threads: set[int] = set()

    def __getitem__(self, name: str) -> Any:
        self.threads.add(threading.get_ident())
        return self._values[name]

    def __iter__(self) -> Any:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


CODECS: dict[str, tuple[Callable[[], Codec], dict[str, Any]]] = {
    "chat": (lambda: ChatCodec(diagnostics=Diagnostics(4)), chat_body()),
    "completions": (CompletionsCodec, {"model": "m", "prompt": "x"}),
    "messages": (lambda: MessagesCodec(ScriptedInference(), seal=SEAL, diagnostics=Diagnostics(4)), messages_body()),
    "responses": (new_codec, body_of(said("Hi"))),
}


@pytest.mark.parametrize("protocol", CODECS)
async def test_a_large_request_is_decoded_in_a_thread_to_the_same_conversation(protocol: str) -> None:
    new, values = CODECS[protocol]
    body = Recording(values)
    far = await new().decode(body, {}, Offload(LARGE_BYTES + 1, asyncio.Semaphore(1)))
    assert body.threads - {threading.get_ident()}
    assert far.conversation == (await new().decode(values, {})).conversation


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/messages/count_tokens"])
async def test_large_requests_are_answered_as_small_ones_are(path: str) -> None:
    inference = ScriptedInference()
    text = "é" * 2 * LARGE_BYTES
    body = {"model": "org/small", "max_tokens": 5, "messages": [{"role": "user", "content": text}], "input": text}
    async with client_of(new_app(inference, max_body_bytes=10**7)) as client:
        assert (await client.post(path, json=body)).status_code == 200
        wrong = await client.post(path, json=body | {"messages": [5, text], "input": [5, text]})
    assert wrong.status_code == 400
