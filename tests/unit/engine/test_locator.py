"""What is remembered of earlier turns changes nothing but the time that a prompt takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vllm.exceptions import VLLMClientError
from vllm.renderers import renderer_from_config
from vllm.renderers.online_renderer import OnlineRenderer

from appliance.cache.region_map import Origin
from appliance.conversation import (
    CacheMark,
    Conversation,
    Document,
    Message,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
    ToolResult,
)
from appliance.engine.demo_model import TEMPLATE as DEMO_TEMPLATE
from appliance.engine.locator import Locator
from appliance.engine.places import FRAMES
from appliance.engine.prompt import Prompt
from appliance.engine.rendering import Renderer
from appliance.engine.wire import chat_request
from appliance.errors import RequestError
from tests.examples import examples
from tests.unit.engine.conftest import NewRenderer
from tests.unit.engine.conversations import CLOCK, WEATHER, assistant, conversation, message, user

# vLLM reads a field of its own request that it calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:max_tokens is deprecated:DeprecationWarning")

TEMPLATES = ("plain", "strict", "forgetful", "demo", "looking_back")
LOOKING_BACK = """\
{% set ns = namespace(last=-1) %}{% for message in messages %}{% if message.role == 'user' and '</tool_response>' not in
 message.content %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}{% if ns.last < 0 %}\
{{ raise_exception('No question') }}{% endif %}{% if messages[0].role != 'system' %}<|im_start|>system
You help.<|end|>
{% endif %}{% for message in messages %}<|im_start|>{{ message.role }}
{% if message.reasoning and loop.index0 > ns.last %}<think>
{{ message.reasoning | trim }}
</think>

{% endif %}{{ message.content | trim }}{% if message.role == 'user' and loop.last and tools %}{{ tools | tojson }}{%
 endif %}{%
 for call in message.tool_calls or [] %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}<|end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
"""As newer templates are: thoughts behind the last question only, a system text of their own, trimmed texts, tools told
with the last question."""
WORDS = (
    "Hi",
    "",
    "user",
    "assistant\n",
    " ",
    "\n",
    "<|end|>",
    "<|im_start|>",
    "¤0¤",
    "¬1¬",
    "</tool_response>",
    "é🜁",
    "x" * 40,
)

texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map("".join)
marks = st.sampled_from([None, None, None, CacheMark(300.0), CacheMark(3600.0)])
parts = st.builds(Text, texts, marks) | st.builds(Document, texts, st.none() | texts, mark=marks)
calls = st.builds(
    ToolCall, st.just("1"), st.just("weather"), st.sampled_from(["{}", '{"city": "Rome"}', "", "no"]), marks
)
results = st.builds(ToolResult, st.just("1"), st.lists(parts, max_size=3).map(tuple), st.booleans(), marks)
of_user = st.lists(parts, min_size=1, max_size=3).map(tuple)
of_assistant = st.lists(parts | st.builds(Thinking, texts, marks) | calls, min_size=1, max_size=4).map(tuple)
messages = (
    st.builds(Message, st.sampled_from([Role.USER, Role.SYSTEM, Role.DEVELOPER]), of_user)
    | st.builds(Message, st.just(Role.ASSISTANT), of_assistant)
    | st.builds(Message, st.sampled_from([Role.TOOL, Role.USER]), st.lists(results, min_size=1, max_size=2).map(tuple))
)
tools = st.sampled_from([(), (WEATHER,), (WEATHER, CLOCK), (CLOCK, replace(WEATHER, mark=CacheMark(300.0)))])


seldom = st.sampled_from([False, False, False, True])


@st.composite
def sessions(draw: st.DrawFn) -> list[Conversation]:
    """Turns of one session: it grows, and now and then it is edited, forgets its beginning or end, or changes its tools
    or marks."""
    now = Conversation("tiny", tuple(draw(st.lists(messages, min_size=4, max_size=7))), draw(tools))
    turns = [now]
    for _ in range(draw(st.integers(1, 4))):
        kept = now.messages
        if draw(seldom):
            start, end = sorted((draw(st.integers(0, len(kept))), draw(st.integers(0, len(kept)))))
            kept = (*kept[:start], *kept[end:])
        now = replace(now, messages=(*kept, *draw(st.lists(messages, min_size=1, max_size=3))))
        if draw(seldom):
            now = replace(now, tools=draw(tools))
        if draw(seldom):
            now = replace(now, messages=tuple(map(remarked, now.messages)))
        turns.append(now)
    return turns


def remarked(told: Message) -> Message:
    """With marks moved to the last block."""
    bare = [replace(block, mark=None) for block in told.blocks]
    return replace(told, blocks=(*bare[:-1], replace(bare[-1], mark=CacheMark(300.0))))


@pytest.fixture(scope="module")
def renderers(
    renderer: Renderer,
    strict_renderer: Renderer,
    forgetful_renderer: Renderer,
    new_renderer: NewRenderer,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Renderer]:
    looking_back = tmp_path_factory.mktemp("template") / "looking_back.jinja"
    looking_back.write_text(LOOKING_BACK)
    more = {
        name: new_renderer(tool_parser="hermes", reasoning_parser="none", chat_template=str(template))
        for name, template in (("demo", DEMO_TEMPLATE), ("looking_back", looking_back))
    }
    return {"plain": renderer, "strict": strict_renderer, "forgetful": forgetful_renderer, **more}


@pytest.fixture(scope="module")
def vllms_own(renderers: dict[str, Renderer]) -> Iterator[dict[str, OnlineRenderer]]:
    """Renderers of vLLM that nobody has changed, for the same templates."""
    untouched = {
        name: OnlineRenderer(
            renderer._online.model_config,
            renderer_from_config(renderer._renderer.config),
            request_logger=None,
            chat_template=renderer._online.chat_template,
            chat_template_content_format="auto",
            enable_auto_tools=renderer._online.enable_auto_tools,
            exclude_tools_when_tool_choice_none=True,
            tool_parser=renderer.parsers.tool_parser,
        )
        for name, renderer in renderers.items()
    }
    yield untouched
    for online in untouched.values():
        online.renderer.shutdown()


@contextmanager
def forgetting(renderer: Renderer) -> Iterator[Locator]:
    """A renderer that remembers no place in the meantime."""
    before = renderer._locator
    renderer._locator = Locator(before._segments)
    try:
        yield renderer._locator
    finally:
        renderer._locator = before


async def rendered(renderer: Renderer, asked: Conversation) -> Prompt | str:
    """Or why it was refused."""
    try:
        return await renderer.render(asked)
    except RequestError as error:
        return error.message


def located(prompt: Prompt | str) -> object:
    if isinstance(prompt, str):
        return prompt
    regions = None if prompt.regions is None else prompt.regions.spans
    return prompt.token_ids, prompt.engine_input["prompt"], regions, prompt.marked


@pytest.mark.parametrize("template", TEMPLATES)
@settings(max_examples=examples(100))
@given(turns=sessions())
async def test_a_turn_is_located_as_if_it_were_the_first(
    renderers: dict[str, Renderer], template: str, turns: list[Conversation]
) -> None:
    renderer = renderers[template]
    with forgetting(renderer) as locator:
        for asked in turns:
            prompt = await rendered(renderer, asked)
            locator.book.check_integrity()
            with forgetting(renderer):
                assert located(prompt) == located(await rendered(renderer, asked))


@pytest.mark.parametrize("template", TEMPLATES)
@settings(max_examples=examples(50))
@given(turns=sessions())
async def test_every_turn_has_the_tokens_that_vllm_makes(
    renderers: dict[str, Renderer], vllms_own: dict[str, OnlineRenderer], template: str, turns: list[Conversation]
) -> None:
    for asked in turns:
        try:
            theirs = await vllms_own[template].render_chat(chat_request(asked))
        except (ValueError, VLLMClientError):
            continue
        if isinstance(theirs, tuple):
            prompt = await renderers[template].render(asked)
            _, (expected,) = theirs
            assert prompt.token_ids == expected["prompt_token_ids"]
            assert prompt.engine_input["prompt"] == expected["prompt"]
            assert await renderers[template].count(asked) == len(prompt.token_ids)


def agents_session(turns: int, tools: tuple[Tool, ...]) -> Iterator[Conversation]:
    """A question, then calls and results turn by turn."""
    history: tuple[Message, ...] = (message(Role.SYSTEM, "You help."), user("What is the weather?"))
    for turn in range(turns):
        yield conversation(*history, tools=tools)
        call = ToolCall(f"c{turn}", "weather", '{"city": "Rome"}')
        result = ToolResult(call.id, (Text(f"It rains for {turn} days."), Text("Really.")))
        history += assistant(Thinking("Hm."), f"Look {turn}.", call), message(Role.TOOL, result)


@pytest.mark.parametrize("template", TEMPLATES)
async def test_of_an_agents_next_turn_only_the_end_is_asked(
    renderers: dict[str, Renderer], template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The question, the last answer that was known, and what came behind it."""
    renderer, asked = renderers[template], list[int]()
    text_of = renderer._in_place.text

    def watched(params: Any, told: list[Any], tools: Any) -> str | None:
        asked.append(len(told))
        return text_of(params, told, tools)

    monkeypatch.setattr(renderer._in_place, "text", watched)
    tools = () if renderer.parsers.tool_parser is None else (WEATHER, CLOCK)
    with forgetting(renderer) as locator:
        for turn in agents_session(6, tools):
            await renderer.render(turn)
    assert (locator.asked_whole, locator.asked_end) == (2, 4)
    assert asked == [2, 4, 5, 5, 5, 5]


async def test_a_tool_that_says_little_hides_no_place(renderer: Renderer) -> None:
    tools = (CLOCK, Tool("tides", "When the water comes"), WEATHER)
    prompt = await renderer.render(conversation(user("Hi"), assistant("Yes?"), user("Bye"), tools=tools))
    assert prompt.regions is not None
    assert [span.origin for span in prompt.regions.spans] == [
        *(Origin(tool=number) for number in range(3)),
        *(Origin(number, 0) for number in range(3)),
    ]


async def test_tools_that_may_not_be_called_hide_no_place(renderer: Renderer) -> None:
    asked = replace(conversation(user("hello")), tools=(WEATHER, CLOCK), tool_choice=ToolChoice(ToolChoiceMode.NONE))
    prompt = await renderer.render(asked)
    assert prompt.regions is not None


async def test_a_sign_in_a_clients_text_is_text(renderer: Renderer) -> None:
    for text in ("\u20420\u2042 and \u204299\u2042", f"{FRAMES[0]}7{FRAMES[0]}", FRAMES):
        prompt = await renderer.render(conversation(user(text)))
        assert prompt.regions is None if text == FRAMES else prompt.regions is not None
