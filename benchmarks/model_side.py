"""The demo model as far as it is known before an engine runs, for benchmarks that need none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple


class Bench(NamedTuple):
    """What the box reads with. `base` is the vLLM renderer under its own, which it has changed to its needs."""

    model: Any
    plan: Any
    config: Any
    renderer: Any
    stabiliser: Any

    @property
    def base(self) -> Any:
        return self.renderer._renderer  # noqa: SLF001 – what a real engine would be given too

    def own_base(self) -> Any:
        """vLLM's renderer as its own server would have it."""
        from vllm.renderers import renderer_from_config

        return renderer_from_config(self.config)


def prepared(scratch: Path, context_tokens: int) -> Bench:
    """Reads the model's configuration and tokenizer; starts nothing."""
    from appliance.engine.environment import prepare_process
    from appliance.engine.model import find_model
    from appliance.paths import resolve_folders
    from appliance.settings import load_settings

    options = {"workers.count": 1, "model.max_model_len": context_tokens}
    settings = load_settings(options=options, config=None).settings
    prepare_process("error", settings.workers.start_timeout)
    from appliance.engine.hardware import detect_hardware
    from appliance.engine.loading import load_model_side
    from appliance.engine.plan import plan_workers
    from appliance.stabiliser.rules import select_rules
    from appliance.stabiliser.stabiliser import Stabiliser

    folders = resolve_folders(os.environ, data=scratch, cache=None, runtime=scratch)
    model = find_model(settings.model, folders.cache / "models", lambda *_: None)
    plans = plan_workers(settings, detect_hardware(), folders.runtime, folders.data / "logs")
    renderer, configs = load_model_side(settings, model, plans)
    return Bench(model, plans[0], configs[0], renderer, Stabiliser(select_rules(settings.stabiliser.rules)))
