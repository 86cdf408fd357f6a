"""`dynamo-box config`: show, check and describe the settings."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from appliance.commands.context import read_context
from appliance.paths import default_config_file
from appliance.settings import describe, settings_json_schema, validate_file


def run(options: argparse.Namespace) -> int:
    return {"show": _show, "validate": _validate, "schema": _schema}[options.action](options)


def _show(options: argparse.Namespace) -> int:
    rows = describe(read_context(options).loaded)
    if options.json:
        _print(json.dumps([{"key": row.key, "value": row.value, "source": row.source} for row in rows], indent=2))
        return 0
    width = max(len(row.key) for row in rows)
    value_width = max(len(str(row.value)) for row in rows)
    for row in rows:
        _print(f"{row.key:<{width}}  {row.value!s:<{value_width}}  {row.source}")
    return 0


def _validate(options: argparse.Namespace) -> int:
    chosen = options.file or options.config or os.environ.get("DYNAMO_BOX_CONFIG")
    path = Path(chosen) if chosen else default_config_file(os.environ)
    validate_file(path, os.environ)
    _print(json.dumps({"file": str(path), "valid": True}) if options.json else f"{path}: valid")
    return 0


def _schema(_options: argparse.Namespace) -> int:
    _print(json.dumps(settings_json_schema(), indent=2))
    return 0


def _print(text: str) -> None:
    print(text)
