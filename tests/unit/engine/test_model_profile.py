from __future__ import annotations

from pathlib import Path

import pytest

from appliance.engine import demo_model
from appliance.engine.model_profile import FAMILIES, ModelProfile, profile

THINKING_TEMPLATE = "{{ '<think>' }} {{ '<tool_call>' }}"
PLAIN_TEMPLATE = "{{ messages }}"


@pytest.mark.parametrize(
    ("name", "model_type", "tool_parser", "reasoning_parser"),
    [
        ("Qwen/Qwen2.5-Coder-7B-Instruct", "qwen2", "hermes", None),
        ("Qwen/Qwen3-8B", "qwen3", "hermes", "qwen3"),
        ("Qwen/Qwen3-30B-A3B-Thinking-2507", "qwen3_moe", "hermes", "qwen3"),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", "qwen3_moe", "hermes", None),
        ("Qwen/Qwen3-Next-80B-A3B-Instruct", "qwen3_next", "hermes", None),
        ("Qwen/Qwen3-Coder-30B-A3B-Instruct", "qwen3_moe", "qwen3_coder", None),
        ("Qwen/Qwen3.5-35B-A3B", "qwen3_5_moe", "qwen3_coder", "qwen3"),
        ("Qwen/QwQ-32B", "qwen2", "hermes", "deepseek_r1"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama", "llama3_json", None),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", "llama4", "llama4_pythonic", None),
        ("NousResearch/Hermes-3-Llama-3.1-8B", "llama", "hermes", None),
        ("mistralai/Devstral-Small-2507", "mistral", "mistral", None),
        ("mistralai/Magistral-Small-2509", "mistral3", "mistral", "mistral"),
        ("mistralai/Ministral-3-8B-Reasoning-2512", "mistral3", "mistral", "mistral"),
        ("deepseek-ai/DeepSeek-V3-0324", "deepseek_v3", "deepseek_v3", None),
        ("deepseek-ai/DeepSeek-V3.1", "deepseek_v3", "deepseek_v31", "deepseek_v3"),
        ("deepseek-ai/DeepSeek-V3.2", "deepseek_v32", "deepseek_v32", "deepseek_v3"),
        ("deepseek-ai/DeepSeek-R1-0528", "deepseek_v3", "deepseek_v3", "deepseek_r1"),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "qwen2", None, "deepseek_r1"),
        ("zai-org/GLM-4.5-Air", "glm4_moe", "glm45", "glm45"),
        ("zai-org/GLM-4.7", "glm4_moe", "glm47", "glm47"),
        ("zai-org/GLM-4.7-Flash", "glm4_moe_lite", "glm47", "glm47"),
        ("moonshotai/Kimi-K2-Instruct-0905", "kimi_k2", "kimi_k2", None),
        ("moonshotai/Kimi-K2-Thinking", "kimi_k2", "kimi_k2", "kimi_k2"),
        ("moonshotai/Kimi-K2.5", "kimi_k25", "kimi_k2", "kimi_k2"),
        ("MiniMaxAI/MiniMax-M2.1", "minimax_m2", "minimax_m2", "minimax_m2"),
        ("openai/gpt-oss-20b", "gpt_oss", "openai", "openai_gptoss"),
        ("ibm-granite/granite-3.3-8b-instruct", "granite", "granite", None),
        ("ibm-granite/granite-4.0-h-small", "granitemoehybrid", "granite4", None),
        ("google/gemma-3-27b-it", "gemma3", None, None),
        ("google/gemma-4-31b-it", "gemma4", "gemma4", "gemma4"),
        ("google/functiongemma-270m-it", "gemma3_text", "functiongemma", None),
        ("microsoft/Phi-4-mini-instruct", "phi3", "phi4_mini_json", None),
        ("ByteDance-Seed/Seed-OSS-36B-Instruct", "seed_oss", "seed_oss", "seed_oss"),
        ("stepfun-ai/step3", "step3_vl", "step3", "step3"),
        ("stepfun-ai/Step-3.5-Flash", "step3p5", "step3p5", "step3p5"),
        ("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B", "nemotron_h", "qwen3_coder", "nemotron_v3"),
        ("nvidia/Llama-3_1-Nemotron-Ultra-253B-v1", "nemotron-nas", None, None),
        ("gpt2", "gpt2", None, None),
    ],
)
def test_a_known_family_has_its_parsers(
    name: str, model_type: str, tool_parser: str | None, reasoning_parser: str | None
) -> None:
    assert profile(model_type, (), None, name) == (tool_parser, reasoning_parser)


def test_the_model_type_is_enough_when_the_folder_says_nothing() -> None:
    assert profile("qwen3", ("Qwen3ForCausalLM",), THINKING_TEMPLATE, "/srv/weights/") == ("hermes", "qwen3")
    assert profile("gpt_oss", (), None, "/srv/weights") == ("openai", "openai_gptoss")


def test_parent_folders_of_a_model_say_nothing() -> None:
    assert profile("llama", (), None, "/srv/qwen3-coder/weights") == (None, None)


def test_a_template_that_never_thinks_overrules_its_family() -> None:
    assert profile("qwen3", (), PLAIN_TEMPLATE, "weights").reasoning_parser is None
    assert profile("gpt_oss", (), PLAIN_TEMPLATE, "weights").reasoning_parser == "openai_gptoss"


def test_a_template_that_calls_tools_otherwise_overrules_its_family() -> None:
    assert profile("qwen3_moe", (), "<tool_call>\n<function=f>", "weights") == ("qwen3_coder", None)
    assert profile("mistral", (), PLAIN_TEMPLATE, "weights") == (None, None)
    assert profile("mistral", (), "[TOOL_CALLS]", "weights") == ("mistral", None)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("<tool_call>", ModelProfile("hermes", None)),
        ("<tool_call> <function=f>", ModelProfile("qwen3_coder", None)),
        ("[TOOL_CALLS]", ModelProfile("mistral", None)),
        ("<|python_tag|>", ModelProfile("llama3_json", None)),
        ("<think>", ModelProfile(None, "deepseek_r1")),
        ("content.split('</think>')", ModelProfile(None, None)),
        (THINKING_TEMPLATE, ModelProfile("hermes", "deepseek_r1")),
        (PLAIN_TEMPLATE, ModelProfile(None, None)),
        (None, ModelProfile(None, None)),
    ],
)
def test_an_unknown_family_is_read_from_its_template(template: str | None, expected: ModelProfile) -> None:
    assert profile(None, (), template, "something-new") == expected


def test_the_demo_model_calls_tools_and_does_not_think() -> None:
    folder = Path("/cache/models") / f"{demo_model.NAME}-0123456789ab"
    template = demo_model.TEMPLATE.read_text()
    assert profile("llama", ("LlamaForCausalLM",), template, str(folder)) == ("hermes", None)


def test_no_pattern_stands_twice() -> None:
    assert len({family.pattern for family in FAMILIES}) == len(FAMILIES)
