"""Which model the box serves: the demo model, a folder, or a name on the hub; found before any engine starts."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from appliance.engine.demo_model import ensure_demo_model, long_context_warning, scaled_rope
from appliance.errors import StartError
from appliance.settings import DEMO_MODEL, ModelSettings

Progress = Callable[[str, float | None], None]


class Model(NamedTuple):
    """A model ready to load: `source` is a folder or a hub name; `hf_overrides` go into its configuration."""

    source: str
    served_name: str
    created: int
    hf_overrides: dict[str, Any] | None = None


def find_model(settings: ModelSettings, models: Path, progress: Progress) -> Model:
    """Prepares the demo model when it is asked for (once, half a minute). Blocks: call it in a thread.

    Raises `StartError` for a path where no model is.
    """
    name, created = settings.public_name, int(time.time())
    if settings.name == DEMO_MODEL:
        os.environ["HF_HUB_OFFLINE"] = "1"
        source = str(ensure_demo_model(models, progress=progress))
        overrides = scaled_rope(settings.max_model_len) if settings.max_model_len else None
        return Model(source, name, created, overrides)
    path = local_path(settings.name)
    if path is None:
        return Model(settings.name, name, created)
    _check_folder(path)
    return Model(str(path), name, created)


def context_warning(settings: ModelSettings) -> str | None:
    """A plain warning when the demo model is stretched beyond what it was trained for."""
    if settings.name != DEMO_MODEL or settings.max_model_len is None:
        return None
    return long_context_warning(settings.max_model_len)


def _check_folder(path: Path) -> None:
    if not path.is_dir():
        raise StartError(
            f"model.name = {str(path)!r}: there is no such folder.",
            hint='Give a folder with config.json and weights, a hub name such as "Qwen/Qwen3-8B", or "demo".',
        )
    config = path / "config.json"
    try:
        json.loads(config.read_text())
    except FileNotFoundError:
        raise StartError(
            f"model.name = {str(path)!r}: the folder has no config.json, so it is not a model.",
            hint="Point at the folder that holds config.json, the tokenizer and the weights.",
        ) from None
    except ValueError as error:
        raise StartError(f"{config} is not JSON: {error}.", hint="Download the model again.") from error


def local_path(name: str) -> Path | None:
    """The folder that `name` means, or `None` when it can only be a hub name."""
    path = Path(name).expanduser()
    return path if name.startswith((".", "/", "~")) or name.count("/") != 1 or path.exists() else None
