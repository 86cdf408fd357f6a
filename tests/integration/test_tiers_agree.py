"""One box with all tiers: what is read from any of them gives the tokens that computing gives."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.integration.test_disk_tier import serving
from tests.integration.test_host_tier import BLOCK_TOKENS, MODEL, Box
from tests.unit.keeper.servers import redis_server

pytestmark = pytest.mark.engine

PROMPTS = [f"prompt {number}" for number in range(4)]
"""Of 709 tokens, and an engine reads 512 at a time."""
ABOVE = {"host": ("gpu",), "disk": ("gpu", "host"), "remote": ("gpu", "host", "disk")}


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    home = tmp_path_factory.mktemp("tiers")
    with redis_server(home) as server, serving(home, DYNAMO_BOX_CACHE__REMOTE__URL=server.url) as (box, _):
        yield box


@pytest.fixture(scope="module")
def computed(box: Box) -> dict[str, str]:
    """What the prompts are answered when nothing of them is cached; then they are in every tier."""
    answers = {prompt: box.ask(prompt) for prompt in PROMPTS}
    assert all(answer.cached_tokens < BLOCK_TOKENS * 2 for answer in answers.values())
    blocks = sum(answer.prompt_tokens // BLOCK_TOKENS for answer in answers.values()) - 2 * len(PROMPTS)
    box.until(f"status['disk']['used'] >= {blocks} and status['remote']['written'] >= {blocks}")
    box.until("not status['disk']['queued'] and not status['remote']['queued']")
    return {prompt: answer.text for prompt, answer in answers.items()}


@pytest.mark.parametrize("tier", ABOVE)
def test_what_is_read_from_a_tier_is_answered_as_if_it_was_computed(
    box: Box, computed: dict[str, str], tier: str
) -> None:
    for above in ABOVE[tier]:
        box.until("status['host']['held'] == 0 and status['requests']['active'] == 0")
        assert [one["error"] for one in box.command("flush", above)["flushed"]] == [None]
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(box.ask, PROMPTS))
    assert [answer.text for answer in answers] == [computed[prompt] for prompt in PROMPTS]
    assert all(answer.is_cached for answer in answers)
    read = sum(answer.by_tier[tier] for answer in answers)
    assert read > sum(answer.prompt_tokens for answer in answers) / 2


def test_answers_that_together_outgrow_the_cache_are_those_that_each_gives_alone(
    box: Box, computed: dict[str, str]
) -> None:
    prompts, tokens = PROMPTS[:3], 200
    alone = [box.ask(prompt, tokens).text for prompt in prompts]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda prompt: box.ask(prompt, tokens).text, prompts))
    assert together == alone
    assert [text.startswith(computed[prompt]) for text, prompt in zip(alone, prompts, strict=True)] == [True] * 3


def test_requests_that_are_given_up_leave_no_row_held_and_no_wrong_block(box: Box, computed: dict[str, str]) -> None:
    body = {"model": MODEL, "max_tokens": 300, "temperature": 0, "stream": True}
    text = " ".join(PROMPTS * 80)
    with httpx.Client(base_url=box.base, timeout=300) as client:
        for number in range(4):
            asked = body | {"messages": [{"role": "user", "content": f"{number} {text}"}]}
            with client.stream("POST", "/v1/chat/completions", json=asked) as reply:
                next(reply.iter_lines())
    status = box.until("status['requests']['active'] == 0 and status['host']['held'] == 0")
    assert status["requests"]["aborted"] >= 1
    assert all(check["error"] is None for check in box.command("verify")["checks"])
    assert [box.ask(prompt).text for prompt in PROMPTS] == [computed[prompt] for prompt in PROMPTS]
