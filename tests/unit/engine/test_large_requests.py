"""Requests of a hundred megabytes on their way to an engine: refused by name, in threads, in a few times their size.

What one call of a decoder or of `str` takes for so much text nobody can divide: Python gives the loop no turn then.
"""

from __future__ import annotations

import itertools
import resource
import time
from typing import cast

import pytest

from appliance.api.admission import Admission
from appliance.api.chat import ChatCodec
from appliance.api.diagnostics import Diagnostics
from appliance.api.exchange import Service
from appliance.conversation import Conversation
from appliance.engine.rendering import Renderer
from appliance.errors import ContextTooLong
from appliance.generation import Inference, ModelCard
from appliance.stabiliser.rules import RULES
from appliance.stabiliser.stabiliser import Stabiliser

# vLLM reads a field of its own request that it calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:max_tokens is deprecated:DeprecationWarning")

MEGABYTE = 2**20
MOST_LOOP_SECONDS = 0.5
"""Of the loop's processor time, for all of a request. In the loop, each of these would take seconds."""
MOST_COPIES = 8


def body(messages: bytes) -> bytes:
    return b'{"model": "tiny", "messages": [' + messages + b"]}"


def told(role: bytes, text: bytes, times: int) -> bytes:
    return b'{"role": "' + role + b'", "content": "' + text * times + b'"}'


QUESTION = told(b"user", b"Hi", 1)
BODIES = {
    "text": body(told(b"user", b"word ", 20 * MEGABYTE)),
    "system": body(told(b"system", b"word word\\n", 10 * MEGABYTE) + b"," + QUESTION),
    "messages": body(QUESTION + (b"," + QUESTION) * 2**16),
}


class Cards:
    """What an exchange asks before anything is generated."""

    def models(self) -> tuple[ModelCard, ...]:
        return (ModelCard("tiny", context_tokens=2**26, created=0),)


async def asked(request: bytes) -> Conversation:
    """As an exchange of a model with a very long context reads it, which refuses nothing by itself."""
    inference = cast("Inference", Cards())  # nothing is generated
    tokens = map(str, itertools.count())
    service = Service(inference, Admission(1), 2**28, 15.0, 60.0, time.time, tokens.__next__)
    parsed = await service.parse(request)
    call = await ChatCodec(diagnostics=Diagnostics(1)).decode(parsed.body, {}, parsed.offload)
    return Stabiliser(RULES).apply(call.conversation).conversation


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize("kind", BODIES)
async def test_what_is_far_too_long_is_refused_beside_the_loop_and_in_bounded_memory(
    renderer: Renderer, kind: str
) -> None:
    request = BODIES[kind]
    before, began = peak_bytes(), time.thread_time()
    conversation = await asked(request)
    for work in (renderer.render, renderer.count):
        with pytest.raises(ContextTooLong):
            await work(conversation)
    assert time.thread_time() - began < MOST_LOOP_SECONDS
    assert peak_bytes() - before < MOST_COPIES * len(request) + 256 * MEGABYTE
