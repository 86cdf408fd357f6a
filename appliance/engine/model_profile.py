"""Which of vLLM's tool and reasoning parsers fit a model, where the settings say "auto"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple


class ModelProfile(NamedTuple):
    """Names in vLLM's registries; `None` where the model has no such thing or none is known to fit."""

    tool_parser: str | None = None
    reasoning_parser: str | None = None


class Family(NamedTuple):
    """Models whose description matches `pattern`: last part of the name, model type and architectures, in lower case
    with a single hyphen for each run of other characters than letters and digits, and one at both ends."""

    pattern: str
    profile: ModelProfile


_NO_THINKING = r"(?=.*-(instruct|coder)-)"

# The first match counts: a fine-tune's name stands above the family it was trained from, a version above its elders.
FAMILIES = (
    Family("-hermes-", ModelProfile("hermes")),
    Family("-deepseek-r1-distill-", ModelProfile(None, "deepseek_r1")),
    Family("-deepseek-r1-", ModelProfile("deepseek_v3", "deepseek_r1")),
    Family("-deepseek-v4-1-|-deepseek-v41-", ModelProfile("deepseek_v41", "deepseek_v41")),
    Family("-deepseek-v4-", ModelProfile("deepseek_v4", "deepseek_v4")),
    Family("-deepseek-v3-2-|-deepseek-v32-", ModelProfile("deepseek_v32", "deepseek_v3")),
    Family("-deepseek-v3-1-", ModelProfile("deepseek_v31", "deepseek_v3")),
    Family("-deepseek-v3-", ModelProfile("deepseek_v3")),
    Family("-nemotron-3-", ModelProfile("qwen3_coder", "nemotron_v3")),
    Family("-qwen3-coder-", ModelProfile("qwen3_coder")),
    Family("-qwen3-[56]-", ModelProfile("qwen3_coder", "qwen3")),
    Family("-qwq-", ModelProfile("hermes", "deepseek_r1")),
    Family(rf"^{_NO_THINKING}.*-qwen3-", ModelProfile("hermes")),
    Family("-qwen3-", ModelProfile("hermes", "qwen3")),
    Family("-qwen2-", ModelProfile("hermes")),
    Family("-glm-4-7-|-glm-5-|-glm4-moe-lite-|-glm-moe-dsa-", ModelProfile("glm47", "glm47")),
    Family("-glm-4-[56]v?-|-glm4v?-moe-", ModelProfile("glm45", "glm45")),
    Family("-kimi-k3-", ModelProfile("kimi_k3", "kimi_k3")),
    Family(rf"^{_NO_THINKING}.*-kimi-(k2|linear)-", ModelProfile("kimi_k2")),
    Family("-kimi-k2-|-kimi-k25-", ModelProfile("kimi_k2", "kimi_k2")),
    Family("-minimax-m3-", ModelProfile("minimax_m3", "minimax_m3")),
    Family("-minimax-m2-", ModelProfile("minimax_m2", "minimax_m2")),
    Family("-gpt-oss-", ModelProfile("openai", "openai_gptoss")),
    Family("-seed-oss-", ModelProfile("seed_oss", "seed_oss")),
    Family("-step-?3[-p][57]-", ModelProfile("step3p5", "step3p5")),
    Family("-step-?3-", ModelProfile("step3", "step3")),
    Family("-magistral-|-ministral-3-.*-reasoning-", ModelProfile("mistral", "mistral")),
    Family("-(mistral|mixtral|ministral|devstral|codestral|pixtral)-", ModelProfile("mistral")),
    Family("-granite-20b-functioncalling-", ModelProfile("granite-20b-fc")),
    Family("-granite-4-|-granitemoehybrid-", ModelProfile("granite4")),
    Family("-granite(moe)?-", ModelProfile("granite")),
    Family("-functiongemma-", ModelProfile("functiongemma")),
    Family("-gemma-?4-", ModelProfile("gemma4", "gemma4")),
    Family("-phi-?4-mini-", ModelProfile("phi4_mini_json")),
    Family("-llama-?4-", ModelProfile("llama4_pythonic")),
    Family("^(?!.*-nemotron-).*-llama-?3-", ModelProfile("llama3_json")),
)
TEMPLATE_TOOLS = (
    ("<function=", "qwen3_coder"),
    ("<tool_call>", "hermes"),
    ("[TOOL_CALLS]", "mistral"),
    ("<|python_tag|>", "llama3_json"),
)
GENERIC_REASONING = "deepseek_r1"
TAGGED_REASONING = frozenset({"deepseek_r1", "glm45", "glm47", "kimi_k2", "minimax_m2", "nemotron_v3", "qwen3"})
"""Parsers that take an answer as thinking until `</think>`: wrong for a model that never writes it."""


def profile(
    model_type: str | None, architectures: Sequence[str], chat_template: str | None, model_name: str
) -> ModelProfile:
    """The parsers for a model, by its family and else by what its chat template writes.

    `model_name` is a hub name or a folder. Where the template contradicts the family, the template is right.
    """
    name = model_name.rstrip("/").rpartition("/")[2]
    description = _description(name, model_type or "", *architectures)
    for family in FAMILIES:
        if re.search(family.pattern, description):
            return family.profile if chat_template is None else _corrected(family.profile, chat_template)
    return _by_template(chat_template or "")


def _description(*parts: str) -> str:
    return "-" + re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower()).strip("-") + "-"


def _corrected(family: ModelProfile, template: str) -> ModelProfile:
    tool_parser, reasoning_parser = family
    if tool_parser == "hermes" and "<function=" in template:
        tool_parser = "qwen3_coder"
    if tool_parser == "mistral" and "[TOOL_CALLS]" not in template:
        # Its parser refuses a tokenizer without this token, as those of older fine-tunes are.
        tool_parser = None
    if reasoning_parser in TAGGED_REASONING and "think>" not in template:
        reasoning_parser = None
    return ModelProfile(tool_parser, reasoning_parser)


def _by_template(template: str) -> ModelProfile:
    tool_parser = next((parser for marker, parser in TEMPLATE_TOOLS if marker in template), None)
    return ModelProfile(tool_parser, GENERIC_REASONING if "<think>" in template else None)
