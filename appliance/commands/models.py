"""`dynamo-box models`: what the running box serves, and what could be served without a download."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from appliance.commands.context import Context, read_context
from appliance.engine.demo_model import demo_model_dir, is_prepared
from appliance.errors import NotRunning


def run(options: argparse.Namespace) -> int:
    context = read_context(options)
    served, local = _served(context), _local(context)
    if options.json:
        print(json.dumps({"served": served, "local": local}, indent=2))
        return 0
    for model in served:
        print(f"served   {model['id']}   context {model['max_model_len']} tokens")
    if not served:
        print("served   nothing: no box is running")
    for entry in local:
        print(f"local    {entry['name']}   {entry['note']}")
    return 0


def _served(context: Context) -> list[dict[str, Any]]:
    try:
        context.running()
        return list(context.control.get("/v1/models")["data"])
    except NotRunning:
        return []


def _local(context: Context) -> list[dict[str, str]]:
    prepared = is_prepared(demo_model_dir(context.folders.cache / "models"))
    demo = {"name": "demo", "note": "SmolLM2-135M-Instruct, " + ("prepared" if prepared else "prepared at first use")}
    return [demo, *({"name": name, "note": "in the hub cache"} for name in _hub_cache())]


def _hub_cache() -> list[str]:
    home = os.environ.get("HF_HOME", str(Path.home() / ".cache" / "huggingface"))
    folders = Path(os.environ.get("HF_HUB_CACHE", f"{home}/hub")).glob("models--*")
    return sorted(folder.name.removeprefix("models--").replace("--", "/") for folder in folders)
