"""What is known of a model before an engine runs: its renderer, its parsers, one configuration a worker."""

from __future__ import annotations

from collections.abc import Sequence

from vllm.config import VllmConfig
from vllm.renderers import BaseRenderer, renderer_from_config

from appliance.engine.arguments import engine_config
from appliance.engine.model import Model
from appliance.engine.model_profile import ModelProfile, profile
from appliance.engine.plan import WorkerPlan
from appliance.engine.rendering import Renderer
from appliance.errors import StartError
from appliance.settings import ModelSettings, Settings


def load_model_side(settings: Settings, model: Model, plans: Sequence[WorkerPlan]) -> tuple[Renderer, list[VllmConfig]]:
    """Raises `StartError` with vLLM's reason for a model it cannot serve."""
    try:
        config = engine_config(settings, model, plans[0], reasoning_parser=None)
        base = renderer_from_config(config)
        parsers = choose_parsers(settings.model, config, base)
        configs = [engine_config(settings, model, plan, reasoning_parser=parsers.reasoning_parser) for plan in plans]
        renderer = Renderer(configs[0], base, parsers, chat_template=_template(settings.model))
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise StartError(f"model.name = {settings.model.name!r}: {_reason(error)}", hint=_hint(error)) from error
    return renderer, configs


def choose_parsers(settings: ModelSettings, config: VllmConfig, renderer: BaseRenderer) -> ModelProfile:
    """The parsers set, or those that fit the model where a setting says `auto`."""
    hf_config = config.model_config.hf_config
    guess = profile(
        getattr(hf_config, "model_type", None),
        config.model_config.architectures,
        _own_template(renderer),
        settings.name,
    )
    return ModelProfile(
        tool_parser=_chosen(settings.tool_parser, guess.tool_parser),
        reasoning_parser=_chosen(settings.reasoning_parser, guess.reasoning_parser),
    )


def _chosen(setting: str, guess: str | None) -> str | None:
    return {"auto": guess, "none": None}.get(setting, setting)


def _own_template(renderer: BaseRenderer) -> str | None:
    template = getattr(renderer.tokenizer, "chat_template", None)
    return template if isinstance(template, str) else None


def _template(settings: ModelSettings) -> str | None:
    if settings.chat_template is None:
        return None
    try:
        return settings.chat_template.read_text()
    except OSError as error:
        raise StartError(
            f"model.chat_template = {str(settings.chat_template)!r}: {error.strerror}.",
            hint="Name a file that holds a Jinja chat template.",
        ) from error


def _reason(error: Exception) -> str:
    """vLLM's own words without pydantic's frame around them, as one sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("For further information", "1 validation error"))]
    return (told[0] if told else type(error).__name__).removeprefix("Value error, ").split(" [type=")[0]


def _hint(error: Exception) -> str | None:
    if isinstance(error, OSError):
        return "Give a local folder, or check the hub name and that the hub can be reached."
    return None
