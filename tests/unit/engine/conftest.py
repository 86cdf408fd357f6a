"""A model of our own that vLLM can describe and render for: a tokenizer of bytes and a configuration, no weights."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from appliance.engine.loading import load_model_side
from appliance.engine.model import Model
from appliance.engine.plan import WorkerPlan
from appliance.engine.rendering import Renderer
from appliance.settings import Settings

NewRenderer = Callable[..., Renderer]
CONTEXT_TOKENS = 2048
SPECIAL_TOKENS = ("<|end|>", "<|im_start|>", "<think>", "</think>", "<tool_call>", "</tool_call>")
TEMPLATE = """\
{% for tool in tools or [] %}{{ tool | tojson }}
{% endfor %}{% for message in messages %}<|im_start|>{{ message.role }}
{% if message.reasoning %}<think>{{ message.reasoning }}</think>{% endif %}{{ message.content }}\
{% for call in message.tool_calls or [] %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}<|end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT_TOKENS,
    "torch_dtype": "float32",
    "bos_token_id": 0,
    "eos_token_id": 0,
}


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-model")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=list(SPECIAL_TOKENS)
    )
    tokenizer.train_from_iterator([], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=SPECIAL_TOKENS[0])
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(CONFIG | {"vocab_size": len(fast)}))
    return Model(str(folder), "tiny", created=0)


@pytest.fixture(scope="session")
def plan(tmp_path_factory: pytest.TempPathFactory) -> WorkerPlan:
    folder = tmp_path_factory.mktemp("worker")
    return WorkerPlan(0, (0,), (), f"ipc://{folder}/events.0", f"ipc://{folder}/replay.0", folder / "worker-0.log")


@pytest.fixture(scope="session")
def new_renderer(tiny_model: Model, plan: WorkerPlan) -> Iterator[NewRenderer]:
    """vLLM's own renderer with parsers of a test's choice."""
    with ExitStack() as opened:

        def new(**parsers: str) -> Renderer:
            settings = Settings.model_validate({"model": {"name": tiny_model.source} | parsers})
            renderer, _ = load_model_side(settings, tiny_model, [plan])
            opened.callback(renderer.close)
            return renderer

        yield new


@pytest.fixture(scope="session")
def thinking_renderer(new_renderer: NewRenderer) -> Renderer:
    """Hermes calls, Qwen 3 thinking."""
    return new_renderer(tool_parser="hermes", reasoning_parser="qwen3")


@pytest.fixture(scope="session")
def renderer(new_renderer: NewRenderer) -> Renderer:
    """Hermes calls, no thinking."""
    return new_renderer(tool_parser="hermes", reasoning_parser="none")


@pytest.fixture(scope="session")
def strict_renderer(new_renderer: NewRenderer, tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    """A template that takes a system message at the beginning only."""
    template = tmp_path_factory.mktemp("template") / "strict.jinja"
    is_late = "message.role == 'system' and not loop.first"
    refusal = f"{{% if {is_late} %}}{{{{ raise_exception('one system message') }}}}{{% endif %}}"
    begin = "<|im_start|>{{ message.role }}"
    template.write_text(TEMPLATE.replace(begin, refusal + begin, 1))
    return new_renderer(tool_parser="none", reasoning_parser="none", chat_template=str(template))


@pytest.fixture(scope="session")
def forgetful_renderer(new_renderer: NewRenderer, tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    """A template that shows no thoughts of earlier turns."""
    template = tmp_path_factory.mktemp("template") / "forgetful.jinja"
    template.write_text(TEMPLATE.replace("{% if message.reasoning %}", "{% if message.reasoning and loop.last %}", 1))
    return new_renderer(tool_parser="none", reasoning_parser="none", chat_template=str(template))


@pytest.fixture(scope="session")
def plain_renderer(new_renderer: NewRenderer) -> Renderer:
    """A model with neither tools nor thinking."""
    return new_renderer(tool_parser="none", reasoning_parser="none")


@pytest.fixture(scope="session", autouse=True)
def _environment() -> Iterator[None]:
    """vLLM's platforms write into the environment while they make a configuration."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
